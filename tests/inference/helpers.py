"""Nets with random weights for the verbs that use one, and pictures for them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.inference.run import Run
from alexnet_jax.model import architectures, inputs, sharding
from configs import digits


def random_run(
    workdir: Path, data: int = 1, model: int = 1, seed: int = 0, architecture: str = "alexnet_2012"
) -> Run:
    """The digits net, or torchvision's, on colour, narrow; its weights let every layer say something."""
    config = digits.get_config()
    config.data.channels, config.data.size, config.data.crop = 3, 72, 64
    config.data.input_std = (60.0,)
    config.evaluate.batch_size = 4
    config.mesh.data, config.mesh.model = data, model
    if architecture == "torchvision":
        config.model = ConfigDict({"architecture": architecture, "dropout": 0.5, "compute_dtype": "float32"})
    config.model.update({"width": 0.0625, "classes": 7})
    net = architectures.build(config.model, config.data.crop, 3)
    mesh = sharding.make_mesh(data, model, net.towers, 4)
    draw = np.random.default_rng(seed)

    def weights(shape: tuple[int, ...]) -> np.ndarray:
        std = 1.4 / np.prod(shape[1:-1]) ** 0.5 if len(shape) > 2 else 0.3
        return draw.normal(0, std, shape).astype(np.float32)

    params = {
        name: {"kernel": weights(shape.kernel), "bias": weights(shape.bias)}
        for name, shape in architectures.shapes(net).items()
        if shape.kernel
    }
    params = jax.device_put(params, sharding.param_shardings(net, mesh))
    mean = draw.uniform(90, 150, (64, 64, 3)).astype(np.float32)
    names = tuple(f"class {label}" for label in range(7))
    form = inputs.InputForm("centre", (60.0,))
    return Run(
        workdir=workdir,
        config=config,
        architecture=net,
        mesh=mesh,
        class_names=names,
        form=form,
        mean=jnp.asarray(mean),
        params=params,
        step=1,
    )


def write_pictures(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """`count` smooth random pictures of various sizes as PNG files."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        small = Image.fromarray(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        width, height = draw.integers(70, 120, 2)
        paths.append(folder / f"picture {number:02d}.png")
        small.resize((int(width), int(height)), Image.Resampling.BICUBIC).save(paths[-1])
    return paths
