"""Records to uint8 batches for one place on the data axis, by grain; their position is a batch number.

The stream of training records is endless: position p is record p % n of epoch p // n, each epoch a new
permutation. Batch b takes positions b * B onward, so any batch can be made without those before it: to
resume is to start at another number, on any number of processes.
"""

import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import grain
import numpy as np
import simplejpeg
import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.data import augment, prepare
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import RunFailure, UsageError

AHEAD = 4  # batches that are read ahead
Batch = dict[str, np.ndarray]


class Batches(Protocol):
    """An iterator over batches that lets go of its threads when closed."""

    def __iter__(self) -> Iterator[Batch]: ...
    def __next__(self) -> Batch: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset.

    Attributes:
      folder: where it lies.
      class_names: by label.
      statistics: of its training split.
      form: what its records hold: size, channels, format and so on.
    """

    folder: Path
    class_names: tuple[str, ...]
    statistics: Statistics
    form: dict[str, Any]

    @cached_property
    def _builder(self) -> tfds.core.DatasetBuilder:
        return tfds.builder_from_directory(self.folder)

    def records(self, split: str) -> Sequence[dict[str, Any]]:
        """Random access to {'image': bytes, 'label', 'file_name'}; UsageError for a split that is not there."""
        try:
            return self._builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        except (ValueError, KeyError, AssertionError) as error:
            there = ", ".join(self._builder.info.splits)
            first = (str(error) or "not a split").splitlines()[0]
            raise UsageError(f"split {split!r} of {self.folder}: {first} (there are: {there})") from None

    def size(self, split: str) -> int:
        """How many records `split` has."""
        return len(self.records(split))


def open_dataset(data: ConfigDict) -> Dataset:
    """Opens the dataset that `config.data` names.

    Raises:
      UsageError: it is not prepared, damaged, or was prepared with other values of the keys that decide
        what a record holds.
    """
    folder = prepare.dataset_folder(data)
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not prepared; type: python -m alexnet_jax.main prepare "
            "--config=<this config> --source=<folder, archive, or digits>"
        )
    try:
        form = json.loads((folder / "preparation.json").read_text())
        class_names = tuple(tfds.builder_from_directory(folder).info.features["label"].names)
    except Exception as error:  # TFDS raises whatever a damaged file leads it to
        raise UsageError(
            f"{folder} is not a whole dataset: {str(error).splitlines()[0]}; remove it and prepare it again"
        ) from None
    for key in prepare.FORM:
        if key == "quality" and data.format == "raw":
            continue
        if form.get(key) != data[key]:
            raise UsageError(
                f"{folder} was prepared with {key}={form.get(key)!r} and config.data.{key} is {data[key]!r}: "
                "change the key, or prepare under another config.data.name"
            )
    return Dataset(folder, class_names, Statistics.load(folder / "statistics.npz"), form)


def record_indices(size: int, seed: int, batch_size: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Epoch and record index of each row of a batch.

    Args:
      size: records in the split.
      seed: the config's.
      batch_size: B.
      batch: the batch's number, from 0 over all epochs.

    Returns:
      int64 (B,) and (B,).
    """
    positions = np.arange(batch * batch_size, (batch + 1) * batch_size)
    epochs, places = positions // size, positions % size
    indices = np.empty_like(places)
    for epoch in np.unique(epochs):
        rows = epochs == epoch
        order = grain.MapDataset.range(size).shuffle(seed=(seed * 1_000_003 + int(epoch)) % 2**32)
        indices[rows] = [order[int(place)] for place in places[rows]]
    return epochs, indices


class _Decide(grain.transforms.Map):
    """A batch number to what the batch holds: records, crops, flips and lighting of this process's rows."""

    def __init__(self, dataset: Dataset, config: ConfigDict, size: int, rows: tuple[int, int]):
        self.statistics, self.data, self.seed = dataset.statistics, config.data, config.seed
        self.size, self.rows = size, rows

    def map(self, batch: int) -> dict[str, Any]:
        data, (low, high) = self.data, self.rows
        epochs, indices = record_indices(self.size, self.seed, data.batch_size, int(batch))
        epochs, indices = epochs[low:high], indices[low:high]
        count = len(indices)
        offset = np.full((count, 2), (data.size - data.crop) // 2, np.int32)
        flip = np.zeros(count, bool)
        alpha = np.zeros((count, data.channels))
        lit = np.zeros(count, bool)
        for row in range(count):
            position = int(batch) * data.batch_size + low + row
            epoch, index = int(epochs[row]), int(indices[row])
            shared = data.crop_sharing > 1
            place = augment.generator(
                self.seed, augment.PLACE, 0 if shared else epoch, position // data.crop_sharing if shared else index
            )
            if data.random_crop:
                offset[row] = augment.crop_offset(place, data.size, data.crop)
            if data.flip:
                flip[row] = augment.flip(place)
            if data.lighting and not any(start <= position / self.size < end for start, end in data.lighting_off):
                lit[row] = True
                colour = augment.generator(self.seed, augment.COLOUR, epoch, index)
                alpha[row] = colour.normal(0.0, data.lighting, data.channels)
        return {
            "indices": indices,
            "offset": offset,
            "flip": flip,
            "lighting": augment.lighting_offsets(alpha, self.statistics, data.lighting_form),
            "scale": np.where(lit, 1 / data.lighting_divisor, 1.0).astype(np.float32),
        }


class _ReadAndCrop(grain.transforms.Map):
    """Reads and decodes the records of a batch and copies their crops into one array."""

    def __init__(self, dataset: Dataset, records: Sequence[dict[str, Any]], data: ConfigDict):
        self.folder, self.records, self.data = dataset.folder, records, data

    def map(self, decided: dict[str, Any]) -> Batch:
        data, indices = self.data, decided.pop("indices")
        image = np.empty((len(indices), data.crop, data.crop, data.channels), np.uint8)
        label = np.empty(len(indices), np.int32)
        whole = np.empty((data.size, data.size, data.channels), np.uint8)
        for row, record in enumerate(_read(self.folder, self.records, indices)):
            top, left = decided["offset"][row]
            pixels = decode(record["image"], data.format, whole)
            image[row] = pixels[top : top + data.crop, left : left + data.crop]
            label[row] = record["label"]
        weight = np.ones(len(indices), np.float32)
        return {"image": image, "label": label, "weight": weight, **decided}


class _ReadWhole(grain.transforms.Map):
    """Reads one batch of whole pictures; rows beyond the last record are zeros of weight 0."""

    def __init__(
        self,
        dataset: Dataset,
        records: Sequence[dict[str, Any]],
        config: ConfigDict,
        rows: tuple[int, int],
    ):
        self.folder, self.records, self.data, self.rows = dataset.folder, records, config.data, rows
        self.batch_size = config.evaluate.batch_size

    def map(self, batch: int) -> Batch:
        data, (low, high) = self.data, self.rows
        first = int(batch) * self.batch_size + low
        indices = np.arange(first, min(first + high - low, len(self.records)))
        image = np.zeros((high - low, data.size, data.size, data.channels), np.uint8)
        label, weight = np.zeros(high - low, np.int32), np.zeros(high - low, np.float32)
        for row, record in enumerate(_read(self.folder, self.records, indices)):
            whole = decode(record["image"], data.format, image[row])
            if whole is not image[row]:
                image[row] = whole
            label[row], weight[row] = record["label"], 1
        return {"image": image, "label": label, "weight": weight}


def decode(record: Any, form: str, buffer: np.ndarray) -> np.ndarray:
    """The pixels of a record, uint8 (S, S, C); a JPEG is decoded into `buffer`.

    simplejpeg's fast DCT differs from the exact one by a grey level here and there and takes a third less
    time. It decodes without Python's lock, so threads are enough.
    """
    if form == "raw":
        return np.frombuffer(_bytes(record), np.uint8).reshape(buffer.shape)
    colour = "RGB" if buffer.shape[2] == 3 else "GRAY"
    try:
        return simplejpeg.decode_jpeg(_bytes(record), colour, fastdct=True, buffer=buffer)
    except ValueError:
        with Image.open(io.BytesIO(_bytes(record))) as image:
            buffer[:] = np.asarray(image.convert("RGB" if colour == "RGB" else "L")).reshape(buffer.shape)
        return buffer


def _bytes(record: Any) -> bytes:
    return record if isinstance(record, bytes) else bytes(record)


def _read(folder: Path, records: Any, indices: np.ndarray) -> Sequence[dict[str, Any]]:
    if not len(indices):
        return []
    try:
        return records.__getitems__([int(index) for index in indices])
    except Exception as error:  # array_record and TFDS raise whatever a damaged file leads them to
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise RunFailure(
            f"records of {folder} are damaged: {first}; remove the folder and prepare it again"
        ) from error


def _threads(data: ConfigDict) -> int:
    return data.threads or len(os.sched_getaffinity(0))


def training_batches(
    dataset: Dataset, config: ConfigDict, *, first_batch: int, last_batch: int, rows: tuple[int, int]
) -> Batches:
    """Training batches `first_batch` to `last_batch` - 1.

    Args:
      dataset: what `open_dataset` gave.
      config: the run's.
      first_batch: where to start; the batches are those that would have come.
      last_batch: where to end.
      rows: first and last + 1 of the rows of each global batch that this process loads.

    Returns:
      An iterator over {'image' uint8 (b, crop, crop, C), 'label' int32 (b,), 'flip' bool (b,), 'offset'
      int32 (b, 2), 'lighting' float32 (b, C), 'scale' float32 (b,), 'weight' float32 (b,)}.
    """
    records = dataset.records(config.data.train_split)
    batches = (
        grain.MapDataset.range(first_batch, last_batch)
        .map(_Decide(dataset, config, len(records), rows))
        .map(_ReadAndCrop(dataset, records, config.data))
    )
    return _iterate(batches, config.data)


def evaluation_batches(
    dataset: Dataset, split: str, config: ConfigDict, *, rows: tuple[int, int]
) -> Batches:
    """Every record of `split` once, in order, as whole pictures.

    Returns:
      An iterator over {'image' uint8 (b, S, S, C), 'label' int32 (b,), 'weight' float32 (b,)}; the last
      batch is filled with pictures of weight 0.
    """
    records = dataset.records(split)
    count = -(-len(records) // config.evaluate.batch_size)
    batches = grain.MapDataset.range(count).map(_ReadWhole(dataset, records, config, rows))
    return _iterate(batches, config.data)


def _iterate(batches: grain.MapDataset, data: ConfigDict) -> Any:
    threads = _threads(data)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + AHEAD)
    iterable = batches.to_iter_dataset(options)
    if data.workers:
        iterable = iterable.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=data.workers, per_worker_buffer_size=AHEAD)
        )
    return iter(iterable)
