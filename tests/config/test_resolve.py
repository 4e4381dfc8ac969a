"""A resolved config is checked once, and nothing changes it afterwards."""

import pytest

from alexnet_jax.config import compatibility, resolve, schema
from alexnet_jax.errors import UsageError
from configs import finetune, imagenet


def test_nothing_changes_a_frozen_config():
    frozen = resolve.freeze(finetune.get_config())
    before = repr(frozen.to_dict())
    for section, key, value in [
        (frozen, "seed", 1),
        (frozen, "data", {}),
        (frozen.data, "crop", 1),
        (frozen.data, "new", 1),
        (frozen.model, "classes", 9),
        (frozen.optimizer.per_layer.conv1, "frozen_from", 1.0),
    ]:
        with pytest.raises(AttributeError):
            setattr(section, key, value)
        with pytest.raises((AttributeError, TypeError)):
            section[key] = value
    with pytest.raises((AttributeError, TypeError)):
        frozen.data.update(crop=1)
    with pytest.raises((AttributeError, TypeError)):
        del frozen.data["crop"]
    assert repr(frozen.to_dict()) == before


def test_a_frozen_config_is_a_copy():
    config = imagenet.get_config()
    frozen = resolve.freeze(config)
    assert frozen.to_dict() == config.to_dict() == imagenet.get_config().to_dict()
    config.data.crop = 200
    config.optimizer.per_layer.conv1 = {"frozen_from": 0.0}
    assert frozen.to_dict() == imagenet.get_config().to_dict()
    assert resolve.freeze(frozen) == frozen


def test_paths_mean_the_same_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    config = finetune.get_config()
    assert (config.data.dir, config.train.init_from) == ("", "runs/torchvision")
    frozen = resolve.freeze(config)
    assert (frozen.data.dir, frozen.train.init_from) == ("", f"{tmp_path}/runs/torchvision")
    assert config.train.init_from == "runs/torchvision"
    moved = resolve.replace(frozen, {"data.dir": "~/data", "train.init_from": ""})
    assert (moved.data.dir, moved.train.init_from) == (f"{tmp_path}/user/data", "")
    assert resolve.replace(frozen, {"data.dir": "../data"}).data.dir == f"{tmp_path.parent}/data"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("photos", "photos"),
        ("photos/", "photos"),
        ("/a/b/My Photos (2).tar.gz", "my_photos_2"),
        ("./2024", "data_2024"),
        ("~/a.b/Käfer", "k_fer"),
        ("/a/象", "data_"),
        ("digits", "digits"),
        ("/", "data_"),
        ("x" * 300, "x" * 90),
        ("class", "class"),
    ],
)
def test_a_dataset_has_the_name_of_its_source(source, name):
    assert resolve.dataset_name(source) == name
    assert schema.SCHEMA["data"]["name"].allowed(name)


def test_only_what_is_right_is_frozen():
    config = imagenet.get_config()
    config.data.crop = 300
    with pytest.raises(UsageError, match=r"config\.data\.crop=300 is larger"):
        resolve.freeze(config)


def test_replaced_keys_are_the_only_ones_that_change():
    frozen = resolve.freeze(imagenet.get_config())
    changes = {"mesh.model": 1, "train.epochs": 5, "data.input_std": (2.0,), "seed": 9}
    other = resolve.replace(frozen, changes)
    assert compatibility.changed_keys(frozen, other) == {
        "data.input_std": ((1.0,), (2.0,)),
        "mesh.model": (0, 1),
        "seed": (2012, 9),
        "train.epochs": (100.0, 5.0),
    }
    with pytest.raises(AttributeError):
        other.seed = 1
    assert frozen.seed == 2012
    assert resolve.replace(frozen, {}) == frozen


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.crop": 300}, "config.data.crop=300 is larger"),
        ({"data.colour": "red"}, "config.data.colour is not a known key"),
        ({"mesh.model": 3}, "config.mesh.model=3: it must be 0, 1 or 2"),
    ],
)
def test_a_replaced_config_is_checked(changes, words):
    with pytest.raises(UsageError, match=words):
        resolve.replace(resolve.freeze(imagenet.get_config()), changes)


@pytest.mark.parametrize(
    ("epochs", "images", "batch_size", "steps"),
    [
        (1.0, 128, 32, 4),
        (1.0, 129, 32, 5),
        (0.5, 10, 4, 2),  # 1.25
        (2.0, 1350, 64, 43),  # 42.1875
        (1.0, 32, 32, 1),
        (0.001, 32, 32, 1),
        (90.0, 1_281_167, 128, 900_821),  # 900,820.546875
    ],
)
def test_updates_by_hand(epochs, images, batch_size, steps):
    changes = {"train.epochs": epochs, "data.batch_size": batch_size}
    assert resolve.total_steps(resolve.replace(imagenet.get_config(), changes), images) == steps


def test_a_batch_that_is_larger_than_the_data():
    with pytest.raises(
        UsageError, match=r"config.data.batch_size=128 is more than the 127 images of 'train'; "
    ):
        resolve.total_steps(resolve.freeze(imagenet.get_config()), 127)
