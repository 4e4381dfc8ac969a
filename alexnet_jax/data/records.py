"""A prepared dataset and its records: opening, random access, decoding."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from ml_collections import ConfigDict
from tensorflow_datasets.proto import tf_example_pb2

from alexnet_jax import files, program
from alexnet_jax.config.io import ADDED
from alexnet_jax.config.schema import shown
from alexnet_jax.data import images, origin, shards, tfds_layout, tfds_metadata
from alexnet_jax.data.image_headers import MAX_BLOCK_VISITS, MIN_SCAN_BYTES
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.data.tfds_metadata import TfdsMetadata
from alexnet_jax.errors import RunFailure, UsageError, first_line


@dataclass(frozen=True)
class Records:
    """Random access to the records of a split, for many threads at once; can be pickled.

    Attributes:
      folder: the dataset's, for messages.
      split: a TFDS split, for messages.
      source: the records as they stand in the files.
      classes: number of the dataset's classes.
      record_format: size, channels and encoding of the images.
      labels: what is read for each label that stands in a record; empty: that label itself.
    """

    folder: Path
    split: str
    source: Sequence[bytes]
    classes: int
    record_format: shards.RecordFormat
    labels: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> tuple[bytes, int, str]:
        """Return image (JPEG, or raw pixels), label and file name of one record.

        Raises:
          RunFailure: the record is damaged, or its file cannot be read.
          MemoryError: there is no memory for it.
        """
        # TFDS' own parsing makes numpy arrays of everything, at six times the cost.
        try:
            feature = tf_example_pb2.Example.FromString(self.source[index]).features.feature
            name = feature["file_name"].bytes_list.value[0].decode()
            label = feature["label"].int64_list.value[0]
            if not 0 <= label < self.classes:
                raise ValueError(f"it has the label {label}, and there are {self.classes} classes")
            label = self.labels[label] if self.labels else label
            return feature["image"].bytes_list.value[0], label, name
        except (RunFailure, MemoryError):  # nothing of the file
            raise
        except Exception as error:  # array_record and protobuf raise whatever a damaged file leads them to
            raise RunFailure(
                f"record {index} of split {self.split!r} of {self.folder} is damaged: {first_line(error)}; "
                "remove the folder and prepare it again"
            ) from error

    def image(self, index: int, buffer: np.ndarray | None = None) -> tuple[np.ndarray, int]:
        """Return pixels, uint8 (S, S, C), and label of one record.

        Args:
          index: of the record in the split.
          buffer: uint8 (S, S, C) to decode into, see `decode`; a new one where it is None.

        Raises:
          RunFailure: the record is damaged or holds no such image.
        """
        record, label, name = self.read(index)
        target = self.new_buffer() if buffer is None else buffer
        return decode(record, self.record_format.format, target, name), label

    def new_buffer(self) -> np.ndarray:
        """Return an array for one image, uint8 (S, S, C), that is not cleared."""
        size, channels = self.record_format.size, self.record_format.channels
        return np.empty((size, size, channels), np.uint8)


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset.

    Attributes:
      folder: where it lies.
      class_names: by label.
      statistics: of its training split.
      record_format: what a record holds: size, channels, encoding.
      metadata: which records stand in which shards.
      labels: what is read for each label that stands in a record (`relabelled`); empty: that label itself.
    """

    folder: Path
    class_names: tuple[str, ...]
    statistics: Statistics
    record_format: shards.RecordFormat
    metadata: TfdsMetadata
    labels: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Return what it is called in messages and results."""
        return self.folder.parent.name

    @property
    def splits(self) -> list[str]:
        """Return the names of its splits."""
        return list(self.metadata.splits)

    @property
    def digest(self) -> str:
        """Return what tells it from another dataset: of its tables, in which the sizes of all parts stand."""
        names = (tfds_metadata.INFO, tfds_metadata.LABELS, "statistics.npz")
        parts = [hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in names]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def records(self, split: str) -> Records:
        """Return the records of a TFDS split such as 'train[:90%]'.

        Raises:
          UsageError: the split is not there, or is empty.
        """
        available = ", ".join(self.splits)
        try:
            source = self.metadata.records(split)
        except UsageError:
            raise
        except Exception as error:  # TFDS raises whatever a name leads it to
            raise UsageError(
                f"split {split!r} of {self.folder}: {first_line(error)} (there are: {available})"
            ) from None
        if not len(source):
            counts = ", ".join(f"{n:,} {name}" for name, n in self._counts().items())
            raise UsageError(
                f"split {split!r} of {self.folder} holds no images (there are: {counts}); with few images "
                "say --config.data.train_split='train[:50%]' --config.data.validation_split='train[50%:]'"
            )
        classes = len(self.labels or self.class_names)
        return Records(self.folder, split, source, classes, self.record_format, self.labels)

    def relabelled(self, class_names: Sequence[str], labels: Sequence[int]) -> "Dataset":
        """Return the dataset as one of other classes: whatever reads its labels reads those.

        Args:
          class_names: by the new labels.
          labels: the new label of each of its own, of which a dataset keeps the numbers in its records.
        """
        return replace(self, class_names=tuple(class_names), labels=tuple(labels))

    def _counts(self) -> dict[str, int]:
        return {name: self.metadata.splits[name].num_examples for name in self.splits}

    def size(self, split: str) -> int:
        """Return the number of records of `split`; UsageError as `records`."""
        return len(self.records(split))


def open_dataset(data: ConfigDict) -> Dataset:
    """Open the dataset that `config.data` names.

    Raises:
      UsageError: it is not prepared, damaged, or was prepared with other values of the keys that decide
        what a record holds.
    """
    folder = tfds_layout.dataset_folder(data)
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not prepared; type: {program.command()} prepare "
            "--source=<folder, archive, or digits>, with the same --config flags or --workdir"
        )
    try:
        preparation = json.loads(files.read_bounded(folder / origin.PREPARATION, origin.MAX_BYTES))
        # Of before white_level was a key, the few deep images were scaled by their brightest value.
        found: Any = ADDED["data"] | preparation
        record_format = shards.RecordFormat(**{key: found.get(key) for key in shards.RECORD_FORMAT_KEYS})
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{folder} is not a whole dataset: {first_line(error)}; remove it and prepare it again"
        ) from None
    for key in shards.RECORD_FORMAT_KEYS:
        found = getattr(record_format, key)
        if found != data[key] and not (key == "quality" and data.format == "raw"):
            raise UsageError(
                f"{folder} was prepared with {key}={shown(found)} and config.data.{key} is {data[key]!r}: "
                "change the key, or prepare under another config.data.name"
            )
    metadata = tfds_metadata.read(folder)
    statistics = Statistics.load(folder / "statistics.npz")
    return Dataset(folder, metadata.class_names, statistics, record_format, metadata)


def decode(record: bytes, encoding: str, buffer: np.ndarray, name: str) -> np.ndarray:
    """Return the pixels of a record's image, uint8 (S, S, C).

    simplejpeg decodes without Python's lock, so that threads are enough, and to the very pixels that Pillow
    gives.

    Args:
      record: the image as `Records.read` gave it.
      encoding: `config.data.format`, 'jpeg' or 'raw'.
      buffer: uint8 (S, S, C), into which a JPEG is decoded: the result may be this very array.
      name: file name of the image, for the message.

    Raises:
      RunFailure: the record holds no image of the buffer's shape.
    """
    try:
        if encoding == "raw":
            return np.frombuffer(record, np.uint8).reshape(buffer.shape)
        most = MAX_BLOCK_VISITS * 64 // buffer.size  # scans: counted where there is room for so many
        if len(record) > most * MIN_SCAN_BYTES and record.count(b"\xff\xda") > most:
            raise ValueError("it has very many scans")
        colorspace = "RGB" if buffer.shape[2] == 3 else "GRAY"
        try:
            pixels: np.ndarray = simplejpeg.decode_jpeg(record, colorspace, buffer=buffer)
        except ValueError:  # a JPEG that libjpeg-turbo does not convert, or none at all
            width, height = images.read_size(record)
            if (height, width) != buffer.shape[:2]:  # before anything is decoded
                raise ValueError(f"it has {width} x {height} pixels") from None
            pixels = np.atleast_3d(np.asarray(images.decode(record, images.Preprocessing(*buffer.shape[1:]))))
        if pixels.shape != buffer.shape:
            raise ValueError(f"it has the shape {pixels.shape}, not {buffer.shape}")
        return pixels
    except (images.BadImage, ValueError) as error:
        raise RunFailure(
            f"the record of {name} cannot be decoded: {error}; prepare the data again"
        ) from error
