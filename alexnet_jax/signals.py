"""SIGINT and SIGTERM: how they end the program, and the last resort where it does not end."""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Self

from alexnet_jax import program, streams

RESEND_SECONDS = 2.0  # seconds after which a signal that did not end the program comes again
# After a signal without progress, at which the process ends; and such a time of work alone, as a compilation.
STALLED_SECONDS, BUSY_SECONDS = 30.0, 600.0
# In which a signal that comes twice is one: `timeout` and launchers send it to a process and to its group.
TWICE_SECONDS = 0.5
# The longest that the watching thread waits for a processor: beyond, the whole process was stopped.
LATE_SECONDS = 5.0

_outermost: "Listener | None" = None  # that of the program
_received = 0  # the first signal that a listener heard


def not_ignored() -> list[signal.Signals]:
    """Return those of SIGINT and SIGTERM that the program was not started to ignore."""
    both = (signal.SIGINT, signal.SIGTERM)
    return [number for number in both if signal.getsignal(number) != signal.SIG_IGN]


def catch() -> None:
    """Let SIGINT and SIGTERM end the program with exit codes 130 and 143."""
    for number in not_ignored():
        signal.signal(number, _end)
    sys.unraisablehook = _unraisable


def watch() -> None:
    """End the program some time after a signal even where the main thread never comes back to Python.

    This starts a thread, the last resort of `Listener`, where `catch` was called.
    """
    global _outermost
    if _outermost is None and any(signal.getsignal(number) is _end for number in not_ignored()):
        _outermost = Listener(lambda number, again: None).__enter__()


def exit_code(otherwise: int) -> int:
    """Return the code of the signal at which this process is ending, `otherwise` where there was none."""
    return 128 + _received if _received else otherwise


def end() -> None:
    """Stop sending a signal again: the program ends here by itself."""
    signal.setitimer(signal.ITIMER_REAL, 0)


class Listener:
    """Hear SIGINT and SIGTERM in a thread, and end the process where it makes no progress after one.

    Python runs its handlers between two instructions of the main thread, which may be compiling for minutes,
    or wait for ever: for another process, for a disk, for memory. The thread hears signals through a pipe.
    After the first, the process ends at once, with the signal's exit code and a line, when nothing has told
    of `progress` and `measure` has not changed for `STALLED_SECONDS` in which the process did not compute
    either, however little of a processor it got; computing alone counts for `BUSY_SECONDS`. Time in which the
    whole process was stopped (SIGSTOP, a container that is paused) does not count. Use as a context manager.
    After one that heard a signal the program is to end: the listener of `watch` takes over.

    Args:
      act: called in the thread with each signal, and whether there was one before; with the same one within
        `TWICE_SECONDS` it is not called again.
      prefix: stands before the last line.

    Attributes:
      signal: the first that came, 0 before.
      measure: something that changes while work goes on of which nobody tells, such as the size of a file.
    """

    def __init__(self, act: Callable[[int, bool], None], prefix: str = "") -> None:
        self.signal = 0
        self.measure: Callable[[], object] = int
        self._act, self._prefix = act, prefix
        self._told = self._worked = self._watched = self._first = 0.0
        self._computed = self._open = False
        self._acted = threading.Event()

    def __enter__(self) -> Self:
        self._open = True
        receiver, self._sender = os.pipe()
        os.set_blocking(self._sender, False)
        threading.Thread(target=self._listen, args=(receiver,), daemon=True).start()
        self._sender_before = signal.set_wakeup_fd(self._sender, warn_on_full_buffer=False)
        return self

    def __exit__(self, *error: object) -> None:
        self._open = False
        if self.signal:
            self._acted.wait(1)  # what it says is said before the program ends
        signal.set_wakeup_fd(self._sender_before)
        os.close(self._sender)
        if self.signal and _outermost is not None:
            _outermost.hear(self.signal)

    def progress(self) -> None:
        """Tell that the work continues."""
        self._told = self._worked = time.monotonic()

    def hear(self, number: int) -> None:
        """Act as at a signal."""
        os.write(self._sender, bytes([number]))

    def _listen(self, receiver: int) -> None:
        ready = select.poll()
        ready.register(receiver, select.POLLIN)
        while True:
            if not ready.poll(1000 if self.signal else None):
                self._watch_progress()
                continue
            got = os.read(receiver, 1)
            if not got:
                break
            if got[0] in (signal.SIGINT, signal.SIGTERM):
                self._heard(got[0])
        os.close(receiver)

    def _heard(self, number: int) -> None:
        global _received
        again = bool(self.signal)
        now = time.monotonic()
        if again and number == self.signal and now - self._first < TWICE_SECONDS:
            return
        if not again:
            self.progress()
            self._watched = self._first = now
            self.signal = _received = number
            with contextlib.suppress(RuntimeError):  # no thread can be started
                threading.Thread(target=self._follow_measure, daemon=True).start()
        self._act(number, again)
        self._acted.set()

    def _follow_measure(self) -> None:
        """Tell of progress where the measure changes: in a thread, since a disk that is gone blocks it."""
        before: object = None
        while self._open:
            with contextlib.suppress(OSError):
                measured = self.measure()
                if measured != before:
                    self.progress()
                before = measured
            time.sleep(1)

    def _watch_progress(self) -> None:
        """End the process where its work stands still."""
        now, computed = time.monotonic(), False
        stopped = max(now - self._watched - LATE_SECONDS, 0)
        self._told, self._worked, self._watched = self._told + stopped, self._worked + stopped, now
        with contextlib.suppress(OSError):
            computed = _computes()
        if computed and self._computed:  # twice: threads that wait wake up for a moment
            self._worked = now
        self._computed = computed
        for since, limit in ((self._worked, STALLED_SECONDS), (self._told, BUSY_SECONDS)):
            if now - since > limit:
                streams.say_at_once(
                    f"\n{program.name()}: {self._prefix}{signal.Signals(self.signal).name}: no progress for "
                    f"{limit:.0f} s: ended here\n"
                )
                os._exit(128 + self.signal)


def _computes() -> bool:
    """Return whether a thread but this one runs, or waits for a processor alone."""
    own = str(threading.get_native_id())
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            state = (task / "stat").read_bytes().rpartition(b")")[2].split()[0]
            if task.name != own and state == b"R":
                return True
    return False


def _end(number: int, frame: FrameType | None) -> None:
    """End the program by an exception, so that half-written files are removed; amid an import at once.

    Extension modules that are being imported crash on an exception or make an ImportError of it, and nothing
    is being written then. Elsewhere it is lost where it falls into a callback (JAX has one that runs at each
    collection of garbage) or into a bare `except`: until the program has ended, the signal comes again.
    """
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            streams.say_at_once(f"{program.name()}: interrupted\n")
            os._exit(128 + number)
        frame = frame.f_back
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
    signal.setitimer(signal.ITIMER_REAL, RESEND_SECONDS)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def _unraisable(what: "sys.UnraisableHookArgs") -> None:
    """Print nothing about an end that fell into a callback: the signal comes again."""
    if what.exc_type not in (KeyboardInterrupt, SystemExit):
        sys.__unraisablehook__(what)
