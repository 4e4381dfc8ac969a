"""Read the files of runs; a run in progress, a half line and a damaged number stop nothing."""

import contextlib
import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.config import io
from alexnet_jax.errors import UsageError
from alexnet_jax.workdir import layout, log, provenance

MAX_OBJECT_BYTES = 2**24  # of an evaluation of 100,000 classes and of a report
LARGEST = 1e30  # of a number: matplotlib's axes end before 10**308
TARGET_ERROR = 0.25  # training error up to which the paper's figure 1 counts epochs

Lines = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RunFiles:
    """The files of one run.

    Attributes:
      workdir: the run's folder.
      config: the resolved config.
      metadata: what is stored with the config: class names, hardware and versions, `converted_from`.
      metrics: lines of the run's metrics, in order of steps; empty for converted weights.
      evaluation: what `evaluate` wrote as the run's own result, {} before it ran.
    """

    workdir: Path
    config: ConfigDict
    metadata: dict[str, Any]
    metrics: Lines
    evaluation: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the workdir's own name."""
        return self.workdir.resolve().name

    @property
    def has_top5(self) -> bool:
        """Return whether the net has more than five classes; else its top-5 error is always 0."""
        classes = finite_number(self.config.model.get("classes"))
        return classes is None or not 0 < classes <= 5


def read(workdir: Path) -> RunFiles:
    """Read the files of a run that there are.

    Raises:
      UsageError: the folder holds no run's config, or another one than its checkpoints were made with, or an
        `evaluation.json` that is not as it was written.
    """
    files.check_files(workdir, written=False)
    provenance.check_workdir(workdir)
    config, metadata = io.load(workdir / layout.CONFIG)
    lines: list[dict[str, Any]] = []
    with contextlib.suppress(FileNotFoundError):
        objects = map(_json_object, log.read_lines(workdir / layout.METRICS))
        lines = [line for line in objects if finite_number(line.get("epoch")) is not None]
    return RunFiles(workdir, config, metadata, lines, read_evaluation(workdir / layout.EVALUATION))


def read_evaluation(path: Path) -> dict[str, Any]:
    """Return an answer of `evaluate`, {} where there is none; those of earlier versions have no checksum.

    Raises:
      UsageError: its checksum does not hold.
    """
    try:
        return provenance.unsealed(read_object(path))
    except ValueError:
        raise UsageError(f"{path} is not as `evaluate` wrote it: remove it, or evaluate again") from None


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; {} where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        return _json_object(files.read_bounded(path, MAX_OBJECT_BYTES).decode())
    return {}


def _json_object(text: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):  # such as the half line of a run in progress
        tree = json.loads(text)
        return tree if isinstance(tree, dict) else {}
    return {}


def finite_number(value: Any) -> float | None:
    """Return a value as a float; None for what is not a number below 10**30, which no run writes or draws."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with contextlib.suppress(OverflowError):
        return float(value) if abs(value) < LARGEST else None  # and not NaN
    return None


def curve(metrics: Lines, tag: str) -> tuple[list[float], list[float]]:
    """Return the epochs and the values of one tag, where both are finite numbers.

    A value of training is a mean over the steps since the line before. One over fewer steps than most, as at
    the end of an epoch, scatters more: it is joined with the next, each weighted by its steps.
    """
    pairs = [(line, finite_number(line["epoch"]), finite_number(line.get(tag))) for line in metrics]
    points = [(line, epoch, value) for line, epoch, value in pairs if epoch is not None and value is not None]
    steps = [finite_number(line.get("step")) or 0.0 for line, _, _ in points]
    spans = [step - before for before, step in itertools.pairwise([0.0, *steps])]
    if not tag.startswith("train/") or min(spans, default=0.0) <= 0:
        return [epoch for _, epoch, _ in points], [value for _, _, value in points]
    usual, joined, mean, taken = statistics.median(spans), [], 0.0, 0.0
    for (_, epoch, value), span in zip(points, spans, strict=True):
        taken += span
        mean += (value - mean) * (span / taken)
        if taken >= usual or epoch == points[-1][1]:
            joined.append((epoch, mean))
            mean, taken = 0.0, 0.0
    return [epoch for epoch, _ in joined], [value for _, value in joined]


def learning_rate_drops(metrics: Lines) -> list[tuple[float, float, float]]:
    """Return (epoch of the last line before, value before, value after) wherever the learning rate fell."""
    points = zip(*curve(metrics, "learning_rate"), strict=True)
    pairs = itertools.pairwise(points)
    return [(epoch, before, after) for (epoch, before), (_, after) in pairs if after < before]


@dataclass(frozen=True)
class Crossing:
    """Where a curve is first at or below a level.

    Attributes:
      epoch: of the crossing; of the curve's first point, where that is below the level already.
      before: whether the curve crossed the level before `epoch`.
    """

    epoch: float
    before: bool = False

    def __str__(self) -> str:
        """Return the epoch in words."""
        return f"before epoch {self.epoch:.3g}" if self.before else f"{self.epoch:.3g}"


def epochs_to(metrics: Lines, target: float, tag: str = "train/top1_error") -> Crossing | None:
    """Return after how many epochs a curve is first at or below `target`; None if it never is.

    Between two points the curve is a straight line.
    """
    before: tuple[float, float] | None = None
    for epoch, value in zip(*curve(metrics, tag), strict=True):
        if value <= target:
            if before is None:
                return Crossing(epoch, before=True)
            passed = (before[1] - target) / (before[1] - value)
            return Crossing(before[0] + (epoch - before[0]) * passed)
        before = epoch, value
    return None


def training_seconds(metrics: Lines, batch_size: int) -> float | None:
    """Return the seconds spent in training steps, without evaluations; None where no line says.

    They are the images of each line over its images per second.
    """
    seconds, last = 0.0, 0.0
    for line in metrics:
        step, speed = finite_number(line.get("step")), finite_number(line.get("perf/images_per_second"))
        if step is not None and speed:
            seconds += (step - last) * batch_size / speed
            last = step
    return seconds or None


def images_per_second(metrics: Lines) -> float | None:
    """Return the median training speed of the lines, the first included, in which the step was compiled."""
    speeds = sorted(curve(metrics, "perf/images_per_second")[1])
    return speeds[len(speeds) // 2] if speeds else None


def duration(seconds: float) -> str:
    """Return a time in words, such as '2.3 h'."""
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"
