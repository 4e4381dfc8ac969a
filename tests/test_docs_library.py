"""The blocks of docs/library.md run in their order, and the examples that it names."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import alexnet_jax
from alexnet_jax.config import find
from alexnet_jax.interop import convert
from tests.interop import makers
from tests.test_library import RUN

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "library.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
SECTIONS = re.findall(r"## (.*)", PAGE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits_folder: str) -> Path:
    """A folder with what the page takes for granted: a run, its data, weights, a photograph."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(RUN / "workdir")
    (tmp_path / "data").symlink_to(digits_folder)
    Image.fromarray(np.arange(90 * 100, dtype=np.uint32).astype(np.uint8).reshape(90, 100)).save(
        tmp_path / "photo.png"
    )
    makers.write(tmp_path / "alexnet.pth", makers.torchvision(), monkeypatch)
    heads = {
        f"lpips/lin{number}": np.ones((1, channels, 1, 1), np.float32)
        for number, channels in enumerate((4, 12, 24, 16, 16))  # of conv1 to conv5 in that net
    }
    makers.write_npz(tmp_path / "lpips.npz", makers.torchvision(), **heads)
    recipes = {name: find.load_file(f"imagenet_{name}") for name in ("torchvision", "caffe")}
    convert.to_workdir(tmp_path / "lpips.npz", tmp_path / "runs" / "lpips", recipes)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_blocks_run_in_their_order(place: Path) -> None:
    names: dict[str, Any] = {}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/library.md, block {number + 1}", "exec"), names)
    assert names["probabilities"].shape[0] == 1
    x, variables, model = names["x"], names["variables"], names["model"]
    assert names["per_example"]["conv1"]["kernel"].shape == (4, *variables["params"]["conv1"]["kernel"].shape)
    assert names["gradients"].params["fc8"]["kernel"].shape == variables["params"]["fc8"]["kernel"].shape
    np.testing.assert_allclose(names["spread"].apply(variables, x), model.apply(variables, x), rtol=1e-4)
    net = alexnet_jax.load("runs/digits", "last")
    jax.tree.map(np.testing.assert_array_equal, names["params"], jax.device_get(net.params))


def test_the_example_of_a_layer_of_ones_own() -> None:
    done = subprocess.run(
        [sys.executable, "docs/examples/own_layer.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'fc3': (2, 1352, 10)" in done.stdout
