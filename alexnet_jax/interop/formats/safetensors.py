"""Safetensors (its README): the length of a header in 8 bytes, a JSON header, the bytes of the tensors."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.arrays import MAX_DIMENSIONS, BadFile
from alexnet_jax.files import atomic_write
from alexnet_jax.interop.formats.weights import (
    DTYPES,
    MAX_TEXT_BYTES,
    NOTE,
    Collector,
    Weights,
    said,
    shared_prefix,
)

TYPES = {name: np.dtype(dtype) for _, name, dtype in DTYPES}


def read(data: bytes) -> Weights:
    """Return the tensors of a file, and our note where it has one.

    Raises:
      BadFile: header and content do not fit together.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, MAX_TEXT_BYTES):
        raise BadFile(f"its header should have {length:,} bytes, and the file has {len(data):,}")
    header = json.loads(data[8 : 8 + length], object_pairs_hook=_table)
    body = memoryview(data)[8 + length :]
    if type(header) is not dict:
        raise BadFile("its header is not a table of tensors")
    metadata = header.pop("__metadata__", {})
    note = metadata.get(NOTE, "")
    if type(note) is not str:
        raise BadFile(f"its {NOTE} is not a text")
    found, places = Collector(len(data)), []
    for name, row in header.items():
        dtype = TYPES[row["dtype"]]
        shape, (first, last) = row["shape"], row["data_offsets"]
        numbers = [*shape, first, last] if type(shape) is list and len(shape) <= MAX_DIMENSIONS else [-1]
        if not all(type(n) is int and 0 <= n < 2**63 for n in numbers) or last > len(body):
            raise BadFile(f"{name[:80]} has a shape or a place that is none in {len(body):,} bytes")
        if last - first != prod(shape) * dtype.itemsize:
            raise BadFile(f"{name[:80]} has {last - first:,} bytes for the shape {shape}")
        found.add(name, np.frombuffer(body[first:last], dtype).reshape(shape))
        places.append((first, last))
    end = 0
    for first, last in sorted(places):
        if first != end:  # the format's README: no holes, and nothing twice
            raise BadFile(f"its tensors lie over each other, or leave a hole, at byte {min(first, end):,}")
        end = last
    if end != len(body):
        raise BadFile(f"it has {len(body) - end:,} bytes that belong to no tensor")
    if any("/" in name for name in found.arrays):  # our own names: 'conv1/kernel'
        return Weights("plain", found.arrays, note)
    prefix = shared_prefix(found.arrays)
    arrays = {name.removeprefix(prefix): array for name, array in found.arrays.items()}
    return Weights(
        "torch", arrays, note, notices=said("taken", [f"names without {prefix}"] if prefix else [])
    )


def _table(items: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(items)
    if len(table) != len(items):
        raise BadFile("its header has a name twice")
    return table


def write(path: Path, arrays: Mapping[str, np.ndarray], note: str) -> None:
    """Write float32 or float16 arrays, whole or not at all; `read` gives them and the note back."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", NOTE: note}}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": f"F{8 * array.itemsize}",
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
