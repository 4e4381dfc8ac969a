"""Which steps a trace holds."""

from pathlib import Path

import pytest

from alexnet_jax.training import profiler
from alexnet_jax.training.profiler import Profiler


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    monkeypatch.setattr(profiler.jax.profiler, "start_trace", lambda folder: made.append(f"start {folder}"))
    monkeypatch.setattr(profiler.jax.profiler, "stop_trace", lambda: made.append("stop"))
    return made


def run(traced: Profiler, start: int, end: int, calls: list[str]) -> None:
    for step in range(start, end):
        traced.before(step, None)
        calls.append(str(step + 1))
        traced.after(step + 1, None)
    traced.close()


def test_it_begins_after_three_steps_and_ends_in_time(calls: list[str], tmp_path: Path, capsys) -> None:
    run(Profiler(tmp_path, 2, 10), 10, 17, calls)
    assert calls == ["11", "12", "13", f"start {tmp_path}", "14", "15", "stop", "16", "17"]
    assert capsys.readouterr().err == ""


def test_a_run_that_ends_before_ends_the_trace(calls: list[str], tmp_path: Path, capsys) -> None:
    run(Profiler(tmp_path, 9, 0), 0, 5, calls)
    assert calls == ["1", "2", "3", f"start {tmp_path}", "4", "5", "stop"]
    assert capsys.readouterr().err == ""


def test_a_run_that_is_too_short_is_reported(calls: list[str], tmp_path: Path, capsys) -> None:
    run(Profiler(tmp_path, 1, 4), 4, 6, calls)
    assert calls == ["5", "6"]
    assert capsys.readouterr().err == "--profile: the run ended before step 7, where the trace begins\n"


def test_without_steps_it_does_nothing(calls: list[str], tmp_path: Path, capsys) -> None:
    run(Profiler(tmp_path, 0, 0), 0, 6, calls)
    assert calls == ["1", "2", "3", "4", "5", "6"]
    assert capsys.readouterr().err == ""
