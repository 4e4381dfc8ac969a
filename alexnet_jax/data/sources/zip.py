"""Zip archives by their central directory, which Python's zipfile would hold in memory as objects.

PKWARE's APPNOTE, sections 4.3.7 and 4.3.12 to 4.3.16; zip64 included.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from alexnet_jax.data.file_kinds import HEAD_BYTES
from alexnet_jax.data.sources.entries import (
    Entry,
    Unreadable,
    check_size,
    member_path,
    most_inflated,
)
from alexnet_jax.data.sources.sieve import Sieve
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable

_STORED, _DEFLATED = 0, 8


def list_zip(path: Path, sieve: Sieve) -> Iterator[Entry]:
    """Iterate over the images of a zip archive, which a sieve chooses; links are passed over.

    Some programs of Windows write backslashes where the format has slashes: they are read as such.

    Raises:
      UsageError: it is damaged, cut off, encrypted, or packed by a method other than deflate; members
        overlap, inflate beyond measure, or have a path that leads elsewhere.
    """
    taken = 0
    container = str(path.absolute())
    with path.open("rb") as file:
        count, start, end = _find_directory(file, path)
        file.seek(start)
        for _ in range(count):
            fixed = file.read(46)
            if len(fixed) < 46 or fixed[:4] != b"PK\1\2" or file.tell() > end:
                raise _damaged(path, "its directory is damaged")
            flags, method, checksum, packed, size, names, extras, comments, attributes, header = (
                struct.unpack("<8xHH4xLLLHHH4xLL", fixed)
            )
            name = file.read(names).decode("utf-8" if flags & 0x800 else "cp437", "replace")
            name = name.replace("\\", "/")
            size, packed, header = _widened((size, packed, header), file.read(extras))
            file.seek(comments, os.SEEK_CUR)
            if name.endswith("/"):
                continue
            if (attributes >> 16) & 0o170000 == 0o120000:
                sieve.skip(name, "a link in an archive")
                continue
            if not sieve.take(name, lambda: b"" if flags & 1 else _head(file, min(header, end), size)):  # noqa: B023
                continue
            if flags & 1:
                raise UsageError(f"{printable(name)} in {path} is encrypted")
            if method not in (_STORED, _DEFLATED):
                raise UsageError(f"{printable(name)} in {path} is not stored nor deflated: unpack {path}")
            check_size(max(size, packed), name, path)
            taken += 30 + packed  # a header and the bytes
            if taken > start or header > end or (method == _STORED and packed != size):
                raise _damaged(path, "its directory is damaged, or members overlap")
            if size > most_inflated(packed):
                raise UsageError(f"{printable(name)} in {path} inflates to {size:,} bytes: unpack {path}")
            name = member_path(name, path)
            yield Entry("", "", name, container, header, size, checksum, packed)


def _head(file: IO[bytes], header: int, size: int) -> bytes:
    """Return the first bytes of the member whose header stands there; the file then stands where it did."""
    before = file.tell()
    member = Entry("", "", "", "", header, min(size, HEAD_BYTES), packed=2**10)
    try:
        return _content(file, member)
    except Unreadable:
        return b""
    finally:
        file.seek(before)


def read_zipped(entry: Entry) -> bytes:
    """Return the bytes of an entry that lies in a zip archive.

    Raises:
      Unreadable: its header or its bytes are damaged.
    """
    with open(entry.container, "rb") as file:
        data = _content(file, entry)
    if len(data) != entry.size or zlib.crc32(data) != entry.checksum:
        raise Unreadable("its bytes in the archive are damaged")
    return data


def _content(file: IO[bytes], entry: Entry) -> bytes:
    """Return the bytes of an entry, at most as many as it has; Unreadable where its header is damaged."""
    file.seek(entry.start)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise Unreadable("its header in the archive is damaged")
    method, name, extra = struct.unpack("<8xH16xHH", header)
    file.seek(name + extra, os.SEEK_CUR)
    return file.read(entry.size) if method == _STORED else _inflate(file, entry)


def _inflate(file: IO[bytes], entry: Entry) -> bytes:
    """At most the bytes of the entry, of what is deflated from here."""
    inflate, data, left = zlib.decompressobj(-zlib.MAX_WBITS), io.BytesIO(), entry.packed
    try:
        while (more := entry.size - data.tell()) > 0 and not inflate.eof:
            piece = file.read(min(left, 2**18))
            if not piece:
                break
            left -= len(piece)
            data.write(inflate.decompress(piece, more))
    except zlib.error as error:
        raise Unreadable(str(error)) from None
    return data.getvalue()


def _find_directory(file: IO[bytes], path: Path) -> tuple[int, int, int]:
    """How many members the directory has, where it starts, and where it must have ended."""
    total = file.seek(0, os.SEEK_END)
    tail_start = file.seek(max(total - 22 - 2**16 - 20, 0))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise _damaged(path, "it has no directory; it may be cut off")
    count, length, start = struct.unpack_from("<10xHLL", tail, at)
    end = tail_start + at
    if tail[max(at - 20, 0) : at].startswith(b"PK\6\7"):
        file.seek(min(struct.unpack_from("<8xQ", tail, at - 20)[0], total))
        large = file.read(56)
        if len(large) < 56 or large[:4] != b"PK\6\6":
            raise _damaged(path, "its directory is damaged")
        count, length, start = struct.unpack_from("<32xQQQ", large)
    if start + length > end:
        raise _damaged(path, "its directory is damaged")
    return count, start, end


def _widened(values: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """Size, packed size and start, with those of zip64 where they do not fit 32 bits, in this order."""
    at = 0
    while len(extra) >= at + 4:
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            wide = iter(struct.unpack_from(f"<{len(field) // 8}Q", field))
            size, packed, start = (next(wide, value) if value == 0xFFFFFFFF else value for value in values)
            values = size, packed, start
        at += 4 + length
    return values


def _damaged(path: Path, how: str) -> UsageError:
    return UsageError(f"--source={path} cannot be read as a zip archive: {how}")
