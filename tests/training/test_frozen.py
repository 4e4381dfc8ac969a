"""The training step where layers are frozen."""

import dataclasses

import jax
import numpy as np
import pytest

from alexnet_jax.training import step
from tests.model.helpers import batch, paper, program, random_params, rates

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")


def flat(tree):
    return {(layer, leaf): np.asarray(x) for layer, v in tree.items() for leaf, x in v.items()}


@pytest.mark.parametrize("model", [1, 2])
def test_frozen_layers_stay_and_cost_no_backward_pass(model):
    architecture = paper()
    made = program(architecture, 1, model)
    mean = np.full((64, 64, 3), 120, np.float32)
    one = step.to_device(batch(architecture, 8), made.mesh)
    given = rates(architecture, np.float32(0.01))
    found, convolutions = {}, {}
    for frozen in (frozenset(), frozenset(CONVOLUTIONS)):
        fixed = dataclasses.replace(made, frozen=frozen)
        state = step.init_state(fixed, random_params(architecture))
        update = step.compiled_train_step(fixed, state)
        text = update.lower(state, one, mean, given).as_text()
        convolutions[frozen] = text.count("stablehlo.convolution")
        state, _ = update(state, one, mean, given)
        found[frozen] = jax.device_get(state)
    trained, held = found[frozenset()], found[frozenset(CONVOLUTIONS)]
    before = flat(random_params(architecture))
    for place, after in flat(held.params).items():
        if place[0] in CONVOLUTIONS:
            np.testing.assert_array_equal(after, before[place])
            assert not flat(held.opt_state.trace)[place].any()
        else:  # what is not frozen moves as it would have
            np.testing.assert_allclose(after, flat(trained.params)[place], rtol=1e-5, atol=1e-6)
    # Both towers here: conv2, conv4 and conv5 twice, conv1 and conv3 wide. Backward, each has one for its
    # kernel and one for its input, which conv1 does not need.
    forward = {1: 8, 2: 5}[model]
    assert convolutions == {frozenset(): 3 * forward - 1, frozenset(CONVOLUTIONS): forward}
