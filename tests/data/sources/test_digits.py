"""The digits against scikit-learn's arrays."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data import made_up


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = made_up.all_images("digits")
    assert len(images) == 1797
    assert sum(split == "test" for split, _, _ in images) == 297
    for (_, label, key), data in images.items():
        index = int(Path(key).stem)
        assert label == str(digits.target[index])
        levels = np.asarray(Image.open(io.BytesIO(data)), np.float64) * 16 / 255
        assert np.abs(levels - digits.images[index]).max() < 0.04
