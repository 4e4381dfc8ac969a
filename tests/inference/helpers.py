"""Nets with random weights for the verbs that use one, their layers by numpy, and images for them."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.data.statistics import Statistics
from alexnet_jax.model import architectures, inputs, shapes, sharding
from alexnet_jax.workdir.trained import TrainedNet
from configs import digits
from tests.reference import numpy_layers as ref


def random_run(
    workdir: Path,
    data: int = 1,
    model: int = 1,
    seed: int = 0,
    architecture: str = "alexnet_2012",
    mean: str = "centre",
) -> TrainedNet:
    """Make a narrow net of the paper or torchvision on colour images, with random weights."""
    config = digits.get_config()
    config.data.channels, config.data.size, config.data.crop = 3, 72, 64
    config.data.mean, config.data.input_std = mean, (60.0,)
    config.evaluate.batch_size = 4
    config.mesh.data, config.mesh.model = data, model
    if architecture == "torchvision":
        config.model = ConfigDict({"architecture": architecture, "dropout": 0.5, "compute_dtype": "float32"})
    config.model.update({"width": 0.0625, "classes": 7})
    return random_net(workdir, config, tuple(f"class {label}" for label in range(7)), seed)


def random_net(workdir: Path, config: ConfigDict, class_names: tuple[str, ...], seed: int = 0) -> TrainedNet:
    """Make the net of a config with random weights that leave no layer's values at 0."""
    size, crop, channels = config.data.size, config.data.crop, config.data.channels
    net = architectures.build(config.model, crop, channels)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model, net.towers, config.evaluate.batch_size)
    draw = np.random.default_rng(seed)
    params = random_params(net, draw)
    whole = draw.uniform(90, 150, (size, size, channels)).astype(np.float32)
    normalization = inputs.Normalization(config.data.mean, config.data.input_std)
    rgb_mean, axes = whole.mean((0, 1)), np.eye(channels)
    mean = inputs.mean_array(normalization, whole, rgb_mean, crop)
    return TrainedNet(
        workdir=workdir,
        config=config,
        architecture=net,
        mesh=mesh,
        class_names=class_names,
        statistics=Statistics(whole, rgb_mean, axes, np.ones(channels), axes, 1),
        normalization=normalization,
        size=size,
        mean=jnp.asarray(mean),
        params=jax.device_put(params, sharding.param_shardings(net, mesh)),
        step=1,
    )


def random_params(net: Any, draw: np.random.Generator) -> dict[str, dict[str, np.ndarray]]:
    """Parameters of a net, in numpy."""

    def kernel(shape: tuple[int, ...]) -> np.ndarray:
        read = np.prod(shape[1:-1] if len(shape) < 7 else shape[3:-1])  # by a unit; local layers have seven
        return draw.normal(0, 1.4 / read**0.5, shape).astype(np.float32)

    return {
        name: {"kernel": kernel(shape.kernel), "bias": draw.normal(0, 0.3, shape.bias).astype(np.float32)}
        for name, shape in shapes.layer_shapes(net).items()
        if shape.kernel
    }


def layers_by_hand(params: Mapping[str, Any], x: np.ndarray) -> dict[str, np.ndarray]:
    """All layers of the paper's net in float64, from numpy: towers are groups, fc8 sums over them.

    `x`: (B, crop, crop, C), what the net reads, normalised.
    """
    params = {
        name: {part: np.asarray(value, np.float64) for part, value in leaf.items()}
        for name, leaf in params.items()
    }
    values: dict[str, np.ndarray] = {}

    def keep(name: str, value: np.ndarray) -> np.ndarray:
        values[name] = value
        return value

    def conv(x: np.ndarray, name: str, groups: int, stride: int = 1, padding: Any = 0) -> np.ndarray:
        kernel = np.concatenate(params[name]["kernel"], axis=-1)
        bias = params[name]["bias"].reshape(-1)
        return keep(name, ref.conv(x, kernel, bias, stride=stride, padding=padding, groups=groups))

    def unit(x: np.ndarray, number: int) -> np.ndarray:
        return keep(f"relu{number}", ref.relu(x))

    x = unit(conv(x, "conv1", 1, 4, (0, 3)), 1)
    x = keep("norm1", ref.lrn(x, groups=2))
    x = keep("pool1", ref.max_pool(x))
    x = unit(conv(x, "conv2", 2, padding=2), 2)
    x = keep("norm2", ref.lrn(x, groups=2))
    x = keep("pool2", ref.max_pool(x))
    x = unit(conv(x, "conv3", 1, padding=1), 3)
    x = unit(conv(x, "conv4", 2, padding=1), 4)
    x = unit(conv(x, "conv5", 2, padding=1), 5)
    x = keep("pool5", ref.max_pool(x)).reshape(len(x), -1)
    for number in (6, 7):
        layer = params[f"fc{number}"]
        kernel = np.concatenate(layer["kernel"], axis=-1)
        x = unit(keep(f"fc{number}", ref.dense(x, kernel, layer["bias"].reshape(-1))), number)
        x = keep(f"drop{number}", ref.dropout(x, None))
    kernel = np.concatenate(params["fc8"]["kernel"], axis=0)
    keep("prob", ref.softmax(keep("fc8", ref.dense(x, kernel, params["fc8"]["bias"]))))
    return values


def by_hand(net: TrainedNet, images: np.ndarray) -> dict[str, np.ndarray]:
    """All layers of a net of `random_run` for whole images, centre view."""
    x = images[:, 4:68, 4:68].astype(np.float64) - np.asarray(net.mean, np.float64)
    return layers_by_hand(net.params, x / 60)


@contextlib.contextmanager
def axes_of_figures() -> Iterator[list[Any]]:
    """A list that gets the axes of every figure that is saved meanwhile."""
    axes: list[Any] = []
    save = Figure.savefig

    def savefig(figure: Figure, *arguments: Any, **options: Any) -> None:
        axes.extend(figure.axes)
        save(figure, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        yield axes


def write_images(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """`count` smooth random images of various sizes as PNG files."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        small = Image.fromarray(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        width, height = draw.integers(70, 120, 2)
        paths.append(folder / f"image {number:02d}.png")
        small.resize((int(width), int(height)), Image.Resampling.BICUBIC).save(paths[-1])
    return paths
