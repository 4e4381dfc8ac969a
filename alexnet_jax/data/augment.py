"""Decide which crop, flip and lighting a record gets, and which ten views a test (section 4.1), in numpy.

Every decision is a function of the seed, the epoch and the record (or the group that shares a crop), so
that it does not depend on threads, processes or devices. Whole batches are decided at once: a generator
object for each record would cost too much.
"""

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.data.batch import Batch
from alexnet_jax.data.statistics import Statistics

# Part of the counter of the random generator, so that the two purposes never share a number.
CROP_STREAM, LIGHTING_STREAM = 0, 1


def decide(
    data: ConfigDict,
    seed: int,
    statistics: Statistics,
    num_records: int,
    positions: np.ndarray,
    indices: np.ndarray,
) -> Batch[np.ndarray]:
    """Return what a training batch holds apart from its records (section 4.1).

    Args:
      data: `config.data`, for the keys of augmentation.
      seed: `config.seed`.
      statistics: of the training set, for its principal axes.
      num_records: in the split.
      positions: int64 (B,), of the rows in the endless stream of records, see `data.order`.
      indices: int64 (B,), of their records.

    Returns:
      Those of the fields `offset`, `flip`, `lighting` and `scale` of `Batch` that the config has drawn.
    """
    epochs = positions // num_records
    decided: Batch[np.ndarray] = {}
    if data.random_crop or data.flip:
        words = _crop_words(data, seed, epochs, positions, indices)
        if data.random_crop:
            decided["offset"] = crop_offsets(words, data.size, data.crop)
        if data.flip:
            decided["flip"] = flips(words)
    if data.lighting:
        lit = np.ones(len(positions), bool)
        for start, end in data.lighting_off:
            lit &= (positions < start * num_records) | (positions >= end * num_records)
        draws = normals(random_words(seed, LIGHTING_STREAM, epochs, indices))
        alpha = data.lighting * draws * lit[:, np.newaxis]
        decided["lighting"] = lighting_offsets(alpha, statistics, data.lighting_form)
        if data.lighting_divisor != 1:
            decided["scale"] = np.where(lit, 1 / data.lighting_divisor, 1).astype(np.float32)
    return decided


def _crop_words(
    data: ConfigDict, seed: int, epochs: np.ndarray, positions: np.ndarray, indices: np.ndarray
) -> np.ndarray:
    """Return the words of which crops and flips are drawn, uint32 (B, 4)."""
    if data.crop_sharing > 1:  # as 32 neighbours do in the 2012 source; a group of them needs no epoch
        groups = positions // data.crop_sharing
        return random_words(seed, CROP_STREAM, np.zeros_like(groups), groups)
    return random_words(seed, CROP_STREAM, epochs, indices)


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Return words of Philox4x32-10, the counter-based generator of Salmon et al. 2011 (Random123).

    Args:
      counter: uint32 (B, 4).
      key: two whole numbers below 2**32.

    Returns:
      uint32 (B, 4): independent, uniform words, a pure function of counter and key.
    """
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b, c, d = counter.astype(np.uint64).T
    first, second = key
    for _ in range(10):
        left, right = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b = (right >> half) ^ b ^ np.uint64(first), right & low
        c, d = (left >> half) ^ d ^ np.uint64(second), left & low
        first, second = (first + 0x9E3779B9) % 2**32, (second + 0xBB67AE85) % 2**32
    return np.stack((a, b, c, d), axis=1).astype(np.uint32)


def random_words(seed: int, stream: int, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return four random words, uint32 (B, 4), for each record (or group) of a seed, epoch and stream.

    Args:
      seed: `config.seed`, below 2**32.
      stream: `CROP_STREAM` or `LIGHTING_STREAM`.
      epochs: int (B,).
      indices: int (B,), of records or groups.
    """
    parts = (indices & 0xFFFFFFFF, indices >> 32, epochs, np.full_like(indices, stream))
    return philox(np.stack(parts, axis=1).astype(np.uint32), (seed, 0))


def crop_offsets(words: np.ndarray, size: int, crop: int) -> np.ndarray:
    """Return top and left of random crops, int32 (B, 2), from the first two of words uint32 (B, 4).

    Each of the size - crop + 1 offsets a side is as likely: 33 x 33 of 224 in 256, as in the 2012 source
    (the paper counts 32 x 32).
    """
    choices = np.uint64(size - crop + 1)
    return (words[:, :2].astype(np.uint64) * choices >> np.uint64(32)).astype(np.int32)


def flips(words: np.ndarray) -> np.ndarray:
    """Return whether to mirror, bool (B,), one time in two, from the third of words uint32 (B, 4)."""
    return words[:, 2] >= 2**31


def normals(words: np.ndarray) -> np.ndarray:
    """Return three standard normal draws a row, float64 (B, 3), of words uint32 (B, 4) (Box and Muller)."""
    uniform = (words + 0.5) / 2**32
    radius = np.sqrt(-2 * np.log(uniform[:, 0::2]))
    angle = 2 * np.pi * uniform[:, 1::2]
    turns = np.stack((np.cos(angle[:, 0]), np.sin(angle[:, 0]), np.cos(angle[:, 1])), axis=1)
    return np.asarray(radius[:, [0, 0, 1]] * turns)


def lighting_offsets(alpha: np.ndarray, statistics: Statistics, lighting_form: str) -> np.ndarray:
    """Return what PCA lighting adds to every pixel of an image, in grey levels (section 4.1).

    Args:
      alpha: float (B, C), one normal draw for each axis.
      statistics: of the training set.
      lighting_form: 'standard_deviation', p . (alpha * sqrt(lambda)), as the 2012 source does;
        'eigenvalue', p . (alpha * lambda) with lambda on the scale 0 to 1, as Torch's and TensorFlow's
        ports do.

    Returns:
      float32 (B, C).
    """
    if lighting_form == "standard_deviation":
        lengths = np.sqrt(statistics.eigenvalues)
    else:
        lengths = statistics.eigenvalues / 255**2 * 255
    return np.asarray((alpha * lengths) @ statistics.eigenvectors.T, np.float32)


def center_offset(size: int, crop: int) -> int:
    """Return top or left of the centre `crop` pixels of `size`; the smaller one where two are as central."""
    return (size - crop) // 2


def ten_views(size: int, crop: int) -> tuple[tuple[int, int, bool], ...]:
    """Return the four corners and the centre, then their horizontal reflections, each (top, left, flip).

    Section 4.1; `size` and `crop` are sides of the whole image and of a view, in pixels.
    """
    edge, center = size - crop, center_offset(size, crop)
    corners = ((0, 0), (0, edge), (edge, 0), (edge, edge), (center, center))
    return tuple((top, left, mirrored) for mirrored in (False, True) for top, left in corners)


def views_of(views: int, size: int, crop: int) -> tuple[tuple[int, int, bool], ...]:
    """Return the paper's ten views for `views` = 10, else the centre alone, as `ten_views` does."""
    center = center_offset(size, crop)
    return ten_views(size, crop) if views == 10 else ((center, center, False),)
