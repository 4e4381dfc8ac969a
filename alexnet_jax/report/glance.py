"""The page's first table, and what its reader may type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet_jax import program
from alexnet_jax.report import published, runs
from alexnet_jax.report.words import Words, both

if TYPE_CHECKING:
    from alexnet_jax.inference.report_data import Confusions, ReportData

RESUMABLE = ("constant", "steps")  # schedules that more epochs leave as they are
PAPER_IMAGES_PER_SECOND = 230  # two GTX 580: 90 epochs of 1.2 million images in 5 to 6 days
NOTHING = Words("")


def distinct_names(all_runs: Sequence[runs.RunFiles]) -> list[str]:
    """Return the names of the workdirs, with the folder above where two are alike."""
    short = [run.name for run in all_runs]
    return [
        name if short.count(name) == 1 else f"{run.workdir.resolve().parent.name}/{name}"
        for run, name in zip(all_runs, short, strict=True)
    ]


def subtitle(run: runs.RunFiles, data: ReportData) -> Words:
    """Return which weights the page is about."""
    if data.step is None:
        return both(
            "no usable checkpoint yet: what the run's files say", "还没有可用的检查点：以下来自运行的文件"
        )
    if run.metrics:
        words = both("checkpoint at step {step:,}", "第 {step:,} 步的检查点", step=data.step)
    elif "converted_from" in run.metadata:
        words = both("converted weights", "转换而来的权重")
    else:
        words = both("weights without a training log", "没有训练记录的权重")
    if not data.changed:
        return words
    changed = ", ".join(f"{key}={value}" for key, value in data.changed.items())
    return both(
        "{words}; not the run's own net and data, since {changed}",
        "{words}；不是这次运行本身的网络与数据，因为 {changed}",
        words=words,
        changed=changed,
    )


def top1_error(confusions: Confusions) -> float:
    """Return the share of the images off the diagonal."""
    return 1 - float(np.trace(confusions.matrix)) / float(confusions.matrix.sum())


def at_a_glance(run: runs.RunFiles, data: ReportData) -> list[tuple[Words, Words, Words]]:
    """Return the rows of the first table: what, for this run, published for the same net and data."""
    config, metadata = run.config, run.metadata
    model = [Words(config.model.architecture)]
    if data.towers > 1:
        model.append(both("{towers} towers", "{towers} 个塔", towers=data.towers))
    if data.parameters:
        model.append(both("{count:,} parameters", "{count:,} 个参数", count=data.parameters))
    rows = [
        (both("model", "模型"), _listed(model), NOTHING),
        (both("data", "数据"), _data_words(run), NOTHING),
    ]
    epoch = runs.finite_number(run.metrics[-1].get("epoch")) if run.metrics else None
    if epoch is not None:
        whole = both("{epoch:.3g} of {of:g}", "{epoch:.3g} / {of:g}", epoch=epoch, of=config.train.epochs)
        rows.append((both("epochs", "轮数（epoch）"), whole, NOTHING))
    elif "converted_from" in metadata:
        source = both("converted from {source}", "转换自 {source}", source=metadata["converted_from"])
        rows.append((both("weights", "权重"), source, NOTHING))
    for views, words in ((1, both("centre view", "中心视图")), (10, both("ten views", "十个视图"))):
        ours = _error_words(run, data, views)
        theirs = "; ".join(
            f"{_errors(row.top1_error, row.top5_error)} ({row.source})"
            for row in published.find(config, views)
        )
        if ours or theirs:
            not_yet = both(
                "not evaluated: {command}", "尚未评估：{command}", command=f"evaluate --views={views}"
            )
            what = both("error, {view}", "错误率，{view}", view=words)
            rows.append((what, ours or not_yet, Words(theirs)))
    reached = runs.epochs_to(run.metrics, runs.TARGET_ERROR)
    if reached is not None:
        what = both("epochs to 25 % training error", "训练错误率降到 25 % 所用轮数")
        rows.append((what, crossing(reached), NOTHING))
    if "hardware" in metadata:
        paper = both("paper: two GTX 580", "论文：两块 GTX 580")
        rows.append((both("device", "设备"), Words(str(metadata["hardware"])), paper))
    return rows + _time_rows(run)


def crossing(reached: runs.Crossing) -> Words:
    """Return in words after how many epochs a curve crossed a level."""
    epoch = f"{reached.epoch:.3g}"
    if reached.before:
        return both("fewer than {epoch}", "不到 {epoch}", epoch=epoch)
    return Words(epoch)


def _listed(parts: Sequence[Words]) -> Words:
    return Words(", ".join(parts), "，".join(part.chinese for part in parts))


def _time_rows(run: runs.RunFiles) -> list[tuple[Words, Words, Words]]:
    rows = []
    speed = runs.images_per_second(run.metrics)
    seconds = runs.training_seconds(run.metrics, run.config.data.batch_size)
    if speed:
        paper = both("paper: about {speed}", "论文：约 {speed}", speed=PAPER_IMAGES_PER_SECOND)
        what = both("training images/s (median)", "训练速度，张/秒（中位数）")
        rows.append((what, Words(f"{speed:,.0f}"), paper))
    if seconds:
        least, most = (seconds / (days * 86_400) for days in (6, 5))
        ours = Words(runs.duration(seconds))
        if least >= 0.01:  # of a small experiment it says nothing
            share = {"time": ours, "least": least, "most": most}
            ours = both(
                "{time}: {least:.2g} to {most:.2g} of the paper's",
                "{time}：论文的 {least:.2g} 到 {most:.2g} 倍",
                **share,
            )
        paper = both("paper: 5 to 6 days", "论文：5 到 6 天")
        rows.append((both("time in training steps", "训练各步的总时间"), ours, paper))
    return rows


def _data_words(run: runs.RunFiles) -> Words:
    data = run.config.data
    classes = run.metadata.get("class_names")
    parts = [Words(data.name)]
    if isinstance(classes, list) and classes:
        parts.append(both("{count:,} classes", "{count:,} 类", count=len(classes)))
    sizes = {"crop": data.crop, "channels": data.channels, "size": data.size}
    of = both(
        "{crop} x {crop} x {channels} of {size} x {size}",
        "{size} x {size} 中的 {crop} x {crop} x {channels}",
        **sizes,
    )
    return _listed([*parts, of])


def _error_words(run: runs.RunFiles, data: ReportData, views: int) -> Words:
    """Return the error of the page's net with 1 or 10 views, and over what; '' where there is none."""
    evaluation, confusions = {} if data.changed else run.evaluation, data.confusions
    if runs.finite_number(evaluation.get("views")) == views:
        ours = _errors(evaluation.get("top1_error"), evaluation.get("top5_error") if run.has_top5 else None)
        count = runs.finite_number(evaluation.get("examples"))
        over = both("of evaluate", "来自 evaluate")
        if count is not None:
            values = {"count": count, "split": evaluation.get("split")}
            over = both("{count:,.0f} images of {split!r}", "{split!r} 的 {count:,.0f} 张图片", **values)
        if evaluation.get("selected"):
            over = both("{over}, which selected the checkpoint", "{over}，检查点由它选出", over=over)
        return both("{ours} ({over})", "{ours}（{over}）", ours=ours, over=over) if ours else NOTHING
    if views == 1 and confusions is not None:
        ours = _errors(top1_error(confusions), confusions.top5_error if run.has_top5 else None)
        return both("{ours} ({over})", "{ours}（{over}）", ours=ours, over=over_images(confusions))
    return NOTHING


def over_images(confusions: Confusions) -> Words:
    """Return over how many images of a split the confusions are counted."""
    return both(
        "{count:,} of {of:,} images of {split!r}",
        "{split!r} 的 {of:,} 张图片中的 {count:,} 张",
        count=int(confusions.matrix.sum()),
        of=confusions.of,
        split=confusions.split,
    )


def _errors(top1: Any, top5: Any) -> str:
    parts = [
        f"top-{which} {value:.2%}"
        for which, value in ((1, runs.finite_number(top1)), (5, runs.finite_number(top5)))
        if value is not None
    ]
    return ", ".join(parts)


def next_commands(run: runs.RunFiles, data: ReportData) -> list[tuple[Words, str]]:
    """Return what the user may type next: (what it does, the command)."""
    if data.step is None:
        return []

    workdir = f"--workdir={shlex.quote(str(run.workdir))}"

    def command(verb: str, *arguments: str) -> str:
        return " ".join((program.next_command(), verb, workdir, *arguments))

    alike = (
        both("The images of a folder that look like one", "一个文件夹里与某张图片相像的图片"),
        command("similar", "--source=photos/", "photo.jpg"),
    )
    if not data.knows_classes:
        return [alike]
    commands = [
        (both("The classes of other images", "其他图片属于哪一类"), command("predict", "photos/")),
        (
            both("The errors over other labelled images", "在其他带标签图片上的错误率"),
            command("evaluate", "--source=labelled_photos/"),
        ),
        (
            both("Every mistake, with the file of each image", "每一个错误，以及图片的文件名"),
            command("evaluate", "--predictions=guesses.csv"),
        ),
        alike,
        (
            both("A page that follows an image through the net", "逐层跟随一张图片的网页"),
            command("report", "--explore"),
        ),
    ]
    if run.metrics and run.config.schedule.kind in RESUMABLE:
        words = both(
            "More training than {epochs:g} epochs: the command that trained it, with",
            "训练超过 {epochs:g} 轮：训练它的命令，再加上",
            epochs=run.config.train.epochs,
        )
        commands.append((words, f"--config.train.epochs={2 * run.config.train.epochs:g}"))
    return commands
