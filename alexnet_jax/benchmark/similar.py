"""Whether near means alike, and how long finding takes.

Accuracy: the class of the nearest training picture, for each test picture of a folder with `train/` and
`test/`, against the same net with each layer's weights shuffled; where the net knows the folder's classes,
how many of the first twenty test pictures that `--label` finds show what was asked for. Time: to index the
folder, to ask it, and to ask a million vectors, which lie in a file, against numpy on the same file.
"""

import dataclasses
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from alexnet_jax.benchmark import timing
from alexnet_jax.errors import UsageError
from alexnet_jax.inference import features, similar
from alexnet_jax.inference.run import Run
from alexnet_jax.model import sharding

VECTORS = 1_000_000
FIRST = 20  # answers to a label that are looked at
RUNS = 3


def run(trained: Run, source: str, output: Path) -> None:
    """`benchmark similar`: measures, prints, writes benchmark.json."""
    rows = measure(trained, source, output.parent)
    timing.write(output, rows)
    print(timing.table(rows))
    print(f"written to {output}")


def measure(
    trained: Run, source: str, folder: Path, vectors: int = VECTORS, runs: int = RUNS
) -> list[dict[str, Any]]:
    """Accuracy and times.

    Args:
      trained: the net.
      source: a folder with `train/<class>/` and `test/<class>/`.
      folder: where indexes and the file of vectors are put while this runs.
      vectors: synthetic ones.
      runs: counted questions of each kind, alternating.

    Returns:
      Objects of benchmark.json: similar.accuracy.euclidean and .cosine (mean over classes, a fraction; the
      peer is the shuffled net), similar.label (precision of the first `FIRST`, mean over the classes with as
      many test pictures; the peer is the shuffled net), similar.index (pictures/s; the peer is the
      time of a run over an index that is there), similar.ask (questions/s of the folder's index; the peer is
      numpy), similar.ask.synthetic (of the synthetic vectors).

    Raises:
      UsageError: no such folders.
    """
    train, test = Path(source) / "train", Path(source) / "test"
    if not source or not train.is_dir() or not test.is_dir():
        raise UsageError("benchmark similar needs --source=FOLDER with train/<class>/ and test/<class>/")
    device, versions = f"{jax.devices()[0].device_kind}, {timing.host()}", timing.versions("jax", "numpy")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        here = dataclasses.replace(trained, workdir=Path(place) / "trained")
        control = dataclasses.replace(_shuffled(trained), workdir=Path(place) / "shuffled")
        started = time.perf_counter()
        index = similar.index(here, train)[0]
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        similar.index(here, train)
        again = time.perf_counter() - started
        questions = similar.index(here, test)[0]
        right = {distance: accuracy(index, questions, distance) for distance in similar.DISTANCES}
        others = similar.index(control, train)[0], similar.index(control, test)[0]
        named = precision(questions, trained.class_names), precision(others[1], trained.class_names)
        by_chance = {distance: accuracy(*others, distance) for distance in similar.DISTANCES}
        many = Path(place) / "vectors.npy"
        planted = _synthetic(many, vectors, index.vectors.shape[1])
        mapped = np.load(many, mmap_mode="r")
        query = questions.vectors[:1]
        wanted = mapped[planted][None]
        contestants: dict[str, Callable[[], float]] = {
            "folder": _timed(lambda: similar.nearest(index.vectors, query, 20, "euclidean")),
            "folder, numpy": _timed(lambda: _by_numpy(index.vectors, query)),
            "synthetic": _timed(lambda: _found(similar.nearest(mapped, wanted, 20)[1][0, 0], planted)),
            "synthetic, numpy": _timed(lambda: _found(_by_numpy(mapped, wanted), planted)),
        }
        rates = timing.alternate("benchmark similar", contestants, runs)
    form = f"{index.layer}, {index.vectors.shape[1]} values in half precision"
    return [
        *(
            timing.row(
                f"similar.accuracy.{distance}",
                "1-NN",
                [right[distance]],
                "weights shuffled",
                [by_chance[distance]],
                device,
                versions,
            )
            | {"train": len(index.files), "test": len(questions.files), "layer": index.layer}
            for distance in similar.DISTANCES
        ),
        *(
            timing.row(
                "similar.label",
                "precision",
                [statistics.mean(own.values())],
                "weights shuffled",
                [statistics.mean(chance.values())],
                device,
                versions,
            )
            | {"first": FIRST, "classes": len(own)}
            for own, chance in [named]
            if own
        ),
        timing.row(
            "similar.index",
            "pictures/s",
            [len(index.files) / seconds],
            "nothing changed",
            [len(index.files) / again],
            device,
            versions,
        )
        | {"pictures": len(index.files), "seconds": seconds, "seconds_again": again},
        timing.row(
            "similar.ask", "questions/s", rates["folder"], "numpy", rates["folder, numpy"], device, versions
        )
        | {"vectors": len(index.files), "form": form},
        timing.row(
            "similar.ask.synthetic",
            "questions/s",
            rates["synthetic"],
            "numpy",
            rates["synthetic, numpy"],
            device,
            versions,
        )
        | {"vectors": vectors, "form": form},
    ]


def accuracy(index: similar.Index, questions: similar.Index, distance: str) -> float:
    """How often the nearest picture in `index` is of the question's class (its folder), over classes."""
    found: dict[str, list[bool]] = defaultdict(list)
    for start in range(0, len(questions.files), 64):
        rows = similar.nearest(index.vectors, questions.vectors[start : start + 64], 1, distance)[1][:, 0]
        for name, row in zip(questions.files[start : start + 64], rows, strict=True):
            label = name.split("/")[0]
            found[label].append(index.files[row].split("/")[0] == label)
    return statistics.mean(statistics.mean(row) for row in found.values())


def precision(index: similar.Index, class_names: Sequence[str], first: int = FIRST) -> dict[str, float]:
    """What share of the `first` likeliest pictures of each class lies in the folder of its name.

    Classes with fewer pictures are left out; {} for a net without classes.
    """
    labels = np.asarray([name.split("/")[0] for name in index.files])
    found = {}
    for column, name in enumerate(class_names):
        if index.probabilities is not None and np.count_nonzero(labels == name) >= first:
            likeliest = np.argsort(-index.probabilities[:, column], kind="stable")[:first]
            found[name] = float(np.mean(labels[likeliest] == name))
    return found


def _shuffled(trained: Run) -> Run:
    """The same net, the numbers of each kernel and each bias in random order."""
    draw = np.random.default_rng(2012)
    params = jax.tree.map(
        lambda leaf: draw.permutation(leaf.reshape(-1)).reshape(leaf.shape), jax.device_get(trained.params)
    )
    places = sharding.param_shardings(trained.architecture, trained.mesh)
    return dataclasses.replace(trained, params=jax.device_put(params, places))


def _synthetic(path: Path, count: int, width: int) -> int:
    """Writes rectified normal vectors, no two alike; returns a row to look for."""
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
