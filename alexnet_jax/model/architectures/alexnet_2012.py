"""The paper's network (Krizhevsky, Sutskever and Hinton, NIPS 2012)."""

from alexnet_jax.model.architectures.common import Scale, conv1_overrun, present, require
from alexnet_jax.model.specs import LRN, Activation, Conv, Dense, Dropout, Layer, Pool, Table

FEATURES = (96, 256, 384, 384, 256)
REMOVABLE = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")  # the middle layers (section 7)


def alexnet_2012(
    *,
    crop: int = 224,
    channels: int = 3,
    classes: int = 1000,
    width: float = 1.0,
    towers: int = 2,
    features: tuple[int, ...] = FEATURES,
    communicate_at: tuple[str, ...] = ("conv3", "fc6", "fc7"),
    without: tuple[str, ...] = (),
    activation: str = "relu",
    lrn: bool = True,
    lrn_constants: tuple[float, float, float] = (2.0, 1e-4, 0.75),
    pool_size: int = 3,
    dropout: float = 0.5,
) -> Table:
    """Return the paper's network in the paper's words (section 3, figure 2).

    Convolution, activation, normalisation, pooling, in this order. A crop whose last conv1 window runs
    over the edge is padded there with zeros, as in the 2012 source: 224 becomes 227, and 55 x 55 positions.

    Args:
      crop: the image's side in pixels.
      channels: the image's channels.
      classes: how many logits.
      width: all layers' channels and units as a share of the paper's. So that a smaller net's signals start
        as large as the paper's, standard deviations beyond conv1 grow by 1 / sqrt(width), and fc6's by
        6 / side where pool5 is not 6 x 6.
      towers: 2, or 1 for one tower that reads everything.
      features: the channels of conv1 to conv5 at width 1. The paper's net on one GPU has about as many
        parameters: 1 tower and (48, 128, 192, 192, 256) (section 3.2, and the source's net 145-half).
      communicate_at: the layers that read both towers; the paper's are conv3, fc6 and fc7.
      without: middle layers that are left out with their activation, normalisation and dropout (section 7);
        pools stay. Where such a layer read both towers, the next one does.
      activation: 'relu', 'tanh' or 'sigmoid'.
      lrn: whether to normalise after conv1 and conv2 (section 3.3).
      lrn_constants: its k, alpha and beta; with an alpha of 0 it divides by the constant k^beta.
      pool_size: sides of the pooling windows, whose stride is 2 (section 3.4).
      dropout: the share of fc6 and fc7 that training zeroes; 0 leaves the two layers out.

    Raises:
      UsageError: a layer that is not one of the middle ones, another pool size, or a width that does not
        divide over the towers.
    """
    for key, names in (("communicate_at", communicate_at), ("without", without)):
        require(
            set(names) <= set(REMOVABLE), f"config.model.{key}={names}: choose from {', '.join(REMOVABLE)}"
        )
    require(len(features) == 5, f"config.model.features={features}: it must have five numbers")
    require(pool_size in (2, 3), f"config.model.pool_size={pool_size}: it must be 2 or 3")
    scale = Scale(width, towers)

    def conv(number: int, kernel: int, bias: float) -> tuple[Layer, ...]:
        name, pad = f"conv{number}", (kernel // 2, kernel // 2)
        if name in without:
            return ()
        reads = _reads(name, communicate_at, without)
        made = scale.features(features[number - 1])
        layer = Conv(name, made, kernel, scale.std(0.01), bias, reads, pad=pad)
        return layer, Activation(f"relu{number}", activation)

    k, alpha, beta = lrn_constants

    def norm(number: int) -> Layer | None:
        there = lrn and f"conv{number}" not in without
        return LRN(f"norm{number}", size=5, alpha=alpha, beta=beta, k=k) if there else None

    def pool(number: int) -> Layer:
        return Pool(f"pool{number}", "max", pool_size, 2)

    rows = present(
        Conv("conv1", scale.features(features[0]), 11, 0.01, 0.0, "both", 4, (0, conv1_overrun(crop))),
        Activation("relu1", activation),
        norm(1),
        pool(1),
        *conv(2, 5, 1.0),
        norm(2),
        pool(2),
        *conv(3, 3, 0.0),
        *conv(4, 3, 1.0),
        *conv(5, 3, 1.0),
        pool(5),
    )
    std = scale.fc6_std(0.01, rows, crop, channels)
    for number in (6, 7):
        name = f"fc{number}"
        if name not in without:
            rows += present(
                Dense(name, scale.features(4096), std, 1.0, _reads(name, communicate_at, without)),
                Activation(f"relu{number}", activation),
                Dropout(f"drop{number}", dropout) if dropout else None,
            )
            std = scale.std(0.01)
    return Table((*rows, Dense("fc8", classes, scale.std(0.01), 0.0, "sum")), towers)


def _reads(name: str, communicate_at: tuple[str, ...], without: tuple[str, ...]) -> str:
    """Return 'both' where the layer or one that is left out right before it reads both towers."""
    last = first = REMOVABLE.index(name)
    while first and REMOVABLE[first - 1] in without:
        first -= 1
    return "both" if set(REMOVABLE[first : last + 1]) & set(communicate_at) else "own"
