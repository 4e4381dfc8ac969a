"""Numpy's files: an .npz is a zip of .npy files; the .npy of caffe-tensorflow is a pickled dictionary."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax import arrays
from alexnet_jax.arrays import BadFile
from alexnet_jax.files import atomic_write
from alexnet_jax.interop.formats import weights
from alexnet_jax.interop.formats.weights import MAX_SHARING, MAX_TEXT_BYTES, NOTE, Collector, Weights
from alexnet_jax.interop.unpickle import is_shape, is_short, unpickle


def read_npz(data: bytes) -> Weights:
    """Return the arrays of an .npz, and our note where it has one.

    Raises:
      BadFile: as `arrays.read_npz`, or a note that is too long.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    found = Collector(weights.MAX_BYTES)
    for name, array in arrays.read_npz(data, weights.MAX_BYTES).items():
        found.add(name, array)
    note = found.arrays.pop(NOTE, np.zeros(0, np.uint8))
    if note.nbytes > MAX_TEXT_BYTES:
        raise BadFile(f"its {NOTE} has {note.nbytes:,} bytes")
    return Weights("plain", found.arrays, note.tobytes().decode())


def write_npz(path: Path, tree: Mapping[str, np.ndarray], note: str) -> None:
    """Write arrays by name, whole or not at all; `read_npz` gives them and the note back."""
    with atomic_write(path) as file:
        np.savez(file, **{**tree, NOTE: np.frombuffer(note.encode(), np.uint8)})  # type: ignore[arg-type]


def read_array(data: bytes) -> np.ndarray:
    """Return the array of a .npy file; raise as `arrays.read_npy`."""
    return arrays.read_npy(io.BytesIO(data), len(data))


PICKLED_CODES = {"f2": "<f2", "f4": "<f4", "f8": "<f8", "O8": "O", "O": "O"}


class _PickledDtype:
    def __init__(self, code: Any, *_: Any):
        if not is_short(code) or code not in PICKLED_CODES:
            raise BadFile("an array in it is not of numbers")
        self.dtype = np.dtype(PICKLED_CODES[code])

    def build(self, _: Any, order: Any, *__: Any) -> None:
        if is_short(order) and order == ">":
            self.dtype = self.dtype.newbyteorder(">")


class _PickledArray:
    value: Any = None

    def __init__(self, *_: Any):
        pass

    def build(self, _: Any, shape: Any, dtype: Any, fortran: Any, content: Any) -> None:
        if type(dtype) is not _PickledDtype or not is_shape(shape):
            raise BadFile("an array in it has a shape or a type that no array has")
        if dtype.dtype == np.dtype("O"):
            self.value = content
            return
        raw = content.encode("latin-1") if type(content) is str else content
        if type(raw) is not bytes:
            raise BadFile("an array in it has no content")
        self.value = np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if fortran is True else "C")


def _encode(text: Any, _: Any) -> bytes:
    if type(text) is not str:
        raise BadFile("its pickle encodes what is not a text")
    return text.encode("latin-1")  # how Python 3 writes bytes in an old pickle


NAMES: dict[str, Callable[..., Any] | None] = {
    "numpy.ndarray": None,
    "numpy.dtype": _PickledDtype,
    "numpy.core.multiarray._reconstruct": _PickledArray,
    "numpy._core.multiarray._reconstruct": _PickledArray,
    "_codecs.encode": _encode,
}


def read_dictionary(data: bytes) -> Weights:
    """Return the arrays of caffe-tensorflow's dictionary {layer: [weights, biases] or {name: array}}.

    Raises:
      BadFile: the file holds something else.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    file = io.BytesIO(data)
    descr, shape, _ = arrays.read_header(file)
    if descr != "|O" or shape != ():
        raise BadFile("it holds an array, and no dictionary {layer: [weights, biases]}")
    root = unpickle(file, NAMES)
    (table,) = root.value if type(root) is _PickledArray and type(root.value) is list else (None,)
    if type(table) is not dict:
        raise BadFile("it holds no dictionary {layer: [weights, biases]}")
    found = Collector(MAX_SHARING * len(data))
    for layer, blobs in table.items():
        blobs = blobs.values() if type(blobs) is dict else blobs
        for number, blob in enumerate(blobs):
            if type(blob) is not _PickledArray or not isinstance(blob.value, np.ndarray):
                raise BadFile(f"{str(layer)[:80]} in it is not a list [weights, biases] of arrays")
            found.add(f"{layer}.{number}", blob.value)
    return Weights("caffe_tensorflow", found.arrays)
