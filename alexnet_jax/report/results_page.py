"""Make the page of all recorded experiments: the second half of the verb `report --results`."""

import os
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alexnet_jax import files
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable
from alexnet_jax.report import charts, claims, evidence, results, runs
from alexnet_jax.report.evidence import Finding, Row, Rows

PAGE = Path("docs/RESULTS.md")
COMMAND = "python -m alexnet_jax.main"

# Of each figure its title, what its axis says, and words below it; its lines are the claims that name it.
FIGURES = {
    "nets": ("Error of cuda-convnet's nets, ours beside the published", "test error in percent", ""),
    "ablations": (
        "What a change of the net does to the test error, ours beside the published",
        "points of test error, with the change less without it",
        (
            "Right of 0 the net is worse with the change. On what each was trained stands in the table. "
            "Where there is no diamond, nobody published a number."
        ),
    ),
    "figure_1": (
        "Training error with ReLU and with tanh, as in the paper's figure 1",
        "",
        (
            "A line is a run, at a learning rate that a search chose. On the dotted line of 25 % the dot is "
            "where the error first comes down to it, interpolated between two lines of the log; of several "
            "runs it is the mean, and a bar their range. A line of the log is the mean over some 100 steps, "
            "and scatters by about a point."
        ),
    ),
}


def write(folder: Path = results.FOLDER, page: Path = PAGE) -> str:
    """Make the page of all rows in `folder`, and its figures in that folder; return a line that says so.

    Raises:
      UsageError: there are no rows.
      RunFailure: a row is damaged.
    """
    paths = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    rows = [row for path in paths for row in results.read_rows(path)]
    if not rows:
        raise UsageError(f"{folder} holds no results: report --results --workdir=DIR writes a run's")
    text, figures = make(rows, Path(os.path.relpath(folder, page.parent)))
    for name, figure in figures.items():
        files.write_text(folder / name, figure)
    files.write_text(page, text)
    return f"{page}: {len(_seconds(rows))} runs of {len({row['experiment'] for row in rows})} experiments"


def make(rows: Rows, folder: Path) -> tuple[str, dict[str, str]]:
    """Return the page as Markdown, and its figures as {file name: SVG}.

    Args:
      rows: of all experiments, as `results.row_of` gives them.
      folder: of the rows' files and of the figures, as seen from the page.
    """
    found = [evidence.find(claim, rows) for claim in claims.CLAIMS]
    made = (
        "What the paper, its code and others claim, and what came out here. Made by "
        f"`{COMMAND} report --results` from the files in [{folder}]({folder}/), a line for each run and "
        f"number of views: {len(_seconds(rows))} runs, {_hours(rows)} hours of training steps. "
        "None of our numbers is typed."
    )
    how = (
        f"SEED is a seed for each run. `{COMMAND} evaluate --workdir=DIR` with `--views=1` or `10` measures "
        "the test error, `report --results --workdir=DIR` writes the run's row and this page."
    )
    drawn = {name: _draw(name, [each for each in found if each.claim.figure == name]) for name in FIGURES}
    figures = {f"{name}.svg": figure for name, figure in drawn.items() if figure}
    lines = [
        "# Results",
        "",
        made,
        "",
        *_claim_lines(found),
        *(line for name in FIGURES if f"{name}.svg" in figures for line in _figure_lines(name, folder)),
        *_single_lines(found, rows),
        *_run_lines(rows, folder),
        "",
        "## Commands of the claims",
        "",
        how,
        *(line for number, each in enumerate(found, 1) for line in _command_lines(number, each, rows)),
    ]
    return "\n".join(lines) + "\n", figures


def _claim_lines(found: Sequence[Finding]) -> list[str]:
    """Return the first table, with the count of the verdicts and their rule."""
    intro = (
        f"{_tally(found)} In brackets the 95 % interval; n: runs, each with its own seed, of the net and of "
        "what it is compared with; hours: of training steps, for all these runs, without the searches for a "
        "rate. The paper's figures are of ImageNet; where our nets were narrower or saw other images, our "
        "runs say so. CIFAR-10 is a copy whose images are JPEGs, with colour at half the resolution, for "
        "training and for testing; the published figures are of the original pixels, and what that changes "
        "is not known."
    )
    lines = [
        intro,
        "",
        "| claim | published | ours | n | verdict | our runs | command | hours |",
        "|---" * 8 + "|",
    ]
    for number, each in enumerate(found, 1):
        claim = each.claim
        cells = [
            claim.words,
            f"{claim.said} ({claim.source})" if claim.source else claim.said,
            ours(each),
            ", ".join(str(len(side)) for side in each.sides),
            f"**{each.verdict}**" if each.sides else each.verdict,
            "; ".join(
                filter(None, [claim.setting, " and ".join(dict.fromkeys(map(_trained_on, each.sides)))])
            ),
            f"[{number}](#claim-{number})",
            _hours([row for side in each.sides for row in side]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", "## When a claim is reproduced", "", claims.RULE]


def _tally(found: Sequence[Finding]) -> str:
    """Return how many published claims and aims of this project have each verdict."""
    aims = [each.verdict for each in found if each.claim.rule == "at most"]
    published = [each.verdict for each in found if each.claim.rule not in ("at most", "none")]
    parts = []
    for kind, given, first in (
        ("published claims", published, (claims.REPRODUCED, claims.CONTRADICTS)),
        ("aims of this project", aims, (claims.REACHED, claims.MISSED)),
    ):
        verdicts = (*first, claims.NOT_SHOWN, claims.NOT_RUN)
        counts = ", ".join(f"{given.count(verdict)} {verdict}" for verdict in verdicts)
        parts.append(f"Of {len(given)} {kind}: {counts}.")
    others = len(found) - len(aims) - len(published)
    return " ".join([*parts, f"The {others} further lines have nothing published beside them."])


def ours(found: Finding) -> str:
    """Return what the runs give, with its unit and its interval; '' without runs."""
    claim, mean = found.claim, found.mean
    if mean is None:
        return ""
    sign = "+" if claim.base and not claim.factor else ""
    digits = 1 if claim.factor else 2
    text = " ".join(filter(None, [f"{mean:{sign}.{digits}f}", claim.unit]))
    if found.interval:
        text += " ({:{sign}.{digits}f} to {:{sign}.{digits}f})".format(
            *found.interval, sign=sign, digits=digits
        )
    return text


def _trained_on(group: Rows) -> str:
    """Return on how many images and for how many epochs runs were, '' where they do not say."""
    images, epochs = group[0].get("images"), group[0].get("epochs")
    return f"{images:,} images, {epochs:.3g} epochs" if images and epochs else ""


def _draw(name: str, found: Sequence[Finding]) -> str:
    """Return a figure, '' where no run is in it."""
    if not any(each.sides for each in found):
        return ""
    title, axis, _ = FIGURES[name]
    if name == "figure_1":
        tanh, relu = found[0].sides
        kinds = [_curves("ReLU", relu), _curves("tanh", tanh)]
        return charts.training(title, runs.TARGET_ERROR, kinds)
    bars = [
        charts.Bar(each.claim.short, _bar_text(each), each.claim.published, each.mean, each.interval)
        for each in found
    ]
    return charts.intervals(title, axis, bars)


def _bar_text(found: Finding) -> str:
    if not found.sides:
        return found.verdict
    text = ours(found).replace(f" {found.claim.unit}", "")
    return f"{text}, n {', '.join(dict.fromkeys(str(len(side)) for side in found.sides))}"


def _curves(name: str, rows: Rows) -> charts.Curves:
    """Return the curves of runs, and the epochs to 25 % training error, with their range over seeds."""
    crossings = [float(row["values"]["epochs_to_25_percent"]) for row in rows]
    words = f"{statistics.mean(crossings):.1f} epochs"
    if len(crossings) > 1:
        words += f" ({min(crossings):.1f} to {max(crossings):.1f})"
    return charts.Curves(name, f"{words}, n {len(rows)}", [row["curve"] for row in rows], crossings)


def _figure_lines(name: str, folder: Path) -> list[str]:
    title, _, words = FIGURES[name]
    return ["", f"## {title}", "", f"![{title}]({folder / name}.svg)", *(["", words] if words else [])]


def _single_lines(found: Sequence[Finding], rows: Rows) -> list[str]:
    """Return what was seen in one run only."""
    single = [n for n, each in enumerate(found, 1) if each.sides and min(map(len, each.sides)) == 1]
    experiments = _experiments(rows)
    alone = [group[0] for group in experiments if len(group) == 1]
    if not alone:
        return []
    lines = ["", "## Seen in one run only", ""]
    if single:
        links = ", ".join(f"[{number}](#claim-{number})" for number in single)
        lines += [f"Claims with one run on a side: {links}. They say nothing of the spread over seeds.", ""]
    lines.append(f"Experiments with one run: {len(alone)} of {len(experiments)}.")
    searches = "Without one, or with one of held-out training images, as searches for a rate are"
    for words, tested in (("With a test error", True), (searches, False)):
        names = [_code(row["experiment"]) for row in alone if _tested(row) == tested]
        lines += ["", f"{words}:", "", *(f"- {name}" for name in names)] if names else []
    return lines


def _run_lines(rows: Rows, folder: Path) -> list[str]:
    """Return the table of all experiments."""
    words = (
        "An experiment is a config of `configs/` and the keys in which its runs differ from it. Each run is "
        "a line of the file, with all its values, its training curve, hardware, versions and command. Errors "
        "are means, in brackets the smallest and the largest. Learns: epochs until the training loss is 2 % "
        "below ln(classes); 'before epoch 0.3': the first line of the log is there already. Time: of one "
        "run's training steps, the mean, whatever the machine was."
    )
    head = "experiment", "n", "trained on", "test error", "training error at the end", "epochs to 25 %"
    lines = ["", "## All runs", "", words, "", f"| {' | '.join([*head, 'learns', 'time', 'file'])} |"]
    lines.append("|---" * 9 + "|")
    for group in _experiments(rows):
        views = {1: ", one view", 10: ", ten views"}.get(results.views(group[0]), "")
        views += ", held-out training images" if results.held_out(group[0]) else ""
        error = _range(group, "top1_error")
        by_class = _range(group, "mean_class_error")
        views += f"; mean over classes {by_class}" if by_class not in ("", error) else ""
        cells = [
            _code(group[0]["experiment"]),
            str(len(group)),
            _trained_on(group),
            f"{error}{views}" if error else "",
            _range(group, "train_top1_error"),
            _epochs(group, "epochs_to_25_percent"),
            _epochs(group, "epochs_to_learn") or ("never" if _trained(group) else ""),
            _time(group),
            f"[rows]({folder}/{quote(group[0]['config'])}.jsonl)",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _command_lines(number: int, found: Finding, rows: Rows) -> list[str]:
    """Return by which commands a claim is tried, and on what it was."""
    claim = found.claim
    rates = evidence.learning_rates(claim, rows) if claim.own else []
    commands = [
        side[0]["command"].rpartition(" --config.seed=")[0] + " --config.seed=SEED" for side in found.sides
    ]
    lines = ["", f"### Claim {number}", "", f"{claim.words}."]
    if max(map(len, rates), default=0) > 1:
        tried = (", ".join(rate or "the config's own" for rate in side) or "none" for side in rates)
        lines[-1] += (
            " Learning rates tried, in runs of any length: {}; of what it is compared with: {}.".format(
                *tried
            )
        )
    if found.sides:
        lines += ["", *dict.fromkeys(f"- {_conditions(side)}" for side in found.sides)]
    else:
        lines[-1] += " Not run."
        commands = [command_of(experiment) for experiment in (claim.arm, claim.base) if experiment]
    shown = dict.fromkeys(printable(command).replace("`", "'") for command in commands)
    return [*lines, "", "```", *shown, "```"]


def command_of(experiment: str) -> str:
    """Return the command of an experiment that a claim names, and that has no run which could say it."""
    config, *changes = re.split(r" (?=[a-z0-9_]+\.[a-z0-9_.]+=)", experiment)  # no blank within a value
    return results.command(config, changes, "SEED")


def _conditions(group: Rows) -> str:
    """Return on what and with which seeds runs were, and over how many images their error is."""
    seeds = ", ".join(str(row["seed"]) for row in group)
    examples = {row["evaluation"].get("examples") for row in group if row.get("evaluation")} - {None}
    over = f"; errors over {', '.join(f'{n:,}' for n in sorted(examples))} images" if examples else ""
    versions = ", ".join(f"{name} {version}" for name, version in group[0]["versions"].items())
    hardware = " or ".join(dict.fromkeys(_cell(row["hardware"]) for row in group))
    return f"{hardware}; {_cell(versions) or 'versions not recorded'}; seeds {seeds}{over}"


def _experiments(rows: Rows) -> list[Rows]:
    """Return the rows of one experiment with the same number of views together, on whatever hardware."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault((row["experiment"], results.views(row)), []).append(row)
    return list(groups.values())


def _range(group: Rows, name: str) -> str:
    """Return the mean of a value in percent, with the smallest and the largest; '' without values."""
    values = [float(row["values"][name]) for row in group if name in row["values"]]
    if not values:
        return ""
    text = f"{100 * statistics.mean(values):.2f} %"
    return f"{text} ({100 * min(values):.2f} to {100 * max(values):.2f})" if len(values) > 1 else text


def _epochs(group: Rows, name: str) -> str:
    """Return the mean of a crossing's epochs, of how many runs, and before which epoch others were there."""
    values = [float(row["values"][name]) for row in group if name in row["values"]]
    bounds = [float(row["before"][name]) for row in group if name in row.get("before", {})]
    parts = []
    if values:
        of = "" if len(values) == len(group) else f" ({len(values)} of {len(group)})"
        parts.append(f"{statistics.mean(values):.3g}{of}")
    if bounds:
        parts.append(str(runs.Crossing(max(bounds), before=True)))
    return ", ".join(parts)


def _tested(row: Row) -> bool:
    return "top1_error" in row["values"] and not results.held_out(row)


def _trained(group: Rows) -> bool:
    return any("train_top1_error" in row["values"] for row in group)


def _time(group: Rows) -> str:
    seconds = [row["seconds"] for row in group if runs.finite_number(row["seconds"]) is not None]
    return runs.duration(statistics.mean(seconds)) if seconds else ""


def _hours(rows: Rows) -> str:
    """Return the hours of training steps of all runs together, '' where none says."""
    seconds = [each for each in _seconds(rows).values() if runs.finite_number(each) is not None]
    return f"{sum(seconds) / 3600:.1f}" if seconds else ""


def _seconds(rows: Rows) -> dict[tuple[Any, ...], Any]:
    """Return the seconds of each run; one that was evaluated in two ways has two rows."""
    return {(row["experiment"], row["seed"], row["hardware"]): row["seconds"] for row in rows}


def _cell(text: str) -> str:
    """Return a text for a cell of Markdown: what would end the cell or be read as HTML is escaped."""
    plain = printable(str(text)).replace("\\", "\\\\")
    for special in "|<>*_[]`":
        plain = plain.replace(special, "\\" + special)
    return plain


def _code(text: str) -> str:
    return "`" + printable(str(text)).replace("`", "'").replace("|", "\\|") + "`"
