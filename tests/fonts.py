"""A font with a Chinese name's letters, each a full block, as the only one besides matplotlib's own."""

import itertools
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from alexnet_jax import drawing

CHINESE = "金毛寻回犬与高山湖泊"


def blocks(path: Path, letters: str = CHINESE, family: str = "Blocks") -> Path:
    """Write a font in which every letter is a block of 0.8 by 1 em."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (1000, 800), (1000, 0)):
        pen.lineTo(corner)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "block"])
    font.setupCharacterMap(dict.fromkeys(map(ord, letters), "block"))
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "block": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (500, 0), "block": (1000, 0)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return path


def only(monkeypatch: pytest.MonkeyPatch, *installed: Path) -> None:
    """Let a machine have these fonts alone, besides those of matplotlib."""
    names = ("DejaVu", "Last Resort")
    own = [font for font in font_manager.fontManager.ttflist if font.name.startswith(names)]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_, **__: list(map(str, installed)))


@drawing.default_style()
def check_apart(figure: Figure) -> None:
    """Check that a figure's texts, as they are drawn, neither touch each other nor leave it."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    off = [axis for axes in figure.axes if not axes.axison for axis in (axes.xaxis, axes.yaxis)]
    not_drawn = [text for axis in off for text in axis.findobj(Text)]
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text not in not_drawn]
    boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in texts]
    assert boxes
    for text, box in boxes:
        assert box.x0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y0 >= -1, text
        assert box.y1 <= height + 1, text
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        along = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert across <= 1 or along <= 2, (one, other)
