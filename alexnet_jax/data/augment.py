"""Which crop, flip and lighting a record gets, and where the ten views lie (section 4.1): pure numpy.

Every decision is a function of the seed, the epoch and the record (or the group that shares a crop), so
that it does not depend on threads, processes or devices.
"""

import numpy as np

from alexnet_jax.data.statistics import Statistics

# What a stream of random numbers is for; part of its key.
PLACE, COLOUR = 0, 1


def generator(seed: int, purpose: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one record (or group) in one epoch, for one purpose."""
    return np.random.Generator(np.random.Philox(key=[seed * 2 + purpose, (epoch << 40) + index]))


def crop_offset(random: np.random.Generator, size: int, crop: int) -> tuple[int, int]:
    """(top, left) of a random crop: each of the size - crop + 1 places a side is as likely (33 x 33 of 256)."""
    top, left = random.integers(0, size - crop + 1, 2)
    return int(top), int(left)


def flip(random: np.random.Generator) -> bool:
    """Whether to mirror: one time in two."""
    return bool(random.random() < 0.5)


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
