"""Some images of a split, evenly spread over it."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np

from alexnet_jax.data import pipeline
from alexnet_jax.data.records import Dataset
from alexnet_jax.evaluation import activations
from alexnet_jax.progress import Progress
from alexnet_jax.workdir.trained import TrainedNet


def spread(size: int, most: int) -> np.ndarray:
    """Return at most `most` of the numbers below `size`, evenly spread, ascending."""
    count = min(size, most)
    return (np.arange(count) * size + size // 2) // count if count else np.arange(0)


def batches(
    net: TrainedNet, dataset: Dataset, split: str, indices: np.ndarray, what: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield whole images of the records `indices`, and their labels, under a progress bar called `what`.

    The images are uint8 (B, S, S, C), of one B in every batch: the last one is filled with black images.
    The labels, int, are of the others alone.
    """
    rows = activations.rows_at_once(net, net.config.evaluate.batch_size, len(indices))
    read = pipeline.evaluation_batches(dataset, split, net.config.data, rows, rows=(0, rows), indices=indices)
    shown = len(indices) > rows
    with closing(read), Progress(what, len(indices), "images", shown=shown) as progress:
        for batch in read:
            count = int(batch["weight"].sum())
            yield batch["image"], batch["label"][:count]
            progress.update(count)


def whole_images(
    net: TrainedNet, dataset: Dataset, split: str, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return whole images uint8 (N, S, S, C) of the records `indices`, in order, and labels int (N,)."""
    images, labels = [], []
    for image, label in batches(net, dataset, split, indices, "read"):
        images.append(image[: len(label)])
        labels.append(label)
    return np.concatenate(images), np.concatenate(labels)
