"""Errors over a whole split, each picture counted once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.data import augment, pipeline
from alexnet_jax.errors import RunFailure
from alexnet_jax.model import sharding
from alexnet_jax.model.architectures import Architecture
from alexnet_jax.model.inputs import InputForm
from alexnet_jax.progress import Progress
from alexnet_jax.training import metrics, step

# Averaged softmax probabilities (B, classes) of whole uint8 pictures (B, S, S, C) on the mesh.
Predictor = Callable[[jax.Array], jax.Array]


def views_of(views: int, size: int, crop: int) -> tuple[tuple[int, int, bool], ...]:
    """The centre view, or the paper's ten (section 4.1), each (top, left, flip)."""
    if views == 10:
        return augment.ten_views(size, crop)
    return (((size - crop) // 2, (size - crop) // 2, False),)


def predictor(
    architecture: Architecture, mesh: Mesh, form: InputForm, mean: jax.Array, size: int, views: int
) -> Callable[[Any, jax.Array], jax.Array]:
    """A function of (params, pictures) to probabilities averaged over `views` views.

    One compiled program serves all views, as their place is an argument.
    """
    one = jax.jit(
        partial(step.view_probabilities, architecture, mesh, form),
        compiler_options=sharding.compiler_options(architecture, mesh),
    )
    places = views_of(views, size, architecture.crop)
    in_turn = runs_in_turn(mesh)

    def probabilities(params: Any, image: jax.Array) -> jax.Array:
        total = jnp.zeros(())
        for place in places:
            total = total + one(params, image, mean, place)
            if in_turn:
                jax.block_until_ready(total)
        return total / len(places)

    return probabilities


def evaluate_split(
    dataset: pipeline.Dataset,
    config: ConfigDict,
    mesh: Mesh,
    split: str,
    predictors: list[Predictor],
    stopped: Callable[[], bool] = lambda: False,
    shown: bool = True,
) -> list[metrics.Averages] | None:
    """Loss and errors of each predictor over `split`, and last those of their mean.

    Args:
      dataset: the prepared data.
      config: for batch size and normalisation.
      mesh: over which each batch is placed.
      split: a TFDS split.
      predictors: the nets; with one, its averages alone are returned.
      stopped: asked at each batch; True gives the evaluation up.
      shown: whether progress is shown.

    Returns:
      The averages, or None when stopped.

    Raises:
      RunFailure: a picture was left out or counted twice.
    """
    size = dataset.size(split)
    config = config.copy_and_resolve_references()
    config.evaluate.batch_size = padded_batch_size(config.evaluate.batch_size, mesh)
    rows = step.rows_here(mesh, config.evaluate.batch_size)
    sums: list[list[metrics.Sums]] = [[] for _ in range(len(predictors) + (len(predictors) > 1))]
    score = jax.jit(step.score_probabilities, out_shardings=sharding.replicated(mesh))
    batches = pipeline.evaluation_batches(dataset, split, config, rows=rows)
    try:
        with Progress(f"evaluate {split}", size, "images", shown=shown) as progress:
            for host in batches:
                if stopped():
                    return None
                batch = step.to_device({k: host[k] for k in ("image", "label", "weight")}, mesh)
                each = [predict(batch["image"]) for predict in predictors]
                if len(each) > 1:
                    each.append(jnp.mean(jnp.stack(each), axis=0))
                for place, probabilities in zip(sums, each, strict=True):
                    place.append(score(probabilities, batch["label"], batch["weight"]))
                    if runs_in_turn(mesh):
                        jax.block_until_ready(place[-1])
                    elif len(place) > 2:
                        jax.block_until_ready(place[-3])  # bounds what is in flight
                progress.update(min(config.evaluate.batch_size, size - progress.done))
    finally:
        batches.close()
    averages = [metrics.average(place) for place in sums]
    for found in averages:
        if found.count != size:
            raise RunFailure(f"evaluation counted {found.count} pictures of {size} in split {split!r}")
    return averages


def runs_in_turn(mesh: Mesh) -> bool:
    """Whether programs on `mesh` must not run at the same time.

    Programs that exchange and do not need each other's results can lock each other on simulated devices:
    each holds the thread that the other waits for, and XLA ends the process after 40 seconds.
    """
    return mesh.size > 1 and mesh.devices.flat[0].platform == "cpu"


def padded_batch_size(batch_size: int, mesh: Mesh) -> int:
    """The smallest multiple of the data axis that is at least `batch_size`: padding fills it."""
    data = mesh.shape["data"]
    return -(-batch_size // data) * data
