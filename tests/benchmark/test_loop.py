"""The loop's measurement: it trains whole epochs, by the recipe, and leaves no run behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.benchmark import loop
from alexnet_jax.errors import UsageError
from tests.benchmark.numpy_loop import program
from tests.training.test_resident import dense


@pytest.fixture
def config(digits_folder: str) -> ConfigDict:
    config = dense(digits_folder)
    config.data.random_crop = config.data.flip = False
    config.data.size = config.data.crop = 72
    config.optimizer.momentum = 0.0
    return config


def test_an_epoch_has_all_its_updates_and_one_validation(config: ConfigDict) -> None:
    with loop.opened(config) as here:
        assert here.feed.training is not None
        for number in (1, 2):
            assert loop._epoch(here) > 0
            assert (here.step, here.evaluated_step) == (135 * number, 135 * number)
        log = [json.loads(line) for line in (here.workdir / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in log if "val/loss" in line] == [135, 270]
        assert [line["step"] for line in log if "train/loss" in line] == [50, 100, 135, 150, 200, 250, 270]
        assert not list(here.workdir.glob("checkpoints/[0-9]*"))
        folder = here.workdir
    assert not folder.exists()


def test_the_rows(config: ConfigDict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "COST_SECONDS", 0.01)
    rows, notes = loop.measure(config, False, 2, {"numpy": program})
    names = ["loop.epoch.b10.vs_numpy", "loop.cost.streaming.b128", "loop.cost.resident.b128"]
    assert [row["name"] for row in rows] == names
    assert [row["unit"] for row in rows] == ["s", "ms", "ms"]
    assert rows[0]["ratio"] == pytest.approx(rows[0]["peer_median"] / rows[0]["median"])
    assert notes == []


@pytest.mark.parametrize("lit", [False, True])
def test_ready_batches_have_what_the_recipe_draws(config: ConfigDict, lit: bool) -> None:
    config.data.flip = lit
    config.data.batch_size = loop.BATCH
    config.train.epochs = 1.0
    with loop.opened(config) as here:
        ready, fed = next(loop._ready(here)), next(here.feed.batches)
    assert ready.keys() == fed.keys()
    for name in ready:
        assert (ready[name].shape, ready[name].dtype) == (fed[name].shape, fed[name].dtype)  # type: ignore[literal-required]


def test_wrong_uses(config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--peer=jax: benchmark loop compares with torch"):
        loop.run(config, "jax", tmp_path / "x.json")
    monkeypatch.setattr(loop.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="PyTorch is not installed"):
        loop.run(config, "torch", tmp_path / "x.json")
    with pytest.raises(UsageError, match=r"nowhere"):
        loop.run(config, "", tmp_path / "nowhere" / "x.json")


def test_what_is_written(config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"name": "n", "unit": "s", "median": 1.0, "min": 1.0, "max": 1.0, "peer": None, "ratio": None}
    monkeypatch.setattr(loop, "measure", lambda *_: ([row], ["a note"]))
    loop.run(config, "", tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == [row]
    assert np.isfinite(row["median"])  # type: ignore[call-overload]
