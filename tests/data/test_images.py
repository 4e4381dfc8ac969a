"""Pixels against Pillow on whole images, and against arrays that the test made."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data import images
from tests.data import made_up


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (301, 200), (24, 24), (10, 7), (500, 24)], ids=str)
def test_the_center_of_the_scaled_image(shape: tuple[int, int], channels: int) -> None:
    data = made_up.image_file(3, size=shape)
    cropped = images.resize_center_crop(data, 24, channels, exif_rotation=False)
    assert cropped.shape == (24, 24, channels)
    assert cropped.dtype == np.uint8
    wanted = made_up.center_by_pillow(data, 24, "RGB" if channels == 3 else "L")
    assert np.abs(cropped.astype(int) - wanted).max() <= 1


def test_an_image_of_the_right_size_is_taken_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    cropped = images.resize_center_crop(encoded(pixels), 24, 3, exif_rotation=False)
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
    np.testing.assert_array_equal(images.resize_center_crop(data, 24, 3, exif_rotation=True), upright)
    np.testing.assert_array_equal(images.resize_center_crop(data, 24, 3, exif_rotation=False), stored)


def test_what_is_transparent_lies_on_white() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 0], pixels[..., 3] = 200, np.arange(8) * 36
    alpha = pixels[..., 3:] / 255
    wanted = pixels[..., :3] * alpha + 255 * (1 - alpha)
    decoded = np.asarray(images.decode(encoded(pixels), 3, exif_rotation=False))
    assert np.abs(decoded - wanted).max() <= 1


def test_sixteen_bits_become_eight() -> None:
    pixels = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    decoded = np.asarray(images.decode(encoded(pixels), 1, exif_rotation=False))
    assert np.abs(decoded - pixels / 257).max() <= 0.5


@pytest.mark.parametrize("name", list(made_up.awkward()))
def test_awkward_images_are_decoded(name: str) -> None:
    decoded = images.decode(made_up.awkward()[name], 3, exif_rotation=True)
    assert decoded.mode == "RGB"
    assert images.decode(made_up.awkward()[name], 1, exif_rotation=True).mode == "L"


@pytest.mark.parametrize("name", list(made_up.broken()))
def test_what_is_no_image(name: str) -> None:
    with pytest.raises(images.BadImage) as error:
        images.resize_center_crop(made_up.broken()[name], 24, 3, exif_rotation=False)
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
        values = np.asarray(whole, np.float64) / (1 if mode == "F" else 257)
        whole = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    elif "A" in mode or "clear" in mode:
        clear = whole.convert("RGBA")
        whole = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    monkeypatch.setattr(images, "_PART", 12)
    found = images.decode(data, channels, exif_rotation=False)
    assert found.mode == target
    np.testing.assert_array_equal(np.asarray(found), np.asarray(whole.convert(target)))


def test_a_few_bright_pixels_of_16_bits_scale_all(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.full((40, 40), 200, np.uint16)
    monkeypatch.setattr(images, "_PART", 100)
    np.testing.assert_array_equal(images.decode(encoded(pixels), 1, exif_rotation=False), 200)
    pixels[-1, -1] = 257 * 9
    found = np.asarray(images.decode(encoded(pixels), 1, exif_rotation=False))
    assert found[0, 0] == 1
    assert found[-1, -1] == 9


@pytest.mark.parametrize("size", [(1, 10**6), (10**6, 1), (3, 99_991), (7, 65_521)], ids=str)
def test_one_side_is_a_million_pixels(size: tuple[int, int]) -> None:
    for width, height in (size, size[::-1]):
        data = encoded(np.full((height, width), 77, np.uint8))
        np.testing.assert_array_equal(images.resize_center_crop(data, 96, 1, exif_rotation=True), 77)


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
    list(pool.map(lambda data: images.resize_center_crop(data, 16, 1, True), files * 4))
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
