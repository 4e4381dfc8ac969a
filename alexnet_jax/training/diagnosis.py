"""Why a run does not learn: which records a bad step read, which layers are dead."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.config.schema import FLAT_LOSS_TOLERANCE
from alexnet_jax.data import order, pipeline
from alexnet_jax.data.augment import center_offset
from alexnet_jax.data.records import Dataset
from alexnet_jax.errors import RunFailure
from alexnet_jax.evaluation.views import PlacedNet
from alexnet_jax.model import inputs, network, sharding
from alexnet_jax.model.specs import Activation
from alexnet_jax.progress import printable

MAX_IMAGES = 32  # with which a dead layer is looked for
MAX_RECORDS_SHOWN = 4  # that a message names; a file has them all


def batch_records(dataset: Dataset, config: ConfigDict, number: int) -> list[str]:
    """Return 'index file_name' of each record of the batch of step `number`, the first step being 1."""
    records = dataset.records(config.data.train_split)
    _, indices = order.record_indices(len(records), config.seed, config.data.batch_size, number - 1)
    named = []
    for index in indices.tolist():
        try:
            named.append(printable(f"{index} {records.read(index)[2]}"))
        except RunFailure:
            named.append(f"{index} (damaged)")
    return named


def name_batches(dataset: Dataset, config: ConfigDict, path: Path, number: int) -> str:
    """Write the records of step `number` and of the one before it to `path`; return words for the first."""
    lines = []
    for each in range(max(number - 1, 1), number + 1):
        lines += [f"step {each}: {name}" for name in batch_records(dataset, config, each)]
    named = [line.partition(": ")[2] for line in lines[-config.data.batch_size :]]
    more = len(named) - MAX_RECORDS_SHOWN
    words = ", ".join(named[:MAX_RECORDS_SHOWN]) + (f" and {more} more" if more > 0 else "")
    try:
        files.write_text(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        return f"{words} ({path} cannot be written: {error.strerror})"
    return f"{words}, all in {path}"


def flat_loss(net: PlacedNet, dataset: Dataset, config: ConfigDict, loss: float) -> list[str]:
    """Return what to tell the user of a training loss that is no better than guessing; else nothing.

    Args:
      net: with the parameters of now.
      dataset: on which it is trained.
      config: the run's.
      loss: the mean over the last steps, in nats.
    """
    guessing = math.log(config.model.classes)
    if loss <= (1 - FLAT_LOSS_TOLERANCE) * guessing:
        return []
    lines, rate = [], config.schedule.learning_rate
    dead = dead_relu_layers(net, dataset, config)
    if dead:
        lines.append(
            f"the net is dead: every value of {', '.join(dead)} is 0, so that no gradient reaches what comes "
            "before. The run cannot recover: start another with a lower config.schedule.learning_rate than "
            f"{rate}."
        )
    # README, "A loss that stands still": the paper's initial values and biases stand twice as long.
    sooner = "the recipe of configs/imagenet_2012_source.py, which learns sooner, "
    lines.append(
        f"the loss stands still: {loss:.3f} after {config.train.flat_loss_steps} steps is no better than "
        f"guessing, ln({config.model.classes}) = {guessing:.3f}. Try more patience (some thousand steps are "
        f"not rare), {sooner if net.architecture.name == 'alexnet_2012' else ''}a higher "
        "config.schedule.learning_rate, or look whether the labels are right."
    )
    return lines


def dead_relu_layers(net: PlacedNet, dataset: Dataset, config: ConfigDict) -> list[str]:
    """Return the ReLU layers whose every value is 0 for the first training images, centre view.

    What follows a dead layer is the same for every image, and no gradient reaches what is before it.
    """
    architecture, mesh = net.architecture, net.mesh
    wanted = tuple(x.name for x in architecture.layers if isinstance(x, Activation) and x.kind == "relu")
    if not wanted:
        return []
    batch_size = sharding.padded_batch_size(MAX_IMAGES, mesh)
    rows = sharding.rows_here(mesh, batch_size)
    batches = pipeline.evaluation_batches(
        dataset, config.data.train_split, config.data, batch_size, rows=rows
    )
    try:
        batch = sharding.to_device(next(iter(batches)), mesh)
    finally:
        batches.close()
    edge = center_offset(net.size, architecture.crop)

    @jax.jit
    def largest(params: sharding.Params, image: jax.Array, weight: jax.Array) -> dict[str, jax.Array]:
        view = inputs.view(image, edge, edge, False, architecture.crop)
        x = inputs.normalise(view, net.mean, net.normalization)
        values = network.forward(architecture, mesh, params, x, None, wanted)
        return {
            name: jnp.max(jnp.where((weight > 0).reshape(-1, *[1] * (value.ndim - 1)), value, 0))
            for name, value in values.items()
        }

    found = jax.device_get(largest(net.params, batch["image"], batch["weight"]))
    return [name for name in wanted if found[name] <= 0]
