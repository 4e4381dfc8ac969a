"""A trained net as one file that needs JAX alone: StableHLO through `jax.export`."""

from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export as jax_export

from alexnet_jax import files
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference.run import Run
from alexnet_jax.model import sharding
from alexnet_jax.training import evaluation, step

PLATFORMS = ("cpu", "cuda", "tpu")


def check_output(output: Path) -> None:
    """Raises UsageError when no file can be written to `output`."""
    if not output.name or output.is_dir() or not output.absolute().parent.is_dir():
        raise UsageError(f"--output={output}: it must name a file in a folder that exists")


def export(run: Run, output: Path) -> str:
    """Writes a program with the net's parameters in it, for one device of any of `PLATFORMS`.

    It takes whole pictures as the run's data has them, uint8 (B, size, size, C) for any B, sees their centre
    and gives probabilities, float32 (B, classes): `predict --views=1`. `jax.export.deserialize` reads it.

    Args:
      run: what `run.load` gave, from any mesh.
      output: the file.

    Returns:
      What was done, in a line for a person.

    Raises:
      UsageError: the weights are partial. RunFailure: the file cannot be written.
    """
    architecture, data = run.architecture, run.config.data
    mesh = sharding.make_mesh(1, 1, architecture.towers, 1, jax.devices()[:1])
    params, mean = jax.device_get((run.params, run.mean))
    run.predictor(1)  # refuses partial weights
    (centre,) = evaluation.views_of(1, data.size, architecture.crop)

    def predict(image: jax.Array) -> jax.Array:
        return step.view_probabilities(architecture, mesh, run.form, params, image, mean, centre)

    (batch,) = jax_export.symbolic_shape("batch")
    picture = jax.ShapeDtypeStruct((batch, data.size, data.size, data.channels), jnp.uint8)
    program = jax_export.export(jax.jit(predict), platforms=PLATFORMS)(picture)
    try:
        with files.whole_file(output) as file:
            file.write(program.serialize())
    except OSError as error:
        raise RunFailure(f"{output} cannot be written: {error.strerror}") from error
    return (
        f"{output}: uint8 (batch, {data.size}, {data.size}, {data.channels}) to probabilities "
        f"(batch, {architecture.classes}), for {', '.join(PLATFORMS)}"
    )
