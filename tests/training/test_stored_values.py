"""A head that trains on stored values of frozen layers ends as one whose steps compute them anew."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.data.records import Records
from alexnet_jax.errors import UsageError
from alexnet_jax.training import loop, optimizer, resident, stored_values
from alexnet_jax.training.setup import prepare_run
from tests.helpers import STEPS, STOP, epochs, logged, saved_params, small_digits

FROZEN = ("conv1", "conv2", "conv3", "conv4", "conv5")


def frozen_digits(
    folder: str, mesh: tuple[int, int] = (1, 1), layers: tuple[str, ...] = FROZEN
) -> ConfigDict:
    """Return the small digits config with frozen layers, and every image as it is."""
    config = small_digits(folder)
    config.data.random_crop = config.data.flip = False
    config.data.lighting = 0.0
    config.optimizer.per_layer = ConfigDict({name: {"frozen_from": 0.0} for name in layers})
    config.mesh.data, config.mesh.model = mesh
    config.train.evaluate_every_epochs = config.checkpoint.every_epochs = epochs(4)
    return config


def plan_of(config: ConfigDict) -> stored_values.Plan | None:
    run = prepare_run(config)
    rules = optimizer.layer_rules(run.architecture, run.config.optimizer, run.config.schedule)
    return stored_values.plan(run, rules, resident.room(run.mesh))


def assert_same_run(one, other, tolerance):
    """Assert that two runs have the same parameters and the same numbers in their logs."""

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())

    jax.tree.map(close, saved_params(one, STEPS), saved_params(other, STEPS))
    for tag in ("train/loss", "val/loss", "val/top1_error", "val/top5_error"):
        logs = [[(line["step"], line[tag]) for line in logged(run, tag)] for run in (one, other)]
        assert logs[0], tag
        np.testing.assert_allclose(logs[0], logs[1], rtol=1e-5, err_msg=tag)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, digits_folder):
    """A run on 1x1 with stored values, and the same run without."""
    folder = tmp_path_factory.mktemp("stored")
    config = frozen_digits(digits_folder)
    assert loop.train(config, folder / "stored") == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_values, "plan", lambda *_: None)
        assert loop.train(config, folder / "each_step") == 0
    return folder


def test_the_run_is_that_which_computes_all_layers_at_each_step(undisturbed):
    assert_same_run(undisturbed / "stored", undisturbed / "each_step", 1e-5)
    trained, drawn = saved_params(undisturbed / "stored", STEPS), saved_params(undisturbed / "stored", 4)
    np.testing.assert_array_equal(trained["conv5"]["kernel"], drawn["conv5"]["kernel"])
    assert (trained["fc6"]["kernel"] != drawn["fc6"]["kernel"]).any()  # under dropout, drawn from the step


@pytest.mark.parametrize("mesh", [(1, 2), (2, 1)])
def test_on_other_meshes_it_is_the_same_run(mesh, undisturbed, tmp_path, digits_folder):
    assert loop.train(frozen_digits(digits_folder, mesh), tmp_path) == 0
    assert_same_run(tmp_path, undisturbed / "each_step", 1e-5)


def test_a_head_that_begins_inside_the_towers(tmp_path, digits_folder, monkeypatch):
    config = frozen_digits(digits_folder, (1, 2), FROZEN[:3])  # conv4 reads its own tower alone
    config.train.epochs = epochs(STOP)
    assert plan_of(config).layer == "relu3"
    assert loop.train(config, tmp_path / "stored") == 0
    monkeypatch.setattr(stored_values, "plan", lambda *_: None)
    assert loop.train(config, tmp_path / "each_step") == 0

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())

    jax.tree.map(close, saved_params(tmp_path / "stored", STOP), saved_params(tmp_path / "each_step", STOP))


def test_a_resumed_run_has_the_same_bits(undisturbed, tmp_path, digits_folder):
    config = frozen_digits(digits_folder)
    for length in (STOP, STEPS):
        config.train.epochs = epochs(length)
        assert loop.train(config, tmp_path) == 0
    jax.tree.map(
        np.testing.assert_array_equal,
        saved_params(tmp_path, STEPS),
        saved_params(undisturbed / "stored", STEPS),
    )


def test_each_image_is_read_once(tmp_path, digits_folder, monkeypatch, capfd):
    read: list[str] = []
    image = Records.image

    def count(self, index, buffer=None):
        read.append(self.split)
        return image(self, index, buffer)

    monkeypatch.setattr(Records, "image", count)
    config = frozen_digits(digits_folder)
    config.train.epochs = 3.0
    assert loop.train(config, tmp_path) == 0
    assert len(logged(tmp_path, "val/loss")) > 3
    # 1,350 images make 42.2 batches of 32: the last batch has 26 of the next epoch.
    assert read.count(config.data.train_split) == 1376
    assert read.count(config.data.validation_split) == 150
    assert "frozen layers: the values of pool5 are computed once, for 1,500 images" in capfd.readouterr().err


def test_a_number_of_views_repeats_the_crops_of_the_first_epochs(tmp_path, digits_folder, monkeypatch):
    config = frozen_digits(digits_folder)
    config.data.random_crop, config.data.flip, config.data.batch_size = True, True, 450
    assert plan_of(config) is None
    config.train.epochs, config.train.stored_views = 3.0, 2
    config.train.log_every_steps = 1
    assert loop.train(config, tmp_path / "stored") == 0
    monkeypatch.setattr(stored_values, "plan", lambda *_: None)
    assert loop.train(config, tmp_path / "each_step") == 0
    stored, each_step = (
        np.array([line["train/loss"] for line in logged(tmp_path / name, "train/loss")])
        for name in ("stored", "each_step")
    )
    different = np.abs(stored - each_step) / each_step
    assert different[:6].max() < 1e-6 < different[6:].max(), (
        different
    )  # three steps an epoch, then other crops


def test_values_that_have_no_room_are_computed_at_each_step(
    undisturbed, tmp_path, digits_folder, monkeypatch, capfd
):
    monkeypatch.setattr(resident, "room", lambda mesh: 10_000)
    assert loop.train(frozen_digits(digits_folder), tmp_path) == 0
    assert "more than 0.0: each step computes them" in capfd.readouterr().err
    jax.tree.map(
        np.testing.assert_array_equal,
        saved_params(tmp_path, STEPS),
        saved_params(undisturbed / "each_step", STEPS),
    )


@pytest.mark.parametrize(
    ("change", "layer"),
    [
        ({}, "pool5"),
        ({"optimizer.per_layer": ConfigDict({"conv1": {"frozen_from": 0.0}})}, "pool1"),
        ({"optimizer.per_layer": ConfigDict({"conv2": {"frozen_from": 0.0}})}, None),  # conv1 is trained
        ({"optimizer.per_layer": ConfigDict({"conv1": {"frozen_from": 2.0}})}, None),  # not from the start
        ({"data.flip": True}, None),
        ({"data.lighting": 0.1, "data.channels": 3}, None),
        ({"data.random_crop": True}, None),
        ({"data.random_crop": True, "train.stored_views": 3}, "pool5"),
    ],
)
def test_where_values_are_stored(change, layer, digits_folder):
    config = frozen_digits(digits_folder)
    run = prepare_run(config)
    config.update_from_flattened_dict(change)
    rules = optimizer.layer_rules(run.architecture, config.optimizer, config.schedule)
    plan = stored_values.plan(replace(run, config=config), rules, 10**9)
    assert (plan and plan.layer) == layer
    if plan is not None:
        assert plan.views == (config.train.stored_views or 1)


def test_views_that_have_no_room_are_refused(digits_folder, tmp_path, monkeypatch):
    """A machine with more room would train on other crops."""
    monkeypatch.setattr(resident, "room", lambda mesh: 10_000)
    config = frozen_digits(digits_folder)
    config.data.random_crop, config.train.stored_views = True, 2
    with pytest.raises(
        UsageError, match=r"config.train.stored_views=2: the values of pool5 would take .* GB"
    ):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
