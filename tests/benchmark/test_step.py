"""The measurements of the step by hand and at toy size."""

import json
from pathlib import Path
from typing import Any

import pytest
from absl import flags

from alexnet_jax.benchmark import step
from alexnet_jax.errors import UsageError
from alexnet_jax.model import architectures
from alexnet_jax.model.shapes import layer_shapes
from configs import imagenet
from tests.benchmark.helpers import small, tiny


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    monkeypatch.setattr(step, "SECONDS", 0.01)
    monkeypatch.setattr(step, "RUNS", 1)


def test_operations_of_the_papers_net() -> None:
    architecture = architectures.build(imagenet.get_config().model, 224, 3)
    forward, train = step.flops(architecture)
    # By hand: weights times positions, layer by layer, of the table in the paper's figure 2.
    conv1 = 11 * 11 * 3 * 96 * 55 * 55
    rest = (
        5 * 5 * 48 * 256 * 27**2 + (9 * 256 * 384 + 9 * 192 * 384 + 9 * 192 * 256) * 13**2
        + 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    )  # fmt: skip
    assert forward == 2 * (conv1 + rest)
    assert train == 2 * (2 * conv1 + 3 * rest)


@pytest.mark.parametrize("make", [tiny, pytest.param(small, marks=pytest.mark.slow)])
def test_measures(short: None, make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make()
    step.run(config, "", tmp_path / "speed.png")
    rows = json.loads((tmp_path / "speed.json").read_text())
    assert (tmp_path / "speed.png").stat().st_size > 10_000
    by_name = {row["name"]: row for row in rows}
    for name in ("step.forward.b4", "step.train.b4"):
        row = by_name[name]
        assert row["unit"] == "images/s"
        assert 0 < row["min"] <= row["median"] <= row["max"]
        share = by_name[f"{name}.flops"]
        assert share["ratio"] == pytest.approx(share["median"] / share["peer_median"])
        assert by_name[f"{name}.compile"]["median"] > 0
    architecture = architectures.build(config.model, config.data.crop, 1)
    names = {name.split(".")[2] for name in by_name if name.startswith("step.layer.")}
    assert names == {layer.name for layer in architecture.layers}
    parameters = sum(shape.parameters for shape in layer_shapes(architecture).values())
    assert by_name["step.train.b4.memory"]["median"] > 2 * 4 * parameters / 2**20  # velocities too
    assert 1 <= sum(name.startswith("step.operation.") for name in by_name) <= step.MAX_OPERATIONS
    assert "most expensive operations" in capsys.readouterr().out


@pytest.mark.slow
def test_measures_on_meshes(short: None) -> None:
    config = small()
    config.mesh.data, config.mesh.model = 2, 2
    rows, notes = step.measure(config, (), 1)
    assert rows[0]["device"].startswith("4 x ")
    assert any("mesh of one device only" in note for note in notes)


def test_wrong_uses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--peer=caffe"):
        step.run(small(), "caffe", tmp_path / "x.json")
    with pytest.raises(UsageError, match="does not exist"):
        step.run(small(), "", tmp_path / "no" / "x.json")


@pytest.mark.slow
def test_measures_against_torch(short: None) -> None:
    pytest.importorskip("torch")
    rows, notes = step.measure(tiny(), ("torch",), 1)
    named = {row["name"]: row for row in rows}
    assert named["step.train.b4"]["peer"] in ("torch eager float32", "torch eager float32 channels-last")
    assert named["step.train.b4"]["ratio"] > 0
    assert any(name.startswith("step.train.b4.vs_eager_float32") for name in named)
    assert any(note.startswith("threads: XLA") for note in notes)


def test_measures_against_plain_flax(short: None) -> None:
    rows, _ = step.measure(tiny(), ("flax",), 1)
    named = {row["name"]: row for row in rows}
    for what in step.PASSES:
        row = named[f"step.{what}.b4.vs_flax"]
        assert row["peer"] == "plain Flax"
        assert row["ratio"] == pytest.approx(row["median"] / row["peer_median"])
        assert named[f"step.{what}.b4"]["peer"] is None
