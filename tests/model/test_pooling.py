"""Each kind of pooling, forward and gradient, against plain numpy."""

import numpy as np
import pytest

from alexnet_jax.model import pooling
from tests.model.helpers import assert_close, layer_gradients, random_array
from tests.reference import numpy_layers as plain


@pytest.mark.parametrize("side", [9, 12, 13])
@pytest.mark.parametrize(
    ("size", "stride", "ceil"),
    [(3, 2, False), (3, 2, True), (2, 2, False), (3, 1, False), (3, 3, True), (2, 3, False), (5, 2, True)],
)
def test_max_pool(side, size, stride, ceil):
    # Few different values, so that most windows have ties; zeros as behind a ReLU among them.
    x = np.random.default_rng(0).integers(0, 3, (2, side, side, 4)).astype(np.float32)
    y, g, (dx,) = layer_gradients(lambda x: pooling.max_pool(x, size, stride, ceil), x)
    options = {"size": size, "stride": stride, "ceil": ceil}
    np.testing.assert_array_equal(y, plain.max_pool(x, **options))
    assert_close(dx, plain.max_pool_vjp(g, x, **options), 1e-6)


@pytest.mark.parametrize("side", [8, 9, 12])
def test_average_pool_divides_by_the_elements_present(side):
    x = random_array(2, side, side, 4)
    y, g, (dx,) = layer_gradients(lambda x: pooling.average_pool(x, 3, 2, True), x)
    assert_close(y, plain.average_pool(x, size=3, stride=2, ceil=True), 1e-5)
    assert_close(dx, plain.average_pool_vjp(g, x, size=3, stride=2, ceil=True), 1e-5)


@pytest.mark.parametrize("side", [1, 4, 6, 7, 13])
def test_adaptive_average_pool(side):
    x = random_array(2, side, side, 3)
    y, g, (dx,) = layer_gradients(lambda x: pooling.adaptive_average_pool(x, 6), x)
    assert_close(y, plain.adaptive_average_pool(x, 6), 1e-5)
    assert_close(dx, plain.adaptive_average_pool_vjp(g, x, 6), 1e-5)
