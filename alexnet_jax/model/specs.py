"""The rows of a network's table: one for each layer, as in the paper's figure 2.

A row says all that a layer needs: what it reads, its size, the standard deviation and the bias that it starts
with. `shapes` follows a table from the image to the logits and `network` runs it. Layer names are Caffe's.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Conv:
    """A convolution.

    Attributes:
      name: of the layer.
      features: channels of its output, of all towers together.
      kernel: side of the kernel.
      std: initial standard deviation of the kernel; None draws kernel and bias as PyTorch does by default,
        uniformly within 1 / sqrt(inputs of a unit).
      bias: initial bias, where `std` is given.
      reads: 'both' towers or its 'own' one; the first layer reads the image and says 'both'.
      stride: in both directions.
      pad: zeros (before, after) the rows and the columns.
    """

    name: str
    features: int
    kernel: int
    std: float | None
    bias: float
    reads: str = "own"
    stride: int = 1
    pad: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Local:
    """A locally connected layer: a convolution with a kernel and a bias for each position; one tower."""

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
    """A nonlinearity, element by element: `kind` is 'relu' (section 3.1), 'tanh' or 'sigmoid'."""

    name: str
    kind: str


@dataclass(frozen=True)
class LRN:
    """Normalisation x / (k + alpha * sum over `size` channels of x^2)^beta (section 3.3).

    The window ends at the edge of a tower, or goes `across` it, as in Caffe.
    """

    name: str
    size: int
    alpha: float
    beta: float
    k: float
    across: bool = False


@dataclass(frozen=True)
class WithinChannelLRN:
    """The normalisation of `LRN` with the sum over `size` x `size` positions of one channel.

    Beyond the edge are zeros. cuda-convnet calls it 'rnorm', Caffe WITHIN_CHANNEL.
    """

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
    """The means of `side` x `side` windows that cover a channel of any size (PyTorch's AdaptiveAvgPool2d)."""

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


Weighted = Conv | Local | Dense
Layer = Weighted | Activation | LRN | WithinChannelLRN | Pool | AdaptivePool | Dropout


@dataclass(frozen=True)
class Table:
    """The layers of a net and how many towers it has."""

    layers: tuple[Layer, ...]
    towers: int = 1


@dataclass(frozen=True)
class Architecture:
    """A network: its table, and what the table was made for.

    Attributes:
      name: key of `architectures.TABLES`.
      crop: side of the image that it reads, in pixels.
      channels: of that image.
      classes: how many logits.
      towers: 1 or 2.
      layers: the table.
      compute_dtype: in which the layers compute; parameters are float32.
    """

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
