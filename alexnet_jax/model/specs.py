"""The rows of a network's table: one for each layer, as in the paper's figure 2 (Krizhevsky et al., 2012).

`shapes` follows a table from the image to the logits and `network` runs it; both ask the rows. Layer names
are Caffe's.
"""

from dataclasses import dataclass
from math import inf, prod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from alexnet_jax.errors import UsageError, WrongTypeError
from alexnet_jax.model import layers, pooling
from alexnet_jax.model.rows import (
    Here,
    Layer,
    Shapes,
    Weighted,
    check_at_least_one,
    check_number,
    check_one_of,
    exchange,
)

MIN_MEAN_SQUARE = 1e-24  # of `RMSNorm`: an image whose values are all 0 is not divided by 0


@dataclass(frozen=True)
class Conv(Weighted):
    """A convolution.

    Attributes:
      name, features, std, bias, reads: as in `Weighted`.
      kernel: side of the kernel.
      stride: in both directions.
      pad: zeros (before, after) the rows and the columns.
    """

    features: int
    kernel: int
    std: float | None
    bias: float
    reads: str = "own"
    stride: int = 1
    pad: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Check the row."""
        super().__post_init__()
        check_at_least_one(self, "kernel", "stride")
        pair = isinstance(self.pad, tuple) and len(self.pad) == 2
        if not pair or not all(type(zeros) is int and zeros >= 0 for zeros in self.pad):
            raise UsageError(f"{self.name}: pad={self.pad!r}: it is (before, after), whole numbers from 0 on")

    def shapes(self, read: tuple[int, ...], towers: int) -> Shapes:
        """Return the shapes of the layer that reads (H, W, C)."""
        side = (read[0] + sum(self.pad) - self.kernel) // self.stride + 1
        inputs, outputs = self.per_tower(read[-1], towers)
        kernel = (towers, self.kernel, self.kernel, inputs, outputs)
        return Shapes((side, side, self.features), kernel, (towers, outputs), prod(kernel) * side * side)

    def apply(self, x: jax.Array, weights: Any, here: Here) -> jax.Array:
        """Return the convolution of `x`."""
        kernel, bias = weights
        return layers.convolution(x, kernel, bias, self.stride, self.pad, here.forward_mode)


@dataclass(frozen=True)
class Local(Weighted):
    """A locally connected layer: a convolution with a kernel and a bias for each position; one tower."""

    features: int
    kernel: int
    std: float
    bias: float
    pad: int
    reads: str = "both"

    def __post_init__(self) -> None:
        """Check the row."""
        super().__post_init__()
        check_at_least_one(self, "kernel")
        if type(self.pad) is not int or self.pad < 0:
            raise UsageError(f"{self.name}: pad={self.pad!r}: it is a whole number from 0 on")

    def shapes(self, read: tuple[int, ...], towers: int) -> Shapes:
        """Return the shapes of the layer that reads (H, W, C)."""
        side = read[0] + 2 * self.pad - self.kernel + 1
        inputs, outputs = self.per_tower(read[-1], towers)
        kernel = (towers, side, side, self.kernel, self.kernel, inputs, outputs)
        return Shapes((side, side, self.features), kernel, (towers, side, side, outputs), prod(kernel))

    def apply(self, x: jax.Array, weights: Any, here: Here) -> jax.Array:
        """Return the layer's values."""
        kernel, bias = weights
        return layers.locally_connected(x, kernel, bias, self.pad)


@dataclass(frozen=True)
class Dense(Weighted):
    """A fully connected layer; with `reads='sum'` each tower gives its part of a sum (the last layer)."""

    features: int
    std: float | None
    bias: float
    reads: str = "both"
    READS: ClassVar[tuple[str, ...]] = ("both", "own", "sum")

    def shapes(self, read: tuple[int, ...], towers: int) -> Shapes:
        """Return the shapes of the layer that reads (H, W, C) or (C,)."""
        inputs, outputs = self.per_tower(read[-1], towers)
        summed = self.reads == "sum"  # every tower has its part of every output
        kernel = (towers, prod(read[:-1]) * inputs, self.features if summed else outputs)
        bias = (self.features,) if summed else (towers, outputs)
        return Shapes((self.features,), kernel, bias, prod(kernel))

    def apply(self, x: jax.Array, weights: Any, here: Here) -> jax.Array:
        """Return the layer's values; a sum is the same on every device."""
        kernel, bias = weights
        if self.reads != "sum":
            return layers.dense(x, kernel, bias, here.forward_mode)
        x = layers.dense_partial_sum(x, kernel, here.forward_mode)
        total: jax.Array = (x if here.axis is None else lax.psum(x, here.axis)) + bias
        return total


@dataclass(frozen=True)
class Activation(Layer):
    """A nonlinearity, element by element: `kind` is 'relu' (section 3.1), 'tanh' or 'sigmoid'."""

    kind: str

    def __post_init__(self) -> None:
        """Check the row."""
        super().__post_init__()
        check_one_of(self, "kind", tuple(layers.ACTIVATIONS))

    def apply(self, x: jax.Array, weights: Any, here: Here) -> jax.Array:
        """Return the nonlinearity of `x`."""
        return layers.ACTIVATIONS[self.kind](x)


@dataclass(frozen=True)
class LRN(Layer):
    """Normalisation x / (k + alpha * sum over `size` channels of x^2)^beta (section 3.3).

    An even `size` sums over one channel more, as the paper's formula does. The window ends at the edge of a
    tower, or goes `across` it, as in Caffe.
    """

    size: int
    alpha: float
    beta: float
    k: float
    across: bool = False

    def __post_init__(self) -> None:
        """Check the row."""
        super().__post_init__()
        _check_normalisation(self)

    def apply(self, x: jax.Array, weights: Any, here: Here) -> jax.Array:
        """Return `x` normalised."""
        if not self.across:
            return self._normalise(x, here.towers, here)
        everywhere = self._normalise(exchange(x, here.axis), 1, here)
        if here.axis is None:
            return everywhere
        count = x.shape[-1]
        return lax.dynamic_slice_in_dim(everywhere, lax.axis_index(here.axis) * count, count, axis=-1)

    def _normalise(self, x: jax.Array, towers: int, here: Here) -> jax.Array:
        return layers.lrn(x, self.size, self.alpha, self.beta, self.k, towers, here.forward_mode)


@dataclass(frozen=True)
class WithinChannelLRN(Layer):
    """The normalisation of `LRN` with the sum over `size` x `size` positions of one channel; `size` is odd.

    Beyond the edge are zeros. cuda-convnet calls it 'rnorm', Caffe WITHIN_CHANNEL.
    """

    size: int
    alpha: float
    beta: float
    k: float

    def __post_init__(self) -> None:
        """Check the row."""
        super().__post_init__()
        _check_normalisation(self)
        if self.size % 2 == 0:
            raise UsageError(f"{self.name}: size={self.size}: it is odd, so that a window has a centre")

    def apply(self, x: jax.Array, weights: Any, here: Here) -> jax.Array:
        """Return `x` normalised."""
        return layers.within_channel_lrn(x, self.size, self.alpha, self.beta, self.k, here.forward_mode)


def _check_normalisation(row: LRN | WithinChannelLRN) -> None:
    """Raise UsageError unless what the row divides by is above 0, whatever it reads."""
    check_at_least_one(row, "size")
    check_number(row, "alpha", lambda v: 0 <= v < inf, "at least 0")
    check_number(row, "beta", lambda v: -inf < v < inf, "finite")
    check_number(row, "k", lambda v: 0 < v < inf, "above 0")


@dataclass(frozen=True)
class RMSNorm(Layer):
    """The values of an image divided by their root mean square, over all positions and channels.

    Under a linear layer it makes images of strong and of weak contrast count alike: the direction is what
    is compared, as by the cosine. Values that are all 0 stay 0. No part of any published net.
    """

    def apply(self, x: jax.Array, weights: Any, here: Here) -> jax.Array:
        """Return `x` normalised; the towers' values count together."""
        axes = tuple(range(1, x.ndim))
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean_square = jnp.mean(wide * wide, axis=axes, keepdims=True)
        if here.axis is not None:
            mean_square = lax.pmean(mean_square, here.axis)
        return (wide * lax.rsqrt(jnp.maximum(mean_square, MIN_MEAN_SQUARE))).astype(x.dtype)


@dataclass(frozen=True)
class Pool(Layer):
    """'max' or 'average' pooling; with `ceil` the last window may run over the edge, and begins before it.

    An average divides by the elements present.
    """

    kind: str
    size: int
    stride: int
    ceil: bool = False

    def __post_init__(self) -> None:
        """Check the row."""
        super().__post_init__()
        check_one_of(self, "kind", tuple(pooling.POOLS))
        check_at_least_one(self, "size", "stride")

    def shapes(self, read: tuple[int, ...], towers: int) -> Shapes:
        """Return the shapes of the layer that reads (H, W, C)."""
        side = pooling.windows(read[0], self.size, self.stride, self.ceil)
        return Shapes((side, side, read[2]))

    def apply(self, x: jax.Array, weights: Any, here: Here) -> jax.Array:
        """Return one value for each window."""
        return pooling.POOLS[self.kind](x, self.size, self.stride, self.ceil, here.forward_mode)


@dataclass(frozen=True)
class AdaptivePool(Layer):
    """The means of `side` x `side` windows that cover a channel of any size (PyTorch's AdaptiveAvgPool2d)."""

    side: int

    def __post_init__(self) -> None:
        """Check the row."""
        super().__post_init__()
        check_at_least_one(self, "side")

    def shapes(self, read: tuple[int, ...], towers: int) -> Shapes:
        """Return the shapes of the layer that reads (H, W, C)."""
        return Shapes((self.side, self.side, read[2]))

    def apply(self, x: jax.Array, weights: Any, here: Here) -> jax.Array:
        """Return one value for each window."""
        return pooling.adaptive_average_pool(x, self.side)


@dataclass(frozen=True)
class Dropout(Layer):
    """Zeroes a share `rate` of the values in training and multiplies by 1 - rate otherwise (section 4.2).

    `inverted`: divides by 1 - rate in training instead, and does nothing otherwise (Caffe, PyTorch).
    """

    rate: float
    inverted: bool = False

    def __post_init__(self) -> None:
        """Check the row."""
        super().__post_init__()
        check_number(self, "rate", lambda v: 0 <= v < 1, "a share from 0 to below 1")

    def apply(self, x: jax.Array, weights: Any, here: Here) -> jax.Array:
        """Return `x` with what the mask does not keep zeroed, or scaled where there is no mask."""
        return layers.dropout(x, here.mask, self.rate, self.inverted)


@dataclass(frozen=True)
class Table:
    """The layers of a net and how many towers it has.

    Raises:
      UsageError: a name twice, another number of towers than 1 or 2, features that do not divide over them;
        of two towers a first layer that does not read 'both', or 'sum' before the last.
    """

    layers: tuple[Layer, ...]
    towers: int = 1

    def __post_init__(self) -> None:
        """Check what no row can know by itself."""
        check_table(self.layers, self.towers)


@dataclass(frozen=True)
class Architecture:
    """A network: its table, and what the table was made for.

    Attributes:
      name: key of `architectures.TABLES`, or any text for a table of one's own.
      crop: side of the image that it reads, in pixels.
      channels: of that image.
      classes: how many logits.
      towers: 1 or 2.
      layers: the table.
      compute_dtype: in which the layers compute; parameters are float32.

    Raises:
      UsageError: as `Table`.
    """

    name: str
    crop: int
    channels: int
    classes: int
    towers: int
    layers: tuple[Layer, ...]
    compute_dtype: str = "float32"

    def __post_init__(self) -> None:
        """Check the table."""
        check_table(self.layers, self.towers)

    @property
    def logits(self) -> str:
        """The name of the last layer, whose values are the logits."""
        return self.layers[-1].name

    @property
    def has_classes(self) -> bool:
        """Whether the table ends in logits; one cut off at the last layer with weights may not."""
        last = self.layers[-1]
        return isinstance(last, Weighted) and last.reads == "sum"


def check_table(rows: tuple[Layer, ...], towers: int) -> None:
    """Raise UsageError where two rows have one name, or the towers do not fit together."""
    if towers not in (1, 2):
        raise UsageError(f"towers={towers!r}: a net has 1 or 2")
    names: set[str] = set()
    for row in rows:
        if not isinstance(row, Layer):
            raise WrongTypeError(f"a table has rows such as Conv and Pool, not {row!r}")
        if row.name in names:
            raise UsageError(f"two layers are called {row.name!r}: each needs a name of its own")
        names.add(row.name)
        if isinstance(row, Weighted) and row.reads != "sum" and row.features % towers:
            raise UsageError(f"{row.name}: {row.features} features do not divide over {towers} towers")
    if towers == 1:
        return
    for row in rows[:1]:  # the image's channels are no tower's own
        if not isinstance(row, Weighted) or row.reads != "both":
            raise UsageError(
                f"{row.name}: two towers begin with a layer of weights that reads the image: reads='both'"
            )
    for row in rows[:-1]:  # a sum lies whole with each tower, and what follows would take it for its part
        if isinstance(row, Weighted) and row.reads == "sum":
            raise UsageError(
                f"{row.name}: of two towers the last layer alone has reads='sum': write 'both' or 'own'"
            )
