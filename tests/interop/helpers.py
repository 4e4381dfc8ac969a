"""What the tests of foreign weights share: runs and configs for them, and how a refusal looks."""

import os

import jax
import numpy as np
import pytest

from alexnet_jax.config import io as config_io
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import UsageError
from alexnet_jax.interop import convert, formats
from alexnet_jax.model import architectures, sharding
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.workdir import trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from configs import imagenet, imagenet_caffe, imagenet_torchvision

RECIPES = {"torchvision": imagenet_torchvision.get_config(), "caffe": imagenet_caffe.get_config()}


def unreadable(path, words):
    """`formats.read` refuses the file in one line that names it."""
    with pytest.raises(UsageError) as error:
        formats.read(path)
    assert words in str(error.value), error.value
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def converted(path, output, **others):
    """The run that a file becomes, and the lines that were printed."""
    printed = convert.to_workdir(path, output, RECIPES, **others)
    return trained.load(output, trained.read_config(output), "best"), "\n".join(printed)


def refused(path, words, **others):
    """The file is refused in one line, and nothing is left."""
    output = path.parent / "refused"
    with pytest.raises(UsageError) as error:
        convert.to_workdir(path, output, RECIPES, **others)
    assert words in str(error.value), error.value
    assert "\n" not in str(error.value)
    assert not [name for name in os.listdir(path.parent) if "refused" in name]


def without(net, *names):
    return {name: arrays for name, arrays in net.items() if name not in names}


def changed(net, layer, number, array):
    net = dict(net)
    net[layer] = list(net[layer])
    net[layer][number] = np.asarray(array, np.float32)
    return net


def random_params(architecture, seed):
    draw = np.random.default_rng(seed)
    return {
        layer: {
            "kernel": draw.normal(0, np.prod(shape.kernel[1:-1]) ** -0.5, shape.kernel).astype(np.float32),
            "bias": draw.normal(0, 0.1, shape.bias).astype(np.float32),
        }
        for layer, shape in layer_shapes(architecture).items()
        if shape.kernel
    }


def own_run(folder, mesh_model, mean="centre", **arguments):
    """A workdir with random weights of the paper's net, as training leaves it."""
    config = imagenet.get_config()
    config.data.size, config.data.crop, config.data.mean = 72, 64, mean
    config.model.update({"width": 0.0625, "classes": 10} | arguments)
    config.mesh.data, config.mesh.model = 1, mesh_model
    architecture = architectures.build(config.model, 64, 3)
    mesh = sharding.make_mesh(1, mesh_model, architecture.towers, 1)
    params = random_params(architecture, 3)
    params = jax.device_put(params, sharding.param_shardings(architecture, mesh))
    folder.mkdir()
    checkpoints = Checkpoints(folder)
    checkpoints.save(7, {"params": params}, {"validation_top1_error": 0.5})
    checkpoints.close()
    draw = np.random.default_rng(0)
    mean_image = draw.normal(110, 30, (72, 72, 3)).astype(np.float32)
    covariance = np.cov(draw.normal(0, 30, (3, 50)))
    values, vectors = np.linalg.eigh(covariance)
    rgb_mean = mean_image.mean((0, 1), np.float64)
    Statistics(mean_image, rgb_mean, covariance, values, vectors, 50).save(folder / "statistics.npz")
    names = [f"thing {number}" for number in range(10)]
    config_io.save(folder / "config.json", config, class_names=names, statistics="statistics.npz")
    return folder
