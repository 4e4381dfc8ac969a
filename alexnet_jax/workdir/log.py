"""A run's metrics: lines of `metrics.jsonl`, and the same as TensorBoard's events."""

import json
from pathlib import Path

import tensorboardX

from alexnet_jax import files
from alexnet_jax.workdir import layout


class MetricsLog:
    """Write a run's metrics, without the lines of steps after the one at which it resumes.

    Args:
      workdir: the run's folder.
      step: at which the run starts or resumes.
    """

    def __init__(self, workdir: Path, step: int):
        self.path = workdir / layout.METRICS
        if self.path.exists():
            files.write_text(self.path, "".join(f"{line}\n" for line in lines_until(self.path, step)))
        self.events = tensorboardX.SummaryWriter(str(workdir / layout.TENSORBOARD), purge_step=step + 1)

    def write(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """Append one line: `step`, `epoch` and the tags in `values`."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "epoch": round(epoch, 6), **values}) + "\n")
        for tag, value in values.items():
            self.events.add_scalar(tag, value, step)

    def close(self) -> None:
        """Flush the events."""
        self.events.close()


def lines_until(path: Path, step: int) -> list[str]:
    """Return the lines of a `metrics.jsonl` as far as `step`; half lines and damaged ones are left out."""
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return kept
