"""Every config against its golden text, and the ablations: each key changes what it names and no more.

Where a change of a config is meant, `UPDATE_GOLDEN=1 pytest tests/test_configs.py` writes the texts anew;
the difference belongs in the commit.
"""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.config import compatibility, schema
from alexnet_jax.data import prepare
from alexnet_jax.model import architectures
from alexnet_jax.training import loop, optimizer
from configs import imagenet

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in (Path(__file__).parents[1] / "configs").glob("*.py"))

# Paper sections 3.1, 3.3, 3.4, 3.5, 4.1, 4.2 and 7, one key each.
ABLATIONS = {
    "no normalisation": ("model.lrn", False),
    "pooling that does not overlap": ("model.pool_size", 2),
    "towers that meet at conv4": ("model.communicate_at", ("conv4", "fc6", "fc7")),
    "towers that meet in the last layer": ("model.communicate_at", ()),
    "one tower": ("model.towers", 1),
    "tanh": ("model.activation", "tanh"),
    "no dropout": ("model.dropout", 0.0),
    "no crops": ("data.random_crop", False),
    "no flips": ("data.flip", False),
    "no lighting": ("data.lighting", 0.0),
    "without conv2": ("model.without", ("conv2",)),
    "without conv3": ("model.without", ("conv3",)),
    "without conv4": ("model.without", ("conv4",)),
    "without conv5": ("model.without", ("conv5",)),
    "without fc6": ("model.without", ("fc6",)),
    "without fc7": ("model.without", ("fc7",)),
}


def text(config: ConfigDict) -> str:
    return "".join(f"{key} = {value!r}\n" for key, value in compatibility.flatten(config).items())


def ablate(config: ConfigDict, name: str) -> ConfigDict:
    key, value = ABLATIONS[name]
    section, leaf = key.split(".")
    config[section][leaf] = value
    return config


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_its_golden_text(name):
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config()
    schema.check(config)
    architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text(config))
    assert text(config) == path.read_text()
    assert f"--config=configs/{name}.py" in module.__doc__  # it opens with its command


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_one_line(name):
    base = (GOLDEN / "imagenet.txt").read_text().splitlines()
    changed = text(ablate(imagenet.get_config(), name)).splitlines()
    differing = [(a, b) for a, b in zip(base, changed, strict=True) if a != b]
    key, value = ABLATIONS[name]
    assert [b for _, b in differing] == [f"{key} = {value!r}"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A data folder with 40 coloured images of two classes."""
    source = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for index in range(40):
        folder = source / "train" / ("light", "dark")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (80, 80, 3)) // (1 + index % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    config = small(tmp_path_factory.mktemp("tfds"))
    prepare.prepare(config, str(source))
    return config.data.dir


def small(folder) -> ConfigDict:
    """The paper's config, shrunk in width, data and length alone."""
    config = imagenet.get_config()
    config.data.update(dir=str(folder), name="two", size=72, crop=64, batch_size=8, format="raw")
    config.data.train_split = "train[:80%]"
    config.data.validation_split = config.data.test_split = "train[80%:]"
    config.model.update(width=0.0625, classes=2)
    config.evaluate.batch_size = 8
    config.train.epochs = 1.0
    config.mesh.update(data=1, model=1)
    return config


# The other layers left out differ from these two in nothing that a training step could trip over.
TRAINED = [name for name in ABLATIONS if not name.startswith("without") or name[8:] in ("conv3", "fc7")]


@pytest.mark.parametrize("name", TRAINED)
def test_an_ablation_trains(name, images, tmp_path):
    assert loop.train(ablate(small(images), name), tmp_path) == 0
    assert (tmp_path / "checkpoints" / "4" / "manifest.json").is_file()
