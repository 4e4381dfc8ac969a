"""Tars, plain ones by offsets and compressed ones as a stream: ustar with GNU's and POSIX's extensions.

Python's tarfile takes a damaged header, and the position where an archive was cut off, for the archive's end
and says nothing, and needs ten times as long.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from alexnet_jax.data.file_kinds import HEAD_BYTES
from alexnet_jax.data.sources.entries import Entry, check_size, member_path, most_inflated
from alexnet_jax.data.sources.sieve import Sieve
from alexnet_jax.errors import UsageError

COMPRESSED: dict[str, Callable[[Any], Any]] = {
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.xz": lzma.open,
    ".tar.bz2": bz2.open,
}
_BLOCK = 512
# Kinds of members; no data: links, devices, folders, pipes.
_PLAIN, _LINKS, _NO_DATA = (b"0", b"\0", b"7"), (b"1", b"2"), b"123456"
_LONG_NAME, _EXTENDED, _IGNORED = b"L", (b"x", b"X"), (b"K", b"g")
_SPARSE = "it holds a sparse file: pack it again without --sparse"
_MAX_EXTENSION, _MAX_RECORDS = 2**16, 64  # bytes of a header's extension, and what it may say
_MAX_DIGITS = 20  # of a number in it


def list_tar(path: Path, prefix: str = "", sieve: Sieve | None = None) -> Iterator[Entry]:
    """Iterate over the images of a plain tar and of tars in it; n01440764.tar/a.JPEG is n01440764/a.JPEG.

    Args:
      path: the tar.
      prefix: stands before the path of each image.
      sieve: chooses the images, and counts the rest; None: one that nobody asks.

    Raises:
      UsageError: it is damaged or cut off.
    """
    container = str(path.absolute())
    with path.open("rb", buffering=0) as file, _tar_errors(path):
        # Headers lie far apart: reading ahead would read the whole archive.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        stream = _Stream(file, path.stat().st_size)
        for name, size, start, _ in _wanted(stream, path, sieve or Sieve()):
            yield Entry("", "", prefix + name, container, start, size)


def stream_tar(path: Path, sieve: Sieve) -> Iterator[tuple[str, bytes, float]]:
    """Iterate over the files of a compressed tar that a sieve takes, in its order.

    Args:
      path: the tar.
      sieve: chooses them, and counts the rest.

    Returns:
      An iterator over the path of each, its bytes, and how much of the archive was read when it came, 0 to 1.

    Raises:
      UsageError: the archive is damaged or cut off.
    """
    total = path.stat().st_size
    with path.open("rb") as file, _tar_errors(path):
        opener = next(opener for suffix, opener in COMPRESSED.items() if path.name.lower().endswith(suffix))
        stream = _Stream(opener(file), most=most_inflated(total))
        for name, size, _, held in _wanted(stream, path, sieve):
            yield name, held + stream.read(size - len(held)), file.tell() / total


@contextlib.contextmanager
def _tar_errors(path: Path) -> Iterator[None]:
    """Turn the EOFError of a damaged archive into a UsageError that names it."""
    try:
        yield
    except EOFError as error:
        raise UsageError(f"{path} cannot be read as a tar archive: {error}") from None


class _Stream:
    """A file read forward: a plain one of `size` bytes, or one that is inflated on the way, to `most`."""

    def __init__(self, file: Any, size: int | None = None, most: int = 0):
        self.file, self.size, self.most, self.position = file, size, most, 0

    def read(self, size: int) -> bytes:
        """Return `size` bytes, from here; EOFError when it ends before, is damaged, or inflates too far."""
        if self.size is None and self.position + size > self.most:
            raise EOFError(f"it inflates to more than {self.most:,} bytes: inflate it first")
        try:
            data: bytes = self.file.read(size)
            while 0 < len(data) < size and (more := self.file.read(size - len(data))):
                data += more
        except (lzma.LZMAError, zlib.error, gzip.BadGzipFile, OSError, EOFError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise EOFError(str(error)) from None
        self.position += len(data)
        if len(data) < size:
            raise EOFError("it ends too early: it was cut off")
        return data

    def skip_to(self, position: int) -> None:
        """Go forward to `position`; EOFError when it ends before."""
        if self.size is None:
            while self.position < position:
                self.read(min(position - self.position, 2**20))
        elif position > self.size:
            raise EOFError("it ends too early: it was cut off")
        elif position != self.position:
            self.position = self.file.seek(position)


def _wanted(stream: _Stream, path: Path, sieve: Sieve) -> Iterator[tuple[str, int, int, bytes]]:
    """Of each file that is taken, in a tar or in a tar in it: name, size, start, and what of it was read."""
    for name, size, is_link in _files(stream):
        if not is_link and name.lower().endswith(".tar") and not name.rpartition("/")[2].startswith("."):
            for inner, inner_size, inner_link in _files(stream, stream.position + size):
                start, held = stream.position, _Head(stream, inner_size)
                if _take(inner, inner_link, sieve, held):
                    check_size(inner_size, inner, path)
                    inner = member_path(inner, path)
                    yield member_path(f"{name[:-4]}/{inner}", path), inner_size, start, held.data
        else:
            start, held = stream.position, _Head(stream, size)
            if _take(name, is_link, sieve, held):
                check_size(size, name, path)
                yield member_path(name, path), size, start, held.data


class _Head:
    """The first bytes of a member, read when they are asked for."""

    def __init__(self, stream: _Stream, size: int):
        self._stream, self._size = stream, size
        self.data = b""

    def read(self) -> bytes:
        self.data = self._stream.read(min(self._size, HEAD_BYTES))
        return self.data


def _take(name: str, is_link: bool, sieve: Sieve, head: _Head) -> bool:
    if is_link:
        sieve.skip(name, "a link in an archive")
        return False
    return sieve.take(name, head.read)


def _files(stream: _Stream, end: int | None = None) -> Iterator[tuple[str, int, bool]]:
    """(name, size, whether it is a link) of each file of a tar; the stream stands at its bytes.

    Args:
      stream: at the first header.
      end: where the tar ends that lies in another; None: nobody knows.

    Raises:
      EOFError: it is damaged or cut off.
    """
    extension: dict[bytes, bytes] = {}  # what is said of the next member beyond its header
    while True:
        at = stream.position
        if end is not None and at + _BLOCK > end:
            raise EOFError(f"damaged at byte {at:,}: a tar in it does not end where it should")
        header = stream.read(_BLOCK)
        if not any(header):
            return
        kind, size = header[156:157], _size(header, extension, at)
        after = stream.position if kind in _NO_DATA else stream.position + -(-size // _BLOCK) * _BLOCK
        if end is not None and after > end:
            raise EOFError(f"damaged at byte {at:,}: a file in it is larger than the tar around it")
        if kind == _LONG_NAME or kind in _EXTENDED:
            extension |= _read_extension(stream, kind, size, at)
        elif kind == b"S":
            raise EOFError(_SPARSE)
        elif kind not in _IGNORED:
            if kind in _PLAIN or kind in _LINKS:
                name = (extension.get(b"path") or _name(header)).decode("utf-8", "surrogateescape")
                yield name, size, kind in _LINKS
            extension = {}
        stream.skip_to(after)


def _size(header: bytes, extension: dict[bytes, bytes], at: int) -> int:
    """Return the size of a member; raise EOFError where the header's checksum shows damage."""
    try:
        checksum = int(header[148:156].strip(b" \0") or b"0", 8)
        large = extension.get(b"size", b"")
        size = int(large[:_MAX_DIGITS]) if large.isdigit() else _number(header[124:136])
    except ValueError:
        checksum, size = -1, 0
    # The sum of all bytes, its own counted as spaces. Adler-32's lower half is one more, modulo 65521.
    total = zlib.adler32(header[:148] + b" " * 8 + header[156:]) & 0xFFFF
    if total != (1 + checksum) % 65521 or size < 0:
        raise EOFError(f"damaged at byte {at:,}")
    return size


def _number(field: bytes) -> int:
    """Read a number of a header: octal digits, or, where the first bit is set, the bytes themselves."""
    if field[0] & 128:
        return int.from_bytes(field, "big") - (128 << 8 * (len(field) - 1))
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and header[345:346] != b"\0":
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _read_extension(stream: _Stream, kind: bytes, size: int, at: int) -> dict[bytes, bytes]:
    """Read what a header of GNU's (a long name) or POSIX's says of the next member: path, size and more.

    POSIX's is '<length> <key>=<value>' and a line's end, again and again.
    """
    if size > _MAX_EXTENSION:
        raise EOFError(f"the header at byte {at:,} claims a name of {size:,} bytes")
    records = stream.read(size)
    values: dict[bytes, bytes] = {}
    if kind == _LONG_NAME:
        return {b"path": records.partition(b"\0")[0]}
    start = 0
    for _ in range(_MAX_RECORDS + 1):
        if start == len(records):
            return values
        digits, space, _ = records[start : start + _MAX_DIGITS].partition(b" ")
        if not space or not digits.isdigit() or not len(digits) < int(digits) <= len(records) - start:
            raise EOFError("a header's extension is damaged")
        end = start + int(digits)
        key, _, value = records[start + len(digits) + 1 : end - 1].partition(b"=")
        if key.startswith(b"GNU.sparse"):
            raise EOFError(_SPARSE)
        values[key] = value
        start = end
    raise EOFError(f"the header at byte {at:,} says more than {_MAX_RECORDS} things of the next file")
