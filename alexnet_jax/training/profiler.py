"""Trace some steps of a run for TensorBoard's profiler."""

import sys
from pathlib import Path
from typing import Any

import jax

SKIPPED_STEPS = 3  # steps that compile and fill queues


class Profiler:
    """Trace `steps` steps of a run, from the third after its start on; do nothing where `steps` is 0."""

    def __init__(self, folder: Path, steps: int, start: int):
        self.folder, self.first = folder, start + SKIPPED_STEPS
        self._steps, self._tracing = steps, False

    @property
    def steps(self) -> tuple[int, ...]:
        """Return the steps after which the trace begins and ends; none where there is none."""
        return (self.first, self.first + self._steps) if self._steps else ()

    def before(self, step: int, state: Any) -> None:
        """Begin the trace where its first step comes next; `state` is that of the step before."""
        if self._steps and step == self.first:
            jax.block_until_ready(state)  # the steps before are not part of the trace
            jax.profiler.start_trace(str(self.folder))
            self._tracing = True

    def after(self, step: int, state: Any) -> None:
        """End the trace after its last step."""
        if self._tracing and step == self.first + self._steps:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
            self._tracing, self._steps = False, 0

    def close(self) -> None:
        """End a trace that the end of the run cuts off; print a message where none was begun."""
        if self._tracing:
            jax.profiler.stop_trace()
        elif self._steps:
            print(
                f"--profile: the run ended before step {self.first}, where the trace begins", file=sys.stderr
            )
