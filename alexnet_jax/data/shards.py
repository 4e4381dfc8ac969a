"""What one process of `prepare` does: images into a shard, or into a chunk of the spool.

TFDS is not imported: it would cost each process more time than reading a thousand images does.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from array_record.python import array_record_module

from alexnet_jax import arrays, files
from alexnet_jax.data.images import BadImage, Preprocessing, resize_center_crop
from alexnet_jax.data.notes import Notes
from alexnet_jax.data.sources.entries import Entry, Unreadable, read_range
from alexnet_jax.data.statistics import Accumulator
from alexnet_jax.errors import RunFailure, first_line
from alexnet_jax.progress import printable

MAX_STATS_BYTES = 2**30  # of a shard's sums: those of images of 4096 x 4096 have 200 million
PROGRESS_INTERVAL = 16  # images between two messages of a process on its progress
# Read one at a time in any order. Their content does not compress: brotli, the default, would cost as much
# time as encoding a JPEG does.
WRITER = "group_size:1,uncompressed"


@dataclass(frozen=True, kw_only=True)
class RecordFormat(Preprocessing):
    """What a record holds: the keys of `config.data` that decide it.

    Attributes:
      size, channels, and how an image becomes a square: as in `Preprocessing`.
      format: 'jpeg' or 'raw'.
      quality: of a JPEG, 1 to 100.
    """

    format: str
    quality: int

    def encode(self, data: bytes, notes: list[str] | None = None) -> tuple[np.ndarray, bytes]:
        """Return the square of an image, and the bytes that stand for it in a record.

        JPEG by libjpeg-turbo with chroma at half the resolution (4:2:0), as most JPEGs have it; raw: the
        pixels.

        Args:
          data: an encoded image.
          notes: takes what the user should know, as in `resize_center_crop`.

        Returns:
          uint8 (size, size, channels), and bytes.

        Raises:
          BadImage: it cannot be decoded.
        """
        pixels = resize_center_crop(data, self, notes)
        if self.format == "raw":
            return pixels, pixels.tobytes()
        colour, sampling = ("RGB", "420") if self.channels == 3 else ("GRAY", "Gray")
        plain = np.ascontiguousarray(pixels)
        return pixels, simplejpeg.encode_jpeg(plain, self.quality, colour, sampling)

    @property
    def pixel_bytes(self) -> int:
        """Return the bytes of the pixels of an image."""
        return self.size**2 * self.channels

    def expected_bytes(self) -> int:
        """Return the bytes of a record on average; a photograph's JPEG at quality 95 has 0.14 a value."""
        return int(self.pixel_bytes * (1 if self.format == "raw" else 0.15)) + 200


RECORD_FORMAT_KEYS = tuple(field.name for field in fields(RecordFormat))


@dataclass
class ShardStats:
    """What came out of one task: how many records, of which classes, the sums, the rejects with reasons."""

    statistics: Accumulator
    classes: Counter[str] = field(default_factory=Counter)
    rejects: list[str] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    bytes: int = 0  # of the records' images
    file_size: int = 0
    digests: list[int] = field(default_factory=list)  # of the records' images, in their order

    def save(self, path: Path, **more: Any) -> None:
        """Write it whole or not at all: the task is done when this file is there."""
        metadata = {
            "classes": dict(sorted(self.classes.items())),
            "rejects": self.rejects,
            "notes": self.notes,
            "bytes": self.bytes,
            "file_size": self.file_size,
        }
        words = np.frombuffer(json.dumps(metadata | more).encode(), np.uint8)
        sums = self.statistics
        with files.atomic_write(path) as file:
            # A shard's sums fit 32 bits: 255 times fewer than 16 million images.
            narrow = sums.sum.astype(np.uint32)[: None if sums.count else 0]  # nothing was counted: nothing
            digests = np.asarray(self.digests, np.uint64)
            np.savez(file, words=words, count=sums.count, sum=narrow, products=sums.products, digests=digests)

    @classmethod
    def load(cls, path: Path, record_format: RecordFormat) -> tuple["ShardStats", dict[str, Any]]:
        """Read what `save` wrote: the stats, and the metadata with what was added to it.

        Raises:
          RunFailure: it is damaged.
        """
        try:
            found = arrays.load_npz(path, MAX_STATS_BYTES)
            statistics = Accumulator(record_format.size, record_format.channels)
            statistics.count = int(found["count"])
            statistics.sum[: len(found["sum"])] += found["sum"]
            statistics.products += found["products"]
            metadata = json.loads(found["words"].tobytes())
            classes, notes = Counter(metadata["classes"]), Notes()
            notes.merge(metadata["notes"])
            sizes, digests = (metadata["bytes"], metadata["file_size"]), found["digests"].tolist()
            return cls(statistics, classes, metadata["rejects"], notes, *sizes, digests), metadata
        except Exception as error:  # damage leads zipfile, zlib and the parser of JSON anywhere
            words = printable((str(error) or type(error).__name__)[:200])
            raise RunFailure(f"{path} cannot be read: {words}; remove it and prepare again") from error


def example(image: bytes, label: int, file_name: str) -> bytes:
    """Return a record: a `tf.train.Example` in protobuf's deterministic form, its features sorted by name.

    Written here, since its class comes with TFDS only.
    """
    name = file_name.encode("utf-8", "backslashreplace")
    values = {"file_name": _field(1, _field(1, name)), "image": _field(1, _field(1, image))}
    values["label"] = _field(3, _field(1, _varint(label)))  # bytes_list is 1, int64_list 3
    entries = (_field(1, key.encode()) + _field(2, value) for key, value in values.items())
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def digest(image: bytes) -> int:
    """Return 64 bits of a hash of a record's image, by which the same one is found in another split.

    Of a large one, which raw pixels are, some tens of thousands of bytes that lie evenly apart decide.
    """
    apart = len(image) >> 15
    sample = image if apart < 2 else image[:: apart | 1]  # odd: all channels are met
    return int.from_bytes(hashlib.sha256(sample).digest()[:8], "little")


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encode a number by seven bits a byte, the lowest first; the eighth says that more follow."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@dataclass(frozen=True)
class Chunk:
    """Images to be encoded into the file `path`, and what `ShardStats` has of them, into `stats_path`."""

    entries: list[Entry]
    path: Path
    stats_path: Path
    record_format: RecordFormat
    strict: bool
    read: Callable[[Entry], bytes] = read_range
    encoded: bool = False  # what is read is encoded, and counted, already


@dataclass(frozen=True, kw_only=True)
class ShardTask(Chunk):
    """A shard to be written."""

    counted_split: str  # whose images join the dataset's statistics
    labels: dict[str, int]  # of the classes among its entries
    unfinished: Path  # where it lies until it is whole
    identity: str


def write_shard(task: ShardTask, report_progress: Callable[[int], None]) -> list[str]:
    """Write a shard and its stats.

    Args:
      task: what to write.
      report_progress: called with the number of images done since it was last called.

    Returns:
      A line for each image that was rejected.

    Raises:
      RunFailure: it cannot be written, or an image is rejected and the task strict.
      OSError: the disk is full.
    """
    stats = ShardStats(Accumulator(task.record_format.size, task.record_format.channels))
    # A name of its own: what a killed run's process still does must not meet what this one writes.
    unfinished = task.unfinished.with_name(f"{task.unfinished.name}.{secrets.token_hex(4)}")
    try:
        writer = array_record_module.ArrayRecordWriter(str(unfinished), WRITER)
        for number, entry in enumerate(task.entries, 1):
            try:
                counted = stats.statistics if entry.split == task.counted_split else None
                encoded = _encode(entry, task, counted, stats.notes)
            except (BadImage, Unreadable) as error:
                _reject(stats.rejects, f"{entry.split}/{entry.key}: {error}", task.strict)
            else:
                writer.write(example(encoded, task.labels[entry.label], entry.key))
                stats.classes[entry.label] += 1
                stats.bytes += len(encoded)
                stats.digests.append(digest(encoded))
            if number % PROGRESS_INTERVAL == 0 or number == len(task.entries):
                report_progress((number - 1) % PROGRESS_INTERVAL + 1)
        writer.close()
    except RuntimeError as error:  # array_record's: it cannot write
        if shutil.disk_usage(task.path.parent).free < 2**20:
            raise OSError(errno.ENOSPC, "the disk is full") from error
        raise RunFailure(f"{task.path} cannot be written: {first_line(error)}") from error
    files.synchronise(unfinished)
    stats.file_size = unfinished.stat().st_size
    os.replace(unfinished, task.path)
    files.synchronise_folder(task.path.parent)
    stats.save(task.stats_path, identity=task.identity)
    return stats.rejects


def _encode(entry: Entry, task: Chunk, statistics: Accumulator | None, notes: Notes) -> bytes:
    """Return what stands in the record, and count it; BadImage or Unreadable where there is nothing."""
    data = task.read(entry)
    if task.encoded:
        return data
    noted: list[str] = []
    pixels, encoded = task.record_format.encode(data, noted)
    notes.add(f"{entry.split}/{entry.key}" if entry.label else entry.key, noted)
    if statistics is not None:
        statistics.add(pixels)
    return encoded


def _reject(rejects: list[str], line: str, strict: bool) -> None:
    line = printable(line)
    if strict:
        raise RunFailure(f"--strict: {line}") from None
    rejects.append(line)


def encode_chunk(chunk: Chunk, report_progress: Callable[[int], None]) -> list[str]:
    """Encode a chunk of a compressed tar into its file, one image after the other, and write its stats.

    Args:
      chunk: the images, the split of each what of its path may decide it.
      report_progress: called with their number when they are done.

    Returns:
      A line for each image that was rejected.

    Raises:
      RunFailure: an image is rejected and the chunk strict.
    """
    size, channels = chunk.record_format.size, chunk.record_format.channels
    sums: dict[str, Accumulator] = {}
    groups: dict[str, str] = {}  # an image of each
    entries, rejected = [], []
    lines: list[str] = []
    told = ShardStats(Accumulator(size, channels))
    with files.atomic_write(chunk.path) as file:
        for entry in chunk.entries:
            if entry.split not in sums:
                sums[entry.split], groups[entry.split] = Accumulator(size, channels), entry.key
            try:
                encoded = _encode(entry, chunk, sums[entry.split], told.notes)
            except (BadImage, Unreadable) as error:
                _reject(lines, f"{entry.key}: {error}", chunk.strict)
                rejected.append((entry.key, str(error)))
            else:
                entries.append((entry.key, file.tell(), len(encoded)))
                file.write(encoded)
    for number, (group, statistics) in enumerate(sums.items()):
        path = chunk.stats_path.with_name(f"{chunk.stats_path.stem}-{number}.npz")
        ShardStats(statistics).save(path, group=group)
    # The last: the chunk is done when this is there.
    told.save(chunk.stats_path, entries=entries, rejected=rejected, groups=groups)
    report_progress(len(chunk.entries))
    return lines


def remove_unfinished(folder: Path, prefix: str = ".") -> None:
    """Remove what a process that was killed had begun."""
    for path in folder.glob(f"{prefix}*"):
        path.unlink()
