"""Standard output and standard error: closed, full, narrow, or with a reader who has left.

An answer goes to standard output: where it cannot be written, the program ends. What goes to standard error
tells how the work goes: where it cannot be written, it is lost, and the work continues.
"""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Unwritable(Exception):
    """Report that standard output does not take an answer.

    Attributes:
      exit_code: 1; 141 and no message where its reader has left, as programs that SIGPIPE ends have it.
    """

    def __init__(self, error: OSError) -> None:
        """Say why."""
        gone = error.errno == errno.EPIPE
        self.exit_code = 141 if gone else 1
        super().__init__("" if gone else f"standard output cannot be written: {error.strerror}")


class _Answers(io.FileIO):
    """Raise Unwritable once where nothing can be written: what Python flushes as it ends is lost."""

    _lost = False

    def write(self, data: "ReadableBuffer", /) -> int:
        while not self._lost:
            try:
                written = super().write(data)
            except OSError as error:
                self._lost = True
                raise Unwritable(error) from None
            if written is not None:
                return written
            select.select([], [self], [])  # somebody else has set the pipe not to block
        return memoryview(data).nbytes


class _Remarks(io.FileIO):
    """Lose what cannot be written, and what comes after the last line."""

    ended = False

    def write(self, data: "ReadableBuffer", /) -> int:
        with contextlib.suppress(OSError):
            written = None if self.ended else super().write(data)
            if written is not None:
                return written
        return memoryview(data).nbytes


_remarks: _Remarks | None = None  # after `prepare`


def prepare() -> None:
    """Make the standard streams of this process usable; call it once, before anything else is opened.

    A closed one leads nowhere from now on: a file that took its number would get what is printed. What the
    encoding of a stream does not have is written as an escape.
    """
    global _remarks
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = _text(_Answers(1, "w", closefd=False), sys.stdout)
    _remarks = _Remarks(2, "w", closefd=False)
    sys.stderr = _text(_remarks, sys.stderr)
    sys.unraisablehook = _without_closed_loops(sys.unraisablehook)


def _text(raw: io.FileIO, before: TextIO | None) -> io.TextIOWrapper:
    """Return a text stream in the place of Python's own."""
    unbuffered = bool(getattr(before, "write_through", False))
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=raw.isatty() or raw.fileno() == 2,
        write_through=unbuffered,
    )


def _without_closed_loops(
    show: Callable[["sys.UnraisableHookArgs"], object],
) -> Callable[["sys.UnraisableHookArgs"], None]:
    """Return `show`, but for what threads in C++ tell an event loop that is closed.

    TensorStore's do where a save has failed, each once for an array; the save itself raises why.
    """

    def hook(what: "sys.UnraisableHookArgs") -> None:
        if what.object is not None or str(what.exc_value) != "Event loop is closed":
            show(what)

    return hook


def say_last(line: str) -> None:
    """Print the line that explains an end; nothing of Python's follows it on standard error.

    What a failure leaves behind (files, coroutines, threads of libraries) complains while it is torn down.
    """
    print(line, file=sys.stderr, flush=True)
    if _remarks is not None:
        _remarks.ended = True


def say_at_once(text: str) -> None:
    """Write to standard error from any thread and without waiting; where it does not take it, it is lost.

    Args:
      text: at most a few lines: a pipe that takes anything takes 4 KiB.
    """
    with contextlib.suppress(OSError):
        ready = select.poll()
        ready.register(2, select.POLLOUT)
        if ready.poll(0):
            os.write(2, text.encode(errors="backslashreplace"))
