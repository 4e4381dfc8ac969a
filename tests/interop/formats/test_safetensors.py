"""Safetensors against the library of that name, and headers that lie."""

import json
import struct

import numpy as np
import pytest

from alexnet_jax.interop import formats
from alexnet_jax.interop.formats import safetensors
from tests.interop.helpers import unreadable


@pytest.mark.slow
def test_our_safetensors_by_the_library(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="the safetensors package is not installed")
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.float32([1])}
    safetensors.write(tmp_path / "a.safetensors", arrays, "note")
    loaded = library.load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(loaded["x"], arrays["x"])
    halves = {"h": np.float16([1.5, -2]), "d": np.float64([[np.e]])}
    library.save_file(halves, tmp_path / "b.safetensors", metadata={"format": "pt"})
    for key, array in formats.read(tmp_path / "b.safetensors").arrays.items():
        np.testing.assert_array_equal(array, halves[key], strict=True)


def test_headers_that_lie_take_no_memory(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + b'{"a":1}' + b"\x00" * 99)
    unreadable(path, "its header should have 1,152,921,504,606,846,976 bytes, and the file has 114")
    for row in (
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        {"dtype": "F32", "shape": [2**40, 0], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},  # bytes that nobody uses
        [],
    ):
        text = json.dumps({"a": row}).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + b"\x00" * 8)
        unreadable(path, "a.safetensors")
    path.write_bytes(struct.pack("<Q", 200_000) + b"[" * 200_000)
    unreadable(path, "damaged")
