"""Rows of results say what a run's files say."""

import json
import math
import shlex
import subprocess

import pytest
from absl import flags as absl_flags
from ml_collections import ConfigDict, config_flags

from alexnet_jax.config import compatibility
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.report import figures, page, results, runs
from configs import cifar10_19, finetune
from tests.report import made_up
from tests.report.made_up import write_finished_run


def test_a_row_says_what_the_files_say(tmp_path):
    run = runs.read(write_finished_run(tmp_path / "a", 7, 0.255))
    row = results.row_of(run)
    assert set(results.ROW_KEYS) <= set(row)
    assert row["values"]["top1_error"] == 0.255
    assert row["values"]["train_top1_error"] == 0.2
    assert row["values"]["epochs_to_25_percent"] == pytest.approx(2 + 0.15 / 0.2)  # between 0.4 and 0.2
    assert row["values"]["epochs_to_learn"] == pytest.approx(1 + (2.3 - 0.98 * math.log(10)) / 0.3)
    assert (row["before"], row["images"]) == ({}, 100 * 128)
    assert row["curve"] == [[1.0, 0.8], [2.0, 0.4], [3.0, 0.2]]
    assert row["seconds"] == pytest.approx(300 * 128 / 200)
    assert (row["experiment"], row["config"], row["seed"]) == ("cifar10", "cifar10", 7)
    assert row["command"] == "python -m alexnet_jax.main --config=configs/cifar10.py --config.seed=7"
    assert row["published"] == {"top1_error": {"value": 0.26, "source": "cuda-convnet"}}
    assert (row["hardware"], row["versions"]["jax"]) == ("a processor, 2 cores", "0.10.2")


def test_an_experiment_is_a_config_and_what_differs(tmp_path):
    change = {"model.activation": "tanh", "schedule.learning_rate": 0.003, "data.dir": "/x", "mesh.data": 1}
    run = runs.read(write_finished_run(tmp_path / "a", 1, 0.3, change, cifar10_19))
    row = results.row_of(run)
    assert row["experiment"] == "cifar10_19 model.activation=tanh schedule.learning_rate=0.003"
    assert "/x" not in json.dumps(row)
    assert row["published"] == {}  # nobody published that


def test_the_command_makes_the_config_again(tmp_path):
    rules = ConfigDict({"conv1": {"frozen_from": 0.0}, "fc8": {"kernel_rate_factor": 2.0}})
    change = {"train.init_from": "/somewhere/else/runs/converted", "optimizer.per_layer": rules}
    change |= {"schedule.steps": ((7, 0.002), (9, 0.0002)), "data.validation_split": "", "model.classes": 101}
    run = runs.read(write_finished_run(tmp_path / "a", 3, 0.3, change, finetune))
    command = results.row_of(run)["command"]
    assert command.startswith("python -m alexnet_jax.main --config=configs/finetune.py ")
    assert "--config.train.init_from=runs/converted" in command
    flags = shlex.split(command.removeprefix("python -m alexnet_jax.main "))
    config_flags.DEFINE_config_file("config", flag_values=(values := absl_flags.FlagValues()), sys_argv=flags)
    values(["main", *flags])
    made = values["config"].value
    made.train.init_from = change["train.init_from"]
    assert made.optimizer.per_layer.to_dict() == rules.to_dict()
    assert compatibility.flatten(made) == compatibility.flatten(run.config)


def test_a_long_curve_is_thinned(tmp_path):
    workdir = write_finished_run(tmp_path / "a", 7, 0.255)
    lines = [{"step": n, "epoch": n / 10, "train/top1_error": 1 / n} for n in range(1, 1002)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    curve = results.row_of(runs.read(workdir))["curve"]
    assert len(curve) == 167  # every sixth, the last among them
    assert curve[0] == [0.5, 0.2]
    assert curve[-2:] == [[99.5, 0.001], [100.1, 0.001]]


def test_a_first_line_that_is_below_already_bounds_the_crossing(tmp_path):
    workdir = write_finished_run(tmp_path / "a", 7, 0.255)
    lines = [{"step": n, "epoch": n / 10, "train/top1_error": 0.2, "train/loss": 2.3 - n} for n in (1, 2)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    row = results.row_of(runs.read(workdir))
    assert "epochs_to_25_percent" not in row["values"]
    assert row["before"] == {"epochs_to_25_percent": 0.1, "epochs_to_learn": 0.1}


def test_evaluations_of_a_run_with_one_view_and_with_ten_are_two_rows(tmp_path):
    workdir, folder = write_finished_run(tmp_path / "a", 7, 0.255), tmp_path / "results"
    path = workdir / "evaluation.json"
    one_view = json.loads(path.read_text())
    path.unlink()
    for evaluation in ({}, one_view, one_view | {"views": 10, "top1_error": 0.24}, one_view):
        path.write_text(json.dumps(evaluation))
        results.record([workdir], folder)
    rows = results.read_rows(folder / "cifar10.jsonl")
    assert [(results.views(row), row["values"]["top1_error"]) for row in rows] == [(1, 0.255), (10, 0.24)]


def test_an_evaluation_with_other_views_alone_is_a_row_of_its_own(tmp_path):
    """`evaluate --views=10` writes beside `evaluation.json`, which stays as it is."""
    workdir, folder = write_finished_run(tmp_path / "a", 7, 0.255), tmp_path / "results"
    own = json.loads((workdir / "evaluation.json").read_text())
    other = own | {"top1_error": 0.24, "views": 10, "changed": {"views": 10}}

    def recorded(written: object) -> list[tuple[int, float]]:
        for path in folder.glob("*"):
            path.unlink()
        (workdir / "evaluation_other.json").write_text(json.dumps(written))
        results.record([workdir], folder)
        rows = results.read_rows(folder / "cifar10.jsonl")
        return [(results.views(row), row["values"]["top1_error"]) for row in rows]

    assert recorded(other) == [(1, 0.255), (10, 0.24)]
    for changed in (
        other["changed"] | {"config.data.mean": "none"},
        {"views": 10, "split": "train"},
        {},
        [],
        1,
    ):
        assert recorded(other | {"changed": changed}) == [(1, 0.255)]
    assert recorded(other | {"checkpoints": ["of another step"]}) == [(1, 0.255)]
    assert recorded([]) == [(1, 0.255)]
    with pytest.raises(UsageError, match="is not as `evaluate` wrote it"):
        recorded(other | {"sha256": "0"})


def test_an_answer_of_another_net_is_never_the_run_s_own(tmp_path):
    """`evaluate` and `ensemble` of something else lie in files of their own; a report says what it is of."""
    workdir = write_finished_run(tmp_path / "a", 7, 0.255)
    own = results.row_of(runs.read(workdir))
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    other = evaluation | {"top1_error": 0.01, "views": 10, "changed": {"config.data.mean": "none"}}
    for name in ("evaluation_other.json", "ensemble.json"):
        (workdir / name).write_text(json.dumps(other))
    assert results.row_of(runs.read(workdir)) == own
    (workdir / "evaluation.json").write_text(
        json.dumps(evaluation | {"changed": {}})
    )  # as it is written today
    assert results.row_of(runs.read(workdir)) == own
    (workdir / "evaluation.json").unlink()
    assert "top1_error" not in results.row_of(runs.read(workdir))["values"]


def test_the_specialisation_is_that_of_the_run_s_own_net(tmp_path):
    workdir = write_finished_run(tmp_path / "a", 7, 0.255)
    run, data = runs.read(workdir), made_up.report_data(tuple("abcdefghij"))
    path = workdir / "report" / "report.json"
    path.parent.mkdir()
    assert "specialisation" not in results.row_of(run)["values"]
    for changed in ({"checkpoint": 4}, {"config.model.lrn": False}, {}):
        data.changed = changed
        path.write_text(json.dumps(page.numbers(run, data)))
        specialisation = results.row_of(run)["values"].get("specialisation")
        assert specialisation == (None if changed else pytest.approx(figures.specialisation(data.kernels)[0]))
    written = json.loads(path.read_text())
    assert written.pop("changed") == {}  # earlier versions did not write it
    path.write_text(json.dumps(written))
    assert results.row_of(run)["values"]["specialisation"] == written["specialisation"] > 0


def test_wrong_uses(tmp_path):
    with pytest.raises(UsageError, match="not the workdir of a run"):
        results.record([tmp_path / "none"], tmp_path)
    run = write_finished_run(tmp_path / "a", 1, 0.3)
    for name in ("metrics.jsonl", "evaluation.json"):
        (run / name).unlink()
    with pytest.raises(RunFailure, match="train and evaluate it"):
        results.record([run], tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "text",
    ["$(touch x)", "`touch x`", 'a"; touch x; "', "a;touch x", "a\ntouch x", "!x", "a\\", "a&touch x"],
)
def test_a_command_that_is_copied_runs_nothing_of_a_config(text, tmp_path):
    """What a shell makes of it is the value itself."""
    change = {"data.test_split": text}
    row = results.row_of(runs.read(write_finished_run(tmp_path / "a", 1, 0.3, change)))
    words = row["command"].removeprefix("python -m alexnet_jax.main ")
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, cwd=tmp_path)
    assert f"--config.data.test_split={text}" in done.stdout.decode().split("\0")
    assert not (tmp_path / "x").exists()
