"""Each kind of pooling, forward and gradient, against plain numpy."""

import itertools

import numpy as np
import pytest

from alexnet_jax.model import pooling
from tests.model.helpers import assert_close, layer_gradients, random_array
from tests.reference import numpy_layers as plain


@pytest.mark.parametrize("side", [9, 12, 13])
@pytest.mark.parametrize(
    ("size", "stride", "ceil"),
    [(3, 2, False), (3, 2, True), (2, 2, False), (3, 1, False), (3, 3, True), (2, 3, False), (5, 2, True),
     (2, 3, True), (1, 2, True), (2, 5, True)],
)  # fmt: skip
def test_max_pool(side, size, stride, ceil):
    # Few different values, so that most windows have ties; zeros as behind a ReLU among them.
    x = np.random.default_rng(0).integers(0, 3, (2, side, side, 4)).astype(np.float32)
    y, g, (dx,) = layer_gradients(lambda x: pooling.max_pool(x, size, stride, ceil), x)
    options = {"size": size, "stride": stride, "ceil": ceil}
    np.testing.assert_array_equal(y, plain.max_pool(x, **options))
    assert_close(dx, plain.max_pool_vjp(g, x, **options), 1e-6)


@pytest.mark.parametrize("side", [8, 9, 12])
@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, 3), (1, 2)])
def test_average_pool_divides_by_the_elements_present(side, size, stride):
    x = random_array(2, side, side, 4)
    y, g, (dx,) = layer_gradients(lambda x: pooling.average_pool(x, size, stride, True), x)
    assert_close(y, plain.average_pool(x, size=size, stride=stride, ceil=True), 1e-5)
    assert_close(dx, plain.average_pool_vjp(g, x, size=size, stride=stride, ceil=True), 1e-5)


@pytest.mark.parametrize("pool", [pooling.max_pool, pooling.average_pool])
def test_a_window_larger_than_the_image(pool):
    x = random_array(2, 2, 2, 3)
    y, g, (dx,) = layer_gradients(lambda x: pool(x, 4, 4, True), x)
    expected = plain.max_pool if pool is pooling.max_pool else plain.average_pool
    pull = plain.max_pool_vjp if pool is pooling.max_pool else plain.average_pool_vjp
    assert_close(y, expected(x, size=4, stride=4, ceil=True), 1e-5)
    assert_close(dx, pull(g, x, size=4, stride=4, ceil=True), 1e-5)


@pytest.mark.slow
def test_windows_are_as_many_as_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for side, size, stride, ceil in itertools.product(range(1, 14), range(1, 5), range(1, 6), (False, True)):
        count = pooling.windows(side, size, stride, ceil)
        if count > 0:  # PyTorch refuses what would leave nothing
            x = torch.zeros(1, 1, side, side, device="meta")
            found = torch.nn.functional.max_pool2d(x, size, stride, ceil_mode=ceil)
            assert found.shape == (1, 1, count, count), (side, size, stride, ceil)
        else:
            assert side < size


@pytest.mark.parametrize("side", [1, 4, 6, 7, 13])
def test_adaptive_average_pool(side):
    x = random_array(2, side, side, 3)
    y, g, (dx,) = layer_gradients(lambda x: pooling.adaptive_average_pool(x, 6), x)
    assert_close(y, plain.adaptive_average_pool(x, 6), 1e-5)
    assert_close(dx, plain.adaptive_average_pool_vjp(g, x, 6), 1e-5)
