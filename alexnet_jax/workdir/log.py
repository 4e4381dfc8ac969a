"""A run's metrics: lines of `metrics.jsonl`, and the same as TensorBoard's events."""

import json
import sys
from pathlib import Path
from typing import Any

from alexnet_jax import extras, files
from alexnet_jax.errors import UsageError
from alexnet_jax.workdir import layout

MAX_BYTES = 2**28  # a million lines


class MetricsLog:
    """Write a run's metrics, without the lines of steps after the one at which it resumes.

    Without tensorboardX there are no events, and a line says so: all of it is in `metrics.jsonl`, too.

    Args:
      workdir: the run's folder.
      step: at which the run starts or resumes.
    """

    def __init__(self, workdir: Path, step: int):
        self.path = workdir / layout.METRICS
        if self.path.exists():
            files.write_text(self.path, "".join(f"{line}\n" for line in lines_until(self.path, step)))
        self.events: Any = None
        if extras.missing("tensorboard"):
            words = f"no events for TensorBoard, which need tensorboardX: {extras.install('tensorboard')}"
            print(words, file=sys.stderr)
            return
        from tensorboardX import SummaryWriter

        self.events = SummaryWriter(str(workdir / layout.TENSORBOARD), purge_step=step + 1)

    def write(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """Append one line: `step`, `epoch` and the tags in `values`."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "epoch": round(epoch, 6), **values}) + "\n")
        for tag, value in values.items() if self.events is not None else ():
            self.events.add_scalar(tag, value, step)

    def close(self) -> None:
        """Flush the events."""
        if self.events is not None:
            self.events.close()


def read_lines(path: Path) -> list[str]:
    """Return all lines of a `metrics.jsonl`, damaged ones too.

    Raises:
      FileNotFoundError: it is missing. UsageError: it cannot be read, or is larger than any run's.
    """
    try:
        return files.read_bounded(path, MAX_BYTES).decode(errors="replace").splitlines()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise UsageError(f"the metrics cannot be read: {error}") from None


def lines_until(path: Path, step: int) -> list[str]:
    """Return the lines of a `metrics.jsonl` as far as `step`; half lines and damaged ones are left out."""
    kept = []
    for line in read_lines(path):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return kept
