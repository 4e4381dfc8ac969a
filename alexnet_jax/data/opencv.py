"""OpenCV's bilinear scaling of 8-bit images, by which Caffe's tools make their squares, in numpy.

`convert_imageset` and Caffe's image layers call `cv::resize` with its default, INTER_LINEAR: each pixel is a
mean of the two by two that lie around its centre, however much an image shrinks, without antialiasing. In
OpenCV's own arithmetic (imgproc/src/resize.cpp): places in 32-bit floats, weights in 2048ths, and the sums
cut off where OpenCV cuts them off, so that the pixels are the same.
"""

import numpy as np
from PIL import Image

_WEIGHT = 2048  # of a whole pixel
_PART = 2**18  # pixels of the image that are worked on at once


def resized_part(image: Image.Image, scaled: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """Return a part of a scaled image; no more of it is computed.

    Args:
      image: in mode RGB or L.
      scaled: width and height of the whole, scaled.
      box: left, top, right and bottom of the part in it.

    Returns:
      uint8 (H, W, C).
    """
    left, top, right, bottom = box
    x, x_shares = _places(image.width, scaled[0], left, right)
    y, y_shares = _places(image.height, scaled[1], top, bottom)
    # Beyond the edge of a row stands the pixel at the edge alone; beyond that of a column, it twice.
    x_shares[(x < 0) | (x >= image.width - 1)] = 0
    (x_before, x_after), (x_less, x_more) = _pair(x, image.width), _weights(x_shares)
    (y_before, y_after), (y_less, y_more) = _pair(y, image.height), _weights(y_shares)
    parts = []
    for rows in np.array_split(np.arange(len(y)), min(-(-image.width * image.height // _PART), len(y))):
        first, last = int(y_before[rows[0]]), int(y_after[rows[-1]])
        strip = np.atleast_3d(np.asarray(image.crop((0, first, image.width, last + 1)), np.int32))
        across = (strip[:, x_before] * x_less[:, None] + strip[:, x_after] * x_more[:, None]) >> 4
        upper = (across[y_before[rows] - first] * y_less[rows, None, None]) >> 16
        lower = (across[y_after[rows] - first] * y_more[rows, None, None]) >> 16
        parts.append(((upper + lower + 2) >> 2).astype(np.uint8))
    return np.concatenate(parts)


def _places(length: int, scaled: int, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixel lies before the centre of each scaled one, and the share of the one after it."""
    scale = 1 / (scaled / length)
    at = ((np.arange(first, last) + 0.5) * scale - 0.5).astype(np.float32)
    before = np.floor(at)
    return before.astype(np.int64), at - before


def _pair(before: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    return np.clip(before, 0, length - 1), np.clip(before + 1, 0, length - 1)


def _weights(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights, int32, of the pixels before and after."""
    less, more = (np.rint(share * _WEIGHT).astype(np.int32) for share in (1 - shares, shares))
    return less, more
