"""Caffe's protocol buffers: a net's weights (.caffemodel) and the mean of its images (.binaryproto).

The numbers of the fields are those of src/caffe/proto/caffe.proto, and for raw_data of NVIDIA's branch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from alexnet_jax.arrays import MAX_DIMENSIONS, BadFile
from alexnet_jax.interop.formats.weights import MAX_NAME_LENGTH, Collector, Weights

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_FIELDS = 100_000  # of a file, at all its depths: a net has some thousand
RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}


def read(data: bytes) -> Weights:
    """Return the blobs of a NetParameter with `layer` (100) or, before 2014, `layers` (2).

    Raises:
      BadFile: no protocol buffer, or one that holds no layers.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    found = Collector(len(data))
    names: list[str] = []
    fields = _Fields()
    for number, layer in fields.of(memoryview(data)):
        if number not in (2, 100):
            continue
        name_field, blob_field = (1, 7) if number == 100 else (4, 6)
        name, blobs = "", []
        for inner, value in fields.of(layer):
            if inner == name_field:
                name = _name(value)
            elif inner == blob_field:
                blobs.append(_blob(value, fields))
            elif inner == 1:
                raise BadFile("its layers are of 2013's form: upgrade it with upgrade_net_proto_binary first")
        names.append(name)
        for position, blob in enumerate(blobs):
            found.add(f"{name}.{position}", blob)
    if not names:
        raise BadFile("it holds no layers")
    return Weights("caffe", found.arrays, layers=tuple(names))


def read_mean(data: bytes) -> np.ndarray:
    """Return the array of a BlobProto in a file of its own; raise as `read` does."""
    return _blob(memoryview(data), _Fields())


def _name(value: Any) -> str:
    if len(value) > MAX_NAME_LENGTH:
        raise BadFile(f"a layer in it has a name of {len(value):,} characters")
    return bytes(value).decode()


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the number that stands at `position`, and the position behind it."""
    value = shift = 0
    while shift < 64:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise BadFile("it has a number of more than 64 bits: it is not a protocol buffer")


@dataclass
class _Fields:
    """Walk the messages of a file; `left` counts the fields that may still come."""

    left: int = MAX_FIELDS

    def of(self, message: memoryview) -> Iterator[tuple[int, Any]]:
        """Yield (number, value) of each field of a message; bytes are views of it."""
        position = 0
        while position < len(message):
            self.left -= 1
            if self.left < 0:
                raise BadFile(f"it has more than {MAX_FIELDS:,} fields: it is not of weights alone")
            tag, position = _varint(message, position)
            kind, value = tag & 7, 0
            if kind == VARINT:
                value, position = _varint(message, position)
                yield tag >> 3, value
                continue
            if kind == BYTES:
                length, position = _varint(message, position)
            elif kind in (FIXED32, FIXED64):
                length = 4 if kind == FIXED32 else 8
            else:
                raise BadFile("it has a field of an unknown kind: it is not a protocol buffer")
            rest = len(message) - position
            if length > rest:
                raise BadFile(f"a field of {length:,} bytes in it has only {rest:,}: it is cut off")
            yield tag >> 3, message[position : position + length]
            position += length


def _blob(message: memoryview, fields: _Fields) -> np.ndarray:
    """Return a BlobProto: numbers in data, double_data or raw_data; a shape, or the older four numbers."""
    old, shape, raw_type, values = [0, 0, 0, 0], None, 1, np.zeros(0, "<f4")
    for number, value in fields.of(message):
        if number in (1, 2, 3, 4) and isinstance(value, int):
            old[number - 1] = value
        elif number == 7:
            shape = _shape(value, fields)
        elif number == 10:
            raw_type = value
        elif number in (5, 8, 12):
            values = np.frombuffer(value, {5: "<f4", 8: "<f8"}.get(number) or RAW_TYPES[raw_type])
    if shape is None:  # (1, 1, outputs, inputs) and (1, 1, 1, outputs) for matrices and biases
        shape = old
        while len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
    if prod(shape) != len(values):
        raise BadFile(f"a blob in it has the shape {tuple(shape)} and {len(values)} numbers")
    return values.reshape(shape)


def _shape(message: Any, fields: _Fields) -> list[int]:
    dimensions: list[int] = []
    for number, value in fields.of(message):
        if number == 1 and isinstance(value, int):
            dimensions.append(value)
        elif number == 1:
            position = 0
            while position < len(value) and len(dimensions) <= MAX_DIMENSIONS:
                dimension, position = _varint(value, position)
                dimensions.append(dimension)
        if len(dimensions) > MAX_DIMENSIONS:
            raise BadFile(f"a blob in it has more than {MAX_DIMENSIONS} dimensions")
    return dimensions
