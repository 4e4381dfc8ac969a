"""Nets by name: what comes along is what its card says, and torchvision's file is fetched when asked for."""

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
from alexnet_jax.interop import pretrained
from alexnet_jax.interop.fetch import Published
from tests.commands.helpers import alexnet, call, parse
from tests.interop import makers

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
            ("train", "--config=configs/finetune.py", "--config.train.init_from=pretrained:torchvision"),
            "convert torchvision --output=DIR fetches",
        ),
    ],
)
def test_wrong_uses(arguments, words, cache):
    code, out, errors = alexnet(*arguments)
    assert (code, out) == (2, "")
    assert words in errors


def test_a_run_may_begin_with_one(cache, tmp_path):
    """Named on the command line or in a config file; `doctor` understands it as `train` does."""
    flag = f"{INITIAL}digits"
    file = tmp_path / "mine.py"
    file.write_text(
        "from alexnet_jax.config import find\n\n\ndef get_config():\n"
        "    config = find.base(__file__, 'digits')\n"
        "    config.train.init_from = 'pretrained:digits'\n    return config\n"
    )
    digest = hashlib.sha256((pretrained.FOLDER / "digits.safetensors").read_bytes()).hexdigest()
    along = cache / "nets" / f"digits-{digest[:12]}"
    for words in (
        ["train", "--config=digits", flag],
        ["doctor", "--config=digits", flag],
        ["train", f"--config={file}"],
    ):
        assert Path(parse(words).config.train.init_from) == along
        assert (along / "config.json").is_file()
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


def test_a_workdir_that_cannot_be_made(cache, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "FOLDER", cache / "nowhere")
    monkeypatch.setattr(pretrained, "cards", lambda: {"gone": {"sha256": "0" * 64}})
    with pytest.raises(RunFailure, match="the net gone cannot be written to"):
        pretrained.workdir("gone")
    for line in (["predict", "--workdir=pretrained:gone"], ["train", "--config=digits", INITIAL + "gone"]):
        assert call(line) == 1
        errors = capsys.readouterr().err
        assert errors.startswith("alexnet_jax: the net gone cannot be written to ")
        assert errors.count("\n") == 1


@pytest.fixture
def published(monkeypatch, cache, tmp_path):
    """A narrow net in the place of torchvision's: its file, and where the cache would have it."""
    path = makers.write(tmp_path / "a.pth", makers.torchvision(), monkeypatch)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    file = Published(f"http://127.0.0.1:9/alexnet-{sha256}.pth", sha256, most=2**20)
    monkeypatch.setitem(pretrained.PUBLISHED, "torchvision", file)
    return path, cache / "downloads" / file.name


def test_torchvisions_file_is_used_by_its_name(published, tmp_path, capsys):
    path, place = published
    assert call(["convert", "torchvision", f"--output={tmp_path / 'run'}"]) == 1
    errors = capsys.readouterr().err
    assert "cannot be fetched: [Errno 111] Connection refused. Type the command again" in errors
    assert f"copy {place.name} to {place}" in errors
    assert not (tmp_path / "run").exists()
    place.write_bytes(path.read_bytes())
    assert call(["convert", "torchvision", f"--output={tmp_path / 'run'}"]) == 0
    assert f"wrote the workdir {tmp_path / 'run'}" in capsys.readouterr().out
    named, direct = alexnet_jax.load("torchvision"), alexnet_jax.load(path)
    for layer, leaves in direct.params.items():
        for name, array in leaves.items():
            np.testing.assert_array_equal(named.params[layer][name], array)


def test_what_is_wrong_is_said_before_anything_is_fetched(published, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    assert call(["convert", "torchvision", f"--output={tmp_path / 'run'}"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert not published[1].parent.exists()
