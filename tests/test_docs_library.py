"""The blocks of docs/library.md run in their order, its table of lines, and the examples that it names."""

import ast
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
PEERS = (ROOT / "tests" / "reference" / "peers.md").read_text()
TASKS = (
    "Build and initialise",
    "Forward",
    "Gradient with respect to the input",
    "Gradients of each example",
    "Activations",
    "Predict on numpy arrays",
    "A training loop of one's own",
    "Data alone",
    "LPIPS as a loss",
    "Two devices, a tower on each",
    "An architecture of one's own",
    "PyTorch's weights",
    "Flax NNX",
    "Equinox",
    "A checkpoint by Orbax alone",
)


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
    assert (
        names["gradients"].args[0]["params"]["fc8"]["kernel"].shape
        == variables["params"]["fc8"]["kernel"].shape
    )
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


def sections(page: str, level: str) -> dict[str, str]:
    """The text below each heading of a level."""
    parts = [part.partition("\n") for part in re.split(f"^{level} ", page, flags=re.M)[1:]]
    assert len({title for title, _, _ in parts}) == len(parts)
    return {title: text for title, _, text in parts}


def count_lines(text: str) -> int:
    """Count the one block of a section: formatted, without imports, comments and blank lines."""
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    rows = block.splitlines()
    for node in ast.parse(block).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            rows[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=100", "-"]
    source = "\n".join(rows)
    formatted = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    return sum(1 for row in formatted.splitlines() if row.strip() and not row.strip().startswith("#"))


def test_lines_are_counted_formatted_without_imports_and_comments() -> None:
    block = f"""import a
from b import (
    c,
)

# a comment
x = f(a); y = 2  # another


def f(n): return {" + ".join(["n * 1000"] * 10)}
"""
    # x, y, def, and the sum, which is longer than a line: in brackets, a line for each of its ten terms.
    assert count_lines(f"words\n```python\n{block}```\nwords") == 2 + 1 + 12


def test_no_task_takes_more_than_two_lines_more_than_its_peer_does() -> None:
    ours = sections(PAGE, "##")
    theirs = {
        task: (library, text)
        for library, part in sections(PEERS, "##").items()
        for task, text in sections(part, "###").items()
    }
    assert set(theirs) == set(TASKS)
    rows = []
    for task in TASKS:
        library, peer = theirs[task]
        lines, peer_lines = count_lines(ours[task]), count_lines(peer)
        assert lines <= peer_lines + 2, task
        rows.append(f"| {task} | {lines} | {peer_lines} | {library} |")
    table = PAGE.partition("|---|---|---|---|\n")[2].splitlines()
    assert table == rows, "docs/library.md ends with another table: these are its rows\n" + "\n".join(rows)
