"""Make the page of the verb `report`, the paper's figures for a run; it opens without a network."""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from alexnet_jax import drawing, files, program
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable
from alexnet_jax.report import figures, published, runs, tables, template
from alexnet_jax.report.tables import MAX_NAME_LENGTH, cell
from alexnet_jax.workdir import layout

if TYPE_CHECKING:
    from alexnet_jax.inference.report_data import Confusions, ReportData

MAX_PAGE_BYTES = 15_000_000
MAX_PNG_BYTES = 300_000  # of a figure on the page
RESUMABLE = ("constant", "steps")  # schedules that more epochs leave as they are
PAPER_IMAGES_PER_SECOND = 230  # two GTX 580: 90 epochs of 1.2 million images in 5 to 6 days

# What the parts of the page are called where they are missing.
PART_TITLES = {
    "curves": "curves",
    "kernels": "first-layer kernels",
    "guesses": "guesses for eight images",
    "neighbours": "nearest training images",
    "confusions": "errors by class, confusions, mistakes",
    "channels": "what excites each layer",
}


@dataclass(frozen=True)
class PageFigure:
    """A figure on the page: the name of its files, its caption, its text for who cannot see it, its title."""

    name: str
    figure: Figure
    caption: str
    alt: str
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    figures: Sequence[PageFigure]
    tables: Sequence[tables.Table] = ()


@drawing.default_style()
def write(all_runs: Sequence[runs.RunFiles], data: ReportData) -> list[str]:
    """Write the page, its figures and its numbers into the first run's workdir.

    Args:
      all_runs: the run, and others whose curves are drawn with its own.
      data: what was computed for the first.

    Returns:
      Lines for the terminal: where the page is, and what is missing from it.
    """
    run = all_runs[0]
    folder = run.workdir / layout.REPORT
    drawings = folder / layout.REPORT_FIGURES
    drawings.mkdir(parents=True, exist_ok=True)
    for path in drawings.iterdir():
        if path.suffix in (".png", ".svg"):  # of an earlier report, which may have had other parts
            path.unlink()
    missing = dict(data.missing)
    if not any(one.metrics for one in all_runs):
        missing["curves"] = f"{run.workdir} has no lines in {layout.METRICS}"
    reasons = dict.fromkeys(missing[part] for part in PART_TITLES if part in missing)
    missing_lines = [
        ("; ".join(PART_TITLES[part] for part in PART_TITLES if missing.get(part) == why), cell(why))
        for why in reasons
    ]
    names = distinct_names(all_runs)
    sections = [
        vars(section) | {"figures": [_embed(drawings, figure) for figure in section.figures]}
        for section in _sections(all_runs, names, data)
    ]
    page = template.load(Path(__file__).with_name("page.html.jinja")).render(
        title=cell(names[0]),
        subtitle=cell(_subtitle(run, data)),
        missing=missing_lines,
        glance=[tuple(map(cell, row)) for row in at_a_glance(run, data)],
        sections=sections,
        commands=[(words, printable(command)) for words, command in next_commands(run, data)],
    )
    path, count = folder / layout.REPORT_PAGE, sum(len(section["figures"]) for section in sections)
    files.write_text(path, page)
    files.write_text(folder / layout.REPORT_DATA, json.dumps(numbers(run, data), indent=1) + "\n")
    lines = [f"{path}: {len(page.encode()) / 1e6:.1f} MB, {count} figures"]
    return lines + [f"not on the page: {what}: {why}" for what, why in missing_lines]


def check(workdirs: Sequence[Path]) -> list[runs.RunFiles]:
    """Read the runs of a report, before anything is computed for it.

    Raises:
      UsageError: a folder holds no run, or the first one cannot be written or holds links.
    """
    files_of_runs = [runs.read(workdir) for workdir in workdirs]
    files.check_files(workdirs[0], written=True)
    folder = workdirs[0] / layout.REPORT
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from None
    return files_of_runs


def distinct_names(all_runs: Sequence[runs.RunFiles]) -> list[str]:
    """Return the names of the workdirs, with the folder above where two are alike."""
    short = [run.name for run in all_runs]
    return [
        name if short.count(name) == 1 else f"{run.workdir.resolve().parent.name}/{name}"
        for run, name in zip(all_runs, short, strict=True)
    ]


def numbers(run: runs.RunFiles, data: ReportData) -> dict[str, Any]:
    """Return what the page says in numbers: errors as fractions, `images` how many they are over.

    `changed` says what makes the net another than the run's own, {} where nothing does.
    """
    special = figures.specialisation(data.kernels) if data.kernels is not None else None
    confusions, reached = data.confusions, runs.epochs_to(run.metrics, runs.TARGET_ERROR)
    return {
        "step": data.step,
        "changed": data.changed,
        "specialisation": special[0] if special else None,
        "epochs_to_25_percent": reached.epoch if reached and not reached.before else None,
        "centre_top1_error": top1_error(confusions) if confusions else None,
        "centre_top5_error": confusions.top5_error if confusions else None,
        "images": int(confusions.matrix.sum()) if confusions else None,
    }


def top1_error(confusions: Confusions) -> float:
    """Return the share of the images off the diagonal."""
    return 1 - float(np.trace(confusions.matrix)) / float(confusions.matrix.sum())


def at_a_glance(run: runs.RunFiles, data: ReportData) -> list[tuple[str, str, str]]:
    """Return the rows of the first table: what, for this run, published for the same net and data."""
    config, metadata = run.config, run.metadata
    model = f"{config.model.architecture}, {data.towers} tower{'s' if data.towers > 1 else ''}"
    if data.parameters:
        model += f", {data.parameters:,} parameters"
    rows = [("model", model, ""), ("data", _data_words(run), "")]
    epoch = runs.finite_number(run.metrics[-1].get("epoch")) if run.metrics else None
    if epoch is not None:
        rows.append(("epochs", f"{epoch:.3g} of {config.train.epochs:g}", ""))
    elif "converted_from" in metadata:
        rows.append(("weights", f"converted from {metadata['converted_from']}", ""))
    for views, words in ((1, "centre view"), (10, "ten views")):
        ours = _error_words(run, data, views)
        theirs = "; ".join(
            f"{_errors(row.top1_error, row.top5_error)} ({row.source})"
            for row in published.find(config, views)
        )
        if ours or theirs:
            rows.append((f"error, {words}", ours or f"not evaluated: evaluate --views={views}", theirs))
    reached = runs.epochs_to(run.metrics, runs.TARGET_ERROR)
    if reached is not None:
        rows.append(("epochs to 25 % training error", str(reached), ""))
    if "hardware" in metadata:
        rows.append(("device", str(metadata["hardware"]), "paper: two GTX 580"))
    return rows + _time_rows(run)


def _time_rows(run: runs.RunFiles) -> list[tuple[str, str, str]]:
    rows = []
    speed = runs.images_per_second(run.metrics)
    seconds = runs.training_seconds(run.metrics, run.config.data.batch_size)
    if speed:
        paper = f"paper: about {PAPER_IMAGES_PER_SECOND}"
        rows.append(("training images/s (median)", f"{speed:,.0f}", paper))
    if seconds:
        least, most = (seconds / (days * 86_400) for days in (6, 5))
        ours = runs.duration(seconds)
        if least >= 0.01:  # of a small experiment it says nothing
            ours += f": {least:.2g} to {most:.2g} of the paper's"
        rows.append(("time in training steps", ours, "paper: 5 to 6 days"))
    return rows


def _data_words(run: runs.RunFiles) -> str:
    data = run.config.data
    classes = run.metadata.get("class_names")
    known = f"{len(classes):,} classes, " if isinstance(classes, list) and classes else ""
    return f"{data.name}, {known}{data.crop} x {data.crop} x {data.channels} of {data.size} x {data.size}"


def _error_words(run: runs.RunFiles, data: ReportData, views: int) -> str:
    """Return the error of the page's net with 1 or 10 views, and over what; '' where there is none."""
    evaluation, confusions = {} if data.changed else run.evaluation, data.confusions
    if runs.finite_number(evaluation.get("views")) == views:
        ours = _errors(evaluation.get("top1_error"), evaluation.get("top5_error"))
        count = runs.finite_number(evaluation.get("examples"))
        over = f"{count:,.0f} images of {evaluation.get('split')!r}" if count is not None else "of evaluate"
        over += ", which selected the checkpoint" if evaluation.get("selected") else ""
        return f"{ours} ({over})" if ours else ""
    if views == 1 and confusions is not None:
        ours = _errors(top1_error(confusions), confusions.top5_error)
        count = confusions.matrix.sum()
        return f"{ours} ({count:,} of {confusions.of:,} images of {confusions.split!r})"
    return ""


def _errors(top1: Any, top5: Any) -> str:
    parts = [
        f"top-{which} {value:.2%}"
        for which, value in ((1, runs.finite_number(top1)), (5, runs.finite_number(top5)))
        if value is not None
    ]
    return ", ".join(parts)


def _subtitle(run: runs.RunFiles, data: ReportData) -> str:
    if data.step is None:
        return "no usable checkpoint yet: what the run's files say"
    words = f"checkpoint at step {data.step:,}" if run.metrics else "weights without a training log"
    changed = ", ".join(f"{key}={value}" for key, value in data.changed.items())
    return f"{words}; not the run's own net and data, since {changed}" if changed else words


def _sections(all_runs: Sequence[runs.RunFiles], names: Sequence[str], data: ReportData) -> list[Section]:
    """Return each part of the page that there is data for."""
    sections: list[Section] = []
    if any(run.metrics for run in all_runs):
        drawn = figures.curves(all_runs, names)
        shown = PageFigure("curves", drawn, _curve_words(all_runs, names), "Curves")
        sections.append(Section("Training", [shown]))
    if data.kernels is not None:
        sections.append(Section("First-layer kernels", [_kernels(data.kernels)]))
    if data.guesses:
        words = (
            f"Images of {data.dataset} and their likeliest classes; the right one is bold, its bar red "
            "(paper, figure 4, left)."
        )
        shown = PageFigure("guesses", figures.guesses(data.guesses), words, "Images with bars")
        sections.append(Section("Guesses", [shown]))
    if data.neighbours:
        words = (
            f"Left: five test images of {data.dataset}. Right: the nearest of {data.searched:,} training "
            f"images by {data.layer}, with the {data.distance} distance; names of other classes are red "
            "(paper, figure 4, right, where it is the Euclidean one)."
        )
        shown = PageFigure("neighbours", figures.neighbours(data.neighbours), words, "Images in rows")
        sections.append(Section("Nearest training images", [shown]))
    if data.confusions is not None:
        sections.append(_errors_by_class(data.confusions))
        if data.confusions.mistakes:
            sections.append(_surest_mistakes(data.confusions))
    if data.channels:
        sections.append(Section("What excites each layer", _channels(data)))
    return sections


def _curve_words(all_runs: Sequence[runs.RunFiles], names: Sequence[str]) -> str:
    epochs = []
    for run, name in zip(all_runs, names, strict=True):
        reached = runs.epochs_to(run.metrics, runs.TARGET_ERROR)
        epochs.append(f"{figures.shorten(name, MAX_NAME_LENGTH)}: {reached or 'not reached'}")
    return f"Epochs to 25 % training error (paper, figure 1): {'; '.join(epochs)}."


def _kernels(kernels: np.ndarray) -> PageFigure:
    words = "The kernels of the first layer, each scaled by itself; 0 is grey (paper, figure 3)."
    special = figures.specialisation(kernels)
    if special is not None:
        number, (first, second) = special
        parts = "towers" if len(kernels) == 2 else "halves of the one tower, which is what chance gives"
        words += (
            f" Colour is {first:.1%} and {second:.1%} of the kernels' squares in the two {parts}; "
            f"specialisation {number:.2f} (0.5: alike, 1: one has taken all the colour)."
        )
    return PageFigure("kernels", figures.kernels(kernels), words, "Kernels as small images")


def _errors_by_class(confusions: Confusions) -> Section:
    words = (
        f"{int(confusions.matrix.sum()):,} of {confusions.of:,} images of {confusions.split!r}, centre view: "
        f"top-1 error {top1_error(confusions):.2%}. A row is a class, its cells the classes that its images "
        "were taken for."
    )
    shown = PageFigure("confusion", figures.confusion(confusions), words, "Confusion matrix")
    both = tables.by_class(confusions), tables.taken_for(confusions)
    return Section("Errors by class", [shown], [table for table in both if table.rows])


def _surest_mistakes(confusions: Confusions) -> Section:
    words = (
        "The wrong guesses of the highest probability. Above each image are its file and its class, below it "
        "what it was taken for, the likeliest first; the right class is bold, its bar red."
    )
    drawn = figures.guesses(confusions.mistakes, with_files=True)
    shown = PageFigure("mistakes", drawn, words, "Images with bars")
    return Section("Surest mistakes", [shown], [tables.surest_mistakes(confusions)])


def next_commands(run: runs.RunFiles, data: ReportData) -> list[tuple[str, str]]:
    """Return what the user may type next: (what it does, the command)."""
    if data.step is None:
        return []

    workdir = f"--workdir={shlex.quote(str(run.workdir))}"

    def command(verb: str, *arguments: str) -> str:
        return " ".join((program.next_command(), verb, workdir, *arguments))

    alike = ("The images of a folder that look like one", command("similar", "--source=photos/", "photo.jpg"))
    if not data.knows_classes:
        return [alike]
    commands = [
        ("The classes of other images", command("predict", "photos/")),
        ("The errors over other labelled images", command("evaluate", "--source=labelled_photos/")),
        ("Every mistake, with the file of each image", command("evaluate", "--predictions=guesses.csv")),
        alike,
    ]
    if run.metrics and run.config.schedule.kind in RESUMABLE:
        words = f"More training than {run.config.train.epochs:g} epochs: the command that trained it, with"
        commands.append((words, f"--config.train.epochs={2 * run.config.train.epochs:g}"))
    return commands


def _channels(data: ReportData) -> list[PageFigure]:
    shown = []
    for layer in dict.fromkeys(one.layer for one in data.channels):
        words = (
            f"Above: the nine patches among {data.looked_at:,} images of {data.dataset} that excite the "
            "channel most, one an image. Below: what in each does, projected back to pixels (after Zeiler "
            "and Fergus), each scaled by itself."
        )
        drawn = figures.excites([one for one in data.channels if one.layer == layer])
        alt = f"Patches and projections of {layer}"
        shown.append(PageFigure(f"excites_{layer}", drawn, words, alt, layer))
    return shown


def _embed(folder: Path, shown: PageFigure) -> dict[str, Any]:
    """Write the figure's files into a folder; return what the template shows of it."""
    encoded = figures.encode(shown.figure)
    for extension, content in encoded.items():
        with files.atomic_write(folder / f"{shown.name}.{extension}") as file:
            file.write(content)
    content, kind = encoded["png"], "png"
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        if len(content) > MAX_PNG_BYTES:  # photographs: a page of PNG files would be several times as large
            smaller = io.BytesIO()
            image.convert("RGB").save(smaller, "webp", quality=88)
            content, kind = smaller.getvalue(), "webp"
    uri = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    caption = printable(shown.caption)
    return vars(shown) | {"uri": uri, "width": width, "height": height, "caption": caption}
