"""Runs on real digits: what they leave, when they evaluate, and how they end."""

import gc
import math
import re
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.config import io as config_io
from alexnet_jax.errors import RunFailure
from alexnet_jax.training import loop
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.helpers import STEPS, STOP, epochs, logged, saved_params, small_digits


def test_a_run_leaves_what_it_promises(small_run):
    losses = logged(small_run, "train/loss")
    assert [line["step"] for line in losses] == [4, 8, 12]
    assert all(math.isfinite(line["train/loss"]) and line["learning_rate"] == 0.015 for line in losses)
    validation = logged(small_run, "val/top1_error")
    assert [line["step"] for line in validation] == [12]
    assert 0 <= validation[0]["val/top5_error"] <= validation[0]["val/top1_error"] <= 1
    config, metadata = config_io.load(small_run / "config.json")
    assert metadata["class_names"] == [str(digit) for digit in range(10)]
    assert config.model.width == 0.0625
    assert any((small_run / "tensorboard").iterdir())
    assert Checkpoints(small_run).steps() == [12]


def test_processes_that_read_change_nothing_and_leave_no_shared_memory(small_run, tmp_path, digits_folder):
    before = set(Path("/dev/shm").iterdir())
    config = small_digits(digits_folder)
    config.data.workers = 2
    gc.disable()  # or chance would let go of it
    try:
        assert loop.train(config, tmp_path) == 0
        for _ in range(30):  # a thread takes it away
            left = set(Path("/dev/shm").glob("psm_*")) - before
            if not left:
                break
            time.sleep(0.1)
        assert not left
    finally:
        gc.enable()
    jax.tree.map(np.testing.assert_array_equal, saved_params(tmp_path, STEPS), saved_params(small_run, STEPS))


def test_a_layer_freezes_in_the_middle_of_a_run_also_when_it_was_stopped(tmp_path, digits_folder):
    config = small_digits(digits_folder)
    frozen_from = {"conv1": {"kernel_steps": ((epochs(2), 1e-3),), "frozen_from": epochs(4)}}
    config.optimizer.per_layer = ConfigDict(frozen_from)
    config.checkpoint.every_epochs, config.checkpoint.keep = epochs(1), STEPS
    assert loop.train(config, tmp_path / "whole") == 0
    for length in (3, STOP, STEPS):
        config.train.epochs = epochs(length)
        assert loop.train(config, tmp_path / "stopped") == 0
    whole = {step: saved_params(tmp_path / "whole", step) for step in (3, 4, STOP, STEPS)}
    jax.tree.map(np.testing.assert_array_equal, saved_params(tmp_path / "stopped", STEPS), whole[STEPS])
    ends = [Checkpoints(tmp_path / run).metadata(STEPS)["schedule"] for run in ("whole", "stopped")]
    assert ends[0] == ends[1]  # to the last bit of the average loss
    assert ends[0]["flat_loss"] > 0
    for leaf in ("kernel", "bias"):
        assert (whole[4]["conv1"][leaf] != whole[3]["conv1"][leaf]).any()
        np.testing.assert_array_equal(whole[STEPS]["conv1"][leaf], whole[4]["conv1"][leaf])
    assert (whole[STEPS]["conv2"]["kernel"] != whole[STOP]["conv2"]["kernel"]).any()


def test_a_number_that_is_not_finite_stops_the_run(digits_config, tmp_path):
    digits_config.schedule.learning_rate = 1e9
    with pytest.raises(RunFailure, match=r"step \d+: the loss or the parameters are not finite"):
        loop.train(digits_config, tmp_path)
    assert Checkpoints(tmp_path).steps() == []


@pytest.mark.parametrize("architecture", ["alexnet_2012", "alexnet_2012_source"])
def test_a_loss_that_stands_still_is_reported(digits_config, tmp_path, capfd, architecture):
    if architecture != digits_config.model.architecture:
        kept = ("classes", "width", "dropout", "compute_dtype")
        model = {key: digits_config.model[key] for key in kept}
        digits_config.model = ConfigDict(model | {"architecture": architecture})
    digits_config.schedule.learning_rate = 1e-9
    digits_config.train.flat_loss_steps = 8
    # Two evaluations whose error stays would end it: one before the other an epoch of four steps.
    digits_config.data.train_split = "train[:10%]"
    digits_config.train.epochs = 12 * 32 / 150
    digits_config.schedule.kind = "plateau"
    digits_config.schedule.update(patience=1, patience_steps=0, divisions=0)
    loop.train(digits_config, tmp_path)
    errors = capfd.readouterr().err
    assert "ended at step" not in errors
    assert re.findall(r"the loss stands still: 2\.\d+ after (\d+) steps is", errors) == ["8", "12"]
    saved = Checkpoints(tmp_path).metadata(12)["schedule"]
    assert saved.pop("flat_loss") > 0.98 * math.log(10)
    assert saved == {"divisions": 0, "best": None, "since": 0.0, "ended": False}
    assert "the loss stands still: 2." in errors
    assert "ln(10) = 2.303" in errors
    assert ("configs/imagenet_2012_source.py" in errors) == (architecture == "alexnet_2012")


def test_the_plateau_rule_counts_in_whole_intervals(digits_config, tmp_path, monkeypatch):
    """An evaluation falls on the first step after its epoch; what the rule sees is the epoch itself."""
    seen = []

    def update_plateau(schedule, plateau, epoch, error, epochs_per_step):
        assert epochs_per_step == pytest.approx(32 / 1350)
        seen.append(epoch)
        return plateau

    monkeypatch.setattr(loop.optimizer, "update_plateau", update_plateau)
    digits_config.train.evaluate_every_epochs = 0.1  # 4.2 steps
    assert loop.train(digits_config, tmp_path) == 0
    assert [line["step"] for line in logged(tmp_path, "val/loss")] == [5, 9, 12]
    assert seen == pytest.approx([0.1, 0.2, 0.2])
