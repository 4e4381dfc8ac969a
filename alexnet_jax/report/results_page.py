"""Make the page of all recorded experiments: the second half of the verb `report --results`."""

import os
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from alexnet_jax import drawing, files
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable
from alexnet_jax.report import figures, published, results, runs

PAGE = Path("docs/RESULTS.md")
FIGURE_1 = "figure_1.svg"

Rows = Sequence[Mapping[str, Any]]

# Of a row's value: its words in the table, and whether it is a fraction, which is shown in percent.
VALUES = {
    "top1_error": ("top-1 error", True),
    "top5_error": ("top-5 error", True),
    "mean_class_error": ("error, mean over classes", True),
    "train_top1_error": ("training error at the end", True),
    "epochs_to_25_percent": ("epochs to 25 % training error", False),
    "epochs_to_learn": ("epochs until the loss leaves ln(classes)", False),
    "specialisation": ("specialisation of the towers", False),
}


@drawing.default_style()
def write(folder: Path = results.FOLDER, page: Path = PAGE) -> str:
    """Make the page of all rows in `folder`, and its figure in that folder; return a line that says so.

    Raises:
      UsageError: there are no rows.
      RunFailure: a row is damaged.
    """
    paths = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    rows = [row for path in paths for row in results.read_rows(path)]
    if not rows:
        raise UsageError(f"{folder} holds no results: report --results --workdir=DIR writes a run's")
    compared = _figure_1(_experiments(rows))
    if compared:
        drawn = figures.figure_1(*([row["curve"] for row in group] for group in compared[1:]))
        files.write_text(folder / FIGURE_1, drawing.encode(drawn, "svg").decode())
    files.write_text(page, table(rows, Path(os.path.relpath(folder, page.parent))))
    return f"{page}: {len(rows)} runs of {len(_experiments(rows))} experiments"


def table(rows: Rows, folder: Path) -> str:
    """Return the page as Markdown: what was found next to what was published, then how each was run.

    Args:
      rows: of all experiments, as `results.row_of` gives them.
      folder: of the rows' files, as seen from the page.
    """
    made = (
        f"Made by `python -m alexnet_jax.main report --results` from the files in `{folder}/`, a line for "
        "each run. n: runs, each with its own seed ('2 of 3': the third never came to it); spread: their "
        "standard deviation (n - 1), and the smallest to the largest; time: of one run's training steps, "
        "the mean. The loss has left ln(classes) when it is 2 % below; reported where that took an epoch or "
        "more."
    )
    groups = _experiments(rows)
    lines = ["# Results", "", made, ""]
    lines += [
        "| experiment | value | n | mean | spread | published | time |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [line for group in groups for line in _value_lines(group)]
    compared = _figure_1(groups)
    if compared:
        lines += ["", compared[0], "", f"![Training error against epochs]({folder / FIGURE_1})"]
    lines += [*_change_lines(groups), "", "## How", ""]
    return "\n".join([*lines, *(line for group in groups for line in _how_lines(group))]) + "\n"


def _value_lines(group: Rows) -> list[str]:
    """Return an experiment's lines of the table, one a value."""
    lines: list[str] = []
    views = _views(group)
    for name, (words, fraction) in VALUES.items():
        values = [float(row["values"][name]) for row in group if name in row["values"]]
        if not _is_worth_a_line(name, values, group):
            continue
        known = group[0]["published"].get(name)
        there = f"{_number(known['value'], fraction)} ({_cell(known['source'])})" if known else ""
        mean = _number(statistics.mean(values), fraction) if values else "never"
        if name in ("top1_error", "top5_error") and views:
            words += ", ten views" if views == 10 else ", centre view"
        experiment, time = ("", "") if lines else (_code(group[0]["experiment"]), _time(group))
        lines.append(
            f"| {experiment} | {words} | {_count(values, group)} | {mean} | {_spread(values, fraction)} | "
            f"{there} | {time} |"
        )
    return lines


def _how_lines(group: Rows) -> list[str]:
    """Return on what an experiment was run, and by which command."""
    seeds = ", ".join(str(row["seed"]) for row in group)
    examples = {row["evaluation"].get("examples") for row in group if row.get("evaluation")} - {None}
    over = f"; errors over {', '.join(f'{n:,}' for n in sorted(examples))} images" if examples else ""
    versions = ", ".join(f"{name} {version}" for name, version in group[0]["versions"].items())
    command = group[0]["command"].rpartition(" --config.seed=")[0]
    hardware = " or ".join(dict.fromkeys(_cell(row["hardware"]) for row in group))
    on = f"{hardware}; {_cell(versions) or 'versions not recorded'}"
    return [
        f"- {_code(group[0]['experiment'])}: {on}; seeds {seeds}{over}.",
        f"  {_code(command + ' --config.seed=SEED')}",
    ]


def _change_lines(groups: Sequence[Rows]) -> list[str]:
    """Return a table of what changing some keys of an experiment did; [] where no two can be compared."""
    lines = []
    for group, other in _pairs([group for group in groups if len(group) > 1]):
        change = " ".join(word for word in _changes(other) if word not in _changes(group))
        first = [_code(group[0]["experiment"]), _code(change), _cell(published.EFFECTS.get(change, ""))]
        for name in ("top1_error", "train_top1_error"):
            before, after = (
                [100 * float(row["values"][name]) for row in rows if name in row["values"]]
                for rows in (group, other)
            )
            if min(len(before), len(after)) < 2 or len({*before}) == len({*after}) == 1:
                continue  # without a spread there is no interval
            low, high = stats.ttest_ind(after, before, equal_var=False).confidence_interval(0.95)
            points = f"{statistics.mean(after) - statistics.mean(before):+.2f} ({low:+.2f} to {high:+.2f})"
            shows = "more" if low > 0 else "less" if high < 0 else "no difference shown"
            cells = [*first[:2], VALUES[name][0], f"{len(before)}, {len(after)}", points, shows, first[2]]
            lines.append(f"| {' | '.join(cells)} |")
            first = ["", "", ""]
    if not lines:
        return []
    words = (
        "Points of error, with the change less without it, of experiments with two seeds and more. In "
        "brackets the 95 % interval of the difference (Welch's t, from the spread over seeds): where it "
        "holds 0, the runs show no difference. Published: whole nets on ImageNet, unless it says otherwise."
    )
    header = ["| experiment | change | value | n | points | | published |", "|---|---|---|---|---|---|---|"]
    return ["", "## What a change did", "", words, "", *header, *lines]


def _pairs(groups: Sequence[Rows]) -> list[tuple[Rows, Rows]]:
    """Return experiments, each with those of its config and views that change further keys of it.

    Where another experiment is between two, they are no pair.
    """
    pairs = []
    for other in groups:
        like = [x for x in groups if (x[0]["config"], _views(x)) == (other[0]["config"], _views(other))]
        parts = [x for x in like if set(_changes(x)) < set(_changes(other))]
        nearest = [x for x in parts if not any(set(_changes(x)) < set(_changes(y)) for y in parts)]
        pairs += [(group, other) for group in nearest]
    return pairs


def _changes(group: Rows) -> list[str]:
    """Return the 'key=value' in which an experiment differs from its config."""
    return shlex.split(group[0]["experiment"])[1:]


def _views(group: Rows) -> Any:
    """Return with how many views an experiment was evaluated, None if it was not."""
    return group[0].get("evaluation", {}).get("views")


def _figure_1(groups: Sequence[Rows]) -> tuple[str, Rows, Rows] | None:
    """Return what the paper's figure 1 shows, of a net that was trained with ReLU and with tanh, if any.

    Returns:
      A sentence, and the runs with ReLU and with tanh, each at its best learning rate.
    """
    best: dict[str, dict[str, tuple[float, str, Rows]]] = {}
    for group in groups:
        epochs = [row["values"].get("epochs_to_25_percent") for row in group]
        activation = group[0].get("activation")
        if None in epochs or activation not in ("relu", "tanh"):
            continue
        words = group[0]["experiment"].split(" ")
        apart = ("model.activation=", "schedule.learning_rate=", "train.epochs=")
        net = best.setdefault(" ".join(word for word in words if not word.startswith(apart)), {})
        here = statistics.mean(epochs), group[0]["experiment"], group
        net[activation] = min(here, net.get(activation, here), key=lambda candidate: candidate[0])
    for net in best.values():
        if len(net) == 2:
            (relu, name, rows), (tanh, other, others) = net["relu"], net["tanh"]
            sentence = (
                f"Figure 1: {_code(other)} needs {tanh / relu:.2g} times the epochs of {_code(name)} to 25 % "
                f"training error ({tanh:.3g}, n {len(others)}, and {relu:.3g}, n {len(rows)}; the best "
                "learning rate of those tried for each). Published: 6 times (paper, figure 1)."
            )
            return sentence, rows, others
    return None


def _experiments(rows: Rows) -> list[Rows]:
    """Return the rows of one experiment on one kind of hardware together, with the same number of views."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = row["experiment"], results.hardware_kind(row), _views([row])
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _is_worth_a_line(name: str, values: Sequence[float], group: Rows) -> bool:
    """Return whether there is a value; of leaving ln(classes): whether it took an epoch, or never came."""
    if name != "epochs_to_learn":
        return bool(values)
    trained = sum("train_top1_error" in row["values"] for row in group)
    return len(values) < trained or max(values, default=0) >= 1


def _count(values: Sequence[float], group: Rows) -> str:
    return str(len(group)) if len(values) == len(group) else f"{len(values)} of {len(group)}"


def _number(value: float, fraction: bool) -> str:
    return f"{value:.2%}" if fraction else f"{value:.3g}"


def _spread(values: Sequence[float], fraction: bool) -> str:
    if len(values) < 2:
        return ""
    low, high = _number(min(values), fraction), _number(max(values), fraction)
    return f"{_number(statistics.stdev(values), fraction)} ({low} to {high})"


def _time(group: Rows) -> str:
    seconds = [row["seconds"] for row in group if runs.finite_number(row["seconds"]) is not None]
    return runs.duration(statistics.mean(seconds)) if seconds else ""


def _cell(text: str) -> str:
    """Return a text for a cell of Markdown: what would end the cell or be read as HTML is escaped."""
    plain = printable(str(text)).replace("\\", "\\\\")
    for special in "|<>*_[]`":
        plain = plain.replace(special, "\\" + special)
    return plain


def _code(text: str) -> str:
    return "`" + printable(str(text)).replace("`", "'").replace("|", "\\|") + "`"
