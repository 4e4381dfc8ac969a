"""Whether near means alike, and how long finding takes.

Accuracy: the class of the nearest training image, for each test image of a folder with `train/` and
`test/`, against the same net with each layer's weights shuffled; where the net knows the folder's classes,
how many of the first twenty test images that `--label` finds show what was asked for. Time: to index the
folder, to ask it, and to ask a million vectors, which lie in a file, against numpy on the same file.
"""

import dataclasses
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from alexnet_jax import runtime
from alexnet_jax.benchmark import timing
from alexnet_jax.benchmark.timing import UNIT, Rates, Row
from alexnet_jax.errors import UsageError
from alexnet_jax.inference import features, similar
from alexnet_jax.model import sharding
from alexnet_jax.workdir.trained import TrainedNet

VECTORS = 1_000_000
FIRST = 20  # answers to a label that are looked at
RUNS = 3


def run(net: TrainedNet, source: str, output: Path) -> None:
    """Measure, print the table and write benchmark.json: `benchmark similar`."""
    timing.report(output, measure(net, source, output.parent))


def measure(
    net: TrainedNet, source: str, folder: Path, vectors: int = VECTORS, runs: int = RUNS
) -> list[Row]:
    """Measure accuracy and times.

    Args:
      net: the net.
      source: a folder with `train/<class>/` and `test/<class>/`.
      folder: where indexes and the file of vectors are put while this runs.
      vectors: synthetic ones.
      runs: counted questions of each kind, alternating.

    Returns:
      Objects of benchmark.json: similar.accuracy.euclidean and .cosine (mean over classes, a fraction; the
      peer is the shuffled net), similar.label (precision of the first `FIRST`, mean over the classes with as
      many test images; the peer is the shuffled net), similar.index (images/s; the peer is the
      time of a run over an index that is there), similar.ask (questions/s of the folder's index; the peer is
      numpy), similar.ask.synthetic (of the synthetic vectors).

    Raises:
      UsageError: no such folders.
    """
    train, test = Path(source) / "train", Path(source) / "test"
    if not source or not train.is_dir() or not test.is_dir():
        raise UsageError("benchmark similar needs --source=FOLDER with train/<class>/ and test/<class>/")
    device = f"{jax.devices()[0].device_kind}, {runtime.host()}"
    row = partial(timing.row, timing.measured_on(device, "jax", "numpy"))
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        trained = dataclasses.replace(net, workdir=Path(temporary) / "trained")
        started = time.perf_counter()
        index = similar.index(trained, train)[0]
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        similar.index(trained, train)
        again = time.perf_counter() - started
        questions = similar.index(trained, test)[0]
        shuffled = dataclasses.replace(_shuffled(net), workdir=Path(temporary) / "shuffled")
        control = similar.index(shuffled, train)[0], similar.index(shuffled, test)[0]
        rows = []
        for distance in similar.DISTANCES:
            accurate, chance = accuracy(index, questions, distance), accuracy(*control, distance)
            rows.append(row(f"similar.accuracy.{distance}", "1-NN", [accurate], "weights shuffled", [chance]))
            rows[-1] |= {"train": len(index.files), "test": len(questions.files), "layer": index.layer}
        named, by_chance = (precision(each, net.class_names) for each in (questions, control[1]))
        if named:
            means = ([statistics.mean(each.values())] for each in (named, by_chance))
            rows.append(row("similar.label", "precision", next(means), "weights shuffled", next(means)))
            rows[-1] |= {"first": FIRST, "classes": len(named)}
        size = len(index.files)
        rows.append(row("similar.index", UNIT, [size / seconds], "nothing changed", [size / again]))
        rows[-1] |= {"images": size, "seconds": seconds, "seconds_again": again}
        rates = _ask(index, questions.vectors[:1], Path(temporary) / "vectors.npy", vectors, runs)
    stored = f"{index.layer}, {index.vectors.shape[1]} values in half precision"
    for name, asked, count in (("", "folder", size), (".synthetic", "synthetic", vectors)):
        rows.append(
            row(f"similar.ask{name}", "questions/s", rates[asked], "numpy", rates[f"{asked}, numpy"])
            | {"vectors": count, "form": stored}
        )
    return rows


def _ask(index: similar.Index, query: np.ndarray, path: Path, vectors: int, runs: int) -> Rates:
    """Return questions a second of the index and of as many synthetic vectors in a file, and numpy's."""
    planted = _synthetic(path, vectors, index.vectors.shape[1])
    mapped = np.load(path, mmap_mode="r")
    query_of_planted = mapped[planted][None]
    contestants = {
        "folder": _timed(lambda: similar.nearest(index.vectors, query, 20, "euclidean")),
        "folder, numpy": _timed(lambda: _by_numpy(index.vectors, query)),
        "synthetic": _timed(
            lambda: _found(similar.nearest(mapped, query_of_planted, 20, "euclidean")[1][0, 0], planted)
        ),
        "synthetic, numpy": _timed(lambda: _found(_by_numpy(mapped, query_of_planted), planted)),
    }
    return timing.alternate("benchmark similar", contestants, runs)


def accuracy(index: similar.Index, questions: similar.Index, distance: str) -> float:
    """Return how often the nearest image in `index` is of the question's class (its folder), over classes."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for start in range(0, len(questions.files), 64):
        rows = similar.nearest(index.vectors, questions.vectors[start : start + 64], 1, distance)[1][:, 0]
        for name, row in zip(questions.files[start : start + 64], rows, strict=True):
            label = name.split("/")[0]
            hits[label].append(index.files[row].split("/")[0] == label)
    return statistics.mean(statistics.mean(row) for row in hits.values())


def precision(index: similar.Index, class_names: Sequence[str], first: int = FIRST) -> dict[str, float]:
    """Return what share of the `first` likeliest images of each class lies in the folder of its name.

    Classes with fewer images are left out; {} for a net without classes.
    """
    labels = np.asarray([name.split("/")[0] for name in index.files])
    precisions = {}
    for column, name in enumerate(class_names):
        if index.probabilities is not None and np.count_nonzero(labels == name) >= first:
            likeliest = np.argsort(-index.probabilities[:, column], kind="stable")[:first]
            precisions[name] = float(np.mean(labels[likeliest] == name))
    return precisions


def _shuffled(net: TrainedNet) -> TrainedNet:
    """Return the same net, the numbers of each kernel and each bias in random order."""
    draw = np.random.default_rng(2012)
    params = jax.tree.map(
        lambda leaf: draw.permutation(leaf.reshape(-1)).reshape(leaf.shape), jax.device_get(net.params)
    )
    shardings = sharding.param_shardings(net.architecture, net.mesh)
    return dataclasses.replace(net, params=jax.device_put(params, shardings))


def _synthetic(path: Path, count: int, width: int) -> int:
    """Write rectified normal vectors, no two alike; return a row to look for."""
    draw = np.random.default_rng(2012)
    array = features.GrowingArray(path, (width,), np.dtype(np.float16))
    block = np.maximum(draw.standard_normal((min(count, 4096), width), np.float32), 0).astype(np.float16)
    for start in range(0, count, len(block)):
        part = np.roll(block, start // len(block), axis=1)  # drawing them all would take longer than asking
        array.append(part[: count - start])
    array.close()
    return int(draw.integers(count))


def _by_numpy(vectors: np.ndarray, query: np.ndarray) -> int:
    wanted, best = query[0].astype(np.float32), (np.inf, 0)
    rows = max(similar.CHUNK // vectors.shape[1], 1)
    for start in range(0, len(vectors), rows):
        squares = np.square(vectors[start : start + rows].astype(np.float32) - wanted).sum(axis=1)
        best = min(best, (float(squares.min()), start + int(squares.argmin())))
    return best[1]


def _found(row: int, planted: int) -> None:
    assert row == planted, f"row {row} was found, and {planted} asked for"


def _timed(ask: Callable[[], Any]) -> Callable[[], float]:
    def once() -> float:
        started = time.perf_counter()
        ask()
        return 1 / (time.perf_counter() - started)

    return once
