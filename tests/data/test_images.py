"""Pixels against Pillow on whole images, and against arrays that the test made."""

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data import images
from alexnet_jax.data.images import Preprocessing
from tests.data import made_up


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (301, 200), (24, 24), (10, 7), (500, 24)], ids=str)
def test_the_center_of_the_scaled_image(shape: tuple[int, int], channels: int) -> None:
    data = made_up.image_file(3, size=shape)
    cropped = images.resize_center_crop(data, Preprocessing(24, channels, False))
    assert cropped.shape == (24, 24, channels)
    assert cropped.dtype == np.uint8
    wanted = made_up.center_by_pillow(data, 24, "RGB" if channels == 3 else "L")
    assert np.abs(cropped.astype(int) - wanted).max() <= 1


def test_an_image_of_the_right_size_is_taken_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    cropped = images.resize_center_crop(encoded(pixels), Preprocessing(24, 3, False))
    np.testing.assert_array_equal(cropped, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation: int) -> None:
    """Each of the eight, from arrays turned by numpy (EXIF 2.3, tag 274)."""
    upright = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(np.ascontiguousarray(stored), exif=exif)
    np.testing.assert_array_equal(images.resize_center_crop(data, Preprocessing(24, 3, True)), upright)
    np.testing.assert_array_equal(images.resize_center_crop(data, Preprocessing(24, 3, False)), stored)


def test_what_is_transparent_lies_on_white() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 0], pixels[..., 3] = 200, np.arange(8) * 36
    alpha = pixels[..., 3:] / 255
    wanted = pixels[..., :3] * alpha + 255 * (1 - alpha)
    decoded = np.asarray(images.decode(encoded(pixels), Preprocessing(1, 3, False)))
    assert np.abs(decoded - wanted).max() <= 1


def test_sixteen_bits_become_eight() -> None:
    pixels = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    decoded = np.asarray(images.decode(encoded(pixels), Preprocessing(1, 1, False)))
    assert np.abs(decoded - pixels / 257).max() <= 0.5


@pytest.mark.parametrize("name", list(made_up.awkward()))
def test_awkward_images_are_decoded(name: str) -> None:
    decoded = images.decode(made_up.awkward()[name], Preprocessing(1, 3, True))
    assert decoded.mode == "RGB"
    assert images.decode(made_up.awkward()[name], Preprocessing(1, 1, True)).mode == "L"


@pytest.mark.parametrize("name", list(made_up.broken()))
def test_what_is_no_image(name: str) -> None:
    with pytest.raises(images.BadImage) as error:
        images.resize_center_crop(made_up.broken()[name], Preprocessing(24, 3, False))
    assert str(error.value)


def _moded(mode: str) -> bytes:
    """An image of 50 x 37 pixels, in a format that holds its mode."""
    draw = np.random.default_rng(3)
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray((draw.random((37, 50)) * (300 if mode == "F" else 65_535)).astype(kind))
    else:
        image = Image.fromarray(draw.integers(0, 256, (37, 50, 4), dtype=np.uint8), "RGBA")
        image = image.convert("RGB").quantize(200) if mode.startswith("P") else image.convert(mode.split()[0])
    options = {"P clear": {"transparency": bytes(range(200))}, "RGB clear": {"transparency": (1, 2, 3)}}
    file = io.BytesIO()
    image.save(file, "TIFF" if mode in ("I", "F", "CMYK") else "PNG", **options.get(mode, {}))
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "P clear", "RGB", "RGB clear", "RGBA", "CMYK", "I;16", "I", "F"]
)
def test_parts_give_the_same_pixels(mode: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converted by Pillow in one piece, and here in pieces of 12 pixels."""
    data, target = _moded(mode), "RGB" if channels == 3 else "L"
    whole = Image.open(io.BytesIO(data))
    assert whole.mode == mode.split()[0]
    if mode in ("I;16", "I", "F"):
        values = np.asarray(whole, np.float64) * (255 / (300 if mode == "F" else 65535))
        whole = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    elif "A" in mode or "clear" in mode:
        clear = whole.convert("RGBA")
        whole = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    monkeypatch.setattr(images, "_PART", 12)
    white_level = {"I": 65535.0, "F": 300.0}.get(mode, 0.0)
    found = images.decode(data, Preprocessing(1, channels, white_level=white_level))
    assert found.mode == target
    np.testing.assert_array_equal(np.asarray(found), np.asarray(whole.convert(target)))


RAMP = np.linspace(0, 1, 60 * 40).reshape(40, 60)


def bytes_of(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def pgm(values: np.ndarray, most: int) -> bytes:
    return f"P5 {values.shape[1]} {values.shape[0]} {most}\n".encode() + values.astype(">u2").tobytes()


def tiff_of_12_bits(values: np.ndarray) -> bytes:
    """Written by hand after TIFF 6.0: Pillow reads twelve bits and does not write them."""
    high, low = values.reshape(-1, 2).astype(int).T  # two values in three bytes
    packed = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], 1).astype(np.uint8).tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 200), (277, 1)]
    tags += [(278, height), (279, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    return head.ljust(200, b"\0") + packed


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "data",
    [
        bytes_of(np.uint16(RAMP * 65535), "PNG"),
        bytes_of(np.uint16(RAMP * 65535), "TIFF"),
        bytes_of(np.uint16(RAMP * 65535), "TIFF", compression="tiff_lzw"),
        bytes_of(np.float32(RAMP), "TIFF"),
        pgm(RAMP * 65535, 65535),
        pgm(RAMP * 1023, 1023),
        tiff_of_12_bits(RAMP * 4095),
    ],
    ids=["PNG", "TIFF", "LZW", "float", "PGM", "PGM of 10 bits", "TIFF of 12 bits"],
)
def test_deep_images_look_like_those_of_8_bits(data: bytes, channels: int) -> None:
    notes: list[str] = []
    found = images.resize_center_crop(data, Preprocessing(40, channels), notes)
    eight_bits = Image.fromarray(np.uint8(np.rint(RAMP * 255)))
    expected = np.asarray(eight_bits.resize((40, 40), Image.Resampling.BICUBIC, (10, 0, 50, 40)), int)
    assert np.abs(found.astype(int) - expected[..., None]).max() <= 1
    assert notes == []


@pytest.mark.parametrize("part", [100, 2**18])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_no_images_brightness_depends_on_what_is_in_it(
    kind: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_PART", part)
    pixels = np.full((40, 40), 200, np.uint16)
    for brightest, noted in ((200, True), (65535 // 4, True), (65535 // 4 + 1, False), (65535, False)):
        pixels[-1, -1] = brightest
        notes: list[str] = []
        found = images.resize_center_crop(bytes_of(pixels, kind), Preprocessing(40, 1), notes)
        assert found[0, 0] == 1  # of 255, as 200 is of 65535
        assert found[-1, -1] == round(brightest / 257)
        assert notes == ([images.DARK] if noted else [])


def test_a_white_level_that_the_user_gives() -> None:
    pixels = np.uint16(RAMP * 4095)
    given = Preprocessing(40, 1, white_level=4095.0)
    notes: list[str] = []
    found = images.resize_center_crop(bytes_of(pixels, "PNG"), given, notes)
    alike = images.resize_center_crop(bytes_of(np.uint8(np.rint(RAMP * 255)), "PNG"), given)
    assert np.abs(found.astype(int) - alike).max() <= 1
    assert notes == []
    floats = bytes_of(np.float32(RAMP * 9000), "TIFF")  # brighter than white is white
    assert images.resize_center_crop(floats, given).max() == 255
    assert images.resize_center_crop(bytes_of(np.uint8(RAMP * 200), "PNG"), given).max() < 201  # of 8 bits


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.float32(RAMP * 4000), "floats from 0 to 4000"),
        (np.float32(RAMP - 0.5), "floats from -0.5 to 0.5"),
        (np.where(RAMP > 0.5, np.float32(np.nan), np.float32(0.5)), "floats from nan to nan"),
        (np.int32(RAMP * 70_000), "whole numbers of 32 bits or with a sign from 0 to 70000"),
        (np.int32(RAMP * 255), "whole numbers of 32 bits or with a sign from 0 to 255"),
    ],
    ids=["floats", "negative", "no number", "32 bits", "small values of 32 bits"],
)
def test_a_range_that_nobody_declares_is_refused(pixels: np.ndarray, words: str) -> None:
    with pytest.raises(images.BadImage, match=f"{words}, and nothing says which is white: config.data.white"):
        images.resize_center_crop(bytes_of(pixels, "TIFF"), Preprocessing(40, 1))


def test_an_image_that_is_stored_turned_is_noted() -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = bytes_of(np.zeros((30, 40, 3), np.uint8), "JPEG", exif=exif)
    for turned in (False, True):
        notes: list[str] = []
        images.resize_center_crop(data, Preprocessing(16, 3, turned), notes)
        assert notes == ([] if turned else [images.TURNED])


@pytest.mark.parametrize("size", [(1, 10**6), (10**6, 1), (3, 99_991), (7, 65_521)], ids=str)
def test_one_side_is_a_million_pixels(size: tuple[int, int]) -> None:
    for width, height in (size, size[::-1]):
        data = encoded(np.full((height, width), 77, np.uint8))
        np.testing.assert_array_equal(images.resize_center_crop(data, Preprocessing(96, 1, True)), 77)


def test_files_that_no_image_has(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(images.BadImage, match=r"1,099,511,627,776 bytes"):
        images.read_file(tmp_path / "a.jpg")


def test_threads_warn_of_nothing(tmp_path: Path) -> None:
    """Neither of sizes nor of damaged metadata, though each warning is one that is shown every time."""
    ifd = b"II*\0\x08\0\0\0\x01\0" + (282).to_bytes(2, "little") + b"\5\0\x02\0\0\0\xff\0\0\0"
    exif = Image.new("RGB", (99, 99))
    exif.save(tmp_path / "damaged.jpg", exif=b"Exif\0\0" + ifd)
    Image.new("1", (12_000, 8_000)).save(tmp_path / "large.png")
    script = """
import sys, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from alexnet_jax.data import images
files = [Path(name).read_bytes() for name in sys.argv[1:]]
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda data: images.resize_center_crop(data, images.Preprocessing(16, 1, True)), files * 4))
"""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", script, *map(str, sorted(tmp_path.iterdir()))],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "PIL" not in done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    "size", [(301, 200), (97, 150), (255, 256), (257, 256), (641, 480), (40, 61), (1, 9)]
)
@pytest.mark.parametrize(("side", "crop"), [(256, 224), (72, 64), (64, 64), (60, 52)])
def test_the_centre_of_torchvisions_square_is_its_crop(size: tuple[int, int], side: int, crop: int) -> None:
    """By the formulas of its Resize and CenterCrop, over the whole image."""
    pixels = np.random.default_rng(3).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
    how = Preprocessing(side, 3, resize_filter="bilinear", resize_rounding="torchvision")
    square = images.resize_center_crop(encoded(pixels), how)
    short = min(size)
    whole = Image.fromarray(pixels).resize(
        (int(side * size[0] / short), int(side * size[1] / short)), Image.Resampling.BILINEAR
    )
    left, top = (round((length - crop) / 2) for length in whole.size)
    wanted = np.asarray(whole)[top : top + crop, left : left + crop]
    start = (side - crop) // 2
    np.testing.assert_array_equal(square[start : start + crop, start : start + crop], wanted)


@pytest.mark.parametrize("kind", ["bicubic", "bilinear"])
@pytest.mark.parametrize("channels", [1, 3])
def test_squashed(kind: str, channels: int) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (55, 83, channels)).astype(np.uint8)
    whole = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    how = Preprocessing(32, channels, resize="squash", resize_filter=kind)
    found = images.resize_center_crop_decoded(whole, how)
    wanted = whole.resize((32, 32), Image.Resampling[kind.upper()])
    np.testing.assert_array_equal(found, np.asarray(wanted).reshape(32, 32, channels))


def test_opencvs_filter_and_the_papers_cut() -> None:
    """The centre of the whole, scaled: no more than the centre is computed."""
    pixels = np.random.default_rng(5).integers(0, 256, (60, 91, 3)).astype(np.uint8)
    found = images.resize_center_crop(encoded(pixels), Preprocessing(40, 3, resize_filter="opencv_bilinear"))
    whole = images.opencv.resized_part(Image.fromarray(pixels), (61, 40), (0, 0, 61, 40))
    np.testing.assert_array_equal(found, whole[:, 10:50])


def test_in_words() -> None:
    assert Preprocessing(64, 3, True).in_words() == (
        "turned by EXIF, short side to 64 (bicubic), and the centre of it"
    )
    squash = Preprocessing(64, 1, resize="squash", resize_filter="opencv_bilinear")
    assert squash.in_words() == "squashed to 64 x 64 (opencv_bilinear)"
