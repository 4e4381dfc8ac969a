"""What one process of `prepare` does: pictures into a shard, or into a chunk of the spool.

TFDS is not imported: it would cost each process more time than reading a thousand pictures does.
"""

import errno
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from array_record.python import array_record_module

from alexnet_jax import files
from alexnet_jax.data import pictures, sources
from alexnet_jax.data.statistics import Accumulator
from alexnet_jax.errors import RunFailure
from alexnet_jax.progress import printable

FORM = ("size", "channels", "exif_rotation", "format", "quality")  # keys that decide what a record holds
TOLD = 16  # pictures between two words of a process on its progress
# Read one at a time in any order. Their content does not compress: brotli, the default, would cost as much
# time as encoding a JPEG does.
WRITER = "group_size:1,uncompressed"


@dataclass(frozen=True)
class Form:
    """What a record holds: the keys of `FORM`."""

    size: int
    channels: int
    exif_rotation: bool
    format: str
    quality: int

    def encode(self, data: bytes) -> tuple[np.ndarray, bytes]:
        """The square of a picture, uint8 (size, size, channels), and as it stands in a record.

        JPEG by libjpeg-turbo with chroma at half the resolution (4:2:0), as most JPEGs have it; raw: the
        pixels.

        Raises:
          pictures.BadPicture: it cannot be decoded.
        """
        pixels = pictures.square(data, self.size, self.channels, self.exif_rotation)
        if self.format == "raw":
            return pixels, pixels.tobytes()
        colour = "RGB" if self.channels == 3 else "GRAY"
        sampling = "420" if self.channels == 3 else "Gray"
        plain = np.ascontiguousarray(pixels)
        return pixels, simplejpeg.encode_jpeg(plain, self.quality, colour, sampling)

    def expected_bytes(self) -> int:
        """Of a record, on average; a JPEG of a photograph at quality 95 has 0.14 bytes a value."""
        return int(self.size**2 * self.channels * (1 if self.format == "raw" else 0.15)) + 200


@dataclass
class Tally:
    """What came out of one task: how many records, of which classes, the sums, the rejects with reasons."""

    statistics: Accumulator
    classes: Counter[str] = field(default_factory=Counter)
    rejects: list[str] = field(default_factory=list)
    bytes: int = 0  # of the records' images
    file_size: int = 0

    def save(self, path: Path, **more: Any) -> None:
        """Writes it whole or not at all: the task is done when this file is there."""
        told = {
            "classes": dict(sorted(self.classes.items())),
            "rejects": self.rejects,
            "bytes": self.bytes,
            "file_size": self.file_size,
        }
        words = np.frombuffer(json.dumps(told | more).encode(), np.uint8)
        sums = self.statistics
        with files.whole_file(path) as file:
            # A shard's sums fit 32 bits: 255 times fewer than 16 million pictures.
            narrow = sums.sum.astype(np.uint32)[: None if sums.count else 0]  # nothing was counted: nothing
            np.savez(file, words=words, count=sums.count, sum=narrow, products=sums.products)

    @classmethod
    def load(cls, path: Path, form: Form) -> tuple["Tally", dict[str, Any]]:
        """Reads what `save` wrote, and what was told more."""
        with np.load(path, allow_pickle=False) as arrays:
            statistics = Accumulator(form.size, form.channels)
            statistics.count = int(arrays["count"])
            statistics.sum[: len(arrays["sum"])] += arrays["sum"]
            statistics.products += arrays["products"]
            told = json.loads(arrays["words"].tobytes())
        return cls(
            statistics, Counter(told["classes"]), told["rejects"], told["bytes"], told["file_size"]
        ), told


def example(image: bytes, label: int, file_name: str) -> bytes:
    """A record: a `tf.train.Example` in protobuf's deterministic form, its features in the order of names.

    Written here, since its class comes with TFDS only.
    """
    name = file_name.encode("utf-8", "backslashreplace")
    values = {"file_name": _field(1, _field(1, name)), "image": _field(1, _field(1, image))}
    values["label"] = _field(3, _field(1, _varint(label)))  # bytes_list is 1, int64_list 3
    entries = (_field(1, key.encode()) + _field(2, value) for key, value in values.items())
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


@dataclass(frozen=True)
class Task:
    """A shard to be written."""

    entries: list[sources.Entry]
    numbers: dict[str, int]  # of the classes among them
    read: Callable[[sources.Entry], bytes]
    form: Form
    encoded: bool  # what is read is encoded, and counted, already
    path: Path
    unfinished: Path
    tally: Path
    identity: str
    strict: bool


@dataclass(frozen=True)
class Chunk:
    """Pictures of a compressed tar, to be encoded into the file `path` and told in `path`.npz."""

    pictures: list[sources.Picture]
    path: Path
    form: Form
    strict: bool


def write_shard(task: Task, tell: Callable[[int], None]) -> list[str]:
    """Returns the rejects, as `encode_chunk` does."""
    tally = Tally(Accumulator(task.form.size, task.form.channels))
    # A name of its own: what a killed run's process still does must not meet what this one writes.
    unfinished = task.unfinished.with_name(f"{task.unfinished.name}.{secrets.token_hex(4)}")
    try:
        writer = array_record_module.ArrayRecordWriter(str(unfinished), WRITER)
        for number, entry in enumerate(task.entries, 1):
            encoded = _encoded(task, entry, tally)
            if encoded is not None:
                writer.write(example(encoded, task.numbers[entry.label], entry.key))
                tally.classes[entry.label] += 1
                tally.bytes += len(encoded)
            if number % TOLD == 0 or number == len(task.entries):
                tell((number - 1) % TOLD + 1)
        writer.close()
    except RuntimeError as error:  # array_record's: it cannot write
        if shutil.disk_usage(task.path.parent).free < 2**20:
            raise OSError(errno.ENOSPC, "the disk is full") from error
        raise RunFailure(f"{task.path} cannot be written: {str(error).splitlines()[0]}") from error
    files.synchronise(unfinished)
    tally.file_size = unfinished.stat().st_size
    os.replace(unfinished, task.path)
    files.synchronise_folder(task.path.parent)
    tally.save(task.tally, identity=task.identity)
    return tally.rejects


def _encoded(task: Task, entry: sources.Entry, tally: Tally) -> bytes | None:
    """What stands in the record; None for a reject."""
    try:
        data = task.read(entry)
        if task.encoded:
            return data
        pixels, encoded = task.form.encode(data)
    except (pictures.BadPicture, sources.Unreadable) as error:
        _reject(f"{entry.split}/{entry.key}: {error}", task.strict, tally)
        return None
    if entry.split == "train":
        tally.statistics.add(pixels)
    return encoded


def _reject(line: str, strict: bool, tally: Tally) -> None:
    line = printable(line)
    if strict:
        raise RunFailure(f"--strict: {line}")
    tally.rejects.append(line)


def encode_chunk(chunk: Chunk, tell: Callable[[int], None]) -> list[str]:
    form = chunk.form
    tally = Tally(Accumulator(form.size, form.channels))
    entries = []
    with files.whole_file(chunk.path) as file:
        for picture in chunk.pictures:
            try:
                pixels, encoded = form.encode(picture.data)
            except pictures.BadPicture as error:
                _reject(f"{picture.split}/{picture.key}: {error}", chunk.strict, tally)
                continue
            if picture.split == "train":
                tally.statistics.add(pixels)
            entries.append((picture.split, picture.label, picture.key, file.tell(), len(encoded)))
            file.write(encoded)
    tally.save(chunk.path.with_suffix(".npz"), entries=entries)
    tell(len(chunk.pictures))
    return tally.rejects
