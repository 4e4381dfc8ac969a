"""What all measurements share: alternating runs, their medians, the table and benchmark.json."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from alexnet_jax.files import write_text
from alexnet_jax.progress import Progress

Rates = dict[str, list[float]]


def alternate(what: str, contestants: Mapping[str, Callable[[], float]], runs: int) -> Rates:
    """Runs all contestants in turn, `runs` times, so that what slows the machine for a while hits all alike.

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


def row(name: str, unit: str, ours: Sequence[float], peer: str, theirs: Sequence[float], device: str,
        versions: Mapping[str, str]) -> dict[str, Any]:  # fmt: skip
    """One object of benchmark.json (DESIGN, Commands): rates, so that a ratio above 1 is better."""
    median, peer_median = statistics.median(ours), statistics.median(theirs)
    return {
        "name": name,
        "unit": unit,
        "median": median,
        "min": min(ours),
        "max": max(ours),
        "runs": len(ours),
        "peer": peer,
        "peer_median": peer_median,
        "peer_min": min(theirs),
        "peer_max": max(theirs),
        "ratio": median / peer_median,
        "device": device,
        "versions": dict(versions),
    }


def host() -> str:
    """This machine's processor and how many of its cores this process may use."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass  # not Linux: the platform's own word stands
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of those `packages` that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows for a person: name, median and spread of both sides, ratio."""
    head = ("measurement", "unit", "ours (min to max)", "peer", "peer's (min to max)", "ratio")
    lines = [head] + [
        (
            entry["name"],
            entry["unit"],
            f"{entry['median']:,.4g} ({entry['min']:,.4g} to {entry['max']:,.4g})",
            entry["peer"],
            f"{entry['peer_median']:,.4g} ({entry['peer_min']:,.4g} to {entry['peer_max']:,.4g})",
            f"{entry['ratio']:.2f}",
        )
        for entry in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes benchmark.json, whole or not at all."""
    write_text(path, json.dumps(list(rows), indent=1, ensure_ascii=False) + "\n")
