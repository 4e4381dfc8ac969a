"""Decisions of augmentation against published vectors, counts and the covariance asked for."""

import itertools

import numpy as np
import pytest
from scipy import stats

from alexnet_jax.data import augment
from alexnet_jax.data.statistics import Statistics


def statistics(eigenvalues: list[float], eigenvectors: np.ndarray) -> Statistics:
    covariance = eigenvectors @ np.diag(eigenvalues) @ eigenvectors.T
    return Statistics(
        np.zeros((4, 4, 3), np.float32), np.zeros(3), covariance, np.array(eigenvalues), eigenvectors, 1
    )


def words(count: int, seed: int = 2012, purpose: int = augment.PLACE, epoch: int = 0) -> np.ndarray:
    return augment.random_words(seed, purpose, np.full(count, epoch), np.arange(count))


# Random123's known answers (kat_vectors, philox4x32 with 10 rounds).
@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter: str, key: str, answer: str) -> None:
    first, second = (int(word, 16) for word in key.split())
    given = np.array([[int(word, 16) for word in counter.split()]] * 2, np.uint32)
    found = augment.philox(given, (first, second))
    assert found.dtype == np.uint32
    assert [f"{word:08x}" for word in found[1]] == answer.split()


def test_words_differ_by_seed_purpose_epoch_and_index() -> None:
    drawn = [
        words(500, seed, purpose, epoch)
        for seed, purpose, epoch in itertools.product(
            (0, 1, 2**32 - 1), (augment.PLACE, augment.COLOUR), (0, 1)
        )
    ]
    assert len(np.unique(np.concatenate(drawn), axis=0)) == 500 * len(drawn)


def test_words_depend_on_the_row_alone() -> None:
    epochs, indices = np.array([3, 0, 3]), np.array([7, 7, 2**33])
    together = augment.random_words(1, augment.PLACE, epochs, indices)
    for row in range(3):
        alone = augment.random_words(1, augment.PLACE, epochs[row : row + 1], indices[row : row + 1])
        np.testing.assert_array_equal(together[row], alone[0])
    low = augment.random_words(1, augment.PLACE, np.array([3]), np.array([0]))
    assert (together[2] != low[0]).any()  # the upper half of an index counts


def test_every_crop_offset_is_as_likely() -> None:
    drawn = words(217_800)
    offsets, flips = augment.crop_offsets(drawn, 256, 224), augment.flips(drawn)
    assert offsets.dtype == np.int32
    assert offsets.min() == 0
    assert offsets.max() == 32
    places = (offsets[:, 0] * 33 + offsets[:, 1]) * 2 + flips
    counts = np.bincount(places, minlength=33 * 33 * 2)
    assert len(counts) == 2178  # the 2012 source's count of crops and flips
    assert (counts > 0).all()
    assert 0.001 < stats.chisquare(counts).pvalue < 0.999


def test_no_crop_offset_but_zero_where_the_crop_is_the_picture() -> None:
    assert (augment.crop_offsets(words(1000), 32, 32) == 0).all()


def test_epochs_and_neighbours_are_independent() -> None:
    first, second = words(50_000, epoch=0), words(50_000, epoch=1)
    for left, right in ((first, second), (first[:-1], first[1:])):
        both = [
            [augment.crop_offsets(w, 256, 224)[:, 0] for w in (left, right)],
            [augment.flips(w) for w in (left, right)],
        ]
        for one, other in both:
            assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))


def test_normals() -> None:
    drawn = augment.normals(words(100_000, purpose=augment.COLOUR))
    assert drawn.shape == (100_000, 3)
    for axis in range(3):
        assert stats.kstest(drawn[:, axis], "norm").pvalue > 0.001
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(3), atol=0.02)
    extreme = np.array([[0, 0, 0, 0], [2**32 - 1] * 4], np.uint32)
    assert np.isfinite(augment.normals(extreme)).all()


def test_lighting_has_the_covariance_of_the_pixels() -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    given = statistics([121.780**2, 37.094**2, 19.721**2], rotation)
    alpha = 0.1 * augment.normals(words(200_000, purpose=augment.COLOUR))
    offsets = augment.lighting_offsets(alpha, given, "standard_deviation")
    assert offsets.dtype == np.float32
    # alpha has the variance 0.01, so that the noise is a hundredth of the pixels' own covariance
    np.testing.assert_allclose(
        np.cov(offsets.T), 0.01 * given.rgb_covariance, atol=0.01 * 0.01 * given.eigenvalues[0]
    )
    np.testing.assert_allclose(offsets.mean(axis=0), 0, atol=0.2)


def test_lighting_by_hand() -> None:
    given = statistics([14_830.0, 1_376.0, 388.9], np.eye(3)[:, [1, 0, 2]])
    alpha = np.array([[0.1, 0.0, 0.0], [0.0, -0.2, 0.0]])
    # one standard deviation along the first axis, which is the second channel here: 12.18 grey levels
    np.testing.assert_allclose(
        augment.lighting_offsets(alpha, given, "standard_deviation"),
        [[0, 12.178, 0], [-7.419, 0, 0]],
        atol=1e-3,
    )
    # 14,830 / 255^2 = 0.22807 on the scale 0 to 1; times 0.1 and 255: 5.816 grey levels
    np.testing.assert_allclose(
        augment.lighting_offsets(alpha, given, "eigenvalue"), [[0, 5.816, 0], [-1.0792, 0, 0]], atol=1e-3
    )


def test_ten_views() -> None:
    places = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    assert augment.ten_views(256, 224) == tuple((*p, False) for p in places) + tuple(
        (*p, True) for p in places
    )
