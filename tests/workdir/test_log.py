"""The lines of metrics.jsonl, and TensorBoard's events read from their bytes."""

import json
import math
import resource
import struct
import sys
import threading

import pytest
from tensorboardX.proto import event_pb2

from alexnet_jax import extras
from alexnet_jax.workdir import log


def events(workdir):
    """All events in order: a file is length (8 bytes), checksum (4), event, checksum (4), and so on."""
    for path in sorted((workdir / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def test_without_tensorboard_there_is_a_line_and_all_the_metrics(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    metrics = log.MetricsLog(tmp_path, 0, 0)
    metrics.write(4, 1.0, {"train/loss": 2.25})
    metrics.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {
        "step": 4,
        "epoch": 1.0,
        "train/loss": 2.25,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    errors = capfd.readouterr().err
    assert errors == f"no events for TensorBoard, which need tensorboardX: {extras.install('tensorboard')}\n"


def test_lines_and_events(tmp_path):
    metrics = log.MetricsLog(tmp_path, 0, 0)
    metrics.write(4, 1 / 3, {"train/loss": 2.25, "learning_rate": 0.01})
    metrics.write(8, 2.0, {"val/top1_error": 0.5, "train/loss": math.inf})
    metrics.close()
    first, second = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert list(json.loads(first).items()) == [
        ("step", 4),
        ("epoch", 0.333333),
        ("train/loss", 2.25),
        ("learning_rate", 0.01),
    ]
    assert json.loads(second) == {"step": 8, "epoch": 2.0, "val/top1_error": 0.5, "train/loss": math.inf}
    written = [
        (event.step, value.tag, value.simple_value)
        for event in events(tmp_path)
        for value in event.summary.value
    ]
    assert written == [
        (4, "train/loss", 2.25),
        (4, "learning_rate", pytest.approx(0.01)),
        (8, "val/top1_error", 0.5),
        (8, "train/loss", math.inf),
    ]


def test_a_resumed_run_goes_back_to_its_step(tmp_path):
    """Lines of later steps go, and TensorBoard is asked to drop its events from the next step on."""
    metrics = log.MetricsLog(tmp_path, 0, 0)
    for step in (4, 8, 12):
        metrics.write(step, step / 4, {"train/loss": 1 / step})
    metrics.close()
    before = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "epoch"')  # the machine stopped here
    metrics = log.MetricsLog(tmp_path, 8, 0)
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(before[:2])
    metrics.write(9, 2.25, {"train/loss": 0.0625})
    metrics.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 9]
    purged = [event.step for event in events(tmp_path) if event.session_log.status == 1]  # START
    assert purged[-1] == 9
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".partial"] == []


@pytest.mark.parametrize(("evaluated_step", "kept"), [(4, [4]), (8, [4, 8])])
def test_a_validation_that_the_checkpoint_does_not_know_comes_again(tmp_path, evaluated_step, kept):
    """A process may be killed after it wrote the line of a validation, before its checkpoint knows of it."""
    metrics = log.MetricsLog(tmp_path, 0, 0)
    for step in (4, 8):
        metrics.write(step, step / 4, {"train/loss": 1.0})
        metrics.write(step, step / 4, {"val/loss": 2.0, "val/top1_error": 0.5})
    metrics.close()
    log.MetricsLog(tmp_path, 8, evaluated_step).close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == [4, 8]
    assert [line["step"] for line in lines if "val/loss" in line] == kept


def test_corrupt_lines_are_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    good = ['{"step": 1, "epoch": 0.5, "train/loss": NaN}', '{"step": 2}', '{"step": 3.0, "x": "\u00e4"}']
    bad = ['{"step": 1, "epo', "[1, 2]", '"step"', "7", '{"epoch": 1}', '{"step": "1"}', "[" * 100_000, ""]
    path.write_bytes("\n".join([*bad, *good]).encode() + b"\n\xff\xfe\n")
    assert log.lines_until(path, 10**9, 0) == good
    assert log.lines_until(path, 2, 0) == good[:2]
    assert log.lines_until(path, 0, 0) == []


def test_events_that_cannot_be_written_are_an_error_of_the_run_s_own(tmp_path, monkeypatch):
    """As on a full disk; a thread that wrote them would end with a traceback, and nobody would know."""
    monkeypatch.setattr(log, "FLUSH_SECONDS", -1.0)
    threads = threading.active_count()
    metrics = log.MetricsLog(tmp_path, 0, 0)
    values = {f"train/{number}": 0.5 for number in range(20)}
    metrics.write(1, 0.5, values)
    assert threading.active_count() == threads
    (path,) = (tmp_path / "tensorboard").iterdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            metrics.write(2, 1.0, values)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    metrics.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_events_are_on_disk_while_the_run_goes_on(tmp_path, monkeypatch):
    clock = 1000.0
    monkeypatch.setattr(log.time, "monotonic", lambda: clock)
    metrics = log.MetricsLog(tmp_path, 0, 0)
    seen = []
    for step in (1, 2, 3):
        metrics.write(step, step, {"train/loss": 0.5})
        seen.append([event.step for event in events(tmp_path) if event.summary.value])
        clock += 20
    metrics.close()
    assert seen == [[1], [1], [1, 2, 3]]
