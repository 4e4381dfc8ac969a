"""What the files of a run's workdir say, read so that a run in progress or a half line stops nothing."""

import contextlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax import config as configuration

Lines = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RunFiles:
    """One run.

    Attributes:
      workdir: its folder.
      config: of `config.json`.
      beside: what else `config.json` holds: class names, hardware and versions, `converted_from`.
      metrics: lines of `metrics.jsonl`, in order of steps; empty for converted weights.
      evaluation: `evaluation.json`, None before `evaluate`.
    """

    workdir: Path
    config: ConfigDict
    beside: dict[str, Any]
    metrics: Lines
    evaluation: dict[str, Any] | None

    @property
    def name(self) -> str:
        """The workdir's own name."""
        return self.workdir.resolve().name


def read(workdir: Path) -> RunFiles:
    """Reads what is there; UsageError without a config.json."""
    config, beside = configuration.load(workdir / "config.json")
    lines: list[dict[str, Any]] = []
    with contextlib.suppress(OSError):
        for text in (workdir / "metrics.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):  # the half line of a run in progress
                line = json.loads(text)
                if isinstance(line, dict) and number(line.get("epoch")) is not None:
                    lines.append(line)
    evaluation = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        tree = json.loads((workdir / "evaluation.json").read_text(encoding="utf-8"))
        evaluation = tree if isinstance(tree, dict) else None
    return RunFiles(workdir, config, beside, lines, evaluation)


def number(value: Any) -> float | None:
    """`value` as a float; None for what is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with contextlib.suppress(OverflowError):
        return float(value) if math.isfinite(value) else None
    return None


def curve(metrics: Lines, tag: str) -> tuple[list[float], list[float]]:
    """Epochs and finite values of one tag."""
    found = [(number(line["epoch"]), number(line.get(tag))) for line in metrics]
    points = [(epoch, value) for epoch, value in found if epoch is not None and value is not None]
    return [epoch for epoch, _ in points], [value for _, value in points]


def drops(metrics: Lines) -> list[tuple[float, float, float]]:
    """(epoch of the last line before, rate before, rate after) wherever the logged learning rate fell."""
    points = zip(*curve(metrics, "learning_rate"), strict=True)
    pairs = itertools.pairwise(points)
    return [(epoch, before, after) for (epoch, before), (_, after) in pairs if after < before]


def epochs_to(metrics: Lines, error: float, tag: str = "train/top1_error") -> float | None:
    """Epochs until a curve is first at or below `error`, on the line between two points; None: never."""
    before: tuple[float, float] | None = None
    for epoch, value in zip(*curve(metrics, tag), strict=True):
        if value <= error:
            if before is None:
                return epoch
            return before[0] + (epoch - before[0]) * (before[1] - error) / (before[1] - value)
        before = epoch, value
    return None


def training_seconds(metrics: Lines, batch_size: int) -> float | None:
    """Seconds spent on training steps, without evaluations: pictures of each line over its rate."""
    seconds, last = 0.0, 0.0
    for line in metrics:
        step, rate = number(line.get("step")), number(line.get("perf/images_per_second"))
        if step is not None and rate:
            seconds += (step - last) * batch_size / rate
            last = step
    return seconds or None


def images_per_second(metrics: Lines) -> float | None:
    """The median rate of the lines; the first, which compiles, counts as one of them."""
    rates = sorted(curve(metrics, "perf/images_per_second")[1])
    return rates[len(rates) // 2] if rates else None
