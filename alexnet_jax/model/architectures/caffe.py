"""The nets that came with Caffe (BVLC, 2014)."""

from alexnet_jax.model.architectures.common import Scale, present, relu
from alexnet_jax.model.specs import LRN, Conv, Dense, Dropout, Layer, Pool, Table


def _caffe(
    crop: int, channels: int, classes: int, width: float, dropout: float, *, pool_first: bool, bias: float
) -> Table:
    """Return one of Caffe's nets.

    LRN has offset 1 and goes across the towers' edge, dropout is inverted, pools round up.
    """
    scale = Scale(width, 2)

    def conv(number: int, features: int, kernel: int, bias: float, reads: str = "own") -> tuple[Layer, ...]:
        name, pad = f"conv{number}", (kernel // 2, kernel // 2)
        layer = Conv(name, scale.features(features), kernel, scale.std(0.01), bias, reads, pad=pad)
        return layer, relu(number)

    def norm_and_pool(number: int) -> tuple[Layer, ...]:
        norm = LRN(f"norm{number}", size=5, alpha=1e-4 / 5, beta=0.75, k=1.0, across=True)
        pool = Pool(f"pool{number}", "max", 3, 2, ceil=True)
        return (pool, norm) if pool_first else (norm, pool)

    rows: tuple[Layer, ...] = (
        Conv("conv1", scale.features(96), 11, 0.01, 0.0, "both", 4),
        relu(1),
        *norm_and_pool(1),
        *conv(2, 256, 5, bias),
        *norm_and_pool(2),
        *conv(3, 384, 3, 0.0, "both"),
        *conv(4, 384, 3, bias),
        *conv(5, 256, 3, bias),
        Pool("pool5", "max", 3, 2, ceil=True),
    )
    std = scale.fc6_std(0.005, rows, crop, channels)
    for number in (6, 7):
        rows += present(
            Dense(f"fc{number}", scale.features(4096), std, bias),
            relu(number),
            Dropout(f"drop{number}", dropout, inverted=True) if dropout else None,
        )
        std = scale.std(0.005)
    return Table((*rows, Dense("fc8", classes, scale.std(0.01), 0.0, "sum")), 2)


def caffe(
    *, crop: int = 227, channels: int = 3, classes: int = 1000, width: float = 1.0, dropout: float = 0.5
) -> Table:
    """Return BVLC's replication (bvlc_alexnet): biases of 0.1, "as 1 gave flat loss"; crops of 227."""
    return _caffe(crop, channels, classes, width, dropout, pool_first=False, bias=0.1)


def caffenet(
    *, crop: int = 227, channels: int = 3, classes: int = 1000, width: float = 1.0, dropout: float = 0.5
) -> Table:
    """Return CaffeNet (bvlc_reference_caffenet): each pool before its normalisation, biases of 1."""
    return _caffe(crop, channels, classes, width, dropout, pool_first=True, bias=1.0)
