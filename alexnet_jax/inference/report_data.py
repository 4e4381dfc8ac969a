"""What `report` draws, computed: kernels, guesses, neighbours, confusions, and what excites each layer."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.data.augment import center_offset
from alexnet_jax.data.records import Dataset, open_dataset
from alexnet_jax.errors import RunFailure, UnsafeFile, UsageError
from alexnet_jax.evaluation import activations
from alexnet_jax.evaluation.imagenet_names import readable
from alexnet_jax.inference import deconvnet, patches, predict, sample, similar
from alexnet_jax.model.specs import Conv
from alexnet_jax.workdir import trained
from alexnet_jax.workdir.trained import TrainedNet

MAX_IMAGES = 10_000  # of a split that are looked at, evenly spread over it
GUESSED, QUERIES, NEAREST, MISTAKES, CHANNELS = 8, 5, 6, 12, 4


@dataclass(frozen=True)
class LabelledImage:
    """Hold an image as the net sees it, uint8 (crop, crop, C), the name of its class, and its file's name."""

    pixels: np.ndarray
    label: str
    file: str


@dataclass(frozen=True)
class Guess:
    """Hold an image and the likeliest classes: (name, probability), the likeliest first."""

    image: LabelledImage
    guesses: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Neighbours:
    """Hold a test image and the nearest training images with their distances, the nearest first."""

    image: LabelledImage
    nearest: tuple[tuple[LabelledImage, float], ...]


@dataclass(frozen=True)
class Confusions:
    """Hold the errors of the centre view over test images.

    Attributes:
      names: of the classes.
      matrix: int64 (classes, outputs): images of a class (row) that were taken for one (column).
      top5_error: a fraction.
      mistakes: the wrong guesses of the highest probability.
      split, of: the split and how many images it has; the matrix counts those looked at.
    """

    names: tuple[str, ...]
    matrix: np.ndarray
    top5_error: float
    mistakes: tuple[Guess, ...]
    split: str
    of: int


@dataclass
class ReportData:
    """Hold what could be computed; `missing` says of each other part why it could not.

    Attributes:
      step: of the checkpoint, None without one.
      dataset: the folder of the images.
      parameters: how many the net has.
      knows_classes: whether it ends in some.
      kernels: of the first convolution, (T, kh, kw, C, channels of a tower).
      layer, distance, searched: of the neighbours: the layer in words, the distance, over how many images.
      looked_at: images among which the patches were found.
      changed: what makes this net another than the run's own (`TrainedNet.changed`).
    """

    step: int | None = None
    dataset: str = ""
    parameters: int | None = None
    knows_classes: bool = False
    towers: int = 1
    kernels: np.ndarray | None = None
    guesses: tuple[Guess, ...] = ()
    neighbours: tuple[Neighbours, ...] = ()
    layer: str = ""
    distance: str = ""
    searched: int = 0
    confusions: Confusions | None = None
    channels: tuple[patches.ChannelPatches, ...] = ()
    looked_at: int = 0
    changed: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


PARTS = ("kernels", "guesses", "neighbours", "confusions", "channels")


def find(
    workdir: Path, config: ConfigDict, which: str, most: int = MAX_IMAGES, class_map: str = ""
) -> ReportData:
    """Compute all parts that the workdir and the data allow.

    Args:
      workdir: of a run, perhaps in progress, or of converted weights.
      config: of the run, perhaps changed on the command line.
      which: the checkpoint.
      most: images of a split that are looked at.
      class_map: a file that says which class of the data is which of the net's; '': their names say so.
    """
    report = ReportData()
    try:
        net = trained.load(workdir, config, which)
    except (UsageError, RunFailure) as error:
        report.missing = dict.fromkeys(PARTS, str(error))
        return report
    report.step, report.towers, report.changed = net.step, net.architecture.towers, net.changed()
    report.knows_classes = net.architecture.has_classes
    report.parameters = sum(prod(leaf.shape) for layer in net.params.values() for leaf in layer.values())
    _kernels(net, report)
    try:
        data = _Data(net, open_dataset(config.data), most, class_map)
    except UnsafeFile:
        raise
    except (UsageError, RunFailure) as error:
        report.missing |= dict.fromkeys(PARTS[1:], str(error))
        return report
    report.dataset, report.changed = data.dataset.name, report.changed | data.changed
    parts: tuple[tuple[str, Callable[[_Data, ReportData], None]], ...] = (
        ("guesses", _guesses),
        ("neighbours", _neighbours),
        ("confusions", _confusions),
        ("channels", _channels),
    )
    for name, compute in parts:
        try:
            compute(data, report)
        except (UsageError, RunFailure) as error:
            report.missing[name] = str(error)
    return report


def _kernels(net: TrainedNet, report: ReportData) -> None:
    first = net.architecture.layers[0]
    if not isinstance(first, Conv):
        report.missing["kernels"] = f"the first layer, {first.name}, is not a convolution"
        return
    kernels = np.asarray(net.params[first.name]["kernel"], np.float32)
    if np.isfinite(kernels).all():
        report.kernels = kernels
    else:
        report.missing["kernels"] = "they are not numbers: these weights diverged"


class _Data:
    """Images of a run's splits, labelled as the net's classes where it knows them."""

    def __init__(self, net: TrainedNet, dataset: Dataset, most: int, class_map: str):
        self.net, self.dataset, self.most = net, dataset, most
        self.data = net.config.data
        self.unknown_classes, self.changed = "", {}
        try:
            found = net.match_classes(dataset.class_names, dataset.name, class_map)
        except UsageError as error:
            self.unknown_classes = str(error)
            return
        if found.pairs:
            self.dataset = dataset.relabelled(found.names, found.labels)
            print(found.notice, file=sys.stderr)
            self.changed = {"classes": found.short}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the dataset's classes, by label, for people."""
        return tuple(map(readable, self.dataset.class_names))

    def indices(self, split: str, most: int) -> np.ndarray:
        """Return at most `most` record numbers, evenly spread over the split."""
        return sample.spread(self.dataset.size(split), most)

    def batches(self, split: str, indices: np.ndarray, what: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield whole images uint8 (B, S, S, C) and labels, as `sample.batches` does."""
        return sample.batches(self.net, self.dataset, split, indices, what)

    def images(self, split: str, indices: np.ndarray) -> tuple[np.ndarray, list[LabelledImage]]:
        """Return whole images uint8 (N, S, S, C), and their centres with the names of their classes."""
        whole, labels = sample.whole_images(self.net, self.dataset, split, indices)
        side, edge = self.data.crop, center_offset(self.data.size, self.data.crop)
        names, records = self.class_names, self.dataset.records(split)
        return whole, [
            LabelledImage(
                image[edge : edge + side, edge : edge + side], names[label], records.read(int(index))[2]
            )
            for image, label, index in zip(whole, labels, indices, strict=True)
        ]

    def probabilities(self, split: str, indices: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Return labels int (N,) and centre-view probabilities (N, classes)."""
        predictor = self.net.predictor(1)
        if self.unknown_classes:
            raise UsageError(self.unknown_classes)
        labels, values = [], []
        for images, label in self.batches(split, indices, what):
            here = np.asarray(predictor(activations.on_mesh(self.net, images)))
            values.append(here[: len(label)])
            labels.append(label)
        probabilities = np.concatenate(values)
        if not np.isfinite(probabilities).all():
            raise RunFailure("the probabilities are not numbers: these weights diverged")
        return np.concatenate(labels), probabilities


def _guesses(data: _Data, report: ReportData) -> None:
    split = data.data.validation_split or data.data.test_split
    indices = data.indices(split, GUESSED)
    values = data.probabilities(split, indices, "guesses")[1]
    images = data.images(split, indices)[1]
    report.guesses = tuple(_guess(data, *both) for both in zip(images, values, strict=True))


def _guess(data: _Data, image: LabelledImage, values: np.ndarray) -> Guess:
    five = predict.top5(values, data.net.output_names)
    return Guess(image, tuple((guess["name"], guess["probability"]) for guess in five))


def _confusions(data: _Data, report: ReportData) -> None:
    split = data.data.test_split
    indices = data.indices(split, data.most)
    labels, values = data.probabilities(split, indices, "confusions")
    guessed, classes = values.argmax(axis=1), len(data.dataset.class_names)
    label_probability = np.take_along_axis(values, labels[:, None], axis=1)
    rank = (
        (values > label_probability)
        | ((values == label_probability) & (np.arange(values.shape[1]) < labels[:, None]))
    ).sum(axis=1)
    matrix = np.zeros((classes, max(classes, values.shape[1])), np.int64)
    np.add.at(matrix, (labels, guessed), 1)
    wrong = np.flatnonzero(guessed != labels)
    worst = wrong[np.argsort(-values[wrong, guessed[wrong]], kind="stable")[:MISTAKES]]
    mistakes: tuple[Guess, ...] = ()
    if len(worst):
        images = data.images(split, indices[worst])[1]
        mistakes = tuple(_guess(data, *both) for both in zip(images, values[worst], strict=True))
    report.confusions = Confusions(
        data.class_names,
        matrix,
        float((rank >= 5).mean()),
        mistakes,
        split,
        data.dataset.size(split),
    )


def _neighbours(data: _Data, report: ReportData) -> None:
    layer = activations.embedding_layer(data.net.architecture)
    report.layer = activations.in_words(data.net.architecture, layer)
    report.distance = similar.DEFAULT_DISTANCE
    train, test = data.data.train_split, data.data.test_split
    indices = data.indices(train, data.most)
    vectors = np.concatenate(
        [
            _values(data.net, images, layer)[: len(labels)]
            for images, labels in data.batches(train, indices, "neighbours")
        ]
    )
    whole, asked = data.images(test, data.indices(test, QUERIES))
    queries = _values(data.net, whole, layer)
    if not np.isfinite(vectors).all():
        raise RunFailure(f"the values of {layer} are not numbers: these weights diverged")
    distances, positions = similar.nearest(vectors, queries, NEAREST, report.distance)
    rows = []
    for image, nearest, rows_of_nearest in zip(asked, distances, positions, strict=True):
        near = data.images(train, indices[rows_of_nearest])[1]
        rows.append(Neighbours(image, tuple(zip(near, map(float, nearest), strict=True))))
    report.neighbours, report.searched = tuple(rows), len(indices)


def _values(net: TrainedNet, images: np.ndarray, layer: str) -> np.ndarray:
    """Return the values of a layer as vectors (B, D)."""
    batch_size = net.config.evaluate.batch_size
    return activations.activations(net, images, [layer], batch_size)[layer].reshape(len(images), -1)


def _channels(data: _Data, report: ReportData) -> None:
    net, split = data.net, data.data.train_split
    indices = data.indices(split, min(data.most, patches.MAX_IMAGES))
    shown: list[patches.ChannelPatches] = []
    for layer, peaks in patches.find(net, data.dataset, split, indices).items():
        channels = deconvnet.channels_to_show(net.architecture, layer, peaks.values[-1] > 0, CHANNELS)
        if channels:
            numbers = np.unique(peaks.images[:, channels])
            images = sample.whole_images(net, data.dataset, split, numbers)[0]
            by_number = dict(zip(numbers.tolist(), images, strict=True))
            shown += patches.cut(net, layer, peaks, channels, by_number)
    report.channels, report.looked_at = tuple(shown), len(indices)
