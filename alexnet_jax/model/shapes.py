"""The shapes of a network's values and parameters, which everything that counts is read from."""

from alexnet_jax.errors import UsageError
from alexnet_jax.model.rows import Shapes
from alexnet_jax.model.specs import Architecture


def layer_shapes(architecture: Architecture) -> dict[str, Shapes]:
    """Return the shapes of every layer by name, from the image to the logits.

    Raises:
      UsageError: the image is too small for the table.
    """
    read: tuple[int, ...] = (architecture.crop, architecture.crop, architecture.channels)
    table: dict[str, Shapes] = {}
    for layer in architecture.layers:
        table[layer.name] = layer.shapes(read, architecture.towers)
        read = table[layer.name].output
        if min(read) < 1:
            raise UsageError(
                f"config.data.crop={architecture.crop} is too small for {architecture.name}: "
                f"nothing is left at {layer.name}"
            )
    return table
