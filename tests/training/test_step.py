"""One step of training against a net of two towers that numpy trains by hand, and what freezing saves."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from alexnet_jax.data.batch import Batch
from alexnet_jax.evaluation import metrics
from alexnet_jax.model import sharding
from alexnet_jax.model.inputs import Normalization
from alexnet_jax.model.specs import Activation, Architecture, Dense, Dropout
from alexnet_jax.training import optimizer, step
from alexnet_jax.training.optimizer import LayerRule, LeafRule
from tests.model.helpers import assert_close, batch, learning_rates, paper, program, random_params
from tests.reference import updates as plain

# Towers of 3 and 4 units, which meet in the logits alone.
NET = Architecture(
    "by_hand",
    crop=4,
    channels=3,
    classes=7,
    towers=2,
    layers=(
        Dense("fc1", 6, 0.1, 0.0),
        Activation("relu1", "relu"),
        Dropout("drop1", 0.5),
        Dense("fc2", 8, 0.1, 0.0, "own"),
        Activation("relu2", "relu"),
        Dropout("drop2", 0.25),
        Dense("fc3", 7, 0.1, 0.0, "sum"),
    ),
    compute_dtype="float64",
)
SEED, FIRST, BATCH = 11, 7, 16
PARAMS_SEED = 56  # with which every unit takes part
RULES = {name: LayerRule(LeafRule(1.0, 0.02), LeafRule(1.0, 0.0)) for name in ("fc1", "fc2", "fc3")}
LEAVES = [(layer, leaf) for layer in RULES for leaf in ("kernel", "bias")]
LEARNING_RATES = {
    layer: {"kernel": 0.02 * number, "bias": 0.05 * number} for number, layer in enumerate(RULES, 1)
}
DECAYS = {(layer, leaf): 0.02 if leaf == "kernel" else 0.0 for layer, leaf in LEAVES}
MEAN = np.arange(48, dtype=np.float32).reshape(4, 4, 3)
# Some rows are padding, and not as many in each part of the batch; the others count as often as they say.
WEIGHT = np.array([1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1], np.float32)
Float = NDArray[np.float64]


def host_batch(number: int) -> Batch[np.ndarray]:
    """Draw a batch of numbers that float32 holds exactly."""
    drawn = batch(NET, BATCH, seed=number)
    lighting = np.round(drawn["lighting"])
    return {**drawn, "lighting": lighting, "scale": np.full(BATCH, 2.0**-8, np.float32), "weight": WEIGHT}  # type: ignore[typeddict-item]


def dropped(number: int) -> tuple[Float, Float]:
    """Which values of the two dropout layers step `number` keeps: a key for the step and the row."""
    key = jax.random.fold_in(jax.random.key(SEED), number)
    kept = [
        jax.random.bernoulli(jax.random.fold_in(key, row), share, (BATCH, units))
        for row, share, units in ((2, 0.5, 6), (5, 0.75, 8))
    ]
    return np.asarray(kept[0], np.float64), np.asarray(kept[1], np.float64)


def by_hand(params: plain.Tree, one: Batch[np.ndarray], number: int) -> tuple[plain.Tree, list[float]]:
    """Gradients of the mean loss; sums of loss, top-1 and top-5 errors and images."""
    image = np.where(one["flip"][:, None, None, None], one["image"][:, :, ::-1], one["image"])
    x = (image - MEAN + one["lighting"][:, None, None]) * one["scale"][:, None, None, None]
    x, weight = x.reshape(BATCH, -1).astype(np.float64), one["weight"].astype(np.float64)
    rows = np.arange(BATCH)
    kernel = {layer: leaves["kernel"] for layer, leaves in params.items()}
    bias = {layer: leaves["bias"] for layer, leaves in params.items()}
    keep1, keep2 = dropped(number)
    h1 = np.hstack([x @ kernel["fc1"][t] + bias["fc1"][t] for t in (0, 1)])
    h1 = np.maximum(h1, 0) * keep1
    own = [h1[:, :3], h1[:, 3:]]
    h2 = np.hstack([own[t] @ kernel["fc2"][t] + bias["fc2"][t] for t in (0, 1)])
    h2 = np.maximum(h2, 0) * keep2
    halves = [h2[:, :4], h2[:, 4:]]
    logits = sum(halves[t] @ kernel["fc3"][t] for t in (0, 1)) + bias["fc3"]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    losses = -np.log(p[rows, one["label"]])
    rank = (p > p[rows, one["label"]][:, None]).sum(axis=1)
    sums = [(weight * values).sum() for values in (losses, rank >= 1, rank >= 5, np.ones(BATCH))]

    d = p.copy()
    d[rows, one["label"]] -= 1
    d *= weight[:, None] / weight.sum()
    back2 = np.hstack([d @ kernel["fc3"][t].T for t in (0, 1)]) * (h2 > 0)
    parts2 = [back2[:, :4], back2[:, 4:]]
    back1 = np.hstack([parts2[t] @ kernel["fc2"][t].T for t in (0, 1)]) * (h1 > 0)
    parts1 = [back1[:, :3], back1[:, 3:]]
    return {
        "fc1": {
            "kernel": np.stack([x.T @ part for part in parts1]),
            "bias": np.stack([part.sum(axis=0) for part in parts1]),
        },
        "fc2": {
            "kernel": np.stack([own[t].T @ parts2[t] for t in (0, 1)]),
            "bias": np.stack([part.sum(axis=0) for part in parts2]),
        },
        "fc3": {"kernel": np.stack([half.T @ d for half in halves]), "bias": d.sum(axis=0)},
    }, sums


@pytest.mark.parametrize(("data", "model", "parts"), [(1, 1, 1), (1, 2, 1), (2, 2, 4)])
def test_losses_updates_and_errors_are_those_by_hand(data: int, model: int, parts: int) -> None:
    """Also where layers freeze that have gathered velocity, at the bottom and at the top, and thaw."""
    mesh = sharding.make_mesh(data, model, 2, BATCH)
    made = step.Program(
        NET,
        mesh,
        Normalization("centre", (1.0,)),
        optimizer.momentum(RULES, 0.9),
        SEED,
        accumulate_steps=parts,
    )
    with jax.enable_x64(True):
        params = plain.tree(random_params(NET, PARAMS_SEED))
        velocities = plain.zeros(params)
        state = step.init_state(made, params)
        assert (state.step.dtype, int(state.step)) == (np.int32, 0)
        shardings = step.state_shardings(made, state)
        state = jax.device_put(dataclasses.replace(state, step=jnp.int32(FIRST)), shardings)
        updates = {
            frozen: step.compiled_train_step(dataclasses.replace(made, frozen=frozenset(frozen)), state)
            for frozen in ((), ("fc1", "fc3"))
        }
        for number, frozen in enumerate(((), (), ("fc1", "fc3"), ()), FIRST):
            one = host_batch(number)
            gradients, sums = by_hand(params, one, number)
            fixed = {leaf for leaf in LEAVES if leaf[0] in frozen}
            learning_rates = {(layer, leaf): LEARNING_RATES[layer][leaf] for layer, leaf in LEAVES}
            params, velocities = plain.update(
                params, velocities, gradients, learning_rates, DECAYS, frozen=fixed
            )
            given = state.params["fc2"]["kernel"]
            on_mesh = sharding.to_device(one, mesh)
            state, computed = updates[frozen](state, on_mesh, sharding.replicate(MEAN, mesh), LEARNING_RATES)
            assert given.is_deleted()  # its memory is the new state's
            assert int(state.step) == number + 1
            assert jax.tree.map(lambda x: x.sharding, state) == shardings
            assert_close(state.params, params, 1e-12, f"step {number}: ")
            assert_close(state.opt_state.trace, velocities, 1e-12, f"step {number}: ")
            np.testing.assert_allclose(
                [computed.loss, computed.top1_error, computed.top5_error, computed.count], sums, rtol=1e-12
            )
            averages = metrics.average([computed])
            assert averages.loss == pytest.approx(sums[0] / 12, rel=1e-12)
            assert averages.count == 12


@pytest.mark.parametrize("trust_coefficient", [None, 0.01], ids=["momentum", "LARS"])
@pytest.mark.parametrize("parts", [1, 4])
def test_layers_that_are_never_trained_have_no_velocities(trust_coefficient: Any, parts: int) -> None:
    """The others are updated as where they have some, which stay at 0."""
    mesh, never = sharding.make_mesh(2, 2, 2, BATCH), frozenset({"fc1", "fc3"})
    made = step.Program(
        NET,
        mesh,
        Normalization("centre", (1.0,)),
        optimizer.momentum(RULES, 0.9, trust_coefficient),
        SEED,
        accumulate_steps=parts,
    )
    frozen = dataclasses.replace(made, frozen=never)
    with jax.enable_x64(True):
        params = plain.tree(random_params(NET, PARAMS_SEED))
        ours, whole = step.init_state(frozen, params), step.init_state(made, params)
        assert ours.opt_state.trace.keys() == {"fc2"}
        for number in (FIRST, FIRST + 1):
            batch = sharding.to_device(host_batch(number), mesh)
            mean = sharding.replicate(MEAN, mesh)
            ours, _ = step.compiled_train_step(frozen, ours)(ours, batch, mean, LEARNING_RATES)
            whole, _ = step.compiled_train_step(frozen, whole)(whole, batch, mean, LEARNING_RATES)
        assert ours.opt_state.trace.keys() == {"fc2"}
        assert not any(np.any(whole.opt_state.trace[name]["kernel"]) for name in never)
        jax.tree.map(np.testing.assert_array_equal, ours.params, whole.params)
        assert np.any(ours.params["fc2"]["kernel"] != params["fc2"]["kernel"])
    held, rest = step.split_state(ours, never)
    assert (held.params.keys(), rest.keys()) == ({"fc2"}, never)
    assert held.opt_state is ours.opt_state


def test_the_numbers_by_hand_would_show_a_difference() -> None:
    gradients, sums = by_hand(plain.tree(random_params(NET, PARAMS_SEED)), host_batch(FIRST), FIRST)
    for layer, leaf in LEAVES:
        assert np.mean(gradients[layer][leaf] != 0) > 0.95, (layer, leaf)
    assert sums[0] > 0
    assert 0 < sums[2] < sums[1] < sums[3] == 12
    for one, other in zip(dropped(FIRST), dropped(FIRST + 1), strict=True):
        assert (one != other).any()


@pytest.mark.parametrize("model", [1, 2])
def test_frozen_layers_cost_no_backward_pass(model: int) -> None:
    architecture = paper()
    made = program(architecture, 1, model)
    state: Any = step.init_state(made, random_params(architecture))
    one = sharding.to_device(batch(architecture, 8), made.mesh)
    arguments = state, one, np.zeros((64, 64, 3), np.float32), learning_rates(architecture, np.float32(0.01))

    def convolutions(*frozen: str) -> int:
        update: Any = step.compiled_train_step(dataclasses.replace(made, frozen=frozenset(frozen)), state)
        text: str = update.lower(*arguments).as_text()
        return text.count("stablehlo.convolution")

    # Both towers here: conv2, conv4 and conv5 twice, conv1 and conv3 wide. Backward, each has one for its
    # kernel and one for its input, which conv1 does not need.
    towers = {1: 2, 2: 1}[model]
    forward = 2 + 3 * towers
    assert convolutions() == 3 * forward - 1
    assert convolutions("conv1", "conv2", "conv3", "conv4", "conv5") == forward
    # conv3 and conv4 alone still hand on their inputs' gradients; conv1 and conv2 end the backward pass.
    assert convolutions("conv3", "conv4") == 3 * forward - 1 - 1 - towers
    assert convolutions("conv1", "conv2") == forward + 2 * (1 + 2 * towers) - 1
