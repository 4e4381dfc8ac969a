"""The nets for CIFAR-10 that came with cuda-convnet, named by their published test error in percent."""

from alexnet_jax.model.architectures.common import Scale, present
from alexnet_jax.model.specs import LRN, Activation, Conv, Dense, Layer, Local, Pool, Table, WithinChannelLRN


def _cifar10(scale: Scale, activation: str, lrn: bool, head: tuple[Layer, ...]) -> Table:
    """Return a net of three convolutions; conv1's activation stands after its pooling.

    Pools round up, and an average divides by the elements present.
    """

    def norm(number: int) -> Layer | None:
        alpha = 5e-5 / 9
        return WithinChannelLRN(f"norm{number}", size=3, alpha=alpha, beta=0.75, k=1.0) if lrn else None

    rows = present(
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


def cifar10_26(
    *,
    crop: int = 32,
    channels: int = 3,
    classes: int = 10,
    width: float = 1.0,
    activation: str = "relu",
) -> Table:
    """Return the '26 %' net: conv 32 max, 32 average, 64 average, fc64, fc10 (layers-80sec.cfg)."""
    scale = Scale(width, 1)
    fc4 = (Dense("fc4", scale.features(64), scale.std(0.1), 0.0), Activation("relu4", activation))
    return _cifar10(scale, activation, False, (*fc4, Dense("fc5", classes, scale.std(0.1), 0.0, "sum")))


def cifar10_19(
    *,
    crop: int = 32,
    channels: int = 3,
    classes: int = 10,
    width: float = 1.0,
    activation: str = "relu",
) -> Table:
    """Return the '19 %' net, the '26 %' one without fc64 (layers-19pct.cfg).

    With random 24 x 24 crops it is the '14 %' net. With ReLU and with tanh it is what the paper's figure 1 is
    taken to show.
    """
    scale = Scale(width, 1)
    return _cifar10(scale, activation, False, (Dense("fc4", classes, scale.std(0.01), 0.0, "sum"),))


def cifar10_18(
    *,
    crop: int = 32,
    channels: int = 3,
    classes: int = 10,
    width: float = 1.0,
    activation: str = "relu",
) -> Table:
    """Return the '18 %' net: the '19 %' one normalised over 3 x 3 after pool1, pool2 (layers-18pct.cfg)."""
    scale = Scale(width, 1)
    return _cifar10(scale, activation, True, (Dense("fc4", classes, scale.std(0.01), 0.0, "sum"),))


def _cifar10_local(classes: int, width: float, activation: str, lrn: bool, local3: int) -> Table:
    """Return a net of two convolutions and two locally connected layers."""
    scale = Scale(width, 1)

    def norm(number: int) -> Layer | None:
        return LRN(f"norm{number}", size=9, alpha=1e-3 / 9, beta=0.75, k=1.0) if lrn else None

    rows = present(
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


def cifar10_13(
    *,
    crop: int = 24,
    channels: int = 3,
    classes: int = 10,
    width: float = 1.0,
    activation: str = "relu",
) -> Table:
    """Return the '13 %' net: conv 64, 64, local 32, 32, fc10 (layers-conv-local-13pct.cfg)."""
    return _cifar10_local(classes, width, activation, lrn=False, local3=32)


def cifar10_11(
    *,
    crop: int = 24,
    channels: int = 3,
    classes: int = 10,
    width: float = 1.0,
    activation: str = "relu",
    lrn: bool = True,
) -> Table:
    """Return the '11 %' net: normalisation over 9 channels, local 64, 32 (layers-conv-local-11pct.cfg).

    `lrn=False` leaves the normalisation out, for the paper's comparison in section 3.3.
    """
    return _cifar10_local(classes, width, activation, lrn=lrn, local3=64)
