"""Pixels against Pillow on whole images, and against arrays that the test made."""

import io

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
