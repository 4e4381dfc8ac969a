"""The update rule and the schedules against hand calculation and an independent implementation."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.config import find, schema
from alexnet_jax.errors import UsageError
from alexnet_jax.model import architectures
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.training import optimizer
from alexnet_jax.training.optimizer import LayerRule, LeafRule, PlateauState
from configs import imagenet, imagenet_2012_source, imagenet_large_batch
from tests.model.helpers import paper
from tests.reference import updates as plain


def one_leaf(weight_decay, learning_rates, gradients, weight=1.0):
    """The weight after each update of a net with a single number."""
    rule = LeafRule(1.0, weight_decay)
    tx = optimizer.momentum({"fc": LayerRule(rule, rule)}, 0.9)
    params = {"fc": {"kernel": jnp.asarray(weight)}}
    state = tx.init(params)
    weights = []
    for learning_rate, gradient in zip(learning_rates, gradients, strict=True):
        update, state = tx.update(
            {"fc": {"kernel": jnp.asarray(gradient)}},
            state,
            params,
            learning_rates={"fc": {"kernel": learning_rate}},
        )
        params = {"fc": {"kernel": params["fc"]["kernel"] + update["fc"]["kernel"]}}
        weights.append(float(params["fc"]["kernel"]))
    return weights


def test_three_updates_across_a_drop_of_the_learning_rate_by_hand():
    # v1 = -0.1 * 2 - 0.5 * 0.1 * 1       = -0.25        w1 = 0.75
    # v2 = 0.9 * -0.25 - 0.01 * 2 - 0.005 * 0.75 = -0.24875   w2 = 0.50125
    # v3 = 0.9 * -0.24875 + 0.01 * 1 - 0.005 * 0.50125 = -0.21638125, w3 = 0.28486875
    weights = one_leaf(0.5, [0.1, 0.01, 0.01], [2.0, 2.0, -1.0])
    np.testing.assert_allclose(weights, [0.75, 0.50125, 0.28486875], rtol=1e-6)


def test_a_drop_leaves_the_gathered_velocity_alone():
    # FACTS of the rule: at a steady gradient of 1, the 20 steps after 0.01 -> 0.001 move 0.912.
    weights = one_leaf(0.0, [0.01] * 400 + [0.001] * 20, [1.0] * 420, 0.0)
    assert weights[399] - weights[419] == pytest.approx(0.912, abs=5e-4)


def test_bias_learning_rates_decay_and_frozen_layers_against_the_reference():
    draw = np.random.default_rng(0)
    rules = {
        "conv1": LayerRule(LeafRule(1.0, 0.0005), LeafRule(2.0, 0.0), frozen_from=1.0),
        "fc8": LayerRule(LeafRule(0.5, 0.03), LeafRule(2.0, 0.0)),
    }
    leaves = [(layer, leaf) for layer in rules for leaf in ("kernel", "bias")]
    params = {layer: {leaf: draw.normal(size=3) for leaf in ("kernel", "bias")} for layer in rules}
    expected, velocities = params, plain.zeros(params)
    tx = optimizer.momentum(rules, 0.9)
    ours = {a: {b: jnp.asarray(x, jnp.float32) for b, x in v.items()} for a, v in params.items()}
    state = tx.init(ours)
    config = imagenet.get_config()
    schedule = config.schedule
    schedule.kind, schedule.learning_rate = "constant", 0.1
    for epoch in (0.0, 0.9, 1.0, 2.0):  # conv1 has velocity when it freezes, and would coast on it
        gradients = {layer: {leaf: draw.normal(size=3) for leaf in ("kernel", "bias")} for layer in rules}
        frozen = {leaf for leaf in leaves if leaf[0] == "conv1" and epoch >= 1}
        expected, velocities = plain.update(
            expected,
            velocities,
            gradients,
            {("conv1", "kernel"): 0.1, ("conv1", "bias"): 0.2, ("fc8", "kernel"): 0.05, ("fc8", "bias"): 0.2},
            {("conv1", "kernel"): 0.0005, ("conv1", "bias"): 0, ("fc8", "kernel"): 0.03, ("fc8", "bias"): 0},
            frozen=frozen,
        )
        assert optimizer.frozen_layers(rules, epoch) == {layer for layer, _ in frozen}
        live = {
            a: {b: jnp.asarray(x, jnp.float32) for b, x in v.items()}
            for a, v in gradients.items()
            if a not in optimizer.frozen_layers(rules, epoch)
        }
        learning_rates = optimizer.learning_rates(rules, config, PlateauState(), epoch)
        update, state = tx.update(live, state, {a: ours[a] for a in live}, learning_rates=learning_rates)
        for a, v in update.items():
            ours[a] = {b: ours[a][b] + x for b, x in v.items()}
    for layer, leaf in leaves:
        np.testing.assert_allclose(ours[layer][leaf], expected[layer][leaf], rtol=1e-5)
        np.testing.assert_allclose(state.trace[layer][leaf], velocities[layer][leaf], rtol=1e-5)


def test_rules_come_from_the_config():
    config = imagenet.get_config()
    config.optimizer.bias_rate_factor = 2.0
    config.optimizer.bias_weight_decay = 0.0
    config.optimizer.per_layer = ConfigDict({"fc8": {"kernel_weight_decay": 0.1, "frozen_from": 3.0}})
    rules = optimizer.layer_rules(paper(), config.optimizer, config.schedule)
    assert rules["conv1"] == LayerRule(LeafRule(1.0, 0.0005), LeafRule(2.0, 0.0))
    assert rules["fc8"] == LayerRule(LeafRule(1.0, 0.1), LeafRule(2.0, 0.0), 3.0)
    config.optimizer.per_layer = ConfigDict({"fc9": {"frozen_from": 0.0}})
    with pytest.raises(UsageError, match=r"config.optimizer.per_layer.fc9: .* gives all rows anew"):
        optimizer.layer_rules(paper(), config.optimizer, config.schedule)
    everything = {name: {"frozen_from": 0.0} for name, s in layer_shapes(paper()).items() if s.kernel}
    config.optimizer.per_layer = ConfigDict(everything)
    with pytest.raises(UsageError, match="nothing is left to train"):
        optimizer.layer_rules(paper(), config.optimizer, config.schedule)


def test_the_2012_source_trains_by_its_log():
    config = imagenet_2012_source.get_config()
    schema.check(config)
    architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    (off, on), (off_again, end) = config.data.lighting_off
    assert end >= config.train.epochs == 135
    for epoch in (0, 24.9, 25, 50.9, 51, 66.9, 67, 71.9, 72, 78.9, 79, 90.9, 91, 106.9, 107, 123.9, 124, 134):
        expected = plain.source_2012(epoch)
        learning_rates = optimizer.learning_rates(rules, config, PlateauState(), epoch)
        frozen = optimizer.frozen_layers(rules, epoch)
        assert frozen == ({"conv1"} if expected.conv1_frozen else set())
        for layer, of_layer in learning_rates.items():
            if layer not in frozen:
                kernel = expected.conv1_kernel if layer == "conv1" else expected.kernel
                assert of_layer == {"kernel": pytest.approx(kernel, rel=1e-12), "bias": expected.bias}
        assert (not (off <= epoch < on or off_again <= epoch)) == expected.lighting
    assert {rule.kernel.weight_decay for rule in rules.values()} == {0.0005}
    assert {rule.bias.weight_decay for rule in rules.values()} == {0.0}


# By hand, from what each config says: {layer: (rate of its kernel, of its bias)} after some divisions.
SHIPPED = [
    ("imagenet", 3.0, 0, {"conv1": (0.01, 0.01), "fc8": (0.01, 0.01)}),
    ("imagenet", 60.0, 2, {"conv1": (0.0001, 0.0001), "fc8": (0.0001, 0.0001)}),
    ("imagenet_2012_source", 0.0, 0, {"conv1": (0.01, 0.02), "fc8": (0.01, 0.02)}),
    ("imagenet_2012_source", 68.0, 0, {"conv1": (0.00001, 0.02), "fc8": (0.0001, 0.02)}),
    ("imagenet_2012_source", 100.0, 0, {"conv2": (0.001, 0.02), "fc8": (0.001, 0.02)}),
    ("imagenet_caffe", 30.0, 0, {"conv1": (0.001, 0.002), "fc8": (0.001, 0.002)}),
    ("imagenet_torchvision", 60.0, 0, {"conv1": (0.0001, 0.0001), "fc8": (0.0001, 0.0001)}),
    ("imagenet_large_batch", 2.5, 0, {"conv1": (4.753125, 4.753125), "fc8": (4.753125, 4.753125)}),
    ("cifar10", 8.9, 0, {"conv1": (0.001, 0.002), "fc4": (0.001, 0.002)}),
    ("cifar10", 9.0, 0, {"conv1": (0.0001, 0.0002), "fc4": (0.0001, 0.0002)}),
    ("cifar10_large_batch", 0.5, 0, {"conv1": (5.9, 7.8666666667), "local3": (1.18, 7.8666666667)}),
    ("cifar10_large_batch", 15.0, 0, {"conv1": (6.0, 8.0), "local4": (1.2, 8.0), "fc5": (4.0, 8.0)}),
    ("mnist", 9.0, 0, {"fc1": (0.5, 0.5), "fc2": (0.5, 0.5)}),
    ("digits", 24.0, 0, {"conv1": (0.001, 0.001), "fc8": (0.001, 0.001)}),
]


def rates(config, epoch, divisions=0):
    schema.check(config)
    architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    found = optimizer.learning_rates(rules, config, PlateauState(divisions), epoch)
    return {layer: (row["kernel"], row["bias"]) for layer, row in found.items()}


@pytest.mark.parametrize(("name", "epoch", "divisions", "expected"), SHIPPED)
def test_the_rates_of_the_configs_that_come_along(name, epoch, divisions, expected):
    found = rates(find.load_file(name), epoch, divisions)
    for layer, of_layer in expected.items():
        assert found[layer] == pytest.approx(of_layer, rel=1e-9), layer


@pytest.mark.parametrize(
    ("changes", "epoch", "expected"),
    [
        # 1,024 images a step for 128: all rates are 8 times those of the source.
        (
            {"data.batch_size": 1024, "schedule.batch_scaling": "linear"},
            68.0,
            {"conv1": (0.00008, 0.16), "conv2": (0.0008, 0.16)},
        ),
        ({"schedule.warmup_epochs": 5.0}, 0.0, {"conv1": (0.0, 0.0)}),
        ({"schedule.warmup_epochs": 5.0}, 2.0, {"conv1": (0.004, 0.008)}),
        ({"schedule.warmup_epochs": 80.0}, 68.0, {"conv1": (0.0000085, 0.017), "fc8": (0.000085, 0.017)}),
        (
            {"optimizer.per_layer.fc6": {"kernel_rate_factor": 0.0, "bias_rate_factor": 0.0}},
            68.0,
            {"fc6": (0.0, 0.0), "fc7": (0.0001, 0.02)},
        ),
        (
            {"optimizer.per_layer.conv1": {"kernel_steps": ((67, 1e-5),), "kernel_rate_factor": 0.5}},
            68.0,
            {"conv1": (0.000005, 0.02)},
        ),
        # Beside a rate that falls to 0 at epoch 135, the pairs are what they say.
        (
            {"schedule.kind": "polynomial", "schedule.steps": ()},
            67.5,
            {"conv1": (1e-5, 0.02), "fc8": (0.0025, 0.02)},
        ),
    ],
    ids=str,
)
def test_rates_by_epochs_are_scaled_as_the_schedule_s_are(changes, epoch, expected):
    """The 2012 source's, whose biases have pairs of their own, and from epoch 67 on conv1's kernel."""
    config = imagenet_2012_source.get_config()
    for key, value in changes.items():
        *sections, leaf = key.split(".")
        part = config
        for section in sections:
            part = part[section]
        part[leaf] = ConfigDict(value) if isinstance(value, dict) else value
    found = rates(config, epoch)
    for layer, of_layer in expected.items():
        assert found[layer] == pytest.approx(of_layer, rel=1e-9), layer


def test_steps():
    config = imagenet.get_config()
    schedule = config.schedule
    schedule.kind, schedule.steps = "steps", ((25, 0.001), (51, 0.0001))
    learning_rates = [
        optimizer.learning_rate(config, PlateauState(), epoch) for epoch in (0, 24.99, 25, 50.9, 51, 90)
    ]
    assert learning_rates == [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]


@pytest.mark.parametrize("seed", range(8))
def test_plateau_against_the_reference(seed):
    config = imagenet.get_config()
    schedule = config.schedule
    draw = np.random.default_rng(seed)
    errors = list(0.4 + 0.5 * 0.7 ** np.arange(60) + draw.normal(0, 0.003, 60))
    expected, lasted = plain.plateau(errors)
    plateau, learning_rates = PlateauState(), []
    for epoch, error in enumerate(errors):
        learning_rates.append(optimizer.learning_rate(config, plateau, epoch))
        plateau = optimizer.update_plateau(schedule, plateau, epoch + 1.0, error, 128 / 1_281_167)
        if plateau.finished:
            break
    assert plateau.finished == (lasted is not None)
    np.testing.assert_allclose(learning_rates, expected[: len(learning_rates)], rtol=1e-12)
    if lasted is not None:
        assert len(learning_rates) == lasted


def test_plateau_by_hand():
    schedule = imagenet.get_config().schedule
    schedule.patience, schedule.divisions = 2, 1
    memory, seen = PlateauState(), []
    for epoch, error in enumerate([0.5, 0.4, 0.3995, 0.3995, 0.39, 0.39, 0.39], start=1):
        memory = optimizer.update_plateau(schedule, memory, float(epoch), error, 1e-4)
        seen.append((memory.num_decays, memory.finished))
    # 0.3995 is no fall of 0.001; two epochs after 0.4 it is divided; two epochs after 0.39 it ends
    assert seen == [(0, False), (0, False), (0, False), (1, False), (1, False), (1, False), (1, True)]
    assert PlateauState.from_json(memory.to_json()) == memory


@pytest.mark.parametrize(("steps", "divided"), [(0, 3), (20, 3), (21, 4), (30, 4), (31, 5)])
def test_the_patience_is_of_epochs_and_of_steps(steps, divided):
    """Epochs of ten steps, and a patience of two of them: after the first the error stays."""
    schedule = imagenet.get_config().schedule
    schedule.patience, schedule.patience_steps = 2, steps
    memory, epoch = PlateauState(), 0
    while not memory.num_decays:
        epoch += 1
        memory = optimizer.update_plateau(schedule, memory, float(epoch), 0.5, 0.1)
    assert epoch == divided


def test_nothing_is_counted_before_the_loss_has_left():
    schedule = imagenet.get_config().schedule
    schedule.patience, schedule.patience_steps, schedule.divisions = 2, 0, 0
    flat = PlateauState(flat_loss=0.69)
    for epoch in range(1, 50):
        assert optimizer.update_plateau(schedule, flat, float(epoch), 0.5, 0.1) == flat
    # One batch of 0 in 100 does not count; by hand: 0.69 - 0.69 / 100 is above 0.98 ln(2) = 0.6793
    flat = optimizer.follow_loss(flat, [0.0], 500, 2)
    assert flat.flat_loss == pytest.approx(0.6831)
    left = optimizer.follow_loss(flat, [0.0], 501, 2)
    assert left == PlateauState()
    assert optimizer.follow_loss(left, [9.0], 502, 2) == left  # once and for all
    seen = []
    for epoch in (50, 51, 52):
        left = optimizer.update_plateau(schedule, left, float(epoch), 0.5, 0.1)
        seen.append(left.finished)
    assert seen == [False, False, True]  # the patience begins with the first evaluation after it


def test_the_first_losses_weigh_as_a_mean_with_ten_at_guessing():
    """At 10 % below ln(1000), the mean of n such and ten of ln(1000) is 2 % below from n = 2.5 on."""
    start, low = PlateauState(flat_loss=math.log(1000)), 0.9 * math.log(1000)
    two = optimizer.follow_loss(start, [low, low], 2, 1000)
    assert two.flat_loss == pytest.approx((2 * low + 10 * math.log(1000)) / 12, rel=1e-12)
    assert optimizer.follow_loss(start, [low] * 3, 3, 1000).flat_loss is None


def test_one_bad_step_is_soon_forgotten():
    """By hand: 1.01 ln(2) after it; at half of ln(2) the loss has left where 0.51 * 0.99^n is below 0.48."""
    bad = optimizer.follow_loss(PlateauState(flat_loss=math.log(2)), [1e9], 500, 2)
    assert bad.flat_loss == pytest.approx(1.01 * math.log(2))
    for steps, left in ((6, False), (7, True)):
        after = optimizer.follow_loss(bad, [0.5 * math.log(2)] * steps, 500 + steps, 2)
        assert (after.flat_loss is None) == left


def test_where_a_run_stops_changes_no_bit_of_the_average():
    losses = np.random.default_rng(0).normal(0.75, 0.1, 300).astype(np.float32).tolist()
    whole = optimizer.follow_loss(PlateauState(flat_loss=math.log(2)), losses, 300, 2)
    assert whole.flat_loss is not None
    parts, end = PlateauState(flat_loss=math.log(2)), 0
    for length in (1, 5, 94, 200):
        parts = optimizer.follow_loss(parts, losses[end : end + length], end + length, 2)
        parts = PlateauState.from_json(json.loads(json.dumps(parts.to_json())))
        end += length
    assert parts == whole


def test_a_state_of_before_counts_as_it_did():
    """Earlier versions saved no loss, and did not wait for it."""
    old = {"divisions": 1, "best": 0.5, "since": 3.0, "ended": False}
    assert PlateauState.from_json(old) == PlateauState(1, 0.5, 3.0, False, None)
    assert PlateauState.from_json(old).to_json() == old


def test_lars_against_an_independent_calculation():
    """Each layer's update in numpy: v <- 0.9 v - e c |w| / |g + d w| (g + d w) for a kernel of two towers;
    conv1, the biases and a kernel of zeros with c alone.
    """
    draw = np.random.default_rng(0)
    shape = {
        "conv1": ((2, 11, 11, 3, 4), (2, 4)),
        "conv2": ((2, 5, 5, 3, 4), (2, 4)),
        "fc8": ((2, 6, 10), (10,)),
        "linear": ((1, 6, 10), (10,)),
    }
    rules = {
        "linear": LayerRule(LeafRule(1.0, 0.0005), LeafRule(1.0, 0.0)),
        "conv1": LayerRule(LeafRule(2.0, 0.004), LeafRule(1.0, 0.0), trust_ratio=False),
        "conv2": LayerRule(LeafRule(1.0, 0.0005), LeafRule(2.0, 0.0)),
        "fc8": LayerRule(LeafRule(0.5, 0.03), LeafRule(1.0, 0.0)),
    }
    config = imagenet.get_config()
    config.optimizer.name = "lars"
    config.schedule.kind, config.schedule.learning_rate = "constant", 3.0
    config.schedule.batch_scaling, config.data.batch_size = "linear", 256
    tx = optimizer.update_rule(rules, config.optimizer)

    def drawn():
        return {
            name: {"kernel": draw.normal(size=kernel), "bias": draw.normal(size=bias)}
            for name, (kernel, bias) in shape.items()
        }

    weights = drawn()
    weights["linear"]["kernel"][:] = 0
    velocity = {name: {"kernel": 0.0, "bias": 0.0} for name in shape}
    ours = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), weights)
    state = tx.init(ours)
    for _ in range(3):
        gradients = drawn()
        learning_rates = optimizer.learning_rates(rules, config, PlateauState(), 1.0)
        live = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), gradients)
        update, state = tx.update(live, state, ours, learning_rates=learning_rates)
        ours = jax.tree.map(jnp.add, ours, update)
        for name, decay, kernel_rate, bias_rate in (
            ("conv1", 0.004, 12.0, 6.0),
            ("conv2", 0.0005, 6.0, 12.0),
            ("fc8", 0.03, 3.0, 6.0),
            ("linear", 0.0005, 6.0, 6.0),
        ):
            w, g = weights[name]["kernel"], gradients[name]["kernel"]
            inside = g + decay * w
            apart = name == "conv1" or not w.any()
            ratio = 1 if apart else np.sqrt((w**2).sum()) / np.sqrt((inside**2).sum())
            local = 0.001 * ratio
            velocity[name]["kernel"] = 0.9 * velocity[name]["kernel"] - kernel_rate * local * inside
            velocity[name]["bias"] = (
                0.9 * velocity[name]["bias"] - bias_rate * 0.001 * gradients[name]["bias"]
            )
            for leaf in ("kernel", "bias"):
                weights[name][leaf] = weights[name][leaf] + velocity[name][leaf]
                np.testing.assert_allclose(update[name][leaf], velocity[name][leaf], rtol=2e-5, atol=1e-8)


def test_warm_up_batch_scaling_and_the_polynomial_by_hand():
    config = imagenet_large_batch.get_config()
    schema.check(config)
    learning_rates = [
        optimizer.learning_rate(config, PlateauState(), epoch) for epoch in (0, 2.5, 5, 50, 100, 101)
    ]
    # 10 at 8,192; half of it at half of the 5 epochs; (1 - epoch / 100) squared
    expected = [0, 0.5 * 10 * 0.975**2, 10 * 0.95**2, 2.5, 0, 0]
    np.testing.assert_allclose(learning_rates, expected, rtol=1e-12)
    config.data.batch_size = 32768
    assert optimizer.learning_rate(config, PlateauState(), 50) == pytest.approx(10.0)
    config.schedule.batch_scaling = "square_root"
    assert optimizer.learning_rate(config, PlateauState(), 50) == pytest.approx(5.0)
    config.schedule.kind, config.schedule.steps = "steps", ((20.0, 1.0),)
    assert optimizer.learning_rate(config, PlateauState(), 50) == pytest.approx(2.0)
