"""Wrong uses: the exact line and exit code of each. None shows a traceback, `--debug` shows it."""

import json
import os
import shutil
from pathlib import Path

import pytest
from absl import flags
from PIL import Image

from alexnet_jax import main, runtime
from alexnet_jax.training import loop
from tests.helpers import epochs, small_digits

TRAIN = "train --config=configs/digits.py --config.data.dir={data} --config.mesh.model=1 --workdir={new}"
USE = "--workdir={run}"
# (arguments, exit code, the line after "alexnet_jax: "); {places} are made by the fixture below.
WRONG: list[tuple[str, int, str]] = [
    # WRONG
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, digits_folder: str) -> dict[str, str]:
    """Folders and files that wrong uses name."""
    folder = tmp_path_factory.mktemp("w")
    config = small_digits(digits_folder)
    config.mesh.model = 1
    config.train.epochs = epochs(2)
    assert loop.train(config, folder / "run") == 0
    shutil.copytree(folder / "run", folder / "damaged")
    state = folder / "damaged/checkpoints/2/state"
    victim = max((p for p in state.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    victim.rename(state / "a")
    for path in list(state.iterdir()):
        if path.name != "a":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    manifest = folder / "damaged/checkpoints/2/manifest.json"
    told = json.loads(manifest.read_text())
    told["files"] = {"state/a": [1, "0"]}
    manifest.write_text(json.dumps(told))
    shutil.copytree(folder / "run", folder / "bare")
    shutil.rmtree(folder / "bare/checkpoints")
    for name, text in (("cut", '{"config": {'), ("list", "[]"), ("other", '{"config": {"seed": 1}}')):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(text)
    shutil.copytree(folder / "run", folder / "statistics")
    (folder / "statistics/statistics.npz").write_bytes(b"PK")
    (folder / "empty").mkdir()
    (folder / "text.txt").write_text("text")
    (folder / "broken.py").write_text("def get_config():\n    return 1 / 0\n")
    (folder / "weights.pth").write_bytes(b"\x80\x04cos\nsystem\n.")
    (folder / "names.txt").write_text("one\ntwo\n")
    Image.new("L", (80, 80), 99).save(folder / "picture.png")
    (folder / "one/train/ant").mkdir(parents=True)
    Image.new("L", (80, 80), 99).save(folder / "one/train/ant/1.png")
    (folder / "flat").mkdir()
    Image.new("L", (80, 80), 99).save(folder / "flat/1.png")
    (folder / "archive.tar").write_bytes(b"not a tar" * 200)
    (folder / "archive.zip").write_bytes(b"not a zip")
    (folder / "mnist").mkdir()
    (folder / "mnist/train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0\0\x09")
    (folder / "mnist/train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\0")
    return {"tmp": str(folder), "data": digits_folder, "run": str(folder / "run"), "new": str(folder / "new")}


def call(arguments: list[str]) -> int | str | None:
    """What `python -m alexnet_jax.main` does, in this process; the exit code."""
    for name in [name for name in flags.FLAGS if name.split(".")[0] == "config"]:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()
    try:
        return main.main(main._parse(["alexnet", *arguments]))
    except SystemExit as error:
        return error.code


@pytest.fixture(autouse=True)
def _in_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "keep_memory", lambda: False)
    monkeypatch.setenv("TFDS_DATA_DIR", "/nowhere")
    monkeypatch.delenv("JAX_ENABLE_X64", raising=False)


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG, ids=[row[0][:60] for row in WRONG])
def test_wrong_uses(
    arguments: str, code: int, message: str, places: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    filled = [word.format(**places) for word in arguments.split()]
    found = call(filled)
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("alexnet_jax: ")]
    assert told == ["alexnet_jax: " + message.format(**places)]
    assert found == code
    assert not os.path.exists(places["new"] + "/config.json")


def test_the_table_is_long_enough() -> None:
    assert len({message for _, _, message in WRONG}) >= 40


def test_debug_shows_the_traceback(places: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", f"--workdir={places['tmp']}/bare"]
    assert call(arguments) == 2
    assert "Traceback" not in capfd.readouterr().err
    assert call([*arguments, "--debug"]) == 2
    told = capfd.readouterr().err
    assert "Traceback (most recent call last)" in told
    assert told.splitlines()[-1].startswith("alexnet_jax: ")
