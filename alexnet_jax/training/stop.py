"""An orderly stop by SIGINT or SIGTERM, agreed between the processes of a run."""

import os
import signal
import sys
import threading
from typing import Any, Self

from alexnet_jax import signals
from alexnet_jax.distributed import Group


class Stop:
    """Turn SIGINT and SIGTERM into an orderly stop; a second one ends the process at once.

    Python runs its handlers between two instructions of the main thread, which may be compiling for minutes:
    a thread of its own hears signals through a pipe. Use as a context manager.

    Args:
      group: the run's processes, which all stop where one gets a signal.

    Attributes:
      signal: the signal that came, 0 before.
      agreed: the signal at which the run stops, in all its processes; 0 before.
    """

    def __init__(self, group: Group) -> None:
        self.signal = self.agreed = 0
        self._group = group
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        receiver, self._sender = os.pipe()
        os.set_blocking(self._sender, False)
        threading.Thread(target=self._listen, args=(receiver,), daemon=True).start()
        self._sender_before = signal.set_wakeup_fd(self._sender, warn_on_full_buffer=False)
        for number in signals.not_ignored():
            self._before[number] = signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._sender_before)
        os.close(self._sender)

    def now(self) -> int:
        """Return the signal at which all processes stop here, 0 to continue.

        Each process asks before each program that it runs.
        """
        if not self.agreed:
            self.agreed = self._group.agreed_stop_signal(self.signal)
        return self.agreed

    def _listen(self, receiver: int) -> None:
        while got := os.read(receiver, 1):
            if got[0] in (signal.SIGINT, signal.SIGTERM):
                self._handle(got[0])
        os.close(receiver)

    def _handle(self, number: int) -> None:
        if self.signal:
            os._exit(128 + number)
        self.signal = number
        message = f"\n{signal.Signals(number).name}: saving, then stopping; once more stops at once\n"
        os.write(sys.stderr.fileno(), message.encode())
