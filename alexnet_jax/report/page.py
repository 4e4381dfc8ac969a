"""The verb `report`: one page with the paper's figures for a run; it opens from disk, without a network."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from alexnet_jax import files
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable
from alexnet_jax.report import figures, published, runs
from alexnet_jax.report.results import duration

if TYPE_CHECKING:
    from alexnet_jax.inference.findings import Confusions, Findings

LARGEST = 15_000_000  # bytes of the page
PAPER_RATE = 230  # images/s on two GTX 580: 90 epochs of 1.2 million pictures in 5 to 6 days
SHOWN = 10  # best and worst classes, at most
LONGEST = 200  # characters of a name
WORDS = {
    "curves": "curves",
    "kernels": "first-layer kernels",
    "guesses": "guesses for eight pictures",
    "neighbours": "nearest training pictures",
    "confusions": "confusion matrix, best and worst classes, mistakes",
    "maps": "what excites each layer",
}


@dataclass(frozen=True)
class Shown:
    """A figure on the page."""

    name: str
    figure: Figure
    caption: str
    alt: str
    title: str = ""


def write(all_runs: Sequence[runs.RunFiles], findings: Findings) -> list[str]:
    """Writes `report/` into the first run's workdir: index.html, figures/, report.json.

    Args:
      all_runs: the run, and others whose curves are drawn beside its own.
      findings: what was computed for the first.

    Returns:
      Lines for the terminal: where the page is, and what is missing from it.
    """
    run = all_runs[0]
    folder = run.workdir / "report"
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for path in (folder / "figures").iterdir():
        if path.suffix in (".png", ".svg"):  # of an earlier report, which may have had other parts
            path.unlink()
    missing = dict(findings.missing)
    names = distinct_names(all_runs)
    sections = []
    for title, shown, tables in _sections(all_runs, names, findings, missing):
        sections.append({"title": title, "tables": tables, "figures": [_embedded(folder, s) for s in shown]})
    reasons = dict.fromkeys(missing[part] for part in WORDS if part in missing)
    told = [
        ("; ".join(WORDS[part] for part in WORDS if missing.get(part) == why), _text(why)) for why in reasons
    ]
    glance = [tuple(_text(cell) for cell in row) for row in at_a_glance(run, findings)]
    page = _template().render(
        title=_text(names[0]),
        subtitle=_text(_subtitle(run, findings)),
        missing=told,
        glance=glance,
        sections=sections,
    )
    files.write_text(folder / "index.html", page)
    files.write_text(folder / "report.json", json.dumps(numbers(run, findings), indent=1) + "\n")
    lines = [f"{folder / 'index.html'}: {len(page.encode()) / 1e6:.1f} MB, {_count(sections)} figures"]
    return lines + [f"not on the page: {what}: {why}" for what, why in told]


def check(workdirs: Sequence[Path]) -> list[runs.RunFiles]:
    """The runs; UsageError where one is none, or the first workdir cannot be written."""
    found = [runs.read(workdir) for workdir in workdirs]
    try:
        (workdirs[0] / "report").mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"{workdirs[0] / 'report'} cannot be written: {error.strerror}") from None
    return found


def distinct_names(all_runs: Sequence[runs.RunFiles]) -> list[str]:
    """The names of the workdirs, with the folder above where two are alike."""
    short = [run.name for run in all_runs]
    return [
        name if short.count(name) == 1 else f"{run.workdir.resolve().parent.name}/{name}"
        for run, name in zip(all_runs, short, strict=True)
    ]


def numbers(run: runs.RunFiles, findings: Findings) -> dict[str, float | None]:
    """What the page says in numbers, for `report.json`."""
    special = figures.specialisation(findings.kernels) if findings.kernels is not None else None
    found = findings.confusions
    return {
        "step": findings.step,
        "specialisation": special[0] if special else None,
        "epochs_to_25_percent": runs.epochs_to(run.metrics, figures.TARGET),
        "centre_top1_error": top1_error(found) if found else None,
        "centre_top5_error": found.top5_error if found else None,
        "pictures": int(found.matrix.sum()) if found else None,
    }


def top1_error(found: Confusions) -> float:
    """The share of the pictures off the diagonal."""
    return 1 - float(np.trace(found.matrix)) / float(found.matrix.sum())


def at_a_glance(run: runs.RunFiles, findings: Findings) -> list[tuple[str, str, str]]:
    """Rows of the first table: what, here, published for the same net and data."""
    config, evaluation = run.config, run.evaluation or {}
    model = f"{config.model.architecture}, {findings.towers} tower{'s' if findings.towers > 1 else ''}"
    if findings.parameters:
        model += f", {findings.parameters:,} parameters"
    rows = [("model", model, ""), ("data", _data_words(run), "")]
    done = runs.number(run.metrics[-1].get("epoch")) if run.metrics else None
    if done is not None:
        rows.append(("epochs", f"{done:.3g} of {config.train.epochs:g}", ""))
    elif "converted_from" in run.beside:
        rows.append(("weights", f"converted from {run.beside['converted_from']}", ""))
    views = runs.number(evaluation.get("views"))
    for number, words in ((1, "centre view"), (10, "ten views")):
        here = ""
        if views == number:
            here = _errors(evaluation.get("top1_error"), evaluation.get("top5_error"))
            here += f" ({_examples(evaluation)})" if here else ""
        elif number == 1 and findings.confusions is not None:
            found = findings.confusions
            here = _errors(top1_error(found), found.top5_error)
            here += f" ({int(found.matrix.sum()):,} of {found.of:,} pictures of {found.split!r})"
        there = "; ".join(
            f"{_errors(row.top1_error, row.top5_error)} ({row.source})"
            for row in published.find(config, number)
        )
        if here or there:
            rows.append((f"error, {words}", here or "not evaluated: evaluate --views=" + str(number), there))
    reached = runs.epochs_to(run.metrics, figures.TARGET)
    if reached is not None:
        rows.append(("epochs to 25 % training error", f"{reached:.3g}", ""))
    if "hardware" in run.beside:
        rows.append(("device", str(run.beside["hardware"]), "paper: two GTX 580"))
    rate = runs.images_per_second(run.metrics)
    seconds = runs.training_seconds(run.metrics, config.data.batch_size)
    if rate:
        rows.append(("training images/s (median)", f"{rate:,.0f}", f"paper: about {PAPER_RATE}"))
    if seconds:
        share = [seconds / (days * 86_400) for days in (6, 5)]
        here = duration(seconds)
        if share[0] >= 0.01:  # of a small experiment it says nothing
            here += f": {share[0]:.2g} to {share[1]:.2g} of the paper's"
        rows.append(("time in training steps", here, "paper: 5 to 6 days"))
    return rows


def _data_words(run: runs.RunFiles) -> str:
    data = run.config.data
    classes = run.beside.get("class_names")
    known = f"{len(classes):,} classes, " if isinstance(classes, list) and classes else ""
    return f"{data.name}, {known}{data.crop} x {data.crop} x {data.channels} of {data.size} x {data.size}"


def _examples(evaluation: dict[str, Any]) -> str:
    count = runs.number(evaluation.get("examples"))
    return f"{count:,.0f} pictures of {evaluation.get('split')!r}" if count is not None else "of evaluate"


def _errors(top1: Any, top5: Any) -> str:
    parts = [
        f"top-{which} {value:.2%}"
        for which, value in ((1, runs.number(top1)), (5, runs.number(top5)))
        if value is not None
    ]
    return ", ".join(parts)


def _subtitle(run: runs.RunFiles, findings: Findings) -> str:
    if findings.step is None:
        return "no usable checkpoint yet: what the run's files say"
    return f"checkpoint at step {findings.step:,}" if run.metrics else "weights without a training log"


def _sections(
    all_runs: Sequence[runs.RunFiles], names: Sequence[str], findings: Findings, missing: dict[str, str]
) -> list[tuple[str, list[Shown], list[dict[str, Any]]]]:
    """(title, figures, tables) of each part that there is; a part without data goes into `missing`."""
    sections: list[tuple[str, list[Shown], list[dict[str, Any]]]] = []
    if any(run.metrics for run in all_runs):
        shown = Shown("curves", figures.curves(all_runs, names), _curve_words(all_runs, names), "Curves")
        sections.append(("Training", [shown], []))
    else:
        missing["curves"] = f"{all_runs[0].workdir} has no lines in metrics.jsonl"
    if findings.kernels is not None:
        sections.append(("First-layer kernels", [_kernels(findings)], []))
    if findings.guesses:
        words = (
            f"Pictures of {findings.dataset} and their likeliest classes; the right one is bold, its bar red "
            "(paper, figure 4, left)."
        )
        shown = Shown("guesses", figures.guesses(findings.guesses), words, "Pictures with bars")
        sections.append(("Guesses", [shown], []))
    if findings.neighbours:
        words = (
            f"Left: five test pictures of {findings.dataset}. Right: the nearest of {findings.searched:,} "
            f"training pictures by {findings.layer}, with the {findings.distance} distance; names of other "
            "classes are red (paper, figure 4, right)."
        )
        shown = Shown("neighbours", figures.neighbours(findings.neighbours), words, "Pictures in rows")
        sections.append(("Nearest training pictures", [shown], []))
    if findings.confusions is not None:
        sections.append(("Confusions", *_confusions(findings.confusions)))
    if findings.maps:
        sections.append(("What excites each layer", _maps(findings), []))
    return sections


def _curve_words(all_runs: Sequence[runs.RunFiles], names: Sequence[str]) -> str:
    found = []
    for run, name in zip(all_runs, names, strict=True):
        reached = runs.epochs_to(run.metrics, figures.TARGET)
        word = "not reached" if reached is None else f"{reached:.3g} epochs"
        found.append(f"{figures.shortened(name, LONGEST)}: {word}")
    return f"Epochs to 25 % training error (paper, figure 1): {'; '.join(found)}."


def _kernels(findings: Findings) -> Shown:
    kernels = findings.kernels
    assert kernels is not None
    words = "The kernels of the first layer, each scaled by itself; 0 is grey (paper, figure 3)."
    special = figures.specialisation(kernels)
    if special is not None:
        number, (first, second) = special
        parts = "towers" if len(kernels) == 2 else "halves of the one tower, which is what chance gives"
        words += (
            f" Colour is {first:.1%} and {second:.1%} of the kernels' squares in the two {parts}; "
            f"specialisation {number:.2f} (0.5: alike, 1: one has taken all the colour)."
        )
    return Shown("kernels", figures.kernels(kernels), words, "Kernels as small pictures")


def _confusions(found: Confusions) -> tuple[list[Shown], list[dict[str, Any]]]:
    total = int(found.matrix.sum())
    words = (
        f"{total:,} of {found.of:,} pictures of {found.split!r}, centre view: top-1 error "
        f"{top1_error(found):.2%}. A row is a class, its cells the classes that its pictures were taken for."
    )
    shown = [Shown("confusion", figures.confusion(found), words, "Confusion matrix")]
    if found.mistakes:
        words = "The wrong guesses of the highest probability; the right class is bold, its bar red."
        title = "Most confident mistakes"
        shown.append(Shown("mistakes", figures.guesses(found.mistakes), words, "Pictures with bars", title))
    rows = class_rows(found)
    head = ["class", "right", "pictures", "most often taken for"]
    count = min(SHOWN, -(-len(rows) // 2))
    worst = {"title": "Worst classes", "head": head, "rows": rows[:count]}
    best = {"title": "Best classes", "head": head, "rows": rows[::-1][:count]}
    return shown, [best, worst]


def class_rows(found: Confusions) -> list[tuple[str, str, str, str]]:
    """(name, share right, pictures, the class it is most often taken for) of each class, the worst first."""
    rows = []
    for label, counts in enumerate(found.matrix):
        pictures = int(counts.sum())
        if not pictures:
            continue
        others = np.where(np.arange(len(counts)) == label, 0, counts)
        taken = int(others.argmax())
        other = ""
        if others[taken]:
            name = found.names[taken] if taken < len(found.names) else f"class {taken}"
            other = f"{figures.shortened(name, LONGEST)} ({int(others[taken])})"
        rows.append((counts[label] / pictures, label, pictures, other))
    rows.sort(key=lambda row: (row[0], row[1]))
    names = [figures.shortened(name, LONGEST) for name in found.names]
    return [(names[label], f"{share:.1%}", f"{n:,}", other) for share, label, n, other in rows]


def _maps(findings: Findings) -> list[Shown]:
    shown = []
    for layer in dict.fromkeys(one.layer for one in findings.maps):
        maps = [one for one in findings.maps if one.layer == layer]
        words = (
            f"Above: the nine patches among {findings.looked_at:,} pictures of {findings.dataset} that "
            "excite the map most, one a picture. Below: what in each does, projected back to pixels (after "
            "Zeiler and Fergus), each scaled by itself."
        )
        alt = f"Patches and projections of {layer}"
        shown.append(Shown(f"excites_{layer}", figures.excites(maps), words, alt, layer))
    return shown


def _embedded(folder: Path, shown: Shown) -> dict[str, Any]:
    """Writes the figure's files; returns what the template shows of it."""
    encoded = figures.encoded(shown.figure)
    for form, content in encoded.items():
        with files.whole_file(folder / "figures" / f"{shown.name}.{form}") as file:
            file.write(content)
    with Image.open(io.BytesIO(encoded["png"])) as image:
        width, height = image.size
        content, kind = encoded["png"], "png"
        if len(content) > 300_000:  # photographs: a page of PNG files would be several times as large
            file_ = io.BytesIO()
            image.convert("RGB").save(file_, "webp", quality=88)
            content, kind = file_.getvalue(), "webp"
    uri = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return {
        "uri": uri,
        "width": width,
        "height": height,
        "title": _text(shown.title) if shown.title else "",
        "alt": shown.alt,
        "caption": printable(shown.caption),
    }


def _text(text: Any) -> str:
    """A name for the page: without control and direction characters, and not endless."""
    return figures.shortened(str(text), LONGEST) if str(text) else ""


def _count(sections: Sequence[dict[str, Any]]) -> int:
    return sum(len(section["figures"]) for section in sections)


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("page.html.jinja")
