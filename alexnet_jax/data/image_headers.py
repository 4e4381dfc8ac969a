"""What the header of an encoded image says, before any pixel is decoded: what decoding it will cost.

The costs are those of Pillow and the libraries under it, measured; `docs/RELIABILITY.md` has the largest.
"""

import re

from PIL import Image, JpegImagePlugin, TiffImagePlugin

# Pillow's own limit, 1 GiB of RGB at a quarter of its four bytes: above, it takes no image.
MAX_PIXELS = 178_956_970
# Before a JPEG's pixels: photographs have some dozens, and Pillow copies what it has of EXIF with each.
MAX_SEGMENTS = 5_000
# 8 x 8 blocks times scans of a JPEG, up to 60 ns each: an encoder writes some 10 scans, a bomb thousands.
MAX_BLOCK_VISITS = 2**26
MIN_SCAN_BYTES = 10  # of a JPEG: its marker, its length, one channel, and which coefficients
# Of a TIFF: one for each row of three planes of 40,000 rows. Each costs some microseconds.
MAX_TILES = 120_000
# Of a form that Pillow decodes in Python, pixel by pixel, and that a few bytes can ask for.
MAX_SLOW_PIXELS = 2**24
MAX_COMMENTS = 1_000  # in a plain PPM: Pillow copies a megabyte for each
# Of a PNG's compressed texts, each of which Pillow inflates to a megabyte at most and holds.
MAX_TEXT_BYTES = 64 * 2**20
_TEXT_BYTES = {b"zTXt": 2**20, b"iTXt": 4 * 2**20}  # of one: Python may take four bytes a character

_STORED_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2}  # of a pixel; 4 in other modes
_SLOW = ("bmp_rle", "ppm_plain")
_DEFLATE_RATIO = 1032  # at most
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # of a JPEG, followed by a length
_UPRIGHT = 1  # the orientation of an image that need not be turned
_ORIENTATION, _TILE_WIDTH, _TILE_LENGTH, _ROWS, _BITS = 274, 322, 323, 278, 258  # tags of TIFF 6.0


class TooLarge(Exception):
    """Decoding an image would take more than any image may; the message says what."""


def check_encoded(data: bytes) -> None:
    """Check what Pillow would pay for while it opens a file.

    Raises:
      TooLarge: a JPEG of very many segments, a PNG of very much text, a WebP of very many pixels.
    """
    if data[:2] == b"\xff\xd8":
        _first_scan(data)
    elif data[:4] == b"\x89PNG":
        _check_texts(data)
    elif data[:4] == b"RIFF" and data[12:16] == b"VP8X" and len(data) >= 30:
        # libwebp takes the memory of the whole canvas when it opens the file, twice.
        sides = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        _check_pixels((next(sides), next(sides)), 2**25)


def decoding_bytes(image: Image.Image, data: bytes, mode: str) -> int:
    """Return the most memory that `data` takes while it becomes an image of `mode`.

    Args:
      image: `data`, opened by Pillow and not loaded.
      data: the encoded image.
      mode: RGB or L.

    Raises:
      TooLarge: it has too many pixels, or takes too long by its form.
    """
    _check_pixels(image.size, MAX_PIXELS)
    pixels = image.width * image.height
    stored = pixels * _STORED_BYTES.get(image.mode, 4)
    loaded = stored
    if image.format in ("JPEG", "MPO") and isinstance(image, JpegImagePlugin.JpegImageFile):
        loaded += _coefficient_bytes(image, data)
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        loaded += _tiff_bytes(image, stored)
    elif image.format in ("WEBP", "AVIF", "HEIF"):
        loaded += 16 * pixels  # the decoder's frame, two canvases, and the pixels that Pillow copies
    elif any(tile[0] in _SLOW for tile in getattr(image, "tile", ())):
        _check_pixels(image.size, MAX_SLOW_PIXELS)
        if data.startswith((b"P1", b"P2", b"P3")) and data.count(b"#") > MAX_COMMENTS:
            raise TooLarge(f"it has more than {MAX_COMMENTS:,} comments")
        loaded += 3 * stored
    if image.mode == mode and "transparency" not in image.info:
        return loaded
    return max(loaded, stored + turned_bytes(image.size, mode) // 2)


def turned_bytes(size: tuple[int, int], mode: str) -> int:
    """Return the memory of an image of `mode`, RGB or L, and of another that it is turned into."""
    return 2 * size[0] * size[1] * (4 if mode == "RGB" else 1)


def _check_pixels(size: tuple[int, int], most: int) -> None:
    if size[0] * size[1] > most:
        raise TooLarge(
            f"{size[0]:,} x {size[1]:,} pixels are more than the {most:,} that are read of its form"
        )


def _check_texts(data: bytes) -> None:
    at, most = 8, 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        most += min(_TEXT_BYTES.get(kind, 0), 4 * _DEFLATE_RATIO * length)
        at += 12 + length
    if most > MAX_TEXT_BYTES:
        raise TooLarge(f"its texts may take {most >> 20:,} MiB, more than {MAX_TEXT_BYTES >> 20:,}")


def _first_scan(data: bytes) -> tuple[int, bool]:
    """Return where the first scan of a JPEG starts, and whether the way there is plain.

    It is not where bytes lie between segments that readers pass over, each in its way.
    """
    at, plain = 2, True
    for _ in range(MAX_SEGMENTS):
        at, before = data.find(b"\xff", at), at
        if at < 0 or at + 4 > len(data):
            return len(data), False
        plain = plain and at == before
        marker = data[at + 1]
        if marker == 0xDA:
            return at, plain
        if marker == 0xFF:
            at += 1
        elif marker <= 0x01 or 0xD0 <= marker <= 0xD9:  # no length follows
            at, plain = at + 2, False
        else:
            at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
    raise TooLarge(f"it has more than {MAX_SEGMENTS:,} segments before its pixels")


def _coefficient_bytes(image: JpegImagePlugin.JpegImageFile, data: bytes) -> int:
    """Return what libjpeg holds of an image that comes in several scans: all coefficients, 16 bits each."""
    at, plain = _first_scan(data)
    if plain and "progressive" not in image.info and data[at + 4 : at + 5] == bytes([image.layers]):
        return 0
    across = max((part[1] for part in image.layer), default=0) or 1
    down = max((part[2] for part in image.layer), default=0) or 1
    wide, high = -(-image.width // (8 * across)), -(-image.height // (8 * down))
    blocks = wide * high * sum(part[1] * part[2] for part in image.layer)
    if blocks * _count_scans(data, at, MAX_BLOCK_VISITS // max(blocks, 1)) > MAX_BLOCK_VISITS:
        raise TooLarge(f"its scans of {image.width:,} x {image.height:,} pixels would take too long")
    return 128 * blocks


def _count_scans(data: bytes, at: int, enough: int) -> int:
    """Return how many scans a JPEG has from the first, at `at`, to its end, or more than `enough`."""
    scans = 0
    while scans <= enough and (marker := _MARKER.search(data, at)) and marker[0] != b"\xff\xd9":
        scans += marker[0] == b"\xff\xda"
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return scans


def _tiff_bytes(image: TiffImagePlugin.TiffImageFile, stored: int) -> int:
    """Return what libtiff takes for a strip or tile, or what Pillow takes to turn a TIFF, if that is more."""
    tags = image.tag_v2
    if len(image.tile) > MAX_TILES:
        raise TooLarge(f"{len(image.tile):,} strips or tiles are more than the {MAX_TILES:,} that are read")
    turned = stored if tags.get(_ORIENTATION, _UPRIGHT) != _UPRIGHT else 0
    if image.info.get("compression") == "raw":
        return turned
    bits = tags.get(_BITS, (1,))
    wide, high = image.width, min(tags.get(_ROWS, image.height), image.height)
    if _TILE_WIDTH in tags:
        wide, high = tags[_TILE_WIDTH], tags[_TILE_LENGTH]
    return max(turned, int(wide * high * max(-(-sum(bits) // 8), 4)))
