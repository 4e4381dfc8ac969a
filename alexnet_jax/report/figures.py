"""Draw the figures; nothing is computed on a net here.

Each function takes what is to be drawn and returns a matplotlib Figure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from alexnet_jax import drawing
from alexnet_jax.report import runs
from alexnet_jax.report.words import Words, both

if TYPE_CHECKING:
    from alexnet_jax.inference.patches import ChannelPatches
    from alexnet_jax.inference.report_data import Confusions, Guess, LabelledImage, Neighbours

COLOURS = ("#1f6fb4", "#d1640c", "#2c8a3c", "#b3282d", "#7553a8", "#7a5244", "#b0428c", "#5c5c5c")
RIGHT, OTHER = "#f0938a", "#9ecae1"  # bars of the right class, as in the paper's figure 4, and of others
RED = "#c0332b"  # text
BLUE = (0.07, 0.33, 0.62)
GREY = "#8a8f98"
GRID = "#e4e6ea"
INK = "#000000"  # the page draws what is of this colour in that of its text
CHINESE = "chinese:"  # how the gid of a text in a figure carries what it is in Chinese
MAX_DROPS = 100  # of a learning rate, that are marked: one that falls all the time has no steps
NEAR_WIDTH = 1.35  # inches of a name above a small image
UNDER: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 7}
CONTRAST = 0.995  # share of a projection's values that is not cut off: a few of them are far out


def say(text: Any, words: Words) -> None:
    """Give a text of a figure its words; the page shows them in its reader's language."""
    text.set_text(words)
    text.set_gid(f"{CHINESE}{words.chinese}")


def curves(all_runs: Sequence[runs.RunFiles], names: Sequence[str]) -> Figure:
    """Draw loss, errors and learning rate against epochs, a colour for each run.

    Training is a line, validation a line with points; drops of the learning rate are dotted lines. Where the
    training error first reaches 25 % is marked, as the paper's figure 1 reads it off. The top-5 error is left
    out where no net has more than five classes.
    """
    has_top5 = any(run.has_top5 for run in all_runs)
    figure = Figure(figsize=(11, 7.2 if has_top5 else 4.2), layout="constrained")
    panels = figure.subplots(2, 2) if has_top5 else figure.subplots(1, 3)
    loss, top1, *top5, learning_rate = panels.flat
    drawn = [(loss, "loss", both("loss", "损失")), (top1, "top1_error", both("top-1 error", "top-1 错误率"))]
    drawn += [(panel, "top5_error", both("top-5 error", "top-5 错误率")) for panel in top5]
    for panel, tag, title in drawn:
        for run, colour in _coloured(all_runs):
            panel.plot(*runs.curve(run.metrics, f"train/{tag}"), color=colour, linewidth=1.1, alpha=0.75)
            panel.plot(
                *runs.curve(run.metrics, f"val/{tag}"), color=colour, linewidth=1.6, marker="o", markersize=3
            )
        say(panel.set_title("", fontsize=11), title)
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
    say(learning_rate.set_title("", fontsize=11), both("learning rate", "学习率"))
    for panel in panels.flat:
        say(panel.set_xlabel("", fontsize=9), both("epoch", "轮（epoch）"))
        panel.tick_params(labelsize=8)
        panel.grid(color=GRID, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in (top1, *top5):
        panel.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=None))
    _legend(figure, all_runs, names)
    return figure


def _coloured(all_runs: Sequence[runs.RunFiles]) -> Iterator[tuple[runs.RunFiles, str]]:
    return zip(all_runs, itertools.cycle(COLOURS))


def _legend(figure: Figure, all_runs: Sequence[runs.RunFiles], names: Sequence[str]) -> None:
    """Name the runs' colours and the kinds of lines of `curves`."""
    styles: tuple[tuple[Words, dict[str, Any]], ...] = (
        (both("training", "训练"), {"linewidth": 1.1}),
        (both("validation", "验证"), {"linewidth": 1.6, "marker": "o", "markersize": 3}),
        (both("the learning rate falls", "学习率下降"), {"linewidth": 1, "linestyle": ":"}),
    )
    coloured = [{"color": colour, "linewidth": 3} for _, colour in _coloured(all_runs)]
    kinds = [*coloured, *({"color": INK} | style for _, style in styles)]
    handles = [matplotlib.lines.Line2D([], [], **kind) for kind in kinds]
    texts = [" "] * len(handles)
    legend = figure.legend(handles, texts, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    drawn = legend.get_texts()
    for text, name in zip(drawn, names, strict=False):
        drawing.fit(text, name, 2.4)
    for text, (words, _) in zip(drawn[len(names) :], styles, strict=True):
        say(text, words)


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
    tiles = kernel_tiles(all_kernels)
    width = 9.0
    height = towers * (width * tiles[0].shape[0] / tiles[0].shape[1] + 0.35)
    figure = Figure(figsize=(width, height), layout="constrained")
    for tower, panel in enumerate(figure.subplots(towers, 1, squeeze=False)[:, 0]):
        panel.imshow(tiles[tower], interpolation="nearest")
        panel.axis("off")
        if towers > 1:
            panel.set_title(tower_words(tower, channels), fontsize=10)
    return figure


def kernel_tiles(all_kernels: np.ndarray) -> list[np.ndarray]:
    """Return of each tower its kernels in rows, as one image (H, W, 3) from 0 to 1.

    The paper's 48 of a tower stand in three rows of 16, the first tower's above the second's.
    """
    channels = all_kernels.shape[-1]
    columns = -(-channels // -(-channels // 16))
    return [
        _tiled([scaled(kernels_of[..., channel]) for channel in range(channels)], columns)
        for kernels_of in all_kernels
    ]


def tower_words(tower: int, channels: int) -> Words:
    """Return how a tower of `channels` channels is called; towers and channels are counted from 0."""
    first, last = tower * channels, (tower + 1) * channels - 1
    values = {"tower": tower, "first": first, "last": last}
    return both("tower {tower}: channels {first} to {last}", "塔 {tower}：通道 {first} 至 {last}", **values)


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

    As there, the right class stands between an image and its bars. `with_files`: the name of the file too.
    """
    columns = 4
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(11, (4.1 if with_files else 3.9) * rows), layout="constrained")
    panels = _blank_panels(figure, 2 * rows, columns, height_ratios=[1.75, 1] * rows)
    for index, guess in enumerate(shown):
        row, column = divmod(index, columns)
        label, panel = guess.image.label, panels[2 * row, column]
        _draw_image(panel, guess.image)
        drawing.fit(panel.set_title("", fontsize=9.5, weight="bold", y=0, pad=-3, va="top"), label, 2.5)
        if with_files:
            drawing.fit(panel.set_title("", fontsize=8, loc="left"), guess.image.file, 2.4, end=True)
        bars = panels[2 * row + 1, column]
        bars.set_xlim(0, 1)
        bars.set_ylim(4.6, -0.6)
        for rank, (name, probability) in enumerate(guess.guesses):
            bars.barh(rank, probability, color=RIGHT if name == label else OTHER, height=0.82)
            weight = "bold" if name == label else "normal"  # its bar may be too short to be seen
            text = bars.text(0.015, rank, "", va="center", fontsize=8, weight=weight)
            drawing.fit(text, name, 1.8)
            bars.text(0.985, rank, f"{probability:.1%}", va="center", ha="right", fontsize=8, weight=weight)
    return figure


def neighbours(shown: Sequence[Neighbours]) -> Figure:
    """Draw test images and to the right of each the nearest training images (paper, figure 4, right)."""
    columns = 1 + max(len(row.nearest) for row in shown)
    figure = Figure(figsize=(11, 1.95 * len(shown)), layout="constrained")
    widths = [1, 0.12, *[1] * (columns - 1)]
    panels = _blank_panels(figure, len(shown), columns + 1, width_ratios=widths)
    for row, here in zip(shown, panels, strict=True):
        _draw_image(here[0], row.image)
        drawing.fit(here[0].set_title("", fontsize=8, weight="bold"), row.image.label, NEAR_WIDTH)
        for panel, (image, distance) in zip(here[2:], row.nearest, strict=False):
            _draw_image(panel, image)
            colour = INK if image.label == row.image.label else RED
            drawing.fit(panel.set_title("", fontsize=7.5, color=colour), image.label, NEAR_WIDTH)
            panel.text(0.5, -0.03, f"{distance:.3g}", transform=panel.transAxes, **UNDER)
    return figure


def confusion(confusions: Confusions) -> Figure:
    """Draw the confusion matrix as shares of each class, with numbers in the cells of few classes."""
    matrix = confusions.matrix[:, : len(confusions.matrix)]
    shares = matrix / np.maximum(confusions.matrix.sum(axis=1, keepdims=True), 1)
    count = len(matrix)
    side = min(max(3.6 + 0.5 * count, 5), 10.5)
    figure = Figure(figsize=(side, 0.92 * side), layout="constrained")
    panel = figure.subplots()
    # From nothing to blue: what lies below it, white or the dark page, is where no image is.
    blue = matplotlib.colors.LinearSegmentedColormap.from_list("share", [(*BLUE, 0.0), (*BLUE, 1.0)])
    drawn = panel.imshow(shares, cmap=blue, vmin=0, vmax=1, interpolation="nearest")
    bar = figure.colorbar(drawn, ax=panel, shrink=0.75, pad=0.02)
    bar.ax.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    bar.ax.tick_params(labelsize=8)
    if count <= 60:
        size = 9 if count <= 20 else 5
        panel.xaxis.set_tick_params(rotation=90 if count > 6 else 30)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_ticks(range(count), [" "] * count, fontsize=size)
            shown = []
            for text, name in zip(axis.get_ticklabels(), confusions.names, strict=True):
                drawing.fit(text, name, 1.4)
                shown.append(text.get_text())
            axis.set_ticks(range(count), shown)
    if count <= 20:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[row, column] > 0.5 else INK
            number = str(matrix[row, column])
            panel.text(column, row, number, ha="center", va="center", fontsize=7, color=colour)
    say(panel.set_xlabel("", fontsize=10), both("taken for", "被认作"))
    say(panel.set_ylabel("", fontsize=10), both("class", "类别"))
    return figure


def excites(shown: Sequence[ChannelPatches], has_towers: bool) -> Figure:
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
        for panel, tiles in zip(panels[2 * row : 2 * row + 2, column], patch_tiles(here), strict=True):
            panel.imshow(tiles, interpolation="nearest")
        panels[2 * row, column].set_title(channel_words(here, has_towers), fontsize=10)
    return figure


def patch_tiles(channel: ChannelPatches) -> tuple[np.ndarray, np.ndarray]:
    """Return a channel's patches, and their projections, three in a row: images (H, W, 3) from 0 to 1."""
    side = max(max(patch.pixels.shape[:2]) for patch in channel.patches)
    pixels = [_square(_rgb(patch.pixels), side, 1.0) for patch in channel.patches]
    projections = [_square(scaled(patch.projection, CONTRAST), side, 0.5) for patch in channel.patches]
    return _tiled(pixels, 3), _tiled(projections, 3)


def channel_words(channel: ChannelPatches, has_towers: bool) -> Words:
    """Return how a channel is called, with its tower where the net has two."""
    values = {"channel": channel.channel, "tower": channel.tower}
    if has_towers:
        return both("channel {channel}, tower {tower}", "通道 {channel}，塔 {tower}", **values)
    return both("channel {channel}", "通道 {channel}", **values)


def _blank_panels(figure: Figure, rows: int, columns: int, **ratios: Any) -> Any:
    """Return an array (rows, columns) of panels without frame and ticks."""
    panels = figure.subplots(rows, columns, squeeze=False, **ratios)
    for panel in panels.flat:
        panel.axis("off")
    return panels


def _draw_image(panel: Any, image: LabelledImage) -> None:
    panel.imshow(_rgb(image.pixels), interpolation="nearest" if len(image.pixels) < 100 else None)


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
