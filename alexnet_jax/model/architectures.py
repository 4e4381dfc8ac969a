"""The networks as tables of layer specs: one row a layer, as in the paper's figure 2.

A row says all that a layer needs: what it reads, its size, its initial deviation and bias. `shapes`
follows a table from the image to the logits, and everything that counts (parameters, activations,
shardings) is read off it. Layer names are Caffe's.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError


@dataclass(frozen=True)
class Conv:
    """A convolution. `reads` is 'both' towers or the 'own' one; `pad` is (before, after) of each side."""

    name: str
    features: int  # maps of all towers together
    kernel: int
    std: float
    bias: float
    reads: str = "own"
    stride: int = 1
    pad: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Dense:
    """A fully connected layer. `reads`: 'both', 'own', or 'sum', where each tower gives its part of a sum."""

    name: str
    features: int
    std: float
    bias: float
    reads: str = "both"


@dataclass(frozen=True)
class Activation:
    """'relu', 'tanh' or 'sigmoid', element by element."""

    name: str
    kind: str


@dataclass(frozen=True)
class LRN:
    """Normalisation x / (k + alpha * sum over `size` maps of x^2)^beta inside a tower (section 3.3)."""

    name: str
    size: int
    alpha: float
    beta: float
    k: float


@dataclass(frozen=True)
class Pool:
    """'max' or 'average' pooling; with `ceil` the last window may run over the edge.

    An average divides by the elements present.
    """

    name: str
    kind: str
    size: int
    stride: int
    ceil: bool = False


@dataclass(frozen=True)
class Dropout:
    """Zeroes a share `rate` of the values in training and multiplies by 1 - rate otherwise (section 4.2)."""

    name: str
    rate: float


Layer = Conv | Dense | Activation | LRN | Pool | Dropout
Weighted = Conv | Dense


@dataclass(frozen=True)
class Architecture:
    """A network: its table, and what the table was made for."""

    name: str
    crop: int
    channels: int
    classes: int
    towers: int
    layers: tuple[Layer, ...]
    compute_dtype: str = "float32"

    @property
    def logits(self) -> str:
        """The name of the last layer, whose values are the logits."""
        return self.layers[-1].name


@dataclass(frozen=True)
class Shapes:
    """What a layer gives (`output`, without the batch, all towers together) and holds (nothing: ())."""

    output: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    bias: tuple[int, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers the layer learns."""
        return prod(self.kernel) + prod(self.bias) if self.kernel else 0


def shapes(architecture: Architecture) -> dict[str, Shapes]:
    """The shapes of every layer by name, from the image to the logits.

    Raises:
      UsageError: the picture is too small for the table.
    """
    towers = architecture.towers
    current: tuple[int, ...] = (architecture.crop, architecture.crop, architecture.channels)
    table: dict[str, Shapes] = {}
    first = True
    for layer in architecture.layers:
        kernel: tuple[int, ...] = ()
        bias: tuple[int, ...] = ()
        if isinstance(layer, Conv):
            seen = current[2] // (1 if first or layer.reads == "both" else towers)
            side = (current[0] + sum(layer.pad) - layer.kernel) // layer.stride + 1
            kernel = (towers, layer.kernel, layer.kernel, seen, layer.features // towers)
            bias = (towers, layer.features // towers)
            current = (side, side, layer.features)
        elif isinstance(layer, Pool):
            reach = current[0] - layer.size
            side = (-(-reach // layer.stride) if layer.ceil else reach // layer.stride) + 1
            current = (side, side, current[2])
        elif isinstance(layer, Dense):
            seen = prod(current) // (1 if first or layer.reads == "both" else towers)
            if layer.reads == "sum":
                kernel, bias = (towers, seen, layer.features), (layer.features,)
            else:
                kernel, bias = (towers, seen, layer.features // towers), (towers, layer.features // towers)
            current = (layer.features,)
        if min(current) < 1:
            raise UsageError(
                f"config.data.crop={architecture.crop} is too small for {architecture.name}: "
                f"nothing is left at {layer.name}"
            )
        first = first and not kernel
        table[layer.name] = Shapes(current, kernel, bias)
    return table


def alexnet_2012(
    *,
    crop: int,
    channels: int,
    classes: int,
    width: float,
    towers: int,
    communicate_at: tuple[str, ...],
    activation: str,
    lrn: bool,
    pool_size: int,
    dropout: float,
) -> tuple[Layer, ...]:
    """The paper's network in the paper's words (section 3, figure 2).

    Convolution, activation, normalisation, pooling, in this order. A crop whose last conv1 window runs
    over the edge is padded there with zeros, as in the 2012 source: 224 becomes 227, and 55 x 55 maps.

    Args:
      crop: the picture's side in pixels.
      channels: the picture's channels.
      classes: how many logits.
      width: all layers' maps and units as a share of the paper's. So that a smaller net's signals start as
        large as the paper's, deviations beyond conv1 grow by 1 / sqrt(width), and fc6's by 6 / side where
        pool5 is not 6 x 6.
      towers: 2, or 1 for one tower that reads everything.
      communicate_at: the layers that read both towers; the paper's are conv3, fc6 and fc7.
      activation: 'relu', 'tanh' or 'sigmoid'.
      lrn: whether to normalise after conv1 and conv2 (section 3.3).
      pool_size: sides of the pooling windows, whose stride is 2 (section 3.4).
      dropout: the share of fc6 and fc7 that training zeroes; 0 leaves the two layers out.
    """
    inner = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    unknown = set(communicate_at) - set(inner)
    _demand(not unknown, f"config.model.communicate_at={communicate_at}: choose from {', '.join(inner)}")
    _demand(pool_size in (2, 3), f"config.model.pool_size={pool_size}: it must be 2 or 3")

    def features(full: int) -> int:
        scaled = round(full * width)
        _demand(
            scaled >= towers and scaled % towers == 0,
            f"config.model.width={width} gives {scaled} of {full} maps, not a multiple of {towers} towers",
        )
        return scaled

    def reads(name: str) -> str:
        return "both" if name in communicate_at else "own"

    std = 0.01 / width**0.5
    overrun = -(crop - 11) % 4
    convolutional: list[Layer | None] = [
        Conv("conv1", features(96), 11, 0.01, 0.0, "both", 4, (0, overrun)),
        Activation("relu1", activation),
        LRN("norm1", size=5, alpha=1e-4, beta=0.75, k=2.0) if lrn else None,
        Pool("pool1", "max", pool_size, 2),
        Conv("conv2", features(256), 5, std, 1.0, reads("conv2"), pad=(2, 2)),
        Activation("relu2", activation),
        LRN("norm2", size=5, alpha=1e-4, beta=0.75, k=2.0) if lrn else None,
        Pool("pool2", "max", pool_size, 2),
        Conv("conv3", features(384), 3, std, 0.0, reads("conv3"), pad=(1, 1)),
        Activation("relu3", activation),
        Conv("conv4", features(384), 3, std, 1.0, reads("conv4"), pad=(1, 1)),
        Activation("relu4", activation),
        Conv("conv5", features(256), 3, std, 1.0, reads("conv5"), pad=(1, 1)),
        Activation("relu5", activation),
        Pool("pool5", "max", pool_size, 2),
    ]
    rows = tuple(row for row in convolutional if row is not None)
    side = shapes(Architecture("alexnet_2012", crop, channels, classes, towers, rows))["pool5"].output[0]
    fully_connected: list[Layer | None] = [
        Dense("fc6", features(4096), std * 6 / side, 1.0, reads("fc6")),
        Activation("relu6", activation),
        Dropout("drop6", dropout) if dropout else None,
        Dense("fc7", features(4096), std, 1.0, reads("fc7")),
        Activation("relu7", activation),
        Dropout("drop7", dropout) if dropout else None,
        Dense("fc8", classes, std, 0.0, "sum"),
    ]
    return rows + tuple(row for row in fully_connected if row is not None)


def cifar10_26(*, crop: int, channels: int, classes: int, activation: str) -> tuple[Layer, ...]:
    """cuda-convnet's '26 %' net: conv 32 max, 32 average, 64 average, fc64, fc10 (its layers-80sec.cfg).

    conv1's activation stands after its pooling; pooling sizes round up; no normalisation, one tower.
    """
    return (
        Conv("conv1", 32, 5, 1e-4, 0.0, "both", pad=(2, 2)),
        Pool("pool1", "max", 3, 2, ceil=True),
        Activation("relu1", activation),
        Conv("conv2", 32, 5, 0.01, 0.0, pad=(2, 2)),
        Activation("relu2", activation),
        Pool("pool2", "average", 3, 2, ceil=True),
        Conv("conv3", 64, 5, 0.01, 0.0, pad=(2, 2)),
        Activation("relu3", activation),
        Pool("pool3", "average", 3, 2, ceil=True),
        Dense("fc4", 64, 0.1, 0.0),
        Activation("relu4", activation),
        Dense("fc5", classes, 0.1, 0.0, "sum"),
    )


TABLES: dict[str, Callable[..., tuple[Layer, ...]]] = {
    table.__name__: table for table in (alexnet_2012, cifar10_26)
}


def build(model: ConfigDict, crop: int, channels: int) -> Architecture:
    """The architecture that `config.model` names, for pictures of `crop` x `crop` x `channels`.

    Raises:
      UsageError: an unknown name, a missing, unknown or wrong argument, too small a picture.
    """
    arguments = dict(model)
    name, dtype = arguments.pop("architecture"), arguments.pop("compute_dtype", None)
    _demand(name in TABLES, f"config.model.architecture={name!r}: there are {', '.join(TABLES)}")
    _demand(
        dtype in ("float32", "bfloat16", "float64"),
        f"config.model.compute_dtype={dtype!r}: it must be 'float32', 'bfloat16' or 'float64'",
    )
    wanted = set(inspect.signature(TABLES[name]).parameters) - {"crop", "channels"}
    for key in sorted(wanted - arguments.keys()):
        raise UsageError(f"config.model.{key} is missing: {name} takes {', '.join(sorted(wanted))}")
    for key in sorted(arguments.keys() - wanted):
        raise UsageError(f"config.model.{key} is not an argument of {name}: {', '.join(sorted(wanted))}")
    rules: dict[str, tuple[type | tuple[type, ...], Callable[..., bool], str]] = {
        "classes": (int, lambda v: v >= 2, "a whole number of at least 2"),
        "width": ((int, float), lambda v: v > 0, "a number above 0"),
        "towers": (int, lambda v: v in (1, 2), "1 or 2"),
        "communicate_at": (tuple, lambda v: True, "a tuple of layer names"),
        "activation": (str, lambda v: v in ("relu", "tanh", "sigmoid"), "'relu', 'tanh' or 'sigmoid'"),
        "lrn": (bool, lambda v: True, "True or False"),
        "pool_size": (int, lambda v: v > 0, "a whole number above 0"),
        "dropout": ((int, float), lambda v: 0 <= v < 1, "a number from 0 to below 1"),
    }
    for key, value in arguments.items():
        kind, allowed, words = rules[key]
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) and allowed(value)
        _demand(fits, f"config.model.{key}={value!r}: it must be {words}")
    layers = TABLES[name](crop=crop, channels=channels, **arguments)
    architecture = Architecture(
        name, crop, channels, arguments["classes"], arguments.get("towers", 1), layers, dtype
    )
    shapes(architecture)
    return architecture


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UsageError(otherwise)
