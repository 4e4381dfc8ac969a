"""Nets that come along: each is what its card says, and a run may begin with one."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import alexnet_jax
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.workdir import pretrained
from tests.commands.helpers import alexnet, call, parse

ROOT = Path(__file__).parents[2]
INITIAL = "--config.train.init_from=pretrained:"
SOURCES = {
    "cifar10": ("cifar10", "cifar10.tar.xz"),
    "cifar10_alexnet": ("cifar10_alexnet", "cifar10.tar.xz"),
    "mnist": ("mnist", "mnist"),
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "alexnet_jax"


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A handwritten 1, white on black, as a file."""
    image = Image.new("L", (64, 64))
    draw = ImageDraw.Draw(image)
    draw.line((36, 2, 36, 62), fill=255, width=14)
    draw.line((36, 4, 20, 22), fill=255, width=9)
    path = tmp_path_factory.mktemp("images") / "one.png"
    image.save(path)
    return path


def test_the_files_are_those_of_the_cards_and_small():
    cards = pretrained.cards()
    assert {"cifar10", "cifar10_alexnet", "digits", "mnist"} == cards.keys()
    files = sorted(pretrained.FOLDER.glob("*.safetensors"))
    assert [file.stem for file in files] == sorted(cards)
    assert sum(file.stat().st_size for file in files) <= 3 * 10**6
    for file in files:
        card = cards[file.stem]
        assert card["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (ROOT / card["config"]).is_file()
        assert card["license"] == "Apache-2.0"
        errors = card["top1_error_of_seeds"].values()
        assert card["mean"] == pytest.approx(np.mean(list(errors)), abs=1e-6)
        if len(errors) > 1:
            assert card["standard_deviation"] == pytest.approx(np.std(list(errors), ddof=1), abs=1e-6)
        # Rounding to float16 may turn some images over, and no more.
        assert card["top1_error"] == pytest.approx(errors_of_seed_1(card), abs=0.002)


def errors_of_seed_1(card):
    return card["top1_error_of_seeds"]["1"]


def test_the_page_has_the_cards_figures():
    page = (ROOT / "docs" / "pretrained.md").read_text()
    for name, card in pretrained.cards().items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert f"| {100 * card['top1_error']:.2f} % |" in row
        mean, spread = 100 * card["mean"], 100 * card["standard_deviation"]
        assert f"| {mean:.2f} ± {spread:.2f} % ({len(card['top1_error_of_seeds'])}) |" in row
        assert card["command"] in page


def test_a_workdir_is_made_once(cache, one):
    environment = os.environ | {"XDG_CACHE_HOME": str(cache.parent)}
    command = [sys.executable, "-m", "alexnet_jax.main", "predict", "--workdir=pretrained:digits", "--json"]
    outputs = [
        subprocess.run([*command, str(one)], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert outputs[0].stdout == outputs[1].stdout
    assert json.loads(outputs[0].stdout)[0]["top5"][0]["name"] == "1"
    (workdir,) = (cache / "nets").iterdir()
    assert f"its workdir is {workdir}" in outputs[0].stderr
    assert "workdir" not in outputs[1].stderr
    # The library reads the same file and answers the same.
    row = alexnet_jax.load("digits").predict(one, views=10)[0]
    assert row.argmax() == 1
    assert row.max() == pytest.approx(json.loads(outputs[0].stdout)[0]["top5"][0]["probability"], rel=1e-5)


def test_a_card_gives_its_figure(cache, tmp_path):
    check_card("digits", "digits", "digits", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_a_card_gives_its_figure_on_real_data(name, cache, tmp_path, real_data):
    config, source = SOURCES[name]
    check_card(name, config, str(real_data / source), tmp_path)


def check_card(name, config, source, folder):
    where = f"--config.data.dir={folder}"
    code, _, errors = alexnet("prepare", f"--config=configs/{config}.py", f"--source={source}", where)
    assert code == 0, errors
    code, _, errors = alexnet("evaluate", f"--workdir=pretrained:{name}", where)
    assert code == 0, errors
    answer = json.loads((pretrained.workdir(name) / "evaluation.json").read_text())
    card = pretrained.cards()[name]
    assert (answer["split"], answer["examples"]) == (card["split"], card["images"])
    # Another processor's rounding may turn an image in a thousand over.
    assert answer["top1_error"] == pytest.approx(card["top1_error"], abs=0.001)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "--workdir=pretrained:nothing", "x.jpg"), "there are cifar10, "),
        (("predict", "--workdir=pretrained:../x", "x.jpg"), "there are cifar10, "),
        (
            ("predict", "--workdir=pretrained:torchvision", "x.jpg"),
            "convert torchvision --output=DIR fetches",
        ),
        (
            ("train", "--config=configs/digits.py", "--workdir=pretrained:digits"),
            "train uses no trained net; --config.train.init_from=pretrained:digits begins a run with one",
        ),
        (
            ("train", "--config=configs/digits.py", "--config.train.init_from=pretrained:nothing"),
            "no net nothing comes along: there are cifar10, ",
        ),
        (
            ("train", "--config=configs/digits.py", "--config.train.init_from=pretrained:torchvision"),
            "convert torchvision --output=DIR fetches",
        ),
    ],
)
def test_wrong_uses(arguments, words, cache, digits_folder):
    where = [f"--config.data.dir={digits_folder}", f"--workdir={cache / 'run'}"]
    where = where if "init_from" in arguments[-1] else []
    code, out, errors = alexnet(*arguments, *where)
    assert (code, out) == (2, "")
    assert words in errors


def test_a_run_may_begin_with_one(cache, tmp_path, digits_folder, capsys):
    """Named on the command line or in a config file; the run's own file has the name, not a folder."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from alexnet_jax.config import find\n\n\ndef get_config():\n"
        "    config = find.base(__file__, 'digits')\n"
        "    config.train.init_from = 'pretrained:digits'\n    return config\n"
    )
    data, run = f"--config.data.dir={digits_folder}", tmp_path / "run"
    few = ["--config.train.epochs=0.2", "--config.train.log_every_steps=1"]
    assert call(["doctor", "--config=digits", f"{INITIAL}digits", data]) == 0
    assert call(["train", f"--config={file}", data, f"--workdir={run}", *few]) == 0
    assert "from pretrained:digits: conv1, " in capsys.readouterr().err
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["train"]["init_from"] == "pretrained:digits"
    assert call(["train", "--config=digits", f"{INITIAL}digits", data, f"--workdir={run}", *few]) == 0
    net, begun = alexnet_jax.load("digits"), alexnet_jax.load(run)
    # A few steps from there, and not a net drawn at random.
    np.testing.assert_allclose(begun.params["conv1"]["kernel"], net.params["conv1"]["kernel"], atol=0.01)
    images, _ = next(alexnet_jax.batches(file, data_dir=digits_folder))
    assert images.shape[1:] == (64, 64, 1)
    folder = parse(["train", "--config=digits", "--config.train.init_from=./pretrained:digits"])
    assert Path(folder.config.train.init_from) == Path("pretrained:digits").absolute()


def test_prepare_takes_the_config_of_one(cache, tmp_path):
    flags = ("--workdir=pretrained:digits", "--source=digits", f"--config.data.dir={tmp_path}", "--dry_run")
    code, out, errors = alexnet("prepare", *flags)
    assert code == 0, errors
    assert str(tmp_path / "digits_72" / "1.0.0") in out


def test_a_cache_of_another_user(cache):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(UsageError, match="may be written by others"):
        pretrained.workdir("digits")


def test_a_workdir_that_cannot_be_made(cache, monkeypatch, capsys, digits_folder):
    monkeypatch.setattr(pretrained, "FOLDER", cache / "nowhere")
    monkeypatch.setattr(pretrained, "cards", lambda: {"gone": {"sha256": "0" * 64}})
    with pytest.raises(RunFailure, match="the net gone cannot be written to"):
        pretrained.workdir("gone")
    train = ["train", "--config=digits", f"--config.data.dir={digits_folder}", f"--workdir={cache / 'run'}"]
    for line in (["predict", "--workdir=pretrained:gone"], [*train, INITIAL + "gone"]):
        assert call(line) == 1
        errors = capsys.readouterr().err
        assert errors.startswith("alexnet_jax: the net gone cannot be written to ")
        assert errors.count("\n") == 1
