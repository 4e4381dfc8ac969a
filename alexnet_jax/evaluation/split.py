"""Errors over a whole split, each image counted once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.data import pipeline
from alexnet_jax.data.batch import Batch
from alexnet_jax.data.records import Dataset
from alexnet_jax.errors import RunFailure
from alexnet_jax.evaluation import metrics
from alexnet_jax.evaluation.views import Predictor
from alexnet_jax.model import sharding
from alexnet_jax.progress import Progress

BatchPredictor = Callable[[Batch[jax.Array]], jax.Array]
IN_FLIGHT = 3  # batches whose scores may wait on the device


def evaluate_split(
    dataset: Dataset,
    config: ConfigDict,
    mesh: Mesh,
    split: str,
    predictors: Sequence[Predictor],
    stopped: Callable[[], bool] = lambda: False,
    shown: bool = True,
    watch: Callable[[jax.Array, Batch[np.ndarray]], None] | None = None,
) -> list[metrics.Averages] | None:
    """Compute loss and errors of each predictor over a split, and last those of their mean.

    Args:
      dataset: the prepared data.
      config: for batch size and decoding.
      mesh: over which each batch is sharded.
      split: a TFDS split.
      predictors: the nets; with one, its averages alone are returned.
      stopped: asked at each batch; True gives the evaluation up.
      shown: whether progress is shown.
      watch: called with each batch in turn, and before it its probabilities (B, classes), of several nets
        their mean.

    Returns:
      The averages, or None when stopped.

    Raises:
      RunFailure: an image was left out or counted twice.
    """
    batch_size = sharding.padded_batch_size(config.evaluate.batch_size, mesh)
    rows = sharding.rows_here(mesh, batch_size)
    host_batches = pipeline.evaluation_batches(dataset, split, config.data, batch_size, rows=rows)

    def batches() -> Iterator[tuple[Batch[jax.Array], Batch[np.ndarray]]]:
        for host in host_batches:
            yield sharding.to_device(host, mesh), host

    def of_image(predict: Predictor) -> BatchPredictor:
        return lambda batch: predict(batch["image"])

    size = dataset.size(split)
    with closing(host_batches), Progress(f"evaluate {split}", size, "images", shown=shown) as progress:
        return evaluate_batches(
            batches(), size, mesh, [of_image(predict) for predict in predictors], stopped, progress, watch
        )


def evaluate_batches(
    batches: Iterable[tuple[Batch[jax.Array], Batch[np.ndarray]]],
    size: int,
    mesh: Mesh,
    predictors: Sequence[BatchPredictor],
    stopped: Callable[[], bool],
    progress: Progress,
    watch: Callable[[jax.Array, Batch[np.ndarray]], None] | None = None,
) -> list[metrics.Averages] | None:
    """Compute loss and errors of each predictor over batches of `size` images, as `evaluate_split`.

    Args:
      batches: each on the mesh, and as the host has it, for `watch`.
      size: how many images all of them have; what is more is padding.
      mesh: on which the batches lie.
      predictors: functions of a batch on the mesh to probabilities (B, classes).
      stopped: asked at each batch; True gives the evaluation up.
      progress: is told of each batch.
      watch: called with each batch in turn, and before it its probabilities (B, classes), of several nets
        their mean.

    Returns:
      The averages, or None when stopped.

    Raises:
      RunFailure: an image was left out or counted twice.
    """
    sums: list[list[metrics.Sums]] = [[] for _ in range(len(predictors) + (len(predictors) > 1))]
    score = jax.jit(metrics.score_probabilities, out_shardings=sharding.replicated(mesh))
    in_flight = 1 if sharding.must_run_in_turn(mesh) else IN_FLIGHT
    for batch, host in batches:
        if stopped():
            return None
        each = [predict(batch) for predict in predictors]
        if len(each) > 1:
            each.append(jnp.mean(jnp.stack(each), axis=0))
        if watch is not None:
            watch(each[-1], host)
        for scores, probabilities in zip(sums, each, strict=True):
            scores.append(score(probabilities, batch["label"], batch["weight"]))
            if len(scores) >= in_flight:
                jax.block_until_ready(scores[-in_flight])
        progress.update(min(len(batch["label"]), size - progress.done))
    averages = [metrics.average(scores) for scores in sums]
    for found in averages:
        if found.count != size:
            raise RunFailure(f"evaluation counted {found.count} images of {size}")
    return averages
