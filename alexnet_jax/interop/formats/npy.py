"""Numpy's files: an .npz is a zip of .npy files; the .npy of caffe-tensorflow is a pickled dictionary."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.files import atomic_write
from alexnet_jax.interop.formats import weights
from alexnet_jax.interop.formats.weights import NOTE, Weights
from alexnet_jax.interop.unpickle import BadFile, unpickle


def read_npz(data: bytes) -> Weights:
    """Return the arrays of an .npz, and our note where it has one.

    Raises:
      BadFile: it unpacks to more than `weights.MAX_BYTES`, or holds other things than numbers.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    archive = zipfile.ZipFile(io.BytesIO(data))
    size = sum(info.file_size for info in archive.infolist())
    if size > weights.MAX_BYTES:
        raise BadFile(f"it unpacks to {size:,} bytes: no AlexNet is as large as that")
    arrays, note = {}, ""
    for info in archive.infolist():
        array = read_array(archive.read(info))
        if info.filename == f"{NOTE}.npy":
            note = array.tobytes().decode()
        else:
            arrays[info.filename.removesuffix(".npy")] = array
    return Weights("plain", arrays, note)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray], note: str) -> None:
    """Write arrays, whole or not at all; `read_npz` gives them and the note back."""
    with atomic_write(path) as file:
        np.savez(file, **{**arrays, NOTE: np.frombuffer(note.encode(), np.uint8)})  # type: ignore[arg-type]


def _read_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(file)]
    return read_header(file)


def read_array(data: bytes) -> np.ndarray:
    """Return the array of a .npy file.

    numpy's own reader allocates what a header asks for before it looks further.

    Raises:
      BadFile: it is not of numbers.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    file = io.BytesIO(data)
    shape, fortran, dtype = _read_header(file)
    if dtype.kind not in "fiub":
        raise BadFile(f"an array in it is of {dtype}, not of numbers")
    values = np.frombuffer(memoryview(data)[file.tell() :], dtype)
    return values.reshape(shape, order="F" if fortran else "C")


class _PickledDtype:
    def __init__(self, code: Any, *_: Any):
        self.dtype = np.dtype({"f2": "<f2", "f4": "<f4", "f8": "<f8", "O8": "O", "O": "O"}[code])

    def build(self, state: Any) -> None:
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


class _PickledArray:
    value: Any = None

    def __init__(self, *_: Any):
        pass

    def build(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if dtype.dtype == np.dtype("O"):
            self.value = content
            return
        raw = content.encode("latin-1") if isinstance(content, str) else content
        self.value = np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _encode(text: str, encoding: str) -> bytes:
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
    shape, _, dtype = _read_header(file)
    if dtype != np.dtype("O") or shape != ():
        raise BadFile("it holds an array, and no dictionary {layer: [weights, biases]}")
    root = unpickle(file, NAMES)
    (table,) = root.value if isinstance(root, _PickledArray) else (None,)
    if not isinstance(table, dict):
        raise BadFile("it holds no dictionary {layer: [weights, biases]}")
    arrays = {}
    for layer, blobs in table.items():
        blobs = list(blobs.values()) if isinstance(blobs, dict) else blobs
        for number, blob in enumerate(blobs):
            if not isinstance(blob, _PickledArray) or not isinstance(blob.value, np.ndarray):
                raise BadFile(f"{layer[:80]} in it is not a list [weights, biases] of arrays")
            arrays[f"{layer}.{number}"] = blob.value
    return Weights("caffe_tensorflow", arrays)
