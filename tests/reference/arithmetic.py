"""Parameters, multiply-accumulates and output shapes of every network, computed by hand, layer by layer.

Nothing is derived from the product's tables. A row stands for a layer with weights; each count is written as
its own formula:

  convolution     towers * (kh * kw * channels read by a tower + 1) * channels made by a tower
  local           positions * (kh * kw * channels read + 1) * channels made: a bias for each of both
  fully connected inputs seen * outputs + outputs
  multiply-accumulates: weights times the positions where they are used, without biases, norms and pools.

`height` and `width` are of the layer's own output, before pooling.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A layer with weights: its output without the batch, its parameters and its multiply-accumulates."""

    layer: str
    output: tuple[int, ...]
    parameters: int
    multiply_accumulates: int

    @property
    def neurons(self) -> int:
        """Values the layer gives for one image."""
        total = 1
        for side in self.output:
            total *= side
        return total


@dataclass(frozen=True)
class Net:
    """A network: its rows, and the outputs of the layers without weights."""

    rows: tuple[Row, ...]
    others: dict[str, tuple[int, ...]]

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_accumulates(self) -> int:
        return sum(row.multiply_accumulates for row in self.rows)

    @property
    def neurons(self) -> int:
        """Outputs of the layers with weights; the image is not counted."""
        return sum(row.neurons for row in self.rows)


# --- the paper's net: two towers, conv3, fc6, fc7 and fc8 read both -----------------------------------------

_FC6 = Row("fc6", (4096,), 9216 * 4096 + 4096, 9216 * 4096)
_FC7 = Row("fc7", (4096,), 4096 * 4096 + 4096, 4096 * 4096)
_FC8 = Row("fc8", (1000,), 4096 * 1000 + 1000, 4096 * 1000)

_CONV1 = Row("conv1", (55, 55, 96), 11 * 11 * 3 * 96 + 96, 11 * 11 * 3 * 96 * 55 * 55)
_CONV2 = Row("conv2", (27, 27, 256), 5 * 5 * 48 * 256 + 256, 5 * 5 * 48 * 256 * 27 * 27)
_CONV3 = Row("conv3", (13, 13, 384), 3 * 3 * 256 * 384 + 384, 3 * 3 * 256 * 384 * 13 * 13)
_CONV4 = Row("conv4", (13, 13, 384), 3 * 3 * 192 * 384 + 384, 3 * 3 * 192 * 384 * 13 * 13)
_CONV5 = Row("conv5", (13, 13, 256), 3 * 3 * 192 * 256 + 256, 3 * 3 * 192 * 256 * 13 * 13)

ALEXNET_2012 = Net(
    (_CONV1, _CONV2, _CONV3, _CONV4, _CONV5, _FC6, _FC7, _FC8),
    {
        "norm1": (55, 55, 96),
        "pool1": (27, 27, 96),
        "norm2": (27, 27, 256),
        "pool2": (13, 13, 256),
        "pool5": (6, 6, 256),
    },
)

# The same widths in one tower: conv2, conv4 and conv5 read all channels.
ALEXNET_2012_ONE_TOWER = Net(
    (
        _CONV1,
        Row("conv2", (27, 27, 256), 5 * 5 * 96 * 256 + 256, 5 * 5 * 96 * 256 * 27 * 27),
        _CONV3,
        Row("conv4", (13, 13, 384), 3 * 3 * 384 * 384 + 384, 3 * 3 * 384 * 384 * 13 * 13),
        Row("conv5", (13, 13, 256), 3 * 3 * 384 * 256 + 256, 3 * 3 * 384 * 256 * 13 * 13),
        _FC6,
        _FC7,
        _FC8,
    ),
    ALEXNET_2012.others,
)

# Towers that meet at conv4 instead of conv3: conv3 reads 128 channels, conv4 384.
_MEETING_AT_CONV4 = (
    _CONV1,
    _CONV2,
    Row("conv3", (13, 13, 384), 3 * 3 * 128 * 384 + 384, 3 * 3 * 128 * 384 * 13 * 13),
    Row("conv4", (13, 13, 384), 3 * 3 * 384 * 384 + 384, 3 * 3 * 384 * 384 * 13 * 13),
    _CONV5,
    _FC6,
    _FC7,
    _FC8,
)
ALEXNET_2012_CONV4 = Net(_MEETING_AT_CONV4, ALEXNET_2012.others)

# Towers that meet in fc8 alone: conv3 reads 128 channels, fc6 4,608 inputs, fc7 2,048.
ALEXNET_2012_APART = Net(
    (
        _CONV1,
        _CONV2,
        Row("conv3", (13, 13, 384), 3 * 3 * 128 * 384 + 384, 3 * 3 * 128 * 384 * 13 * 13),
        _CONV4,
        _CONV5,
        Row("fc6", (4096,), 4608 * 4096 + 4096, 4608 * 4096),
        Row("fc7", (4096,), 2048 * 4096 + 4096, 2048 * 4096),
        _FC8,
    ),
    ALEXNET_2012.others,
)

# Pools 2x2 of stride 2 that round down leave every size as it was: 55, 27, 13, 6.
ALEXNET_2012_POOL_2 = ALEXNET_2012

# --- the 2012 source ----------------------------------------------------------------------------------------

ALEXNET_2012_SOURCE = Net(ALEXNET_2012.rows, {**ALEXNET_2012.others, "norm2b": (27, 27, 256)})

SOURCE_145_HALF = Net(
    (
        Row("conv1", (55, 55, 48), 11 * 11 * 3 * 48 + 48, 11 * 11 * 3 * 48 * 55 * 55),
        Row("conv2", (27, 27, 128), 5 * 5 * 48 * 128 + 128, 5 * 5 * 48 * 128 * 27 * 27),
        Row("conv3", (13, 13, 192), 3 * 3 * 128 * 192 + 192, 3 * 3 * 128 * 192 * 13 * 13),
        Row("conv4", (13, 13, 192), 3 * 3 * 192 * 192 + 192, 3 * 3 * 192 * 192 * 13 * 13),
        Row("conv5", (13, 13, 256), 3 * 3 * 192 * 256 + 256, 3 * 3 * 192 * 256 * 13 * 13),
        _FC6,
        _FC7,
        _FC8,
    ),
    {
        "norm1": (55, 55, 48),
        "pool1": (27, 27, 48),
        "norm2": (27, 27, 128),
        "norm2b": (27, 27, 128),
        "pool2": (13, 13, 128),
        "pool5": (6, 6, 256),
    },
)

SOURCE_147 = Net(
    (
        _CONV1,
        Row("conv2", (26, 26, 256), 5 * 5 * 48 * 256 + 256, 5 * 5 * 48 * 256 * 26 * 26),
        _CONV3,
        _CONV4,
        Row("conv5", (11, 11, 256), 3 * 3 * 192 * 256 + 256, 3 * 3 * 192 * 256 * 11 * 11),
        _FC6,
        _FC7,
        _FC8,
    ),
    {
        "norm1": (55, 55, 96),
        "pool1": (28, 28, 96),
        "norm2": (26, 26, 256),
        "norm2b": (26, 26, 256),
        "pool2": (13, 13, 256),
        "pool5": (6, 6, 256),
    },
)

SOURCE_148 = Net(ALEXNET_2012.rows, {"pool1": (27, 27, 96), "pool2": (13, 13, 256), "pool5": (6, 6, 256)})

SOURCE_150 = Net(
    (
        _CONV1,
        Row("conv2", (27, 27, 320), 5 * 5 * 48 * 320 + 320, 5 * 5 * 48 * 320 * 27 * 27),
        Row("conv3", (13, 13, 384), 3 * 3 * 160 * 384 + 384, 3 * 3 * 160 * 384 * 13 * 13),
        _CONV4,
        _CONV5,
        Row("fc6", (8192,), 4608 * 8192 + 8192, 4608 * 8192),
        Row("fc7", (4096,), 4096 * 4096 + 4096, 4096 * 4096),
        _FC8,
    ),
    {
        "norm1": (55, 55, 96),
        "pool1": (27, 27, 96),
        "norm2": (27, 27, 320),
        "norm2b": (27, 27, 320),
        "pool2": (13, 13, 320),
        "pool5": (6, 6, 256),
    },
)

# Net 145 that meets at conv4; and layers-132.cfg itself: 32 channels a tower in conv1, the image read twice.
ALEXNET_2012_SOURCE_CONV4 = Net(_MEETING_AT_CONV4, ALEXNET_2012_SOURCE.others)
SOURCE_132 = Net(
    (
        Row("conv1", (55, 55, 64), 11 * 11 * 3 * 64 + 64, 11 * 11 * 3 * 64 * 55 * 55),
        Row(
            "conv2",  # 32 channels of its own tower, and the 3 channels of the small image
            (27, 27, 256),
            5 * 5 * 32 * 256 + 5 * 5 * 3 * 256 + 256,
            (5 * 5 * 32 * 256 + 5 * 5 * 3 * 256) * 27 * 27,
        ),
        *_MEETING_AT_CONV4[2:],
    ),
    {
        "blur0": (224, 224, 3),
        "nails0": (56, 56, 3),
        "pool1": (27, 27, 64),
        "norm1": (27, 27, 64),
        "norm2": (27, 27, 256),
        "norm2b": (27, 27, 256),
        "pool2": (13, 13, 256),
        "pool5": (6, 6, 256),
    },
)


def source_146(classes: int) -> Net:
    """The sixth convolution on 6x6, reading both towers; fc7, fc8 and a head for `classes`, fc9."""
    return Net(
        (
            _CONV1,
            _CONV2,
            _CONV3,
            _CONV4,
            _CONV5,
            Row("conv6", (6, 6, 256), 3 * 3 * 256 * 256 + 256, 3 * 3 * 256 * 256 * 6 * 6),
            Row("fc7", (4096,), 9216 * 4096 + 4096, 9216 * 4096),
            Row("fc8", (4096,), 4096 * 4096 + 4096, 4096 * 4096),
            Row("fc9", (classes,), 4096 * classes + classes, 4096 * classes),
        ),
        ALEXNET_2012_SOURCE.others,
    )


def source_146_bottleneck(classes: int) -> Net:
    """layers-146-2011.cfg: a linear layer of 2,048 before the head."""
    return Net(
        (
            *source_146(classes).rows[:-1],
            Row("fc9", (2048,), 4096 * 2048 + 2048, 4096 * 2048),
            Row("fc10", (classes,), 2048 * classes + classes, 2048 * classes),
        ),
        ALEXNET_2012_SOURCE.others,
    )


# --- Caffe and torchvision ----------------------------------------------------------------------------------

CAFFE = ALEXNET_2012
CAFFENET = Net(
    ALEXNET_2012.rows,
    {
        "pool1": (27, 27, 96),
        "norm1": (27, 27, 96),
        "pool2": (13, 13, 256),
        "norm2": (13, 13, 256),
        "pool5": (6, 6, 256),
    },
)

TORCHVISION = Net(
    (
        Row("conv1", (55, 55, 64), 11 * 11 * 3 * 64 + 64, 11 * 11 * 3 * 64 * 55 * 55),
        Row("conv2", (27, 27, 192), 5 * 5 * 64 * 192 + 192, 5 * 5 * 64 * 192 * 27 * 27),
        Row("conv3", (13, 13, 384), 3 * 3 * 192 * 384 + 384, 3 * 3 * 192 * 384 * 13 * 13),
        Row("conv4", (13, 13, 256), 3 * 3 * 384 * 256 + 256, 3 * 3 * 384 * 256 * 13 * 13),
        Row("conv5", (13, 13, 256), 3 * 3 * 256 * 256 + 256, 3 * 3 * 256 * 256 * 13 * 13),
        _FC6,
        _FC7,
        _FC8,
    ),
    {"pool1": (27, 27, 64), "pool2": (13, 13, 192), "pool5": (6, 6, 256), "avgpool": (6, 6, 256)},
)

# The teaching variant: one channel, ten classes, 224x224.
TORCHVISION_GREY_10 = Net(
    (
        Row("conv1", (55, 55, 64), 11 * 11 * 1 * 64 + 64, 11 * 11 * 1 * 64 * 55 * 55),
        *TORCHVISION.rows[1:-1],
        Row("fc8", (10,), 4096 * 10 + 10, 4096 * 10),
    ),
    TORCHVISION.others,
)

# --- CIFAR-10 -----------------------------------------------------------------------------------------------

_CIFAR10_THREE = (
    Row("conv1", (32, 32, 32), 5 * 5 * 3 * 32 + 32, 5 * 5 * 3 * 32 * 32 * 32),
    Row("conv2", (16, 16, 32), 5 * 5 * 32 * 32 + 32, 5 * 5 * 32 * 32 * 16 * 16),
    Row("conv3", (8, 8, 64), 5 * 5 * 32 * 64 + 64, 5 * 5 * 32 * 64 * 8 * 8),
)
_CIFAR10_THREE_POOLS = {"pool1": (16, 16, 32), "pool2": (8, 8, 32), "pool3": (4, 4, 64)}

CIFAR10_26 = Net(
    (
        *_CIFAR10_THREE,
        Row("fc4", (64,), 4 * 4 * 64 * 64 + 64, 4 * 4 * 64 * 64),
        Row("fc5", (10,), 64 * 10 + 10, 64 * 10),
    ),
    dict(_CIFAR10_THREE_POOLS),
)
CIFAR10_19 = Net(
    (*_CIFAR10_THREE, Row("fc4", (10,), 4 * 4 * 64 * 10 + 10, 4 * 4 * 64 * 10)),
    dict(_CIFAR10_THREE_POOLS),
)
CIFAR10_18 = Net(CIFAR10_19.rows, {**_CIFAR10_THREE_POOLS, "norm1": (16, 16, 32), "norm2": (8, 8, 32)})
# The 19 % net on 24x24 crops: 24, 12, 6, 3.
CIFAR10_14 = Net(
    (
        Row("conv1", (24, 24, 32), 5 * 5 * 3 * 32 + 32, 5 * 5 * 3 * 32 * 24 * 24),
        Row("conv2", (12, 12, 32), 5 * 5 * 32 * 32 + 32, 5 * 5 * 32 * 32 * 12 * 12),
        Row("conv3", (6, 6, 64), 5 * 5 * 32 * 64 + 64, 5 * 5 * 32 * 64 * 6 * 6),
        Row("fc4", (10,), 3 * 3 * 64 * 10 + 10, 3 * 3 * 64 * 10),
    ),
    {"pool1": (12, 12, 32), "pool2": (6, 6, 32), "pool3": (3, 3, 64)},
)

# Local layers on 6x6: 24x24 crops.
CIFAR10_13 = Net(
    (
        Row("conv1", (24, 24, 64), 5 * 5 * 3 * 64 + 64, 5 * 5 * 3 * 64 * 24 * 24),
        Row("conv2", (12, 12, 64), 5 * 5 * 64 * 64 + 64, 5 * 5 * 64 * 64 * 12 * 12),
        Row("local3", (6, 6, 32), 6 * 6 * (3 * 3 * 64 * 32 + 32), 6 * 6 * 3 * 3 * 64 * 32),
        Row("local4", (6, 6, 32), 6 * 6 * (3 * 3 * 32 * 32 + 32), 6 * 6 * 3 * 3 * 32 * 32),
        Row("fc5", (10,), 6 * 6 * 32 * 10 + 10, 6 * 6 * 32 * 10),
    ),
    {"pool1": (12, 12, 64), "pool2": (6, 6, 64)},
)
CIFAR10_11 = Net(
    (
        *CIFAR10_13.rows[:2],
        Row("local3", (6, 6, 64), 6 * 6 * (3 * 3 * 64 * 64 + 64), 6 * 6 * 3 * 3 * 64 * 64),
        Row("local4", (6, 6, 32), 6 * 6 * (3 * 3 * 64 * 32 + 32), 6 * 6 * 3 * 3 * 64 * 32),
        CIFAR10_13.rows[-1],
    ),
    {"pool1": (12, 12, 64), "norm1": (12, 12, 64), "norm2": (12, 12, 64), "pool2": (6, 6, 64)},
)

# The same two nets on whole 32x32 images: 32, 16, 8.
CIFAR10_13_WHOLE = Net(
    (
        Row("conv1", (32, 32, 64), 5 * 5 * 3 * 64 + 64, 5 * 5 * 3 * 64 * 32 * 32),
        Row("conv2", (16, 16, 64), 5 * 5 * 64 * 64 + 64, 5 * 5 * 64 * 64 * 16 * 16),
        Row("local3", (8, 8, 32), 8 * 8 * (3 * 3 * 64 * 32 + 32), 8 * 8 * 3 * 3 * 64 * 32),
        Row("local4", (8, 8, 32), 8 * 8 * (3 * 3 * 32 * 32 + 32), 8 * 8 * 3 * 3 * 32 * 32),
        Row("fc5", (10,), 8 * 8 * 32 * 10 + 10, 8 * 8 * 32 * 10),
    ),
    {"pool1": (16, 16, 64), "pool2": (8, 8, 64)},
)
CIFAR10_11_WHOLE = Net(
    (
        *CIFAR10_13_WHOLE.rows[:2],
        Row("local3", (8, 8, 64), 8 * 8 * (3 * 3 * 64 * 64 + 64), 8 * 8 * 3 * 3 * 64 * 64),
        Row("local4", (8, 8, 32), 8 * 8 * (3 * 3 * 64 * 32 + 32), 8 * 8 * 3 * 3 * 64 * 32),
        CIFAR10_13_WHOLE.rows[-1],
    ),
    {"pool1": (16, 16, 64), "norm1": (16, 16, 64), "norm2": (16, 16, 64), "pool2": (8, 8, 64)},
)

# --- MNIST on flat input ------------------------------------------------------------------------------------

FULLY_CONNECTED_784_15_10 = Net(
    (Row("fc1", (15,), 784 * 15 + 15, 784 * 15), Row("fc2", (10,), 15 * 10 + 10, 15 * 10)), {}
)
