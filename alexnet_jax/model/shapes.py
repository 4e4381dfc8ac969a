"""The shapes of a network's values and parameters, which everything that counts is read from."""

from dataclasses import dataclass
from math import prod

from alexnet_jax.errors import UsageError
from alexnet_jax.model import specs
from alexnet_jax.model.specs import Architecture, Layer, Weighted


@dataclass(frozen=True)
class Shapes:
    """What one layer gives and holds.

    Attributes:
      output: its values, (H, W, C) or (C,): without the batch, all towers together.
      kernel, bias: its parameters with the towers first; () where it has none.
      multiply_accumulates: for one image: weights times the positions where each is used.
    """

    output: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    bias: tuple[int, ...] = ()
    multiply_accumulates: int = 0

    @property
    def parameters(self) -> int:
        """How many numbers the layer learns."""
        return prod(self.kernel) + prod(self.bias) if self.kernel else 0


def layer_shapes(architecture: Architecture) -> dict[str, Shapes]:
    """Return the shapes of every layer by name, from the image to the logits.

    Raises:
      UsageError: the image is too small for the table.
    """
    read: tuple[int, ...] = (architecture.crop, architecture.crop, architecture.channels)
    table: dict[str, Shapes] = {}
    for layer in architecture.layers:
        table[layer.name] = _shapes_of(layer, read, architecture.towers)
        read = table[layer.name].output
        if min(read) < 1:
            raise UsageError(
                f"config.data.crop={architecture.crop} is too small for {architecture.name}: "
                f"nothing is left at {layer.name}"
            )
    return table


def _shapes_of(layer: Layer, read: tuple[int, ...], towers: int) -> Shapes:
    """Return what `layer` makes of values of the shape `read`."""
    match layer:
        case specs.Conv() | specs.Local() | specs.Dense():
            return _weighted(layer, read, towers)
        case specs.Pool():
            room = read[0] - layer.size
            side = (-(-room // layer.stride) if layer.ceil else room // layer.stride) + 1
            return Shapes((side, side, read[2]))
        case specs.AdaptivePool():
            return Shapes((layer.side, layer.side, read[2]))
        case specs.Activation() | specs.LRN() | specs.WithinChannelLRN() | specs.Dropout():
            return Shapes(read)


def _weighted(layer: Weighted, read: tuple[int, ...], towers: int) -> Shapes:
    seen = read[-1] if layer.reads == "both" else read[-1] // towers  # channels that a tower reads
    made = layer.features // towers
    kernel: tuple[int, ...]
    bias: tuple[int, ...]
    if isinstance(layer, specs.Conv):
        side = (read[0] + sum(layer.pad) - layer.kernel) // layer.stride + 1
        kernel, bias = (towers, layer.kernel, layer.kernel, seen, made), (towers, made)
        return Shapes((side, side, layer.features), kernel, bias, prod(kernel) * side * side)
    if isinstance(layer, specs.Local):
        side = read[0] + 2 * layer.pad - layer.kernel + 1
        kernel, bias = (
            (towers, side, side, layer.kernel, layer.kernel, seen, made),
            (towers, side, side, made),
        )
        return Shapes((side, side, layer.features), kernel, bias, prod(kernel))
    summed = layer.reads == "sum"  # every tower has its part of every output
    kernel = (towers, prod(read[:-1]) * seen, layer.features if summed else made)
    bias = (layer.features,) if summed else (towers, made)
    return Shapes((layer.features,), kernel, bias, prod(kernel))
