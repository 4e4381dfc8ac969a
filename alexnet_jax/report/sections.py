"""The parts of the page: what is drawn of what there is, its caption, and what to notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from alexnet_jax.drawing import shorten
from alexnet_jax.report import figures, glance, runs, tables
from alexnet_jax.report.inline import InlineImage, image
from alexnet_jax.report.tables import MAX_NAME_LENGTH
from alexnet_jax.report.words import Words, both

if TYPE_CHECKING:
    from alexnet_jax.inference.report_data import Confusions, Guess, LabelledImage, Neighbours, ReportData

DISTANCES = {"cosine": "余弦", "euclidean": "欧氏"}


@dataclass(frozen=True)
class PageFigure:
    """Hold a figure of the page.

    Attributes:
      name: of its files.
      kind: how the page shows it: 'chart', the drawing itself; 'tiles', 'guesses' or 'neighbours', `content`.
      figure: the drawing for the files.
      caption: what it is.
      notice: what to look for in it.
      title: above it.
      content: images and their names.
    """

    name: str
    kind: str
    figure: Figure
    caption: Words
    notice: Words
    title: Words = glance.NOTHING
    content: Sequence[Any] = ()


@dataclass(frozen=True)
class Section:
    """Hold a part of the page; `name` is its address."""

    name: str
    title: Words
    figures: Sequence[PageFigure]
    tables: Sequence[tables.Table] = ()


@dataclass(frozen=True)
class Tiles:
    """Hold images under one title; photographs are enlarged smoothly, kernels pixel by pixel."""

    title: Words
    images: Sequence[InlineImage]
    alt: Words
    is_photograph: bool


@dataclass(frozen=True)
class Shown:
    """Hold an image, the names of its class and its file, and numbers under it.

    Attributes:
      image: the image.
      label, file: names, '' for a file that is not shown.
      bars: of each guess the name, the percentage and whether it is the right one.
      distance: from the image it is a neighbour of.
      is_right: whether it is of that image's class.
    """

    image: InlineImage
    label: str
    file: str = ""
    bars: Sequence[tuple[str, str, bool]] = ()
    distance: str = ""
    is_right: bool = True


def all_sections(all_runs: Sequence[runs.RunFiles], names: Sequence[str], data: ReportData) -> list[Section]:
    """Return each part of the page that there is data for."""
    sections: list[Section] = []
    if any(run.metrics for run in all_runs):
        sections.append(Section("training", both("Training", "训练"), [_curves(all_runs, names)]))
    if data.kernels is not None:
        title = both("First-layer kernels", "第一层的卷积核")
        sections.append(Section("kernels", title, [_kernels(data.kernels)]))
    both_halves = [
        *([_guesses(data)] if data.guesses else []),
        *([_neighbours(data)] if data.neighbours else []),
    ]
    if both_halves:
        title = both("Guesses and nearest images", "猜测与最近的图片")
        sections.append(Section("figure4", title, both_halves))
    if data.confusions is not None:
        sections.append(_errors_by_class(data.confusions))
        if data.confusions.mistakes:
            sections.append(_surest_mistakes(data.confusions))
    if data.channels:
        title = both("What excites each layer", "每一层被什么激活")
        sections.append(Section("channels", title, _channels(data)))
    return sections


def _curves(all_runs: Sequence[runs.RunFiles], names: Sequence[str]) -> PageFigure:
    epochs = []
    for run, name in zip(all_runs, names, strict=True):
        reached = runs.epochs_to(run.metrics, runs.TARGET_ERROR)
        words = both("not reached", "未达到")
        if reached is not None:
            words = both("{epochs} epochs", "{epochs} 轮", epochs=glance.crossing(reached))
        values = {"name": shorten(name, MAX_NAME_LENGTH), "words": words}
        epochs.append(both("{name}: {words}", "{name}：{words}", **values))
    caption = both(
        "Epochs to 25 % training error (paper, figure 1): {epochs}.",
        "训练错误率降到 25 % 所用的轮数（论文图 1）：{epochs}。",
        epochs=Words("; ".join(epochs), "；".join(one.chinese for one in epochs)),
    )
    notice = both(
        "the distance between training and validation is what the net knows of its own images alone; after a "
        "fall of the learning rate (dotted) the error often steps down, since smaller steps settle deeper.",
        "训练与验证两条线之间的距离，是网络只对自己的训练图片才知道的部分；学习率下降（点线）之后，"
        "错误率常常跟着下一个台阶，因为步子小了才能走到更深处。",
    )
    return PageFigure(
        "curves", "chart", figures.curves(all_runs, names), caption, notice, both("Curves", "曲线")
    )


def _kernels(kernels: np.ndarray) -> PageFigure:
    towers, channels = len(kernels), kernels.shape[-1]
    caption = both(
        "The kernels of the first layer, each scaled by itself; 0 is grey (paper, figure 3).",
        "第一层的卷积核，各自缩放；灰色是 0（论文图 3）。",
    )
    special = figures.specialisation(kernels) if towers == 2 else None
    if special is not None:
        number, (first, second) = special
        caption = both(
            "{before} Colour is {first:.1%} and {second:.1%} of the kernels' squares in the two towers; "
            "specialisation {number:.2f} (0.5: alike, 1: one has taken all the colour).",
            "{before}颜色占两个塔的卷积核平方和的 {first:.1%} 与 {second:.1%}；"
            "分工程度 {number:.2f}（0.5：两塔相同，1：颜色全归一塔）。",
            before=caption,
            first=first,
            second=second,
            number=number,
        )
    notice = both(
        "edges of one direction, stripes and blobs of colour are what kernels become; grey noise is a kernel "
        "that has learned little.",
        "学成的卷积核会变成某个方向的边缘、条纹或色块；灰色的杂点说明这个核没学到什么。",
    )
    if special is not None:
        notice = both(
            "{notice} In the paper the first tower is without colour and the second full of it.",
            "{notice}论文里第一个塔几乎没有颜色，第二个塔满是颜色。",
            notice=notice,
        )
    alt = both("the kernels as small images", "画成小图的卷积核")
    content = [
        Tiles(
            figures.tower_words(tower, channels) if towers > 1 else glance.NOTHING, [image(tiles)], alt, False
        )
        for tower, tiles in enumerate(figures.kernel_tiles(kernels))
    ]
    return PageFigure("kernels", "tiles", figures.kernels(kernels), caption, notice, content=content)


def _shown(one: LabelledImage, **more: Any) -> Shown:
    return Shown(image(one.pixels), tables.named(one.label), **more)


def _shown_guess(guess: Guess, with_file: bool = False) -> Shown:
    label = guess.image.label
    bars = [(tables.named(name), f"{share:.1%}", name == label) for name, share in guess.guesses]
    return _shown(guess.image, file=tables.named(guess.image.file) if with_file else "", bars=bars)


def _guesses(data: ReportData) -> PageFigure:
    caption = both(
        "Images of {dataset}, below each its class and the five likeliest; the right one is bold, its bar "
        "red (paper, figure 4, left). Rounded to 0.1 %; what the five lack to 100 % is with other classes.",
        "{dataset} 的图片，下面是它的类别和最可能的五类；正确的一类为粗体、红条（论文图 4 左）。"
        "四舍五入到 0.1 %；五类之和不足 100 % 的部分属于其他类。",
        dataset=data.dataset,
    )
    notice = both(
        "where the first guess is wrong, is the right class among the others, and would a person "
        "hesitate between them too?",
        "第一个猜错时，正确的类别在不在其余几个里？换成人，会不会也在它们之间犹豫？",
    )
    content = [_shown_guess(guess) for guess in data.guesses]
    title = both("Eight images and five guesses", "八张图片与五个猜测")
    return PageFigure("guesses", "guesses", figures.guesses(data.guesses), caption, notice, title, content)


def _neighbours(data: ReportData) -> PageFigure:
    caption = both(
        "Left: test images of {dataset}. Right of each: the nearest of {searched:,} training images by "
        "{layer}, with the {distance} distance; names of other classes are red (paper, figure 4, right, "
        "where it is the Euclidean one).",
        "左：{dataset} 的测试图片。右：{searched:,} 张训练图片中按 {layer} 最近的几张，"
        "数字是{distance}距离；"
        "不同类的名字为红色（论文图 4 右，那里用欧氏距离）。",
        dataset=data.dataset,
        searched=data.searched,
        layer=Words(data.layer, data.layer.replace(" after its ", " 之后的 ")),
        distance=Words(data.distance, DISTANCES.get(data.distance)),
    )
    notice = both(
        "what is near here need not share a pixel: pose, background and light may differ while the thing is "
        "the same.",
        "在这里相近的图片不必有相同的像素：姿势、背景和光线可以不同，东西却是同一种。",
    )
    content = [_row(row) for row in data.neighbours]
    title = both("Five images and the nearest ones", "五张图片与最近的图片")
    drawn = figures.neighbours(data.neighbours)
    return PageFigure("neighbours", "neighbours", drawn, caption, notice, title, content)


def _row(row: Neighbours) -> tuple[Shown, list[Shown]]:
    near = [
        _shown(one, distance=f"{distance:.3g}", is_right=one.label == row.image.label)
        for one, distance in row.nearest
    ]
    return _shown(row.image), near


def _errors_by_class(confusions: Confusions) -> Section:
    caption = both(
        "{over}, centre view: top-1 error {error:.2%}. A row is a class, its cells the classes that its "
        "images were taken for: the colour is the share of the row, a number counts images. Percentages are "
        "rounded, so that they may add up to a little more or less than 100 %.",
        "{over}，中心视图：top-1 错误率 {error:.2%}。一行是一类，各格是它的图片被认作的类："
        "颜色是占这一行的份额，数字是图片张数。百分数经过四舍五入，加起来可能略多或略少于 100 %。",
        over=glance.over_images(confusions),
        error=glance.top1_error(confusions),
    )
    notice = both(
        "a cell of much colour off the diagonal is a pair of classes that the net mixes up; where its mirror "
        "cell has little, it errs in one direction alone.",
        "对角线之外颜色重的格子，是网络分不清的一对类别；若对称的那一格颜色轻，说明它只往一个方向错。",
    )
    drawn = figures.confusion(confusions)
    title = both("Confusion matrix", "混淆矩阵")
    shown = PageFigure("confusion", "chart", drawn, caption, notice, title)
    both_tables = tables.by_class(confusions), tables.taken_for(confusions)
    present = [table for table in both_tables if table.rows]
    return Section("confusion", both("Errors by class", "各类的错误"), [shown], present)


def _surest_mistakes(confusions: Confusions) -> Section:
    caption = both(
        "The wrong guesses of the highest probability. With each image are its file, its class and what it "
        "was taken for, the likeliest first; the right class is bold, its bar red.",
        "概率最高的错误猜测。每张图片附有文件名、类别和被认作的类，最可能的在前；正确的类为粗体、红条。",
    )
    notice = both(
        "some are no mistakes of the net: look for labels that are wrong, and for two things in one image.",
        "有些并不是网络的错：看看有没有标错的标签，或者一张图里有两样东西。",
    )
    drawn = figures.guesses(confusions.mistakes, with_files=True)
    content = [_shown_guess(guess, with_file=True) for guess in confusions.mistakes]
    shown = PageFigure("mistakes", "guesses", drawn, caption, notice, content=content)
    title = both("Surest mistakes", "最有把握的错误")
    return Section("mistakes", title, [shown], [tables.surest_mistakes(confusions)])


def _channels(data: ReportData) -> list[PageFigure]:
    caption = both(
        "Left: the nine patches among {looked_at:,} images of {dataset} that excite the channel most, one an "
        "image. Right: what in each does, projected back to pixels (after Zeiler and Fergus), each scaled by "
        "itself. Channels are counted from 0.",
        "左：{dataset} 的 {looked_at:,} 张图片中最能激活该通道的九小块，每张图片一块。"
        "右：每块里起作用的部分，投影回像素（Zeiler 与 Fergus 的方法），各自缩放。通道从 0 开始编号。",
        looked_at=data.looked_at,
        dataset=data.dataset,
    )
    notice = both(
        "what do the nine have in common? In early layers it is an edge or a colour, later a part or a "
        "thing, and the patch that a unit sees grows.",
        "这九块有什么共同之处？前面的层是边缘或颜色，后面是部件或整个东西，而单元看到的范围越来越大。",
    )
    shown: list[PageFigure] = []
    has_towers = data.towers > 1
    for layer in dict.fromkeys(one.layer for one in data.channels):
        here = [one for one in data.channels if one.layer == layer]
        alt = both("patches and projections of {layer}", "{layer} 的小块与投影", layer=layer)
        content = [
            Tiles(
                figures.channel_words(one, has_towers), list(map(image, figures.patch_tiles(one))), alt, True
            )
            for one in here
        ]
        drawn = figures.excites(here, has_towers)
        first = not shown  # the words stand once, for all layers
        words = (caption, notice) if first else (glance.NOTHING, glance.NOTHING)
        shown.append(PageFigure(f"excites_{layer}", "tiles", drawn, *words, Words(layer), content))
    return shown
