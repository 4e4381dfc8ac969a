"""The network by itself against plain numpy; `architectures` compares every whole net with PyTorch."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.model import network, sharding
from alexnet_jax.model.network import AlexNet, LayerModule
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import (
    LRN,
    Activation,
    AdaptivePool,
    Architecture,
    Conv,
    Dense,
    Dropout,
    Local,
    Pool,
    Weighted,
    WithinChannelLRN,
)
from tests.model.helpers import assert_close, paper, random_params
from tests.reference import numpy_layers as plain

TWO_TOWERS = Architecture(
    "two towers",
    crop=12,
    channels=3,
    classes=10,
    towers=2,
    layers=(
        Conv("conv1", 8, 3, 0.1, 0.5, "both", 2, (0, 1)),
        Activation("relu1", "relu"),
        LRN("norm1", 3, 0.3, 0.75, 2.0),
        Pool("pool1", "max", 3, 1),
        Conv("conv2", 8, 3, 0.1, 0.0, pad=(1, 1)),
        LRN("norm2", 5, 0.3, 0.75, 1.0, across=True),
        Conv("conv3", 4, 3, 0.1, 0.0, "both", pad=(1, 1)),
        Activation("relu3", "tanh"),
        Dense("fc4", 6, 0.1, 0.0, "own"),
        Dense("fc5", 8, 0.1, 0.0),
        Dropout("drop5", 0.25),
        Dense("fc6", 10, 0.1, 0.0, "sum"),
    ),
)
ONE_TOWER = Architecture(
    "one tower",
    crop=9,
    channels=2,
    classes=5,
    towers=1,
    layers=(
        Conv("conv1", 6, 3, None, 0.0, "both"),
        WithinChannelLRN("norm1", 3, 0.3, 0.75, 1.0),
        Pool("pool1", "average", 3, 2, ceil=True),
        Local("local2", 4, 3, 0.1, 0.0, pad=1),
        Activation("relu2", "sigmoid"),
        AdaptivePool("pool2", 3),
        Dropout("drop3", 0.25, inverted=True),
        Dense("fc3", 5, 0.1, 0.0, "sum"),
    ),
)


def images(architecture, count=3):
    shape = (count, architecture.crop, architecture.crop, architecture.channels)
    return np.random.default_rng(4).normal(0, 1, shape).astype(np.float32)


def joined(kernel):
    """The kernels of all towers, their outputs side by side."""
    return np.concatenate(list(kernel), axis=-1)


def two_towers_by_hand(params, x, mask):
    """Every value of `TWO_TOWERS` by name."""
    weights = {name: (leaves["kernel"], leaves["bias"]) for name, leaves in params.items()}
    values = {}

    def conv(name, x, **options):
        kernel, bias = weights[name]
        values[name] = plain.conv(x, joined(kernel), bias.reshape(-1), **options)
        return values[name]

    values["relu1"] = plain.relu(conv("conv1", x, stride=2, padding=((0, 1), (0, 1))))
    values["norm1"] = plain.lrn(values["relu1"], size=3, alpha=0.3, beta=0.75, k=2.0, groups=2)
    values["pool1"] = plain.max_pool(values["norm1"], size=3, stride=1)
    conv("conv2", values["pool1"], padding=1, groups=2)
    values["norm2"] = plain.lrn(values["conv2"], size=5, alpha=0.3, beta=0.75, k=1.0)
    values["relu3"] = plain.tanh(conv("conv3", values["norm2"], padding=1))
    kernel, bias = weights["fc4"]
    halves = [values["relu3"][..., 2 * t : 2 * t + 2].reshape(len(x), -1) for t in range(2)]
    values["fc4"] = np.concatenate([plain.dense(halves[t], kernel[t], bias[t]) for t in range(2)], axis=-1)
    kernel, bias = weights["fc5"]
    values["fc5"] = plain.dense(values["fc4"], joined(kernel), bias.reshape(-1))
    values["drop5"] = plain.dropout(values["fc5"], mask, rate=0.25)
    kernel, bias = weights["fc6"]
    values["fc6"] = plain.dense(values["drop5"], kernel.reshape(8, 10), bias)
    return values


def one_tower_by_hand(params, x, mask):
    """Every value of `ONE_TOWER` by name."""
    weights = {name: (leaves["kernel"][0], leaves["bias"]) for name, leaves in params.items()}
    values = {"conv1": plain.conv(x, weights["conv1"][0], weights["conv1"][1][0])}
    values["norm1"] = plain.same_channel_lrn(values["conv1"], size=3, alpha=0.3, beta=0.75, k=1.0)
    values["pool1"] = plain.average_pool(values["norm1"], size=3, stride=2, ceil=True)
    values["local2"] = plain.local(values["pool1"], weights["local2"][0], weights["local2"][1][0], padding=1)
    values["relu2"] = plain.sigmoid(values["local2"])
    values["pool2"] = plain.adaptive_average_pool(values["relu2"], 3)
    values["drop3"] = plain.dropout(values["pool2"], mask, rate=0.25, inverted=True)
    values["fc3"] = plain.dense(values["drop3"].reshape(len(x), -1), *weights["fc3"])
    return values


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("net", [TWO_TOWERS, ONE_TOWER], ids=lambda net: net.name)
def test_every_value_is_that_of_plain_numpy(net, masked):
    params, x, names = random_params(net), images(net), tuple(layer.name for layer in net.layers)
    (drop,) = (layer.name for layer in net.layers if isinstance(layer, Dropout))
    shape = layer_shapes(net)[drop].output
    mask = np.random.default_rng(5).random((len(x), *shape)) < 0.75 if masked else None
    by_hand = two_towers_by_hand if net.towers == 2 else one_tower_by_hand
    expected = by_hand(params, x, mask)
    masks = None if mask is None else {drop: jnp.asarray(mask)}
    values = network.forward(net, None, params, jnp.asarray(x), masks, names)
    assert list(values) == list(names)
    assert_close(values, {name: expected[name] for name in names}, 1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_a_tower_a_device_gives_the_values_of_plain_numpy(masked):
    params, x, names = (
        random_params(TWO_TOWERS),
        images(TWO_TOWERS),
        tuple(layer.name for layer in TWO_TOWERS.layers),
    )
    mask = np.random.default_rng(5).random((len(x), 8)) < 0.75 if masked else None
    mesh = sharding.make_mesh(1, 2, 2, len(x))
    masks = None if mask is None else {"drop5": jnp.asarray(mask)}
    computed = jax.jit(lambda p, x: network.forward(TWO_TOWERS, mesh, p, x, masks, names))(params, x)
    assert_close(computed, two_towers_by_hand(params, x, mask), 1e-5)


def test_values_that_are_asked_for_and_no_others():
    params, x = random_params(TWO_TOWERS), jnp.asarray(images(TWO_TOWERS))
    run = partial(network.forward, TWO_TOWERS, None, params, x)
    assert list(run()) == ["fc6"]
    wanted = ("relu3", "conv1")
    assert set(run(wanted=wanted)) == set(wanted)
    with pytest.raises(UsageError, match="'nonsense' is not a layer of this net; it has conv1, "):
        run(wanted=("nonsense",))


@pytest.mark.parametrize("net", [TWO_TOWERS, ONE_TOWER, paper()], ids=lambda net: net.name)
def test_parameters_stand_in_the_tables_order_with_the_towers_first(net):
    order = []

    def init(key):
        params = AlexNet(net).init(key)["params"]
        order.extend(params)  # JAX sorts the names of what a program gives
        return params

    params = jax.eval_shape(init, jax.random.key(0))
    assert order == [layer.name for layer in net.layers if isinstance(layer, Weighted)]
    for name, leaves in params.items():
        shape = layer_shapes(net)[name]
        assert {part: leaf.shape for part, leaf in leaves.items()} == {
            "kernel": shape.kernel,
            "bias": shape.bias,
        }
        assert {leaf.dtype for leaf in leaves.values()} == {jnp.dtype("float32")}
        assert leaves["kernel"].shape[0] == net.towers


def drawn(kernel, std, fan_in=0):
    """Draw the parameters of one layer alone."""
    module = LayerModule(kernel, (kernel[0], kernel[-1]), std, 0.5, fan_in)
    made = module.init(jax.random.key(0), method="weights")["params"]
    return np.asarray(made["kernel"]), np.asarray(made["bias"])


@pytest.mark.parametrize("std", [0.01, 0.3])
@pytest.mark.parametrize("kernel", [(2, 5, 5, 8, 64), (1, 400, 64)])
def test_initial_values_are_normal_and_biases_constant(kernel, std):
    weights, bias = drawn(kernel, std)
    assert weights.std() == pytest.approx(std, rel=0.02)
    assert abs(weights.mean()) < 0.02 * std
    assert (np.abs(weights) > 2 * std).mean() == pytest.approx(0.0455, abs=0.004)  # of a normal distribution
    assert (bias == 0.5).all()


@pytest.mark.parametrize("kernel", [(2, 5, 5, 8, 64), (1, 400, 64)])
def test_initial_values_without_a_std_are_pytorchs(kernel):
    inputs = np.prod(kernel[1:-1])
    check_uniform(*drawn(kernel, None, inputs), inputs=inputs)


def check_uniform(kernel, bias, inputs):
    bound = inputs**-0.5
    for values in (kernel, bias):
        assert 0.9 * bound < np.abs(values).max() < 1.00001 * bound
        assert values.std() == pytest.approx(bound / 3**0.5, rel=0.15)


def test_a_sum_over_towers_draws_by_the_inputs_of_all():
    rows = (Conv("conv1", 8, 3, None, 0.0, "both"), Dense("fc2", 50, None, 0.0, "sum"))
    net = dataclasses.replace(TWO_TOWERS, layers=rows)
    params = jax.jit(AlexNet(net).init)(jax.random.key(0))["params"]
    assert params["fc2"]["kernel"].shape == (2, 10 * 10 * 4, 50)
    check_uniform(*params["fc2"].values(), inputs=10 * 10 * 8)


def test_a_network_draws_what_its_rows_say():
    rows = (Conv("conv1", 8, 11, 0.1, 0.5, "both"), Dense("fc2", 10, 0.3, 0.0, "sum"))
    net = dataclasses.replace(TWO_TOWERS, layers=rows)
    params = jax.jit(AlexNet(net).init)(jax.random.key(0))["params"]
    for row in rows:
        kernel, bias = (np.asarray(params[row.name][part]) for part in ("kernel", "bias"))
        assert kernel.std() == pytest.approx(row.std, rel=0.2)
        assert (bias == row.bias).all()


def test_the_layers_compute_in_the_dtype_that_is_asked_for():
    net = dataclasses.replace(TWO_TOWERS, compute_dtype="bfloat16")
    params, x = random_params(net), jnp.asarray(images(net))
    names = tuple(layer.name for layer in net.layers)
    values = network.forward(net, None, params, x, None, names)
    assert {value.dtype for value in values.values()} == {jnp.dtype("bfloat16")}
    exact = two_towers_by_hand(params, np.asarray(x), None)
    assert_close(values["fc6"], exact["fc6"], 0.05)


def test_a_profile_shows_the_operations_of_a_layer_under_its_name():
    params, x = random_params(TWO_TOWERS), jnp.asarray(images(TWO_TOWERS))
    run = jax.jit(lambda p, x: network.forward(TWO_TOWERS, None, p, x))
    text = run.lower(params, x).as_text(debug_info=True)
    assert all(f"/{layer.name}/" in text for layer in TWO_TOWERS.layers)


@pytest.mark.parametrize("model", [None, 1, 2], ids=["no mesh", "1x1", "1x2"])
def test_the_net_continues_from_the_values_of_any_layer(model):
    net, (params, x) = TWO_TOWERS, (random_params(TWO_TOWERS), images(TWO_TOWERS))
    mesh = None if model is None else sharding.make_mesh(1, model, 2, len(x))
    names = tuple(layer.name for layer in net.layers)
    whole = jax.jit(lambda p, x: network.forward(net, mesh, p, x, None, names))(params, x)
    for name, after in itertools.pairwise(names):
        above = {row.name for row in network.layers_after(net, name)}
        some = {layer: leaves for layer, leaves in params.items() if layer in above}
        last = jax.jit(lambda p, v, n=name: network.forward(net, mesh, p, v, wanted=(names[-1],), start=n))
        found = last(some, whole[name])[names[-1]]
        np.testing.assert_allclose(found, whole[names[-1]], rtol=1e-5, atol=1e-6, err_msg=f"{name}, {after}")
