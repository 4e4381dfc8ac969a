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

MAX_IMAGES = 32  # images in which a dead layer is looked for
MAX_RECORDS_SHOWN = 4  # records that a message names; a file has them all


def batch_records(dataset: Dataset, config: ConfigDict, step: int) -> list[str]:
    """Return 'index file_name' of each record in the batch of a step; the first step is 1."""
    records = dataset.records(config.data.train_split)
    _, indices = order.record_indices(len(records), config.seed, config.data.batch_size, step - 1)
    named = []
    for index in indices.tolist():
        try:
            named.append(printable(f"{index} {records.read(index)[2]}"))
        except RunFailure:
            named.append(f"{index} (damaged)")
    return named


def name_batches(dataset: Dataset, config: ConfigDict, path: Path, step: int) -> str:
    """Write the records of `step` and the step before it to `path`; return a message on those of `step`."""
    lines = []
    for of_step in range(max(step - 1, 1), step + 1):
        lines += [f"step {of_step}: {name}" for name in batch_records(dataset, config, of_step)]
    named = [line.partition(": ")[2] for line in lines[-config.data.batch_size :]]
    more = len(named) - MAX_RECORDS_SHOWN
    words = ", ".join(named[:MAX_RECORDS_SHOWN]) + (f" and {more} more" if more > 0 else "")
    try:
        files.write_text(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        return f"{words} ({path} cannot be written: {error.strerror})"
    return f"{words}, all in {path}"


def flat_loss_steps(train: ConfigDict, total_steps: int) -> set[int]:
    """Return the steps after which a flat loss is reported: that of `config.train`, and the run's last."""
    return {train.flat_loss_steps, total_steps} if train.flat_loss_steps else set()


def not_finite(dataset: Dataset, config: ConfigDict, path: Path, step: int, checkpoints: list[int]) -> str:
    """Return why a run ends whose loss or parameters are not finite; the records go to `path`.

    Args:
      dataset: the data on which it is trained.
      config: the run's config.
      path: the file to write.
      step: at which it was seen.
      checkpoints: the steps of those that there are.
    """
    kept = "no checkpoint was written before"
    if checkpoints:
        kept = f"the last good checkpoint is step {checkpoints[-1]}"
    return (
        f"step {step}: the loss or the parameters are not finite ({kept}); its batch: records "
        f"{name_batches(dataset, config, path, step)}; try a lower config.schedule.learning_rate than "
        f"{config.schedule.learning_rate}"
    )


def flat_loss(
    net: PlacedNet, dataset: Dataset, config: ConfigDict, loss: float, step: int, total_steps: int
) -> list[str]:
    """Return messages about a training loss that is no better than guessing; none where it is better.

    Args:
      net: the net with its present parameters.
      dataset: the data on which it is trained.
      config: the run's config.
      loss: the mean loss of the last steps, in nats.
      step: how many updates were made.
      total_steps: how many the run makes at most.
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
    # docs/own_images.md: by the paper's initial values and biases it stands twice as long.
    sooner = "the recipe of configs/imagenet_2012_source.py, which learns sooner, "
    longer = f"a config.train.epochs above {config.train.epochs:g}, which ends the run here"
    patience = "more patience" if step < total_steps else longer
    lines.append(
        f"the loss stands still: {loss:.3f} after {step} steps is no better than guessing, "
        f"ln({config.model.classes}) = {guessing:.3f}. Try {patience} "
        f"(some thousand steps are not rare), {sooner if net.architecture.name == 'alexnet_2012' else ''}a "
        "higher config.schedule.learning_rate, or look whether the labels are right."
    )
    return lines


def dead_relu_layers(net: PlacedNet, dataset: Dataset, config: ConfigDict) -> list[str]:
    """Return the ReLU layers whose values are all 0 for the first training images, centre view.

    The values after a dead layer are the same for every image, and no gradient reaches the layers before it.
    """
    architecture, mesh = net.architecture, net.mesh
    relu_layers = tuple(x.name for x in architecture.layers if isinstance(x, Activation) and x.kind == "relu")
    if not relu_layers:
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
        values = network.forward(architecture, mesh, params, x, None, relu_layers)
        return {
            name: jnp.max(jnp.where((weight > 0).reshape(-1, *[1] * (value.ndim - 1)), value, 0))
            for name, value in values.items()
        }

    largest_values = jax.device_get(largest(net.params, batch["image"], batch["weight"]))
    return [name for name in relu_layers if largest_values[name] <= 0]
