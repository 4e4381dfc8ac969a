"""The mean image and the principal axes of colour of a training set (sections 2 and 4.1)."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.arrays import load_npz
from alexnet_jax.errors import UsageError, first_line
from alexnet_jax.files import atomic_write
from alexnet_jax.progress import printable

MAX_UNPACKED_BYTES = 2**30  # a mean image of 4096 x 4096 has 200 million


@dataclass(frozen=True)
class Statistics:
    """Statistics of all pixels, on the scale of grey levels 0 to 255.

    Attributes:
      mean: float32 (S, S, C), the mean image.
      rgb_mean: float64 (C,).
      rgb_covariance: float64 (C, C).
      eigenvalues: float64 (C,), of the covariance, largest first.
      eigenvectors: float64 (C, C), in columns; the sum of each is not negative.
      count: images.
    """

    mean: np.ndarray
    rgb_mean: np.ndarray
    rgb_covariance: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    count: int

    def save(self, path: Path) -> None:
        """Write `statistics.npz`, whole or not at all."""
        with atomic_write(path) as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        """Read what `save` wrote.

        Raises:
          UsageError: it is missing or damaged.
        """
        try:
            values: dict[str, Any] = load_npz(path, MAX_UNPACKED_BYTES, [field.name for field in fields(cls)])
        except FileNotFoundError:
            raise UsageError(f"the statistics {path} are missing") from None
        except Exception as error:  # damage leads zipfile, zlib and numpy's parser anywhere
            raise UsageError(
                f"the statistics {path} cannot be read: {printable(first_line(error))[:200]}"
            ) from None
        channels = values["mean"].shape[2:]
        shapes = {"rgb_mean": channels, "rgb_covariance": channels * 2, "eigenvalues": channels}
        shapes |= {"eigenvectors": channels * 2, "count": ()}
        if len(channels) != 1 or any(values[name].shape != shape for name, shape in shapes.items()):
            raise UsageError(f"the statistics {path} have shapes that do not fit together")
        if not all(np.isfinite(value).all() for value in values.values()):
            raise UsageError(f"the statistics {path} hold values that are not finite")
        return cls(**(values | {"count": int(values["count"])}))


class Accumulator:
    """Sums over images in whole numbers, so that neither order nor grouping changes a bit.

    Attributes:
      count: images.
      products: int64 (C, C), of the channels with each other, over all pixels.
    """

    def __init__(self, size: int, channels: int):
        self.count = 0
        self.products = np.zeros((channels, channels), np.int64)
        self._sum = np.zeros((size, size, channels), np.int64)
        # The sum of the last images, a quarter as wide: wide sums do not stay in a core's cache.
        self._recent = np.zeros((size, size, channels), np.uint16)
        self._recently = 0
        # Four pixels a row, 256 rows a block: a block's products sum to at most 256 * 255**2, below 2**24,
        # so that float32 holds them exactly, and a matrix product is faster than one in float64.
        self._rows = np.zeros((-(-(size**2) // 1024), 256, 4 * channels), np.float32)

    @property
    def sum(self) -> np.ndarray:
        """int64 (S, S, C), of all images."""
        self._sum += self._recent
        self._recent[...] = 0
        self._recently = 0
        return self._sum

    def add(self, image: np.ndarray) -> None:
        """Count one image, uint8 (S, S, C)."""
        if self._recently == 257:  # of 255 each, 65,535
            _ = self.sum
        self.count += 1
        self._recently += 1
        self._recent += image
        self._rows.reshape(-1)[: image.size] = image.reshape(-1)
        # With a copy: for an array times itself BLAS has a routine of its own, which is slower here.
        blocks = np.matmul(self._rows.transpose(0, 2, 1), self._rows.copy())
        products = blocks.sum(axis=0, dtype=np.float64)
        channels = image.shape[2]
        pixel = products.reshape(4, channels, 4, channels)
        self.products += np.einsum("iaib->ab", pixel).astype(np.int64)

    def merge(self, other: "Accumulator") -> None:
        """Count all that `other` has counted."""
        self.count += other.count
        self._sum += other.sum
        self.products += other.products

    def finish(self) -> Statistics:
        """Return the statistics of all images counted, at least one."""
        sums = self.sum
        pixels = self.count * sums.shape[0] * sums.shape[1]
        totals = sums.sum(axis=(0, 1))
        mean = totals / pixels
        # In Python's whole numbers: the difference of two large sums would lose digits.
        exact, products = totals.astype(object), self.products.astype(object)
        covariance = ((pixels * products - np.outer(exact, exact)) / pixels**2).astype(np.float64)
        eigenvalues, eigenvectors = np.linalg.eigh(covariance)
        eigenvalues, eigenvectors = np.maximum(eigenvalues[::-1], 0), eigenvectors[:, ::-1]
        eigenvectors = eigenvectors * np.where(eigenvectors.sum(axis=0) < 0, -1.0, 1.0)
        return Statistics(
            (sums / self.count).astype(np.float32),
            mean,
            covariance,
            eigenvalues,
            eigenvectors,
            self.count,
        )
