"""Runs some of whose layers are never trained: what lies in the workdir, resuming, damage, moving it away."""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.commands import doctor_report
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference.evaluate import evaluate
from alexnet_jax.interop import convert
from alexnet_jax.training import loop
from alexnet_jax.training.warm_start import open_initial
from alexnet_jax.workdir import trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.fixtures.make_old_run import arrays
from tests.fixtures.make_old_run import state as read_state
from tests.helpers import STEPS, STOP, epochs, saved_params, small_digits

NEVER = ("conv1", "conv2", "conv3", "conv4", "conv5")


def frozen_digits(folder: str, source: Path, length: int = STEPS) -> ConfigDict:
    """A run from the layers of `source`, whose convolutions stay; fc6 is frozen from step 6 on."""
    config = small_digits(folder)
    config.train.init_from, config.seed, config.train.epochs = str(source), 7, epochs(length)
    rules: dict[str, Any] = {name: {"frozen_from": 0.0} for name in NEVER}
    config.optimizer.per_layer = ConfigDict(rules | {"fc6": {"frozen_from": epochs(6)}})
    config.checkpoint.every_epochs, config.checkpoint.keep = epochs(4), 9
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, digits_folder: str, small_run: Path) -> Path:
    """A run with checkpoints of steps 4, 8 and 12."""
    workdir = tmp_path_factory.mktemp("frozen") / "run"
    assert loop.train(frozen_digits(digits_folder, small_run), workdir) == 0
    return workdir


@pytest.fixture
def workdir(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


def flip_a_bit(folder: Path) -> Path:
    path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def test_what_lies_in_the_workdir(finished: Path, small_run: Path) -> None:
    given, once = read_state(small_run, STEPS), arrays(finished / "frozen" / "state")
    names = {f"params/{layer}/{leaf}" for layer in NEVER for leaf in ("kernel", "bias")}
    assert_same(once, {name: given[name] for name in names})
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["12", "4", "8"]
    for step in (4, 8, 12):
        held = read_state(finished, step)
        assert {name.split("/")[-2] for name in held if name != "step"} == {"fc6", "fc7", "fc8"}
        assert {name.split("/")[0] for name in held} == {"step", "params", "opt_state"}


def test_a_stopped_run_resumes_bit_for_bit(
    finished: Path, tmp_path: Path, digits_folder: str, small_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for length in (STOP, STEPS):
        assert loop.train(frozen_digits(digits_folder, small_run, length), tmp_path / "run") == 0
    assert f"resumes at step {STOP} of {STEPS}" in capfd.readouterr().err
    assert_same(read_state(tmp_path / "run", STEPS), read_state(finished, STEPS))
    assert_same(arrays(tmp_path / "run" / "frozen" / "state"), arrays(finished / "frozen" / "state"))


def test_a_checkpoint_of_before_is_resumed_to_the_same_end(
    workdir: Path, finished: Path, digits_folder: str, small_run: Path
) -> None:
    """It holds all layers, and velocities of 0 for those that are never trained."""
    held, once = read_state(workdir, 4), arrays(workdir / "frozen" / "state")
    whole: dict[str, Any] = {}
    zeros = {name.replace("params/", "opt_state/trace/"): np.zeros_like(x) for name, x in once.items()}
    for name, value in (held | once | zeros).items():
        *above, leaf = name.split("/")
        node = whole
        for key in above:
            node = node.setdefault(key, {})
        node[leaf] = value
    before = Checkpoints(workdir)
    metadata = before.metadata(4)
    shutil.rmtree(workdir / "checkpoints")
    shutil.rmtree(workdir / "frozen")
    before.save(4, whole, metadata)
    before.close()
    assert loop.train(frozen_digits(digits_folder, small_run), workdir) == 0
    assert before.steps() == [4, 8, 12]
    assert "params/conv1/kernel" in read_state(workdir, 4)
    for step in (8, 12):
        assert_same(read_state(workdir, step), read_state(finished, step))
    assert_same(arrays(workdir / "frozen" / "state"), once)


def test_a_moved_folder_answers_alone(
    workdir: Path, finished: Path, small_run: Path, digits_folder: str, tmp_path: Path
) -> None:
    moved = Path(shutil.move(workdir, tmp_path / "elsewhere"))
    for step in (4, 12):
        params, held = saved_params(moved, step), read_state(finished, step)
        given = read_state(small_run, STEPS)
        for layer, leaves in params.items():
            for leaf, value in leaves.items():
                expected = (given if layer in NEVER else held)[f"params/{layer}/{leaf}"]
                np.testing.assert_array_equal(value, expected, err_msg=f"{step} {layer}")
    lines = convert.to_file(moved, tmp_path / "net.npz", "last")
    assert "of step 12" in lines[0]
    # The same values, trained in a run of before: one checkpoint that holds all.
    whole = Path(shutil.copytree(moved, tmp_path / "whole"))
    shutil.rmtree(whole / "checkpoints")
    shutil.rmtree(whole / "frozen")
    checkpoints = Checkpoints(whole)
    checkpoints.save(12, {"params": saved_params(moved, 12)}, Checkpoints(moved).metadata(12))
    checkpoints.close()
    images = np.random.default_rng(3).integers(0, 256, (4, 72, 72, 1), dtype=np.uint8)
    nets = [trained.load(folder, trained.read_config(folder), "12") for folder in (moved, whole)]
    np.testing.assert_array_equal(*(np.asarray(net.predictor(1)(images)) for net in nets))
    ours, theirs = (evaluate([net], nets[0].config.data.validation_split, 1) for net in nets)
    for key in ("examples", "loss", "top1_error", "top5_error", "classes"):
        assert ours[key] == theirs[key]
    assert ours["top1_error"] == Checkpoints(moved).metadata(12)["validation_top1_error"]


@pytest.mark.parametrize("damage", ["flipped bit", "missing"])
def test_a_damaged_frozen_part_is_named_by_whatever_needs_it(
    damage: str, workdir: Path, digits_folder: str, small_run: Path, tmp_path: Path
) -> None:
    part = workdir / "frozen"
    if damage == "missing":
        shutil.move(part, tmp_path / "away")
        wrong = f"{part} is missing; the layers that were never trained lie there"
    else:
        wrong = f"{flip_a_bit(part)} is not as it was written; the layers that were never trained lie there"
    config = trained.read_config(workdir)
    way_out = "put back the folder frozen of this run"

    with pytest.raises(RunFailure) as failure:
        trained.load(workdir, config, "4")
    assert str(failure.value).startswith(f"checkpoint 4 cannot be used: {wrong}")
    assert str(failure.value).endswith(way_out)

    with pytest.raises(RunFailure) as failure:
        loop.train(frozen_digits(digits_folder, small_run, STEPS + 2), workdir)
    assert str(failure.value).startswith(wrong)
    assert str(failure.value).endswith(f"{way_out}, or remove {workdir}/checkpoints to start anew")
    assert Checkpoints(workdir).steps() == [4, 8, 12]  # none was removed

    next_run = frozen_digits(digits_folder, workdir)
    architecture = trained.load(small_run, trained.read_config(small_run)).architecture
    with pytest.raises(UsageError) as refused:
        open_initial(next_run, architecture)
    assert "of config.train.init_from is damaged: " in str(refused.value)
    assert wrong in str(refused.value)

    text, healthy = doctor_report.report(config, workdir)
    assert not healthy
    assert f"this run cannot start: {wrong}" in text
    assert "remove it to start anew" not in text

    if damage == "missing":
        shutil.move(tmp_path / "away", part)
        assert loop.train(frozen_digits(digits_folder, small_run, STEPS + 2), workdir) == 0


def test_a_run_starts_from_one_with_frozen_layers(workdir: Path, digits_folder: str) -> None:
    config = frozen_digits(digits_folder, workdir)
    net = trained.load(workdir, trained.read_config(workdir))
    initial = open_initial(config, net.architecture)
    assert initial.layers == (*NEVER, "fc6", "fc7")
    zeros = jax.tree.map(np.zeros_like, net.params)
    params = initial.params(zeros, net.architecture, net.mesh)
    for layer in initial.layers:
        jax.tree.map(np.testing.assert_array_equal, params[layer], net.params[layer])


def test_a_run_begins_anew_where_its_checkpoints_were_removed(
    workdir: Path, finished: Path, digits_folder: str
) -> None:
    """What lies in the folder is of another run then, and is replaced."""
    shutil.rmtree(workdir / "checkpoints")
    config = frozen_digits(digits_folder, Path())
    config.train.init_from = ""
    (workdir / "config.json").unlink()
    assert loop.train(config, workdir) == 0
    assert Checkpoints(workdir).find_corruption(STEPS) is None
    drawn, other = arrays(workdir / "frozen" / "state"), arrays(finished / "frozen" / "state")
    assert drawn.keys() == other.keys()
    assert (drawn["params/conv1/kernel"] != other["params/conv1/kernel"]).any()
    np.testing.assert_array_equal(
        saved_params(workdir, STEPS)["conv1"]["kernel"], drawn["params/conv1/kernel"]
    )
