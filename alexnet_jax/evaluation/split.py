"""Errors over a whole split, each image counted once."""

from collections.abc import Callable, Sequence
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
    size = dataset.size(split)
    batch_size = sharding.padded_batch_size(config.evaluate.batch_size, mesh)
    rows = sharding.rows_here(mesh, batch_size)
    sums: list[list[metrics.Sums]] = [[] for _ in range(len(predictors) + (len(predictors) > 1))]
    score = jax.jit(metrics.score_probabilities, out_shardings=sharding.replicated(mesh))
    in_flight = 1 if sharding.must_run_in_turn(mesh) else IN_FLIGHT
    batches = pipeline.evaluation_batches(dataset, split, config.data, batch_size, rows=rows)
    with closing(batches), Progress(f"evaluate {split}", size, "images", shown=shown) as progress:
        for host in batches:
            if stopped():
                return None
            batch = sharding.to_device(host, mesh)
            each = [predict(batch["image"]) for predict in predictors]
            if len(each) > 1:
                each.append(jnp.mean(jnp.stack(each), axis=0))
            if watch is not None:
                watch(each[-1], host)
            for scores, probabilities in zip(sums, each, strict=True):
                scores.append(score(probabilities, batch["label"], batch["weight"]))
                if len(scores) >= in_flight:
                    jax.block_until_ready(scores[-in_flight])
            progress.update(min(batch_size, size - progress.done))
    averages = [metrics.average(scores) for scores in sums]
    for found in averages:
        if found.count != size:
            raise RunFailure(f"evaluation counted {found.count} images of {size} in split {split!r}")
    return averages
