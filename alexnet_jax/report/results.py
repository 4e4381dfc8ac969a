"""The verb `report --results`: recorded experiments as rows of JSON, and the table made of them.

A finished run writes its row into `docs/results/<experiment>.jsonl`; `docs/RESULTS.md` is made from these
files alone, so that nobody types a number. An experiment is a config of configs/ and the keys in which the
run differs from it, without the seed and what changes no result.
"""

import importlib
import json
import math
import os
import pkgutil
import re
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from scipy import stats

import configs
from alexnet_jax import config as configuration
from alexnet_jax import files
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.progress import printable
from alexnet_jax.report import figures, published, runs

FOLDER, PAGE = Path("docs/results"), Path("docs/RESULTS.md")
FIGURE_1 = "figure_1.svg"
ROW = (
    *("experiment", "config", "seed", "values", "curve", "hardware", "versions", "seconds", "command"),
    "published",
)
Rows = Sequence[Mapping[str, Any]]
POINTS = 200  # of a curve in a row, at most
TARGET = 0.25  # training error up to which the paper's figure 1 counts epochs
# What the table calls a value, and whether it is a share.
VALUES = {
    "top1_error": ("top-1 error", True),
    "top5_error": ("top-5 error", True),
    "mean_class_error": ("error, mean over classes", True),
    "train_top1_error": ("training error at the end", True),
    "epochs_to_25_percent": ("epochs to 25 % training error", False),
    "epochs_to_learn": ("epochs until the loss leaves ln(classes)", False),
    "specialisation": ("specialisation of the towers", False),
}
# Keys that change no result, beside those that say where things lie.
_FREE = ("seed", *(key for key in configuration.MAY_CHANGE if key != "train.epochs"))


def record(workdirs: Sequence[Path], folder: Path = FOLDER) -> list[str]:
    """Writes the row of each run, over an older one of the same experiment, seed and kind of hardware.

    Returns:
      A line for each run.

    Raises:
      UsageError: a workdir without a run. RunFailure: a run without a line of metrics and without
        `evaluation.json`, or a file of rows that is damaged.
    """
    rows = [row_of(runs.read(workdir)) for workdir in workdirs]
    folder.mkdir(parents=True, exist_ok=True)
    said = []
    for workdir, row in zip(workdirs, rows, strict=True):
        path = folder / f"{row['config']}.jsonl"
        kept = [old for old in read_rows(path) if _key(old) != _key(row)] if path.exists() else []
        kept = sorted([*kept, row], key=lambda each: (each["experiment"], each["seed"], each["hardware"]))
        files.write_text(path, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in kept))
        said.append(f"{printable(str(workdir))}: {printable(row['experiment'])}, written to {path}")
    return said


def _key(row: Mapping[str, Any]) -> tuple[str, int, str]:
    return row["experiment"], row["seed"], _kind(row)


def _kind(row: Mapping[str, Any]) -> str:
    """The hardware without the number of its cores, which changes the time of a run and not its result."""
    return re.sub(r", \d+ cores?$", "", str(row["hardware"]))


def row_of(run: runs.RunFiles) -> dict[str, Any]:
    """What a run's files say about it, with the keys of `ROW`.

    `values`: errors as fractions of `evaluation.json`, the last training error, epochs to 25 % of it and
    until the training loss is 2 % below ln(classes);
    `curve`: [epoch, training error] from the first to the last, thinned; `evaluation`: over how many
    pictures and views; `seconds`: of training steps, None where nobody knows.

    Raises:
      RunFailure: there is nothing to say.
    """
    evaluation = run.evaluation or {}
    values = {
        name: runs.number(evaluation.get(name)) for name in ("top1_error", "top5_error", "mean_class_error")
    }
    training = list(zip(*runs.curve(run.metrics, "train/top1_error"), strict=True))
    values["train_top1_error"] = training[-1][1] if training else None
    values["epochs_to_25_percent"] = runs.epochs_to(run.metrics, TARGET)
    left = (1 - configuration.FLAT) * math.log(max(run.config.model.classes, 1))
    values["epochs_to_learn"] = runs.epochs_to(run.metrics, left, "train/loss")
    values["specialisation"] = _of_page(run.workdir).get("specialisation")
    values = {name: value for name, value in values.items() if value is not None}
    if not values:
        raise RunFailure(
            f"{run.workdir} holds no metrics.jsonl and no evaluation.json: train and evaluate it"
        )
    base, changes = nearest_config(run.config)
    words = [f"--config.{key}={_word(value)}" for key, value in changes.items()]
    command = ["python -m alexnet_jax.main", f"--config=configs/{base}.py", *words]
    views = evaluation.get("views")
    found = published.find(run.config, views) if views else ()
    return {
        "experiment": " ".join([base, *(word.removeprefix("--config.") for word in words)]),
        "config": base,
        "seed": int(run.config.seed),
        "activation": run.config.model.get("activation"),
        "values": values,
        "curve": [[round(epoch, 3), round(error, 4)] for epoch, error in _thinned(training)],
        "evaluation": {key: evaluation[key] for key in ("split", "views", "examples") if key in evaluation},
        "epochs": max(runs.curve(run.metrics, "learning_rate")[0], default=None),
        "hardware": str(run.beside.get("hardware", "not recorded")),
        "versions": dict(run.beside.get("versions", {})),
        "seconds": runs.training_seconds(run.metrics, run.config.data.batch_size),
        "command": " ".join([*command, f"--config.seed={run.config.seed}"]),
        "published": {
            name: {"value": value, "source": row.source}
            for row in found
            for name, value in (("top1_error", row.top1_error), ("top5_error", row.top5_error))
            if value is not None
        },
    }


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Every n-th point up to the last, at most `POINTS`."""
    every = -(-len(points) // POINTS)
    return list(points[::-every][::-1]) if points else []


def _of_page(workdir: Path) -> dict[str, Any]:
    """Numbers that `report` computed for its page, {} before it ran."""
    try:
        tree = json.loads((workdir / "report" / "report.json").read_text(encoding="utf-8"))
        return {name: runs.number(value) for name, value in tree.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def nearest_config(config: ConfigDict) -> tuple[str, dict[str, Any]]:
    """The config of configs/ that differs in the fewest keys from a run's, and these keys."""
    own = _flat(config)
    best: tuple[str, dict[str, Any]] | None = None
    for module in pkgutil.iter_modules(configs.__path__):
        known = _flat(importlib.import_module(f"configs.{module.name}").get_config())
        changes = {
            key: own[key]
            for key in sorted(own)
            if key not in _FREE and (key not in known or known[key] != own[key])
        }
        if changes.get("train.init_from"):
            changes["train.init_from"] = f"runs/{Path(changes['train.init_from']).name}"
        if best is None or len(changes) < len(best[1]):
            best = module.name, changes
    assert best is not None
    return best


def _flat(config: ConfigDict) -> dict[str, Any]:
    """`config` by keys that the command line can change: layers' own rules are one."""
    rules = "optimizer.per_layer"
    flat = {key: value for key, value in configuration.flatten(config).items() if not key.startswith(rules)}
    return flat | {rules: config.optimizer.per_layer.to_dict()}


def _word(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if set(text) & set(" ()[]{}*'") else text


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of one file.

    Raises:
      RunFailure: a line is not a row; its number is named.
    """
    rows = []
    for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            missing = [key for key in ROW if key not in row]
            if missing:
                raise ValueError(f"it has no {missing[0]}")
            numbers = [*row["values"].values(), *(x for epoch, error in row["curve"] for x in (epoch, error))]
            if not all(runs.number(value) is not None for value in numbers):
                raise ValueError("a value is not a number")
        except (ValueError, TypeError, AttributeError) as error:
            raise RunFailure(f"{path}, line {place}, is not a recorded result: {error}") from None
        rows.append(row)
    return rows


def write_page(folder: Path = FOLDER, page: Path = PAGE) -> str:
    """Makes the page of all rows in `folder`, and its figure beside them; returns a line that says so.

    Raises:
      UsageError: no rows. RunFailure: a damaged one.
    """
    found = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    rows = [row for path in found for row in read_rows(path)]
    if not rows:
        raise UsageError(f"{folder} holds no results: report --results --workdir=DIR writes a run's")
    compared = _figure_1(_experiments(rows))
    if compared:
        drawn = figures.figure_1(*([row["curve"] for row in group] for group in compared[1:]))
        files.write_text(folder / FIGURE_1, figures.encoded(drawn)["svg"].decode())
    files.write_text(page, table(rows, Path(os.path.relpath(folder, page.parent))))
    return f"{page}: {len(rows)} runs of {len(_experiments(rows))} experiments"


def table(rows: Rows, folder: Path) -> str:
    """The page: what was found beside what was published, then how each was run."""
    made = (
        f"Made by `python -m alexnet_jax.main report --results` from the files in `{folder}/`, a line for "
        "each run. n: runs, each with its own seed ('2 of 3': the third never came to it); spread: their "
        "standard deviation (n - 1), and the smallest to the largest; time: of one run's training steps, "
        "the mean. The loss has left ln(classes) when it is 2 % below; told where that took an epoch or more."
    )
    lines = [
        "# Results",
        "",
        made,
        "",
        "| experiment | value | n | mean | spread | published | time |",
        "|---|---|---|---|---|---|---|",
    ]
    groups = _experiments(rows)
    for group in groups:
        first = True
        for name, (words, share) in VALUES.items():
            values = [float(row["values"][name]) for row in group if name in row["values"]]
            if not _worth_a_line(name, values, group):
                continue
            known = group[0]["published"].get(name)
            beside = f"{_number(known['value'], share)} ({_cell(known['source'])})" if known else ""
            mean = _number(statistics.mean(values), share) if values else "never"
            views = group[0].get("evaluation", {}).get("views")
            if name in ("top1_error", "top5_error") and views:
                words += ", ten views" if views == 10 else ", centre view"
            lines.append(
                f"| {_code(group[0]['experiment']) if first else ''} | {words} | {_count(values, group)} | "
                f"{mean} | {_spread(values, share)} | {beside} | {_time(group) if first else ''} |"
            )
            first = False
    compared = _figure_1(groups)
    if compared:
        lines += ["", compared[0], "", f"![Training error against epochs]({folder / FIGURE_1})"]
    lines += _changes(groups)
    lines += ["", "## How", ""]
    for group in groups:
        seeds = ", ".join(str(row["seed"]) for row in group)
        pictures = {row["evaluation"].get("examples") for row in group if row.get("evaluation")} - {None}
        over = f"; errors over {', '.join(f'{n:,}' for n in sorted(pictures))} pictures" if pictures else ""
        versions = ", ".join(f"{name} {version}" for name, version in group[0]["versions"].items())
        command = group[0]["command"].rpartition(" --config.seed=")[0]
        hardware = " or ".join(dict.fromkeys(_cell(row["hardware"]) for row in group))
        on = f"{hardware}; {_cell(versions) or 'versions not recorded'}"
        lines.append(f"- {_code(group[0]['experiment'])}: {on}; seeds {seeds}{over}.")
        lines.append(f"  {_code(command + ' --config.seed=SEED')}")
    return "\n".join(lines) + "\n"


def _changes(groups: Sequence[Rows]) -> list[str]:
    """What changing some keys of an experiment did: a table, or nothing."""
    lines = []
    for group, other in _pairs([group for group in groups if len(group) > 1]):
        change = " ".join(word for word in _words(other) if word not in _words(group))
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
    said = (
        "Points of error, with the change less without it, of experiments with two seeds and more. In "
        "brackets the 95 % interval of the difference (Welch's t, from the spread over seeds): where it "
        "holds 0, the runs show no difference. Published: whole nets on ImageNet, unless it says otherwise."
    )
    header = ["| experiment | change | value | n | points | | published |", "|---|---|---|---|---|---|---|"]
    return ["", "## What a change did", "", said, "", *header, *lines]


def _pairs(groups: Sequence[Rows]) -> list[tuple[Rows, Rows]]:
    """Experiments, each with those that change further keys of it; not where another stands between."""
    found = []
    for other in groups:
        parts = [group for group in groups if set(_words(group)) < set(_words(other))]
        parts = [group for group in parts if _compares(group, other)]
        nearest = [x for x in parts if not any(set(_words(x)) < set(_words(y)) for y in parts)]
        found += [(group, other) for group in nearest]
    return found


def _words(group: Rows) -> list[str]:
    """The keys and values in which an experiment differs from its config."""
    return shlex.split(group[0]["experiment"])[1:]


def _compares(group: Rows, other: Rows) -> bool:
    """Whether two experiments are of one config, with the same number of views."""
    one, two = group[0], other[0]
    same_views = one.get("evaluation", {}).get("views") == two.get("evaluation", {}).get("views")
    return bool(one["config"] == two["config"] and same_views)


def _figure_1(groups: Sequence[Rows]) -> tuple[str, Rows, Rows] | None:
    """The net trained with ReLU and with tanh, if any: a line, and the runs of each at its best rate."""
    best: dict[str, dict[str, tuple[float, str, Rows]]] = {}
    for group in groups:
        epochs = [row["values"].get("epochs_to_25_percent") for row in group]
        if None in epochs or group[0].get("activation") not in ("relu", "tanh"):
            continue
        words = group[0]["experiment"].split(" ")
        apart = ("model.activation=", "schedule.learning_rate=", "train.epochs=")
        net = " ".join(word for word in words if not word.startswith(apart))
        here = statistics.mean(epochs), group[0]["experiment"], group
        own = best.setdefault(net, {})
        own[group[0]["activation"]] = min(
            here, own.get(group[0]["activation"], here), key=lambda found: found[0]
        )
    for found in best.values():
        if len(found) == 2:
            (relu, name, rows), (tanh, other, others) = found["relu"], found["tanh"]
            said = (
                f"Figure 1: {_code(other)} needs {tanh / relu:.2g} times the epochs of {_code(name)} to 25 % "
                f"training error ({tanh:.3g}, n {len(others)}, and {relu:.3g}, n {len(rows)}; the best rate "
                "of those tried for each). Published: 6 times (paper, figure 1)."
            )
            return said, rows, others
    return None


def _experiments(rows: Rows) -> list[Rows]:
    """Rows of one experiment on one kind of hardware together, with the same number of views."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = row["experiment"], _kind(row), row.get("evaluation", {}).get("views")
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _worth_a_line(name: str, values: Sequence[float], group: Rows) -> bool:
    """Whether there is a value; when a loss left ln(classes) is told if it took an epoch, or never came."""
    if name != "epochs_to_learn":
        return bool(values)
    trained = sum("train_top1_error" in row["values"] for row in group)
    return len(values) < trained or max(values, default=0) >= 1


def _count(values: Sequence[float], group: Rows) -> str:
    return str(len(group)) if len(values) == len(group) else f"{len(values)} of {len(group)}"


def _number(value: float, share: bool) -> str:
    return f"{value:.2%}" if share else f"{value:.3g}"


def _spread(values: Sequence[float], share: bool) -> str:
    if len(values) < 2:
        return ""
    low, high = _number(min(values), share), _number(max(values), share)
    return f"{_number(statistics.stdev(values), share)} ({low} to {high})"


def _time(group: Sequence[Mapping[str, Any]]) -> str:
    seconds = [row["seconds"] for row in group if runs.number(row["seconds"]) is not None]
    return duration(statistics.mean(seconds)) if seconds else ""


def duration(seconds: float) -> str:
    """A time for a person, such as '2.3 h'."""
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


def _cell(text: str) -> str:
    """`text` in a cell of Markdown: what would end the cell or be read as HTML is escaped."""
    plain = printable(str(text)).replace("\\", "\\\\")
    for special in "|<>*_[]`":
        plain = plain.replace(special, "\\" + special)
    return plain


def _code(text: str) -> str:
    return "`" + printable(str(text)).replace("`", "'").replace("|", "\\|") + "`"
