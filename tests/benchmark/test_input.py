"""A short run of the input and of each of its peers."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absl import flags
from PIL import Image

from alexnet_jax.benchmark import input as benchmark_input
from alexnet_jax.errors import UsageError
from configs import digits
from tests.data.toy import config_for, write_dataset


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
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in {"torch", "tensorflow"} - {package} else find_spec(name, *rest),
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
