"""PyTorch's training step is ours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.model import sharding
from alexnet_jax.training import step
from tests.model import helpers

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def test_the_peers_steps_give_the_same_losses() -> None:
    from alexnet_jax.benchmark import torch_peer, torch_process

    architecture = helpers.paper(dropout=0.0)
    program = helpers.program(architecture, 1, 1)
    params = helpers.random_params(architecture)
    batch = helpers.batch(architecture, 4) | {
        "flip": np.zeros(4, bool), "lighting": np.zeros((4, 3), np.float32)
    }  # fmt: skip
    mean = np.full((64, 64, 3), 127.5, np.float32)
    state = step.init_state(program, jax.tree.map(jnp.asarray, params))
    learning_rate = 1e-4
    learning_rates = jax.tree.map(lambda x: jnp.float32(learning_rate), params)
    update = step.compiled_train_step(program, state)
    ours = []
    for _ in range(4):
        state, sums = update(
            state, sharding.to_device(batch, program.mesh), jnp.asarray(mean), learning_rates
        )  # type: ignore[arg-type]
        ours.append(float(sums.loss / sums.count))

    rule = ((learning_rate, 0.0005), (learning_rate, 0.0005))
    job = torch_process.TorchJob(architecture, 0.9, dict.fromkeys(params, rule), 4)
    peer = torch_process.Contestant(job, torch_peer.TorchVariant())
    peer.net.load(params)
    before, after = torch_peer.first_pad(architecture)
    x = np.pad(batch["image"] - mean, ((0, 0), (before, after), (before, after), (0, 0)))
    peer.data = [(torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(batch["label"]).long())]
    theirs = []
    for number in range(4):
        with torch.no_grad():
            logits = peer.net(peer.data[0][0])
            theirs.append(float(torch.nn.functional.cross_entropy(logits, peer.data[0][1])))
        peer.train(number)
    assert abs(ours[3] - ours[0]) > 0.01 * ours[0]  # it learns, and momentum and decay act
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
