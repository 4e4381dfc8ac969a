"""What may differ between a run's config and the one that it is resumed with, key by key."""

import pytest
from ml_collections import ConfigDict

from alexnet_jax.config import compatibility
from alexnet_jax.errors import UsageError
from configs import imagenet

# How a run is made, not what it makes: mesh, data folder, length, logging, evaluation, checkpoints.
FREE = {
    "data.dir": "/elsewhere",
    "data.resident": "never",
    "data.threads": 3,
    "data.workers": 2,
    "train.epochs": 5.0,
    "train.min_steps": 50,
    "train.accumulate_steps": 4,
    "train.log_every_steps": 7,
    "train.evaluate_every_epochs": 0.5,
    "train.flat_loss_steps": 0,
    "data.max_rejected_share": 0.5,
    "evaluate.batch_size": 9,
    "evaluate.views": 1,
    "mesh.data": 4,
    "mesh.model": 1,
    "checkpoint.every_epochs": 2.0,
    "checkpoint.keep": 1,
}
KEYS = sorted(compatibility.flatten(imagenet.get_config()))


def changed(key, value):
    config = imagenet.get_config()
    section, _, name = key.rpartition(".")
    part = config[section] if section else config
    with part.ignore_type():
        part[name] = value
    return config


def test_flat_by_hand():
    config = ConfigDict({"b": {"y": (1, 2), "x": {}}, "a": 1, "c": {"d": {"e": None}}})
    expected = {"a": 1, "b.x": {}, "b.y": (1, 2), "c.d.e": None}
    for given in (config, config.to_dict()):
        flat = compatibility.flatten(given)
        assert flat == expected
        assert list(flat) == list(expected)


def test_changed_keys_by_hand():
    saved = ConfigDict({"a": 1, "b": {"x": 1.0, "y": (1,)}, "rules": {}, "old": 0})
    given = ConfigDict({"a": 1, "b": {"x": 2.0, "y": (1,)}, "rules": {"fc8": {"frozen": 0.0}}, "new": 0})
    changes = compatibility.changed_keys(saved, given)
    assert changes == {
        "b.x": (1.0, 2.0),
        "new": (None, 0),
        "old": (0, None),
        "rules": ({}, None),
        "rules.fc8.frozen": (None, 0.0),
    }
    assert list(changes) == sorted(changes)
    assert compatibility.changed_keys(saved, saved) == {}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_may_differ_or_is_named(key):
    saved, given = imagenet.get_config(), changed(key, FREE.get(key, "another"))
    if key in FREE:
        assert saved != given
        compatibility.check_same_run(saved, given, "runs/x")
        return
    old = compatibility.flatten(saved)[key]
    with pytest.raises(UsageError) as error:
        compatibility.check_same_run(saved, given, "runs/x")
    assert str(error.value) == (
        f"runs/x holds a run with config.{key}={old!r}, not 'another': use the old value, "
        "or another --workdir"
    )


def test_every_free_key_is_a_key():
    assert set(FREE) < set(KEYS)


def test_many_free_keys_together_and_one_that_is_not():
    saved, given = imagenet.get_config(), imagenet.get_config()
    given.update_from_flattened_dict(FREE)
    compatibility.check_same_run(saved, given, "runs/x")
    given.optimizer.momentum = 0.8
    with pytest.raises(UsageError, match=r"runs/x holds a run with config.optimizer.momentum=0.9, not 0.8"):
        compatibility.check_same_run(saved, given, "runs/x")


def test_the_length_of_a_polynomial_schedule_stays():
    """It decides every learning rate on the way."""
    saved, given = (changed("schedule.kind", "polynomial") for _ in range(2))
    given.train.epochs = 5.0
    with pytest.raises(UsageError, match=r"config.train.epochs=100.0, not 5.0"):
        compatibility.check_same_run(saved, given, "runs/x")


@pytest.mark.parametrize("kind", ["constant", "polynomial", "plateau"])
def test_the_patience_in_steps_is_the_plateau_rules_alone(kind):
    """Runs of before have 0, and those without the rule resume with the configs of now."""
    saved, given = (changed("schedule.kind", kind) for _ in range(2))
    saved.schedule.patience_steps = 0
    differing = {} if kind != "plateau" else {"schedule.patience_steps": (0, 1000)}
    assert compatibility.deciding_changes(saved, given) == differing
