"""A run's files are read as far as they can be, and their lines counted by hand."""

import hashlib
import json
import math
import os

import pytest

from alexnet_jax.errors import UnsafeFile, UsageError
from alexnet_jax.report import runs
from tests.report import made_up


def test_the_lines_that_can_be_read(tmp_path):
    whole, partly = made_up.write_run(tmp_path / "a", hostile=False), made_up.write_run(tmp_path / "b")
    expected = runs.read(whole).metrics
    assert len(expected) == 13
    assert runs.read(partly).metrics[:13] == expected
    further = runs.read(partly).metrics[13:]
    assert [line["epoch"] for line in further] == [6]  # a line whose values are nonsense, but not its epoch
    assert runs.curve(further, "train/loss") == runs.curve(further, "train/top1_error") == ([], [])


def test_files_next_to_the_metrics(tmp_path):
    workdir = made_up.write_finished_run(tmp_path / "a", 7, 0.25)
    run = runs.read(workdir)
    assert (run.name, run.config.seed, run.metadata["versions"]["jax"]) == ("a", 7, "0.10.2")
    assert run.evaluation["top1_error"] == 0.25
    for text in ("", "{", "[1]", "null", "[" * 100_000, "\udcff"):
        (workdir / "evaluation.json").write_bytes(text.encode(errors="surrogateescape"))
        assert runs.read(workdir).evaluation == {}
    answer = {"views": 1, "top1_error": 0.25}
    digest = hashlib.sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()
    text = json.dumps(answer | {"sha256": digest})
    (workdir / "evaluation.json").write_text(text)
    assert runs.read(workdir).evaluation["top1_error"] == 0.25
    (workdir / "evaluation.json").write_text(text.replace("0.25", "0.15"))
    with pytest.raises(UsageError, match=r"evaluation.json is not as `evaluate` wrote it: remove it, or"):
        runs.read(workdir)
    for name in ("evaluation.json", "metrics.jsonl"):
        (workdir / name).unlink()
    assert (runs.read(workdir).evaluation, list(runs.read(workdir).metrics)) == ({}, [])
    (workdir / "config.json").unlink()
    with pytest.raises(UsageError, match="is not the workdir of a run"):
        runs.read(workdir)


def test_numbers_and_what_is_none():
    assert [runs.finite_number(value) for value in (0, -2.5, 10**20)] == [0.0, -2.5, 1e20]
    for value in (None, True, "1", [1], math.nan, math.inf, 10**400, -1e300):
        assert runs.finite_number(value) is None


def test_where_the_learning_rate_falls():
    learning_rates = [0.1, 0.1, 0.01, None, 0.02, 0.001]
    lines = [
        {"epoch": float(n), "learning_rate": learning_rate} for n, learning_rate in enumerate(learning_rates)
    ]
    assert runs.learning_rate_drops(lines) == [(1.0, 0.1, 0.01), (4.0, 0.02, 0.001)]


def test_time_and_speed_by_hand():
    """Steps 1 to 10 at 50 images/s, to 30 at 100, to 40 at 25; a line of an evaluation in between."""
    lines = [
        {"step": 10, "epoch": 1.0, "perf/images_per_second": 50.0},
        {"step": 10, "epoch": 1.0, "val/loss": 1},
    ]
    lines += [{"step": 30, "epoch": 2.0, "perf/images_per_second": 100.0}]
    lines += [{"step": 40, "epoch": 3.0, "perf/images_per_second": 25.0}]
    assert runs.training_seconds(lines, 8) == pytest.approx(8 * (10 / 50 + 20 / 100 + 10 / 25))
    assert runs.images_per_second(lines) == 50.0
    assert runs.training_seconds([], 8) is runs.images_per_second([]) is None


def test_an_error_that_is_never_reached():
    lines = [{"step": n, "epoch": float(n), "train/top1_error": 0.9} for n in range(4)]
    assert runs.epochs_to(lines, 0.25) is None
    assert runs.epochs_to([], 0.25) is None


def test_where_a_curve_crosses():
    lines = [{"epoch": n, "val/loss": 3 - n} for n in (1, 2)]
    crossing = runs.epochs_to(lines, 1.25, "val/loss")
    assert (crossing, str(crossing)) == (runs.Crossing(1.75), "1.75")
    first = runs.epochs_to([{"epoch": 0.3, "train/top1_error": 0.25}], 0.25)
    assert (first, str(first)) == (runs.Crossing(0.3, before=True), "before epoch 0.3")


def test_a_time_in_words():
    words = {0.5: "0.5 s", 119: "119 s", 120: "2 min", 7199: "120 min", 7200: "2 h", 172_800: "2 days"}
    assert {seconds: runs.duration(seconds) for seconds in words} == words


def test_an_object_in_a_file(tmp_path):
    path = tmp_path / "x.json"
    assert runs.read_object(path) == {}
    path.write_text(json.dumps({"a": 1}))
    assert runs.read_object(path) == {"a": 1}


def test_pipes_and_what_never_ends_are_not_read(tmp_path):
    workdir = made_up.write_finished_run(tmp_path / "a", 7, 0.25)
    for name in ("metrics.jsonl", "evaluation.json"):
        content = (workdir / name).read_bytes()
        (workdir / name).unlink()
        os.mkfifo(workdir / name)
        with pytest.raises(UnsafeFile, match=f"{name} is neither a file nor a folder"):
            runs.read(workdir)
        (workdir / name).unlink()
        (workdir / name).write_bytes(content)
    with (workdir / "metrics.jsonl").open("r+b") as file:
        file.truncate(2**40)  # a file with a hole
    with pytest.raises(UsageError, match=r"metrics\.jsonl is larger than"):
        runs.read(workdir)


def test_a_mean_over_few_steps_is_joined_with_the_next():
    """A line at the end of an epoch is of the steps since the line before, be they few."""

    def line(step, error):
        return {"step": step, "epoch": step / 390, "train/top1_error": error, "val/top1_error": error}

    lines = [line(100, 0.5), line(200, 0.4), line(300, 0.3), line(390, 0.3), line(400, 0.1), line(500, 0.2)]
    epochs, errors = runs.curve(lines, "train/top1_error")
    assert epochs == [step / 390 for step in (100, 200, 300, 400, 500)]
    assert errors == pytest.approx([0.5, 0.4, 0.3, (90 * 0.3 + 10 * 0.1) / 100, 0.2])
    crossing = runs.epochs_to(lines, 0.24)
    assert crossing.epoch == pytest.approx((400 + 100 * 0.04 / 0.08) / 390)
    assert runs.curve(lines, "val/top1_error")[1] == [0.5, 0.4, 0.3, 0.3, 0.1, 0.2]
    last = [*lines, line(503, 0.9)]  # the last line stands, be it over few steps
    assert runs.curve(last, "train/top1_error")[1][-1] == pytest.approx(0.9)
