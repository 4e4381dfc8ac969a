"""Which crop, flip and lighting a record gets, and where the ten views lie (section 4.1): pure numpy.

Every decision is a function of the seed, the epoch and the record (or the group that shares a crop), so
that it does not depend on threads, processes or devices. Whole batches are decided at once: a generator
object for each record would cost a fifth of what decoding it does.
"""

import numpy as np

from alexnet_jax.data.statistics import Statistics

# What random numbers are for; part of the counter, so that the two never share a number.
PLACE, COLOUR = 0, 1


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10, the counter-based generator of Salmon et al. 2011 (Random123).

    Args:
      counter: uint32 (B, 4).
      key: two whole numbers below 2**32.

    Returns:
      uint32 (B, 4): independent, uniform words, a pure function of counter and key.
    """
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    a, b, c, d = counter.astype(np.uint64).T
    first, second = key
    for _ in range(10):
        left, right = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b = (right >> half) ^ b ^ np.uint64(first), right & low
        c, d = (left >> half) ^ d ^ np.uint64(second), left & low
        first, second = (first + 0x9E3779B9) % 2**32, (second + 0xBB67AE85) % 2**32
    return np.stack((a, b, c, d), axis=1).astype(np.uint32)


def random_words(seed: int, purpose: int, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The random words, uint32 (B, 4), of records (or groups) `indices` in `epochs`, each int (B,)."""
    parts = (indices & 0xFFFFFFFF, indices >> 32, epochs, np.full_like(indices, purpose))
    return philox(np.stack(parts, axis=1).astype(np.uint32), (seed, 0))


def crop_offsets(words: np.ndarray, size: int, crop: int) -> np.ndarray:
    """Top and left of random crops, int32 (B, 2).

    Each of the size - crop + 1 places a side is as likely: 33 x 33 of 224 in 256, as in the 2012 source
    (the paper counts 32 x 32). Uses the first two words.
    """
    places = np.uint64(size - crop + 1)
    return (words[:, :2].astype(np.uint64) * places >> np.uint64(32)).astype(np.int32)


def flips(words: np.ndarray) -> np.ndarray:
    """Whether to mirror, bool (B,): one time in two. Uses the third word."""
    return words[:, 2] >= 2**31


def normals(words: np.ndarray) -> np.ndarray:
    """Three draws from the standard normal distribution for each row, float64 (B, 3) (Box and Muller)."""
    uniform = (words + 0.5) / 2**32
    radius = np.sqrt(-2 * np.log(uniform[:, 0::2]))
    angle = 2 * np.pi * uniform[:, 1::2]
    return np.stack(
        (
            radius[:, 0] * np.cos(angle[:, 0]),
            radius[:, 0] * np.sin(angle[:, 0]),
            radius[:, 1] * np.cos(angle[:, 1]),
        ),
        axis=1,
    )


def lighting_offsets(alpha: np.ndarray, statistics: Statistics, form: str) -> np.ndarray:
    """What PCA lighting adds to every pixel of a picture, in grey levels.

    Args:
      alpha: float (B, C), one normal draw for each axis.
      statistics: of the training set.
      form: 'standard_deviation', p . (alpha * sqrt(lambda)), as the 2012 source does; 'eigenvalue',
        p . (alpha * lambda) with lambda on the scale 0 to 1, as Torch's and TensorFlow's ports do.

    Returns:
      float32 (B, C).
    """
    if form == "standard_deviation":
        lengths = np.sqrt(statistics.eigenvalues)
    else:
        lengths = statistics.eigenvalues / 255**2 * 255
    return ((alpha * lengths) @ statistics.eigenvectors.T).astype(np.float32)


def ten_views(size: int, crop: int) -> tuple[tuple[int, int, bool], ...]:
    """The four corners and the centre, then their mirror images, each (top, left, flip) (section 4.1)."""
    edge, half = size - crop, (size - crop) // 2
    places = ((0, 0), (0, edge), (edge, 0), (edge, edge), (half, half))
    return tuple((top, left, mirrored) for mirrored in (False, True) for top, left in places)
