"""What a row of a network's table is, whatever its kind; `specs` has the kinds.

A row is all there is to know of a layer: what it reads, its shapes, and what it computes. A kind of one's own
is a frozen dataclass derived from `Layer`, or from `Weighted` where it has a kernel and a bias.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf, prod
from numbers import Real
from typing import Any, ClassVar

import jax
from jax import lax

from alexnet_jax.errors import UsageError, WrongTypeError


@dataclass(frozen=True)
class Shapes:
    """What one layer gives and holds.

    Attributes:
      output: its values, (H, W, C) or (C,): without the batch, all towers together.
      kernel, bias: its parameters with the towers first; () where it has none.
      multiply_accumulates: for one image: weights times the positions where each is used. A row whose `std`
        is None gives it: `fan_in` is read from it.
    """

    output: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    bias: tuple[int, ...] = ()
    multiply_accumulates: int = 0

    @property
    def parameters(self) -> int:
        """How many numbers the layer learns."""
        return prod(self.kernel) + prod(self.bias) if self.kernel else 0

    @property
    def fan_in(self) -> int:
        """How many inputs one number of the output is a sum over, all towers together."""
        return self.multiply_accumulates // prod(self.output)


@dataclass(frozen=True)
class Here:
    """Say what part of a net one call computes, and how.

    Attributes:
      towers: how many of the net's towers: all, or one inside `shard_map`.
      axis: the mesh axis over which the towers lie; None where all are here.
      forward_mode: take JAX's own derivatives instead of ours, so that `jax.jvp` works; slower.
      mask: of a dropout layer in training, in the shape of its values; None when the net is used.
    """

    towers: int
    axis: str | None = None
    forward_mode: bool = False
    mask: jax.Array | None = None


@dataclass(frozen=True)
class Layer:
    """A row of a table; by itself the identity.

    Attributes:
      name: of the layer; parameters and values are found under it.
    """

    name: str

    def __post_init__(self) -> None:
        """Check the row; UsageError (a ValueError) names what was given and what is right."""
        if not isinstance(self.name, str) or not self.name or "/" in self.name:
            raise UsageError(f"a layer's name is a text without '/', not {self.name!r}")

    def shapes(self, read: tuple[int, ...], towers: int) -> Shapes:
        """Return the shapes of the layer that reads values of the shape `read`, (H, W, C) or (C,)."""
        return Shapes(read)

    def apply(self, x: jax.Array, weights: Any, here: Here) -> jax.Array:
        """Return the layer's values, (B, H, W, C here) or (B, C here).

        Args:
          x: what it reads; all towers' where the row `reads` both.
          weights: (kernel, bias) of a layer that has them, else None.
          here: which part of the net is computed.
        """
        return x


class Weighted(Layer):
    """A row with a kernel and a bias, which a subclass names as its fields.

    Attributes:
      features: channels or units of its output, of all towers together.
      std: initial standard deviation of the kernel; None draws kernel and bias as PyTorch does by default,
        uniformly within 1 / sqrt(inputs of a unit).
      bias: initial bias, where `std` is given.
      reads: 'both' towers, its 'own' one, or 'sum', where each tower gives its part of a sum. Of two towers
        the first layer reads the image and says 'both', and only the last one may say 'sum'.
    """

    features: int
    std: float | None
    bias: float
    reads: str
    READS: ClassVar[tuple[str, ...]] = ("both", "own")  # what `reads` may be

    def __post_init__(self) -> None:
        """Check the row."""
        super().__post_init__()
        check_one_of(self, "reads", self.READS)
        check_at_least_one(self, "features")
        if self.std is not None:
            check_number(self, "std", lambda v: 0 <= v < inf, "at least 0")
            check_number(self, "bias", lambda v: -inf < v < inf, "finite")

    def per_tower(self, channels: int, towers: int) -> tuple[int, int]:
        """Return how many of `channels` a tower reads, and how many features it makes."""
        return channels if self.reads == "both" else channels // towers, self.features // towers


def exchange(x: jax.Array, axis: str | None) -> jax.Array:
    """Return the channels of all towers, in tower order: what figure 2 draws as crossing lines.

    This is the only place where activations go from one tower to the other. Its gradient is the
    opposite exchange: each device gets back the sum for its own channels.

    Args:
      x: (..., C here), the channels that this device holds.
      axis: the mesh axis over which the towers lie; None where all are here, and `x` is returned.
    """
    return x if axis is None else lax.all_gather(x, axis, axis=x.ndim - 1, tiled=True)


def check_one_of(row: Layer, field: str, allowed: Collection[str]) -> None:
    """Raise UsageError unless a field of the row is one of `allowed`."""
    value = getattr(row, field)
    if value not in allowed:
        words = ", ".join(map(repr, allowed))
        raise UsageError(f"{row.name}: {field}={value!r}: there are {words}")


def check_at_least_one(row: Layer, *fields: str) -> None:
    """Raise UsageError unless the fields of the row are whole numbers of at least 1."""
    for field in fields:
        value = getattr(row, field)
        if type(value) is not int:
            raise WrongTypeError(f"{row.name}: {field}={value!r} is not a whole number")
        if value < 1:
            raise UsageError(f"{row.name}: {field}={value!r}: it is at least 1")


def check_number(row: Layer, field: str, allowed: Callable[[float], bool], words: str) -> None:
    """Raise UsageError unless the field of the row is an allowed number; `words` say which ones are."""
    value = getattr(row, field)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise WrongTypeError(f"{row.name}: {field}={value!r} is not a number")
    if not allowed(float(value)):
        raise UsageError(f"{row.name}: {field}={value!r}: it is {words}")
