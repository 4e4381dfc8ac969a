"""What files are, against what Pillow wrote and what their formats say."""

import io
import struct

import pytest
from PIL import Image

from alexnet_jax.data import file_kinds
from alexnet_jax.data.images import BadImage, resize_center_crop
from tests.data import made_up

BOX = struct.pack(">I", 24) + b"ftyp"


def written(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        *((written(kind), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "AVIF")),
        (written("WEBP"), "WebP"),
        (written("MPO"), "JPEG"),
        (BOX + b"heic\0\0\0\0mif1heic", "HEIC"),
        (BOX + b"mif1\0\0\0\0mif1heic", "HEIC"),
        (BOX + b"mif1\0\0\0\0mif1avif", "AVIF"),
        (BOX + b"isom\0\0\0\0isommp41", "film"),
        (b"\n<!DOCTYPE html><html>", "HTML page"),
        (b"<svg xmlns='x'>", "SVG drawing or XML"),
        (b"%PDF-1.7", "PDF document"),
        (b"BMW and other cars", ""),
        (b"Please read me", ""),
        (b"P2P is a network", ""),
        (b"", ""),
    ],
)
def test_kinds(data: bytes, kind: str) -> None:
    assert file_kinds.kind_of(data[: file_kinds.HEAD_BYTES]) == kind


@pytest.mark.parametrize(
    ("path", "ending"),
    [("a/b.JPG", ".jpg"), ("a.b/c", ""), ("x.tar.gz", ".gz"), ("a. no ending", ""), (f"x.{'e' * 40}", "")],
)
def test_endings(path: str, ending: str) -> None:
    assert file_kinds.ending_of(path) == ending


@pytest.mark.parametrize(
    ("data", "ending", "reason"),
    [
        (written("JPEG"), "", ""),
        (written("TIFF"), "", ""),
        (written("TIFF"), ".dng", "a camera's raw file, or a TIFF under another ending"),
        (b"a,b\n", ".csv", "no image"),
        (b"", ".txt", "empty file"),
        (b"8BPS\0\1", ".psd", "Photoshop file"),
    ],
)
def test_why_a_file_is_not_read(data: bytes, ending: str, reason: str) -> None:
    assert file_kinds.why_not_read(data[: file_kinds.HEAD_BYTES], ending) == reason


def twelve_bits() -> bytes:
    data = bytearray(written("JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (bytes(9000), "nothing but zeros"),
        (twelve_bits(), "a 12-bit JPEG"),
        (b"<html><body>404</body></html>", "an HTML page, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"%PDF-1.7\n" + bytes(100), "a PDF document, not an image"),
        (b"no image", "not an image in one of the formats AVIF, BMP"),
        (made_up.image_file(1)[:200], "[Tt]runcated"),  # Pillow's own words
    ],
)
def test_what_cannot_be_decoded_is_named(data: bytes, words: str) -> None:
    with pytest.raises(BadImage, match=words):
        resize_center_crop(data, 8, 3, exif_rotation=False)


@pytest.mark.parametrize("kind", ["AVIF", "MPO", "PPM"])
def test_forms_that_pillow_reads(kind: str) -> None:
    assert (resize_center_crop(written(kind), 4, 3, exif_rotation=False)[..., 0] > 200).all()
