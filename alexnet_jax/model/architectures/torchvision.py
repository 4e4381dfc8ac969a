"""torchvision's network."""

from alexnet_jax.model.architectures.common import Scale, present, relu
from alexnet_jax.model.specs import AdaptivePool, Conv, Dense, Dropout, Layer, Pool, Table


def torchvision(
    *, crop: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0, dropout: float = 0.5
) -> Table:
    """Return torchvision's AlexNet, after Krizhevsky's "One weird trick" (2014): one tower, no normalisation.

    It takes images of any size from 63 pixels on: pool5 is averaged to 6 x 6. Weights start as PyTorch's do.
    """
    scale = Scale(width, 1)

    def conv(number: int, features: int, kernel: int, stride: int = 1) -> tuple[Layer, ...]:
        pad = (2, 2) if kernel > 3 else (1, 1)
        layer = Conv(f"conv{number}", scale.features(features), kernel, None, 0.0, "both", stride, pad)
        return layer, relu(number)

    def dropped(number: int) -> Layer | None:
        return Dropout(f"drop{number}", dropout, inverted=True) if dropout else None

    rows = present(
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
        relu(6),
        dropped(7),
        Dense("fc7", scale.features(4096), None, 0.0),
        relu(7),
        Dense("fc8", classes, None, 0.0, "sum"),
    )
    return Table(rows)
