"""Images that follow the grammar of their format and are wrong, huge, nested or repeated somewhere."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from PIL import Image

from tests.faults.structures.archives import repeated

Draw = np.random.Generator
MIB = 2**20
WIDE = 13_370  # squared, what Pillow takes at most
SIDES = [0, 1, 7, 255, 256, 65_535, 65_536, 10**7, 2**31 - 1, 2**32 - 1]


def side(draw: Draw) -> int:
    """Small mostly, so that the file can be whole."""
    return int(draw.integers(1, 40)) if draw.random() < 0.7 else SIDES[draw.integers(len(SIDES))]


def saved(kind: str, size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


# PNG (ISO 15948)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    width: int, height: int, bits: int, colour: int, pixels: bytes, *others: bytes, lace: int = 0
) -> bytes:
    """A PNG; `pixels` is a zlib stream, `others` stand before it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, lace))
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    body = b"".join(others) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + palette + body


def row_bytes(width: int, bits: int, colour: int) -> int:
    return 1 + -(-width * bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] // 8)


def black_png(width: int, height: int, bits: int, colour: int, *others: bytes) -> bytes:
    row = row_bytes(width, bits, colour)
    rows = max(MIB // row, 1)
    return png(
        width, height, bits, colour, b"\x78\x9c" + repeated(bytes(row * rows), height // rows + 1), *others
    )


def texts(count: int, kind: bytes = b"iTXt") -> list[bytes]:
    packed = zlib.compress(b"a" * 10**6 + "\U0001f600".encode(), 9)
    between = b"\0\1\0\0\0" if kind == b"iTXt" else b"\0\0"
    return [chunk(kind, b"k%d" % number + between + packed) for number in range(count)]


FORMS = [(1, 0), (2, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6)]


def any_png(draw: Draw) -> bytes:
    width, height = side(draw), side(draw)
    bits, colour = FORMS[draw.integers(len(FORMS))]
    size = min(row_bytes(width, bits, colour) * height, 2 * MIB)
    others = []
    for _ in range(draw.integers(4)):
        match draw.integers(7):
            case 0:
                others.append(chunk(b"tRNS", bytes(int(draw.integers(300)))))
            case 1:
                others += texts(int(draw.integers(1, 4)), [b"iTXt", b"zTXt"][draw.integers(2)])
            case 2:
                others.append(chunk(b"eXIf", exif(draw)))
            case 3:
                others.append(chunk(b"acTL", struct.pack(">II", draw.integers(2**31), 0)))
            case 4:
                frame = (0, width, height, side(draw), side(draw), 0, 0, 0, 0)
                others.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", *frame)))
            case 5:
                others.append(chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(10**6))))
            case _:
                others.append(chunk(b"teSt", b"") * int(draw.integers(1, 300)))
    lace = int(draw.random() < 0.2)
    pixels = zlib.compress(draw.integers(2, size=1, dtype=np.uint8).tobytes() * size * (1 + lace), 1)
    return png(width, height, bits, colour, pixels, *others, lace=lace)


# JPEG (ITU T.81)


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def frame(marker: int, width: int, height: int, sampling: Sequence[int]) -> bytes:
    parts = b"".join(bytes([n + 1, factors, 0]) for n, factors in enumerate(sampling))
    return segment(marker, struct.pack(">BHHB", 8, height, width, len(sampling)) + parts)


def scan(parts: int, first: int = 0, last: int = 63, approximation: int = 0) -> bytes:
    which = b"".join(bytes([n + 1, 0]) for n in range(parts))
    return segment(0xDA, bytes([parts]) + which + bytes([first, last, approximation]))


# One code of one bit, 0: no difference, and the end of a block. So every bit is a block without detail.
TABLES = segment(0xDB, b"\0" + b"\1" * 64)
TABLES += segment(0xC4, b"\x00\1" + bytes(15) + b"\0") + segment(0xC4, b"\x10\1" + bytes(15) + b"\0")


def blocks(width: int, height: int, sampling: Sequence[int]) -> int:
    across, down = max(f >> 4 for f in sampling), max(f & 15 for f in sampling)
    return -(-width // (8 * across)) * -(-height // (8 * down)) * sum((f >> 4) * (f & 15) for f in sampling)


def grey_jpeg(width: int, height: int, sampling: Sequence[int], progressive: bool, *others: bytes) -> bytes:
    """A whole one of one grey; progressive: the coarsest scan alone, which is enough."""
    head = (
        b"\xff\xd8"
        + b"".join(others)
        + TABLES
        + frame(0xC2 if progressive else 0xC0, width, height, sampling)
    )
    bits = blocks(width, height, sampling) * (1 if progressive else 2)
    last = 0 if progressive else 63
    return head + scan(len(sampling), 0, last) + bytes(bits // 8 + 1) + b"\xff\xd9"


def many_scans(wide: int, scans: int) -> bytes:
    """A progressive JPEG whose scans say 16,384 blocks at a time that nothing follows."""
    whole = grey_jpeg(wide, wide, (0x11,), True)[:-2]
    table = segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0")
    runs = blocks(wide, wide, (0x11,)) // 16_384 + 1
    return whole + table + (scan(1, 1) + bytes(15 * runs // 8 + 1)) * scans + b"\xff\xd9"


def any_jpeg(draw: Draw) -> bytes:
    width, height = (min(side(draw), 65_535) for _ in range(2))
    if width * height > 2**24:
        height = min(height, 40)
    sampling = [(0x11,), (0x11,) * 3, (0x22, 0x11, 0x11), (0x44, 0x11, 0x11), (0x11,) * 4, (0x11,) * 2]
    others = []
    for _ in range(draw.integers(4)):
        match draw.integers(5):
            case 0:
                others.append(segment(0xE1, b"Exif\0\0" + exif(draw)))
            case 1:
                others.append(segment(0xE1, b"Exif\0\0x") * int(draw.integers(1, 9000)))
            case 2:
                others.append(segment(0xE2, b"MPF\0" + exif(draw)))
            case 3:
                others.append([b"\xff" * 900, bytes(900), b"\xff\xd0", b"\xff\x01"][draw.integers(4)])
            case _:
                others.append(segment(0xED, b"Photoshop 3.0\x008BIM" + bytes(40)))
    found = grey_jpeg(width, height, sampling[draw.integers(len(sampling))], draw.random() < 0.5, *others)
    if draw.random() < 0.2:
        found = found[:-2] + (scan(1, 1) + bytes(9)) * int(draw.integers(1, 3000)) + b"\xff\xd9"
    return found


# TIFF 6.0 and EXIF


def tiff(entries: dict[int, tuple[int, Sequence[int]]], *contents: bytes) -> bytes:
    """A TIFF of tags, {tag: (type, values)}; a value of None is where the contents start."""
    size = 10 + 12 * len(entries) + 4
    table, more = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)), b""
    length = {
        tag: len(values) * {1: 1, 3: 2, 4: 4, 5: 4, 7: 1}[kind] for tag, (kind, values) in entries.items()
    }
    start = size + sum(n for n in length.values() if n > 4)
    for tag, (kind, values) in sorted(entries.items()):
        code = {1: "B", 3: "H", 4: "I", 5: "I", 7: "B"}[kind]
        packed = struct.pack(f"<{len(values)}{code}", *(start if v == AT else v for v in values))
        count = len(values) // (2 if kind == 5 else 1)
        place = packed.ljust(4, b"\0")
        if len(packed) > 4:
            place = struct.pack("<I", size + len(more))
            more += packed
        table += struct.pack("<HHI", tag, kind, count) + place
    return table + bytes(4) + more + b"".join(contents)


AT = -1  # stands for the position of a TIFF's contents


def strips(
    width: int, height: int, bits: Sequence[int], pack: int, rows: int, offsets: Sequence[int], size: int
):
    photometric = 2 if len(bits) == 3 else 1
    values = {256: [width], 257: [height], 258: bits, 259: [pack], 262: [photometric], 273: offsets}
    values |= {277: [len(bits)], 278: [rows], 279: [size] * len(offsets)}
    return {tag: (3 if tag in (258, 259, 262, 277) else 4, found) for tag, found in values.items()}


def black_tiff(width: int, height: int, *bits: int, sample: int = 1) -> bytes:
    """One strip, deflated."""
    row = -(-width * sum(bits) // 8)
    rows = max(MIB // row, 1)
    packed = b"\x78\x9c" + repeated(bytes(row * rows), height // rows + 1)
    tags = strips(width, height, bits, 8, height, [AT], len(packed)) | {339: (3, [sample])}
    return tiff(tags, packed)


def one_large_tile() -> bytes:
    packed = b"\x78\x9c" + repeated(bytes(MIB), 1024)
    tags = strips(16, 16, [8], 8, 16, [AT], len(packed))
    del tags[273], tags[278], tags[279]
    return tiff(
        tags | {322: (4, [60_000]), 323: (4, [60_000]), 324: (4, [AT]), 325: (4, [len(packed)])}, packed
    )


def exif(draw: Draw) -> bytes:
    """A block of tags, of which many may share one place."""
    entries: dict[int, tuple[int, Sequence[int]]] = {274: (3, [int(draw.integers(10))])}
    for _ in range(draw.integers(9)):
        tag = int(draw.choice([282, 283, 296, 305, 0x8769, 0x8825, 0xA005, 0x927C, 40_000]))
        kind = int(draw.choice([1, 3, 4, 5, 7]))
        entries[tag] = (kind, [int(v) for v in draw.integers(200, size=2 * draw.integers(1, 40))])
    return tiff(entries)


def any_tiff(draw: Draw) -> bytes:
    width, height = side(draw), side(draw)
    bits = [[8], [8, 8, 8], [16], [32], [1], [16, 16, 16]][draw.integers(6)]
    pack = int(draw.choice([1, 5, 7, 8, 32_773]))
    rows = int(draw.choice([height, 1, 8]))
    pixels = bytes(min(-(-width * sum(bits) // 8) * height, MIB))
    content = zlib.compress(pixels, 1) if pack == 8 else pixels
    if draw.random() < 0.5:
        pack, content = [(1, pixels), (8, zlib.compress(pixels, 1))][draw.integers(2)]
        rows = height
    count = min(-(-height // max(rows, 1)), 2000)
    offsets = [AT] * (count if draw.random() < 0.8 else int(draw.integers(1, 5000)))
    tags = strips(width, height, bits, pack, rows, offsets, len(content))
    for _ in range(draw.integers(3) if draw.random() < 0.5 else 0):
        tag = int(draw.choice([274, 277, 278, 282, 284, 317, 320, 322, 323, 338, 339, 347, 530, 34_665]))
        tags[tag] = (int(draw.choice([1, 3, 4, 5])), [int(draw.integers(200)) for _ in range(2)])
    return tiff(tags, content)


# Others


def bitmap(width: int, height: int, bits: int, packing: int, body: bytes) -> bytes:
    palette = bytes(4 << bits) if bits <= 8 else b""
    start = 54 + len(palette)
    info = (40, width, height, 1, bits, packing, len(body), 0, 0, (1 << bits) if bits <= 8 else 0, 0)
    return (
        b"BM"
        + struct.pack("<IHHI", start + len(body), 0, 0, start)
        + struct.pack("<IiiHHIIiiII", *info)
        + palette
        + body
    )


def any_bmp(draw: Draw) -> bytes:
    width, height = (int(min(side(draw), 2**31 - 1)) for _ in range(2))
    if draw.random() < 0.5:
        runs = [b"\xff\x01", b"\0\0", b"\0\x02\xff\xff", b"\0\x09" + bytes(10), b"\x05\x01"]
        body = b"".join(runs[n] for n in draw.integers(len(runs), size=draw.integers(1, 300)))
        packing = int(draw.integers(1, 3))
        return bitmap(width, height, 8 if packing == 1 else 4, packing, body + b"\0\1")
    bits = int(draw.choice([1, 4, 8, 16, 24, 32]))
    return bitmap(width, height, bits, 0, bytes(min(-(-width * bits // 32) * 4 * height, MIB)))


def any_ppm(draw: Draw) -> bytes:
    width, height = side(draw), side(draw)
    kind = [b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf"][draw.integers(7)]
    top = b"" if kind in (b"P1", b"P4") else b" %d" % draw.choice([1, 255, 65_535])
    size = min(width * height * 3, MIB // 8)
    body = b"1 " * size if kind in (b"P1", b"P2", b"P3") else bytes(4 * size)
    if draw.random() < 0.3:
        body = b"#\n" * int(draw.integers(1, 3000)) + body
    return kind + b" %d %d" % (width, height) + top + b"\n" + body


@cache
def _gif() -> bytes:
    return saved("GIF", (24, 18), "P", transparency=3)


def any_gif(draw: Draw) -> bytes:
    """Its screen and its frame are of other sizes, and comments stand between."""
    found, at = bytearray(_gif()), _gif().index(b",")
    while draw.random() < 0.6:
        where = int(draw.choice([6, 8, at + 1, at + 3, at + 5, at + 7]))
        struct.pack_into("<H", found, where, min(side(draw), 65_535))
    if draw.random() < 0.3:
        found[at:at] = b"!\xfe" + b"\xff" + bytes(255) + b"\0"
    if draw.random() < 0.3:
        found[at:at] = b"!\xfe" * int(draw.integers(1, 500)) + b"\0"
    return bytes(found)


@cache
def _webp() -> bytes:
    return saved("WEBP", (24, 18), "RGBA", lossless=True, quality=0, method=0)


def plain_webp(width: int, height: int) -> bytes:
    """A lossless one of one colour, which takes no bits: its sides are all that changes."""
    found = bytearray(_webp())
    at = found.index(b"VP8L") + 9
    bits = struct.unpack_from("<I", found, at)[0] & ~0xFFFFFFF
    struct.pack_into("<I", found, at, bits | (height - 1) << 14 | width - 1)
    return bytes(found)


def any_webp(draw: Draw) -> bytes:
    width, height = (min(max(side(draw), 1), 16_384) for _ in range(2))
    plain = plain_webp(width, height)
    if draw.random() < 0.5:
        return plain
    canvas = struct.pack("<I", side(draw) & 0xFFFFFF)[:3] + struct.pack("<I", side(draw) & 0xFFFFFF)[:3]
    body = b"WEBPVP8X" + struct.pack("<II", 10, draw.integers(64))[:8] + canvas + plain[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def turned(orientation: int) -> bytes:
    return segment(0xE1, b"Exif\0\0" + tiff({274: (3, [orientation])}))


STRUCTURES: dict[str, Callable[[Draw], bytes]] = {
    "image png": any_png,
    "image jpeg": any_jpeg,
    "image tiff": any_tiff,
    "image bmp": any_bmp,
    "image ppm": any_ppm,
    "image gif P": any_gif,
    "image webp": any_webp,
}
FULL = (0x11,) * 3
ATTACKS: dict[str, tuple[str, Callable[[], bytes]]] = {
    f"an image: {words}": (f"image {kind}", make)
    for words, kind, make in (
        ("PNG, 16 bits, 13,370 x 13,370", "png", lambda: black_png(WIDE, WIDE, 16, 0)),
        ("PNG, 16 bits, 178,000,000 x 1", "png", lambda: black_png(178_000_000, 1, 16, 0)),
        ("PNG, RGB, 13,370 x 13,370", "png", lambda: black_png(WIDE, WIDE, 8, 2)),
        ("PNG, RGBA, 13,370 x 13,370", "png", lambda: black_png(WIDE, WIDE, 8, 6)),
        ("PNG, grey with alpha, 13,370 x 13,370", "png", lambda: black_png(WIDE, WIDE, 8, 4)),
        ("PNG, 1 bit, 13,370 x 13,370", "png", lambda: black_png(WIDE, WIDE, 1, 0)),
        (
            "PNG, a palette with alpha, 13,370 x 13,370",
            "png",
            lambda: black_png(WIDE, WIDE, 8, 3, chunk(b"tRNS", bytes(256))),
        ),
        ("PNG, 64 packed texts", "png", lambda: black_png(8, 8, 8, 2, *texts(64))),
        ("JPEG, progressive, 65,500 x 2,000", "jpeg", lambda: grey_jpeg(65_500, 2000, FULL, True)),
        ("JPEG, progressive, 13,000 x 13,000", "jpeg", lambda: grey_jpeg(13_000, 13_000, FULL, True)),
        ("JPEG, CMYK, 13,000 x 13,000", "jpeg", lambda: grey_jpeg(13_000, 13_000, (0x11,) * 4, False)),
        ("JPEG, turned, 13,000 x 13,000", "jpeg", lambda: grey_jpeg(13_000, 13_000, FULL, False, turned(6))),
        ("JPEG, 3,000 scans", "jpeg", lambda: many_scans(13_000, 3000)),
        (
            "JPEG, 900,000 EXIF blocks",
            "jpeg",
            lambda: grey_jpeg(8, 8, FULL, False, segment(0xE1, b"Exif\0\0x") * 900_000),
        ),
        ("TIFF, floats, 13,000 x 13,000", "tiff", lambda: black_tiff(13_000, 13_000, 32, sample=3)),
        ("TIFF, 32 bits, 13,000 x 13,000", "tiff", lambda: black_tiff(13_000, 13_000, 32, sample=2)),
        ("TIFF, one strip, 13,370 x 13,370", "tiff", lambda: black_tiff(WIDE, WIDE, 8, 8, 8)),
        ("TIFF, one tile of 60,000 x 60,000", "tiff", one_large_tile),
        (
            "TIFF, 660,000 strips",
            "tiff",
            lambda: tiff(strips(270, 660_000, [8], 1, 1, [8] * 660_000, 270), bytes(70_000)),
        ),
        ("BMP, one run, 170,000,000 x 1", "bmp", lambda: bitmap(170_000_000, 1, 8, 1, b"\1\0\0\0\0\1")),
        (
            "BMP, 4 bits in runs, 13,370 x 13,370",
            "bmp",
            lambda: bitmap(WIDE, WIDE, 4, 2, (b"\xff\x01" * 53 + b"\0\0") * WIDE),
        ),
        ("PPM, 500,000 comments", "ppm", lambda: b"P3 999 999 255\n" + b"#\n" * 500_000),
        (
            "GIF with a clear colour, 13,370 x 13,370",
            "gif P",
            lambda: saved("GIF", (WIDE, WIDE), "P", transparency=0),
        ),
        ("WEBP, 13,370 x 13,370", "webp", lambda: plain_webp(WIDE, WIDE)),
        ("WEBP, 16,384 x 16,384", "webp", lambda: plain_webp(16_384, 16_384)),
    )
}
