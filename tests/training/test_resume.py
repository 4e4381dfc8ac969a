"""Runs that were stopped, corrupted or changed, resumed; what a workdir keeps and what it refuses."""

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.data import pipeline
from alexnet_jax.data.records import open_dataset
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.distributed import Group
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.model import network, sharding
from alexnet_jax.model.inputs import Normalization
from alexnet_jax.model.specs import Architecture
from alexnet_jax.training import loop, optimizer, resume, step
from alexnet_jax.training.optimizer import PlateauState
from alexnet_jax.training.setup import RunSetup, prepare_run
from alexnet_jax.training.warm_start import Initial
from alexnet_jax.workdir import trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.fixtures.make_old_run import state as read_state
from tests.helpers import STEPS, STOP, epochs, forget_provenance, saved_params, small_digits
from tests.model.helpers import random_params


@pytest.fixture
def workdir(small_run: Path, tmp_path: Path) -> Path:
    """A copy of the small run, of 12 steps."""
    return shutil.copytree(small_run, tmp_path / "copy")


def keep_or_check(config: ConfigDict, workdir: Path, group: Any = None) -> Initial | None:
    return resume.keep_or_check_config(prepare_run(config), workdir, Checkpoints(workdir), group or Group())


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def largest(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


# Its config


def test_a_new_run_keeps_its_config_and_the_statistics_of_its_data(
    digits_config: ConfigDict, tmp_path: Path
) -> None:
    digits_config.model.classes = 0
    assert keep_or_check(digits_config, tmp_path) is None
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["config"]["model"]["classes"] == 10
    assert saved["config"]["data"]["batch_size"] == 32
    assert saved["class_names"] == list("0123456789")
    assert saved["statistics"] == "statistics.npz"
    assert "core" in saved["hardware"]
    assert saved["versions"]["jax"] == jax.__version__
    dataset = open_dataset(digits_config.data)
    assert (tmp_path / "statistics.npz").read_bytes() == (dataset.folder / "statistics.npz").read_bytes()


def test_a_run_that_has_begun_keeps_its_statistics(digits_config: ConfigDict, workdir: Path) -> None:
    forget_provenance(workdir)
    given = Statistics.load(workdir / "statistics.npz")
    dataclasses.replace(given, mean=given.mean + 1).save(workdir / "statistics.npz")
    before = (workdir / "statistics.npz").read_bytes()
    keep_or_check(digits_config, workdir)
    assert (workdir / "statistics.npz").read_bytes() == before
    shutil.rmtree(workdir / "checkpoints")  # stopped before its first checkpoint it begins anew
    keep_or_check(digits_config, workdir)
    assert Statistics.load(workdir / "statistics.npz").mean.max() == given.mean.max()


def test_what_may_change_is_kept_and_nothing_else(digits_config: ConfigDict, workdir: Path) -> None:
    digits_config.train.log_every_steps, digits_config.mesh.model = 1, 1
    keep_or_check(digits_config, workdir)
    kept = (workdir / "config.json").read_bytes()
    assert json.loads(kept)["config"]["train"]["log_every_steps"] == 1
    digits_config.optimizer.momentum = 0.5
    with pytest.raises(UsageError, match=r"config.optimizer.momentum=0.9, not 0.5: use the old value, or"):
        keep_or_check(digits_config, workdir)
    assert (workdir / "config.json").read_bytes() == kept


def test_a_workdir_is_one_run(small_run: Path, digits_folder: str) -> None:
    config = small_digits(digits_folder)
    before, config.schedule.learning_rate = config.schedule.learning_rate, 0.02
    with pytest.raises(UsageError, match=rf"config.schedule.learning_rate={before}, not 0.02"):
        loop.train(config, small_run)


def test_what_is_no_run_is_refused(digits_config: ConfigDict, workdir: Path) -> None:
    forget_provenance(workdir)
    path = workdir / "config.json"
    tree = json.loads(path.read_text())
    for change, words in (
        ({"converted_from": "alexnet.npy"}, f"holds converted weights, not a run: .*init_from={workdir} to"),
        ({"class_names": list("9876543210")}, r"digits_72/1.0.0 has other classes than the run in"),
        (
            {"dataset_digest": "0" * 64},
            r"digits_72/1.0.0 is not the dataset that the run in .* was trained on",
        ),
    ):
        path.write_text(json.dumps(tree | change))
        before = path.read_bytes()
        with pytest.raises(UsageError, match=words):
            keep_or_check(digits_config, workdir)
        assert path.read_bytes() == before
    path.unlink()
    with pytest.raises(UsageError, match=r"holds checkpoints and no config.json: use another --workdir"):
        keep_or_check(digits_config, workdir)
    assert not path.exists()


def test_a_run_that_starts_from_another_net_has_its_statistics(
    digits_config: ConfigDict, small_run: Path, workdir: Path, tmp_path: Path
) -> None:
    forget_provenance(workdir)
    given = Statistics.load(workdir / "statistics.npz")
    dataclasses.replace(given, mean=given.mean + 1).save(workdir / "statistics.npz")
    digits_config.train.init_from = str(workdir)
    (tmp_path / "made").mkdir()
    initial = keep_or_check(digits_config, tmp_path / "made")
    assert initial is not None
    assert initial.new == ("fc8",)
    assert (tmp_path / "made" / "statistics.npz").read_bytes() == (workdir / "statistics.npz").read_bytes()
    # Once it has a checkpoint the other net is no longer looked at.
    shutil.copytree(small_run / "checkpoints", tmp_path / "made" / "checkpoints")
    forget_provenance(tmp_path / "made")
    shutil.rmtree(workdir)
    assert keep_or_check(digits_config, tmp_path / "made") is None


class OtherProcess:
    """A process that is not the first, which gets what `answers` hold, one after another."""

    is_primary = False

    def __init__(self, *answers: Any):
        self.answers = list(answers)

    def broadcast_from_primary(self, find: Callable[[], Any]) -> Any:
        return self.answers.pop(0)


def test_other_processes_look_for_the_first_one_s_config(
    digits_config: ConfigDict, workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256((workdir / "config.json").read_bytes()).hexdigest()
    assert keep_or_check(digits_config, workdir, OtherProcess(digest)) is None
    monkeypatch.setattr(resume, "SHARED_FOLDER_SECONDS", 0.0)
    before = sorted(tmp_path.rglob("*"))
    for folder in (workdir, tmp_path / "elsewhere"):
        with pytest.raises(UsageError, match=f"{folder} is not the folder here that it is for the first"):
            keep_or_check(digits_config, folder, OtherProcess("0" * 64))
    assert sorted(tmp_path.rglob("*")) == before  # they write nothing


# Its checkpoints


def start(config: ConfigDict, workdir: Path, group: Any = None) -> resume.Start:
    """Return what a run of this config in this workdir begins with."""
    setup = prepare_run(config)
    return resume.start(setup, workdir, program(setup), Checkpoints(workdir), None, group or Group())


def program(setup: RunSetup) -> step.Program:
    config = setup.config
    rules = optimizer.layer_rules(setup.architecture, config.optimizer, config.schedule)
    normalization = Normalization(config.data.mean, config.data.input_std)
    return step.Program(
        setup.architecture, setup.mesh, normalization, optimizer.momentum(rules, 0.9), config.seed
    )


def assert_is_saved(state: step.TrainState, workdir: Path, number: int) -> None:
    """Assert that parameters and velocities are, bit for bit, what Orbax reads."""
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }
    expected = read_state(workdir, number)
    assert leaves.keys() == expected.keys()
    for name, leaf in expected.items():
        np.testing.assert_array_equal(leaves[name], leaf, err_msg=name)


def rewrite_metadata(workdir: Path, number: int, **changes: Any) -> None:
    checkpoints = Checkpoints(workdir)
    checkpoints.update_metadata(number, checkpoints.metadata(number) | changes)
    checkpoints.close()


def test_a_validation_that_was_not_noted_in_its_checkpoint_is_logged_once(
    digits_config: ConfigDict, workdir: Path
) -> None:
    """As of a process that was killed after it had written the line, and before it noted that."""

    def validations() -> list[dict[str, float]]:
        lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
        return [line for line in lines if "val/loss" in line]

    before = validations()
    assert [line["step"] for line in before] == [STEPS]
    rewrite_metadata(workdir, STEPS, evaluated_step=0, validation_top1_error=None)
    assert loop.train(digits_config, workdir) == 0
    assert validations() == before
    assert Checkpoints(workdir).metadata(STEPS)["evaluated_step"] == STEPS


def test_a_new_run_starts_with_what_is_drawn(
    digits_config: ConfigDict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = start(digits_config, tmp_path)
    assert (started.step, started.evaluated_step, int(started.state.step)) == (0, 0, 0)
    assert started.plateau == PlateauState(0, None, 0.0, False, math.log(10))
    setup = prepare_run(digits_config)
    drawn = network.init_params(setup.architecture, digits_config.seed, setup.mesh)
    jax.tree.map(np.testing.assert_array_equal, started.state.params, drawn)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(started.state.opt_state))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("data", "model"), [(1, 2), (2, 1)])
def test_a_run_resumes_with_what_was_saved_on_any_devices(
    data: int,
    model: int,
    digits_config: ConfigDict,
    workdir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drawn(architecture: Architecture, seed: int, mesh: Mesh) -> Any:  # sooner than the seed's
        return jax.device_put(random_params(architecture), sharding.param_shardings(architecture, mesh))

    monkeypatch.setattr(network, "init_params", drawn)
    schedule = {"divisions": 2, "best": 0.25, "since": 7.5, "ended": False}
    rewrite_metadata(workdir, STEPS, schedule=schedule, evaluated_step=9)
    digits_config.mesh.data, digits_config.mesh.model = data, model
    digits_config.train.epochs = epochs(20)
    started = start(digits_config, workdir)
    assert (started.step, started.evaluated_step) == (12, 9)
    assert started.plateau == PlateauState(2, 0.25, 7.5, False)
    assert_is_saved(started.state, workdir, STEPS)
    made = program(prepare_run(digits_config))
    assert jax.tree.map(lambda x: x.sharding, started.state) == step.state_shardings(made, started.state)
    assert capsys.readouterr().err == f"{workdir} resumes at step 12 of 20\n"


def test_of_a_run_that_is_over_it_is_said(
    digits_config: ConfigDict, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(digits_config, small_run).step == 12
    assert capsys.readouterr().err == f"{small_run} is finished at step 12 of 12\n"


def test_a_run_that_is_longer_already_is_refused_and_its_config_stays(
    digits_config: ConfigDict, workdir: Path
) -> None:
    """Its results are those of twelve steps: none of five can be had from it."""
    before = (workdir / "config.json").read_bytes()
    digits_config.train.epochs = epochs(5)
    message = (
        rf"the run in .* is at step 12, and config.train.epochs={epochs(5):g} ends at step 5: use another "
        rf"--workdir, or at least {epochs(12):.6g} epochs"
    )
    with pytest.raises(UsageError, match=message):
        keep_or_check(digits_config, workdir)
    assert (workdir / "config.json").read_bytes() == before


def test_the_last_whole_checkpoint_is_used_and_later_ones_are_removed(
    digits_config: ConfigDict, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workdir / "checkpoints"
    for later in ("9", "14", "16", "17"):
        shutil.copytree(folder / "12", folder / later)
    flip_a_bit(largest(folder / "9" / "state"))
    flip_a_bit(victim := largest(folder / "14" / "state"))
    (folder / "16" / "manifest.json").write_text("{}")
    (folder / "17" / "manifest.json").unlink()
    digits_config.train.epochs = epochs(20)
    started = start(digits_config, workdir)
    assert started.step == 12
    assert_is_saved(started.state, workdir, STEPS)
    assert sorted(path.name for path in folder.iterdir()) == ["12", "9"]  # what comes before is not asked
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{workdir}: removed what an interrupted save left, checkpoints/17"
    assert lines[1].startswith(f"checkpoint 16 is damaged and not used: {folder}/16/manifest.json cannot be")
    assert lines[2:] == [
        f"checkpoint 14 is damaged and not used: {victim} is not as it was written",
        f"{workdir} resumes at step 12 of 20",
    ]


def test_without_a_whole_checkpoint_a_run_does_not_begin_anew(
    digits_config: ConfigDict, workdir: Path
) -> None:
    flip_a_bit(largest(workdir / "checkpoints" / "12" / "state"))
    with pytest.raises(
        RunFailure, match=r"no checkpoint in .*/checkpoints is whole: remove it to start anew"
    ):
        start(digits_config, workdir)
    assert (workdir / "checkpoints" / "12" / "manifest.json").exists()


def test_other_processes_take_the_first_one_s_word(digits_config: ConfigDict, workdir: Path) -> None:
    """They look for no corruption and remove nothing."""
    folder = workdir / "checkpoints"
    shutil.copytree(folder / "12", folder / "14")
    flip_a_bit(largest(folder / "14" / "state"))
    metadata = Checkpoints(workdir).metadata(12)
    started = start(digits_config, workdir, OtherProcess([12, metadata, [14]], None))
    assert started.step == 12
    assert sorted(path.name for path in folder.iterdir()) == ["12", "14"]


def test_layers_of_another_net_are_what_a_run_starts_with(
    digits_config: ConfigDict, small_run: Path, tmp_path: Path
) -> None:
    digits_config.train.init_from = str(small_run)
    setup = prepare_run(digits_config)
    checkpoints = Checkpoints(tmp_path)
    initial = resume.keep_or_check_config(setup, tmp_path, checkpoints, Group())
    started = resume.start(setup, tmp_path, program(setup), checkpoints, initial, Group())
    given = read_state(small_run, STEPS)
    np.testing.assert_array_equal(started.state.params["conv1"]["kernel"], given["params/conv1/kernel"])
    assert (np.asarray(started.state.params["fc8"]["kernel"]) != given["params/fc8/kernel"]).any()
    assert started.step == 0


# The whole way


def test_a_stopped_run_resumes_bit_for_bit(small_run: Path, tmp_path: Path, digits_folder: str) -> None:
    config = small_digits(digits_folder)
    config.train.epochs = epochs(STOP)
    assert loop.train(config, tmp_path) == 0
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == [STOP]
    config.train.epochs = epochs(STEPS)
    assert loop.train(config, tmp_path) == 0
    resumed, whole = read_state(tmp_path, STEPS), read_state(small_run, STEPS)
    assert resumed.keys() == whole.keys()
    for name, leaf in whole.items():  # velocities, too
        np.testing.assert_array_equal(resumed[name], leaf, err_msg=name)


def test_the_next_batch_is_the_one_that_would_have_come(digits_config: ConfigDict) -> None:
    dataset = open_dataset(digits_config.data)

    def batches(first: int) -> list[Any]:
        return list(
            pipeline.training_batches(
                dataset,
                digits_config.data,
                digits_config.seed,
                first_batch=first,
                last_batch=8,
                rows=(0, 32),
            )
        )

    whole, after = batches(0), batches(5)
    assert len(after) == 3
    for ours, expected in zip(after, whole[5:], strict=True):
        for name, value in expected.items():
            np.testing.assert_array_equal(ours[name], value)


def test_a_corrupt_checkpoint_is_not_used(
    workdir: Path, digits_folder: str, capfd: pytest.CaptureFixture[str]
) -> None:
    config = small_digits(digits_folder)
    config.train.epochs = epochs(STEPS + 2)
    assert loop.train(config, workdir) == 0
    checkpoints = Checkpoints(workdir)
    assert checkpoints.steps() == [12, 14]
    undamaged = saved_params(workdir, 14)
    flip_a_bit(largest(workdir / "checkpoints/14/state"))
    assert "is not as it was written" in str(checkpoints.find_corruption(14))
    with pytest.raises(RunFailure, match="checkpoint 14 is damaged"):
        trained.load(workdir, config, "14")
    before = saved_params(workdir, 12)
    assert loop.train(config, workdir) == 0
    errors = capfd.readouterr().err
    assert "checkpoint 14 is damaged and not used" in errors
    assert "resumes at step 12 of 14" in errors
    jax.tree.map(np.testing.assert_array_equal, saved_params(workdir, 12), before)
    jax.tree.map(np.testing.assert_array_equal, saved_params(workdir, 14), undamaged)
    assert checkpoints.find_corruption(14) is None
