"""Net 145 of the released 2012 source, which is the paper's, and the nets that it was compared with.

The files are layers/layers-*.cfg of computerhistory/AlexNet-Source-Code; errors are from their logs.
"""

from alexnet_jax.model.architectures.common import Scale, conv1_overrun, present, relu
from alexnet_jax.model.specs import LRN, Conv, Dense, Dropout, Layer, Pool, Table, WithinChannelLRN


def _source(
    crop: int,
    channels: int,
    classes: int,
    width: float,
    dropout: float,
    *,
    towers: int = 2,
    features: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256),
    units: tuple[int, int] = (4096, 4096),
    communicate_at: tuple[str, ...] = ("conv3", "conv6", "fc6", "fc7", "fc8"),
    norms: bool = True,
    pool_size: int = 3,
    conv2_pad: int = 2,
    conv5_pad: int = 1,
    sixth: bool = False,
) -> Table:
    """Return net 145 with what its authors changed in it.

    conv1 and conv5 have their ReLU after the pooling, conv2 two normalisations. alpha is divided by the
    elements of its window; pools round up.

    Args:
      crop: the image's side in pixels.
      channels: the image's channels.
      classes: how many logits.
      width: channels and units as a share of net 145's.
      dropout: the share of the fully connected layers that training zeroes; 0 leaves those rows out.
      towers: 1 or 2.
      features: channels of the five convolutions; a sixth has as many as the fifth.
      units: of the fully connected layers before the last.
      communicate_at: the layers that read both towers.
      norms: whether there are normalisations.
      pool_size: side of the pooling windows, whose stride is 2.
      conv2_pad: zeros around what conv2 reads.
      conv5_pad: zeros around what conv5 reads.
      sixth: whether there is a sixth convolution.

    Raises:
      UsageError: an image too small, or a width that does not divide over the towers.
    """
    scale = Scale(width, towers)

    def conv(number: int, kernel: int, std: float, bias: float, pad: int) -> Layer:
        name = f"conv{number}"
        reads = "both" if name in communicate_at else "own"
        width = scale.features(features[min(number, 5) - 1])
        return Conv(name, width, kernel, scale.std(std), bias, reads, pad=(pad, pad))

    def lrn(number: int) -> Layer | None:
        return LRN(f"norm{number}", size=5, alpha=1e-4 / 5, beta=0.75, k=2.0) if norms else None

    def pool(number: int) -> Layer:
        return Pool(f"pool{number}", "max", pool_size, 2, ceil=True)

    rows = present(
        Conv("conv1", scale.features(features[0]), 11, 0.01, 0.0, "both", 4, (0, conv1_overrun(crop))),
        lrn(1),
        pool(1),
        relu(1),
        conv(2, 5, 0.01, 1.0, conv2_pad),
        relu(2),
        lrn(2),
        WithinChannelLRN("norm2b", size=5, alpha=1e-3 / 25, beta=0.75, k=1.0) if norms else None,
        pool(2),
        conv(3, 3, 0.03, 0.0, 1),
        relu(3),
        conv(4, 3, 0.03, 1.0, 1),
        relu(4),
        conv(5, 3, 0.03, 1.0, conv5_pad),
        pool(5),
        relu(5),
    )
    if sixth:
        rows += (conv(6, 3, 0.03, 1.0, 1), relu(6))
    std = scale.fc6_std(0.01, rows, crop, channels)
    for number, published in enumerate(units, 7 if sixth else 6):
        reads = "both" if f"fc{number}" in communicate_at else "own"
        rows += present(
            Dense(f"fc{number}", scale.features(published), std, 1.0, reads),
            relu(number),
            Dropout(f"drop{number}", dropout) if dropout else None,
        )
        std = scale.std(0.01)
    return Table((*rows, Dense(f"fc{number + 1}", classes, scale.std(0.01), 0.0, "sum")), towers)


def alexnet_2012_source(
    *, crop: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0, dropout: float = 0.5
) -> Table:
    """Return net 145 of the released source: 40.66 / 18.21 % on ILSVRC-2012 with ten views, by its log."""
    return _source(crop, channels, classes, width, dropout)


def source_132(
    *, crop: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0, dropout: float = 0.5
) -> Table:
    """Return net 145 with towers that meet at conv4 instead of conv3, which is what net 132 is cited for.

    Its file changes more, which is not built here: conv1 has 32 channels a tower, conv2 also reads the
    blurred image, and its second normalisation is by the local variance.
    """
    return _source(crop, channels, classes, width, dropout, communicate_at=("conv4", "fc6", "fc7"))


def source_145_half(
    *, crop: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0, dropout: float = 0.5
) -> Table:
    """Return one tower of 48-128-192-192-256 channels: 39.17 / 18.23 % on 2010, where two give 37.47."""
    half = (48, 128, 192, 192, 256)
    return _source(crop, channels, classes, width, dropout, towers=1, features=half)


def source_146(
    *, crop: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0, dropout: float = 0.5
) -> Table:
    """Return net 145 with a sixth convolution over pool5: the one pre-trained on Fall 2011 (table 2)."""
    return _source(crop, channels, classes, width, dropout, sixth=True)


def source_147(
    *, crop: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0, dropout: float = 0.5
) -> Table:
    """Return net 145 with pools of 2 x 2 that do not overlap.

    conv2 is padded by 1 and conv5 by 0; the sides are 55, 28, 26, 13, 13, 11, 6.
    """
    return _source(crop, channels, classes, width, dropout, pool_size=2, conv2_pad=1, conv5_pad=0)


def source_148(
    *, crop: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0, dropout: float = 0.5
) -> Table:
    """Return net 145 without any normalisation."""
    return _source(crop, channels, classes, width, dropout, norms=False)


def source_150(
    *, crop: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0, dropout: float = 0.5
) -> Table:
    """Return net 145 with towers that meet in the last layer alone; conv2 and fc6 make up for it."""
    features, units = (96, 320, 384, 384, 256), (8192, 4096)
    return _source(crop, channels, classes, width, dropout, features=features, units=units, communicate_at=())
