"""A run's metrics: lines of `metrics.jsonl`, and the same as TensorBoard's events."""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from alexnet_jax import extras, files
from alexnet_jax.errors import UsageError
from alexnet_jax.workdir import layout

MAX_BYTES = 2**28  # a million lines
FLUSH_SECONDS = 30.0  # after which TensorBoard sees an event


class MetricsLog:
    """Write a run's metrics, without the lines of what a run that resumes will do again.

    Without tensorboardX there are no events, and a line says so: all of it is in `metrics.jsonl`, too.

    Args:
      workdir: the run's folder.
      step: at which the run starts or resumes.
      evaluated_step: of the last validation that the checkpoint knows of: a process that was killed between
        writing the line of one and noting it there left a line that comes again.
    """

    def __init__(self, workdir: Path, step: int, evaluated_step: int):
        self.path = workdir / layout.METRICS
        if self.path.exists():
            kept = lines_until(self.path, step, evaluated_step)
            files.write_text(self.path, "".join(f"{line}\n" for line in kept))
        self.events: Any = None
        if extras.missing("tensorboard"):
            words = f"no events for TensorBoard, which need tensorboardX: {extras.install('tensorboard')}"
            print(words, file=sys.stderr)
            return
        self.events = _Events(workdir / layout.TENSORBOARD, step)

    def write(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """Append one line: `step`, `epoch` and the tags in `values`."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "epoch": round(epoch, 6), **values}) + "\n")
        if self.events is not None:
            self.events.write(step, values)

    def close(self) -> None:
        """Close the file of events."""
        if self.events is not None:
            self.events.close()


class _Events:
    """Write TensorBoard's events.

    tensorboardX's own SummaryWriter writes them in a thread: on a full disk that ends with a traceback, and
    nobody is told. It also needs semaphores, which a machine without /dev/shm does not have.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import scalar

        folder.mkdir(exist_ok=True)
        self._new_event, self._scalar = Event, scalar
        self._file, self._flushed = EventsWriter(str(folder / "events")), -math.inf
        # Those of later steps, from before the run was resumed, TensorBoard leaves out.
        self._write(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append the values of a step; those of the last seconds may not be on disk yet."""
        for tag, value in values.items():
            self._write(step=step, summary=self._scalar(tag, value))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is not on disk yet."""
        self._file.close()

    def _write(self, **fields: Any) -> None:
        self._file.write_event(self._new_event(wall_time=time.time(), **fields))


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


def lines_until(path: Path, step: int, evaluated_step: int) -> list[str]:
    """Return the lines of a `metrics.jsonl` as far as `step`; half lines and damaged ones are left out.

    Args:
      path: of the file.
      step: the last whose lines are kept.
      evaluated_step: the last whose validation is kept.
    """
    kept = []
    for line in read_lines(path):
        try:
            values = json.loads(line)
            if values["step"] <= (evaluated_step if "val/loss" in values else step):
                kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return kept
