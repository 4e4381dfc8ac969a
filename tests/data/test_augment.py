"""Decisions of augmentation against published vectors, counts and the covariance asked for."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import stats

from alexnet_jax.data import augment
from alexnet_jax.data.batch import Batch
from alexnet_jax.data.statistics import Statistics
from configs import imagenet


def statistics(eigenvalues: list[float], eigenvectors: np.ndarray) -> Statistics:
    covariance = eigenvectors @ np.diag(eigenvalues) @ eigenvectors.T
    return Statistics(
        np.zeros((4, 4, 3), np.float32), np.zeros(3), covariance, np.array(eigenvalues), eigenvectors, 1
    )


def words(count: int, seed: int = 2012, stream: int = augment.CROP_STREAM, epoch: int = 0) -> np.ndarray:
    return augment.random_words(seed, stream, np.full(count, epoch), np.arange(count))


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
    drawn = augment.philox(given, (first, second))
    assert drawn.dtype == np.uint32
    assert [f"{word:08x}" for word in drawn[1]] == answer.split()


def test_words_differ_by_seed_stream_epoch_and_index() -> None:
    drawn = [
        words(500, seed, stream, epoch)
        for seed, stream, epoch in itertools.product(
            (0, 1, 2**32 - 1), (augment.CROP_STREAM, augment.LIGHTING_STREAM), (0, 1)
        )
    ]
    assert len(np.unique(np.concatenate(drawn), axis=0)) == 500 * len(drawn)


def test_words_depend_on_the_row_alone() -> None:
    epochs, indices = np.array([3, 0, 3]), np.array([7, 7, 2**33])
    together = augment.random_words(1, augment.CROP_STREAM, epochs, indices)
    for row in range(3):
        alone = augment.random_words(1, augment.CROP_STREAM, epochs[row : row + 1], indices[row : row + 1])
        np.testing.assert_array_equal(together[row], alone[0])
    low = augment.random_words(1, augment.CROP_STREAM, np.array([3]), np.array([0]))
    assert (together[2] != low[0]).any()  # the upper half of an index counts


def test_every_crop_offset_is_as_likely() -> None:
    drawn = words(217_800)
    offsets, flips = augment.crop_offsets(drawn, 256, 224), augment.flips(drawn)
    assert offsets.dtype == np.int32
    assert offsets.min() == 0
    assert offsets.max() == 32
    choices = (offsets[:, 0] * 33 + offsets[:, 1]) * 2 + flips
    counts = np.bincount(choices, minlength=33 * 33 * 2)
    assert len(counts) == 2178  # the 2012 source's count of crops and flips
    assert (counts > 0).all()
    assert 0.001 < stats.chisquare(counts).pvalue < 0.999


def test_no_crop_offset_but_zero_where_the_crop_is_the_image() -> None:
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
    drawn = augment.normals(words(100_000, stream=augment.LIGHTING_STREAM))
    assert drawn.shape == (100_000, 3)
    for axis in range(3):
        assert stats.kstest(drawn[:, axis], "norm").pvalue > 0.001
    np.testing.assert_allclose(np.cov(drawn.T), np.eye(3), atol=0.02)
    extreme = np.array([[0, 0, 0, 0], [2**32 - 1] * 4], np.uint32)
    assert np.isfinite(augment.normals(extreme)).all()


def test_lighting_has_the_covariance_of_the_pixels() -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    given = statistics([121.780**2, 37.094**2, 19.721**2], rotation)
    alpha = 0.1 * augment.normals(words(200_000, stream=augment.LIGHTING_STREAM))
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
    corners = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    ten = tuple((*p, False) for p in corners) + tuple((*p, True) for p in corners)
    assert augment.ten_views(256, 224) == augment.views_of(10, 256, 224) == ten
    assert augment.views_of(1, 256, 224) == ((16, 16, False),)


@pytest.mark.parametrize(("size", "crop", "want"), [(256, 224, 16), (256, 227, 14), (32, 32, 0), (5, 2, 1)])
def test_center_offset(size: int, crop: int, want: int) -> None:
    assert augment.center_offset(size, crop) == want
    assert augment.views_of(1, size, crop)[0][:2] == augment.ten_views(size, crop)[4][:2] == (want, want)


# Decisions against Philox in Python's whole numbers and Box and Muller's formula, written out here.


def philox_of(counter: list[int], key: list[int]) -> list[int]:
    for _ in range(10):
        high_0, low_0 = divmod(counter[0] * 0xD2511F53, 2**32)
        high_1, low_1 = divmod(counter[2] * 0xCD9E8D57, 2**32)
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return counter


def data(**keys: Any) -> ConfigDict:
    plain = {
        "size": 256,
        "crop": 224,
        "channels": 3,
        "random_crop": True,
        "flip": True,
        "crop_sharing": 1,
        "lighting": 0.1,
        "lighting_form": "standard_deviation",
        "lighting_divisor": 1.0,
        "lighting_off": (),
    }
    return ConfigDict(plain | keys)


SIZE = 5
POSITIONS = np.arange(7, 13)  # the rows of a batch over epochs 1 and 2 of five records
RECORDS = np.array([3, 0, 4, 2, 1, 3])
SEED = 2**32 - 7


def decided(**keys: Any) -> Batch[np.ndarray]:
    given = statistics([900.0, 100.0, 4.0], np.eye(3))
    return augment.decide(data(**keys), SEED, given, SIZE, POSITIONS, RECORDS)


def test_decisions_are_philox_of_record_epoch_and_stream() -> None:
    batch = decided()
    assert batch.keys() == {"offset", "flip", "lighting"}
    for row, (position, record) in enumerate(zip(POSITIONS.tolist(), RECORDS.tolist(), strict=True)):
        drawn = philox_of([record, 0, position // SIZE, 0], [SEED, 0])
        assert batch["offset"][row].tolist() == [drawn[0] * 33 // 2**32, drawn[1] * 33 // 2**32]
        assert batch["flip"][row] == (drawn[2] >= 2**31)
        u = [(word + 0.5) / 2**32 for word in philox_of([record, 0, position // SIZE, 1], [SEED, 0])]
        radius = [math.sqrt(-2 * math.log(u[0])), math.sqrt(-2 * math.log(u[2]))]
        alpha = [
            radius[0] * math.cos(2 * math.pi * u[1]),
            radius[0] * math.sin(2 * math.pi * u[1]),
            radius[1] * math.cos(2 * math.pi * u[3]),
        ]
        wanted = np.array([0.1 * alpha[0] * 30, 0.1 * alpha[1] * 10, 0.1 * alpha[2] * 2])
        np.testing.assert_allclose(batch["lighting"][row], wanted, rtol=1e-6, atol=1e-6)


def test_a_group_shares_one_crop_for_good() -> None:
    """Positions 7 to 12 in groups of 4 are in groups 1, 2, 2, 2, 2 and 3, whatever their epoch."""
    batch = decided(crop_sharing=4)
    for row, group in enumerate([1, 2, 2, 2, 2, 3]):
        drawn = philox_of([group, 0, 0, 0], [SEED, 0])
        assert batch["offset"][row].tolist() == [drawn[0] * 33 // 2**32, drawn[1] * 33 // 2**32]
        assert batch["flip"][row] == (drawn[2] >= 2**31)
    np.testing.assert_array_equal(batch["lighting"], decided()["lighting"])


def test_what_is_switched_off_leaves_the_rest() -> None:
    whole = decided()
    assert decided(random_crop=False, flip=False, lighting=0.0) == {}
    assert decided(lighting=0.0, random_crop=False).keys() == {"flip"}
    assert decided(flip=False, random_crop=False, lighting_divisor=2.0).keys() == {"lighting", "scale"}
    np.testing.assert_array_equal(decided(flip=False)["offset"], whole["offset"])
    np.testing.assert_array_equal(decided(random_crop=False)["flip"], whole["flip"])


def test_lighting_is_off_between_epochs_with_its_division() -> None:
    """From epoch 1.6 to 2.2, positions 8 to 10 of records 0, 4 and 2."""
    whole, batch = decided(), decided(lighting_off=((1.6, 2.2),), lighting_divisor=1.1)
    off = np.array([False, True, True, True, False, False])
    assert not batch["lighting"][off].any()
    np.testing.assert_array_equal(batch["lighting"][~off], whole["lighting"][~off])
    np.testing.assert_array_equal(batch["scale"], np.where(off, np.float32(1), np.float32(1 / 1.1)))


def test_nothing_is_drawn_where_nothing_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    config = imagenet.get_config().data
    axes = statistics([1.0, 1.0, 1.0], np.eye(3))
    config.update(random_crop=False, flip=False, lighting=0.0)
    monkeypatch.setattr(augment, "random_words", lambda *_: pytest.fail("words are drawn"))
    assert augment.decide(config, 1, axes, 100, np.arange(8), np.arange(8)) == {}
