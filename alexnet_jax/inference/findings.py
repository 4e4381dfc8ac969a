"""What `report` draws, computed: kernels, guesses, neighbours, confusions, and what excites each layer."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.data import pipeline
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import deconvnet, features, predict, run, similar
from alexnet_jax.inference.run import Run
from alexnet_jax.model.architectures import Conv
from alexnet_jax.progress import Progress
from alexnet_jax.training import step
from alexnet_jax.training.evaluation import views_of

MOST = 10_000  # pictures of a split that are looked at, evenly spread over it; for what excites a layer:
MOST_PATCHES = 1_000
GUESSED, ASKED, NEAREST, MISTAKES, PATCHES, MAPS = 8, 5, 6, 12, 9, 4


@dataclass(frozen=True)
class Picture:
    """A picture as the net sees it, uint8 (crop, crop, C), and the name of its class."""

    image: np.ndarray
    label: str


@dataclass(frozen=True)
class Guess:
    """A picture and the likeliest classes: (name, probability), the likeliest first."""

    picture: Picture
    guesses: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Neighbours:
    """A test picture and the nearest training pictures with their distances, the nearest first."""

    picture: Picture
    nearest: tuple[tuple[Picture, float], ...]


@dataclass(frozen=True)
class Confusions:
    """Errors of the centre view over test pictures.

    Attributes:
      names: of the classes.
      matrix: int64 (classes, outputs): pictures of a class (row) that were taken for one (column).
      top5_error: a fraction.
      mistakes: the wrong guesses of the highest probability.
      split, of: the split and how many pictures it has; the matrix counts those looked at.
    """

    names: tuple[str, ...]
    matrix: np.ndarray
    top5_error: float
    mistakes: tuple[Guess, ...]
    split: str
    of: int


@dataclass(frozen=True)
class Patch:
    """One of a map's strongest: the part of a picture that the value sees, and its projection.

    Attributes:
      value: of the map, before the ReLU.
      box: of the crop: top, left, bottom, right.
      pixels: uint8, the crop's pixels in the box.
      projection: float32, in the same box.
    """

    value: float
    box: tuple[int, ...]
    pixels: np.ndarray
    projection: np.ndarray


@dataclass(frozen=True)
class Map:
    """A map of a convolution and its strongest patches, the strongest first, each of another picture."""

    layer: str
    number: int
    tower: int
    patches: tuple[Patch, ...]


@dataclass
class Findings:
    """What could be computed; `missing` says of each other part why it could not.

    Attributes:
      step: of the checkpoint, None without one.
      dataset: the folder of the pictures.
      parameters: how many the net has.
      kernels: of the first convolution, (T, kh, kw, C, maps of a tower).
      layer, distance, searched: of the neighbours: the layer, the distance, over how many pictures.
      looked_at: pictures among which the patches were found.
    """

    step: int | None = None
    dataset: str = ""
    parameters: int | None = None
    towers: int = 1
    kernels: np.ndarray | None = None
    guesses: tuple[Guess, ...] = ()
    neighbours: tuple[Neighbours, ...] = ()
    layer: str = ""
    distance: str = ""
    searched: int = 0
    confusions: Confusions | None = None
    maps: tuple[Map, ...] = ()
    looked_at: int = 0
    missing: dict[str, str] = field(default_factory=dict)


PARTS = ("kernels", "guesses", "neighbours", "confusions", "maps")


def find(workdir: Path, config: ConfigDict, which: str, most: int = MOST) -> Findings:
    """Computes all parts that the workdir and the data allow.

    Args:
      workdir: of a run, perhaps in progress, or of converted weights.
      config: of the run, perhaps changed on the command line.
      which: the checkpoint.
      most: pictures of a split that are looked at.
    """
    found = Findings()
    try:
        trained = run.load(workdir, config, which)
    except (UsageError, RunFailure) as error:
        found.missing = dict.fromkeys(PARTS, str(error))
        return found
    found.step, found.towers = trained.step, trained.architecture.towers
    found.parameters = sum(prod(leaf.shape) for layer in trained.params.values() for leaf in layer.values())
    first = trained.architecture.layers[0]
    if not isinstance(first, Conv):
        found.missing["kernels"] = f"the first layer, {first.name}, is not a convolution"
    else:
        kernels = np.asarray(trained.params[first.name]["kernel"], np.float32)
        if np.isfinite(kernels).all():
            found.kernels = kernels
        else:
            found.missing["kernels"] = "they are not numbers: these weights diverged"
    try:
        data = _Data(trained, pipeline.open_dataset(config.data), most)
    except (UsageError, RunFailure) as error:
        found.missing |= dict.fromkeys(PARTS[1:], str(error))
        return found
    found.dataset = data.dataset.folder.parent.name
    parts: tuple[tuple[str, Callable[[_Data, Findings], None]], ...] = (
        ("guesses", _guesses),
        ("neighbours", _neighbours),
        ("confusions", _confusions),
        ("maps", _maps),
    )
    for name, compute in parts:
        try:
            compute(data, found)
        except (UsageError, RunFailure) as error:
            found.missing[name] = str(error)
    return found


class _Data:
    """Pictures of a run's splits."""

    def __init__(self, trained: Run, dataset: pipeline.Dataset, most: int):
        self.run, self.dataset, self.most = trained, dataset, most
        self.data = trained.config.data

    def chosen(self, split: str, most: int) -> np.ndarray:
        """At most `most` record numbers, evenly spread over the split."""
        return spread(self.dataset.size(split), most)

    def batches(self, split: str, indices: np.ndarray, what: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Whole pictures uint8 (B, S, S, C) and labels int (B,); every batch has the same number of rows.

        The last one's are filled with black pictures, which have no label.
        """
        records, rows = self.dataset.records(split), features.batch_size(self.run, len(indices))
        shape = (self.data.size, self.data.size, self.data.channels)

        def read(index: int) -> tuple[np.ndarray, int]:
            record, label, name = records.read(int(index))
            pixels = pipeline.decode(record, self.data.format, np.empty(shape, np.uint8), name)
            return pixels, label

        with (
            ThreadPoolExecutor(pipeline.threads_of(self.data)) as pool,
            Progress(what, len(indices), "pictures", shown=len(indices) > rows) as progress,
        ):
            for start in range(0, len(indices), rows):
                here = list(pool.map(read, indices[start : start + rows]))
                images = np.zeros((rows, *shape), np.uint8)
                images[: len(here)] = [pixels for pixels, _ in here]
                yield images, np.asarray([label for _, label in here])
                progress.update(len(here))

    def pictures(self, split: str, indices: np.ndarray) -> tuple[np.ndarray, list[Picture]]:
        """Whole pictures uint8 (N, S, S, C), and their centres with the names of their classes."""
        images, labels = [], []
        for image, label in self.batches(split, indices, "read"):
            images.append(image[: len(label)])
            labels.append(label)
        whole = np.concatenate(images)
        top, left, _ = views_of(1, self.data.size, self.data.crop)[0]
        side = self.data.crop
        return whole, [
            Picture(image[top : top + side, left : left + side], self.dataset.class_names[label])
            for image, label in zip(whole, np.concatenate(labels), strict=True)
        ]

    def probabilities(self, split: str, indices: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Labels int (N,) and centre-view probabilities (N, classes)."""
        predictor = self.run.predictor(1)
        if self.dataset.class_names != self.run.class_names:
            raise UsageError(f"{self.dataset.folder.parent.name} has other classes than the net")
        labels, values = [], []
        for images, label in self.batches(split, indices, what):
            here = np.asarray(predictor(step.to_device({"image": images}, self.run.mesh)["image"]))
            values.append(here[: len(label)])
            labels.append(label)
        found = np.concatenate(values)
        if not np.isfinite(found).all():
            raise RunFailure("the probabilities are not numbers: these weights diverged")
        return np.concatenate(labels), found


def spread(size: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `size`, evenly spread, ascending."""
    count = min(size, most)
    return (np.arange(count) * size + size // 2) // count if count else np.arange(0)


def _guesses(data: _Data, found: Findings) -> None:
    split = data.data.validation_split or data.data.test_split
    indices = data.chosen(split, GUESSED)
    values = data.probabilities(split, indices, "guesses")[1]
    pictures = data.pictures(split, indices)[1]
    found.guesses = tuple(_guess(data, *both) for both in zip(pictures, values, strict=True))


def _guess(data: _Data, picture: Picture, values: np.ndarray) -> Guess:
    five = predict.top5(values, data.run.class_names)
    return Guess(picture, tuple((guess["name"], guess["probability"]) for guess in five))


def _confusions(data: _Data, found: Findings) -> None:
    split = data.data.test_split
    indices = data.chosen(split, data.most)
    labels, values = data.probabilities(split, indices, "confusions")
    guessed, classes = values.argmax(axis=1), len(data.dataset.class_names)
    own = np.take_along_axis(values, labels[:, None], axis=1)
    beyond = ((values > own) | ((values == own) & (np.arange(values.shape[1]) < labels[:, None]))).sum(axis=1)
    matrix = np.zeros((classes, max(classes, values.shape[1])), np.int64)
    np.add.at(matrix, (labels, guessed), 1)
    wrong = np.flatnonzero(guessed != labels)
    worst = wrong[np.argsort(-values[wrong, guessed[wrong]], kind="stable")[:MISTAKES]]
    mistakes: tuple[Guess, ...] = ()
    if len(worst):
        pictures = data.pictures(split, indices[worst])[1]
        mistakes = tuple(_guess(data, *both) for both in zip(pictures, values[worst], strict=True))
    found.confusions = Confusions(
        data.dataset.class_names,
        matrix,
        float((beyond >= 5).mean()),
        mistakes,
        split,
        data.dataset.size(split),
    )


def _neighbours(data: _Data, found: Findings) -> None:
    layer = features.deepest(data.run.architecture)
    found.layer, found.distance = layer, similar.distance_of(data.run.architecture, layer)
    train, test = data.data.train_split, data.data.test_split
    indices = data.chosen(train, data.most)
    vectors = np.concatenate(
        [
            features.activations(data.run, images, [layer])[layer][: len(labels)].reshape(len(labels), -1)
            for images, labels in data.batches(train, indices, "neighbours")
        ]
    )
    whole, asked = data.pictures(test, data.chosen(test, ASKED))
    queries = features.activations(data.run, whole, [layer])[layer].reshape(len(whole), -1)
    if not np.isfinite(vectors).all():
        raise RunFailure(f"the values of {layer} are not numbers: these weights diverged")
    distances, places = similar.nearest(vectors, queries, NEAREST, found.distance)
    rows = []
    for picture, far, where in zip(asked, distances, places, strict=True):
        near = data.pictures(train, indices[where])[1]
        rows.append(Neighbours(picture, tuple(zip(near, map(float, far), strict=True))))
    found.neighbours, found.searched = tuple(rows), len(indices)


def _maps(data: _Data, found: Findings) -> None:
    layers = deconvnet.convolutions(data.run.architecture)
    if not layers:
        raise UsageError("this net has no convolutions")
    split = data.data.validation_split or data.data.test_split
    indices = data.chosen(split, min(data.most, MOST_PATCHES))
    parts: dict[str, list[Any]] = {layer: [] for layer in layers}
    for images, labels in data.batches(split, indices, "strongest patches"):
        for layer, arrays in deconvnet.strongest(data.run, images, layers).items():
            parts[layer].append([array[: len(labels)] for array in arrays])
    shown: list[Map] = []
    for layer in layers:
        values, rows, columns = (np.concatenate(arrays) for arrays in zip(*parts[layer], strict=True))
        if not np.isfinite(values).all():
            raise RunFailure(f"the values of {layer} are not numbers: these weights diverged")
        shown += _maps_of(data, split, indices, layer, values, rows, columns)
    found.maps, found.looked_at = tuple(shown), len(indices)


def _maps_of(
    data: _Data,
    split: str,
    indices: np.ndarray,
    layer: str,
    values: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
) -> list[Map]:
    net = data.run.architecture
    patches = min(PATCHES, len(indices))
    order = np.argsort(-values, axis=0, kind="stable")[:patches]  # (patches, maps): pictures
    alive = np.take_along_axis(values, order, axis=0)[-1] > 0
    numbers = deconvnet.maps_to_show(net, layer, alive, MAPS)
    if not numbers:
        return []
    which, maps = order[:, numbers].T.reshape(-1), np.repeat(numbers, patches)
    whole, pictures = data.pictures(split, indices[which])
    at_row, at_column = rows[which, maps], columns[which, maps]
    projected = deconvnet.projections(data.run, whole, layer, maps, at_row, at_column)
    found = []
    for place, (number, picture) in enumerate(zip(maps, pictures, strict=True)):
        box = deconvnet.receptive_field(net, layer, int(at_row[place]), int(at_column[place]))
        inside = (slice(box[0], box[2]), slice(box[1], box[3]))
        value = float(values[which[place], number])
        found.append(Patch(value, box, picture.image[inside], projected[place][inside]))
    share = values.shape[1] // net.towers
    return [
        Map(layer, number, number // share, tuple(found[start : start + patches]))
        for number, start in zip(numbers, range(0, len(found), patches), strict=True)
    ]
