"""What a batch holds: one type from the host's threads over the wire to the device."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypedDict, TypeVar

import numpy as np

Array = TypeVar("Array")


class Batch(TypedDict, Generic[Array], total=False):
    """A batch of B images: `Batch[np.ndarray]` on the host, `Batch[jax.Array]` on the mesh, sharded over B.

    A plain dict at run time. A training batch has images and labels, and what the config has drawn for them;
    where the values of frozen layers are stored, `values` in the place of images. An evaluation batch has
    whole images, labels and weights; a view that the device cuts has no label.

    Attributes:
      image: uint8 (B, crop, crop, C), not yet flipped; whole images, (B, S, S, C), for evaluation. RGB for
        C = 3, grey for C = 1.
      label: int32 (B,), from 0; 0 where the weight is 0.
      flip: bool (B,), whether the device mirrors the image; missing: it does not.
      offset: int32 (B, 2), top and left of the crop in the whole image; missing: the centre.
      lighting: float32 (B, C), what PCA lighting adds to every pixel, in grey levels; missing: nothing.
      scale: float32 (B,), by which the image is multiplied after mean and lighting; missing: 1.
      weight: float32 (B,), 1 for an image that counts, 0 for padding; missing: all count.
      values: (B, H, W, C) or (B, C), those of a layer, from which the net continues.
    """

    image: Array
    label: Array
    flip: Array
    offset: Array
    lighting: Array
    scale: Array
    weight: Array
    values: Array


class Batches(Iterator[Batch[np.ndarray]], Protocol):
    """An iterator over batches; `close` ends its threads and processes."""

    def close(self) -> None:
        """End the threads and processes."""
