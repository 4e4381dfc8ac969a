"""The numpy layers against finite differences (quick), hand-made cases, and PyTorch's autograd (slow)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.reference import numpy_layers as layers

Array = layers.Array


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def differences(function: Callable[[Array], Array], x: Array, dy: Array, step: float = 1e-6) -> Array:
    """The gradient of sum(function(x) * dy) by central differences."""
    dx = np.zeros_like(x)
    for position in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[position] += step
        down[position] -= step
        dx[position] = ((function(up) - function(down)) * dy).sum() / (2 * step)
    return dx


def assert_close(actual: Array, expected: Array, tolerance: float = 1e-6) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-30)


CONVOLUTIONS = [
    {"stride": 1, "padding": 0, "groups": 1},
    {"stride": 2, "padding": 1, "groups": 2},
    {"stride": 3, "padding": ((0, 2), (1, 0)), "groups": 1},
    {"stride": 2, "padding": (0, 3), "groups": 2},
]


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_conv_gradients_by_differences(options):
    x, kernel, bias = random(2, 6, 5, 4), random(3, 2, 4 // options["groups"], 6), random(6)
    dy = random(*layers.conv(x, kernel, bias, **options).shape, seed=1)
    dx, dk, db = layers.conv_vjp(dy, x, kernel, **options)
    assert_close(dx, differences(lambda v: layers.conv(v, kernel, bias, **options), x, dy))
    assert_close(dk, differences(lambda v: layers.conv(x, v, bias, **options), kernel, dy))
    assert_close(db, differences(lambda v: layers.conv(x, kernel, v, **options), bias, dy))


def test_conv_by_hand():
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    kernel = np.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(2, 2, 1, 1)
    y = layers.conv(x, kernel, [0.5], padding=((0, 1), (0, 0)))
    # Row 0: 0 + 10*1 + 100*3 + 1000*4, and so on; the last row reads a row of zeros.
    assert y[0, :, :, 0].tolist() == [[4310.5, 5421.5], [7643.5, 8754.5], [76.5, 87.5]]


def test_groups_do_not_see_each_other():
    x, kernel = random(1, 4, 4, 4), random(3, 3, 2, 6)
    y = layers.conv(x, kernel, np.zeros(6), groups=2)
    assert_close(y[..., :3], layers.conv(x[..., :2], kernel[..., :3], np.zeros(3)), 1e-12)
    assert_close(y[..., 3:], layers.conv(x[..., 2:], kernel[..., 3:], np.zeros(3)), 1e-12)


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, ((0, 1), (1, 0)))])
def test_local_gradients_by_differences(stride, padding):
    x = random(2, 4, 4, 2)
    (top, bottom), (left, right) = layers.sides(padding)
    rows, columns = (4 + top + bottom - 3) // stride + 1, (4 + left + right - 3) // stride + 1
    kernel, bias = random(rows, columns, 3, 3, 2, 3), random(rows, columns, 3)

    def forward(x: Array = x, kernel: Array = kernel, bias: Array = bias) -> Array:
        return layers.local(x, kernel, bias, stride=stride, padding=padding)

    dy = random(*forward().shape, seed=1)
    dx, dk, db = layers.local_vjp(dy, x, kernel, stride=stride, padding=padding)
    assert_close(dx, differences(lambda v: forward(x=v), x, dy))
    assert_close(dk, differences(lambda v: forward(kernel=v), kernel, dy))
    assert_close(db, differences(lambda v: forward(bias=v), bias, dy))


def test_local_with_the_same_kernel_everywhere_is_a_convolution():
    x, kernel, bias = random(2, 5, 5, 3), random(3, 3, 3, 4), random(4)
    everywhere = np.broadcast_to(kernel, (5, 5, 3, 3, 3, 4))
    assert_close(layers.local(x, everywhere, bias, padding=1), layers.conv(x, kernel, bias, padding=1), 1e-12)
    dy = random(2, 5, 5, 4, seed=1)
    dx, dk, db = layers.local_vjp(dy, x, everywhere, padding=1, shared_bias=True)
    expected = layers.conv_vjp(dy, x, kernel, padding=1)
    assert_close(dx, expected[0], 1e-12)
    assert_close(dk.sum(axis=(0, 1)), expected[1], 1e-12)
    assert_close(db, expected[2], 1e-12)


def test_dense_gradients_by_differences():
    x, kernel, bias, dy = random(3, 4), random(4, 5), random(5), random(3, 5)
    dx, dk, db = layers.dense_vjp(dy, x, kernel)
    assert_close(dx, differences(lambda v: layers.dense(v, kernel, bias), x, dy))
    assert_close(dk, differences(lambda v: layers.dense(x, v, bias), kernel, dy))
    assert_close(db, differences(lambda v: layers.dense(x, kernel, v), bias, dy))


@pytest.mark.parametrize(
    ("forward", "vjp"),
    [
        (layers.relu, layers.relu_vjp),
        (layers.tanh, layers.tanh_vjp),
        (layers.sigmoid, layers.sigmoid_vjp),
    ],
)
def test_activation_gradients_by_differences(forward, vjp):
    x, dy = random(3, 7), random(3, 7, seed=1)
    assert_close(vjp(dy, x), differences(forward, x, dy))


def test_activations_by_hand():
    assert layers.relu([-1.0, 0.0, 2.0]).tolist() == [0, 0, 2]
    assert layers.relu_vjp([1.0, 1.0, 1.0], [-1.0, 0.0, 2.0]).tolist() == [0, 0, 1]
    assert layers.sigmoid([-1000.0, 0.0, 1000.0]).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("groups", [1, 2])
def test_lrn_gradients_by_differences(size, groups):
    x, dy = random(1, 2, 2, 8), random(1, 2, 2, 8, seed=1)
    options = {"size": size, "alpha": 0.3, "beta": 0.75, "k": 2.0, "groups": groups}
    dx = layers.lrn_vjp(dy, x, **options)
    assert_close(dx, differences(lambda v: layers.lrn(v, **options), x, dy))


def test_lrn_windows_by_hand():
    x = np.array([1.0, 2, 3, 4, 5, 6]).reshape(1, 1, 1, 6)
    crossing = layers.lrn(x, size=3, alpha=1.0, beta=1.0, k=0.0)
    # Sums of squares over three channels, two at the ends.
    assert_close(crossing.ravel(), np.array([1 / 5, 2 / 14, 3 / 29, 4 / 50, 5 / 77, 6 / 61]), 1e-12)
    within = layers.lrn(x, size=3, alpha=1.0, beta=1.0, k=0.0, groups=2)
    assert_close(within.ravel(), np.array([1 / 5, 2 / 14, 3 / 13, 4 / 41, 5 / 77, 6 / 61]), 1e-12)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_same_channel_lrn_gradients_by_differences(size):
    x, dy = random(1, 4, 3, 2), random(1, 4, 3, 2, seed=1)
    options = {"size": size, "alpha": 0.3, "beta": 0.75, "k": 1.0}
    dx = layers.same_channel_lrn_vjp(dy, x, **options)
    assert_close(dx, differences(lambda v: layers.same_channel_lrn(v, **options), x, dy))


def test_same_channel_lrn_by_hand():
    x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    y = layers.same_channel_lrn(x, size=3, alpha=1.0, beta=1.0, k=0.0)
    assert_close(y.ravel(), np.array([1, 2, 3, 4]) / 30, 1e-12)  # every window holds all four
    wide = np.array([1.0, 2, 3, 4]).reshape(1, 1, 4, 1)
    y = layers.same_channel_lrn(wide, size=3, alpha=1.0, beta=1.0, k=0.0)
    assert_close(y.ravel(), np.array([1 / 5, 2 / 14, 3 / 29, 4 / 25]), 1e-12)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(
    ("size", "stride", "side"), [(3, 2, 7), (3, 2, 6), (2, 2, 5), (2, 2, 4), (3, 3, 8), (3, 2, 3)]
)
@pytest.mark.parametrize(
    ("forward", "vjp"),
    [(layers.max_pool, layers.max_pool_vjp), (layers.average_pool, layers.average_pool_vjp)],
)
def test_pool_gradients_by_differences(forward, vjp, size, stride, side, ceil):
    x = random(1, side, side, 2)
    options = {"size": size, "stride": stride, "ceil": ceil}
    y = forward(x, **options)
    reach = (side - size) / stride
    assert y.shape == (1, *[int(np.ceil(reach) if ceil else np.floor(reach)) + 1] * 2, 2)
    dy = random(*y.shape, seed=1)
    assert_close(vjp(dy, x, **options), differences(lambda v: forward(v, **options), x, dy))


def test_max_pool_ties_go_to_the_first():
    x = np.zeros((1, 3, 3, 1))
    x[0, 1, 2, 0] = x[0, 2, 0, 0] = 5.0
    dx = layers.max_pool_vjp(np.ones((1, 1, 1, 1)), x)
    assert dx[0, :, :, 0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    dx = layers.max_pool_vjp(np.ones((1, 1, 1, 1)), np.zeros((1, 3, 3, 1)))
    assert dx[0, :, :, 0].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_average_pool_divides_by_the_elements_present():
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    y = layers.average_pool(x, size=3, stride=2, ceil=True)
    # Windows of 9, 6, 6 and 4 elements.
    assert y[0, :, :, 0].tolist() == [[5.0, 6.5], [11.0, 12.5]]


@pytest.mark.parametrize("side", [4, 6, 9, 13])
def test_adaptive_average_pool_gradient_by_differences(side):
    x, dy = random(1, side, side, 1), random(1, 6, 6, 1, seed=1)
    dx = layers.adaptive_average_pool_vjp(dy, x)
    assert_close(dx, differences(layers.adaptive_average_pool, x, dy))


def test_adaptive_average_pool_of_six_is_itself():
    x = random(2, 6, 6, 3)
    assert np.array_equal(layers.adaptive_average_pool(x), x)


def test_dropout_by_hand():
    x, mask = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[True, False], [False, True]])
    assert layers.dropout(x, mask, rate=0.25).tolist() == [[1, 0], [0, 4]]
    assert layers.dropout(x, None, rate=0.25).tolist() == [[0.75, 1.5], [2.25, 3.0]]
    assert_close(
        layers.dropout(x, mask, rate=0.25, inverted=True), np.array([[1 / 0.75, 0], [0, 4 / 0.75]]), 1e-15
    )
    assert layers.dropout(x, None, rate=0.25, inverted=True).tolist() == x.tolist()
    assert layers.dropout_vjp(np.ones((2, 2)), mask, rate=0.25).tolist() == [[1, 0], [0, 1]]


def test_cross_entropy():
    z, labels = random(4, 5), np.array([0, 3, 4, 3])
    weights = np.array([1.0, 1.0, 1.0, 0.0])
    for w in (None, weights):

        def loss_of(v: Array, w: Array | None = w) -> Array:
            return np.array([layers.cross_entropy(v, labels, w)])

        loss = differences(loss_of, z, np.ones(1))
        assert_close(layers.cross_entropy_vjp(z, labels, w), loss)
    assert layers.cross_entropy(np.zeros((3, 10)), [1, 2, 3]) == pytest.approx(np.log(10))
    assert layers.cross_entropy(z, labels, weights) == pytest.approx(layers.cross_entropy(z[:3], labels[:3]))
    assert layers.softmax([[1000.0, 1000.0, 0.0]]).tolist() == [[0.5, 0.5, 0.0]]


@pytest.mark.slow
class TestAgainstPyTorch:
    """The same layers by torch.nn.functional and autograd, in float64."""

    def compare(self, ours, gradients, theirs, inputs):
        """ours: the output. gradients: dy -> ours by input. theirs: tensors NCHW or plain -> output."""
        torch = pytest.importorskip("torch")

        def to_torch(v: Array):
            return torch.tensor(v.transpose(0, 3, 1, 2) if v.ndim == 4 else v, requires_grad=True)

        def back(t) -> Array:
            v = t.detach().numpy()
            return v.transpose(0, 2, 3, 1) if v.ndim == 4 else v

        tensors = [to_torch(v) for v in inputs]
        y = theirs(*tensors)
        assert_close(ours, back(y), 1e-10)
        dy = random(*ours.shape, seed=1)
        y.backward(torch.tensor(dy.transpose(0, 3, 1, 2) if dy.ndim == 4 else dy))
        for actual, tensor in zip(gradients(dy), tensors, strict=True):
            assert_close(actual, back(tensor.grad), 1e-10)

    @pytest.mark.parametrize("options", CONVOLUTIONS)
    def test_conv(self, options):
        torch = pytest.importorskip("torch")
        x, kernel, bias = random(2, 9, 8, 4), random(3, 2, 4 // options["groups"], 6), random(6)
        (top, bottom), (left, right) = layers.sides(options["padding"])

        def theirs(x, k, b):
            # compare() carries 4-d arrays as NHWC to NCHW, so a kernel HWIO arrives as (H, O, W, I).
            x = torch.nn.functional.pad(x, (left, right, top, bottom))
            k = k.permute(1, 3, 0, 2)
            return torch.nn.functional.conv2d(x, k, b, stride=options["stride"], groups=options["groups"])

        self.compare(
            layers.conv(x, kernel, bias, **options),
            lambda dy: layers.conv_vjp(dy, x, kernel, **options),
            theirs,
            [x, kernel, bias],
        )

    def test_local(self):
        torch = pytest.importorskip("torch")
        x, kernel, bias = random(2, 5, 5, 3), random(5, 5, 3, 3, 3, 4), random(5, 5, 4)

        def theirs(x, k, b):
            patches = torch.nn.functional.unfold(x, 3, padding=1).reshape(2, 3, 3, 3, 5, 5)  # B C kh kw r c
            return torch.einsum("bchwrs,rshwco->bors", patches, k) + b.permute(2, 0, 1)

        self.compare(
            layers.local(x, kernel, bias, padding=1),
            lambda dy: layers.local_vjp(dy, x, kernel, padding=1),
            theirs,
            [x, kernel, bias],
        )

    @pytest.mark.parametrize("groups", [1, 2])
    def test_lrn(self, groups):
        torch = pytest.importorskip("torch")
        x = random(2, 3, 3, 12)
        options = {"size": 5, "alpha": 0.3, "beta": 0.75, "k": 2.0, "groups": groups}

        def theirs(x):
            parts = x.chunk(groups, dim=1)  # PyTorch divides alpha by the size
            norm = torch.nn.functional.local_response_norm
            return torch.cat([norm(p, 5, alpha=1.5, beta=0.75, k=2.0) for p in parts], dim=1)

        self.compare(layers.lrn(x, **options), lambda dy: [layers.lrn_vjp(dy, x, **options)], theirs, [x])

    def test_same_channel_lrn(self):
        torch = pytest.importorskip("torch")
        x = random(2, 7, 6, 3)
        options: dict[str, Any] = {"size": 5, "alpha": 0.3, "beta": 0.75, "k": 1.0}

        def theirs(x):
            s = 25 * torch.nn.functional.avg_pool2d(x**2, 5, stride=1, padding=2)
            return x * (1 + 0.3 * s) ** -0.75

        ours = layers.same_channel_lrn(x, **options)
        self.compare(ours, lambda dy: [layers.same_channel_lrn_vjp(dy, x, **options)], theirs, [x])

    @pytest.mark.parametrize("ceil", [False, True])
    @pytest.mark.parametrize(("size", "stride", "side"), [(3, 2, 13), (3, 2, 8), (2, 2, 55), (3, 3, 8)])
    @pytest.mark.parametrize("kind", ["max", "average"])
    def test_pool(self, kind, size, stride, side, ceil):
        torch = pytest.importorskip("torch")
        # Whole numbers give ties, rectified zeros most of all.
        x = np.maximum(np.random.default_rng(0).integers(-3, 3, (2, side, side, 3)), 0).astype(np.float64)
        options = {"size": size, "stride": stride, "ceil": ceil}
        if kind == "max":
            self.compare(
                layers.max_pool(x, **options),
                lambda dy: [layers.max_pool_vjp(dy, x, **options)],
                lambda x: torch.nn.functional.max_pool2d(x, size, stride, ceil_mode=ceil),
                [x],
            )
        else:
            self.compare(
                layers.average_pool(x, **options),
                lambda dy: [layers.average_pool_vjp(dy, x, **options)],
                lambda x: torch.nn.functional.avg_pool2d(x, size, stride, ceil_mode=ceil),
                [x],
            )

    @pytest.mark.parametrize("side", [2, 6, 7, 15])
    def test_adaptive_average_pool(self, side):
        torch = pytest.importorskip("torch")
        x = random(2, side, side, 3)
        self.compare(
            layers.adaptive_average_pool(x),
            lambda dy: [layers.adaptive_average_pool_vjp(dy, x)],
            lambda x: torch.nn.functional.adaptive_avg_pool2d(x, 6),
            [x],
        )

    @pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
    def test_activation(self, name):
        torch = pytest.importorskip("torch")
        x = random(4, 9)
        x[0, 0] = 0.0
        forward, vjp = getattr(layers, name), getattr(layers, f"{name}_vjp")
        self.compare(forward(x), lambda dy: [vjp(dy, x)], getattr(torch, name), [x])

    def test_cross_entropy(self):
        torch = pytest.importorskip("torch")
        z, labels = random(6, 10), np.array([0, 9, 4, 3, 3, 1])
        logits = torch.tensor(z, requires_grad=True)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
        loss.backward()
        assert layers.cross_entropy(z, labels) == pytest.approx(loss.item(), rel=1e-12)
        assert_close(layers.cross_entropy_vjp(z, labels), logits.grad.numpy(), 1e-12)
