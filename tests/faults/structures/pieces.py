"""What hostile files are made of: pickle instructions, zip archives that lie, numpy's headers, protobuf."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

# Pickle instructions, protocol 2


def text(words: str | bytes) -> bytes:
    raw = words.encode() if isinstance(words, str) else words
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(number: int) -> bytes:
    if 0 <= number < 256:
        return b"K" + bytes([number])
    raw = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return (b"\x8a" + bytes([len(raw)]) if len(raw) < 256 else b"\x8b" + struct.pack("<I", len(raw))) + raw


def put(key: int) -> bytes:
    return b"r" + struct.pack("<I", key)


def get(key: int) -> bytes:
    return b"j" + struct.pack("<I", key)


def row(*values: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def numbers(values: Sequence[int]) -> bytes:
    return row(*map(integer, values))


def name(words: str) -> bytes:
    """A name that a pickle mentions: 'torch._utils._rebuild_tensor_v2'."""
    return b"c" + b"\n".join(part.encode() for part in words.rsplit(".", 1)) + b"\n"


def nested(levels: int = 40, key: int = 900) -> bytes:
    """A tuple of twice the same tuple of twice the same tuple: 2**levels numbers if it were written out."""
    return b"K\x01\x85" + put(key) + (b"0" + get(key) + get(key) + b"\x86" + put(key)) * levels


def storage(key: bytes, count: int, kind: str = "torch.FloatStorage", *more: bytes) -> bytes:
    return row(text("storage"), name(kind), key, text("cpu"), integer(count), *more) + b"Q"


def tensor(stored: bytes, size: bytes, stride: bytes, offset: bytes = b"K\x00") -> bytes:
    return name("torch._utils._rebuild_tensor_v2") + row(stored, offset, size, stride, b"\x89", b"}") + b"R"


def object_of(kind: str, arguments: bytes, state: bytes) -> bytes:
    """An object of a class, as pickles have it."""
    return name(kind) + arguments + b"\x81" + state + b"b"


def table(*items: tuple[bytes, bytes]) -> bytes:
    """A dictionary."""
    return b"}(" + b"".join(key + value for key, value in items) + b"u"


def copied(called: str, value: bytes, times: int, *more: bytes) -> bytes:
    """A list of what `called` makes of the same value, `times` over."""
    function, argument = put(1), put(2)
    once = get(1) + get(2) + b"R"
    head = name(called) + function + b"0" + row(value, *more) + argument + b"0"
    return head + b"](" + once * times + b"e"


def items(count: int) -> bytes:
    return b"}(" + b"".join(b"M" + struct.pack("<H", n) + b"N" for n in range(count)) + b"u"


def pickled(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


# Zip archives


@dataclass(frozen=True)
class Member:
    """One file of a zip archive; what is None is what is so.

    `raw` is stored as it is; with method 8 it is a stream that inflates to `size` bytes with the sum `crc`.
    """

    name: str
    raw: bytes
    method: int = 0
    size: int | None = None
    crc: int | None = None
    at: int | None = None  # where the archive's directory says that it begins


def zipped(members: Sequence[Member], count: int | None = None) -> bytes:
    """An archive of `members`; its end says that it has `count`."""
    parts: list[bytes] = []
    rows: list[bytes] = []
    position = 0
    for member in members:
        crc = zlib.crc32(member.raw) if member.crc is None else member.crc
        size = len(member.raw) if member.size is None else member.size
        title = member.name.encode()
        common = struct.pack(
            "<HHHHHIIIHH", 20, 0x800, member.method, 0, 33, crc, len(member.raw), size, len(title), 0
        )
        local = b"PK\x03\x04" + common + title + member.raw
        begin = position if member.at is None else member.at
        rows.append(b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, begin))
        rows.append(title)
        parts.append(local)
        position += len(local)
    body, directory = b"".join(parts), b"".join(rows)
    total = len(members) if count is None else count
    end = struct.pack("<HHHHIIH", 0, 0, total & 0xFFFF, total & 0xFFFF, len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


_BLOCK = 2**20


def zeros(title: str, head: bytes, count: int, stated: int | None = None, unit: bytes = b"\x00") -> Member:
    """A member that inflates to `head` and at least `count` bytes of `unit` again and again, made at once."""
    block = unit * (_BLOCK // len(unit))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    whole, rest = divmod(count, len(block))
    tail = unit * (rest // len(unit))
    last = packer.compress(tail) + packer.flush(zlib.Z_FINISH)
    crc = zlib.crc32(head)
    for _ in range(whole):
        crc = zlib.crc32(block, crc)
    size = len(head) + whole * len(block) + len(tail)
    return Member(title, first + piece * whole + last, 8, stated or size, zlib.crc32(tail, crc))


# Numpy


def header(descr: str, shape: Sequence[int] | str, order: str = "False", version: int = 1) -> bytes:
    """The head of a .npy; `descr` as it stands there, with its quotes."""
    dims = shape if isinstance(shape, str) else "(" + "".join(f"{n}, " for n in shape) + ")"
    words = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {dims}, }}".encode()
    words = words.ljust((len(words) + 11 + 63) // 64 * 64 - 11) + b"\n"
    return (
        b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(words)) + words
    )


# Protocol buffers


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes(found) + bytes([value])


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content
