"""Statistics against numpy on all pixels at once."""

import os
from pathlib import Path

import numpy as np
import pytest

from alexnet_jax.data.statistics import Accumulator, Statistics
from alexnet_jax.errors import UsageError


def images(count: int, size: int, channels: int) -> np.ndarray:
    random = np.random.default_rng(size)
    mixed = random.normal(size=(count, size, size, channels)) @ random.normal(size=(channels, channels))
    return np.clip(128 + 60 * mixed, 0, 255).astype(np.uint8)


def finished(given: np.ndarray) -> Statistics:
    accumulator = Accumulator(given.shape[1], given.shape[3])
    for image in given:
        accumulator.add(image)
    return accumulator.finish()


@pytest.mark.parametrize("count", [256, 257, 258, 600])
def test_many_white_images(count: int) -> None:
    """The largest sums there are: nothing runs over."""
    statistics = finished(np.full((count, 3, 3, 3), 255, np.uint8))
    assert (statistics.mean == 255).all()
    assert (statistics.rgb_covariance == 0).all()


@pytest.mark.parametrize(("size", "channels"), [(1, 3), (7, 3), (32, 3), (33, 1), (64, 1)])
def test_against_numpy(size: int, channels: int) -> None:
    given = images(9, size, channels)
    statistics = finished(given)
    pixels = given.reshape(-1, channels).astype(np.float64)
    covariance = np.cov(pixels.T, bias=True).reshape(channels, channels)
    np.testing.assert_allclose(statistics.mean, given.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(statistics.rgb_mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.rgb_covariance, covariance, rtol=1e-9, atol=1e-9)
    assert list(statistics.eigenvalues) == sorted(statistics.eigenvalues, reverse=True)
    rebuilt = statistics.eigenvectors @ np.diag(statistics.eigenvalues) @ statistics.eigenvectors.T
    np.testing.assert_allclose(rebuilt, covariance, rtol=1e-9, atol=1e-6)
    assert (statistics.eigenvectors.sum(axis=0) >= 0).all()
    assert statistics.count == 9


def test_sums_are_exact_at_the_brightest() -> None:
    """White images make the largest products that a float32 block must hold."""
    accumulator = Accumulator(64, 3)
    accumulator.add(np.full((64, 64, 3), 255, np.uint8))
    assert (accumulator.products == 64 * 64 * 255**2).all()
    odd = np.full((64, 64, 3), 255, np.uint8)
    odd[1::2] = 253
    accumulator.add(odd)
    assert (accumulator.products == 64 * 64 * 255**2 + 64 * 32 * (255**2 + 253**2)).all()


def test_order_and_grouping_do_not_change_a_bit() -> None:
    given = images(12, 20, 3)
    one = finished(given)
    parts = [Accumulator(20, 3) for _ in range(3)]
    for index in np.random.default_rng(0).permutation(12):
        parts[index % 3].add(given[index])
    for part in (parts[2], parts[0]):
        parts[1].merge(part)
    other = parts[1].finish()
    for name in ("mean", "rgb_mean", "rgb_covariance", "eigenvalues", "eigenvectors"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_saved_and_loaded(tmp_path: Path) -> None:
    one = finished(images(3, 8, 3))
    one.save(tmp_path / "statistics.npz")
    other = Statistics.load(tmp_path / "statistics.npz")
    np.testing.assert_array_equal(one.mean, other.mean)
    assert other.count == 3


def test_corruption_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "statistics.npz"
    with pytest.raises(UsageError, match="are missing"):
        Statistics.load(path)
    finished(images(3, 8, 3)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cannot be read"):
        Statistics.load(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "statistics.npz")
    (tmp_path / "endless.npz").symlink_to("/dev/zero")
    for name in ("statistics.npz", "endless.npz"):
        with pytest.raises(UsageError, match="is not a regular file"):
            Statistics.load(tmp_path / name)
