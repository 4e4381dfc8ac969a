"""What all rows of a table share; tests/model/test_specs.py has the kinds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from alexnet_jax.model import sharding
from alexnet_jax.model.rows import Here, Layer, Shapes, exchange


def test_a_row_by_itself_is_the_identity():
    x = jnp.arange(6.0).reshape(2, 3)
    assert Layer("same").apply(x, None, Here(1)) is x
    assert Layer("same").shapes((4, 4, 3), 2) == Shapes((4, 4, 3))
    assert Shapes((4,), (1, 3, 4), (1, 4)).parameters == 16


@pytest.mark.parametrize("name", ["", "conv1/0", 7])
def test_a_name_is_a_text_that_no_tower_is_asked_by(name):
    with pytest.raises(ValueError, match="a layer's name is a text without '/'"):
        Layer(name)


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 4, 6)])
def test_an_exchange_gives_each_device_all_channels_and_its_gradient_the_sum_for_its_own(shape):
    draw = np.random.default_rng(6)
    x = draw.normal(size=shape).astype(np.float32)
    weights = draw.normal(size=(2, *shape)).astype(np.float32)  # what each device makes of all channels
    mesh = sharding.make_mesh(1, 2, 2, 1)
    own = P(*[None] * (len(shape) - 1), "model")

    def weighted(x, weights):
        return exchange(x, "model")[None] * weights

    on_two = jax.shard_map(weighted, mesh=mesh, in_specs=(own, P("model")), out_specs=P("model"))
    np.testing.assert_array_equal(jax.jit(on_two)(x, np.ones_like(weights)), np.stack([x, x]))
    gradient = jax.jit(jax.grad(lambda x: on_two(x, weights).sum()))(x)
    np.testing.assert_allclose(gradient, weights[0] + weights[1], rtol=1e-6)


def test_where_all_towers_are_nothing_is_exchanged():
    x = jnp.ones((2, 3))
    assert exchange(x, None) is x
