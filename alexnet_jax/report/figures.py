"""Draw the figures; nothing is computed on a net here.

Each function takes what is to be drawn and returns a matplotlib Figure.
"""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from alexnet_jax.progress import printable
from alexnet_jax.report import runs

if TYPE_CHECKING:
    from alexnet_jax.inference.report_data import ChannelPatches, Confusions, Guess, LabelledImage, Neighbours

COLOURS = ("#1f6fb4", "#d1640c", "#2c8a3c", "#b3282d", "#7553a8", "#7a5244", "#b0428c", "#5c5c5c")
RIGHT, OTHER = "#f0938a", "#9ecae1"  # bars of the right class, as in the paper's figure 4, and of others
RED = "#c0332b"  # text
GREY = "#8a8f98"
GRID = "#e4e6ea"
DPI = 130
MAX_DROPS = 100  # of a learning rate, that are marked: one that falls all the time has no steps
CONTRAST = 0.995  # share of a projection's values that is not cut off: a few of them are far out


def shorten(text: str, max_length: int) -> str:
    """Return a printable text of at most `max_length` characters; '(no name)' for an empty one."""
    text = printable(text).strip() or "(no name)"
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def shorten_left(text: str, max_length: int) -> str:
    """Return the end of a printable text, which tells one file from another, as `shorten` does the start."""
    text = printable(text).strip() or "(no name)"
    return text if len(text) <= max_length else "…" + text[1 - max_length :]


def encode(figure: Figure) -> dict[str, bytes]:
    """Return the figure as files: {'png': ..., 'svg': ...}; the same figure gives the same bytes."""
    files = {}
    # Letters that the font lacks are drawn as boxes; that is no news for a terminal.
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "alexnet_jax"}):
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        for extension in ("png", "svg"):
            file = io.BytesIO()
            metadata = {"Date": None} if extension == "svg" else None
            figure.savefig(file, format=extension, dpi=DPI, metadata=metadata)
            files[extension] = file.getvalue()
    return files


def curves(all_runs: Sequence[runs.RunFiles], names: Sequence[str]) -> Figure:
    """Draw loss, errors and learning rate against epochs, a colour for each run.

    Training is a line, validation a line with points; drops of the learning rate are dotted lines. Where the
    training error first reaches 25 % is marked, as the paper's figure 1 reads it off.
    """
    figure = Figure(figsize=(11, 7.2), layout="constrained")
    panels = figure.subplots(2, 2)
    loss, top1, top5, learning_rate = panels.flat
    for panel, tag, title in (
        (loss, "loss", "loss"),
        (top1, "top1_error", "top-1 error"),
        (top5, "top5_error", "top-5 error"),
    ):
        for run, colour in _coloured(all_runs):
            panel.plot(*runs.curve(run.metrics, f"train/{tag}"), color=colour, linewidth=1.1, alpha=0.75)
            panel.plot(
                *runs.curve(run.metrics, f"val/{tag}"), color=colour, linewidth=1.6, marker="o", markersize=3
            )
        panel.set_title(title, fontsize=11)
        panel.set_ylim(bottom=0)
    for run, colour in _coloured(all_runs):
        drops = runs.learning_rate_drops(run.metrics)
        has_steps = run.config.schedule.kind != "polynomial" and len(drops) <= MAX_DROPS
        learning_rate.plot(
            *runs.curve(run.metrics, "learning_rate"),
            color=colour,
            linewidth=1.6,
            drawstyle="steps-pre" if has_steps else "default",
        )
        for epoch, _, after in drops if has_steps else ():
            for panel in panels.flat:
                panel.axvline(epoch, color=colour, linestyle=":", linewidth=1, alpha=0.8)
            offset = {"xytext": (4, 4), "textcoords": "offset points"}
            learning_rate.annotate(f"{after:g}", (epoch, after), **offset, fontsize=8, color=colour)
        reached, target = runs.epochs_to(run.metrics, runs.TARGET_ERROR), runs.TARGET_ERROR
        if reached and not reached.before:
            top1.plot([reached.epoch] * 2, [0, target], color=colour, linestyle="--", linewidth=1)
            top1.plot([reached.epoch], [target], color=colour, marker="D", markersize=5)
    if any(runs.curve(run.metrics, "train/top1_error")[0] for run in all_runs):
        top1.axhline(runs.TARGET_ERROR, color=GREY, linestyle="--", linewidth=0.8)
    if any(value > 0 for run in all_runs for value in runs.curve(run.metrics, "learning_rate")[1]):
        learning_rate.set_yscale("log")
    learning_rate.set_title("learning rate", fontsize=11)
    for panel in panels.flat:
        panel.set_xlabel("epoch", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.grid(color=GRID, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in (top1, top5):
        panel.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=None))
    _legend(figure, all_runs, names)
    return figure


def _coloured(all_runs: Sequence[runs.RunFiles]) -> Iterator[tuple[runs.RunFiles, str]]:
    return zip(all_runs, itertools.cycle(COLOURS))


def _legend(figure: Figure, all_runs: Sequence[runs.RunFiles], names: Sequence[str]) -> None:
    """Name the runs' colours and the kinds of lines of `curves`."""
    styles: tuple[tuple[str, dict[str, Any]], ...] = (
        *(
            (shorten(name, 40), {"color": colour, "linewidth": 3})
            for name, (_, colour) in zip(names, _coloured(all_runs), strict=True)
        ),
        ("training", {"linewidth": 1.1}),
        ("validation", {"linewidth": 1.6, "marker": "o", "markersize": 3}),
        ("the learning rate falls", {"linewidth": 1, "linestyle": ":"}),
    )
    handles = [matplotlib.lines.Line2D([], [], **{"color": "black"} | style) for _, style in styles]
    texts = [text for text, _ in styles]
    legend = figure.legend(handles, texts, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def scaled(values: np.ndarray, share: float = 1.0) -> np.ndarray:
    """Return numbers of either sign as an image: 0 becomes middle grey, the largest black or white.

    Args:
      values: (..., 1 or 3).
      share: of the values lies between black and white; the rest is cut off.

    Returns:
      (..., 3), from 0 to 1.
    """
    largest = float(np.quantile(np.abs(values), share)) or float(np.abs(values).max()) or 1.0
    shown = np.clip(0.5 + values / (2 * largest), 0, 1)
    return np.broadcast_to(shown, (*shown.shape[:-1], 3)) if shown.shape[-1] == 1 else shown


def kernels(all_kernels: np.ndarray) -> Figure:
    """Draw the first layer's kernels, tower by tower (paper, figure 3), each scaled by itself.

    Args:
      all_kernels: (T, kh, kw, C, output channels of a tower); C is 1 or 3.
    """
    towers, _, _, _, channels = all_kernels.shape
    columns = 16 if channels >= 32 else 8
    rows = -(-channels // columns)
    width = 9.0
    figure = Figure(figsize=(width, towers * (width * rows / columns + 0.35)), layout="constrained")
    for tower, panel in enumerate(figure.subplots(towers, 1, squeeze=False)[:, 0]):
        tiles = [scaled(all_kernels[tower, ..., channel]) for channel in range(channels)]
        panel.imshow(_tiled(tiles, columns), interpolation="nearest")
        panel.axis("off")
        if towers > 1:
            first = tower * channels
            panel.set_title(f"tower {tower}: channels {first} to {first + channels - 1}", fontsize=10)
    return figure


def specialisation(all_kernels: np.ndarray) -> tuple[float, list[float]] | None:
    """Return how differently the towers care for colour.

    The colour of a kernel is the share of its square that is not equal in the three channels. The number
    is the probability that of two kernels, one of each tower, the one of the more colourful tower has more
    colour: 0.5 where the towers are alike, 1 where one has taken all the colour. A net of one tower is
    divided in the middle instead: what chance gives.

    Args:
      all_kernels: of the first layer, (T, kh, kw, C, output channels of a tower).

    Returns:
      The number, and the mean colour of each tower's (or half's) kernels; None for grey images or fewer than
      two output channels.
    """
    if all_kernels.shape[3] != 3:
        return None
    flat = np.moveaxis(all_kernels, 3, -1).astype(np.float64)  # (T, kh, kw, output channels, C)
    square = np.square(flat).sum(axis=(1, 2, 4))
    grey = 3 * np.square(flat.mean(axis=-1)).sum(axis=(1, 2))
    colour = 1 - grey / np.maximum(square, 1e-30)
    first, second = colour if len(colour) == 2 else np.array_split(colour[0], 2)
    if not len(first) or not len(second):
        return None
    more = (first[:, None] > second).mean() + (first[:, None] == second).mean() / 2
    return float(max(more, 1 - more)), [float(first.mean()), float(second.mean())]


def guesses(shown: Sequence[Guess], with_files: bool = False) -> Figure:
    """Draw images with their likeliest classes as bars, the right one in red (paper, figure 4, left).

    `with_files`: the name of the file stands above the class.
    """
    columns = 4
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(11, 3.9 * rows), layout="constrained")
    panels = _blank_panels(figure, 2 * rows, columns, height_ratios=[1.75, 1] * rows)
    for index, guess in enumerate(shown):
        row, column = divmod(index, columns)
        label = guess.image.label
        file = f"{shorten_left(guess.image.file, 34)}\n" if with_files else ""
        _draw_image(panels[2 * row, column], guess.image, f"{file}{shorten(label, 26)}", max_length=34)
        bars = panels[2 * row + 1, column]
        bars.set_xlim(0, 1)
        bars.set_ylim(4.6, -0.6)
        for rank, (name, probability) in enumerate(guess.guesses):
            bars.barh(rank, probability, color=RIGHT if name == label else OTHER, height=0.82)
            text = f"{shorten(name, 24)}  {probability:.1%}"
            weight = "bold" if name == label else "normal"  # its bar may be too short to be seen
            bars.text(0.015, rank, text, va="center", fontsize=8, weight=weight, parse_math=False)
    return figure


def neighbours(shown: Sequence[Neighbours]) -> Figure:
    """Draw test images and to the right of each the nearest training images (paper, figure 4, right)."""
    columns = 1 + max(len(row.nearest) for row in shown)
    figure = Figure(figsize=(11, 1.85 * len(shown)), layout="constrained")
    widths = [1, 0.12, *[1] * (columns - 1)]
    panels = _blank_panels(figure, len(shown), columns + 1, width_ratios=widths)
    for row, here in zip(shown, panels, strict=True):
        _draw_image(here[0], row.image, row.image.label, size=8)
        for panel, (image, distance) in zip(here[2:], row.nearest, strict=False):
            colour = "black" if image.label == row.image.label else RED
            title = f"{shorten(image.label, 18)}\n{distance:.3g}"
            _draw_image(panel, image, title, size=7.5, colour=colour, max_length=80)
    return figure


def confusion(confusions: Confusions) -> Figure:
    """Draw the confusion matrix as shares of each class, with numbers in the cells of few classes."""
    matrix = confusions.matrix[:, : len(confusions.matrix)]
    shares = matrix / np.maximum(confusions.matrix.sum(axis=1, keepdims=True), 1)
    count = len(matrix)
    side = min(max(3.6 + 0.5 * count, 5), 10.5)
    figure = Figure(figsize=(side, 0.92 * side), layout="constrained")
    panel = figure.subplots()
    drawn = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    bar = figure.colorbar(drawn, ax=panel, shrink=0.75, pad=0.02)
    bar.ax.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    bar.ax.tick_params(labelsize=8)
    if count <= 60:
        names = [shorten(name, 18) for name in confusions.names]
        size = 9 if count <= 20 else 5
        panel.set_xticks(range(count), names, rotation=90 if count > 6 else 30, fontsize=size)
        panel.set_yticks(range(count), names, fontsize=size)
        for text in (*panel.get_xticklabels(), *panel.get_yticklabels()):
            text.set_parse_math(False)
    if count <= 20:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            number = str(matrix[row, column])
            panel.text(column, row, number, ha="center", va="center", fontsize=7, color=colour)
    panel.set_xlabel("taken for", fontsize=10)
    panel.set_ylabel("class", fontsize=10)
    return figure


def excites(shown: Sequence[ChannelPatches]) -> Figure:
    """Draw channels of one layer: the strongest patches, and below them what of each excites the channel."""
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    width = 2.75 * columns
    figure = Figure(
        figsize=(max(width, 5.5), rows * 5.8 * max(width, 5.5) / width / 1.03), layout="constrained"
    )
    panels = _blank_panels(figure, 2 * rows, columns)
    for index, here in enumerate(shown):
        row, column = divmod(index, columns)
        upper, lower = panels[2 * row, column], panels[2 * row + 1, column]
        side = max(max(patch.pixels.shape[:2]) for patch in here.patches)
        pixels = [_square(_rgb(patch.pixels), side, 1.0) for patch in here.patches]
        projections = [_square(scaled(patch.projection, CONTRAST), side, 0.5) for patch in here.patches]
        upper.imshow(_tiled(pixels, 3), interpolation="nearest")
        lower.imshow(_tiled(projections, 3), interpolation="nearest")
        tower = f", tower {here.tower}" if shown[-1].tower else ""
        upper.set_title(f"channel {here.channel}{tower}", fontsize=10)
    return figure


def _blank_panels(figure: Figure, rows: int, columns: int, **ratios: Any) -> Any:
    """Return an array (rows, columns) of panels without frame and ticks."""
    panels = figure.subplots(rows, columns, squeeze=False, **ratios)
    for panel in panels.flat:
        panel.axis("off")
    return panels


def _draw_image(
    panel: Any, image: LabelledImage, title: str, size: float = 9, colour: str = "black", max_length: int = 26
) -> None:
    panel.imshow(_rgb(image.pixels), interpolation="nearest" if len(image.pixels) < 100 else None)
    lines = title.split("\n") if max_length > 26 else [title]
    title = "\n".join(shorten(line, max_length) for line in lines)
    panel.set_title(title, fontsize=size, parse_math=False, color=colour)


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W, 1 or 3) as float (H, W, 3) from 0 to 1."""
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)) / 255


def _square(image: np.ndarray, side: int, fill: float) -> np.ndarray:
    """Return an image (H, W, 3) in the middle of a square (side, side, 3)."""
    height, width = image.shape[:2]
    top, left = (side - height) // 2, (side - width) // 2
    ends = ((top, side - height - top), (left, side - width - left), (0, 0))
    return np.pad(image, ends, constant_values=fill)


def _tiled(images: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Return images of one size (H, W, 3) as one image, in rows, with white lines between them."""
    height, width = images[0].shape[:2]
    gap = max(1, round(max(height, width) / 16))
    rows = -(-len(images) // columns)
    canvas = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for index, image in enumerate(images):
        top, left = (
            x * (size + gap) for x, size in zip(divmod(index, columns), (height, width), strict=True)
        )
        canvas[top : top + height, left : left + width] = image
    return canvas
