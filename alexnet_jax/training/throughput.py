"""Measure the steps of training: their sums, their time, and how long the device waits for input."""

import collections
import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import NoReturn

import jax
import numpy as np
from jax.sharding import Mesh

from alexnet_jax.data.batch import Batch
from alexnet_jax.evaluation import metrics
from alexnet_jax.model import sharding

IN_FLIGHT = 2  # dispatches that may wait on the device while the host prepares the next


class Window:
    """Collect the steps since the last line of the log: their sums, still on the device, and their time.

    Attributes:
      sums: the sums of each dispatch, and how many steps it made.
      losses: the mean loss of each step of the last closed window.
      mean_loss: the mean loss of the last closed window.
      note: its mean loss and top-1 error, for the progress bar.
      seconds: how long it took.
      waited: for how long of that the device waited for input.
    """

    def __init__(self) -> None:
        self.sums: list[tuple[metrics.Sums, int]] = []
        self.losses: list[float] = []
        self.note = ""
        self.mean_loss = math.nan
        self.seconds = self.waited = 0.0
        self._started = time.monotonic()
        self._waiting = 0.0
        self._latest: metrics.Sums | None = None

    def add(self, sums: metrics.Sums, steps: int = 1) -> None:
        """Add a dispatch; wait until no more than `IN_FLIGHT` are unfinished.

        Args:
          sums: scalars of one step, or arrays of several.
          steps: how many it made, the first of the arrays.
        """
        self.sums.append((sums, steps))
        self._latest = sums
        if len(self.sums) > IN_FLIGHT:
            jax.block_until_ready(self.sums[-1 - IN_FLIGHT][0])

    def wait_for_input(self, seconds: float) -> None:
        """Count a wait of the host as one of the device where the device has nothing left to do."""
        if self._latest is None or self._latest.loss.is_ready():  # type: ignore[attr-defined]
            self._waiting += seconds

    def restart(self) -> None:
        """Restart the clock: the time since the last step was not training."""
        self._started = time.monotonic()

    def close(self, step: int, fail: Callable[[int], NoReturn]) -> metrics.Averages:
        """Return the averages of the window, which ends at `step`, and begin a new one.

        Args:
          step: the number of the last step in the window.
          fail: called with the number of the first step whose loss is not finite.
        """
        values = [
            jax.tree.map(lambda x, steps=steps: np.atleast_1d(x)[:steps], sums)
            for sums, steps in jax.device_get(self.sums)
        ]
        sums = jax.tree.map(lambda *parts: np.concatenate(parts), *values)
        wrong = np.flatnonzero(~np.isfinite(sums.loss))
        if len(wrong):
            fail(step - len(sums.loss) + int(wrong[0]) + 1)
        now = time.monotonic()
        self.seconds, self._started = now - self._started, now
        self.waited, self._waiting = self._waiting, 0.0
        self.sums = []
        self.losses = (sums.loss.astype(np.float64) / sums.count).tolist()
        averages = metrics.average([sums])
        self.mean_loss = averages.loss
        self.note = f"loss {averages.loss:.3f}, error {averages.top1_error:.1%}"
        return averages

    def rates(self, images: int) -> dict[str, float]:
        """Return tags of the log for the throughput of the last closed window, which had `images` images."""
        seconds = max(self.seconds, 1e-9)
        return {
            "perf/images_per_second": images / seconds,
            "perf/input_wait_fraction": min(self.waited / seconds, 1.0),
        }


def batches_ahead(
    batches: Iterator[Batch[np.ndarray]], mesh: Mesh, window: Window, stacked: bool = False
) -> Generator[Batch[jax.Array], None, None]:
    """Yield batches on the device; the next one is copied there while one is used.

    `stacked`: each holds those of a dispatch, as `dispatch.stacked` gives them.
    """
    queue: collections.deque[Batch[jax.Array]] = collections.deque()
    while True:
        started = time.monotonic()
        try:
            host = next(batches)
        except StopIteration:
            break
        window.wait_for_input(time.monotonic() - started)
        queue.append(sharding.to_device(host, mesh, stacked))
        if len(queue) == 2:
            yield queue.popleft()
    yield from queue
