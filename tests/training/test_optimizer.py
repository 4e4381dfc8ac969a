"""The update rule and the schedules against hand calculation and an independent form."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError
from alexnet_jax.training import optimizer
from alexnet_jax.training.optimizer import LeafRule, Memory
from configs import imagenet
from tests.model.helpers import paper
from tests.reference import updates as plain


def one_leaf(rule, rates, gradients, weight=1.0):
    """The weight after each update of a net with a single number."""
    tx = optimizer.momentum({"fc": {"kernel": rule}}, 0.9)
    params = {"fc": {"kernel": jnp.asarray(weight)}}
    state = tx.init(params)
    found = []
    for rate, gradient in zip(rates, gradients, strict=True):
        update, state = tx.update(
            {"fc": {"kernel": jnp.asarray(gradient)}}, state, params, learning_rate=rate
        )
        params = {"fc": {"kernel": params["fc"]["kernel"] + update["fc"]["kernel"]}}
        found.append(float(params["fc"]["kernel"]))
    return found


def test_three_updates_across_a_drop_of_the_rate_by_hand():
    # v1 = -0.1 * 2 - 0.5 * 0.1 * 1       = -0.25        w1 = 0.75
    # v2 = 0.9 * -0.25 - 0.01 * 2 - 0.005 * 0.75 = -0.24875   w2 = 0.50125
    # v3 = 0.9 * -0.24875 + 0.01 * 1 - 0.005 * 0.50125 = -0.21638125, w3 = 0.28486875
    found = one_leaf(LeafRule(1.0, 0.5, False), [0.1, 0.01, 0.01], [2.0, 2.0, -1.0])
    np.testing.assert_allclose(found, [0.75, 0.50125, 0.28486875], rtol=1e-6)


def test_a_drop_leaves_the_gathered_velocity_alone():
    # FACTS of the rule: at a steady gradient of 1, the 20 steps after 0.01 -> 0.001 move 0.912.
    found = one_leaf(LeafRule(1.0, 0.0, False), [0.01] * 400 + [0.001] * 20, [1.0] * 420, 0.0)
    assert found[399] - found[419] == pytest.approx(0.912, abs=5e-4)


def test_bias_rates_decay_and_frozen_layers_against_an_independent_form():
    draw = np.random.default_rng(0)
    rules = {
        "conv1": {"kernel": LeafRule(1.0, 0.0005, True), "bias": LeafRule(2.0, 0.0, True)},
        "fc8": {"kernel": LeafRule(0.5, 0.03, False), "bias": LeafRule(2.0, 0.0, False)},
    }
    params = {layer: {leaf: draw.normal(size=3) for leaf in leaves} for layer, leaves in rules.items()}
    leaves = [(layer, leaf) for layer in rules for leaf in rules[layer]]
    frozen = tuple(place for place in leaves if rules[place[0]][place[1]].frozen)
    expected, velocities = params, plain.zeros(params)
    tx = optimizer.momentum(rules, 0.9)
    ours = {a: {b: jnp.asarray(x, jnp.float32) for b, x in v.items()} for a, v in params.items()}
    state = tx.init(ours)
    for rate in (0.1, 0.1, 0.01):
        gradients = {layer: {leaf: draw.normal(size=3) for leaf in rules[layer]} for layer in rules}
        expected, velocities = plain.update(
            expected,
            velocities,
            gradients,
            {(a, b): rate * rules[a][b].rate_factor for a, b in leaves},
            {(a, b): rules[a][b].weight_decay for a, b in leaves},
            frozen=frozen,
        )
        update, state = tx.update(
            {a: {b: jnp.asarray(x, jnp.float32) for b, x in v.items()} for a, v in gradients.items()},
            state,
            ours,
            learning_rate=rate,
        )
        ours = {a: {b: x + update[a][b] for b, x in v.items()} for a, v in ours.items()}
    for layer, leaf in leaves:
        np.testing.assert_allclose(ours[layer][leaf], expected[layer][leaf], rtol=1e-5)
    assert (
        np.asarray(ours["conv1"]["kernel"], np.float32) == params["conv1"]["kernel"].astype(np.float32)
    ).all()


def test_rules_come_from_the_config():
    config = imagenet.get_config()
    config.optimizer.bias_rate_factor = 2.0
    config.optimizer.bias_weight_decay = 0.0
    config.optimizer.per_layer = ConfigDict({"fc8": {"kernel_weight_decay": 0.1, "frozen": True}})
    rules = optimizer.leaf_rules(paper(), config.optimizer)
    assert rules["conv1"] == {"kernel": LeafRule(1.0, 0.0005, False), "bias": LeafRule(2.0, 0.0, False)}
    assert rules["fc8"] == {"kernel": LeafRule(1.0, 0.1, True), "bias": LeafRule(2.0, 0.0, True)}
    config.optimizer.per_layer = ConfigDict({"fc9": {"frozen": True}})
    with pytest.raises(UsageError, match=r"config.optimizer.per_layer.fc9"):
        optimizer.leaf_rules(paper(), config.optimizer)


def test_steps():
    schedule = imagenet.get_config().schedule
    schedule.kind, schedule.steps = "steps", ((25, 0.001), (51, 0.0001))
    rates = [optimizer.learning_rate(schedule, Memory(), epoch) for epoch in (0, 24.99, 25, 50.9, 51, 90)]
    assert rates == [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]


@pytest.mark.parametrize("seed", range(8))
def test_plateau_against_an_independent_form(seed):
    schedule = imagenet.get_config().schedule
    draw = np.random.default_rng(seed)
    errors = list(0.4 + 0.5 * 0.7 ** np.arange(60) + draw.normal(0, 0.003, 60))
    expected, lasted = plain.plateau(errors)
    memory, rates = Memory(), []
    for epoch, error in enumerate(errors):
        rates.append(optimizer.learning_rate(schedule, memory, epoch))
        memory = optimizer.remember(schedule, memory, epoch + 1.0, error)
        if memory.ended:
            break
    assert memory.ended == (lasted is not None)
    np.testing.assert_allclose(rates, expected[: len(rates)], rtol=1e-12)
    if lasted is not None:
        assert len(rates) == lasted


def test_plateau_by_hand():
    schedule = imagenet.get_config().schedule
    schedule.patience, schedule.divisions = 2, 1
    memory, seen = Memory(), []
    for epoch, error in enumerate([0.5, 0.4, 0.3995, 0.3995, 0.39, 0.39, 0.39], start=1):
        memory = optimizer.remember(schedule, memory, float(epoch), error)
        seen.append((memory.divisions, memory.ended))
    # 0.3995 is no fall of 0.001; two epochs after 0.4 the rate is divided; two epochs after 0.39 it ends
    assert seen == [(0, False), (0, False), (0, False), (1, False), (1, False), (1, False), (1, True)]
    assert Memory(**memory.to_json()) == memory
