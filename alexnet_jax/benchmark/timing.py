"""What all measurements share: alternating runs, their medians, the table and benchmark.json."""

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from alexnet_jax import runtime
from alexnet_jax.files import write_text
from alexnet_jax.progress import Progress

Rates = dict[str, list[float]]
Row = dict[str, Any]
Values = Sequence[float]
UNIT = "images/s"
LESS_IS_BETTER = ("s", "ms", "MiB", "bytes/image", "bytes/step")  # units whose ratio is the peer's over ours


def alternate(what: str, contestants: Mapping[str, Callable[[], float]], runs: int) -> Rates:
    """Run all contestants in turn, `runs` times, so that what slows the machine for a while hits all alike.

    Every other round goes backwards. A first round is not counted: it fills caches and starts threads.

    Args:
      what: the name that the progress shows.
      contestants: by name, a function that does one run and returns its rate (more is better).
      runs: counted runs of each.

    Returns:
      The rates of each contestant, in the order of the runs.
    """
    rates: Rates = {name: [] for name in contestants}
    names = list(contestants)
    with Progress(what, (runs + 1) * len(names), "runs") as progress:
        for number in range(runs + 1):
            for name in names if number % 2 else reversed(names):
                rate = contestants[name]()
                if number:
                    rates[name].append(rate)
                progress.update(1, f"{name} {rate:.0f}")
    return rates


def repeated(call: Callable[[int], None], wait: Callable[[], None], seconds: float) -> Callable[[], float]:
    """Return a contestant for `alternate` that calls one thing many times.

    Args:
      call: starts the work; it is given a number that counts up from 0.
      wait: returns when all work that was started is done.
      seconds: how long a run lasts, about; one call at least.

    Returns:
      A function that does one run and returns its calls a second. Its first run also finds out how many
      calls a run has.
    """
    done = calls = 0

    def once() -> float:
        nonlocal done, calls
        if not calls:
            for _ in range(2):  # what the first one compiles does not count
                started = time.perf_counter()
                call(done)
                wait()
                done += 1
            calls = max(1, round(seconds / (time.perf_counter() - started)))
        started = time.perf_counter()
        for _ in range(calls):
            call(done)
            done += 1
        wait()
        return calls / (time.perf_counter() - started)

    return once


def measured_on(device: str, *packages: str) -> Row:
    """Return 'device', in words, and 'versions' of Python and those packages that are installed."""
    return {"device": device, "versions": runtime.versions(*packages)}


def row(where: Row, name: str, unit: str, ours: Values, peer: str = "", theirs: Values = ()) -> Row:
    """Return one object of benchmark.json.

    Args:
      where: what `measured_on` gave.
      name: of the measurement, such as 'step.train.b128'.
      unit: of all its values.
      ours: one value a run.
      peer: what it is compared with; empty for a measurement without a peer.
      theirs: the peer's values, one a run.

    Returns:
      'name', 'unit', 'median', 'min', 'max', 'runs', 'peer', 'peer_median', 'peer_min', 'peer_max', 'ratio'
      (above 1 is better), 'device', 'versions'; None for all of a peer that is not there.
    """
    median, peer_median = statistics.median(ours), statistics.median(theirs) if theirs else None
    ratio = None
    if peer_median is not None:
        ratio = peer_median / median if unit in LESS_IS_BETTER else median / peer_median
    return {
        "name": name,
        "unit": unit,
        "median": median,
        "min": min(ours),
        "max": max(ours),
        "runs": len(ours),
        "peer": peer or None,
        "peer_median": peer_median,
        "peer_min": min(theirs, default=None),
        "peer_max": max(theirs, default=None),
        "ratio": ratio,
        **where,
    }


def table(rows: Sequence[Row]) -> str:
    """Return the rows for the user: name, median and spread of both sides, ratio."""
    head = ("measurement", "unit", "ours (min to max)", "peer", "peer's (min to max)", "ratio")
    lines = [head] + [
        (
            entry["name"],
            entry["unit"],
            _spread(entry, ""),
            entry["peer"] or "",
            _spread(entry, "peer_") if entry["peer"] else "",
            f"{entry['ratio']:.2f}" if entry["peer"] else "",
        )
        for entry in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _spread(entry: Row, side: str) -> str:
    median, low, high = (entry[side + word] for word in ("median", "min", "max"))
    return f"{median:,.4g}" if low == high else f"{median:,.4g} ({low:,.4g} to {high:,.4g})"


@contextlib.contextmanager
def child_process(serve: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    """Run `serve(pipe, *arguments)` in a spawned process until the block ends; give this end of the pipe."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.kill()
        process.join()


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write benchmark.json, whole or not at all."""
    write_text(path, json.dumps(list(rows), indent=1, ensure_ascii=False) + "\n")


def report(path: Path, rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    """Write benchmark.json; print its table, the notes, and what was written."""
    write(path, rows)
    print("\n".join([table(rows), *notes, f"written to {path}"]))
