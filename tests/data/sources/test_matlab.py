"""MATLAB files against what SciPy writes, and small ones that claim or inflate to gigabytes."""

import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from alexnet_jax.data.sources import matlab
from tests.faults.structures.archives import element, matlab_file, matrix, repeated


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_wrote(compressed: bool) -> None:
    rows = [
        (1, "n01", "a long gloss, ü", 2.5, np.arange(3)),
        (300, "n02", "", -1.0, np.zeros((0, 0))),
        (70_000, "n03", "c", 0.0, np.ones((2, 2))),
    ]
    table = np.array(rows, dtype=[(name, "O") for name in ("ID", "WNID", "gloss", "depth", "children")])
    file = io.BytesIO()
    values = {"x": np.arange(3.0), "cells": np.array(["a", [1, 2]], dtype=object), "synsets": table}
    scipy.io.savemat(file, values, do_compression=compressed)
    found = matlab.read_table(file.getvalue(), "synsets", 2**20)
    assert [row["ID"] for row in found] == [1, 300, 70_000]
    assert [row["WNID"] for row in found] == ["n01", "n02", "n03"]
    assert found[0]["gloss"] == "a long gloss, ü"
    assert [row["depth"] for row in found] == [2.5, -1, 0]
    assert not any("children" in row for row in found)


def test_big_endian() -> None:
    def part(kind: int, content: bytes) -> bytes:
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    def matrix(kind: int, name: bytes, *rest: bytes) -> bytes:
        head = part(6, struct.pack(">II", kind, 0)) + part(5, struct.pack(">ii", 1, 1)) + part(1, name)
        return part(14, head + b"".join(rest))

    small = struct.pack(">HHi", 4, 5, 4)  # four bytes, int32: stands in its header
    values = matrix(6, b"", part(9, struct.pack(">d", 7.0))) + matrix(
        4, b"", part(4, "n07".encode("utf-16-be"))
    )
    table = matrix(2, b"synsets", small, part(1, b"ID\0\0W\0\0\0"), values)
    file = b"MATLAB 5.0".ljust(124) + b"\1\0MI" + table
    assert matlab.read_table(file, "synsets", 0) == [{"ID": 7.0, "W": "n07"}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no table"),
        (matrix(1, (30_000, 30_000), b"synsets", struct.pack("<II", 14, 0)), "no table"),
        (matrix(2, (1, 1), b"synsets"), "damaged"),
        (matrix(2, (1, 1), b"synsets", element(5, struct.pack("<i", 0)), element(1, b"a")), "no fields"),
        (element(15, b"nothing that is packed"), "damaged"),
        (element(15, zlib.compress(bytes(10**6))), "inflates to more"),
        (element(15, b"\x78\x9c" + repeated(bytes(2**20), 2048)), "inflates to more"),
        (matlab_file()[:100], "no table"),
    ],
)
def test_what_is_no_table(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        matlab.read_table(matlab_file(content), "synsets", 10**5)
