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
    """A convolution. `reads` is 'both' towers or the 'own' one; `pad` is (before, after) of each side.

    `std` is the initial deviation of the kernel, `bias` the initial bias; a `std` of None draws both as
    PyTorch does by default: uniformly within 1 / sqrt(inputs of a unit).
    """

    name: str
    features: int  # maps of all towers together
    kernel: int
    std: float | None
    bias: float
    reads: str = "own"
    stride: int = 1
    pad: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Local:
    """A locally connected layer: a convolution whose kernel and bias are each place's own; one tower."""

    name: str
    features: int
    kernel: int
    std: float
    bias: float
    pad: int
    reads: str = "both"


@dataclass(frozen=True)
class Dense:
    """A fully connected layer. `reads`: 'both', 'own', or 'sum', where each tower gives its part of a sum."""

    name: str
    features: int
    std: float | None
    bias: float
    reads: str = "both"


@dataclass(frozen=True)
class Activation:
    """'relu', 'tanh' or 'sigmoid', element by element."""

    name: str
    kind: str


@dataclass(frozen=True)
class LRN:
    """Normalisation x / (k + alpha * sum over `size` maps of x^2)^beta (section 3.3).

    The window ends at the edge of a tower, or goes `across` it, as in Caffe.
    """

    name: str
    size: int
    alpha: float
    beta: float
    k: float
    across: bool = False


@dataclass(frozen=True)
class SameMapLRN:
    """The same over `size` x `size` places of one map, zeros beyond the edge (cuda-convnet's 'rnorm')."""

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
class AdaptivePool:
    """The means of `side` x `side` windows that cover a map of any size (PyTorch's AdaptiveAvgPool2d)."""

    name: str
    side: int


@dataclass(frozen=True)
class Dropout:
    """Zeroes a share `rate` of the values in training and multiplies by 1 - rate otherwise (section 4.2).

    `inverted`: divides by 1 - rate in training instead, and does nothing otherwise (Caffe, PyTorch).
    """

    name: str
    rate: float
    inverted: bool = False


Layer = Conv | Local | Dense | Activation | LRN | SameMapLRN | Pool | AdaptivePool | Dropout
Weighted = Conv | Local | Dense


@dataclass(frozen=True)
class Table:
    """The layers of a net and how many towers it has."""

    layers: tuple[Layer, ...]
    towers: int = 1


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

    @property
    def has_classes(self) -> bool:
        """Whether the table ends in logits; one cut off at the last layer with weights may not."""
        last = self.layers[-1]
        return isinstance(last, Dense) and last.reads == "sum"


@dataclass(frozen=True)
class Shapes:
    """What a layer gives (`output`, without the batch, all towers together) and holds (nothing: ())."""

    output: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    bias: tuple[int, ...] = ()
    multiply_accumulates: int = 0  # of one picture: weights times the places where each is used

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
        if isinstance(layer, Weighted):
            apart = 1 if first or layer.reads == "both" else towers  # shares of what it reads
            made = layer.features // towers
            if isinstance(layer, Conv):
                side = (current[0] + sum(layer.pad) - layer.kernel) // layer.stride + 1
                kernel = (towers, layer.kernel, layer.kernel, current[2] // apart, made)
                bias, current = (towers, made), (side, side, layer.features)
            elif isinstance(layer, Local):
                side = current[0] + 2 * layer.pad - layer.kernel + 1
                kernel = (towers, side, side, layer.kernel, layer.kernel, current[2] // apart, made)
                bias, current = (towers, side, side, made), (side, side, layer.features)
            elif layer.reads == "sum":
                kernel, bias = (towers, prod(current) // apart, layer.features), (layer.features,)
                current = (layer.features,)
            else:
                kernel, bias = (towers, prod(current) // apart, made), (towers, made)
                current = (layer.features,)
            first = False
        elif isinstance(layer, Pool):
            reach = current[0] - layer.size
            side = (-(-reach // layer.stride) if layer.ceil else reach // layer.stride) + 1
            current = (side, side, current[2])
        elif isinstance(layer, AdaptivePool):
            current = (layer.side, layer.side, current[2])
        if min(current) < 1:
            raise UsageError(
                f"config.data.crop={architecture.crop} is too small for {architecture.name}: "
                f"nothing is left at {layer.name}"
            )
        places = current[0] * current[1] if isinstance(layer, Conv) else 1
        table[layer.name] = Shapes(current, kernel, bias, prod(kernel) * places if kernel else 0)
    return table


@dataclass(frozen=True)
class _Scale:
    """Widths of a net as a share of the published one, over towers."""

    width: float
    towers: int

    def features(self, full: int) -> int:
        scaled = round(full * self.width)
        _demand(
            scaled >= self.towers and scaled % self.towers == 0,
            f"config.model.width={self.width} gives {scaled} of {full} maps, not a multiple of "
            f"{self.towers} towers",
        )
        return scaled

    def std(self, full: float) -> float:
        """A narrow net's deviation, so that its signals start as large as the published net's."""
        return full / self.width**0.5

    def fc6_std(self, full: float, rows: tuple[Layer, ...], crop: int, channels: int) -> float:
        """The same for the layer over `rows`, which were made for 6 x 6 maps there."""
        table = shapes(Architecture("this net", crop, channels, 0, self.towers, rows))
        return self.std(full) * 6 / table[rows[-1].name].output[0]


def _rows(*layers: Layer | None) -> tuple[Layer, ...]:
    """A table without the rows that an argument left out."""
    return tuple(layer for layer in layers if layer is not None)


def _overrun(crop: int) -> int:
    """Pixels by which the last window of conv1 (11 x 11, stride 4) runs over the edge: 3 for 224."""
    return -(crop - 11) % 4


REMOVABLE = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")  # the middle layers (section 7)


def alexnet_2012(
    *,
    crop: int,
    channels: int,
    classes: int,
    width: float,
    towers: int,
    communicate_at: tuple[str, ...],
    without: tuple[str, ...],
    activation: str,
    lrn: bool,
    pool_size: int,
    dropout: float,
) -> Table:
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
      without: middle layers that are left out with their activation, normalisation and dropout (section 7);
        pools stay. Where such a layer read both towers, the next one does.
      activation: 'relu', 'tanh' or 'sigmoid'.
      lrn: whether to normalise after conv1 and conv2 (section 3.3).
      pool_size: sides of the pooling windows, whose stride is 2 (section 3.4).
      dropout: the share of fc6 and fc7 that training zeroes; 0 leaves the two layers out.
    """
    for key, names in (("communicate_at", communicate_at), ("without", without)):
        unknown = set(names) - set(REMOVABLE)
        _demand(not unknown, f"config.model.{key}={names}: choose from {', '.join(REMOVABLE)}")
    _demand(pool_size in (2, 3), f"config.model.pool_size={pool_size}: it must be 2 or 3")
    scale = _Scale(width, towers)

    def reads(name: str) -> str:
        place = REMOVABLE.index(name)
        while place and REMOVABLE[place - 1] in without:  # what was before it and is left out
            place -= 1
        return "both" if set(REMOVABLE[place : REMOVABLE.index(name) + 1]) & set(communicate_at) else "own"

    def conv(number: int, maps: int, kernel: int, bias: float) -> Layer | None:
        name, pad = f"conv{number}", (kernel // 2, kernel // 2)
        if name in without:
            return None
        return Conv(name, scale.features(maps), kernel, scale.std(0.01), bias, reads(name), pad=pad)

    def activated(number: int, name: str) -> Layer | None:
        return None if name in without else Activation(f"relu{number}", activation)

    def norm(number: int) -> Layer | None:
        return LRN(f"norm{number}", size=5, alpha=1e-4, beta=0.75, k=2.0) if lrn else None

    def pool(number: int) -> Layer:
        return Pool(f"pool{number}", "max", pool_size, 2)

    rows = _rows(
        Conv("conv1", scale.features(96), 11, 0.01, 0.0, "both", 4, (0, _overrun(crop))),
        Activation("relu1", activation),
        norm(1),
        pool(1),
        conv(2, 256, 5, 1.0),
        activated(2, "conv2"),
        norm(2) if "conv2" not in without else None,
        pool(2),
        conv(3, 384, 3, 0.0),
        activated(3, "conv3"),
        conv(4, 384, 3, 1.0),
        activated(4, "conv4"),
        conv(5, 256, 3, 1.0),
        activated(5, "conv5"),
        pool(5),
    )
    fc6_std = scale.fc6_std(0.01, rows, crop, channels)
    for number, std in ((6, fc6_std), (7, fc6_std if "fc6" in without else scale.std(0.01))):
        name = f"fc{number}"
        if name not in without:
            rows += _rows(
                Dense(name, scale.features(4096), std, 1.0, reads(name)),
                Activation(f"relu{number}", activation),
                Dropout(f"drop{number}", dropout) if dropout else None,
            )
    return Table((*rows, Dense("fc8", classes, scale.std(0.01), 0.0, "sum")), towers)


def _source(
    crop: int,
    channels: int,
    classes: int,
    width: float,
    dropout: float,
    *,
    towers: int = 2,
    maps: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256),
    units: tuple[int, int] = (4096, 4096),
    communicate_at: tuple[str, ...] = ("conv3", "conv6", "fc6", "fc7", "fc8"),
    norms: bool = True,
    pool_size: int = 3,
    conv2_pad: int = 2,
    conv5_pad: int = 1,
    sixth: bool = False,
) -> Table:
    """Net 145 and those that its authors compared it with (layers/layers-*.cfg of the released source).

    conv1 and conv5 have their ReLU after the pooling, conv2 two normalisations. alpha is divided by the
    elements of its window; pools round up.
    """
    scale = _Scale(width, towers)

    def conv(number: int, kernel: int, std: float, bias: float, pad: int) -> Layer:
        name = f"conv{number}"
        reads = "both" if name in communicate_at else "own"
        features = scale.features(maps[min(number, 5) - 1])
        return Conv(name, features, kernel, scale.std(std), bias, reads, pad=(pad, pad))

    def lrn(number: int) -> Layer | None:
        return LRN(f"norm{number}", size=5, alpha=1e-4 / 5, beta=0.75, k=2.0) if norms else None

    def pool(number: int) -> Layer:
        return Pool(f"pool{number}", "max", pool_size, 2, ceil=True)

    def relu(number: int) -> Layer:
        return Activation(f"relu{number}", "relu")

    rows = _rows(
        Conv("conv1", scale.features(maps[0]), 11, 0.01, 0.0, "both", 4, (0, _overrun(crop))),
        lrn(1),
        pool(1),
        relu(1),
        conv(2, 5, 0.01, 1.0, conv2_pad),
        relu(2),
        lrn(2),
        SameMapLRN("norm2b", size=5, alpha=1e-3 / 25, beta=0.75, k=1.0) if norms else None,
        pool(2),
        conv(3, 3, 0.03, 0.0, 1),
        relu(3),
        conv(4, 3, 0.03, 1.0, 1),
        relu(4),
        conv(5, 3, 0.03, 1.0, conv5_pad),
        pool(5),
        relu(5),
    )
    number = 6
    if sixth:
        rows += (conv(6, 3, 0.03, 1.0, 1), relu(6))
        number = 7
    std = scale.fc6_std(0.01, rows, crop, channels)
    for full in units:
        reads = "both" if f"fc{number}" in communicate_at else "own"
        rows += _rows(
            Dense(f"fc{number}", scale.features(full), std, 1.0, reads),
            relu(number),
            Dropout(f"drop{number}", dropout) if dropout else None,
        )
        number, std = number + 1, scale.std(0.01)
    return Table((*rows, Dense(f"fc{number}", classes, scale.std(0.01), 0.0, "sum")), towers)


def alexnet_2012_source(*, crop: int, channels: int, classes: int, width: float, dropout: float) -> Table:
    """Net 145 of the released source: 40.66 / 18.21 % on ILSVRC-2012 with ten views, by its log."""
    return _source(crop, channels, classes, width, dropout)


def source_132(*, crop: int, channels: int, classes: int, width: float, dropout: float) -> Table:
    """Towers that meet at conv4 instead of conv3, which is what net 132 is cited for.

    Its file changes more, which is not built here: conv1 has 32 maps a tower, conv2 also reads the blurred
    image, and its second normalisation is by the local variance.
    """
    return _source(crop, channels, classes, width, dropout, communicate_at=("conv4", "fc6", "fc7"))


def source_145_half(*, crop: int, channels: int, classes: int, width: float, dropout: float) -> Table:
    """One tower of 48-128-192-192-256 maps and 4,096 units: 39.17 / 18.23 % on 2010, two towers 37.47."""
    half = (48, 128, 192, 192, 256)
    return _source(crop, channels, classes, width, dropout, towers=1, maps=half)


def source_146(*, crop: int, channels: int, classes: int, width: float, dropout: float) -> Table:
    """A sixth convolution over pool5: the net that was pre-trained on the Fall 2011 release (table 2)."""
    return _source(crop, channels, classes, width, dropout, sixth=True)


def source_147(*, crop: int, channels: int, classes: int, width: float, dropout: float) -> Table:
    """Pools of 2 x 2 that do not overlap, conv2 padded by 1 and conv5 by 0: 55, 28, 26, 13, 13, 11, 6."""
    return _source(crop, channels, classes, width, dropout, pool_size=2, conv2_pad=1, conv5_pad=0)


def source_148(*, crop: int, channels: int, classes: int, width: float, dropout: float) -> Table:
    """No normalisation at all."""
    return _source(crop, channels, classes, width, dropout, norms=False)


def source_150(*, crop: int, channels: int, classes: int, width: float, dropout: float) -> Table:
    """Towers that meet in the last layer alone; conv2 and fc6 are wider to make up for it."""
    maps, units = (96, 320, 384, 384, 256), (8192, 4096)
    return _source(crop, channels, classes, width, dropout, maps=maps, units=units, communicate_at=())


def _caffe(
    crop: int, channels: int, classes: int, width: float, dropout: float, *, pool_first: bool, bias: float
) -> Table:
    """Caffe's nets: LRN with offset 1 across the towers' edge, inverted dropout, pools that round up."""
    scale = _Scale(width, 2)

    def conv(number: int, maps: int, kernel: int, bias: float, reads: str = "own") -> Layer:
        pad = (kernel // 2, kernel // 2)
        return Conv(f"conv{number}", scale.features(maps), kernel, scale.std(0.01), bias, reads, pad=pad)

    def norm_and_pool(number: int) -> tuple[Layer, ...]:
        norm = LRN(f"norm{number}", size=5, alpha=1e-4 / 5, beta=0.75, k=1.0, across=True)
        pool = Pool(f"pool{number}", "max", 3, 2, ceil=True)
        return (pool, norm) if pool_first else (norm, pool)

    def relu(number: int) -> Layer:
        return Activation(f"relu{number}", "relu")

    rows: tuple[Layer, ...] = (
        Conv("conv1", scale.features(96), 11, 0.01, 0.0, "both", 4),
        relu(1),
        *norm_and_pool(1),
        conv(2, 256, 5, bias),
        relu(2),
        *norm_and_pool(2),
        conv(3, 384, 3, 0.0, "both"),
        relu(3),
        conv(4, 384, 3, bias),
        relu(4),
        conv(5, 256, 3, bias),
        relu(5),
        Pool("pool5", "max", 3, 2, ceil=True),
    )
    std = scale.fc6_std(0.005, rows, crop, channels)
    for number in (6, 7):
        rows += _rows(
            Dense(f"fc{number}", scale.features(4096), std, bias),
            relu(number),
            Dropout(f"drop{number}", dropout, inverted=True) if dropout else None,
        )
        std = scale.std(0.005)
    return Table((*rows, Dense("fc8", classes, scale.std(0.01), 0.0, "sum")), 2)


def caffe(*, crop: int, channels: int, classes: int, width: float, dropout: float) -> Table:
    """BVLC's replication (bvlc_alexnet): biases of 0.1, "as 1 gave flat loss"; crops of 227."""
    return _caffe(crop, channels, classes, width, dropout, pool_first=False, bias=0.1)


def caffenet(*, crop: int, channels: int, classes: int, width: float, dropout: float) -> Table:
    """CaffeNet (bvlc_reference_caffenet): each pool before its normalisation, biases of 1."""
    return _caffe(crop, channels, classes, width, dropout, pool_first=True, bias=1.0)


def torchvision(*, crop: int, channels: int, classes: int, width: float, dropout: float) -> Table:
    """torchvision's AlexNet, after Krizhevsky's "One weird trick" (2014): one tower, no normalisation.

    Pictures of any size from 63 pixels on: pool5 is averaged to 6 x 6. Weights start as PyTorch's do.
    """
    scale = _Scale(width, 1)

    def conv(number: int, maps: int, kernel: int, stride: int = 1) -> tuple[Layer, ...]:
        pad = (2, 2) if kernel > 3 else (1, 1)
        layer = Conv(f"conv{number}", scale.features(maps), kernel, None, 0.0, "both", stride, pad)
        return layer, Activation(f"relu{number}", "relu")

    def dropped(number: int) -> Layer | None:
        return Dropout(f"drop{number}", dropout, inverted=True) if dropout else None

    rows = _rows(
        *conv(1, 64, 11, 4),
        Pool("pool1", "max", 3, 2),
        *conv(2, 192, 5),
        Pool("pool2", "max", 3, 2),
        *conv(3, 384, 3),
        *conv(4, 256, 3),
        *conv(5, 256, 3),
        Pool("pool5", "max", 3, 2),
        AdaptivePool("avgpool", 6),
        dropped(6),
        Dense("fc6", scale.features(4096), None, 0.0),
        Activation("relu6", "relu"),
        dropped(7),
        Dense("fc7", scale.features(4096), None, 0.0),
        Activation("relu7", "relu"),
        Dense("fc8", classes, None, 0.0, "sum"),
    )
    return Table(rows)


def _cifar10(scale: _Scale, activation: str, lrn: bool, head: tuple[Layer, ...]) -> Table:
    """cuda-convnet's nets of three convolutions; conv1's activation stands after its pooling.

    Pools round up, and an average divides by the elements present.
    """

    def norm(number: int) -> Layer | None:
        alpha = 5e-5 / 9
        return SameMapLRN(f"norm{number}", size=3, alpha=alpha, beta=0.75, k=1.0) if lrn else None

    rows = _rows(
        Conv("conv1", scale.features(32), 5, 1e-4, 0.0, "both", pad=(2, 2)),
        Pool("pool1", "max", 3, 2, ceil=True),
        Activation("relu1", activation),
        norm(1),
        Conv("conv2", scale.features(32), 5, scale.std(0.01), 0.0, pad=(2, 2)),
        Activation("relu2", activation),
        Pool("pool2", "average", 3, 2, ceil=True),
        norm(2),
        Conv("conv3", scale.features(64), 5, scale.std(0.01), 0.0, pad=(2, 2)),
        Activation("relu3", activation),
        Pool("pool3", "average", 3, 2, ceil=True),
    )
    return Table(rows + head)


def cifar10_26(*, crop: int, channels: int, classes: int, width: float, activation: str) -> Table:
    """cuda-convnet's '26 %' net: conv 32 max, 32 average, 64 average, fc64, fc10 (layers-80sec.cfg)."""
    scale = _Scale(width, 1)
    fc4 = (Dense("fc4", scale.features(64), scale.std(0.1), 0.0), Activation("relu4", activation))
    return _cifar10(scale, activation, False, (*fc4, Dense("fc5", classes, scale.std(0.1), 0.0, "sum")))


def cifar10_19(*, crop: int, channels: int, classes: int, width: float, activation: str) -> Table:
    """Its '19 %' net, the same without fc64 (layers-19pct.cfg); with random 24 x 24 crops the '14 %' net.

    With ReLU and with tanh it is what the paper's figure 1 is taken to show.
    """
    scale = _Scale(width, 1)
    return _cifar10(scale, activation, False, (Dense("fc4", classes, scale.std(0.01), 0.0, "sum"),))


def cifar10_18(*, crop: int, channels: int, classes: int, width: float, activation: str) -> Table:
    """Its '18 %' net: same-map normalisation over 3 x 3 after pool1 and pool2 (layers-18pct.cfg)."""
    scale = _Scale(width, 1)
    return _cifar10(scale, activation, True, (Dense("fc4", classes, scale.std(0.01), 0.0, "sum"),))


def _cifar10_local(classes: int, width: float, activation: str, lrn: bool, local3: int) -> Table:
    """cuda-convnet's nets of two convolutions and two locally connected layers."""
    scale = _Scale(width, 1)

    def norm(number: int) -> Layer | None:
        return LRN(f"norm{number}", size=9, alpha=1e-3 / 9, beta=0.75, k=1.0) if lrn else None

    rows = _rows(
        Conv("conv1", scale.features(64), 5, 1e-4, 0.0, "both", pad=(2, 2)),
        Activation("relu1", activation),
        Pool("pool1", "max", 3, 2, ceil=True),
        norm(1),
        Conv("conv2", scale.features(64), 5, scale.std(0.01), 0.0, pad=(2, 2)),
        Activation("relu2", activation),
        norm(2),
        Pool("pool2", "max", 3, 2, ceil=True),
        Local("local3", scale.features(local3), 3, scale.std(0.04), 0.0, pad=1),
        Activation("relu3", activation),
        Local("local4", scale.features(32), 3, scale.std(0.04), 0.0, pad=1),
        Activation("relu4", activation),
        Dense("fc5", classes, scale.std(0.01), 0.0, "sum"),
    )
    return Table(rows)


def cifar10_13(*, crop: int, channels: int, classes: int, width: float, activation: str) -> Table:
    """cuda-convnet's '13 %' net: conv 64, 64, local 32, 32, fc10 (layers-conv-local-13pct.cfg)."""
    return _cifar10_local(classes, width, activation, lrn=False, local3=32)


def cifar10_11(*, crop: int, channels: int, classes: int, width: float, activation: str, lrn: bool) -> Table:
    """Its '11 %' net: normalisation over 9 maps, local 64, 32 (layers-conv-local-11pct.cfg).

    `lrn=False` leaves the normalisation out, for the paper's comparison in section 3.3.
    """
    return _cifar10_local(classes, width, activation, lrn=lrn, local3=64)


def fully_connected(
    *, crop: int, channels: int, classes: int, hidden: tuple[int, ...], activation: str
) -> Table:
    """Fully connected layers on the flat picture, such as 784-15-10; activations are relu1, relu2, ...

    Deviations are 1 / sqrt(inputs), so that sigmoid units do not start saturated.
    """
    rows: tuple[Layer, ...] = ()
    inputs = crop * crop * channels
    for number, units in enumerate(hidden, 1):
        rows += (
            Dense(f"fc{number}", units, inputs**-0.5, 0.0),
            Activation(f"relu{number}", activation),
        )
        inputs = units
    return Table((*rows, Dense(f"fc{len(hidden) + 1}", classes, inputs**-0.5, 0.0, "sum")))


TABLES: dict[str, Callable[..., Table]] = {
    table.__name__: table
    for table in (
        alexnet_2012,
        alexnet_2012_source,
        source_132,
        source_145_half,
        source_146,
        source_147,
        source_148,
        source_150,
        caffe,
        caffenet,
        torchvision,
        cifar10_26,
        cifar10_19,
        cifar10_18,
        cifar10_13,
        cifar10_11,
        fully_connected,
    )
}


def build(model: ConfigDict, crop: int, channels: int) -> Architecture:
    """The architecture that `config.model` names, for pictures of `crop` x `crop` x `channels`.

    Where `classes` is 0, which is to become what the data has, it is built for 2.

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
        "classes": (int, lambda v: v == 0 or v >= 2, "a whole number of at least 2, or 0: the data's"),
        "width": ((int, float), lambda v: v > 0, "a number above 0"),
        "towers": (int, lambda v: v in (1, 2), "1 or 2"),
        "communicate_at": (tuple, lambda v: True, "a tuple of layer names"),
        "without": (tuple, lambda v: True, "a tuple of layer names"),
        "hidden": (
            tuple,
            lambda v: all(isinstance(x, int) and x > 0 for x in v),
            "a tuple of whole numbers above 0",
        ),
        "activation": (str, lambda v: v in ("relu", "tanh", "sigmoid"), "'relu', 'tanh' or 'sigmoid'"),
        "lrn": (bool, lambda v: True, "True or False"),
        "pool_size": (int, lambda v: v > 0, "a whole number above 0"),
        "dropout": ((int, float), lambda v: 0 <= v < 1, "a number from 0 to below 1"),
    }
    for key, value in arguments.items():
        kind, allowed, words = rules[key]
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) and allowed(value)
        _demand(fits, f"config.model.{key}={value!r}: it must be {words}")
    arguments["classes"] = arguments["classes"] or 2
    table = TABLES[name](crop=crop, channels=channels, **arguments)
    architecture = Architecture(name, crop, channels, arguments["classes"], table.towers, table.layers, dtype)
    shapes(architecture)
    return architecture


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UsageError(otherwise)
