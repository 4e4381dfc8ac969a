"""Nets and batches small enough for a test, and the house's measure of closeness."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.model import architectures, sharding
from alexnet_jax.model.inputs import Normalization
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture
from alexnet_jax.training import optimizer, step
from configs import imagenet
from tests.reference import arithmetic


def paper(crop: int = 64, **arguments: Any) -> Architecture:
    """Return the paper's architecture, narrow by default."""
    model = imagenet.get_config().model
    model.update({"width": 0.125, "classes": 10} | arguments)
    return architectures.build(model, crop, 3)


FULL: dict[str, Any] = {"classes": 1000, "width": 1.0}
IMAGENET = {"classes": 10, "width": 0.125, "dropout": 0.5}
CIFAR10 = {"classes": 10, "width": 1.0, "activation": "relu"}

# Every table but the paper's own, which `paper` makes: its arguments in a test, and a crop for it.
TABLES: dict[str, tuple[dict[str, Any], int]] = {
    "alexnet_2012_source": (IMAGENET, 64),
    "source_132": (IMAGENET, 64),
    "source_145_half": (IMAGENET, 64),
    "source_146": (IMAGENET, 64),
    "source_147": (IMAGENET, 64),
    "source_148": (IMAGENET, 64),
    "source_150": (IMAGENET, 64),
    "caffe": (IMAGENET, 67),
    "caffenet": (IMAGENET, 67),
    "torchvision": (IMAGENET, 96),
    "cifar10_26": (CIFAR10, 32),
    "cifar10_19": (CIFAR10, 32),
    "cifar10_18": (CIFAR10, 32),
    "cifar10_13": (CIFAR10, 24),
    "cifar10_11": (CIFAR10 | {"lrn": True}, 24),
    "fully_connected": ({"classes": 10, "hidden": (15,), "activation": "sigmoid"}, 8),
}


def table(name: str, crop: int = 0, channels: int = 3, **arguments: Any) -> Architecture:
    """A table of `TABLES`, with other arguments where they are given."""
    given, usual = TABLES[name]
    model = ConfigDict({"architecture": name, "compute_dtype": "float32"} | given | arguments)
    return architectures.build(model, crop or usual, channels)


def assert_published(architecture: Architecture, expected: arithmetic.Net) -> None:
    """Assert shapes, parameters and multiply-accumulates as they were counted by hand, layer by layer."""
    shapes = layer_shapes(architecture)
    assert {
        name: (shape.output, shape.parameters, shape.multiply_accumulates)
        for name, shape in shapes.items()
        if shape.kernel
    } == {row.layer: (row.output, row.parameters, row.multiply_accumulates) for row in expected.rows}
    assert {name: shapes[name].output for name in expected.others} == expected.others


def parameters(architecture: Architecture) -> int:
    """Count the parameters of a net."""
    return sum(shape.parameters for shape in layer_shapes(architecture).values())


def random_params(architecture: Architecture, seed: int = 0) -> dict[str, Any]:
    """Draw weights large enough that every layer's gradient matters."""
    draw = np.random.default_rng(seed)

    def weights(shape: tuple[int, ...]) -> np.ndarray:
        inputs = np.prod(shape[-4:-1]) if len(shape) > 3 else shape[1]
        return draw.normal(0, inputs**-0.5, shape).astype(np.float32)

    return {
        name: {
            "kernel": weights(shape.kernel),
            "bias": draw.normal(0, 0.1, shape.bias).astype(np.float32),
        }
        for name, shape in layer_shapes(architecture).items()
        if shape.kernel
    }


def batch(architecture: Architecture, size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw a random batch with flips and lighting, as the pipeline would give it."""
    draw = np.random.default_rng(seed)
    crop, channels = architecture.crop, architecture.channels
    return {
        "image": draw.integers(0, 256, (size, crop, crop, channels), dtype=np.uint8),
        "label": draw.integers(0, architecture.classes, size).astype(np.int32),
        "flip": draw.random(size) < 0.5,
        "offset": draw.integers(0, 9, (size, 2)).astype(np.int32),
        "lighting": draw.normal(0, 10, (size, channels)).astype(np.float32),
        "scale": np.ones(size, np.float32),
        "weight": np.ones(size, np.float32),
    }


def program(architecture: Architecture, data: int, model: int, seed: int = 1) -> step.Program:
    """Return the paper's training step on a mesh of simulated devices."""
    config = imagenet.get_config()
    mesh = sharding.make_mesh(data, model, architecture.towers, 4 * data)
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    normalization = Normalization("centre", (1.0,))
    return step.Program(architecture, mesh, normalization, optimizer.momentum(rules, 0.9), seed)


def learning_rates(architecture: Architecture, learning_rate: Any) -> dict[str, dict[str, Any]]:
    """Return one learning rate for every kernel and bias."""
    table = layer_shapes(architecture)
    return {
        name: {"kernel": learning_rate, "bias": learning_rate}
        for name, shape in table.items()
        if shape.kernel
    }


def assert_close(actual: Any, expected: Any, tolerance: float, name: str = "") -> None:
    """Assert max |a - b| <= tolerance * max |b| for each leaf of two trees."""
    actual, expected = jax.device_get((actual, expected))
    flat, _ = jax.tree_util.tree_flatten_with_path(expected)
    for (path, b), a in zip(flat, jax.tree.leaves(actual), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        where = f"{name}{jax.tree_util.keystr(path)}"
        assert a.shape == b.shape, where
        worst, scale = np.abs(a - b).max(), np.abs(b).max()
        assert worst <= tolerance * scale, f"{where}: off by {worst / scale:.2g} of the largest"


def random_array(*shape, seed=0, scale=1.0):
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def layer_gradients(function, *inputs):
    """Value and gradient under a fixed random output gradient, and that gradient."""
    y, pull = jax.vjp(function, *map(jnp.asarray, inputs))
    g = random_array(*y.shape, seed=9)
    return y, g, pull(jnp.asarray(g))
