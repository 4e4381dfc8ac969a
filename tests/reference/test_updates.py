"""The update rule and the schedules against values worked out by hand."""

import numpy as np
import pytest

from tests.reference import updates


def test_three_updates_by_hand_across_a_drop():
    """w = 1, g = 2 each time, momentum 0.9, decay 0.1; learning rates 0.1, 0.1, 0.01.

    v1 = -0.1*0.1*1 - 0.1*2 = -0.21, w1 = 0.79
    v2 = 0.9*-0.21 - 0.1*0.1*0.79 - 0.1*2 = -0.3969, w2 = 0.3931
    v3 = 0.9*-0.3969 - 0.1*0.01*0.3931 - 0.01*2 = -0.3776031, w3 = 0.0154969
    """
    w, v = {"fc": {"kernel": np.array([1.0])}}, {"fc": {"kernel": np.array([0.0])}}
    seen = []
    for learning_rate in (0.1, 0.1, 0.01):
        leaf = ("fc", "kernel")
        w, v = updates.update(w, v, {"fc": {"kernel": [2.0]}}, {leaf: learning_rate}, {leaf: 0.1})
        seen.append((v["fc"]["kernel"][0], w["fc"]["kernel"][0]))
    np.testing.assert_allclose(seen, [(-0.21, 0.79), (-0.3969, 0.3931), (-0.3776031, 0.0154969)], rtol=1e-12)


def test_the_drop_that_distinguishes_this_rule_from_sgd():
    """Steady state under a gradient of 1 at 0.01, then 0.001: 0.912 in 20 steps (optax.sgd: 0.200)."""
    leaf = ("fc", "kernel")
    w, v = {"fc": {"kernel": np.zeros(1)}}, {"fc": {"kernel": np.full(1, -0.01 / 0.1)}}
    for _ in range(20):
        w, v = updates.update(w, v, {"fc": {"kernel": [1.0]}}, {leaf: 0.001}, {leaf: 0.0})
    assert -w["fc"]["kernel"][0] == pytest.approx(0.912, abs=5e-4)


def test_learning_rates_by_leaf_and_freezing():
    w = updates.tree({"conv1": {"kernel": [1.0], "bias": [1.0]}, "fc8": {"kernel": [1.0], "bias": [1.0]}})
    v = updates.tree({"conv1": {"kernel": [0.5], "bias": [0.5]}, "fc8": {"kernel": [0.0], "bias": [0.0]}})
    g = updates.tree({"conv1": {"kernel": [1.0], "bias": [1.0]}, "fc8": {"kernel": [1.0], "bias": [1.0]}})
    learning_rates = updates.by_leaf(w, 0.01, 0.02, {("conv1", "kernel"): 0.0})
    decays = updates.by_leaf(w, 0.5, 0.0)
    coasting, _ = updates.update(w, v, g, learning_rates, decays)
    assert coasting["conv1"]["kernel"][0] == pytest.approx(
        1.45
    )  # a learning rate of 0 keeps 0.9 of the velocity
    assert coasting["fc8"]["kernel"][0] == pytest.approx(1 - 0.01 * 0.5 - 0.01)
    assert coasting["fc8"]["bias"][0] == pytest.approx(1 - 0.02)
    still, kept = updates.update(
        w, v, g, learning_rates, decays, frozen={("conv1", "kernel"), ("conv1", "bias")}
    )
    assert still["conv1"] == {"kernel": [1.0], "bias": [1.0]}
    assert kept["conv1"] == {"kernel": [0.5], "bias": [0.5]}
    assert still["fc8"]["bias"][0] == pytest.approx(0.98)
    with pytest.raises(KeyError):
        updates.by_leaf(w, 0.01, 0.02, {("conv9", "kernel"): 0.0})


def test_steps():
    changes = [(25, 0.001), (51, 0.0001)]
    assert [updates.steps(e, 0.01, changes) for e in (0, 24.99, 25, 50, 51, 90)] == [
        0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001,
    ]  # fmt: skip
    assert updates.every(99_999, 0.01, 0.1, 100_000) == 0.01
    assert updates.every(200_000, 0.01, 0.1, 100_000) == pytest.approx(0.0001)


def test_plateau_never_improving():
    """The first epoch counts as a fall; each wait of two divides, the wait after the second division ends."""
    learning_rates, ended = updates.plateau([0.5] * 20, patience=2, divisions=2)
    assert ended == 7
    np.testing.assert_allclose(learning_rates, [0.01] * 3 + [0.001] * 2 + [0.0001] * 2)


def test_plateau_small_falls_do_not_count_until_they_add_up():
    errors = [0.5, 0.4996, 0.4992, 0.4988, 0.4984, 0.4980, 0.4976]
    learning_rates, ended = updates.plateau(errors, patience=3)
    # 0.4988 is 0.0012 below 0.5, 0.4976 is 0.0012 below 0.4988: neither wait of three completes.
    assert (learning_rates, ended) == ([0.01] * 8, None)
    learning_rates, ended = updates.plateau(errors, patience=2)
    np.testing.assert_allclose(learning_rates, [0.01] * 3 + [0.001] * 3 + [0.0001] * 2)
    assert ended is None


def test_source_2012():
    learning_rates = [updates.source_2012(epoch) for epoch in (1, 25, 51, 67, 72, 79, 91, 107, 124)]
    assert [r.kernel for r in learning_rates] == [1e-2, 1e-3, 1e-4, 1e-4, 1e-4, 1e-5, 1e-3, 1e-4, 1e-5]
    assert {r.bias for r in learning_rates} == {0.02}
    assert [r.conv1_frozen for r in learning_rates] == [False] * 4 + [True] * 5
    assert learning_rates[3].conv1_kernel == 1e-5
    assert [r.lighting for r in learning_rates] == [True] * 3 + [False] * 3 + [True] * 2 + [False]
