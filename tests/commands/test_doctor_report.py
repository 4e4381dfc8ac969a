"""`doctor`: whether a run could start, and the state of one."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from alexnet_jax import extras
from alexnet_jax.commands import doctor_report
from alexnet_jax.data import pipeline
from alexnet_jax.model import inputs, network, sharding
from alexnet_jax.training import loop, optimizer, setup, step
from alexnet_jax.workdir import trained
from alexnet_jax.workdir.lock import lock
from tests.commands.helpers import call
from tests.helpers import epochs


def test_what_would_stop_a_run(digits_config: ConfigDict, tmp_path: Path) -> None:
    text, healthy = doctor_report.report(digits_config)
    assert healthy
    assert "this run can start: alexnet_2012 on a mesh of 1 x 2" in text
    digits_config.data.dir = str(tmp_path)
    text, healthy = doctor_report.report(digits_config)
    assert not healthy
    assert "is not prepared" in text


def test_a_probe_of_the_deepest_layer_is_what_the_run_would_read(
    small_run: Path, digits_config: ConfigDict, tmp_path: Path
) -> None:
    """What is resumed keeps its layer, also where the weights that it began with are gone."""
    digits_config.model.probe, digits_config.train.init_from = "deepest", str(tmp_path / "gone")
    text, healthy = doctor_report.report(digits_config)
    assert not healthy
    assert "is not the workdir of a trained net" in text
    digits_config.train.init_from = str(small_run)
    assert doctor_report.report(digits_config)[1]


def problems(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("this run cannot start: ")]


def test_memory_is_of_the_size_that_xla_says(digits_config: ConfigDict) -> None:
    """XLA's own count for the compiled step, within a factor of two and a half."""
    run = setup.prepare_run(digits_config)
    architecture, config = run.architecture, run.config
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    normalization = inputs.Normalization(config.data.mean, config.data.input_std)
    program = step.Program(architecture, run.mesh, normalization, optimizer.momentum(rules, 0.9), 0)
    state = step.init_state(program, network.init_params(architecture, 0, run.mesh))
    statistics = run.dataset.statistics
    mean = inputs.mean_array(normalization, statistics.mean, statistics.rgb_mean, architecture.crop)
    batches = pipeline.training_batches(
        run.dataset, config.data, config.seed, first_batch=0, last_batch=1, rows=(0, 32)
    )
    batch = sharding.to_device(next(iter(batches)), run.mesh)
    batches.close()
    learning_rates = optimizer.learning_rates(rules, config, optimizer.PlateauState(), 0.0)
    compiled = (
        step.compiled_train_step(program, state)
        .lower(  # type: ignore[attr-defined]
            state, batch, mean, learning_rates
        )
        .compile()
    )
    analysis = compiled.memory_analysis()
    expected = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    assert 0.4 * expected < doctor_report.memory_needed(config, architecture, run.mesh) < 2.5 * expected


def test_what_it_reports_beforehand(
    digits_config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, healthy = doctor_report.report(digits_config, tmp_path / "run")
    assert healthy
    assert not (tmp_path / "run").exists()
    assert "data: 1,350 images in 'train[:90%]'" in text
    assert "memory: about 0.0" in text
    assert "disk: checkpoints need about 0.0" in text

    digits_config.data.batch_size, digits_config.model.width = 1350, 8.0
    text, healthy = doctor_report.report(digits_config, tmp_path / "run")
    assert not healthy
    assert "that a device has free: set a smaller config.data.batch_size, or more devices" in text
    digits_config.data.batch_size, digits_config.model.width = 32, 0.0625

    monkeypatch.setattr(doctor_report.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**10))
    text, healthy = doctor_report.report(digits_config, tmp_path / "run")
    assert not healthy
    assert len(problems(text)) == 1
    assert "make room, or set a smaller config.checkpoint.keep" in text
    monkeypatch.undo()

    (tmp_path / "file").write_text("")
    text, healthy = doctor_report.report(digits_config, tmp_path / "file" / "run")
    assert problems(text) == [f"this run cannot start: the workdir {tmp_path}/file/run cannot be written"]

    with lock(tmp_path / "used"):
        text, healthy = doctor_report.report(digits_config, tmp_path / "used")
    assert problems(text) == [f"this run cannot start: another run is using {tmp_path}/used"]

    monkeypatch.setattr(doctor_report.time, "time", lambda: 0.0)
    assert "the clock says Thu Jan  1" in problems(doctor_report.report(None)[0])[0]
    monkeypatch.undo()
    needed = ["jax>=0.1,<0.2", "nonesuch>=1", 'another>=1; extra == "pages"', 'chips; extra == "tpu"']
    monkeypatch.setattr(extras, "requirements", lambda: needed)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    text, healthy = doctor_report.report(None)
    assert "versions that were not tested: jax" in text
    assert "the package nonesuch is missing" in text
    assert "another" not in text
    assert "chips" not in text
    assert "extras: tensorboard, digits, heic\nextra pages, which needs jinja2, is not installed: " in text
    assert not healthy


def test_layers_that_are_never_trained_cost_less(digits_config: ConfigDict, tmp_path: Path) -> None:
    """Their parameters are held in memory, and saved once; by hand, from the shapes of the small net."""
    run = setup.prepare_run(digits_config)
    before = doctor_report.memory_needed(run.config, run.architecture, run.mesh)
    never = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    digits_config.optimizer.per_layer = ConfigDict({name: {"frozen_from": 0.0} for name in never})
    run = setup.prepare_run(digits_config)
    params = network.init_params(run.architecture, 0, run.mesh)
    frozen = sum(leaf.size for name in never for leaf in params[name].values())
    after = doctor_report.memory_needed(run.config, run.architecture, run.mesh)
    assert before - after == pytest.approx(4 * 2 * frozen / run.mesh.shape["model"], abs=8)
    head = sum(leaf.size for leaf in params["fc8"].values())
    assert doctor_report._parameters(run.config, run.architecture) == (head, frozen)


def test_the_state_of_a_run(digits_config: ConfigDict, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    digits_config.checkpoint.every_epochs, digits_config.checkpoint.keep = epochs(4), 9
    assert loop.train(digits_config, workdir) == 0
    text, healthy = doctor_report.report(trained.read_config(workdir), workdir)
    assert healthy
    assert f"{workdir}: logged as far as step 12, epoch 0.284444" in text
    assert "checkpoint 4: whole, epoch 0.0948148" in text
    assert "checkpoint 12: whole, epoch 0.284444, validation top-1 error" in text
    assert text.count("(the best)") == 1
    file = next(p for p in (workdir / "checkpoints/12").rglob("*") if p.is_file() and p.parent.name == "d")
    file.write_bytes(file.read_bytes()[:-1])
    (workdir / "checkpoints/16").mkdir()
    text, healthy = doctor_report.report(trained.read_config(workdir), workdir)
    assert healthy  # the run resumes from step 8
    assert f"checkpoint 12: damaged: {file} is not as it was written" in text
    assert "checkpoint 16: an interrupted save" in text
    for path in (workdir / "checkpoints").glob("*/manifest.json"):
        path.write_text("{}")
    text, healthy = doctor_report.report(trained.read_config(workdir), workdir)
    assert not healthy
    assert "is whole: remove it to start anew" in problems(text)[0]


def test_the_net_to_start_from_is_asked_for_until_the_run_has_begun(
    digits_config: ConfigDict, small_run: Path, tmp_path: Path
) -> None:
    digits_config.train.init_from = str(tmp_path / "gone")
    for workdir in (None, tmp_path / "run"):
        text, _ = doctor_report.report(digits_config, workdir)
        assert "gone' is not the workdir of a trained net" in problems(text)[0]
    assert doctor_report.report(digits_config, small_run)[1]


def test_the_command_reports_a_config_that_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """It is what would stop the run, not a wrong use of `doctor`."""
    assert call(["doctor", "--config=configs/digits.py", "--config.data.crop=100"]) == 1
    line = "this run cannot start: config.data.crop=100 is larger than the prepared images"
    assert line in capsys.readouterr().out
