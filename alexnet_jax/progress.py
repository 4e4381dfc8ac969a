"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import json
import sys
import time
from types import TracebackType
from typing import Any, Self

import tqdm

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Count `total` items of work and show their rate and the time left on standard error.

    Use as a context manager. On a terminal it is a tqdm bar; elsewhere a line at most every 15
    seconds and one at the end, so that a log file stays readable.

    Args:
      what: the name of the work, such as 'evaluate'.
      total: how many items there are, None when nobody knows yet.
      unit: the plural name of an item, such as 'images'.
      initial: items already done, when work is resumed.
      shown: False makes it silent (every process but the first).
    """

    def __init__(self, what: str, total: int | None, unit: str, initial: int = 0, shown: bool = True):
        self.what, self.total, self.unit, self.done, self.initial = what, total, unit, initial, initial
        self.shown = shown = shown and sys.stderr is not None  # a program without a console has none
        self.started = self.last_line = time.monotonic()
        self.done_in_line = -1  # of the last line
        self.first: tuple[float, int] | None = None  # when the first items were done, and how many
        self.bar: tqdm.tqdm | None = None
        if shown and sys.stderr.isatty():
            self.bar = tqdm.tqdm(
                total=total, desc=what, unit=f" {unit}", initial=initial, dynamic_ncols=True, smoothing=0.1
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.shown and kind is None and self.done != self.done_in_line:
            self._line()

    def update(self, items: int, note: str = "") -> None:
        """Count `items` more; `note` is shown after the count."""
        self.done += items
        if self.first is None:
            self.first = time.monotonic(), self.done
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(items)
        elif self.shown and time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self._line(note)

    def expect(self, total: int) -> None:
        """Set how many items there will be, as far as it is known by now."""
        self.total = total
        if self.bar is not None:
            self.bar.total = total

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self.shown:
            return
        if self.bar is not None:
            self.bar.clear()
        print(text, file=sys.stderr, flush=True)
        if self.bar is not None:
            self.bar.refresh()

    def _line(self, note: str = "") -> None:
        self.last_line, self.done_in_line = time.monotonic(), self.done
        rate = (self.done - self.initial) / max(self.last_line - self.started, 1e-9)
        of = f"/{self.total}" if self.total is not None else ""
        left = ""
        first, done_then = self.first or (self.last_line, self.done)
        # By the rate after the first items, before which a program is compiled.
        if self.total is not None and done_then < self.done < self.total:
            seconds = (self.last_line - first) / (self.done - done_then) * (self.total - self.done)
            left = f", {seconds:.0f} s to go"
        tail = f", {note}" if note else ""
        speed = f"{rate:.0f}" if rate > 9.95 else f"{rate:.2f}"
        print(f"{self.what}: {self.done}{of} {self.unit}, {speed}/s{left}{tail}", file=sys.stderr, flush=True)


def print_json(value: Any, indent: int | None = None) -> None:
    """Print a value to standard output as JSON that any reader takes.

    It is UTF-8 without what a terminal should not get; all that is not ASCII is escaped where standard output
    has another encoding. The bytes of a file's name that are no UTF-8 are escapes, which `os.fsencode` turns
    into the same bytes again. What is no number is null.
    """
    value = json.loads(json.dumps(value), parse_constant=lambda _: None)
    utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    print(printable_json(value, indent) if utf8 else json.dumps(value, indent=indent))


def printable_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON for a terminal: `printable`, with the escapes of JSON."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def printable(text: str) -> str:
    """Return `text` with control, direction and other unprintable characters as escapes, for a terminal."""
    if text.isprintable():  # nearly always, and quick
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
