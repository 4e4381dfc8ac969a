"""The measurements' arithmetic by hand, and a short run of each contestant."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absl import flags
from PIL import Image

from alexnet_jax.benchmark import input as benchmark_input
from alexnet_jax.benchmark import timing
from alexnet_jax.errors import UsageError
from configs import digits
from tests.data.toy import config_for, write_dataset


def test_alternate_runs_all_in_turn() -> None:
    called: list[str] = []

    def contestant(name: str) -> float:
        called.append(name)
        return float(len(called))

    rates = timing.alternate("test", {"a": lambda: contestant("a"), "b": lambda: contestant("b")}, 3)
    assert called == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert rates == {"a": [3.0, 6.0, 7.0], "b": [4.0, 5.0, 8.0]}  # the first round is not counted


def test_row_and_table() -> None:
    row = timing.row(
        "input.x", "images/s", [300.0, 100.0, 200.0], "peer", [50.0, 100.0, 400.0], "cpu", {"a": "1"}
    )
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


def test_versions_of_what_is_there() -> None:
    found = timing.versions("numpy", "no-such-package-at-all")
    assert found.keys() == {"python", "numpy"}
    assert found["numpy"] == np.__version__


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    monkeypatch.setattr(benchmark_input, "DRAIN", 2)
    monkeypatch.setattr(benchmark_input, "TIMED", 2)
    monkeypatch.setattr(benchmark_input, "SETTLE", 0.0)


def check(rows: list[dict[str, Any]], names: list[str], runs: int) -> None:
    assert [row["name"] for row in rows] == names
    for row in rows:
        assert 0 < row["min"] <= row["median"] <= row["max"]
        assert row["runs"] == runs
        assert row["ratio"] == row["median"] / row["peer_median"]


def test_measures_without_peers(
    short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_for(tmp_path, "jpeg", 3)
    write_dataset(config)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    benchmark_input.run(config, "", tmp_path / "benchmark.json")
    rows = json.loads((tmp_path / "benchmark.json").read_text())
    check(rows, ["input.vs_decode", "input.processes.vs_decode"], 5)
    printed = capsys.readouterr().out
    assert "tensorflow is not installed: not compared" in printed
    assert "input.vs_decode" in printed


def test_raw_records_are_refused() -> None:
    with pytest.raises(UsageError, match="raw"):
        benchmark_input.measure(digits.get_config())


@pytest.mark.slow
@pytest.mark.parametrize("package", ["torch", "tensorflow"])
def test_measures_peers(short: None, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not importlib.util.find_spec(package):
        pytest.skip(f"{package} is not installed")
    config = config_for(tmp_path, "jpeg", 3)
    write_dataset(config)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in {"torch", "tensorflow"} - {package} else found(name, *rest),
    )
    rows = benchmark_input.measure(config, runs=1, workers=1)
    peer = {"torch": "torch_dataloader", "tensorflow": "tf_data"}[package]
    endings = {"torch": ("", "_flip", "_simplejpeg"), "tensorflow": ("", "_flip", "_partial")}[package]
    names = ["input.vs_decode", "input.processes.vs_decode"] + [
        f"input.vs_{peer}{ending}" for ending in endings
    ]
    check(rows, names, 1)


@pytest.mark.slow
def test_measures_prepare(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for index in range(40):
        folder = tmp_path / "source" / "train" / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (40, 50, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.jpg")
    config = config_for(tmp_path / "data", "jpeg", 3)
    check(benchmark_input.measure_prepare(config, str(tmp_path / "source"), 1), ["prepare.vs_parts"], 1)
