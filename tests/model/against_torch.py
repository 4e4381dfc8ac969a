"""A whole net, forward and gradients, against an independent grouped PyTorch implementation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.model import network, sharding
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Dropout
from tests.model.helpers import assert_close, random_params


def run_ours(architecture, mesh, params, x, labels, masks):
    """Every activation, the mean cross-entropy and its gradients."""
    names = tuple(layer.name for layer in architecture.layers)

    @jax.jit
    def run(params, x):
        def loss(params):
            values = network.forward(architecture, mesh, params, x, masks, names)
            log = jax.nn.log_softmax(values[architecture.logits])
            return -jnp.take_along_axis(log, labels[:, None], 1).mean(), values

        if masks is None:  # the net is used, not trained
            return loss(params), None
        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, values), gradients = run(params, x)
    return values, loss, gradients


def compare(architecture, model_axis, net, size, train=True, **options):
    """The forward pass in 32 bits, or everything and the gradients in 64.

    A value of a hundred thousand that rounds to the other side of a ReLU, or of the largest of a pool, moves
    a gradient by more than 1e-4 in 32 bits, on one processor and not on another.
    """
    if train:
        with jax.enable_x64(True):
            wide = dataclasses.replace(architecture, compute_dtype="float64")
            compare_in(wide, model_axis, net, size, train, 1e-9, **options)
    else:
        compare_in(architecture, model_axis, net, size, train, 1e-4, **options)


def compare_in(architecture, model_axis, net, size, train, tolerance, **options):
    from tests.reference import torch_nets  # where PyTorch is installed

    draw = np.random.default_rng(1)
    side, channels = architecture.crop, architecture.channels
    x = draw.normal(0, 1, (size, side, side, channels)).astype(np.float32)
    labels = draw.integers(0, architecture.classes, size)
    shapes = layer_shapes(architecture)
    masks = {
        layer.name: draw.random((size, *shapes[layer.name].output)) < 0.5
        for layer in architecture.layers
        if isinstance(layer, Dropout)
    }
    params, x = jax.tree.map(
        lambda leaf: leaf.astype(architecture.compute_dtype), (random_params(architecture), x)
    )
    mesh = sharding.make_mesh(1, model_axis, architecture.towers, size)
    values, loss, gradients = run_ours(
        architecture,
        mesh,
        params,
        x,
        jnp.asarray(labels),
        {n: jnp.asarray(m) for n, m in masks.items()} if train else None,
    )
    flat = {name: mask.reshape(size, -1) for name, mask in masks.items()}
    activations, expected_loss, expected = torch_nets.loss_and_gradients(
        net, params, x, labels, flat if train else None, **options
    )
    assert set(values) <= set(activations)
    for name in values:
        expected_values = np.asarray(activations[name])
        assert_close(values[name].reshape(expected_values.shape), expected_values, tolerance, name)
    np.testing.assert_allclose(loss, expected_loss, rtol=tolerance)
    if train:
        assert_close(gradients, expected, tolerance)
