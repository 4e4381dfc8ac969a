"""What the explorer (`report/explorer`) needs of a trained net: its table, its numbers and some images."""

import importlib.resources
import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.data import images, pipeline
from alexnet_jax.data.augment import lighting_offsets, views_of
from alexnet_jax.data.records import open_dataset
from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.errors import RunFailure, UnsafeFile, UsageError
from alexnet_jax.evaluation.imagenet_names import readable
from alexnet_jax.inference import deconvnet, patches, sample
from alexnet_jax.model import architectures
from alexnet_jax.model.rows import Shapes
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture, Conv, Dropout, Layer, Local, Weighted
from alexnet_jax.progress import Progress
from alexnet_jax.workdir.trained import TrainedNet

MAX_INLINE_PARAMS = 3_000_000  # that a page holds: 12 MB, 16 MB as text
MAX_IMAGES = 10  # to pick from
LIGHTING = 0.1  # standard deviation of alpha, section 4.1
DIGITS_SEEN, DIGITS_UNSEEN = 30, 10  # of each class, that the lesson on learning trains on and counts
CHANNELS_AT_ONCE = 8  # whose patches are projected together


@dataclass(frozen=True)
class SoughtPatches:
    """Hold what every channel of every convolution looks for, among images of the run's training split.

    Attributes:
      looked_at: how many images.
      images: those that hold a patch, by the number of their record: uint8 (S, S, C).
      classes: of these images, for people.
      peaks: by layer.
      sides: by layer, the pixels of its largest patch's longer side.
      channels: of all layers in turn, computed as they are asked for; once.
    """

    looked_at: int
    images: dict[int, np.ndarray]
    classes: dict[int, str]
    peaks: dict[str, patches.Peaks]
    sides: dict[str, int]
    channels: Iterator[patches.ChannelPatches]


@dataclass(frozen=True)
class ExplorerData:
    """Hold a net for the explorer.

    Attributes:
      net: its table and what its answers mean, as JSON has it.
      arrays: float32: '<layer>/kernel' and '<layer>/bias' in the shapes of the parameter tree, and 'mean' as
        `inputs.mean_array` gives it.
      images: (name, PNG file) of images of the net's own size.
      digits: of the lesson on learning, see `lesson_digits`; None without scikit-learn.
      sought: what its channels look for; None where `missing` says why.
      missing: '' where nothing is.
    """

    net: dict[str, Any]
    arrays: dict[str, np.ndarray]
    images: list[tuple[str, bytes]]
    digits: dict[str, Any] | None
    sought: SoughtPatches | None
    missing: str


def explorer_data(net: TrainedNet) -> ExplorerData:
    """Return what a page needs of a net: all of it, or the part before the dense layers of a large one.

    Large is more than `MAX_INLINE_PARAMS` parameters.
    """
    architecture = convolutional_part(net.architecture)
    data, table = net.config.data, layer_shapes(architecture)
    whole = architectures.build(net.config.model, data.crop, data.channels)
    all_shapes = layer_shapes(whole)
    described = {
        "name": architecture.name,
        "crop": architecture.crop,
        "size": data.size,
        "turned": data.exif_rotation,
        "reading": {
            "form": data.resize,
            "filter": data.resize_filter,
            "rounding": data.resize_rounding,
        },
        "channels": architecture.channels,
        "classes": architecture.classes,
        "towers": architecture.towers,
        "hasClasses": architecture.has_classes,
        "classNames": list(net.readable_names),
        "layers": [_row(layer, table[layer.name]) for layer in architecture.layers],
        "rest": [_row(layer, all_shapes[layer.name]) for layer in whole.layers if layer.name not in table],
        "input": {
            "form": net.normalization.mean,
            "std": [float(np.float32(x)) for x in net.normalization.input_std],
        },
        "step": net.step,
        "parameters": sum(shape.parameters for shape in table.values()),
        "allParameters": sum(shape.parameters for shape in all_shapes.values()),
        "tenViews": views_of(10, data.size, architecture.crop),
        "axes": _lighting_axes(net),
    }
    arrays = {
        f"{layer}/{part}": np.asarray(jax.device_get(net.params[layer][part]), np.float32)
        for layer, shape in table.items()
        if shape.kernel
        for part in ("kernel", "bias")
    }
    arrays["mean"] = np.asarray(net.mean, np.float32)
    sought, missing = None, ""
    try:
        sought = sought_patches(net)
    except UnsafeFile:
        raise
    except (UsageError, RunFailure) as error:
        missing = str(error)
    return ExplorerData(described, arrays, _images(net.config), lesson_digits(), sought, missing)


def sought_patches(net: TrainedNet, most: int = patches.MAX_IMAGES) -> SoughtPatches:
    """Return what the net's channels look for among at most `most` images of its training split.

    Raises:
      UsageError: the net has no convolutions, or its data are not here.
      RunFailure: its values are not numbers.
    """
    if not deconvnet.convolutions(net.architecture):
        raise UsageError("this net has no convolutions")
    dataset, split = open_dataset(net.config.data), net.config.data.train_split
    looked_at = sample.spread(dataset.size(split), most)
    peaks = patches.find(net, dataset, split, looked_at)
    numbers = np.unique(np.concatenate([each.images.reshape(-1) for each in peaks.values()]))
    whole, labels = sample.whole_images(net, dataset, split, numbers)
    images = dict(zip(numbers.tolist(), whole, strict=True))
    names = (readable(dataset.class_names[label]) for label in labels)
    classes = dict(zip(images, names, strict=True))
    sides = {layer: _largest_side(net.architecture, layer, each) for layer, each in peaks.items()}
    return SoughtPatches(len(looked_at), images, classes, peaks, sides, _channels(net, peaks, images))


def _largest_side(architecture: Architecture, layer: str, peaks: patches.Peaks) -> int:
    positions = {*zip(peaks.rows.flat, peaks.columns.flat, strict=True)}
    boxes = [
        deconvnet.receptive_field(architecture, layer, int(row), int(column)) for row, column in positions
    ]
    return max(max(bottom - top, right - left) for top, left, bottom, right in boxes)


def _channels(
    net: TrainedNet, peaks: dict[str, patches.Peaks], images: dict[int, np.ndarray]
) -> Iterator[patches.ChannelPatches]:
    total = sum(each.values.shape[1] for each in peaks.values())
    with Progress("projections", total, "channels") as progress:
        for layer, each in peaks.items():
            channels = range(each.values.shape[1])
            for start in range(0, len(channels), CHANNELS_AT_ONCE):
                some = channels[start : start + CHANNELS_AT_ONCE]
                yield from patches.cut(net, layer, each, some, images)
                progress.update(len(some))


def _lighting_axes(net: TrainedNet) -> list[list[float]] | None:
    """Return what one standard deviation of the paper's draw adds to red, green, blue, axis by axis.

    None where images have one channel. A config without lighting gets the paper's standard deviation.
    """
    data = net.config.data
    if data.channels != 3:
        return None
    alpha = np.eye(3) * (data.lighting or LIGHTING)
    offsets: list[list[float]] = lighting_offsets(alpha, net.statistics, data.lighting_form).tolist()
    return offsets


def lesson_digits() -> dict[str, Any] | None:
    """Return some of scikit-learn's digits, as many of each class; None where it is not installed.

    Returns:
      'levels': for each of the 8 x 8 pixels of each image a letter from 'a' (0) to 'q' (16); 'labels': a
      character for each image; 'seen': how many come first, of the train split, to learn from. The others
      are of the test split. The classes take turns.
    """
    try:
        entries = list(open_source("digits").images())
    except UsageError:
        return None
    levels, labels = [], []
    for split, count in (("train", DIGITS_SEEN), ("test", DIGITS_UNSEEN)):
        of_class = [
            [image for entry, image in entries if entry.split == split and entry.label == label]
            for label in "0123456789"
        ]
        for number in range(count):
            for label, files in enumerate(of_class):
                pixels = np.rint(np.asarray(Image.open(io.BytesIO(files[number]))) * (16 / 255)).astype(int)
                levels.append("".join(chr(ord("a") + level) for level in pixels.reshape(-1)))
                labels.append(str(label))
    return {"levels": "".join(levels), "labels": "".join(labels), "seen": 10 * DIGITS_SEEN}


def _row(layer: Layer, shapes: Shapes) -> dict[str, Any]:
    """Return a layer as the page's JavaScript reads it.

    Neurons are the outputs of layers with weights, as `doctor --architectures` counts them. 'inputs' are the
    channels that a kernel reads, or all that a unit of a fully connected layer does.
    """
    row = asdict(layer) | {
        "output": shapes.output,
        "parameters": shapes.parameters,
        "neurons": prod(shapes.output) if shapes.kernel else 0,
        "macs": shapes.multiply_accumulates,
    }
    if isinstance(layer, Weighted):
        dense = len(shapes.kernel) == 3  # towers, inputs, units
        row["inputs"] = shapes.fan_in if dense else shapes.kernel[-2]
    # The rows speak as the table does; what has two meanings there has two names here.
    if "kind" in row:
        row["how"] = row.pop("kind")
    kind = type(layer).__name__
    names = {"LRN": "lrn", "WithinChannelLRN": "sameMapLrn", "RMSNorm": "rmsNorm"}
    row["kind"] = names.get(kind, kind[0].lower() + kind[1:])
    if isinstance(layer, Local):
        row["pad"], row["stride"] = (layer.pad, layer.pad), 1
    return row


def convolutional_part(architecture: Architecture) -> Architecture:
    """Return the net itself, or its convolutions and what is between them where it is too large for a page.

    Raises:
      UsageError: it has none.
    """
    if sum(shape.parameters for shape in layer_shapes(architecture).values()) <= MAX_INLINE_PARAMS:
        return architecture
    rows = architecture.layers
    cut = next(i for i, row in enumerate(rows) if isinstance(row, Weighted) and not isinstance(row, Conv))
    while cut and isinstance(rows[cut - 1], Dropout):
        cut -= 1
    if not cut:
        raise UsageError(f"{architecture.name} has no convolutions, and is too large for a page")
    return replace(architecture, layers=rows[:cut])


def _images(config: ConfigDict) -> list[tuple[str, bytes]]:
    """Return a test image of each of some classes; without the run's data, scikit-learn's own images."""
    data = config.data
    try:
        dataset = open_dataset(data)
        rows = config.evaluate.batch_size
        with closing(
            pipeline.evaluation_batches(dataset, data.test_split, data, rows, rows=(0, rows))
        ) as batches:
            batch = next(batches)
    except UnsafeFile:
        raise
    except UsageError:
        return _images_at_hand(data)
    # The first of each class, then more, as far as they go.
    real = [i for i in range(len(batch["label"])) if batch["weight"][i]]
    firsts = [
        next(i for i in real if batch["label"][i] == label) for label in sorted({*batch["label"][real]})
    ]
    rows_shown = (firsts + [i for i in real if i not in firsts])[:MAX_IMAGES]
    # Whatever the net calls them.
    names = [readable(dataset.class_names[batch["label"][i]]) for i in rows_shown]
    return [(name, _png(batch["image"][i])) for name, i in zip(names, rows_shown, strict=True)]


def _images_at_hand(data: ConfigDict) -> list[tuple[str, bytes]]:
    """Return scikit-learn's images: digits for a net of one channel, photographs for one of three."""
    if data.channels == 1:
        first_of_class: dict[str, bytes] = {}
        for entry, image in open_source("digits").images():
            if entry.split == "test":
                first_of_class.setdefault(entry.label, image)
        files = sorted(first_of_class.items())[:MAX_IMAGES]
    else:
        folder = Path(str(importlib.resources.files("sklearn.datasets"))) / "images"
        files = [(path.stem, path.read_bytes()) for path in sorted(folder.glob("*.jpg"))]
    return [
        (name, _png(images.resize_center_crop(file, images.Preprocessing.of(data)))) for name, file in files
    ]


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "png", optimize=True)
    return file.getvalue()
