"""The PyTorch nets against the hand-made tables (shapes, on PyTorch's meta device) and the numpy layers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.reference import arithmetic
from tests.reference import numpy_layers as layers

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

from tests.reference import torch_nets  # noqa: E402

Array = layers.Array
Tree = dict[str, dict[str, Any]]
Masks = dict[str, np.ndarray]

# Kernel shapes by hand, from the layer definition files.
PAPER: dict[str, tuple[int, ...]] = {
    "conv1": (2, 11, 11, 3, 48),
    "conv2": (2, 5, 5, 48, 128),
    "conv3": (2, 3, 3, 256, 192),
    "conv4": (2, 3, 3, 192, 192),
    "conv5": (2, 3, 3, 192, 128),
    "fc6": (2, 9216, 2048),
    "fc7": (2, 4096, 2048),
    "fc8": (2, 2048, 1000),
}
ONE_TOWER: dict[str, tuple[int, ...]] = {
    "conv1": (1, 11, 11, 3, 96),
    "conv2": (1, 5, 5, 96, 256),
    "conv3": (1, 3, 3, 256, 384),
    "conv4": (1, 3, 3, 384, 384),
    "conv5": (1, 3, 3, 384, 256),
    "fc6": (1, 9216, 4096),
    "fc7": (1, 4096, 4096),
    "fc8": (1, 4096, 1000),
}
AT_CONV4 = {**PAPER, "conv3": (2, 3, 3, 128, 192), "conv4": (2, 3, 3, 384, 192)}
APART = {
    **PAPER,
    "conv3": (2, 3, 3, 128, 192),
    "fc6": (2, 4608, 2048),
    "fc7": (2, 2048, 2048),
}
HALF: dict[str, tuple[int, ...]] = {
    "conv1": (1, 11, 11, 3, 48),
    "conv2": (1, 5, 5, 48, 128),
    "conv3": (1, 3, 3, 128, 192),
    "conv4": (1, 3, 3, 192, 192),
    "conv5": (1, 3, 3, 192, 256),
    "fc6": (1, 9216, 4096),
    "fc7": (1, 4096, 4096),
    "fc8": (1, 4096, 1000),
}
NET_150 = {
    **PAPER,
    "conv2": (2, 5, 5, 48, 160),
    "conv3": (2, 3, 3, 160, 192),
    "fc6": (2, 4608, 4096),
    "fc7": (2, 4096, 2048),
}
NET_146: dict[str, tuple[int, ...]] = {
    **{layer: shape for layer, shape in PAPER.items() if layer.startswith("conv")},
    "conv6": (2, 3, 3, 256, 128),
    "fc7": (2, 9216, 2048),
    "fc8": (2, 4096, 2048),
    "fc9": (2, 2048, 21843),
}
NET_146_BOTTLENECK = {**NET_146, "fc9": (2, 4096, 1024), "fc10": (2, 1024, 21843)}
TORCHVISION: dict[str, tuple[int, ...]] = {
    "conv1": (1, 11, 11, 3, 64),
    "conv2": (1, 5, 5, 64, 192),
    "conv3": (1, 3, 3, 192, 384),
    "conv4": (1, 3, 3, 384, 256),
    "conv5": (1, 3, 3, 256, 256),
    "fc6": (1, 9216, 4096),
    "fc7": (1, 4096, 4096),
    "fc8": (1, 4096, 1000),
}
THREE: dict[str, tuple[int, ...]] = {
    "conv1": (1, 5, 5, 3, 32),
    "conv2": (1, 5, 5, 32, 32),
    "conv3": (1, 5, 5, 32, 64),
}
TWO: dict[str, tuple[int, ...]] = {"conv1": (1, 5, 5, 3, 64), "conv2": (1, 5, 5, 64, 64)}
NETS: list[
    tuple[str, Callable[..., Any], dict[str, Any], dict[str, tuple[int, ...]], arithmetic.Net, int]
] = [
    ("paper", torch_nets.alexnet_2012, {}, PAPER, arithmetic.ALEXNET_2012, 224),
    ("227", torch_nets.alexnet_2012, {"conv1_pad": 0}, PAPER, arithmetic.ALEXNET_2012, 227),
    ("pool 2", torch_nets.alexnet_2012, {"pool_size": 2}, PAPER, arithmetic.ALEXNET_2012_POOL_2, 224),
    ("one", torch_nets.alexnet_2012, {"towers": 1}, ONE_TOWER, arithmetic.ALEXNET_2012_ONE_TOWER, 224),
    (
        "conv4",
        torch_nets.alexnet_2012,
        {"communicate_at": ("conv4", "fc6", "fc7")},
        AT_CONV4,
        arithmetic.ALEXNET_2012_CONV4,
        224,
    ),
    ("apart", torch_nets.alexnet_2012, {"communicate_at": ()}, APART, arithmetic.ALEXNET_2012_APART, 224),
    ("145", torch_nets.alexnet_2012_source, {}, PAPER, arithmetic.ALEXNET_2012_SOURCE, 224),
    (
        "145 conv4",
        torch_nets.alexnet_2012_source,
        {"communicate_at": ("conv4", "fc6", "fc7")},
        AT_CONV4,
        arithmetic.ALEXNET_2012_SOURCE_CONV4,
        224,
    ),
    ("145-half", torch_nets.source_145_half, {}, HALF, arithmetic.SOURCE_145_HALF, 224),
    ("146", torch_nets.source_146, {}, NET_146, arithmetic.source_146(21_843), 224),
    (
        "146-2011",
        torch_nets.source_146,
        {"bottleneck": True},
        NET_146_BOTTLENECK,
        arithmetic.source_146_bottleneck(21_843),
        224,
    ),
    ("147", torch_nets.source_147, {}, PAPER, arithmetic.SOURCE_147, 224),
    ("148", torch_nets.source_148, {}, PAPER, arithmetic.SOURCE_148, 224),
    ("150", torch_nets.source_150, {}, NET_150, arithmetic.SOURCE_150, 224),
    ("caffe", torch_nets.caffe, {}, PAPER, arithmetic.CAFFE, 227),
    ("caffenet", torch_nets.caffenet, {}, PAPER, arithmetic.CAFFENET, 227),
    ("torchvision", torch_nets.torchvision, {}, TORCHVISION, arithmetic.TORCHVISION, 224),
    (
        "26",
        torch_nets.cifar10_26,
        {},
        {**THREE, "fc4": (1, 1024, 64), "fc5": (1, 64, 10)},
        arithmetic.CIFAR10_26,
        32,
    ),
    ("19", torch_nets.cifar10_19, {}, {**THREE, "fc4": (1, 1024, 10)}, arithmetic.CIFAR10_19, 32),
    ("18", torch_nets.cifar10_18, {}, {**THREE, "fc4": (1, 1024, 10)}, arithmetic.CIFAR10_18, 32),
    ("14", torch_nets.cifar10_19, {}, {**THREE, "fc4": (1, 576, 10)}, arithmetic.CIFAR10_14, 24),
    (
        "13",
        torch_nets.cifar10_13,
        {},
        {
            **TWO,
            "local3": (1, 6, 6, 3, 3, 64, 32),
            "local4": (1, 6, 6, 3, 3, 32, 32),
            "fc5": (1, 1152, 10),
        },
        arithmetic.CIFAR10_13,
        24,
    ),
    (
        "11",
        torch_nets.cifar10_11,
        {},
        {
            **TWO,
            "local3": (1, 6, 6, 3, 3, 64, 64),
            "local4": (1, 6, 6, 3, 3, 64, 32),
            "fc5": (1, 1152, 10),
        },
        arithmetic.CIFAR10_11,
        24,
    ),
]


def bias_shape(kernel: tuple[int, ...], last: bool) -> tuple[int, ...]:
    if last:
        return (kernel[-1],)
    if len(kernel) == 7:  # local: one for each position and channel
        return (kernel[0], kernel[1], kernel[2], kernel[6])
    return (kernel[0], kernel[-1])


def parameters(shapes: dict[str, tuple[int, ...]], make: Callable[[tuple[int, ...]], Any]) -> Tree:
    last = list(shapes)[-1]
    return {
        layer: {"kernel": make(shape), "bias": make(bias_shape(shape, layer == last))}
        for layer, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("net", "options", "shapes", "table", "side"), [n[1:] for n in NETS], ids=[n[0] for n in NETS]
)
def test_shapes_and_parameters(net, options, shapes, table, side):
    params = parameters(shapes, lambda shape: torch.empty(shape, device="meta"))
    counts = {layer: sum(leaf.numel() for leaf in leaves.values()) for layer, leaves in params.items()}
    assert counts == {row.layer: row.parameters for row in table.rows}
    activations = net(params, torch.empty((2, side, side, 3), device="meta"), **options)
    outputs = {name: tuple(value.shape[1:]) for name, value in activations.items()}
    assert {row.layer: outputs.pop(row.layer) for row in table.rows} == {
        row.layer: row.output for row in table.rows
    }
    assert {name: outputs.pop(name) for name in table.others} == table.others
    assert all(name.startswith(("relu", "drop", "prob")) for name in outputs), outputs


def random(seed: int = 0) -> Callable[[tuple[int, ...]], Array]:
    generator = np.random.default_rng(seed)
    return lambda shape: generator.normal(size=shape) / np.sqrt(max(int(np.prod(shape[1:-1])), 4))


class Chain:
    """Numpy layers one after the other, remembered for the way back."""

    def __init__(self, params: Tree, x: Array) -> None:
        self.params, self.x = params, x
        self.back: list[tuple[str, Callable[[Array], Any]]] = []
        self.seen: dict[str, Array] = {}

    def step(
        self, name: str, forward: Callable[..., Array], vjp: Callable[..., Array], **options: Any
    ) -> None:
        x = self.x
        self.back.append(("", lambda dy: vjp(dy, x, **options)))
        self.x = self.seen[name] = forward(x, **options)

    def mask(self, name: str, mask: Any, inverted: bool) -> None:
        self.back.append(("", lambda dy: layers.dropout_vjp(dy, mask, inverted=inverted)))
        self.x = self.seen[name] = layers.dropout(self.x, mask, inverted=inverted)

    def conv(self, name: str, *, groups: int = 1, **options: Any) -> None:
        x, kernel = (
            self.x,
            np.concatenate(self.params[name]["kernel"], axis=-1),
        )  # towers, one after the other
        towers = len(self.params[name]["kernel"])

        def back(dy: Array) -> tuple[Array, Array, Array]:
            dx, dk, db = layers.conv_vjp(dy, x, kernel, groups=groups, **options)
            return dx, np.stack(np.split(dk, towers, axis=-1)), db.reshape(towers, -1)

        self.back.append((name, back))
        bias = self.params[name]["bias"].ravel()
        self.x = self.seen[name] = layers.conv(x, kernel, bias, groups=groups, **options)

    def local(self, name: str) -> None:
        x, kernel = self.x, self.params[name]["kernel"][0]

        def back(dy: Array) -> tuple[Array, Array, Array]:
            dx, dk, db = layers.local_vjp(dy, x, kernel, padding=1)
            return dx, dk[None], db[None]

        self.back.append((name, back))
        self.x = self.seen[name] = layers.local(x, kernel, self.params[name]["bias"][0], padding=1)

    def dense(self, name: str, *, last: bool = False) -> None:
        shape, kernels = self.x.shape, self.params[name]["kernel"]
        x = self.x.reshape(len(self.x), -1)
        kernel = kernels.reshape(-1, kernels.shape[2]) if last else np.concatenate(kernels, axis=-1)

        def back(dy: Array) -> tuple[Array, Array, Array]:
            dx, dk, db = layers.dense_vjp(dy, x, kernel)
            if last:
                return dx.reshape(shape), dk.reshape(kernels.shape), db
            return (
                dx.reshape(shape),
                np.stack(np.split(dk, len(kernels), axis=-1)),
                db.reshape(len(kernels), -1),
            )

        self.back.append((name, back))
        self.x = self.seen[name] = layers.dense(x, kernel, self.params[name]["bias"].ravel())

    def gradients(self, labels: Array) -> tuple[float, Tree]:
        dy, gradients = layers.cross_entropy_vjp(self.x, labels), {}
        for name, back in reversed(self.back):
            if name:
                dy, dk, db = back(dy)
                gradients[name] = {"kernel": dk, "bias": db}
            else:
                dy = back(dy)
        return layers.cross_entropy(self.x, labels), gradients

    def relu(self, name: str) -> None:
        self.step(name, layers.relu, layers.relu_vjp)

    def lrn(self, name: str, **options: Any) -> None:
        self.step(name, layers.lrn, layers.lrn_vjp, **options)

    def max_pool(self, name: str, **options: Any) -> None:
        self.step(name, layers.max_pool, layers.max_pool_vjp, **options)


def compare(chain: Chain, net: Callable[..., Any], images: Array, labels: Array, **options: Any) -> None:
    activations, loss, gradients = torch_nets.loss_and_gradients(net, chain.params, images, labels, **options)
    expected_loss, expected = chain.gradients(labels)
    assert loss == pytest.approx(expected_loss, rel=1e-10)
    assert set(activations) == {*chain.seen, "prob"}
    for name, value in chain.seen.items():
        np.testing.assert_allclose(activations[name], value, rtol=1e-9, atol=1e-9 * np.abs(value).max())
    assert {layer: set(leaves) for layer, leaves in gradients.items()} == {
        layer: set(leaves) for layer, leaves in expected.items()
    }
    for layer, leaves in expected.items():
        for name, value in leaves.items():
            atol = 1e-9 * np.abs(value).max()
            assert atol > 0, (layer, name)
            np.testing.assert_allclose(
                gradients[layer][name], value, rtol=1e-8, atol=atol, err_msg=layer + name
            )


# A narrow two-tower net: 67 pixels give 15, 7, 3 and 1, padded (0, 3).
NARROW: dict[str, tuple[int, ...]] = {
    "conv1": (2, 11, 11, 3, 6),
    "conv2": (2, 5, 5, 6, 8),
    "conv3": (2, 3, 3, 16, 10),
    "conv4": (2, 3, 3, 10, 10),
    "conv5": (2, 3, 3, 10, 8),
    "fc6": (2, 16, 12),
    "fc7": (2, 24, 12),
    "fc8": (2, 12, 7),
}
LABELS = np.array([3, 0, 6])


def narrow_images(side: int = 67, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=(3, side, side, 3)) * 20


def narrow_masks(seed: int = 2) -> Masks:
    generator = np.random.default_rng(seed)
    return {name: generator.random((3, 24)) < 0.5 for name in ("drop6", "drop7")}


def fully_connected_part(chain: Chain, masks: Masks | None, inverted: bool) -> None:
    for number in (6, 7):
        chain.dense(f"fc{number}")
        chain.relu(f"relu{number}")
        chain.mask(f"drop{number}", masks[f"drop{number}"] if masks else None, inverted)
    chain.dense("fc8", last=True)


@pytest.mark.parametrize("masks", [narrow_masks(), None], ids=["training", "test"])
def test_alexnet_2012_is_the_numpy_layers(masks):
    images = narrow_images()
    chain = Chain(parameters(NARROW, random()), images)
    lrn = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0, "groups": 2}
    chain.conv("conv1", stride=4, padding=(0, 3))
    chain.relu("relu1")
    chain.lrn("norm1", **lrn)
    chain.max_pool("pool1")
    chain.conv("conv2", padding=2, groups=2)
    chain.relu("relu2")
    chain.lrn("norm2", **lrn)
    chain.max_pool("pool2")
    chain.conv("conv3", padding=1)
    chain.relu("relu3")
    chain.conv("conv4", padding=1, groups=2)
    chain.relu("relu4")
    chain.conv("conv5", padding=1, groups=2)
    chain.relu("relu5")
    chain.max_pool("pool5")
    fully_connected_part(chain, masks, inverted=False)
    compare(chain, torch_nets.alexnet_2012, images, LABELS, masks=masks)


def test_alexnet_2012_source_is_the_numpy_layers():
    images, masks = narrow_images(), narrow_masks()
    chain = Chain(parameters(NARROW, random()), images)
    lrn = {"size": 5, "alpha": 2e-5, "beta": 0.75, "k": 2.0, "groups": 2}
    chain.conv("conv1", stride=4, padding=(0, 3))
    chain.lrn("norm1", **lrn)
    chain.max_pool("pool1")
    chain.relu("relu1")
    chain.conv("conv2", padding=2, groups=2)
    chain.relu("relu2")
    chain.lrn("norm2", **lrn)
    chain.step(
        "norm2b", layers.same_channel_lrn, layers.same_channel_lrn_vjp, size=5, alpha=4e-5, beta=0.75, k=1.0
    )
    chain.max_pool("pool2")
    chain.conv("conv3", padding=1)
    chain.relu("relu3")
    chain.conv("conv4", padding=1, groups=2)
    chain.relu("relu4")
    chain.conv("conv5", padding=1, groups=2)
    chain.max_pool("pool5")
    chain.relu("relu5")
    fully_connected_part(chain, masks, inverted=False)
    compare(chain, torch_nets.alexnet_2012_source, images, LABELS, masks=masks)


@pytest.mark.parametrize("pool_first", [False, True])
def test_caffe_is_the_numpy_layers(pool_first):
    images, masks = narrow_images(71), narrow_masks()  # 71: 16, whose pool rounds up to 8; 4; 2
    shapes = {**NARROW, "fc6": (2, 2 * 2 * 16, 12)}
    chain = Chain(parameters(shapes, random()), images)

    def norm_and_pool(number: int) -> None:
        order = ("pool", "norm") if pool_first else ("norm", "pool")
        for kind in order:
            if kind == "pool":
                chain.max_pool(f"pool{number}", ceil=True)
            else:
                chain.lrn(f"norm{number}", size=5, alpha=2e-5, beta=0.75, k=1.0)

    chain.conv("conv1", stride=4)
    chain.relu("relu1")
    norm_and_pool(1)
    chain.conv("conv2", padding=2, groups=2)
    chain.relu("relu2")
    norm_and_pool(2)
    chain.conv("conv3", padding=1)
    chain.relu("relu3")
    chain.conv("conv4", padding=1, groups=2)
    chain.relu("relu4")
    chain.conv("conv5", padding=1, groups=2)
    chain.relu("relu5")
    chain.max_pool("pool5", ceil=True)
    fully_connected_part(chain, masks, inverted=True)
    net = torch_nets.caffenet if pool_first else torch_nets.caffe
    compare(chain, net, images, LABELS, masks=masks)


def test_torchvision_is_the_numpy_layers():
    shapes: dict[str, tuple[int, ...]] = {
        "conv1": (1, 11, 11, 1, 6),
        "conv2": (1, 5, 5, 6, 8),
        "conv3": (1, 3, 3, 8, 10),
        "conv4": (1, 3, 3, 10, 8),
        "conv5": (1, 3, 3, 8, 4),
        "fc6": (1, 144, 12),
        "fc7": (1, 12, 12),
        "fc8": (1, 12, 10),
    }
    generator = np.random.default_rng(5)
    images = generator.normal(size=(3, 90, 90, 1))
    masks = {"drop6": generator.random((3, 144)) < 0.5, "drop7": generator.random((3, 12)) < 0.5}
    chain = Chain(parameters(shapes, random()), images)
    chain.conv("conv1", stride=4, padding=2)
    chain.relu("relu1")
    chain.max_pool("pool1")
    chain.conv("conv2", padding=2)
    chain.relu("relu2")
    chain.max_pool("pool2")
    chain.conv("conv3", padding=1)
    chain.relu("relu3")
    chain.conv("conv4", padding=1)
    chain.relu("relu4")
    chain.conv("conv5", padding=1)
    chain.relu("relu5")
    chain.max_pool("pool5")
    chain.step("avgpool", layers.adaptive_average_pool, layers.adaptive_average_pool_vjp)
    chain.step(
        "flat", lambda x: x.reshape(3, -1), lambda dy, x: dy.reshape(x.shape)
    )  # dropout comes first here
    del chain.seen["flat"]
    chain.mask("drop6", masks["drop6"], inverted=True)
    chain.dense("fc6")
    chain.relu("relu6")
    chain.mask("drop7", masks["drop7"], inverted=True)
    chain.dense("fc7")
    chain.relu("relu7")
    chain.dense("fc8", last=True)
    compare(chain, torch_nets.torchvision, images, LABELS, masks=masks)


def test_cifar10_18_is_the_numpy_layers():
    shapes: dict[str, tuple[int, ...]] = {
        "conv1": (1, 5, 5, 3, 4),
        "conv2": (1, 5, 5, 4, 4),
        "conv3": (1, 5, 5, 4, 6),
        "fc4": (1, 54, 7),
    }
    images = narrow_images(24)
    chain = Chain(parameters(shapes, random()), images)
    norm = {"size": 3, "alpha": 5e-5 / 9, "beta": 0.75, "k": 1.0}
    chain.conv("conv1", padding=2)
    chain.max_pool("pool1", ceil=True)
    chain.relu("relu1")
    chain.step("norm1", layers.same_channel_lrn, layers.same_channel_lrn_vjp, **norm)
    chain.conv("conv2", padding=2)
    chain.relu("relu2")
    chain.step("pool2", layers.average_pool, layers.average_pool_vjp)
    chain.step("norm2", layers.same_channel_lrn, layers.same_channel_lrn_vjp, **norm)
    chain.conv("conv3", padding=2)
    chain.relu("relu3")
    chain.step("pool3", layers.average_pool, layers.average_pool_vjp)
    chain.dense("fc4", last=True)
    compare(chain, torch_nets.cifar10_18, images, LABELS)


def test_cifar10_11_is_the_numpy_layers():
    shapes: dict[str, tuple[int, ...]] = {
        "conv1": (1, 5, 5, 3, 12),
        "conv2": (1, 5, 5, 12, 12),
        "local3": (1, 3, 3, 3, 3, 12, 6),
        "local4": (1, 3, 3, 3, 3, 6, 5),
        "fc5": (1, 45, 7),
    }
    images = narrow_images(12)
    chain = Chain(parameters(shapes, random()), images)
    norm = {"size": 9, "alpha": 1e-3 / 9, "beta": 0.75, "k": 1.0}
    chain.conv("conv1", padding=2)
    chain.relu("relu1")
    chain.max_pool("pool1", ceil=True)
    chain.lrn("norm1", **norm)
    chain.conv("conv2", padding=2)
    chain.relu("relu2")
    chain.lrn("norm2", **norm)
    chain.max_pool("pool2", ceil=True)
    chain.local("local3")
    chain.relu("relu3")
    chain.local("local4")
    chain.relu("relu4")
    chain.dense("fc5", last=True)
    compare(chain, torch_nets.cifar10_11, images, LABELS)


def test_fully_connected_is_the_numpy_layers():
    shapes: dict[str, tuple[int, ...]] = {"fc1": (1, 784, 15), "fc2": (1, 15, 10)}
    images = np.random.default_rng(7).random((3, 784))
    chain = Chain(parameters(shapes, random()), images)
    chain.dense("fc1")
    chain.step("relu1", layers.sigmoid, layers.sigmoid_vjp)
    chain.dense("fc2", last=True)
    compare(chain, torch_nets.fully_connected, images, LABELS)
    table = arithmetic.FULLY_CONNECTED_784_15_10
    sizes = {layer: sum(leaf.size for leaf in leaves.values()) for layer, leaves in chain.params.items()}
    assert sizes == {row.layer: row.parameters for row in table.rows}


def test_towers_apart_are_towers_together_with_zeros_between():
    """A layer that reads its own tower is one that reads both and has zeros where the other one stands."""
    shapes = {**NARROW, "conv3": (2, 3, 3, 8, 10), "fc6": (2, 8, 12), "fc7": (2, 12, 12)}
    apart = parameters(shapes, random())
    together = {layer: dict(leaves) for layer, leaves in apart.items()}
    for layer, shape in (("conv3", NARROW["conv3"]), ("fc6", NARROW["fc6"]), ("fc7", NARROW["fc7"])):
        kernel = np.zeros(shape)
        half = shape[-2] // 2
        for tower in range(2):
            kernel[tower, ..., tower * half : (tower + 1) * half, :] = apart[layer]["kernel"][tower]
        together[layer]["kernel"] = kernel
    images, masks = narrow_images(), narrow_masks()
    expected = torch_nets.alexnet_2012(together, images, masks)
    actual = torch_nets.alexnet_2012(apart, images, masks, communicate_at=())
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-10, atol=1e-10)


def test_net_132():
    """The image's second way in: what it adds to conv2 for a constant image, and the parameters."""
    shapes = {**NARROW, "conv3": (2, 3, 3, 8, 10), "conv4": (2, 3, 3, 20, 10)}
    params = parameters(shapes, random())
    params["conv2_image"] = {"kernel": np.ones((2, 5, 5, 3, 8))}
    # 67: 15 and 7 through conv1; 17, then 5x5 windows of stride 2, through the small image.
    activations = torch_nets.source_132(params, np.ones((1, 67, 67, 3)))
    without = {**params, "conv2_image": {"kernel": np.zeros((2, 5, 5, 3, 8))}}
    difference = activations["conv2"] - torch_nets.source_132(without, np.ones((1, 67, 67, 3)))["conv2"]
    assert difference.shape == (1, 7, 7, 16)
    torch.testing.assert_close(
        activations["blur0"][0, 4:-4, 4:-4], torch.ones(59, 59, 3, dtype=torch.float64)
    )
    assert difference[0, 3, 3, 0].item() == pytest.approx(75.0)
    names = ["blur0", "nails0", "conv1", "pool1", "relu1", "norm1", "conv2", "relu2", "norm2", "norm2b"]
    assert list(activations)[:10] == names
    full = {**AT_CONV4, "conv1": (2, 11, 11, 3, 32), "conv2": (2, 5, 5, 32, 128)}
    table = arithmetic.SOURCE_132
    count = sum(int(np.prod(s)) + int(np.prod(bias_shape(s, name == "fc8"))) for name, s in full.items())
    assert count + 2 * 5 * 5 * 3 * 128 == table.parameters
