"""Whole nets, forward and gradients, against an independent grouped PyTorch form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.model import architectures, sharding
from configs import cifar10
from tests.model.helpers import assert_close, paper

pytestmark = pytest.mark.slow
torch_nets = pytest.importorskip("tests.reference.torch_nets", reason="PyTorch is not installed")


def ours(architecture, mesh, params, x, labels, masks):
    """Every activation, the mean cross-entropy and its gradients."""
    names = tuple(layer.name for layer in architecture.layers)

    @jax.jit
    def run(params, x):
        def loss(params):
            values = sharding.forward(architecture, mesh, params, x, masks, names)
            log = jax.nn.log_softmax(values[architecture.logits])
            return -jnp.take_along_axis(log, labels[:, None], 1).mean(), values

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, values), gradients = run(params, x)
    return values, loss, gradients


def random_params(architecture, seed=0):
    """Weights large enough that every layer's gradient matters."""
    draw = np.random.default_rng(seed)

    def weights(shape, fan_in):
        return draw.normal(0, fan_in**-0.5, shape).astype(np.float32)

    return {
        name: {
            "kernel": weights(shape.kernel, np.prod(shape.kernel[1:-1])),
            "bias": draw.normal(0, 0.1, shape.bias).astype(np.float32),
        }
        for name, shape in architectures.shapes(architecture).items()
        if shape.kernel
    }


def compare(architecture, model_axis, net, size, train=True, **options):
    draw = np.random.default_rng(1)
    side, channels = architecture.crop, architecture.channels
    x = draw.normal(0, 1, (size, side, side, channels)).astype(np.float32)
    labels = draw.integers(0, architecture.classes, size)
    table = architectures.shapes(architecture)
    masks = {
        layer.name: draw.random((size, *table[layer.name].output)) < 0.5
        for layer in architecture.layers
        if isinstance(layer, architectures.Dropout)
    }
    params = random_params(architecture)
    mesh = sharding.make_mesh(1, model_axis, architecture.towers, size)
    values, loss, gradients = ours(
        architecture,
        mesh,
        params,
        x,
        jnp.asarray(labels),
        {n: jnp.asarray(m) for n, m in masks.items()} if train else None,
    )
    activations, expected_loss, expected = torch_nets.loss_and_gradients(
        net, params, x, labels, masks if train else None, **options
    )
    assert set(values) <= set(activations)
    for name in values:
        assert_close(values[name], np.asarray(activations[name]), 1e-4, name)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-4)
    assert_close(gradients, expected, 1e-4)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("model_axis", [1, 2])
def test_the_papers_net_at_full_width(model_axis, train):
    compare(paper(224, width=1.0, classes=1000), model_axis, torch_nets.alexnet_2012, 2, train)


@pytest.mark.parametrize(
    "arguments",
    [
        {"towers": 1},
        {"lrn": False},
        {"pool_size": 2},
        {"activation": "tanh"},
        {"communicate_at": ("conv4", "fc6", "fc7")},
        {"communicate_at": ()},
    ],
    ids=str,
)
def test_its_arguments(arguments):
    compare(paper(64, **arguments), 1, torch_nets.alexnet_2012, 4, **arguments)


def test_the_cifar10_net():
    config = cifar10.get_config()
    compare(architectures.build(config.model, 32, 3), 1, torch_nets.cifar10_26, 4)
