"""Record finished runs: the first half of the verb `report --results`.

A finished run writes its row of JSON into `docs/results/<config>.jsonl`; `results_page` makes its page of
these files alone, so that nobody types a number. An experiment is a config of configs/ and the keys in which
the run differs from it, without the seed and what changes no result.
"""

import dataclasses
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.config import compatibility, find, schema
from alexnet_jax.errors import RunFailure
from alexnet_jax.progress import printable
from alexnet_jax.report import published, runs
from alexnet_jax.workdir import layout

FOLDER = Path("docs/results")
ROW_KEYS = (
    *("experiment", "config", "seed", "values", "curve", "hardware", "versions", "seconds", "command"),
    "published",
)
MAX_CURVE_POINTS = 200  # of a row

# Keys that change no result, with those that say where things lie.
_WITHOUT_EFFECT = ("seed", *(key for key in compatibility.MAY_CHANGE if key != "train.epochs"))


def record(workdirs: Sequence[Path], folder: Path = FOLDER) -> list[str]:
    """Write the rows of runs, over older ones of the same experiment, seed, views and kind of hardware.

    Where a run was evaluated with another number of views than its config's, too, that is a row of its own.

    Returns:
      A line for each row.

    Raises:
      UsageError: a workdir without a run.
      RunFailure: a run that has neither metrics nor an evaluation, or a damaged file of rows.
    """
    rows = [(workdir, row) for workdir in workdirs for row in _rows_of(runs.read(workdir))]
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for workdir, row in rows:
        path = folder / f"{row['config']}.jsonl"
        kept = [old for old in read_rows(path) if not _replaces(row, old)] if path.exists() else []
        kept = sorted([*kept, row], key=_order)
        files.write_text(path, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in kept))
        evaluated = f", views {views(row)}" if views(row) else ""
        lines.append(
            f"{printable(str(workdir))}: {printable(row['experiment'])}{evaluated}, written to {path}"
        )
    return lines


def _order(row: Mapping[str, Any]) -> tuple[str, int, str, int]:
    return row["experiment"], row["seed"], row["hardware"], views(row) or 0


def _replaces(row: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Return whether an older row is of the same run, evaluated with as many views or not at all."""
    same = all(each(row) == each(old) for each in (itemgetter("experiment", "seed"), hardware_kind))
    return same and views(old) in (views(row), None)


def views(row: Mapping[str, Any]) -> Any:
    """Return with how many views of an image a row's errors are, None where it has none."""
    return row.get("evaluation", {}).get("views")


def held_out(row: Mapping[str, Any]) -> bool:
    """Return whether a row's errors are of training images that were held out, as in a search for a rate."""
    return str(row.get("evaluation", {}).get("split")).startswith("train")


def hardware_kind(row: Mapping[str, Any]) -> str:
    """Return a row's hardware without the number of cores, which changes a run's time and not its result."""
    return re.sub(r", \d+ cores?$", "", str(row["hardware"]))


def _rows_of(run: runs.RunFiles) -> list[dict[str, Any]]:
    """Return the row of a run's own evaluation and, where there is one, of that with other views alone."""
    own, other = row_of(run), runs.read_evaluation(run.workdir / layout.OTHER_EVALUATION)
    changed = other.get("changed")
    alike = all(other.get(key) == run.evaluation.get(key) for key in ("dataset", "split", "checkpoints"))
    if not isinstance(changed, dict) or changed.keys() != {"views"} or not alike:
        return [own]
    return [own, row_of(dataclasses.replace(run, evaluation=other))]


def row_of(run: runs.RunFiles) -> dict[str, Any]:
    """Return what a run's files say about it, with the keys of `ROW_KEYS`.

    `values`: errors of the evaluation as fractions, the last training error, and the epochs until it is 25 %
    and until the training loss is 2 % below ln(classes); `before`: those of these epochs that are the run's
    first line, which is below already; `curve`: [epoch, training error] from the first to the last, thinned;
    `evaluation`: over how many images and views; `images`: in an epoch; `seconds`: of training steps. The
    last two are None where the files do not say.

    Raises:
      RunFailure: the files hold none of the values.
    """
    training = list(zip(*runs.curve(run.metrics, "train/top1_error"), strict=True))
    every = -(-len(training) // MAX_CURVE_POINTS) or 1
    thinned = training[::-every][::-1]  # the last point is one of them
    learned = (1 - schema.FLAT_LOSS_TOLERANCE) * math.log(max(run.config.model.classes, 1))
    report = runs.read_object(run.workdir / layout.REPORT / layout.REPORT_DATA)
    report = {} if report.get("changed") else report  # of another net than the run's own
    errors = ("top1_error", "top5_error", "mean_class_error")
    numbers = {name: runs.finite_number(run.evaluation.get(name)) for name in errors} | {
        "train_top1_error": training[-1][1] if training else None,
        "specialisation": runs.finite_number(report.get("specialisation")),
    }
    reached = {
        "epochs_to_25_percent": runs.epochs_to(run.metrics, runs.TARGET_ERROR),
        "epochs_to_learn": runs.epochs_to(run.metrics, learned, "train/loss"),
    }
    crossings = {name: crossing for name, crossing in reached.items() if crossing}
    numbers |= {name: crossing.epoch for name, crossing in crossings.items() if not crossing.before}
    values = {name: value for name, value in numbers.items() if value is not None}
    if not values:
        raise RunFailure(
            f"{run.workdir} holds no {layout.METRICS} and no {layout.EVALUATION}: train and evaluate it"
        )
    base, changes = nearest_config(run.config)
    words = [f"{key}={_shell_word(value)}" for key, value in changes.items()]
    with_views = run.evaluation.get("views")
    return {
        "experiment": " ".join([base, *words]),
        "config": base,
        "seed": int(run.config.seed),
        "activation": run.config.model.get("activation"),
        "values": values,
        "before": {name: crossing.epoch for name, crossing in crossings.items() if crossing.before},
        "curve": [[round(epoch, 3), round(error, 4)] for epoch, error in thinned],
        "evaluation": {
            key: run.evaluation[key] for key in ("split", "views", "examples") if key in run.evaluation
        },
        "images": _images_of_an_epoch(run),
        "epochs": max(runs.curve(run.metrics, "learning_rate")[0], default=None),
        "hardware": str(run.metadata.get("hardware", "not recorded")),
        "versions": dict(run.metadata.get("versions", {})),
        "seconds": runs.training_seconds(run.metrics, run.config.data.batch_size),
        "command": command(base, words, run.config.seed),
        "published": {
            name: {"value": value, "source": row.source}
            for row in (published.find(run.config, with_views) if with_views else ())
            for name, value in (("top1_error", row.top1_error), ("top5_error", row.top5_error))
            if value is not None
        },
    }


def command(config: str, changes: Sequence[str], seed: int | str) -> str:
    """Return how a run is started.

    Args:
      config: the name of one of configs/.
      changes: 'key=value' of each key that differs, as a shell reads them.
      seed: of the run.
    """
    flags = " ".join(f"--config.{word}" for word in [*changes, f"seed={seed}"])
    return f"python -m alexnet_jax.main --config=configs/{config}.py {flags}"


def _images_of_an_epoch(run: runs.RunFiles) -> int | None:
    epochs, steps = runs.curve(run.metrics, "step")
    return round(steps[-1] * run.config.data.batch_size / epochs[-1]) if steps and epochs[-1] else None


def nearest_config(config: ConfigDict) -> tuple[str, dict[str, Any]]:
    """Return the config that a run was most likely made by, and in what the run differs from it.

    Args:
      config: the run's resolved config.

    Returns:
      The name of the config of configs/ that differs in the fewest keys, and {'section.key': the run's value}
      of these keys.
    """
    own = _flatten(config)
    free = {*_WITHOUT_EFFECT, *compatibility.without_effect(config)}
    differences = {}
    for name, path in find.config_files().items():
        known = _flatten(find.load_file(path))
        differences[name] = {
            key: value
            for key, value in own.items()
            if key not in free and (key not in known or known[key] != value)
        }
    nearest, changes = min(differences.items(), key=lambda item: len(item[1]))
    return nearest, changes


def _flatten(config: ConfigDict) -> dict[str, Any]:
    """Return {'section.key': value} of the keys that the command line can change, in order of names.

    The layers' rules are one of them. Of the folder of the net that a run starts from there is the name
    alone: where it lies changes nothing.
    """
    rules = "optimizer.per_layer"
    flat = {key: value for key, value in compatibility.flatten(config).items() if not key.startswith(rules)}
    folder = Path(flat["train.init_from"])
    if folder.is_absolute():
        flat["train.init_from"] = f"runs/{folder.name}"
    return dict(sorted((flat | {rules: config.optimizer.per_layer.to_dict()}).items()))


def _shell_word(value: Any) -> str:
    """Return a value as a shell reads it: the command is copied, and nothing in a value may be run."""
    text = str(value)
    if set(text) & set('"$`\\!\r\n'):
        return shlex.quote(text)
    return f'"{text}"' if set(text) & set(" ()[]{}*'<>|&;#~?") else text


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of one file.

    Raises:
      RunFailure: a line is not a row; its number is named.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            missing = [key for key in ROW_KEYS if key not in row]
            if missing:
                raise ValueError(f"it has no {missing[0]}")
            numbers = [*row["values"].values(), *(x for epoch, error in row["curve"] for x in (epoch, error))]
            numbers += row.get("before", {}).values()
            numbers += [row[key] for key in ("images", "epochs") if row.get(key) is not None]
            if not all(runs.finite_number(value) is not None for value in numbers):
                raise ValueError("a value is not a number")
        except (ValueError, TypeError, AttributeError) as error:
            raise RunFailure(f"{path}, line {number}, is not a recorded result: {error}") from None
        rows.append(row)
    return rows
