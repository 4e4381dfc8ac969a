"""What a file is: its first bytes say it, whatever its name says."""

import os
import re

HEAD_BYTES = 64  # of a file, enough to know what it is
# Endings of files that are taken for images without a look at them: whether they are one, decoding shows.
SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".pjpeg"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
IMAGES = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WebP", "PPM", "AVIF", "HEIC")
_MAX_ENDING = 12  # letters: what is longer is part of a name
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF document",
    b"8BPS": "Photoshop file",
    b"\xff\x4f\xff\x51": "JPEG 2000 image",
    b"\0\0\0\x0cjP  ": "JPEG 2000 image",
    b"\xff\x0a": "JPEG XL image",
    b"\0\0\0\x0cJXL ": "JPEG XL image",
    b"version https://git-lfs": "Git LFS pointer (git lfs pull brings the file)",
    b"PK\3\4": "zip archive",
    b"\x1f\x8b": "gzip archive",
}
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
}
_TEXTS = re.compile(rb"\s*<(?:(!doctype html|html|head|body)|(svg|\?xml|!doctype svg))", re.IGNORECASE)
_PPM = re.compile(rb"P[1-6][\s#]")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes of the header that follows the file's own
_SOF = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]..(.)", re.DOTALL)  # a JPEG's; its precision
_MAX_HEADER = 2**18  # bytes of a JPEG in which its precision is looked for


def kind_of(head: bytes) -> str:
    """Return what a file is, one of `IMAGES` or something else in words; '' where its bytes do not say it.

    Args:
      head: its first `HEAD_BYTES`, or more.
    """
    for start, kind in _STARTS.items():
        if head.startswith(start):
            return kind
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"mif1", b"msf1") and b"avif" in head[16:HEAD_BYTES]:
            return "AVIF"
        return _BRANDS.get(head[8:12], "film")
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else ""
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if _PPM.match(head):
        return "PPM"
    text = _TEXTS.match(head)
    if text is None:
        return ""
    return "HTML page" if text[1] else "SVG drawing or XML"


def ending_of(path: str) -> str:
    """Return the ending of a file's name in lower case, with its dot; '' where it has none."""
    ending = os.path.splitext(path)[1].lower()
    return ending if ending[1:].isalnum() and len(ending) <= _MAX_ENDING else ""


def why_not_read(head: bytes, ending: str) -> str:
    """Return why a file whose ending is not in `SUFFIXES` is not read as an image; '' where it is one.

    Args:
      head: its first `HEAD_BYTES`.
      ending: of its name, as `ending_of` gives it.
    """
    kind = kind_of(head)
    if kind == "TIFF" and ending:
        return "a camera's raw file, or a TIFF under another ending"
    if kind in IMAGES:
        return ""
    return kind or ("no image" if head else "empty file")


def describe(data: bytes) -> str:
    """Return what bytes are of which no decoder makes an image, for a message; '' where nothing is known.

    Args:
      data: the whole file.
    """
    if not data:
        return "an empty file"
    if not any(data[:4096]) and not any(data):
        return "nothing but zeros: it was not copied whole"
    kind = kind_of(data)
    if kind == "JPEG":
        frame = _SOF.search(data, 2, _MAX_HEADER)
        return f"a {frame[1][0]}-bit JPEG" if frame and frame[1][0] != 8 else "a damaged JPEG"
    article = "an" if kind[:1] in "AHS" and kind[:4] in ("AVIF", "HTML", "SVG ") else "a"
    if kind in IMAGES:
        return f"a damaged {kind}"
    return f"{article} {kind}, not an image" if kind else ""
