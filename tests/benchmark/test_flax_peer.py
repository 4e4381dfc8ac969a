"""The measurements' peer in plain Flax is the same net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.benchmark import flax_peer
from alexnet_jax.errors import UsageError
from alexnet_jax.model import network
from tests.model.helpers import paper, random_params, table

NETS = {
    "paper": paper,
    "never": lambda: paper(communicate_at=()),
    "torchvision": lambda: table("torchvision", 224),
    "cifar10_26": lambda: table("cifar10_26"),
    "cifar10_18": lambda: table("cifar10_18"),
    "cifar10_11": lambda: table("cifar10_11"),
}


@pytest.mark.parametrize("name", [*NETS])
def test_the_plain_net_computes_the_same_logits(name):
    architecture = NETS[name]()
    params = random_params(architecture)
    side = architecture.crop
    x = np.random.default_rng(1).normal(0, 1, (2, side, side, architecture.channels)).astype(np.float32)
    ours = jax.jit(lambda p, x: network.forward(architecture, None, p, x)[architecture.logits])(params, x)
    variables = flax_peer.parameters(architecture, params)
    theirs = jax.jit(flax_peer.FlaxNet(architecture).apply)(variables, x)
    assert np.abs(theirs - ours).max() <= 1e-4 * np.abs(ours).max()


def test_a_training_step_of_the_plain_net_makes_the_loss_smaller():
    architecture = table("cifar10_26")
    x = jax.random.normal(jax.random.key(0), (4, 32, 32, 3))
    batches = [(x, jnp.arange(4))]
    peer = flax_peer.FlaxPeer(architecture, random_params(architecture), batches, 0.01, 0.9)
    losses = []
    for number in range(5):
        peer.train(number)
        losses.append(float(peer._latest))
    assert losses[-1] < losses[0]


def test_the_plain_net_averages_no_other_side_than_torchvisions():
    with pytest.raises(UsageError, match="avgpool"):
        flax_peer.FlaxNet(table("torchvision", 96)).init(jax.random.key(0), jnp.zeros((1, 96, 96, 3)))
