"""A trained net as one file that needs JAX alone: StableHLO through `jax.export`."""

from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export as jax_export

from alexnet_jax.data.augment import views_of
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.evaluation import views
from alexnet_jax.files import atomic_write
from alexnet_jax.model import sharding
from alexnet_jax.workdir.trained import TrainedNet

PLATFORMS = ("cpu", "cuda", "tpu")


def check_output(output: Path) -> None:
    """Raise UsageError when no file can be written to `output`."""
    if not output.name or output.is_dir() or not output.absolute().parent.is_dir():
        raise UsageError(f"--output={output}: it must name a file in a folder that exists")


def export(net: TrainedNet, output: Path) -> str:
    """Write a program with the net's parameters in it, for one device of any of `PLATFORMS`.

    It takes whole images as the run's data has them, uint8 (B, size, size, C) for any B, sees their centre
    and gives probabilities, float32 (B, classes): `predict --views=1`. `jax.export.deserialize` reads it.

    Args:
      net: what `trained.load` gave, from any mesh.
      output: the file.

    Returns:
      What was done, in a line for the user.

    Raises:
      UsageError: the weights are partial. RunFailure: the file cannot be written.
    """
    architecture, size = net.architecture, net.size
    mesh = sharding.make_mesh(1, 1, architecture.towers, 1, jax.devices()[:1])
    params, mean = jax.device_get((net.params, net.mean))
    net.predictor(1)  # refuses partial weights
    (center,) = views_of(1, size, architecture.crop)

    def predict(image: jax.Array) -> jax.Array:
        return views.view_probabilities(architecture, mesh, net.normalization, params, image, mean, center)

    (batch,) = jax_export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, size, size, architecture.channels), jnp.uint8)
    program = jax_export.export(jax.jit(predict), platforms=PLATFORMS)(images)
    try:
        with atomic_write(output) as file:
            file.write(program.serialize())
    except OSError as error:
        raise RunFailure(f"{output} cannot be written: {error.strerror}") from error
    return (
        f"{output}: uint8 (batch, {size}, {size}, {architecture.channels}) to probabilities "
        f"(batch, {architecture.classes}), for {', '.join(PLATFORMS)}"
    )
