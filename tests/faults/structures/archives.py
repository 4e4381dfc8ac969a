"""Archives and tables of images: they follow their format and are wrong, huge, nested or repeated."""

import bz2
import gzip
import lzma
import struct
import tarfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from tests.data import made_up

Draw = np.random.Generator
MIB = 2**20
IMAGE = made_up.image_file(1, size=(8, 6))
NAMES = [f"train/{label}/{number}.jpg" for label in ("ant", "bee") for number in range(9)]
ODD_NAMES = [
    "train/../x.jpg",
    "../../x.jpg",
    "/train/ant/x.jpg",
    "train\\ant\\x.jpg",
    "",
    ".jpg",
    "x.jpg",
    "train/x.jpg",
    "n" * 5000 + ".jpg",
    "d/" * 900 + "x.jpg",
    "train/a\nb/x.jpg",
    "train/\x1b[2J/x.jpg",
    "train/ä\udcff/x.jpg",
    "train/ant/0.jpg",
    "train/ant/a.tar/x.jpg",
    "val/ILSVRC2012_val_00000001.JPEG",
]
ODD_SIZES = [0, 1, 511, 512, 513, 2**28, 2**31, 2**33 - 1, 2**40, 2**63]


def repeated(block: bytes, times: int) -> bytes:
    """`block` deflated and written `times` over: an endless stream in little time. Its end is missing."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)) * times


def gzipped(*streams: bytes) -> bytes:
    """Deflated streams as a .gz."""
    return b"\x1f\x8b\x08" + bytes(7) + b"".join(streams)


# Tars


def header(name: str, size: int = 0, kind: bytes = b"0") -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def record(key: bytes, value: bytes) -> bytes:
    """What a header of POSIX says: its length, which counts itself, a key and a value."""
    length = len(key) + len(value) + 3
    length += len(str(length + len(str(length))))
    return b"%d %b=%b\n" % (length, key, value)


def extension(records: bytes, kind: bytes = b"x") -> bytes:
    return header("x", len(records), kind) + padded(records)


def _odd_member(draw: Draw, name: str) -> bytes:
    """One that lies about itself."""
    odd = ODD_NAMES[draw.integers(len(ODD_NAMES))]
    size = int(ODD_SIZES[draw.integers(len(ODD_SIZES))])
    match draw.integers(9):
        case 0:
            return header(odd, len(IMAGE)) + padded(IMAGE)
        case 1:
            return header(name, size) + padded(IMAGE)
        case 2:
            return extension(record(b"path", odd.encode("utf-8", "surrogateescape"))) + header(name)
        case 3:
            return extension(record(b"size", str(size).encode() * draw.integers(1, 400))) + header(name)
        case 4:
            return extension(b"4 =\n" * int(draw.integers(1, 5000))) + header(name)
        case 5:
            return extension(b"9" * int(draw.integers(1, 6000)) + b" path=x\n") + header(name)
        case 6:
            return extension(record(b"GNU.sparse.size", b"9" * 30)) + header(name, kind=b"S")
        case 7:
            return extension(b"a/" * int(draw.integers(1, 40_000)) + b"x.jpg\0", b"L") + header(name)
        case _:
            return header(name, kind=bytes([draw.integers(256)])) * int(draw.integers(1, 300))


def tar(draw: Draw, levels: int = 0, valid: bool | None = None) -> bytes:
    """A tar, or one of tars."""
    if valid is None:
        valid = draw.random() < 0.5
    members = []
    for name in NAMES[: draw.integers(1, 4 if levels else len(NAMES))]:
        if not valid and draw.random() < 0.3:
            members.append(_odd_member(draw, name))
        elif levels:
            inner = tar(draw, levels - 1, valid or draw.random() < 0.7)
            members.append(header(f"{name[:-4]}.tar", len(inner)) + padded(inner))
        else:
            members.append(header(name, len(IMAGE)) + padded(IMAGE))
    if not valid and draw.random() < 0.3:
        members = members * int(draw.integers(1, 8))
    ends = 2 if valid else int(draw.integers(3))
    return b"".join(members) + bytes(512 * ends)


def _packed(pack: Callable[[bytes], bytes], zeros: Callable[[int], bytes]) -> Callable[[Draw], bytes]:
    def make(draw: Draw) -> bytes:
        plain = tar(draw)
        if draw.random() < 0.9:
            packed = pack(plain)
            return packed[: draw.integers(len(packed))] if draw.random() < 0.1 else packed
        return pack(header("train/ant/x.jpg", 2**40)) + zeros(int(draw.integers(1, 400)))

    return make


def _zeros_gz(mebibytes: int) -> bytes:
    return gzipped(repeated(bytes(MIB), mebibytes))


ZEROS_XZ, ZEROS_BZ2 = lzma.compress(bytes(MIB), preset=0), bz2.compress(bytes(MIB))

# Zip archives


def zip_file(members: Sequence[tuple[str, bytes, dict[str, int]]], **claims: int) -> bytes:
    """A zip of deflated members, whose fields may say something else than is there."""
    body, directory = b"", b""
    for name, data, lies in members:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        packed = packer.compress(data) + packer.flush()
        raw = name.encode("utf-8", "surrogateescape")
        fields = {"flags": 0x800, "method": 8, "crc": zlib.crc32(data), "packed": len(packed)}
        fields |= {"size": len(data), "extra": 0, "start": len(body), "external": 0} | lies
        method, crc, inside, size = (fields[key] for key in ("method", "crc", "packed", "size"))
        common = struct.pack("<HHLLLL", fields["flags"], method, 0, crc, inside, size)
        extra = struct.pack("<HH", 2, 0) * fields["extra"]
        directory += b"PK\1\2" + struct.pack("<HH", 20, 20) + common
        directory += struct.pack("<5HLL", len(raw), len(extra), 0, 0, 0, fields["external"], fields["start"])
        directory += raw + extra
        body += b"PK\3\4" + struct.pack("<H", 20) + common + struct.pack("<HH", len(raw), 0) + raw + packed
    count, start = claims.get("count", len(members)), claims.get("start", len(body))
    length = claims.get("length", len(directory))
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, length, start, 0)
    return body + directory + end


def zipped(draw: Draw) -> bytes:
    valid = draw.random() < 0.5
    members: list[tuple[str, bytes, dict[str, int]]] = []
    claims: dict[str, int] = {}
    for name in NAMES[: draw.integers(1, len(NAMES))]:
        lies: dict[str, int] = {}
        data = IMAGE
        if not valid and draw.random() < 0.3:
            size = int(ODD_SIZES[draw.integers(len(ODD_SIZES))]) & 0xFFFFFFFF
            key = ["size", "packed", "start", "crc", "method", "flags", "external"][draw.integers(7)]
            match draw.integers(4):
                case 0:
                    name = ODD_NAMES[draw.integers(len(ODD_NAMES))]
                case 1:
                    lies[key] = size & 0xFFFF if key in ("method", "flags") else size
                case 2:
                    data = bytes(int(draw.integers(1, 3 * MIB)))
                case _:
                    lies["extra"] = int(draw.integers(1, 16_000))
        members.append((name, data, lies))
    if not valid and draw.random() < 0.3:
        claims[["count", "start", "length"][draw.integers(3)]] = int(draw.integers(2**31))
    if not valid and draw.random() < 0.3:
        members = members * int(draw.integers(1, 20))
    return zip_file(members, **claims)


# Tables of digits


def idx(sides: Sequence[int], content: bytes, kind: int = 8) -> bytes:
    return struct.pack(f">HBB{len(sides)}I", 0, kind, len(sides), *sides) + content


def _idx(sides: tuple[int, ...], pack: Callable[[bytes], bytes] = bytes) -> Callable[[Draw], bytes]:
    def make(draw: Draw) -> bytes:
        shape, kind = list(sides), 8
        content = draw.integers(10, size=int(np.prod(sides)), dtype=np.uint8).tobytes()
        if draw.random() < 0.5:
            return pack(idx(shape, content))
        match draw.integers(4):
            case 0:
                odd = [0, 1, 2**16, 2**31, 2**32 - 1]
                shape[draw.integers(len(shape))] = odd[draw.integers(5)]
            case 1:
                shape = shape[: draw.integers(len(shape))] + [1] * int(draw.integers(3))
            case 2:
                content = content[: draw.integers(len(content))]
            case _:
                kind = int(draw.integers(256))
        return pack(idx(shape, content, kind))

    return make


# MATLAB files


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind: int, sides: Sequence[int], name: bytes, *parts: bytes) -> bytes:
    flags = element(6, struct.pack("<II", kind, 0))
    return element(
        14, flags + element(5, struct.pack(f"<{len(sides)}i", *sides)) + element(1, name) + b"".join(parts)
    )


def matlab_file(*elements: bytes) -> bytes:
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + b"".join(elements)


def _synsets(draw: Draw) -> bytes:
    valid = draw.random() < 0.5
    rows = [(1, b"n01440764"), (2, b"n01443537")]
    cells = b""
    for number, name in rows:
        cells += matrix(6, (1, 1), b"", element(9, struct.pack("<d", number)))
        cells += matrix(4, (1, len(name)), b"", element(16, name))
    sides, fields = [2, 1], [b"ILSVRC2010_ID", b"WNID"]
    if not valid:
        match draw.integers(5):
            case 0:
                sides[draw.integers(2)] = int(draw.integers(-(2**31), 2**31))
            case 1:
                sides = [int(draw.integers(1, 30)) for _ in range(draw.integers(1, 40))]
            case 2:
                fields = fields * int(draw.integers(2, 2000))
            case 3:
                for _ in range(draw.integers(1, 60)):
                    cells = matrix(1, (1, 1), b"", cells)
            case _:
                cells = matrix(int(draw.integers(20)), sides, b"", cells) + bytes(int(draw.integers(2 * MIB)))
    names = b"".join(field.ljust(32, b"\0") for field in fields)
    table = matrix(2, sides, b"synsets", element(5, struct.pack("<i", 32)), element(1, names), cells)
    if draw.random() < 0.5:
        packed = zlib.compress(table)
        table = struct.pack("<II", 15, len(packed)) + packed
    return matlab_file(table)


STRUCTURES: dict[str, Callable[[Draw], bytes]] = {
    "archive .tar": tar,
    "archive .tar of tars": lambda draw: tar(draw, int(draw.integers(1, 3))),
    "archive .tar.gz": _packed(gzip.compress, _zeros_gz),
    "archive .tar.xz": _packed(lambda data: lzma.compress(data, preset=0), lambda n: ZEROS_XZ * n),
    "archive .tar.bz2": _packed(bz2.compress, lambda n: ZEROS_BZ2 * n),
    "archive .zip": zipped,
    "IDX": _idx((20, 6, 6)),
    "IDX labels": _idx((20,)),
    "IDX .gz": _idx((20, 6, 6), gzip.compress),
    "development kit meta.mat": _synsets,
}


def _zero_zip(names: int, size: int) -> bytes:
    """Members that are all the first one, of zeros."""
    one = [("train/ant/a.png", bytes(size), {})]
    rest = [
        (f"train/ant/{n}.png", b"", {"start": 0, "size": size, "packed": size // 1029}) for n in range(names)
    ]
    return zip_file([*one, *rest])


_TABLE = idx((4 * 1024, 1024, 1024), b"")
ATTACKS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a .tar.gz of 4 GiB of zeros": (
        "archive .tar.gz",
        lambda: gzipped(repeated(header("a.bin", 2**42), 1), repeated(bytes(MIB), 4096)),
    ),
    "a .tar.bz2 of 40 GiB of zeros": (
        "archive .tar.bz2",
        lambda: bz2.compress(header("a.bin", 2**42)) + bz2.compress(bytes(10 * MIB)) * 4096,
    ),
    "a .tar.xz of 4 GiB of zeros": (
        "archive .tar.xz",
        lambda: lzma.compress(header("a.bin", 2**42)) + lzma.compress(bytes(16 * MIB), preset=0) * 256,
    ),
    "a .tar.xz of images of 256 MB of zeros": (
        "archive .tar.xz",
        lambda: lzma.compress(header("a/1.png", 2**28)) + lzma.compress(bytes(16 * MIB), preset=0) * 16,
    ),
    "a .tar.gz of 1,000,000 empty files": (
        "archive .tar.gz",
        lambda: gzipped(repeated(header("train/ant/x", 0) * 4000, 250)),
    ),
    "a tar whose header says 250,000 things": (
        "archive .tar",
        lambda: extension(b"4 =\n" * (2**18 - 1)) + header("train/ant/x.jpg") + bytes(1024),
    ),
    "a tar whose header has a number of 6,000 digits": (
        "archive .tar",
        lambda: extension(b"9" * 6000 + b" path=x\n") + header("train/ant/x.jpg") + bytes(1024),
    ),
    "a tar with a class ..": (
        "archive .tar",
        lambda: header("train/../x.jpg", len(IMAGE)) + padded(IMAGE) + bytes(1024),
    ),
    "a zip with a class ..": ("archive .zip", lambda: zip_file([("train/../x.jpg", IMAGE, {})])),
    "a zip of one image of 250 MB of zeros": ("archive .zip", lambda: _zero_zip(0, 250 * MIB)),
    "a zip of 200 images in the same place": ("archive .zip", lambda: _zero_zip(200, 100 * MIB)),
    "a zip with 6 MB of extra fields": (
        "archive .zip",
        lambda: zip_file([(f"{n}.txt", b"", {"extra": 16_000}) for n in range(100)]),
    ),
    "an .idx.gz of 4 GiB of zeros": (
        "IDX .gz",
        lambda: gzipped(repeated(_TABLE, 1), repeated(bytes(MIB), 4096)),
    ),
    "a meta.mat of 900,000,000 cells": (
        "development kit meta.mat",
        lambda: matlab_file(matrix(1, (30_000, 30_000), b"synsets", struct.pack("<II", 14, 0))),
    ),
    "a meta.mat of 2 GiB of zeros": (
        "development kit meta.mat",
        lambda: matlab_file(element(15, b"\x78\x9c" + repeated(bytes(MIB), 2048))),
    ),
}
