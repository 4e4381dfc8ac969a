"""Make the page of the verb `report`, the paper's figures for a run; it opens without a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from alexnet_jax import drawing, files
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable
from alexnet_jax.report import beside, figures, glance, inline, reasons, runs, template
from alexnet_jax.report.sections import PageFigure, all_sections
from alexnet_jax.report.tables import cell
from alexnet_jax.report.words import both, join
from alexnet_jax.workdir import layout

if TYPE_CHECKING:
    from alexnet_jax.inference.report_data import ReportData

MAX_PAGE_BYTES = 15_000_000
# What the parts of the page are called where they are missing.
PART_TITLES = {
    "curves": both("curves", "曲线"),
    "kernels": both("first-layer kernels", "第一层的卷积核"),
    "guesses": both("guesses for eight images", "八张图片的猜测"),
    "neighbours": both("nearest training images", "最近的训练图片"),
    "confusions": both("errors by class, confusions, mistakes", "各类的错误、混淆、错例"),
    "channels": both("what excites each layer", "每一层被什么激活"),
}


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
    found = dict.fromkeys(missing[part] for part in PART_TITLES if part in missing)
    missing_lines = [
        (join("; ", [words for part, words in PART_TITLES.items() if missing.get(part) == why]), why)
        for why in found
    ]
    names = glance.distinct_names(all_runs)
    sections = all_sections(all_runs, names, data)
    page = template.load(Path(__file__).with_name("page.html.jinja")).render(
        title=cell(names[0]),
        subtitle=cell(glance.subtitle(run, data)),
        missing=[(what, cell(reasons.translated(why))) for what, why in missing_lines],
        glance=[tuple(map(cell, row)) for row in glance.at_a_glance(run, data)],
        sections=sections,
        charts={shown.name: _write_figure(drawings, shown) for part in sections for shown in part.figures},
        explorer=layout.EXPLORER_PAGE,
        folder=layout.REPORT_FIGURES,
        commands=[(words, printable(command)) for words, command in glance.next_commands(run, data)],
        script=Path(__file__).with_name("page.js").read_text(encoding="utf-8"),
        style=Path(__file__).with_name("page.css").read_text(encoding="utf-8"),
    )
    path = folder / layout.REPORT_PAGE
    drawn = [shown.figure for part in sections for shown in part.figures]
    files.write_text(path, page)
    beside.link(folder)
    files.write_text(folder / layout.REPORT_DATA, json.dumps(numbers(run, data), indent=1) + "\n")
    lines = [f"{path}: {len(page.encode()) / 1e6:.1f} MB, {len(drawn)} figures"]
    lines += [f"not on the page: {what}: {cell(why)}" for what, why in missing_lines]
    return lines + drawing.lacking_letters(drawn)


def _write_figure(folder: Path, shown: PageFigure) -> Markup:
    """Write a figure's files into a folder; return the drawing as a part of the page."""
    png, svg = drawing.encode(shown.figure, "png"), drawing.encode(shown.figure, "svg").decode()
    with files.atomic_write(folder / f"{shown.name}.png") as file:
        file.write(png)
    files.write_text(folder / f"{shown.name}.svg", inline.without_chinese(svg))
    return inline.chart(svg) if shown.kind == "chart" else Markup("")


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
        "centre_top1_error": glance.top1_error(confusions) if confusions else None,
        "centre_top5_error": confusions.top5_error if confusions else None,
        "images": int(confusions.matrix.sum()) if confusions else None,
    }
