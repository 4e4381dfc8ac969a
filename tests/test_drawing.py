"""Names of any length and language in figures; settings in the current folder change none."""

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from alexnet_jax import drawing
from tests import fonts
from tests.commands.helpers import ROOT
from tests.data import made_up


def test_a_style_in_the_current_folder_draws_nothing(tmp_path: Path) -> None:
    """With `text.usetex` matplotlib would start LaTeX, with a preamble of the file's choice."""
    (tmp_path / "matplotlibrc").write_text(
        "backend: module://handed_over\ntext.usetex: True\ntext.latex.preamble: \\input{x}\nfont.size: 99\n"
    )
    (tmp_path / "a.png").write_bytes(made_up.image_file(1, "PNG"))
    code = """
import pathlib, sys
def audit(event, arguments):
    assert event not in ("subprocess.Popen", "os.posix_spawn", "os.exec"), arguments
sys.addaudithook(audit)
from alexnet_jax.data.images import Preprocessing
from alexnet_jax.inference import predict
answer = {"file": sys.argv[1], "top5": [{"name": "$ant$", "probability": 0.5}]}
predict.draw([answer], Preprocessing(64, 3), pathlib.Path(sys.argv[2]))
import matplotlib
print(matplotlib.rcParams["font.size"])
"""
    made = []
    for number, folder in enumerate((tmp_path, ROOT)):
        figure = tmp_path / f"{number}.png"
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a.png"), str(figure)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == "10.0", done.stderr  # the file was not read: it may take all memory
        made.append(figure.read_bytes())
    assert made[0] == made[1]


@drawing.default_style()
def titled(name: str, width: float = 3.0) -> Figure:
    """A figure that says a name alone, in at most `width` inches."""
    figure = Figure(figsize=(4, 0.5))
    drawing.fit(figure.text(0.02, 0.3, "", fontsize=12), name, width)
    return figure


@drawing.default_style()
def ink(figure: Figure) -> np.ndarray:
    """The dark pixels of a figure's PNG, bool (H, W)."""
    with Image.open(io.BytesIO(drawing.encode(figure, "png"))) as image:
        return np.asarray(image.convert("L")) < 128


@pytest.mark.parametrize("letter", ["W", "i", "金", "m ", "\u202e"])
def test_a_long_name_is_cut_where_it_ends_to_fit(letter: str) -> None:
    """Its ink ends within the width, and fills most of it; the whole stays with an SVG."""
    for width in (1.0, 3.0):
        drawn = np.flatnonzero(ink(titled(letter * 300, width)).any(axis=0))
        assert (drawn[-1] - drawn[0]) / drawing.DPI <= width
        assert (drawn[-1] - drawn[0]) / drawing.DPI > 0.7 * width
    [text] = titled("W" * 300).texts
    assert text.get_text().startswith("WWW")
    assert text.get_text().endswith("W…")
    [plain] = titled("short").texts
    assert (plain.get_text(), plain.get_gid()) == ("short", None)
    assert titled("").texts[0].get_text() == "(no name)"


def test_the_end_of_a_file_s_name_is_kept() -> None:
    figure = Figure(figsize=(4, 0.5))
    drawing.fit(figure.text(0, 0, ""), "photographs/" * 9 + "two.jpg", 2, end=True)
    assert figure.texts[0].get_text().startswith("…")
    assert figure.texts[0].get_text().endswith("photographs/two.jpg")


@drawing.default_style()
def test_text_of_an_svg_is_text_with_the_whole_name_as_title(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts.only(monkeypatch)
    name = '<b>"金毛寻回犬" & ' + "x" * 300
    root = ElementTree.fromstring(drawing.encode(titled(name), "svg"))
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text[:14] for text in texts if text] == [name[:14]]
    assert name in [node.text for node in root.iter("{http://www.w3.org/2000/svg}title")]


@pytest.mark.parametrize("family", ["Blocks", "Blocks High-Efficiency: 2"])
def test_a_font_with_the_letters_is_found(
    family: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One that was installed after matplotlib listed the machine's, too: the blocks are full."""
    fonts.only(monkeypatch, fonts.blocks(tmp_path / "blocks.ttf", family=family))
    name = fonts.CHINESE[:6]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.save(titled(name), tmp_path / "figure.png")
    filled = ink(titled(name)).sum()
    side = 12 / 72 * drawing.DPI
    assert filled == pytest.approx(len(name) * 0.8 * side**2, rel=0.1)
    assert capfd.readouterr() == ("", "")


def test_without_a_font_one_line_names_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fonts.only(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.save(titled("金毛 dog 金"), tmp_path / "figure.png")
        assert capfd.readouterr().err == (
            "no installed font has 毛 金: a PNG has boxes there, an SVG the letters; fonts-noto-cjk has one: "
            "apt-get install fonts-noto-cjk\n"
        )
        drawing.save(titled("金毛 dog 金"), tmp_path / "figure.svg")
        assert capfd.readouterr() == ("", "")
    assert drawing.lacking_letters([titled("ꯀ"), titled("dog")])[0].endswith("apt-get install fonts-noto")
    assert drawing.lacking_letters([titled("dog, señor, …")]) == []


def test_an_installed_font_tells_letters_apart() -> None:
    """Boxes of letters that a font lacks would be alike."""
    if drawing.lacking_letters([titled("犬湖")]):
        pytest.skip("no font on this machine has Chinese letters")
    assert (ink(titled("犬")) != ink(titled("湖"))).any()


def test_columns_of_east_asian_letters_are_two() -> None:
    assert drawing.columns("ab金") == 4
    assert drawing.shorten("金毛寻回犬", 7) == "金毛寻…"
    assert drawing.shorten("abcdefgh", 7) == "abcdef…"
    assert drawing.shorten("  ", 9) == "(no name)"
