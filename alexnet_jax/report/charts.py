"""Draw the charts of the page of results as SVG, the same bytes everywhere, described for screen readers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from alexnet_jax.report.figures import COLOURS, GRID

BLUE, ORANGE = COLOURS[:2]
INK, GREY = "#24292f", "#57606a"  # of 7 and 5 times the contrast that is asked of text on white
WIDTH = 820
ROW = 34
Point = Sequence[float]


@dataclass(frozen=True)
class Bar:
    """A line of `intervals`.

    Attributes:
      label: stands on its left.
      text: stands on its right.
      published: a diamond; None where there is none.
      mean: a dot, filled where it has an interval.
      interval: a bar.
    """

    label: str
    text: str
    published: float | None
    mean: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Curves:
    """The training curves of one kind of run, and where they cross the level.

    Attributes:
      name: stands at the crossing.
      text: likewise, after the name.
      curves: of each run, its points (epoch, error).
      crossings: of each run, in epochs.
    """

    name: str
    text: str
    curves: Sequence[Sequence[Point]]
    crossings: Sequence[float]


def intervals(title: str, axis: str, bars: Sequence[Bar]) -> str:
    """Return a chart of means with their intervals, beside what was published; 0 is a line where it is in it.

    Args:
      title: names the chart.
      axis: names what is drawn, with its unit.
      bars: from top to bottom.
    """
    left, right, top = 220, 560, 14
    bottom = top + ROW * len(bars)
    numbers = [x for bar in bars for x in (bar.published, bar.mean, *(bar.interval or ())) if x is not None]
    ticks = _ticks(min(numbers), max(numbers))
    span = ticks[-1] - ticks[0]

    def at(value: float) -> float:
        return left + (right - left) * (value - ticks[0]) / span

    parts = [_text(at(tick), bottom + 18, f"{tick:g}", anchor="middle") for tick in ticks]
    parts += [_line(at(tick), top, at(tick), bottom, GREY if tick == 0 else GRID) for tick in ticks]
    parts.append(_text((left + right) / 2, bottom + 38, axis, anchor="middle"))
    for number, bar in enumerate(bars):
        y = top + ROW * (number + 0.5)
        parts.append(_text(left - 10, y + 4, bar.label, INK, "end"))
        parts.append(_text(right + 14, y + 4, bar.text, INK))
        if bar.interval:
            low, high = map(at, bar.interval)
            parts.append(_line(low, y, high, y, BLUE, 2.5))
            parts += [_line(x, y - 5, x, y + 5, BLUE, 2.5) for x in (low, high)]
        if bar.mean is not None:
            parts.append(_dot(at(bar.mean), y, bool(bar.interval)))
        if bar.published is not None:
            parts.append(_diamond(at(bar.published), y))
    parts += _legend(bottom + 62)
    words = [f"{bar.label}: {bar.text}{_published(bar.published)}." for bar in bars]
    return _svg(title, f"{axis}. {' '.join(words)}", bottom + 74, parts)


def training(title: str, level: float, kinds: Sequence[Curves]) -> str:
    """Return a chart of training errors against epochs, with each kind's crossings of a level.

    The mean of a kind's crossings is a dot, their range a bar.

    Args:
      title: names the chart.
      level: a fraction.
      kinds: of runs; lines of the second are dashed.
    """
    left, right, top, bottom = 70, WIDTH - 30, 14, 364
    points = [point for kind in kinds for curve in kind.curves for point in curve]
    across, up = _ticks(0, max(epoch for epoch, _ in points)), _ticks(0, max(error for _, error in points))

    def at(epoch: float, error: float) -> tuple[float, float]:
        return left + (right - left) * epoch / across[-1], bottom - (bottom - top) * error / up[-1]

    parts = [_line(left, at(0, tick)[1], right, at(0, tick)[1], GRID) for tick in up]
    parts += [_text(left - 8, at(0, tick)[1] + 4, f"{100 * tick:g} %", anchor="end") for tick in up]
    parts += [_text(at(tick, 0)[0], bottom + 18, f"{tick:g}", anchor="middle") for tick in across]
    parts.append(_text((left + right) / 2, bottom + 38, "epochs", anchor="middle"))
    y = at(0, level)[1]
    parts.append(_line(left, y, right, y, GREY, dashes="2 4"))
    words = []
    for kind, colour, dashes in zip(kinds, (BLUE, ORANGE), ("", "6 4"), strict=True):
        for curve in kind.curves:
            path = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in curve)
            drawn = f'fill="none" stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dashes}"'
            parts.append(f'<polyline points="{path}" {drawn}/>')
        low, high = (at(end(kind.crossings), level)[0] for end in (min, max))
        parts.append(_line(low, y, high, y, colour, 5))
        x = at(sum(kind.crossings) / len(kind.crossings), level)[0]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
        parts.append(_line(x, y, x, bottom, colour))
        side, anchor = (8, "start") if x < WIDTH / 2 else (-8, "end")  # where the chart has room
        parts.append(_text(x + side, bottom - 28, kind.name, colour, anchor))
        parts.append(_text(x + side, bottom - 10, kind.text, INK, anchor))
        words.append(f"{kind.name}: {kind.text}.")
    return _svg(title, f"Training error against epochs. {' '.join(words)}", bottom + 52, parts)


def _svg(title: str, words: str, height: float, parts: Sequence[str]) -> str:
    """Return a file that a screen reader reads as one image with its title and its description."""
    size = f'width="{WIDTH}" height="{height:g}" viewBox="0 0 {WIDTH} {height:g}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="description">{escape(words)}</desc>',
        f'<rect width="{WIDTH}" height="{height:g}" fill="#ffffff"/>',
        '<g font-family="system-ui, sans-serif" font-size="13">',
    ]
    return "\n".join([*head, *parts, "</g>", "</svg>"]) + "\n"


def _legend(y: float) -> list[str]:
    return [
        *(_diamond(220, y), _text(234, y + 4, "published")),
        *(_line(320, y, 352, y, BLUE, 2.5), _dot(336, y, True), _text(360, y + 4, "ours, 95 % interval")),
        *(_dot(506, y, False), _text(518, y + 4, "ours, without an interval")),
    ]


def _published(value: float | None) -> str:
    return "" if value is None else f"; published {value:g}"


def _text(x: float, y: float, text: str, colour: str = GREY, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x: float, y: float, x2: float, y2: float, colour: str, width: float = 1, dashes: str = "") -> str:
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}" stroke-dasharray="{dashes}"/>'


def _dot(x: float, y: float, filled: bool) -> str:
    fill = BLUE if filled else "#ffffff"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{BLUE}" stroke-width="2"/>'


def _diamond(x: float, y: float) -> str:
    path = f"M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z"
    return f'<path d="{path}" fill="none" stroke="{ORANGE}" stroke-width="2"/>'


def _ticks(low: float, high: float) -> list[float]:
    """Return some five to ten round numbers, the first not above `low` and the last not below `high`."""
    rough = (high - low or 1) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]
