"""scikit-learn's handwritten digits: 1,797 images of 8 x 8 pixels and 17 grey levels."""

import io

import numpy as np
from PIL import Image

from alexnet_jax import extras
from alexnet_jax.data.sources.entries import Entries, Entry, Source

TEST_IMAGES = 297  # the last of a fixed shuffle


def open_digits() -> Source:
    """Read the digits, as PNG files with grey levels 0 to 255, in splits train (1,500) and test (297).

    Raises:
      UsageError: scikit-learn is not installed.
    """
    extras.require("digits", "--source=digits")
    from sklearn.datasets import load_digits  # takes seconds, and only the digits need it

    digits = load_digits()
    order = np.random.Generator(np.random.Philox(2012)).permutation(len(digits.images))
    entries = Entries()
    for position, index in enumerate(order):
        split = "test" if position >= len(order) - TEST_IMAGES else "train"
        pixels = np.rint(digits.images[index] * (255 / 16)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        label, data = str(digits.target[index]), file.getvalue()
        entries.append(Entry(split, label, f"{label}/{index:04d}.png", "", 0, len(data), held=data))
    return Source("scikit-learn's handwritten digits", entries)
