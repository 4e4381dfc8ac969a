"""A dataset as TFDS lays it out: which record stands in which shard, and what stands beside the shards.

Decided before any image is decoded: the records of a split stand in the order of a hash of their keys, so
that any slice such as train[90%:] is a fair sample, cut into shards of equal length.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.data import origin, summary
from alexnet_jax.data.notes import Notes
from alexnet_jax.data.shards import RecordFormat, ShardStats
from alexnet_jax.data.sources.entries import Entries, Source
from alexnet_jax.data.statistics import Accumulator
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable

VERSION = "1.0.0"
SHARD_BYTES = 8 * 2**20  # of a shard, while there are no more than MAX_SHARDS of them
MAX_SHARDS = 1024  # of a split
REJECTS = "rejects.txt"


def dataset_folder(data: ConfigDict) -> Path:
    """Return where the dataset of `config.data` lies: <data_dir>/<name>_<size>/<version>.

    Squashed images and those cut as torchvision does stand beside others of the same name and size:
    <name>_<size>_squash, <name>_<size>_torchvision.

    Raises:
      UsageError: the folder is an address such as gs://bucket, its name is no UTF-8, or `~` is nowhere.
    """
    root = data.dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    files.check_local(root)
    try:
        folder = Path(root).expanduser().absolute() / _folder_name(data) / VERSION
    except RuntimeError:
        raise UsageError(
            f"the data folder {root} is nowhere, since this user has no home: set HOME or TFDS_DATA_DIR, or "
            "give --config.data.dir"
        ) from None
    files.check_utf8(folder)
    return folder


def _folder_name(data: ConfigDict) -> str:
    usual = {"cut", "nearest"}
    forms = [form for form in (data.resize, data.resize_rounding) if form not in usual]
    return "_".join([data.name, str(data.size), *forms])


def is_prepared(data: ConfigDict) -> bool:
    """Return whether the dataset of `config.data` is there; it takes its name when it is whole."""
    return dataset_folder(data).is_dir()


@dataclass(frozen=True)
class Shard:
    """One file of the dataset: its name and which records, in the order of the hash, it holds."""

    split: str
    file: str
    first: int
    last: int  # excluded

    def __len__(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class Plan:
    """All that is decided before an image is decoded.

    Attributes:
      identity: a digest of all that the outcome depends on.
      kind: what the source is, in words.
      class_names: by label.
      shards: in the order of their splits' names.
      record_format: what a record holds.
      summary: how the source was understood, as `summary.understand` gives it.
      split_of_group: in a compressed tar, the split of images whose folders name the same splits.
      rejects: of a compressed tar, a line for each image that cannot be used.
      made_from: what tells the source from another, as `origin.of_source` gives it.
    """

    identity: str
    kind: str
    class_names: list[str]
    shards: list[Shard]
    record_format: RecordFormat
    summary: dict[str, Any]
    split_of_group: dict[str, str] = field(default_factory=dict)
    rejects: list[str] = field(default_factory=list)
    made_from: dict[str, Any] = field(default_factory=dict)

    @property
    def counted_split(self) -> str:
        """Return the split whose images the statistics are of: train; where there is none, the first."""
        splits = {shard.split for shard in self.shards}
        return "train" if "train" in splits else max(splits)

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        tree = {**vars(self), "shards": [vars(shard) for shard in self.shards]}
        tree["record_format"] = asdict(self.record_format)
        files.write_text(path, json.dumps(tree))

    @classmethod
    def load(cls, path: Path) -> "Plan":
        """Read what `save` wrote; FileNotFoundError when it is missing."""
        tree = json.loads(path.read_text())
        shards = [Shard(**shard) for shard in tree["shards"]]
        record_format = RecordFormat(**tree.pop("record_format"))
        tree.pop("shards")
        return cls(**tree, shards=shards, record_format=record_format)


def make_plan(
    identity: str, source: Source, entries: Entries, data: ConfigDict, record_format: RecordFormat
) -> Plan:
    """Cut the records of each split into shards of equal length, as many as the expected bytes ask for.

    Args:
      identity: a digest of all that the outcome depends on.
      source: what the dataset is made from.
      entries: its images.
      data: `config.data`.
      record_format: what a record holds.

    Raises:
      UsageError: no images, fewer than two classes, a class whose name cannot be written down, or, where
        there are training images, a class without.
    """
    counts = {split: len(found) for split, found in entries.order.items()}
    if not entries:
        raise UsageError("the source holds no images that can be decoded")
    names = list(source.class_names) or sorted(set().union(*map(entries.classes, counts)))
    if len(names) < 2:
        raise UsageError(f"the source has one class, {names[0]!r}: a net needs two or more")
    for name in names:
        if not name.isprintable() or name != name.strip():  # TFDS writes them one a line
            raise UsageError(f"class {printable(name)!r} cannot be written down: rename its folder")
    if "train" in counts:
        _check_trained(names, entries.classes("train"))
    shards = []
    for split, count in sorted(counts.items()):
        number = min(-(-count * record_format.expected_bytes() // SHARD_BYTES), MAX_SHARDS, count)
        template = _file_names(data, split, Path())
        for index in range(number):
            name = template.sharded_filepath(shard_index=index, num_shards=number).name
            shards.append(Shard(split, name, index * count // number, (index + 1) * count // number))
    understood = summary.understand(source, entries)
    return Plan(identity, source.kind, names, shards, record_format, understood)


def _check_trained(class_names: list[str], trained: Iterable[str]) -> None:
    """Raise UsageError when a class is not among those that have training images."""
    missing = sorted(set(class_names) - set(trained))
    if missing:
        raise UsageError(f"class {printable(missing[0])!r} has no training images")


def _file_names(data: ConfigDict, split: str, folder: Path) -> tfds.core.ShardedFileTemplate:
    """Return how the shards of a split are named, as TFDS wants to know it.

    Args:
      data: `config.data`.
      split: the split's name.
      folder: where the shards lie.
    """
    name = _folder_name(data)
    return tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, split=split, filetype_suffix="array_record"
    )


@dataclass
class Totals:
    """What all tasks have counted.

    Attributes:
      statistics: sums over the training images.
      rejects: a line for each image that could not be used.
      notes: what the user should know of those that could.
      shard_lengths: by split, the records of each of its shards.
      bytes: by split, of the records' images.
      trained: training images of each class.
      digests: by split, of its records.
    """

    statistics: Accumulator
    rejects: list[str] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    shard_lengths: dict[str, list[int]] = field(default_factory=dict)
    bytes: Counter[str] = field(default_factory=Counter)
    trained: Counter[str] = field(default_factory=Counter)
    digests: dict[str, list[int]] = field(default_factory=dict)

    def add(self, stats: ShardStats, split: str) -> None:
        """Count the next shard of a split."""
        self.statistics.merge(stats.statistics)
        self.rejects += stats.rejects
        self.notes.merge(stats.notes)
        self.shard_lengths.setdefault(split, []).append(stats.classes.total())
        self.bytes[split] += stats.bytes
        self.digests.setdefault(split, []).extend(stats.digests)
        if split == "train":
            self.trained += stats.classes

    def counts(self) -> dict[str, int]:
        """Return the records of each split, sorted by its name."""
        return {split: sum(lengths) for split, lengths in sorted(self.shard_lengths.items())}


def write_metadata(folder: Path, data: ConfigDict, plan: Plan, totals: Totals) -> dict[str, Any]:
    """Write all that a dataset has beside its shards; return what was understood of its source, as written.

    Args:
      folder: where the shards lie.
      data: `config.data`.
      plan: what they were made by.
      totals: what was counted, `rejects` sorted.

    Raises:
      UsageError: a class has no training images.
    """
    counts = totals.counts()
    if "train" in counts:
        _check_trained(plan.class_names, totals.trained)
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=totals.shard_lengths[split],
            num_bytes=totals.bytes[split],
            filename_template=_file_names(data, split, folder),
        )
        for split in counts
    ]
    features = _features(plan.record_format, plan.class_names)
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, check_data=False
    )
    totals.statistics.finish().save(folder / "statistics.npz")
    files.write_text(folder / REJECTS, "".join(f"{line}\n" for line in totals.rejects))
    digests = {split: np.asarray(found, np.uint64) for split, found in totals.digests.items()}
    understood = plan.summary | {
        "notes": totals.notes.lines(),
        "rejected": len(totals.rejects),
        "duplicates": summary.duplicates(digests),
        "statistics_of": plan.counted_split,
    }
    made_with = {"source": plan.kind, "counts": counts, **asdict(plan.record_format)}
    made_with |= {"made_from": plan.made_from, "understood": understood}
    files.write_text(folder / origin.PREPARATION, json.dumps(made_with, indent=1) + "\n")
    return understood


def _features(record_format: RecordFormat, class_names: list[str]) -> tfds.features.FeaturesDict:
    shape = (record_format.size, record_format.size, record_format.channels)
    image = (
        tfds.features.Image(shape=shape, encoding_format="jpeg")
        if record_format.format == "jpeg"
        else tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
    )
    label = tfds.features.ClassLabel(names=class_names)
    return tfds.features.FeaturesDict({"image": image, "label": label, "file_name": tfds.features.Text()})
