"""Why a run does not learn: which records a bad step read, which layers are silent."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.data import pipeline
from alexnet_jax.errors import RunFailure
from alexnet_jax.model import inputs, sharding
from alexnet_jax.model.architectures import Activation, Architecture
from alexnet_jax.progress import printable
from alexnet_jax.training import evaluation, step

PICTURES = 32  # that a dead layer is looked for with
SHOWN = 4  # records that a message names; a file has them all


def batch_records(dataset: pipeline.Dataset, config: ConfigDict, number: int) -> list[str]:
    """'index file_name' of each record of the batch of step `number`, the first step being 1."""
    records = dataset.records(config.data.train_split)
    _, indices = pipeline.record_indices(len(records), config.seed, config.data.batch_size, number - 1)
    named = []
    for index in indices.tolist():
        try:
            named.append(printable(f"{index} {records.read(index)[2]}"))
        except RunFailure:
            named.append(f"{index} (damaged)")
    return named


def name_batches(dataset: pipeline.Dataset, config: ConfigDict, path: Any, number: int) -> str:
    """Writes the records of step `number` and of the one before it into `path`; words that name the first."""
    lines = []
    for each in range(max(number - 1, 1), number + 1):
        lines += [f"step {each}: {name}" for name in batch_records(dataset, config, each)]
    named = [line.partition(": ")[2] for line in lines[-config.data.batch_size :]]
    more = len(named) - SHOWN
    words = ", ".join(named[:SHOWN]) + (f" and {more} more" if more > 0 else "")
    try:
        files.write_text(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        return f"{words} ({path} cannot be written: {error.strerror})"
    return f"{words}, all in {path}"


def silent_layers(
    architecture: Architecture,
    mesh: Mesh,
    form: inputs.InputForm,
    params: Any,
    mean: jax.Array,
    dataset: pipeline.Dataset,
    config: ConfigDict,
) -> list[str]:
    """The ReLU layers whose every value is 0 for the first pictures of the training split, centre view.

    What follows a silent layer is the same for every picture, and no gradient reaches what is before it.
    """
    wanted = tuple(x.name for x in architecture.layers if isinstance(x, Activation) and x.kind == "relu")
    if not wanted:
        return []
    config = config.copy_and_resolve_references()
    config.evaluate.batch_size = evaluation.padded_batch_size(PICTURES, mesh)
    rows = step.rows_here(mesh, config.evaluate.batch_size)
    batches = pipeline.evaluation_batches(dataset, config.data.train_split, config, rows=rows)
    try:
        host = next(iter(batches))
    finally:
        batches.close()
    batch = step.to_device({name: host[name] for name in ("image", "weight")}, mesh)
    edge = (config.data.size - architecture.crop) // 2

    @jax.jit
    def largest(params: Any, batch: dict[str, jax.Array], mean: jax.Array) -> dict[str, jax.Array]:
        x = inputs.normalise(inputs.view(batch["image"], edge, edge, False, architecture.crop), mean, form)
        values = sharding.forward(architecture, mesh, params, x, None, wanted)
        counted = batch["weight"] > 0
        return {
            name: jnp.max(jnp.where(counted.reshape(-1, *[1] * (value.ndim - 1)), value, 0))
            for name, value in values.items()
        }

    found = jax.device_get(largest(params, batch, mean))
    return [name for name in wanted if found[name] <= 0]
