"""Figures that look the same everywhere, in every language that names are in.

Text stays text in an SVG, where a browser finds its letters. A PNG is drawn with the fonts at hand: where
matplotlib's own lacks a letter, an installed font that has it is taken, and where none has it, one line says
which package does.
"""

import contextlib
import io
import logging
import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from alexnet_jax import files
from alexnet_jax.progress import printable

DPI = 130
# Fonts of many letters; a browser takes the first that it has. In a PNG any other installed font may follow.
FONTS = (
    "DejaVu Sans",
    *("Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
)
EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "IDEOGRAPHIC")
# How an artist's gid carries what its text was cut from, which becomes the text's title in an SVG.
WHOLE = "whole:"
MAX_TITLE = 1_000  # letters
MAX_LETTERS = 200  # of a name that is drawn
HINTED = 1.04  # letters on whole pixels take a little more
SQUARE = 1.15  # of the size: an East Asian letter takes 1, the box where no font has it takes more


def load_matplotlib() -> None:
    """Import matplotlib without the file `matplotlibrc` in the current folder, which it would read.

    It may be somebody else's: one setting runs LaTeX, another takes all memory, and a pipe of this name is
    waited for. Call it before anything else imports matplotlib.
    """
    elsewhere = contextlib.chdir(os.sep) if os.path.lexists("matplotlibrc") else contextlib.nullcontext()
    with elsewhere, _quiet():
        import matplotlib  # noqa: F401


@contextlib.contextmanager
def default_style() -> Iterator[None]:
    """Draw with matplotlib's own settings while the block, or the function that this decorates, runs."""
    load_matplotlib()
    import matplotlib

    with matplotlib.rc_context(), _quiet():
        matplotlib.rcdefaults()
        matplotlib.rcParams["font.sans-serif"] = [*FONTS]
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep matplotlib's own remarks from the terminal: of fonts' caches, of letters, of tight layouts."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="alexnet_jax|matplotlib")
            yield
    finally:
        logger.setLevel(level)


def shorten(text: str, max_length: int) -> str:
    """Return a printable text of at most `max_length` columns; '(no name)' for an empty one.

    A Chinese, Japanese or Korean character is two columns wide.
    """
    text = printable(text).strip() or "(no name)"
    return text if columns(text) <= max_length else _start(text, max_length - 1) + "…"


def columns(text: str) -> int:
    """Return how wide a text is in columns of a terminal: an East Asian character takes two."""
    return sum(map(_width, text))


def _width(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _start(text: str, max_length: int) -> str:
    """Return as many letters of a text as fit into `max_length` columns."""
    width = 0
    for position, letter in enumerate(text):
        width += _width(letter)
        if width > max_length:
            return text[:position]
    return text


def fit(artist: Any, text: str, width: float, end: bool = False) -> None:
    """Give a text of a figure as much of `text` as is at most `width` inches wide, with an ellipsis.

    What it was cut from stays with it: an SVG shows it where the pointer rests.

    Args:
      artist: matplotlib's Text, its size set.
      text: a name, perhaps hostile; '(no name)' is drawn for an empty one.
      width: inches.
      end: the end is kept, which tells one file from another, not the start.
    """
    whole = printable(text).strip() or "(no name)"
    shown, kept = whole, min(len(whole), MAX_LETTERS)
    fewest = 0
    if len(whole) > MAX_LETTERS or _inches(artist, whole) > width:
        while fewest < kept:
            middle = (fewest + kept + 1) // 2
            if _inches(artist, _cut(whole, middle, end)) > width:
                kept = middle - 1
            else:
                fewest = middle
        shown = _cut(whole, kept, end)
        artist.set_gid(WHOLE + whole[:MAX_TITLE])
    artist.set_text(shown)
    artist.set_parse_math(False)


def _cut(text: str, letters: int, end: bool) -> str:
    return "…" + text[len(text) - letters :] if end else text[:letters] + "…"


def _inches(artist: Any, text: str) -> float:
    """Return how wide a text is at most as an artist draws it, whatever font has its East Asian letters."""
    from matplotlib.textpath import text_to_path

    font = artist.get_fontproperties()
    narrow = "".join(letter for letter in text if _width(letter) == 1)
    with _quiet():
        points, _, _ = text_to_path.get_text_width_height_descent(narrow, font, False)
    wide = SQUARE * (len(text) - len(narrow)) * font.get_size_in_points()
    return float(HINTED * (points + wide) / 72)


def save(figure: Any, path: Path) -> None:
    """Write a figure, as the ending of `path` says: .png or .svg, in any case.

    Letters that no font has are named in one line on standard error, where they are missing from a PNG.
    """
    kind = path.suffix[1:].lower()
    with files.atomic_write(path) as file:
        file.write(encode(figure, kind))
    for line in lacking_letters([figure]) if kind == "png" else ():
        print(line, file=sys.stderr)


def encode(figure: Any, kind: str) -> bytes:
    """Return a figure as a file, 'png' or 'svg'; the same figure gives the same bytes."""
    import matplotlib

    texts = _texts(figure)
    families, _ = _fonts_with(_letters(texts))
    for text in texts:
        text.set_fontfamily(["sans-serif", *families])
    file = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    with _quiet(), matplotlib.rc_context({"svg.hashsalt": "alexnet_jax", "svg.fonttype": "none"}):
        figure.savefig(file, format=kind, dpi=DPI, metadata=metadata)
    figure.set_layout_engine("none")  # what takes longest is done; another file is laid out as this one
    if kind == "png":
        return file.getvalue()
    titled = re.sub(rf"<g id=([\"']){WHOLE}(.*?)\1>", r"<g><title>\2</title>", file.getvalue().decode())
    return titled.encode()


def lacking_letters(figures: Iterable[Any]) -> list[str]:
    """Return a line that names the letters that no installed font has, [] where all of figures are there."""
    lacking = sorted(_fonts_with(_letters(text for figure in figures for text in _texts(figure)))[1])
    if not lacking:
        return []
    east = any(unicodedata.name(letter, "").startswith(EAST_ASIAN) for letter in lacking)
    package = "fonts-noto-cjk" if east else "fonts-noto"
    shown = " ".join(lacking[:8]) + (" ..." if len(lacking) > 8 else "")
    line = f"no installed font has {shown}: a PNG has boxes there, an SVG the letters"
    return [f"{line}; {package} has one: apt-get install {package}"]


def _texts(figure: Any) -> list[Any]:
    """Return the texts of a figure that hold more than ASCII."""
    from matplotlib.text import Text

    return [text for text in figure.findobj(Text) if not text.get_text().isascii()]


def _letters(texts: Iterable[Any]) -> set[str]:
    return {letter for text in texts for letter in text.get_text() if not letter.isspace()}


@_quiet()
def _fonts_with(letters: set[str]) -> tuple[list[str], set[str]]:
    """Return the families of fonts that have what the default one lacks, and the letters that none has."""
    from matplotlib import font_manager

    default = font_manager.get_font(font_manager.findfont(FONTS[0]))
    lacking = letters - set(map(chr, default.get_charmap()))
    families: list[str] = []
    if not lacking:
        return families, lacking
    known = font_manager.fontManager
    # Its list is a cache of its own: what was installed since is not in it.
    for path in sorted(set(font_manager.findSystemFonts()) - {str(font.fname) for font in known.ttflist}):
        with contextlib.suppress(OSError, RuntimeError):
            known.addfont(path)
    # matplotlib's own last resort has a box for every letter: with it none would be told to lack.
    plain = [f for f in known.ttflist if f.style == "normal" and not f.name.startswith("Last Resort")]
    for font in sorted(plain, key=lambda one: (_preference(one.name), one.name, str(one.weight))):
        if not lacking:
            break
        if font.name in families:
            continue
        with contextlib.suppress(OSError, RuntimeError):
            # A list, for a text would be taken for a pattern, in which '-' means something.
            path = font_manager.findfont(font_manager.FontProperties(family=[font.name]))
            found = lacking & set(map(chr, font_manager.get_font(path).get_charmap()))
            if found:
                families.append(font.name)
                lacking -= found
    return families, lacking


def _preference(family: str) -> int:
    return FONTS.index(family) if family in FONTS else len(FONTS)
