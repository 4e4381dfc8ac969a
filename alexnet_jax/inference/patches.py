"""What a net's channels look for: of each the strongest patches of a split, and their projections.

The report shows them of some channels, the explorer of all; both ask here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alexnet_jax.data.augment import center_offset
from alexnet_jax.data.records import Dataset
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import deconvnet, sample
from alexnet_jax.workdir.trained import TrainedNet

PATCHES = 9  # of a channel
MAX_IMAGES = 1_000  # of a split that are looked at, evenly spread over it


@dataclass(frozen=True)
class Patch:
    """Hold one of a channel's strongest values: the part of an image that it sees, and its projection.

    Attributes:
      value: of the channel, before the ReLU.
      image: the number of its record in the split.
      row, column: of the value in the feature map.
      box: of the crop: top, left, bottom, right.
      pixels: uint8, the crop's pixels in the box.
      projection: float32, in the same box.
    """

    value: float
    image: int
    row: int
    column: int
    box: tuple[int, ...]
    pixels: np.ndarray
    projection: np.ndarray


@dataclass(frozen=True)
class ChannelPatches:
    """Hold the strongest patches of a convolution's channel, the strongest first, each of another image."""

    layer: str
    channel: int
    tower: int
    patches: tuple[Patch, ...]


@dataclass(frozen=True)
class Peaks:
    """Hold where a layer's channels answer most strongly; all are arrays (patches, channels).

    Attributes:
      values: float32, before the ReLU; of each channel the largest of an image, the largest first.
      images: the numbers of their records.
      rows, columns: in the feature map.
    """

    values: np.ndarray
    images: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def find(net: TrainedNet, dataset: Dataset, split: str, indices: np.ndarray) -> dict[str, Peaks]:
    """Return the peaks of every convolution over the records `indices` of a split; the centre view counts.

    Raises:
      UsageError: the net has no convolutions.
      RunFailure: its values are not numbers.
    """
    layers = deconvnet.convolutions(net.architecture)
    if not layers:
        raise UsageError("this net has no convolutions")
    parts: dict[str, list[Any]] = {layer: [] for layer in layers}
    for images, labels in sample.batches(net, dataset, split, indices, "strongest patches"):
        for layer, arrays in deconvnet.strongest(net, images, layers).items():
            parts[layer].append([array[: len(labels)] for array in arrays])
    return {layer: _peaks(layer, indices, parts[layer]) for layer in layers}


def _peaks(layer: str, indices: np.ndarray, parts: Sequence[Any]) -> Peaks:
    values, rows, columns = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if not np.isfinite(values).all():
        raise RunFailure(f"the values of {layer} are not numbers: these weights diverged")
    order = np.argsort(-values, axis=0, kind="stable")[:PATCHES]
    values, rows, columns = (np.take_along_axis(array, order, axis=0) for array in (values, rows, columns))
    return Peaks(values, indices[order], rows, columns)


def cut(
    net: TrainedNet, layer: str, peaks: Peaks, channels: Sequence[int], images: Mapping[int, np.ndarray]
) -> list[ChannelPatches]:
    """Return the patches of some channels of a layer.

    Args:
      net: the net.
      layer: a convolution.
      peaks: its own.
      channels: which; at least one.
      images: by the number of their record the whole images uint8 (S, S, C) that the peaks lie in.
    """
    data, count = net.config.data, len(peaks.values)
    at = np.tile(np.arange(count), len(channels)), np.repeat(channels, count)
    whole = np.stack([images[int(number)] for number in peaks.images[at]])
    projected = deconvnet.projections(net, whole, layer, at[1], peaks.rows[at], peaks.columns[at])
    edge, found = center_offset(data.size, data.crop), []
    views = whole[:, edge : edge + data.crop, edge : edge + data.crop]
    for i, place in enumerate(zip(*at, strict=True)):
        row, column = int(peaks.rows[place]), int(peaks.columns[place])
        box = deconvnet.receptive_field(net.architecture, layer, row, column)
        inside = (i, slice(box[0], box[2]), slice(box[1], box[3]))
        value, number = float(peaks.values[place]), int(peaks.images[place])
        found.append(Patch(value, number, row, column, box, views[inside], projected[inside]))
    share = peaks.values.shape[1] // net.architecture.towers
    return [
        ChannelPatches(layer, channel, channel // share, tuple(found[start : start + count]))
        for channel, start in zip(channels, range(0, len(found), count), strict=True)
    ]
