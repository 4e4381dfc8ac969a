"""What measures fine-tuning with few images: its draws, a whole measurement on tiny archives, its page."""

import importlib.util
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "few_images.py"


@pytest.fixture
def script() -> Any:
    """The script as a module of its own."""
    spec = importlib.util.spec_from_file_location("few_images", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["few_images"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["few_images"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an archive of red and of blue images, and convolutions of torchvision's shapes."""
    random = np.random.RandomState(0)
    folder = tmp_path / "data"
    for split, count in (("train", 4), ("test", 3)):
        for label, channel in (("blue", 2), ("red", 0)):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = random.randint(0, 60, (40, 40, 3))
                pixels[..., channel] += 180
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / label / f"{number}.png")
    with tarfile.open(folder / "colours.tar", "w") as tar:
        for split in ("train", "test"):
            tar.add(folder / split, split)
    shapes = {1: (11, 11, 3, 64), 2: (5, 5, 64, 192), 3: (3, 3, 192, 384), 4: (3, 3, 384, 256)}
    arrays = {}
    for number, shape in (shapes | {5: (3, 3, 256, 256)}).items():
        scale = np.sqrt(2 / np.prod(shape[:3]))
        arrays[f"conv{number}/kernel"] = (random.randn(*shape) * scale).astype(np.float32)
        arrays[f"conv{number}/bias"] = np.zeros(shape[-1], np.float32)
    np.savez(folder / "torchvision_alexnet_features.npz", **arrays)
    monkeypatch.setenv("ALEXNET_DATA", str(folder))
    return folder


def test_draws_are_of_every_class_and_hold_smaller_ones(script: Any) -> None:
    names = [f"{label}/{number}" for label in "ab" for number in range(10)]
    small, large, other = (script.drawn(names, *how) for how in ((3, 1), (7, 1), (7, 2)))
    assert small < large < set(names)
    assert large != other
    assert sorted(name[0] for name in large) == list("a" * 7 + "b" * 7)
    assert script.drawn(reversed(names), 7, 1) == large
    assert script.drawn(names, 0, 1) == set(names)
    with pytest.raises(SystemExit, match="fewer than 11 images"):
        script.drawn(names, 11, 1)


@pytest.mark.slow
def test_a_measurement(script: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours, which any method tells apart but for a few updates; a second start measures nothing again."""
    monkeypatch.setattr(script, "SOURCES", {"colours": script.Source("colours.tar", ((3,),), 2, (3,))})
    monkeypatch.setattr(script, "SEEDS", (1,))
    monkeypatch.setattr(script, "OTHER_RULES", ((5, 0.003),))
    rows, work = tmp_path / "rows.jsonl", tmp_path / "work"
    assert script.main([str(work), "--rule", f"--rows={rows}"]) == 0
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["method"] for row in written] == ["nearest", "finetune", "other_rule", "linear_probe"]
    assert {(row["test_images"], row["train_images"]) for row in written} == {(4, 6)}
    assert [row["how"].get("updates") for row in written] == [None, 1000, 5, None]
    assert written[2]["how"]["learning_rate"] == 0.003
    assert all(row["mean_class_error"] == 0 for row in written if row["method"] != "other_rule")
    before = rows.read_text()
    monkeypatch.setattr(script, "measure", None)
    assert script.main([str(work), "--rule", f"--rows={rows}"]) == 0
    assert rows.read_text() == before


def test_the_page_has_the_tables_of_the_rows(script: Any, tmp_path: Path) -> None:
    rows = script.read_rows(script.ROWS)
    page = (ROOT / "docs" / "fine_tuning.md").read_text()
    assert all(line in page.splitlines() for line in script.tables(rows).splitlines())
    script.draw(rows, tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").read_text().count("images a class, ") == len(script.SOURCES)


def test_a_cell_has_mean_and_range(script: Any) -> None:
    assert script.cell([0.5, 0.75, 0.55]) == "60.0 % (50.0 to 75.0)"
    assert script.cell([0.5]) == "50.0 % (1 of 3 seeds)"
    assert script.cell([0.5, 0.6]) == "55.0 % (50.0 to 60.0, 2 of 3 seeds)"
    assert script.cell([]) == "not measured"


@pytest.mark.parametrize("arguments", [[], ["folder", "--figure=x.svg"], ["folder", "--what"]])
def test_wrong_uses(script: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        script.main(arguments)
    assert stopped.value.code == 2
    assert "few_images.py FOLDER [Caltech-101]" in capsys.readouterr().err
