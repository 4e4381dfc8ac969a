"""Safetensors (its README): the length of a header in 8 bytes, a JSON header, the bytes of the tensors."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.files import atomic_write
from alexnet_jax.interop.formats.weights import DTYPES, NOTE, Weights
from alexnet_jax.interop.unpickle import BadFile

TYPES = {name: np.dtype(dtype) for _, name, dtype in DTYPES}
MAX_HEADER_BYTES = 10**7  # an AlexNet's has some thousand, with class names perhaps a hundred thousand


def read(data: bytes) -> Weights:
    """Return the tensors of a file, and our note where it has one.

    Raises:
      BadFile: header and content do not fit together.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, MAX_HEADER_BYTES):
        raise BadFile(f"its header should have {length:,} bytes, and the file has {len(data):,}")
    header = json.loads(data[8 : 8 + length])
    body = memoryview(data)[8 + length :]
    if not isinstance(header, dict):
        raise BadFile("its header is not a table of tensors")
    metadata = header.pop("__metadata__", {})
    arrays, end = {}, 0
    for name, row in header.items():
        dtype = TYPES[row["dtype"]]
        shape, (first, last) = tuple(row["shape"]), row["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*shape, first, last)) or last > len(body):
            raise BadFile(f"{name[:80]} should lie at {first} to {last} of {len(body)} bytes")
        if last - first != prod(shape) * dtype.itemsize:
            raise BadFile(f"{name[:80]} has {last - first} bytes for the shape {shape}")
        arrays[name] = np.frombuffer(body[first:last], dtype).reshape(shape)
        end = max(end, last)
    if end != len(body):
        raise BadFile(f"it has {len(body) - end} bytes that belong to no tensor")
    return Weights("torch", arrays, str(metadata.get(NOTE, "")))


def write(path: Path, arrays: Mapping[str, np.ndarray], note: str) -> None:
    """Write float32 arrays, whole or not at all; `read` gives them and the note back."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", NOTE: note}}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.size * 4
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, "<f4").data)
