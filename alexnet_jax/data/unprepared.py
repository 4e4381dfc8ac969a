"""A source as a dataset that nobody prepared, to be evaluated: its records are made when it is opened.

They are the very records that `prepare` would make, in the same order. They lie in a temporary file without a
name, which is gone when this process ends.
"""

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from tensorflow_datasets.core.naming import ShardedFileTemplate
from tensorflow_datasets.core.splits import SplitDict, SplitInfo

from alexnet_jax import runtime
from alexnet_jax.data import shards
from alexnet_jax.data.images import BadImage
from alexnet_jax.data.notes import Notes
from alexnet_jax.data.records import Dataset
from alexnet_jax.data.shards import RecordFormat
from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.data.sources.entries import Entries, Entry, Source, Unreadable
from alexnet_jax.data.spool import chunks
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.data.tfds_metadata import TfdsMetadata
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.progress import Progress, printable

PREFERRED = ("test", "validation")  # of a source's splits, the first that it has


class UnpreparedDataset(Dataset):
    """A source whose records were made for this process alone; `folder` is the source itself."""

    @property
    def name(self) -> str:
        """Return the last name in the source's path."""
        return self.folder.absolute().name


class Opened(NamedTuple):
    """What is evaluated of a source.

    Attributes:
      dataset: its images.
      split: those of them that are evaluated.
      left_out: how many of these cannot be decoded.
      lines: for the user: how the source was understood, which split that is, and what was left out.
    """

    dataset: Dataset
    split: str
    left_out: int
    lines: Sequence[str]


@dataclass
class _Records:
    """The encoded images of a source.

    Attributes:
      file: holds them, one after the other.
      entries: one for each, `start` and `size` of its bytes in `file`.
      labels: {the name of a class: its label}.
      rejects: by split, a line for each image that could not be used.
      notes: what the user should know of those that could.
    """

    file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    entries: Entries = field(default_factory=Entries)
    labels: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: Notes = field(default_factory=Notes)

    def make(
        self, source: Source, record_format: RecordFormat, images: Iterator[tuple[Entry, float]]
    ) -> None:
        """Encode images, on threads, in their order."""

        def encode(entry: Entry) -> tuple[bytes | str, list[str]]:
            noted: list[str] = []
            try:
                return record_format.encode(source.read(entry), noted)[1], noted
            except (BadImage, Unreadable) as error:
                return printable(f"{entry.key}: {error}"), []

        with ThreadPoolExecutor(runtime.cores()) as pool:
            for chunk, _ in chunks(images):
                for entry, (encoded, noted) in zip(chunk, pool.map(encode, chunk), strict=True):
                    self.notes.add(entry.key, noted)
                    if isinstance(encoded, str):
                        self.rejects[entry.split].append(encoded)
                        continue
                    start = self.file.tell()
                    self.file.write(encoded)
                    place = Entry(entry.split, entry.label, entry.key, "file", start, len(encoded))
                    self.entries.append(place)
        self.file.flush()

    def read(self, position: int) -> bytes:
        """Return a record as it stands in a shard; of many threads at once."""
        entry = self.entries[position]
        image = os.pread(self.file.fileno(), entry.size, entry.start)
        return shards.example(image, self.labels[entry.label], entry.key)


@dataclass(frozen=True)
class _Part(Sequence[bytes]):
    """Some of the records, in the order of a split."""

    records: _Records
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> Any:
        return self.records.read(int(self.positions[index]))


@dataclass(frozen=True)
class _Metadata(TfdsMetadata):
    """The splits of a source; TFDS computes their slices, as of a prepared dataset."""

    made: _Records

    def records(self, split: str) -> Sequence[bytes]:
        order = self.made.entries.order
        split_of = {info.file_instructions[0].filename: name for name, info in self.splits.items()}
        parts = [
            order[split_of[part.filename]][part.skip : part.skip + part.take]
            for part in self.splits[split].file_instructions
        ]
        return _Part(self.made, np.concatenate([np.zeros(0, np.int64), *parts]))


def open_unprepared(
    name: str,
    data: ConfigDict,
    split: str,
    statistics: Statistics,
    check: Callable[[tuple[str, ...]], object],
) -> Opened:
    """Make a source's records for an evaluation: those of the splits that are asked for alone.

    Args:
      name: a path, or 'digits'.
      data: `config.data`, which says what a record holds.
      split: a TFDS split; '': the source's test split, else its validation split, else all of it.
      statistics: those by which the images are going to be normalised.
      check: called with the names of the source's classes, before an image is decoded wherever that can be.

    Raises:
      UsageError: the source cannot be used, it has no such split, there is no room for its records, or what
        `check` raises.
      RunFailure: too many images cannot be decoded, or the disk is full.
    """
    source = open_source(name)
    record_format = RecordFormat.of(data)
    made = _Records()
    try:
        names, wanted = _make(name, source, record_format, made, split, check)
        order = made.entries.order
    except OSError as error:
        raise RunFailure(
            f"{name} cannot be read into {tempfile.gettempdir()}: {error.strerror or error} (TMPDIR names "
            "another folder for its records)"
        ) from error
    parts = _parts(wanted)
    count = sum(len(order.get(part, ())) for part in parts)
    rejects = [reject for part in sorted(parts) for reject in made.rejects[part]]
    if len(rejects) > data.max_rejected_share * (count + len(rejects)):
        raise RunFailure(
            f"{len(rejects)} of {count + len(rejects)} images of {name} cannot be decoded, more than "
            f"config.data.max_rejected_share={data.max_rejected_share:g}, the first: {rejects[0]}"
        )
    made.labels = {label: number for number, label in enumerate(names)}
    folder = Path(name)
    file = ShardedFileTemplate(folder, dataset_name="source", filetype_suffix="array_record")
    infos = [SplitInfo(part, [len(rows)], 0, file.replace(split=part)) for part, rows in order.items()]
    metadata = _Metadata(folder, names, "Image", SplitDict(infos), made)
    dataset = UnpreparedDataset(folder, names, statistics, record_format, metadata)
    size = dataset.size(wanted)
    lines = [f"{name}: {source.kind}; {_which(wanted, split)} is evaluated, {size:,} images"]
    lines += [f"note: {note}" for note in (*source.remarks, *source.notes)]
    lines += made.notes.lines()
    if rejects:
        lines.append(f"{len(rejects)} cannot be decoded and are left out, the first: {rejects[0]}")
    return Opened(dataset, wanted, len(rejects), lines)


def _make(
    name: str,
    source: Source,
    record_format: RecordFormat,
    made: _Records,
    split: str,
    check: Callable[[tuple[str, ...]], object],
) -> tuple[tuple[str, ...], str]:
    """Make the records; return the names of the source's classes, and the split that is evaluated."""
    entries = source.listed().entries or Entries()
    splits = set(entries.order)
    names = source.class_names or tuple(sorted(set().union(*map(entries.classes, splits))))
    check(names)
    wanted = split or _choose(splits)
    chosen = _check_split(name, wanted, splits)
    count = sum(len(entries.order[part]) for part in chosen)
    _check_room(count * record_format.expected_bytes())
    # Of a compressed tar the images come again, in its order; of anything else they are read by the threads.
    every = (entry for entry, _ in source.images()) if source.is_stream else iter(entries)
    with Progress(f"read {printable(name)}", count, "images") as progress:
        found = (entry for entry in every if entry.split in chosen)
        made.make(source, record_format, _counted(found, progress))
    return names, wanted


def _parts(split: str) -> set[str]:
    """Return the names in a TFDS split such as 'test+train[:50%]'."""
    return {part.split("[")[0].strip() for part in split.split("+")}


def _check_split(name: str, split: str, available: set[str]) -> set[str]:
    """Return the names in a split; raise UsageError where one is not among those available."""
    missing = sorted(_parts(split) - available)
    if missing:
        raise UsageError(f"{name} has no split {missing[0]!r}; it has {', '.join(sorted(available))}")
    return _parts(split)


def _counted(found: Iterable[Entry], progress: Progress) -> Iterator[tuple[Entry, float]]:
    for entry in found:
        yield entry, 0.0
        progress.update(1)


def _choose(available: set[str]) -> str:
    """Return the split of a source that is evaluated where none is asked for."""
    return next((name for name in PREFERRED if name in available), "+".join(sorted(available)))


def _check_room(needed: int) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{folder} has {free / 2**30:.1f} GiB free, and its records need about {needed / 2**30:.1f} "
            "GiB: set TMPDIR to another folder"
        )


def _which(wanted: str, split: str) -> str:
    """Return which of a source's images are evaluated, and why those."""
    if split:
        return f"--split={split}"
    if wanted not in PREFERRED:
        return "it has no test and no validation split: all of it"
    before = PREFERRED[: PREFERRED.index(wanted)]
    return "".join(f"it has no {part} split: " for part in before) + f"its {wanted} split"
