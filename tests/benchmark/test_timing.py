"""The arithmetic that all measurements share, by hand."""

import numpy as np
import pytest

from alexnet_jax.benchmark import timing

WHERE = {"device": "cpu", "versions": {"a": "1"}}


def test_alternate_runs_all_in_turn() -> None:
    called: list[str] = []

    def contestant(name: str) -> float:
        called.append(name)
        return float(len(called))

    speeds = timing.alternate("test", {"a": lambda: contestant("a"), "b": lambda: contestant("b")}, 3)
    assert called == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert speeds == {"a": [3.0, 6.0, 7.0], "b": [4.0, 5.0, 8.0]}  # the first round is not counted


def test_repeated_counts_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    numbers: list[int] = []

    def call(number: int) -> None:
        clock[0] += 100.0 if number == 0 else 0.5  # the first one compiles
        numbers.append(number)

    once = timing.repeated(call, lambda: None, 2.0)
    assert once() == 2.0
    assert numbers == [0, 1, 2, 3, 4, 5]  # compiled, timed alone, then four in two seconds
    assert once() == 2.0
    assert len(numbers) == 10


def test_row_and_table() -> None:
    row = timing.row(WHERE, "input.x", "images/s", [300.0, 100.0, 200.0], "peer", [50.0, 100.0, 400.0])
    keys = (
        "name",
        "unit",
        "median",
        "min",
        "max",
        "runs",
        "peer",
        "peer_median",
        "ratio",
        "device",
        "versions",
    )
    assert [row[key] for key in keys] == [
        "input.x", "images/s", 200.0, 100.0, 300.0, 3, "peer", 100.0, 2.0, "cpu", {"a": "1"}
    ]  # fmt: skip
    lines = timing.table([row]).splitlines()
    assert len(lines) == 2
    assert "200 (100 to 300)" in lines[1]
    assert lines[1].endswith("2.00")


def test_a_row_without_a_peer_and_one_where_less_is_better() -> None:
    alone = timing.row(WHERE, "a", "images/s", [1.0, 3.0])
    assert (alone["median"], alone["peer"], alone["peer_median"], alone["ratio"]) == (2.0, None, None, None)
    less = timing.row(WHERE, "b", "s", [2.0], "cold", [6.0])
    assert less["ratio"] == 3.0
    lines = timing.table([alone, less]).splitlines()
    assert lines[1].split() == ["a", "images/s", "2", "(1", "to", "3)"]
    assert lines[2].endswith("3.00")


def test_versions_of_what_is_there() -> None:
    row = timing.measured_on("cpu", "numpy", "no-such-package-at-all")
    assert row["device"] == "cpu"
    assert row["versions"].keys() == {"python", "numpy"}
    assert row["versions"]["numpy"] == np.__version__
