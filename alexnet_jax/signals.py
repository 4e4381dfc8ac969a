"""SIGINT and SIGTERM while no run handles them."""

import os
import signal
import sys
from types import FrameType

from alexnet_jax import program

RESEND_SECONDS = 2.0  # seconds after which a signal that did not end the program comes again


def not_ignored() -> list[signal.Signals]:
    """Return those of SIGINT and SIGTERM that the program was not started to ignore."""
    both = (signal.SIGINT, signal.SIGTERM)
    return [number for number in both if signal.getsignal(number) != signal.SIG_IGN]


def catch() -> None:
    """Let SIGINT and SIGTERM end the program with exit codes 130 and 143."""
    for number in not_ignored():
        signal.signal(number, _end)
    sys.unraisablehook = _unraisable


def end() -> None:
    """Stop sending a signal again: the program ends here by itself."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def _end(number: int, frame: FrameType | None) -> None:
    """End the program by an exception, so that half-written files are removed; amid an import at once.

    Extension modules that are being imported crash on an exception or make an ImportError of it, and nothing
    is being written then. Elsewhere it is lost where it falls into a callback (JAX has one that runs at each
    collection of garbage) or into a bare `except`: until the program has ended, the signal comes again.
    """
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            os.write(sys.stderr.fileno(), f"{program.name()}: interrupted\n".encode())
            os._exit(128 + number)
        frame = frame.f_back
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
    signal.setitimer(signal.ITIMER_REAL, RESEND_SECONDS)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def _unraisable(what: "sys.UnraisableHookArgs") -> None:
    """Print nothing about an end that fell into a callback: the signal comes again."""
    if what.exc_type not in (KeyboardInterrupt, SystemExit):
        sys.__unraisablehook__(what)
