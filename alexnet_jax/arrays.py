"""Numpy's .npy and .npz as data that a stranger may have written: nothing is allocated that is not there.

numpy's own readers evaluate the header as a literal of Python, allocate what it asks for, and inflate as much
as an archive promises. Here a header is a plain dtype of numbers and a tuple of whole numbers that agree with
the bytes that follow, and the sizes in an archive's directory are added up before anything is inflated; more
than they say is never taken out.
"""

import io
import os
import re
import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from alexnet_jax.files import read_bounded

MAX_HEADER_BYTES = 10_000  # numpy's own bound
MAX_DIMENSIONS = 32  # numpy's bound before its version 2
MAX_MEMBERS = 10_000  # of an archive: a net has some ten arrays, with an optimizer's some hundred
# Numbers that were learned hardly compress; a net of which nine tenths were set to 0 does six times.
MAX_RATIO = 8  # of what an archive unpacks to and its own size
SMALL_BYTES = 2**26  # an archive may always unpack to as much as this

_HEADER = re.compile(  # as `repr` writes it, without spaces
    r"\{'descr':'(?P<descr>[^'\\]{1,20})','fortran_order':(?P<fortran>True|False),'shape':\((?P<shape>[\dL,]*)\),?\}"
)
_NUMBERS = re.compile(r"[<>|=]?[fiub](1|2|4|8|16)")


class BadFile(ValueError):
    """Say that bytes are not what their file's name promises, and why; without the file's name."""


def read_header(file: IO[bytes]) -> tuple[str, tuple[int, ...], bool]:
    """Return the type code, the shape and whether the order is Fortran's; `file` then stands behind them.

    Raises:
      BadFile: it is no .npy file, or not of a plain array.
    """
    magic = file.read(8)
    if len(magic) < 8 or magic[:6] != b"\x93NUMPY" or magic[6] not in (1, 2, 3):
        _fail("it is not a .npy file")
    length = int.from_bytes(file.read(2 if magic[6] == 1 else 4), "little")
    if length > MAX_HEADER_BYTES:
        _fail(f"an array's header in it has {length:,} bytes")
    found = _HEADER.fullmatch("".join(file.read(length).decode("latin-1").split()))
    if found is None:
        _fail("an array's header in it is not that of a plain array of numbers")
    sides = [side.removesuffix("L") for side in found["shape"].split(",") if side]
    if len(sides) > MAX_DIMENSIONS or not all(side.isdecimal() and len(side) < 20 for side in sides):
        _fail("an array in it has a shape that no array can have")
    return found["descr"], tuple(map(int, sides)), found["fortran"] == "True"


def _numbers_header(file: IO[bytes], size: int) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """Return dtype, shape, order and bytes of an array of numbers that ends with a file of `size` bytes."""
    descr, shape, fortran = read_header(file)
    if not _NUMBERS.fullmatch(descr):
        _fail(f"an array in it is of {'object' if descr[-1] == 'O' else descr}, not of numbers")
    dtype = np.dtype(descr)
    count, rest = prod(shape) * dtype.itemsize, size - file.tell()
    if count != rest:
        _fail(f"an array in it has the shape {shape} of {descr}, and {rest:,} bytes")
    return dtype, shape, fortran, count


def read_npy(file: IO[bytes], size: int) -> np.ndarray:
    """Return the array of a .npy file of `size` bytes, read-only.

    Raises:
      BadFile: it is not of numbers, or header and content do not fit together.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    dtype, shape, fortran, count = _numbers_header(file, size)
    content = file.read(count)
    if len(content) != count:
        _fail(f"an array in it has {len(content):,} of {count:,} bytes: it is cut off")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def map_npy(path: Path) -> np.ndarray:
    """Return the array of a .npy file mapped into memory, read-only; raise as `read_npy`, and OSError."""
    with path.open("rb") as file:
        dtype, shape, fortran, _ = _numbers_header(file, os.fstat(file.fileno()).st_size)
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def read_npz(data: bytes, max_bytes: int, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz by their names, read-only.

    Args:
      data: the file.
      max_bytes: what it may unpack to, if it is not bounded by its own size: see `MAX_RATIO`.
      names: of the arrays that are wanted; None: all.

    Raises:
      BadFile: it unpacks to more, is of many arrays or of other things than numbers, has a name twice, or has
        not an array of `names`.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    if not zipfile.is_zipfile(io.BytesIO(data)):
        _fail("it is not an .npz file")
    if data.count(b"PK\x01\x02") > MAX_MEMBERS:  # before zipfile makes an object for each
        _fail(f"it has more than {MAX_MEMBERS:,} arrays")
    archive = zipfile.ZipFile(io.BytesIO(data))
    size = sum(info.file_size for info in archive.infolist())
    if size > min(max_bytes, SMALL_BYTES + MAX_RATIO * len(data)):
        _fail(f"it unpacks to {size:,} bytes, and has {len(data):,}: no arrays that were learned do that")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            _fail(f"it has {name[:80]} twice")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile takes the others out whole, whatever the directory says.
            _fail(f"{name[:80]} in it is compressed as numpy does not write it")
        members[name] = info
    arrays = {}
    for name in members if names is None else names:
        if name not in members:
            _fail(f"it has no {name}")
        with archive.open(members[name]) as file:
            arrays[name] = read_npy(file, members[name].file_size)
    return arrays


def load_npz(path: Path, max_bytes: int, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of a file as `read_npz` does; raise as it, and as `files.read_bounded`."""
    return read_npz(read_bounded(path, max_bytes), max_bytes, names)


def _fail(words: str) -> NoReturn:
    raise BadFile(words)
