"""The shapes of a network's values and parameters, which everything that counts is read from."""

from alexnet_jax.errors import UsageError
from alexnet_jax.model.rows import Shapes, Weighted
from alexnet_jax.model.specs import Architecture


def layer_shapes(architecture: Architecture) -> dict[str, Shapes]:
    """Return the shapes of every layer by name, from the image to the logits.

    Raises:
      UsageError: the image is too small for the table, or a row draws by inputs that its shapes do not count.
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
        if isinstance(layer, Weighted) and layer.std is None and not table[layer.name].fan_in:
            raise UsageError(
                f"{layer.name}: std=None draws by the inputs: shapes() gives multiply_accumulates"
            )
    return table
