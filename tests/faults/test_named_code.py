"""Files that somebody hands over and that name code: whatever opens them, nothing is imported or run."""

import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from alexnet_jax.commands import table
from alexnet_jax.commands.command import Command
from alexnet_jax.data.shards import RECORD_FORMAT_KEYS
from alexnet_jax.data.tfds_layout import dataset_folder
from alexnet_jax.interop import convert
from configs import imagenet_caffe, imagenet_torchvision
from tests.commands.helpers import call
from tests.data import made_up, toy
from tests.interop import makers

MARKER = "marker"
MODULE = "handed_over"
CODE = f"open({MARKER!r}, 'w').close()\n"
# What a module of one's own is named by, in TFDS's spellings of today and of its first versions.
SPELLINGS: dict[str, dict[str, Any]] = {
    "today": {"pythonClassName": f"{MODULE}.Feature", "jsonFeature": {"json": "{}"}},
    "protobuf's": {"python_class_name": f"{MODULE}.Feature", "json_feature": {"json": "{}"}},
    "first": {"type": f"{MODULE}.Feature", "content": {}},
}


def name_code(dataset: Path, spelling: str, where: str) -> None:
    path = dataset / "features.json"
    tree = json.loads(path.read_text())
    features = tree["featuresDict"]["features"]
    bad = SPELLINGS[spelling]
    if where == "whole":
        tree = bad
    elif where == "more":
        features["more"] = bad
    elif where == "inside":
        plain = "tensorflow_datasets.core.features.sequence_feature.Sequence"
        features["more"] = {"pythonClassName": plain, "sequence": {"feature": bad}}
    else:
        features[where] = bad
    path.write_text(json.dumps(tree))


@pytest.fixture
def handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a workdir, its dataset, which names code, and the code."""
    torchvision = makers.torchvision()
    with pytest.MonkeyPatch.context() as patch:
        makers.write(tmp_path / "a.npz", torchvision, patch)
    recipes = {"torchvision": imagenet_torchvision.get_config(), "caffe": imagenet_caffe.get_config()}
    convert.to_workdir(tmp_path / "a.npz", tmp_path / "run", recipes)
    path = tmp_path / "run" / "config.json"
    tree = json.loads(path.read_text())
    data = tree["config"]["data"]
    data["dir"] = str(tmp_path / "data")
    config = toy.config_for(tmp_path / "toy", "jpeg", 3)
    folder = dataset_folder(ConfigDict(data))
    folder.parent.mkdir(parents=True)
    toy.write_dataset(config).rename(folder)
    (folder / "preparation.json").write_text(json.dumps({key: data[key] for key in RECORD_FORMAT_KEYS}))
    path.write_text(json.dumps(tree))
    shutil.copytree(folder, tmp_path / "source")
    for dataset in (folder, tmp_path / "source"):
        name_code(dataset, "today", "more")
    (tmp_path / f"{MODULE}.py").write_text(CODE)
    (tmp_path / "a.png").write_bytes(made_up.image_file(1, "PNG"))
    (tmp_path / "b.png").write_bytes(made_up.image_file(2, "PNG"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # as `python -m` does
    return tmp_path


# What a command is given besides the workdir and the source, where it needs something.
GIVEN: dict[str, list[str]] = {
    "predict": ["a.png"],
    "features": ["a.png", "--output=features.npz"],
    "similar": ["a.png"],
    "compare": ["a.png", "b.png"],
    "convert": ["run", "--output=weights.npz"],
    "export": ["--output=net.bin"],
    "evaluate": ["--views=1"],
    "prepare": ["--source=source"],
    "benchmark input": ["--source=source"],
}
imported: list[str] = []
opened: list[str] = []
_watching = [False]


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching[0] and event == "import":
        imported.append(str(arguments[0]))
    if _watching[0] and event == "open":
        opened.append(str(arguments[0]))


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched() -> Any:
    imported.clear()
    opened.clear()
    _watching[0] = True
    try:
        yield
    finally:
        _watching[0] = False
        sys.modules.pop(MODULE, None)


def reads_runs(command: Command) -> bool:
    return bool({"workdir", "source"} & {flag.name for flag in command.flags})


# Those that measure open the same doors after minutes of measuring something else.
OPENING = [
    command
    for command in table.COMMANDS
    if reads_runs(command) and command.name not in ("benchmark step", "benchmark start", "benchmark exchange")
]


@pytest.mark.parametrize("command", OPENING, ids=lambda command: command.name)
def test_no_command_runs_what_a_dataset_names(
    command: Command, handed_over: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*command.name.split(), *GIVEN.get(command.name, [])]
    if "workdir" in {flag.name for flag in command.flags}:
        arguments.append("--workdir=run")
    if command.name == "prepare":  # the dataset that it makes
        shutil.rmtree("data")
    with watched():
        code = call(arguments)
    errors = capsys.readouterr()
    assert MODULE not in imported
    assert not (handed_over / MARKER).exists()
    if any(path.endswith("features.json") for path in opened):
        assert code in (1, 2), errors
        line = next(line for line in (errors.out + errors.err).splitlines() if MODULE in line)
        assert "features.json: pythonClassName is" in line
        assert "Traceback" not in errors.err
    else:
        assert command.name not in ("train", "prepare", "evaluate", "doctor", "report", "report --explore")


@pytest.mark.parametrize("where", ["image", "label", "more", "inside", "whole"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_function_runs_what_a_dataset_names(
    spelling: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alexnet_jax.data import records
    from alexnet_jax.data.sources import detect
    from alexnet_jax.errors import UsageError

    config = toy.config_for(tmp_path, "jpeg", 3)
    folder = toy.write_dataset(config)
    name_code(folder, spelling, where)
    (tmp_path / f"{MODULE}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for opening in (lambda: records.open_dataset(config.data), lambda: detect.open_source(str(folder))):
        with watched(), pytest.raises(UsageError) as caught:
            opening()
        assert "features.json" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert MODULE not in imported
        assert not (tmp_path / MARKER).exists()
