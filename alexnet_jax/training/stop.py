"""An orderly stop by SIGINT or SIGTERM, agreed between the processes of a run."""

import os
import signal
from collections.abc import Callable
from typing import Any, Self

from alexnet_jax import distributed, signals, streams
from alexnet_jax.distributed import Group


class Stop:
    """Turn SIGINT and SIGTERM into an orderly stop; a second one ends the process at once.

    A stop that makes no progress ends the process, too (`signals.Listener`). Use as a context manager.

    Args:
      group: the run's processes, which all stop where one gets a signal.

    Attributes:
      agreed: the signal at which the run stops, in all its processes; 0 before.
    """

    def __init__(self, group: Group) -> None:
        self.agreed = 0
        self._group = group
        self._listener = signals.Listener(self._handle, distributed.prefix())
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._listener.__enter__()
        for number in signals.not_ignored():
            self._before[number] = signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._listener.__exit__(*error)

    def now(self) -> int:
        """Return the signal at which all processes stop here, 0 to continue.

        Each process asks before each program that it runs, which counts as progress.
        """
        self._listener.progress()
        if not self.agreed:
            self.agreed = self._group.agreed_stop_signal(self._listener.signal)
        return self.agreed

    def count_as_progress(self, measure: Callable[[], object]) -> None:
        """Let a stop count changes of what `measure` returns as progress: it is asked each second."""
        self._listener.measure = measure

    def _handle(self, number: int, again: bool) -> None:
        if again:
            os._exit(128 + number)
        name = signal.Signals(number).name
        streams.say_at_once(f"\n{name}: saving, then stopping; once more stops at once\n")
