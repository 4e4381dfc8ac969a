"""What was understood of a source: for the user's eyes, and as JSON in the dataset."""

import itertools
from collections import Counter
from typing import Any

import numpy as np

from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.data.sources.entries import Entries, Source
from alexnet_jax.data.sources.sieve import as_lines as left_out_lines
from alexnet_jax.progress import printable

MAX_CLASSES_SHOWN = 20
UNKNOWN = "which images cannot be decoded, or are in two splits, is known when they are prepared"
_MAX_KEPT = 1000  # kinds of files left out that are kept as JSON


def understand(source: Source, entries: Entries) -> dict[str, Any]:
    """Return how a source was understood, as JSON has it.

    Args:
      source: recognised.
      entries: its images.

    Returns:
      `source`, `splits` {name: images, from}, `classes` {split: {name: images}}, `remarks`, and `left_out`,
      a list of ending, reason and files.
    """
    classes = {split: entries.classes(split) for split in sorted(entries.order)}
    return {
        "source": source.kind,
        "splits": {
            split: {"images": counts.total(), "from": source.splits.get(split, "")}
            for split, counts in classes.items()
        },
        "classes": {split: dict(sorted(counts.items())) for split, counts in classes.items()},
        "remarks": [*source.remarks, *source.notes],
        "left_out": [
            {"ending": ending, "reason": reason, "files": files}
            for (ending, reason), files in source.left_out.most_common(_MAX_KEPT)
        ],
    }


def describe(name: str, class_level: int) -> list[str]:
    """Return how a source would be understood, as lines for the user.

    Args:
      name: as `open_source`.
      class_level: as `open_source`.

    Raises:
      UsageError: as `open_source`.
    """
    source = open_source(name, class_level).listed()
    return [f"{name}: {source.kind}", *as_lines(understand(source, source.entries or Entries())), UNKNOWN]


def as_lines(summary: dict[str, Any]) -> list[str]:
    """Return what `understand` gave as lines for the user."""
    lines = []
    for split, row in summary["splits"].items():
        where = f" from {printable(row['from'])}" if row["from"] else ""
        lines.append(f"{split}: {row['images']:,} images{where}")
    classes = summary["classes"]
    if classes:
        counted = "train" if "train" in classes else next(iter(classes))
        if "train" in classes and "validation" not in classes:
            lines.append(
                "no validation split: a config that asks for one holds out a tenth of train, of each class"
            )
        lines += _class_lines(classes[counted], {"train": "training"}.get(counted, counted))
    lines += [f"note: {remark}" for remark in summary["remarks"]]
    counts = Counter({(row["ending"], row["reason"]): row["files"] for row in summary["left_out"]})
    return lines + left_out_lines(counts)


def _class_lines(counts: dict[str, int], what: str) -> list[str]:
    shown = [f"{printable(name)} {n:,}" for name, n in itertools.islice(counts.items(), MAX_CLASSES_SHOWN)]
    more = len(counts) - MAX_CLASSES_SHOWN
    lines = [f"{len(counts):,} classes: {', '.join(shown)}{f' and {more:,} more' if more > 0 else ''}"]
    smallest = min(counts, key=lambda name: (counts[name], name))
    return [*lines, f"smallest class: {printable(smallest)}, {counts[smallest]:,} {what} images"]


def duplicates(digests: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return how many records of a split are in another one, too.

    Args:
      digests: uint64, of the records of each split.

    Returns:
      For each two splits that share a record: `splits`, and `images`, how many of the first split's.
    """
    found = []
    for one, other in itertools.combinations(sorted(digests), 2):
        both = np.isin(digests[one], digests[other])
        if both.any():
            found.append({"splits": [one, other], "images": int(both.sum())})
    return found


def duplicate_lines(found: list[dict[str, Any]], splits: int) -> list[str]:
    """Return what `duplicates` found as lines for the user, of a dataset of so many splits."""
    if not found and splits > 1:
        return ["no image is in two splits"]
    return [
        f"duplicates: {row['images']:,} images of {row['splits'][0]} are in {row['splits'][1]} too"
        for row in found
    ]
