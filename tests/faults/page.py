"""Writes docs/RELIABILITY.md, and the figure of the soak, from the rows in docs/reliability/.

  python -m tests.faults.page

Those of faults.jsonl come from `tests.faults.full`, of last_resort.jsonl from `tests.faults.last_resort`, of
soak.jsonl from `tests.faults.soak`.
"""

import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.injections import ROOT, rows

PAGE, FOLDER = ROOT / "docs" / "RELIABILITY.md", ROOT / "docs" / "reliability"
MEASURES = ("memory (MiB)", "open files", "threads", "disk (MiB)")
HEAD = """# Reliability

What happens under faults that were put into real processes and real files. Every row of the first table was
written by the test that its last column names; `python -m tests.faults.full` runs them all. CI runs the same
tests with fewer injections. A mutated file is a good one with bytes changed, cut out or put in; a structured
one follows the grammar of its format, and is nested, shared, huge, repeated or wrong somewhere. Seconds are
of the processor, memory is above that of the resting process. All rows lie in docs/reliability/; `python -m
tests.faults.page` makes this page.

"""
LAST_RESORT = """
## The watchdog of runs that hang

A run that hangs does not stop in order at a signal. Where nothing moves on for 30 s after it, and no thread
computes either, the process ends by itself, with a line and the signal's exit code. Here a part of a real
run was replaced by a call that never comes back, and SIGTERM sent; of two processes one was stopped by
SIGSTOP, and the other got SIGTERM: that one may learn from JAX, before 30 s have passed, that the stopped
one does not answer. Seconds are from the signal to the end of the process; what else the machine computes
adds to them, since waiting for a processor counts as work. Repeat it with `python -m
tests.faults.last_resort --data=DIR`.

"""
SOAK = """
## Soak test

`python -m tests.faults.soak FOLDER --data=DIR --minutes=150` does to runs of the digits at random what the
table names: kills and signals, damaged files, a full disk, another number of devices. After each restart it
checks that the newest checkpoint is as it was written and that the exit code is right, and at its end a run
that stayed on as many devices has the bits of one that nothing disturbed. A row is a piece, stopped before
its minutes were over or not; those that began in the same minute ran side by side on one machine, each with
runs of its own. The last four columns are the largest values.

"""
SOAK_FIGURE = """
![Memory, open files, threads and disk of the runs over the hours of all pieces](reliability/soak.svg)

The figure has the largest value of each minute, but for runs on a small disk; memory falls where a process
ended and another began.
"""


def table(names: tuple[str, ...], lines: list[tuple[Any, ...]]) -> str:
    """Format a table in Markdown."""
    head, *body = (
        "| " + " | ".join(str(c).replace("|", "/") for c in line) + " |\n" for line in (names, *lines)
    )
    return "".join([head, "|---" * len(names) + "|\n", *body])


def faults() -> str:
    """Return what is said about the rows of faults, and their table."""
    about, *found = rows(FOLDER / "faults.jsonl")
    again = "repeat with `ALEXNET_FAULTS=full python -m pytest`"
    names = ("fault", "injections", "promise", "what happened", again)
    keys = ("promise", "happened", "test")
    lines = [(row["fault"], f"{int(row['injections']):,}", *(row[key] for key in keys)) for row in found]
    return f"{about['about']}\n\n" + table(names, lines)


def last_resort(found: list[dict[str, Any]]) -> str:
    """Return the table of the seconds from a signal to the end."""
    lines = []
    for part in dict.fromkeys(row["part"] for row in found):
        own = [row for row in found if row["part"] == part]
        seconds = [row["seconds"] for row in own]
        ends = Counter(f"{row['code']}: {row['line'].partition(': ')[2]}" for row in own)
        lines.append(
            (
                part,
                len(own),
                f"{statistics.median(seconds):.1f}",
                f"{max(seconds):.1f}",
                "; ".join(f"{number} x {end}" for end, number in ends.most_common()),
            )
        )
    when, commits = sorted({row["when"][:10] for row in found}), sorted({row["commit"] for row in found})
    about = f"{' to '.join({when[0]: 0, when[-1]: 0})}, commit {', '.join(commits)}.\n\n"
    names = ("what hangs", "times", "seconds, median", "largest", "exit code and last line")
    return about + table(names, lines)


def soak(pieces: list[dict[str, Any]]) -> str:
    """Return the table of the pieces of the soak, and of all together."""
    lines = []
    for piece in pieces:
        spread = ", ".join(f"{name} {number}" for name, number in sorted(piece["faults"].items()))
        failed = "; ".join([*piece["failed"], *filter(None, [piece.get("cause")])]) or "none"
        at = f"{piece['when'][:16].replace('T', ' ')}, {piece['commit']}, {piece['cores']} cores"
        most = [max((sample[1 + k] for sample in piece["samples"]), default=0) for k in range(4)]
        counts = (piece["rounds"], piece["restarts"], spread, piece["checks"], failed)
        lines.append((at, f"{piece['hours']:.2f}", *counts, *most))
    hours = sum(piece["hours"] for piece in pieces)
    total = {key: sum(piece[key] for piece in pieces) for key in ("rounds", "restarts", "checks")}
    failed = sum(len(piece["failed"]) for piece in pieces)
    about = (
        f"{hours:.2f} hours of pieces in all: {total['rounds']:,} runs to their end, "
        f"{total['restarts']:,} starts, {sum(sum(piece['faults'].values()) for piece in pieces):,} faults, "
        f"{total['checks']:,} checks, {failed} failed.\n\n"
    )
    names = ("piece", "hours", "runs", "starts", "faults", "checks", "failed", *MEASURES)
    return about + table(names, lines)


def draw(pieces: list[dict[str, Any]], path: Path) -> None:
    """Draw what was measured over the hours of all pieces, one after the other."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots(len(MEASURES), sharex=True)
    begun = 0.0
    for piece in pieces:
        hours = [begun + sample[0] for sample in piece["samples"]]
        for number, axis in enumerate(axes, 1):
            axis.plot(hours, [sample[number] for sample in piece["samples"]], ".", color="C0", markersize=3)
        begun += piece["hours"]
        for axis in axes:
            axis.axvline(begun, color="0.8", linewidth=0.8)
    for axis, name in zip(axes, MEASURES, strict=True):
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("hours; a line where a piece ended")
    with matplotlib.rc_context({"svg.hashsalt": "soak"}):
        figure.savefig(path, metadata={"Date": None})


def text() -> str:
    """Return the page."""
    whole = HEAD + faults()
    if found := rows(FOLDER / "last_resort.jsonl"):
        whole += LAST_RESORT + last_resort(found)
    if pieces := rows(FOLDER / "soak.jsonl"):
        whole += SOAK + soak(pieces) + SOAK_FIGURE
    return whole


def main() -> int:
    if pieces := rows(FOLDER / "soak.jsonl"):
        draw(pieces, FOLDER / "soak.svg")
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
