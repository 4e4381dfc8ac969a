"""The figures, each a function of what is drawn to a matplotlib Figure; nothing is computed on a net here."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from alexnet_jax.progress import printable
from alexnet_jax.report import runs

if TYPE_CHECKING:
    from alexnet_jax.inference.findings import Confusions, Guess, Map, Neighbours, Picture

Points = Sequence[Sequence[float]]  # pairs (epoch, value)
TARGET = 0.25  # training error whose epoch the paper's figure 1 reads off
COLOURS = ("#1f6fb4", "#d1640c", "#2c8a3c", "#b3282d", "#7553a8", "#7a5244", "#b0428c", "#5c5c5c")
RIGHT, OTHER = "#f0938a", "#9ecae1"  # bars of the right class, as in the paper's figure 4, and of others
RED = "#c0332b"  # text
GREY = "#8a8f98"
DPI = 130
CONTRAST = 0.995  # share of a projection's values that is not cut off: a few of them are far out


def shortened(text: str, most: int) -> str:
    """`text` for a person, in at most `most` characters; '(no name)' for nothing."""
    text = printable(text).strip() or "(no name)"
    return text if len(text) <= most else text[: most - 1] + "…"


def encoded(figure: Figure) -> dict[str, bytes]:
    """The figure as files: {'png': ..., 'svg': ...}."""
    found = {}
    # Letters that the font lacks are drawn as boxes; that is no news for a terminal.
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "alexnet_jax"}):
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        for form in ("png", "svg"):
            file = io.BytesIO()
            figure.savefig(file, format=form, dpi=DPI, metadata={"Date": None} if form == "svg" else None)
            found[form] = file.getvalue()
    return found


def figure_1(relu: Sequence[Points], tanh: Sequence[Points]) -> Figure:
    """The paper's figure 1: training error against epochs with ReLU (solid) and with tanh (dashed).

    A line for each run, of (epoch, error); the dashed level is 25 %.
    """
    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    place = figure.subplots()
    for curves_of, style, colour, name in ((relu, "-", COLOURS[0], "ReLU"), (tanh, "--", COLOURS[1], "tanh")):
        for number, points in enumerate(curves_of):
            label = None if number else name
            place.plot(*zip(*points, strict=True), style, color=colour, linewidth=1.4, label=label)
    place.axhline(TARGET, color=GREY, linestyle=":", linewidth=1)
    place.set_ylim(0, 0.8)
    place.set_xlabel("epoch")
    place.set_ylabel("training error")
    place.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=None))
    place.grid(color="#e4e6ea", linewidth=0.6)
    place.spines[["top", "right"]].set_visible(False)
    place.legend(frameon=False)
    return figure


def curves(all_runs: Sequence[runs.RunFiles], names: Sequence[str]) -> Figure:
    """Loss, errors and learning rate against epochs, a colour for each run.

    Training is a line, validation a line with points; drops of the rate are dotted lines. Where the training
    error first reaches 25 % is marked, as the paper's figure 1 reads it off.
    """
    figure = Figure(figsize=(11, 7.2), layout="constrained")
    places = figure.subplots(2, 2)
    panels = (("loss", "loss"), ("top1_error", "top-1 error"), ("top5_error", "top-5 error"))
    for place, (tag, words) in zip(places.flat, panels, strict=False):
        for run, colour in zip(all_runs, itertools.cycle(COLOURS)):
            place.plot(*runs.curve(run.metrics, f"train/{tag}"), color=colour, linewidth=1.1, alpha=0.75)
            place.plot(
                *runs.curve(run.metrics, f"val/{tag}"), color=colour, linewidth=1.6, marker="o", markersize=3
            )
        place.set_title(words, fontsize=11)
        place.set_ylim(bottom=0)
    rate = places[1, 1]
    for run, colour in zip(all_runs, itertools.cycle(COLOURS)):
        rate.step(*runs.curve(run.metrics, "learning_rate"), color=colour, where="pre", linewidth=1.6)
        for epoch, _, after in runs.drops(run.metrics):
            for place in places.flat:
                place.axvline(epoch, color=colour, linestyle=":", linewidth=1, alpha=0.8)
            rate.annotate(
                f"{after:g}",
                (epoch, after),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=8,
                color=colour,
            )
        reached = runs.epochs_to(run.metrics, TARGET)
        if reached is not None:
            places[0, 1].plot([reached, reached], [0, TARGET], color=colour, linestyle="--", linewidth=1)
            places[0, 1].plot([reached], [TARGET], color=colour, marker="D", markersize=5)
    if any(runs.curve(run.metrics, "train/top1_error")[0] for run in all_runs):
        places[0, 1].axhline(TARGET, color=GREY, linestyle="--", linewidth=0.8)
    if any(value > 0 for run in all_runs for value in runs.curve(run.metrics, "learning_rate")[1]):
        rate.set_yscale("log")
    rate.set_title("learning rate", fontsize=11)
    for place in places.flat:
        place.set_xlabel("epoch", fontsize=9)
        place.tick_params(labelsize=8)
        place.grid(color="#e4e6ea", linewidth=0.6)
        place.spines[["top", "right"]].set_visible(False)
    for place in (places[0, 1], places[1, 0]):
        place.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=None))
    handles = [
        matplotlib.lines.Line2D([], [], color=colour, linewidth=3)
        for _, colour in zip(all_runs, itertools.cycle(COLOURS))
    ]
    texts = [shortened(name, 40) for name in names]
    handles += [
        matplotlib.lines.Line2D([], [], color="black", linewidth=1.1),
        matplotlib.lines.Line2D([], [], color="black", linewidth=1.6, marker="o", markersize=3),
        matplotlib.lines.Line2D([], [], color="black", linewidth=1, linestyle=":"),
    ]
    texts += ["training", "validation", "the rate falls"]
    legend = figure.legend(handles, texts, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def scaled(kernel: np.ndarray, share: float = 1.0) -> np.ndarray:
    """Numbers as a picture (..., 3): 0 becomes middle grey, the largest of either sign black or white.

    With `share` below 1 so many of them lie between the two and the rest is cut off.
    """
    most = float(np.quantile(np.abs(kernel), share)) or float(np.abs(kernel).max()) or 1.0
    shown = np.clip(0.5 + kernel / (2 * most), 0, 1)
    return np.broadcast_to(shown, (*shown.shape[:-1], 3)) if shown.shape[-1] == 1 else shown


def kernels(all_kernels: np.ndarray) -> Figure:
    """The first layer's kernels, tower by tower (figure 3), each scaled by itself.

    Args:
      all_kernels: (T, kh, kw, C, maps of a tower); C is 1 or 3.
    """
    towers, _, _, _, maps = all_kernels.shape
    columns = 16 if maps >= 32 else 8
    tiles = [
        _tiles([scaled(all_kernels[tower, ..., number]) for number in range(maps)], columns)
        for tower in range(towers)
    ]
    rows = -(-maps // columns)
    width = 9.0
    figure = Figure(figsize=(width, towers * (width * rows / columns + 0.35)), layout="constrained")
    for tower, (place, tile) in enumerate(zip(_column(figure, towers), tiles, strict=True)):
        place.imshow(tile, interpolation="nearest")
        place.axis("off")
        if towers > 1:
            place.set_title(f"tower {tower}: maps {tower * maps} to {(tower + 1) * maps - 1}", fontsize=10)
    return figure


def specialisation(all_kernels: np.ndarray) -> tuple[float, list[float]] | None:
    """How differently the towers care for colour; None for grey pictures or fewer than two maps.

    The colour of a kernel is the share of its square that is not equal in the three channels. The number
    is the probability that of two kernels, one of each tower, the one of the more colourful tower has more
    colour: 0.5 where the towers are alike, 1 where one has taken all the colour. A net of one tower is
    divided in the middle instead: what chance gives.

    Args:
      all_kernels: (T, kh, kw, C, maps of a tower).

    Returns:
      The number, and the mean colour of each tower's (or half's) kernels.
    """
    channels = all_kernels.shape[3]
    flat = np.moveaxis(all_kernels, 3, -1).astype(np.float64)  # (T, kh, kw, maps, C)
    if channels != 3:
        return None
    square = np.square(flat).sum(axis=(1, 2, 4))
    grey = 3 * np.square(flat.mean(axis=-1)).sum(axis=(1, 2))
    colour = 1 - grey / np.maximum(square, 1e-30)
    first, second = colour if len(colour) == 2 else np.array_split(colour[0], 2)
    if not len(first) or not len(second):
        return None
    more = (first[:, None] > second).mean() + (first[:, None] == second).mean() / 2
    return float(max(more, 1 - more)), [float(first.mean()), float(second.mean())]


def guesses(shown: Sequence[Guess]) -> Figure:
    """Pictures with their likeliest classes as bars, the right one in red (figure 4, left)."""
    columns = 4
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(11, 3.9 * rows), layout="constrained")
    places = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1.75, 1] * rows)
    for place in places.flat:
        place.axis("off")
    for number, guess in enumerate(shown):
        row, column = divmod(number, columns)
        _picture(places[2 * row, column], guess.picture, guess.picture.label)
        bars = places[2 * row + 1, column]
        bars.set_xlim(0, 1)
        bars.set_ylim(4.6, -0.6)
        for place, (name, probability) in enumerate(guess.guesses):
            right = name == guess.picture.label
            bars.barh(place, probability, color=RIGHT if right else OTHER, height=0.82)
            text = f"{shortened(name, 24)}  {probability:.1%}"
            weight = "bold" if right else "normal"  # its bar may be too short to be seen
            bars.text(0.015, place, text, va="center", fontsize=8, weight=weight, parse_math=False)
    return figure


def neighbours(shown: Sequence[Neighbours]) -> Figure:
    """Test pictures and beside each the nearest training pictures (figure 4, right)."""
    columns = 1 + max(len(row.nearest) for row in shown)
    figure = Figure(figsize=(11, 1.85 * len(shown)), layout="constrained")
    places = figure.subplots(
        len(shown), columns + 1, squeeze=False, width_ratios=[1, 0.12, *[1] * (columns - 1)]
    )
    for place in places.flat:
        place.axis("off")
    for row, here in zip(shown, places, strict=True):
        _picture(here[0], row.picture, row.picture.label, size=8)
        for place, (picture, distance) in zip(here[2:], row.nearest, strict=False):
            colour = "black" if picture.label == row.picture.label else RED
            title = f"{shortened(picture.label, 18)}\n{distance:.3g}"
            _picture(place, picture, title, size=7.5, colour=colour, most=80)
    return figure


def confusion(found: Confusions) -> Figure:
    """The matrix as shares of each class; numbers in the cells where there are few classes."""
    matrix = found.matrix[:, : len(found.matrix)]
    shares = matrix / np.maximum(found.matrix.sum(axis=1, keepdims=True), 1)
    count = len(matrix)
    side = min(max(3.6 + 0.5 * count, 5), 10.5)
    figure = Figure(figsize=(side, 0.92 * side), layout="constrained")
    place = figure.subplots()
    drawn = place.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    bar = figure.colorbar(drawn, ax=place, shrink=0.75, pad=0.02)
    bar.ax.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    bar.ax.tick_params(labelsize=8)
    if count <= 60:
        names = [shortened(name, 18) for name in found.names]
        size = 9 if count <= 20 else 5
        place.set_xticks(range(count), names, rotation=90 if count > 6 else 30, fontsize=size)
        place.set_yticks(range(count), names, fontsize=size)
        for text in (*place.get_xticklabels(), *place.get_yticklabels()):
            text.set_parse_math(False)
    if count <= 20:
        for row, column in np.ndindex(count, count):
            if matrix[row, column]:
                colour = "white" if shares[row, column] > 0.5 else "black"
                number = str(matrix[row, column])
                place.text(column, row, number, ha="center", va="center", fontsize=7, color=colour)
    place.set_xlabel("taken for", fontsize=10)
    place.set_ylabel("class", fontsize=10)
    return figure


def excites(shown: Sequence[Map]) -> Figure:
    """Maps of one layer: the strongest patches, and beside them what of each excites the map."""
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    width = 2.75 * columns
    figure = Figure(
        figsize=(max(width, 5.5), rows * 5.8 * max(width, 5.5) / width / 1.03), layout="constrained"
    )
    places = figure.subplots(2 * rows, columns, squeeze=False)
    for place in places.flat:
        place.axis("off")
    for number, here in enumerate(shown):
        row, column = divmod(number, columns)
        upper, lower = places[2 * row, column], places[2 * row + 1, column]
        side = max(max(patch.pixels.shape[:2]) for patch in here.patches)
        pixels = [_square(_colour(patch.pixels), side, 1.0) for patch in here.patches]
        projections = [_square(scaled(patch.projection, CONTRAST), side, 0.5) for patch in here.patches]
        upper.imshow(_tiles(pixels, 3), interpolation="nearest")
        lower.imshow(_tiles(projections, 3), interpolation="nearest")
        tower = f", tower {here.tower}" if shown[-1].tower else ""
        upper.set_title(f"map {here.number}{tower}", fontsize=10)
    return figure


def _column(figure: Figure, count: int) -> Any:
    return figure.subplots(count, 1, squeeze=False)[:, 0]


def _picture(
    place: Any, picture: Picture, title: str, size: float = 9, colour: str = "black", most: int = 26
) -> None:
    place.imshow(_colour(picture.image), interpolation="nearest" if len(picture.image) < 100 else None)
    lines = [shortened(line, most) for line in title.split("\n")] if most > 26 else [shortened(title, most)]
    place.set_title("\n".join(lines), fontsize=size, parse_math=False, color=colour)


def _colour(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 1 or 3) as float (H, W, 3) from 0 to 1."""
    return np.broadcast_to(image, (*image.shape[:2], 3)) / 255


def _square(image: np.ndarray, side: int, fill: float) -> np.ndarray:
    """`image` in the middle of a square."""
    height, width = image.shape[:2]
    top, left = (side - height) // 2, (side - width) // 2
    ends = ((top, side - height - top), (left, side - width - left), (0, 0))
    return np.pad(image, ends, constant_values=fill)


def _tiles(images: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size (H, W, 3) as one, in rows, with white lines between them."""
    height, width = images[0].shape[:2]
    gap = max(1, round(max(height, width) / 16))
    rows = -(-len(images) // columns)
    canvas = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for number, image in enumerate(images):
        top, left = (
            x * (size + gap) for x, size in zip(divmod(number, columns), (height, width), strict=True)
        )
        canvas[top : top + height, left : left + width] = image
    return canvas
