"""OpenCV's bilinear scaling against what OpenCV itself gave, and against the formula in 64 bits."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data import opencv

# Of cv2.resize(image(...), (side, side)) by opencv-python-headless 5.0.0: SHA-256, its first 16 digits.
# {(height, width, channels, side): digits}
BY_OPENCV = {
    (375, 500, 1, 256): "c2273a39a48fd9e4",
    (375, 500, 1, 24): "fd07253fcf389498",
    (375, 500, 3, 256): "9c5cd0f5ba75ca1c",
    (375, 500, 3, 24): "e02b22c443e7da83",
    (500, 333, 1, 256): "e53b260221a5694b",
    (500, 333, 1, 24): "b972a5419c8b27f7",
    (500, 333, 3, 256): "d96af3dc0451d232",
    (500, 333, 3, 24): "41e628046bda6918",
    (97, 150, 1, 256): "f15ef2d592dce891",
    (97, 150, 1, 24): "77145c695b334d2e",
    (97, 150, 3, 256): "518f4f242a44b23a",
    (97, 150, 3, 24): "ec5e6c6e987163c6",
    (40, 60, 1, 256): "992475e69b779b3e",
    (40, 60, 1, 24): "2bd4e04f0d35ceae",
    (40, 60, 3, 256): "8103bb77bcdfdb6a",
    (40, 60, 3, 24): "35605bedbcbbb149",
    (512, 512, 1, 256): "b238922ae7f1508d",
    (512, 512, 1, 24): "765d86fb54dfd9d5",
    (512, 512, 3, 256): "159d7e1d3b324cac",
    (512, 512, 3, 24): "a6473a753b9b82dc",
    (1, 7, 1, 256): "afb2e3fc71dd7c7f",
    (1, 7, 1, 24): "66f0ae53624701d9",
    (1, 7, 3, 256): "c4706a532a9c581f",
    (1, 7, 3, 24): "0b9927c3077bbebf",
    (7, 1, 1, 256): "d4dae6705246bd2f",
    (7, 1, 1, 24): "2eb80b202e1226fa",
    (7, 1, 3, 256): "f07578f8912541cc",
    (7, 1, 3, 24): "a27041de79f8ac74",
    (2000, 40, 1, 256): "df835d865e3017a9",
    (2000, 40, 1, 24): "fa83648dc730cb27",
    (2000, 40, 3, 256): "98412986e9edc8aa",
    (2000, 40, 3, 24): "a187ebe57757a476",
    (255, 257, 1, 256): "72a5d15afd9d8caf",
    (255, 257, 1, 24): "0f1185a8a653b596",
    (255, 257, 3, 256): "753175820cd948d5",
    (255, 257, 3, 24): "3d9ef4e14c212e8b",
    (701, 903, 1, 256): "1dfed69eb236dc0e",
    (701, 903, 1, 24): "b3599fa08951d327",
    (701, 903, 3, 256): "0a5321bae8ca39c6",
    (701, 903, 3, 24): "1b8409e2fa4f86ac",
}


def image(height: int, width: int, channels: int) -> np.ndarray:
    """An image with smooth and rough parts, the same wherever it is made."""
    y, x, c = np.mgrid[:height, :width, :channels]
    return ((x * 7 + y * 13 + c * 101 + (x * y) % 89 * 3 + (x * x + y) % 31 * 8) % 256).astype(np.uint8)


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    grey = pixels.shape[2] == 1
    whole = Image.fromarray(pixels[..., 0] if grey else pixels)
    return opencv.resized_part(whole, (side, side), (0, 0, side, side))


@pytest.mark.parametrize("case", BY_OPENCV, ids=str)
def test_the_pixels_are_opencvs(case: tuple[int, int, int, int]) -> None:
    height, width, channels, side = case
    found = resized(image(height, width, channels), side)
    assert found.shape == (side, side, channels)
    assert found.dtype == np.uint8
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == BY_OPENCV[case]


@pytest.mark.parametrize(("height", "width"), [(375, 500), (40, 61), (1, 7), (3, 900)])
def test_each_pixel_is_a_mean_of_four(height: int, width: int) -> None:
    """One after the other, by the definition, at the centres of pixels."""
    pixels, side = image(height, width, 1), 24
    found = resized(pixels, side)
    for row in range(side):
        for column in range(side):
            y = min(max((row + 0.5) * height / side - 0.5, 0), height - 1)
            x = min(max((column + 0.5) * width / side - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = pixels[top, left, 0] * (1 - x % 1) + pixels[top, right, 0] * (x % 1)
            lower = pixels[below, left, 0] * (1 - x % 1) + pixels[below, right, 0] * (x % 1)
            assert abs(found[row, column, 0] - (upper * (1 - y % 1) + lower * (y % 1))) < 1


def test_a_part_is_that_part_of_the_whole() -> None:
    whole = Image.fromarray(image(333, 500, 3))
    found = opencv.resized_part(whole, (384, 256), (64, 0, 320, 256))
    every = opencv.resized_part(whole, (384, 256), (0, 0, 384, 256))
    np.testing.assert_array_equal(found, every[:, 64:320])
