"""Towers on devices: the same numbers on every mesh, and the paper's exchanges alone."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import metrics
from alexnet_jax.model import architectures, network, sharding
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.training import step
from configs import cifar10
from tests.model.helpers import (
    TABLES,
    assert_close,
    batch,
    learning_rates,
    paper,
    program,
    random_params,
    table,
)

MESHES = [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1)]


@functools.cache
def drawn():
    """Parameters on the host, drawn once: compiling the draw takes longer than the steps."""
    return jax.device_get(network.init_params(paper(), 3, sharding.make_mesh(1, 1, 2, 8)))


def steps(architecture, params, data, model, count):
    """Losses and the update of each parameter at each of `count` steps, with dropout and augmentation."""
    dtype, crop = architecture.compute_dtype, architecture.crop
    made = program(architecture, data, model)
    state = step.init_state(made, jax.tree.map(lambda x: x.astype(dtype), params))
    update = step.compiled_train_step(made, state)
    mean = np.full((crop, crop, architecture.channels), 120, np.float32)
    losses, updates = [], []
    before = jax.device_get(state.params)
    for number in range(count):
        one = sharding.to_device(batch(architecture, 8, seed=number), made.mesh)
        state, sums = update(state, one, mean, learning_rates(architecture, np.asarray(0.01, dtype)))
        after = jax.device_get(state.params)
        losses.append(metrics.average([sums]).loss)
        # The velocity is the update itself, exactly; a difference of float32 parameters would round.
        updates.append(jax.device_get(state.opt_state.trace))
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max() > 0, after, before)
        assert all(jax.tree.leaves(moved))
        before = jax.tree.map(np.array, after)
    return losses, updates


@pytest.fixture(scope="module")
def single_precision():
    return {mesh: steps(paper(), drawn(), *mesh, 5) for mesh in MESHES}


@pytest.mark.parametrize("mesh", MESHES[1:])
def test_five_steps_are_the_same_on_every_mesh(single_precision, mesh):
    losses, updates = single_precision[mesh]
    expected_losses, expected_updates = single_precision[1, 1]
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for number, (ours, expected) in enumerate(zip(updates, expected_updates, strict=True)):
        assert_close(ours, expected, 1e-5, f"step {number}: ")


def assert_same_in_64_bits(architecture, params, meshes, count):
    with jax.enable_x64(True):
        expected_losses, expected_updates = steps(architecture, params, 1, 1, count)
        for mesh in meshes:
            losses, updates = steps(architecture, params, *mesh, count)  # type: ignore[call-arg]
            np.testing.assert_allclose(losses, expected_losses, rtol=1e-9)
            for number, (ours, expected) in enumerate(zip(updates, expected_updates, strict=True)):
                assert_close(ours, expected, 1e-9, f"mesh {mesh}, step {number}: ")


def test_twenty_steps_in_64_bits():
    """The replicas at most and both axes; all meshes take five steps above, 1x2 two of a table below."""
    assert_same_in_64_bits(paper(compute_dtype="float64"), drawn(), [(4, 1), (2, 2)], 20)


TWO_TOWERS = {name: table(name, compute_dtype="float64") for name in TABLES if table(name).towers == 2}
TWO_TOWERS |= {
    "meeting at conv4": paper(communicate_at=("conv4", "fc6", "fc7"), compute_dtype="float64"),
    "apart": paper(communicate_at=(), compute_dtype="float64"),
    "without conv3": paper(without=("conv3",), compute_dtype="float64"),
}


@pytest.mark.parametrize("name", TWO_TOWERS)
def test_every_two_tower_table_is_the_same_on_both_axes(name):
    architecture = TWO_TOWERS[name]
    meshes = [(1, 2), (2, 2)] if name == "caffe" else [(2, 2)]  # which has both axes
    assert_same_in_64_bits(architecture, random_params(architecture), meshes, 2)


def test_shards_lie_where_the_specs_say():
    architecture = paper()
    made = program(architecture, 2, 2)
    state = step.init_state(made, drawn())
    for name, leaves in state.params.items():
        for leaf, value in leaves.items():
            shared = name == "fc8" and leaf == "bias"
            whole = np.asarray(value)
            for shard in value.addressable_shards:
                _, tower = np.argwhere(made.mesh.devices == shard.device)[0]
                expected = whole if shared else whole[tower : tower + 1]
                np.testing.assert_array_equal(shard.data, expected)
    images = sharding.to_device(batch(architecture, 8), made.mesh)["image"]
    for shard in images.addressable_shards:
        replica, _ = np.argwhere(made.mesh.devices == shard.device)[0]
        assert shard.index[0] == slice(4 * replica, 4 * replica + 4)


def collectives(architecture, mesh, params, x):
    """(kind, elements that each device gives) of each exchange in the compiled forward program, in order."""
    run = jax.jit(lambda p, x: network.forward(architecture, mesh, p, x))
    text = run.lower(params, x).compile().as_text()
    pattern = (
        r"= (?:\()?\w+\[([\d,]*)\][^=]*? (all-gather|all-reduce|reduce-scatter|collective-permute|all-to-all)"
    )
    exchanges = []
    for shape, kind in re.findall(pattern + r"(?:-start)?\(", text):
        elements = int(np.prod([int(n) for n in shape.split(",") if n]))
        exchanges.append((kind, elements // 2 if kind == "all-gather" else elements))
    return exchanges


def test_the_compiled_program_holds_the_papers_four_exchanges_and_no_other():
    architecture = paper(width=1.0, crop=224, classes=1000)
    mesh = sharding.make_mesh(1, 2, 2, 2)
    params = jax.eval_shape(lambda: network.init_params(architecture, 0, mesh))
    x = jnp.zeros((2, 224, 224, 3))
    # a tower's part of what enters conv3, fc6 and fc7, and the logits
    expected = [2 * 13 * 13 * 128, 2 * 6 * 6 * 128, 2 * 2048, 2 * 1000]
    exchanges = collectives(architecture, mesh, params, x)
    assert [kind for kind, _ in exchanges] == ["all-gather"] * 3 + ["all-reduce"]
    assert [elements for _, elements in exchanges] == expected


def test_a_net_that_never_communicates_exchanges_only_its_logits():
    architecture = paper(communicate_at=())
    mesh = sharding.make_mesh(1, 2, 2, 2)
    params = {
        name: {"kernel": jnp.zeros(shape.kernel), "bias": jnp.zeros(shape.bias)}
        for name, shape in layer_shapes(architecture).items()
        if shape.kernel
    }
    exchanges = collectives(architecture, mesh, params, jnp.zeros((2, 64, 64, 3)))
    assert [kind for kind, _ in exchanges] == ["all-reduce"]


def test_gathered_activations_stand_in_tower_order():
    architecture = paper()
    x = np.random.default_rng(0).normal(0, 50, (2, 64, 64, 3)).astype(np.float32)
    names = ("conv1", "pool5", "fc7", "fc8")
    values = []
    for model in (1, 2):
        mesh = sharding.make_mesh(1, model, 2, 2)
        run = jax.jit(lambda p, x, m=mesh: network.forward(architecture, m, p, x, None, names))
        values.append(run(drawn(), x))
    assert_close(values[1], values[0], 1e-5)
    assert values[0]["conv1"].shape == (2, 15, 15, 12)


def test_dropout_masks_do_not_depend_on_the_mesh():
    architecture = paper()
    masks = []
    for data, model in MESHES:
        mesh = sharding.make_mesh(data, model, 2, 8)
        draw = jax.jit(lambda key, m=mesh: sharding.dropout_masks(architecture, key, 8, m))
        masks.append(jax.device_get(draw(jax.random.key(5))))
    for other in masks[1:]:
        for name in ("drop6", "drop7"):
            np.testing.assert_array_equal(other[name], masks[0][name])
    assert 0.45 < masks[0]["drop6"].mean() < 0.55
    for number, name in ((17, "drop6"), (20, "drop7")):  # the row of each in the table, counted from 0
        key = jax.random.fold_in(jax.random.key(5), number)
        np.testing.assert_array_equal(masks[0][name], jax.random.bernoulli(key, 0.5, (8, 512)))
    assert (masks[0]["drop6"] != masks[0]["drop7"]).any()


def test_parameters_do_not_depend_on_the_mesh():
    params = network.init_params(paper(), 3, sharding.make_mesh(2, 2, 2, 8))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(params), drawn())
    kernel = drawn()["fc7"]["kernel"]
    assert abs(kernel.std() / (0.01 / 0.125**0.5) - 1) < 0.01
    assert (drawn()["fc7"]["bias"] == 1).all()
    assert (drawn()["conv3"]["bias"] == 0).all()


def test_specs_and_meshes():
    specs = sharding.param_specs(paper())
    assert specs["conv1"] == {"kernel": P("model"), "bias": P("model")}
    assert specs["fc8"] == {"kernel": P("model"), "bias": P()}
    assert dict(sharding.make_mesh(0, 0, 2, 8).shape) == {"data": 2, "model": 2}
    assert dict(sharding.make_mesh(0, 0, 1, 8).shape) == {"data": 4, "model": 1}
    assert dict(sharding.make_mesh(0, 0, 1, 7).shape) == {"data": 1, "model": 1}
    with pytest.raises(UsageError, match="4 x 2 = 8 devices and there are 4"):
        sharding.make_mesh(4, 2, 2, 8)
    with pytest.raises(UsageError, match=r"7 images does not divide over config.mesh.data=2"):
        sharding.make_mesh(2, 1, 2, 7)
    with pytest.raises(UsageError, match="1 tower"):
        sharding.make_mesh(1, 2, 1, 8)


@pytest.mark.parametrize("mesh", [(1, 1), (2, 2)])
def test_a_batch_in_parts_is_the_whole_batch(mesh):
    """Four parts, two devices on each axis: dropout, loss and update are those of one part, in 64 bits."""
    architecture = paper(compute_dtype="float64")
    with jax.enable_x64(True):
        results = []
        for parts in (1, 4):
            made = dataclasses.replace(program(architecture, *mesh), accumulate_steps=parts)
            state = step.init_state(made, jax.tree.map(lambda x: x.astype("float64"), drawn()))
            update = step.compiled_train_step(made, state)
            mean = np.full((64, 64, 3), 120, np.float32)
            for number in range(2):
                one = sharding.to_device(batch(architecture, 16, seed=number), made.mesh)
                state, sums = update(state, one, mean, learning_rates(architecture, np.asarray(0.01)))
            results.append((jax.device_get(state.opt_state.trace), metrics.average([sums])))
        assert_close(results[1][0], results[0][0], 1e-9)
        assert results[1][1].count == 16
        assert results[1][1].loss == pytest.approx(results[0][1].loss, rel=1e-9)


def test_convolutions_of_small_images_are_not_ynnpacks():
    model = cifar10.get_config().model
    net, large = (architectures.build(model, crop, 3) for crop in (32, 224))
    mesh = sharding.make_mesh(1, 1, net.towers, 8)
    params = network.init_params(net, 0, mesh)
    options = sharding.compiler_options(net, mesh)
    forward = jax.jit(lambda params, x: network.forward(net, mesh, params, x), compiler_options=options)
    text = forward.lower(params, jnp.zeros((8, 32, 32, 3))).compile().as_text()
    fused = [line for line in text.splitlines() if "ynn_fusion" in line and " fusion(" in line]
    assert " convolution(" in text
    assert not any("conv_general_dilated" in line for line in fused)
    assert sharding.compiler_options(large, mesh) is None


def test_rows_of_a_batch_lie_over_the_data_axis():
    mesh = sharding.make_mesh(2, 2, 2, 8)
    assert sharding.rows_here(mesh, 8) == (0, 8)  # one process holds all devices
    host = {"label": np.arange(8, dtype=np.int32), "image": np.zeros((8, 3, 3, 1), np.uint8)}
    on_devices = sharding.to_device(host, mesh)
    assert jax.tree.map(lambda x: x.sharding.spec, on_devices) == {"label": P("data"), "image": P("data")}
    assert on_devices["image"].dtype == np.uint8
    for shard in on_devices["label"].addressable_shards:
        replica, _ = np.argwhere(mesh.devices == shard.device)[0]
        np.testing.assert_array_equal(shard.data, np.arange(4 * replica, 4 * replica + 4))


@pytest.mark.parametrize(("data", "size", "padded"), [(1, 7, 7), (2, 7, 8), (4, 8, 8), (4, 1, 4)])
def test_a_batch_is_padded_to_divide_over_the_replicas(data, size, padded):
    assert sharding.padded_batch_size(size, sharding.make_mesh(data, 1, 1, data)) == padded


def test_programs_run_in_turn_on_simulated_devices_alone():
    assert not sharding.must_run_in_turn(sharding.make_mesh(1, 1, 1, 1))
    assert sharding.must_run_in_turn(sharding.make_mesh(1, 2, 2, 1))
    assert sharding.must_run_in_turn(sharding.make_mesh(2, 1, 1, 2))


@pytest.mark.parametrize(
    "net", [paper(), table("cifar10_13"), table("torchvision")], ids=lambda net: net.name
)
def test_abstract_parameters_are_those_that_are_drawn(net):
    mesh = sharding.make_mesh(2, net.towers, net.towers, 2)
    abstract = network.abstract_params(net, mesh)
    drawn = network.init_params(net, 0, mesh)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), abstract) == jax.tree.map(
        lambda x: (x.shape, x.dtype), drawn
    )
    assert all(
        jax.tree.leaves(
            jax.tree.map(lambda a, b: a.sharding.is_equivalent_to(b.sharding, b.ndim), abstract, drawn)
        )
    )


def test_an_abstract_state_is_like_its_arrays():
    mesh = sharding.make_mesh(1, 2, 2, 1)
    tree = {"step": np.int32(3), "trace": [np.zeros((2, 5), np.float32)]}
    shardings = {"step": sharding.replicated(mesh), "trace": [sharding.batch_sharding(mesh)]}
    abstract = sharding.abstract_like(tree, shardings)
    assert (abstract["step"].shape, abstract["step"].dtype) == ((), np.int32)
    assert (abstract["trace"][0].shape, abstract["trace"][0].dtype) == ((2, 5), np.float32)
    assert abstract["trace"][0].sharding == shardings["trace"][0]
