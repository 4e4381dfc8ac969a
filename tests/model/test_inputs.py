"""The device half of the input against plain numpy, image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.model import inputs
from alexnet_jax.model.inputs import Normalization

SIZE, CROP = 9, 6


def draw_batch(channels, count=5):
    draw = np.random.default_rng(0)
    return {
        "image": draw.integers(0, 256, (count, CROP, CROP, channels), dtype=np.uint8),
        "flip": np.asarray([True, False, True, True, False])[:count],
        "offset": np.asarray([[0, 3], [3, 0], [1, 2], [2, 2], [0, 0]], np.int32)[:count],
        "lighting": draw.normal(0, 10, (count, channels)).astype(np.float32),
        "scale": draw.uniform(0.5, 1, count).astype(np.float32),
    }


def mean_image(channels):
    return np.random.default_rng(1).uniform(90, 140, (SIZE, SIZE, channels))


def by_hand(batch, kind, mean, std):
    """Normalise in float64, one image at a time, pixel columns mirrored by index."""
    images = []
    for image, flip, (top, left), lighting, scale in zip(*batch.values(), strict=True):
        if kind == "crop":
            values = image - mean[top : top + CROP, left : left + CROP]  # mirrored together
            values = values[:, [CROP - 1 - c for c in range(CROP)]] if flip else values
        else:
            values = image[:, [CROP - 1 - c for c in range(CROP)]] if flip else image
            if kind == "centre":
                values = values - mean[1 : 1 + CROP, 1 : 1 + CROP]  # (9 - 6) // 2 = 1
            elif kind == "rgb":
                values = values - mean.mean((0, 1))
        images.append((values + lighting.astype(np.float64)) * float(scale) / np.asarray(std))
    return np.stack(images)


@pytest.mark.parametrize("std", [(1.0,), (60.0,), (58.4, 57.1, 57.4)])
@pytest.mark.parametrize("kind", ["centre", "crop", "rgb", "none"])
def test_normalise(kind, std):
    batch, mean = draw_batch(3), mean_image(3)
    normalization = Normalization(kind, std)
    array = inputs.mean_array(normalization, mean, mean.mean((0, 1)), CROP)
    normalised = jax.jit(lambda batch, array: inputs.normalise(batch, array, normalization))(batch, array)
    assert normalised.dtype == jnp.float32
    np.testing.assert_allclose(normalised, by_hand(batch, kind, mean, std), rtol=1e-5, atol=1e-4 / max(std))


def test_normalise_one_channel():
    batch, mean = draw_batch(1), mean_image(1)
    normalization = Normalization("centre", (1.0,))
    array = inputs.mean_array(normalization, mean, mean.mean((0, 1)), CROP)
    normalised = inputs.normalise(jax.tree.map(jnp.asarray, batch), jnp.asarray(array), normalization)
    np.testing.assert_allclose(normalised, by_hand(batch, "centre", mean, (1.0,)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("centre", (CROP, CROP, 3)), ("crop", (SIZE, SIZE, 3)), ("rgb", (3,)), ("none", (3,))],
)
def test_mean_array(kind, shape):
    mean = mean_image(3)
    array = inputs.mean_array(Normalization(kind, (1.0,)), mean, mean.mean((0, 1)), CROP)
    assert (array.shape, array.dtype) == (shape, np.float32)
    if kind == "none":
        assert (array == 0).all()


def test_a_view_is_read_without_lighting():
    images = np.random.default_rng(2).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    mean = mean_image(3)
    for flip in (False, True):
        batch = inputs.view(jnp.asarray(images), 2, 3, flip, CROP)
        normalised = inputs.normalise(batch, jnp.asarray(mean, jnp.float32), Normalization("crop", (1.0,)))
        expected = (images - mean)[:, 2 : 2 + CROP, 3 : 3 + CROP]
        expected = expected[:, :, ::-1] if flip else expected
        np.testing.assert_allclose(normalised, expected, rtol=1e-5, atol=1e-4)


def test_one_compiled_program_serves_all_views():
    images = np.arange(SIZE * SIZE, dtype=np.uint8).reshape(1, SIZE, SIZE, 1)
    cut = jax.jit(lambda top, left, flip: inputs.view(jnp.asarray(images), top, left, flip, CROP))
    for top, left, flip in ((0, 0, False), (3, 3, True), (1, 2, False)):
        batch = cut(top, left, flip)
        np.testing.assert_array_equal(batch["image"], images[:, top : top + CROP, left : left + CROP])
        assert batch["offset"].tolist() == [[top, left]]
        assert batch["flip"].tolist() == [flip]
    assert cut._cache_size() == 1  # type: ignore[attr-defined]
