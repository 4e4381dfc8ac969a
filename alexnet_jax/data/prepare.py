"""A source becomes a dataset: square records in TFDS layout, class names, and statistics.

All cores decode, scale and encode; the records of a split stand in the order of a hash of their keys, so
that any slice such as train[90%:] is a fair sample, whatever the order of the source. The dataset takes
its name when it is whole.
"""

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import struct
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from ml_collections import ConfigDict
from PIL import Image
from tensorflow_datasets.core import example_serializer

from alexnet_jax import files
from alexnet_jax.data import pictures, sources
from alexnet_jax.data.statistics import Accumulator
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.progress import Progress, printable

VERSION = "1.0.0"
REJECTS = "rejects.txt"
REJECTED_SHARE = 0.01  # more than this share of undecodable pictures is an error
BUCKETS = 64  # spool files, by the first bits of the hash
SHARD_BYTES = 256 * 2**20  # of the spool files that become one shard
CHUNK = 64  # pictures handed to a process at once
FORM = ("size", "channels", "exif_rotation", "format", "quality")  # keys that decide what a record holds


def dataset_folder(data: ConfigDict) -> Path:
    """Where the dataset of `config.data` lies: <data_dir>/<name>_<size>/<version>."""
    root = data.dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(root).expanduser().absolute() / f"{data.name}_{data.size}" / VERSION


def is_prepared(data: ConfigDict) -> bool:
    """Whether the dataset is there; it takes its name when it is whole."""
    return dataset_folder(data).is_dir()


def features(data: ConfigDict, class_names: list[str]) -> tfds.features.FeaturesDict:
    """What a record holds."""
    shape = (data.size, data.size, data.channels)
    image = (
        tfds.features.Image(shape=shape, encoding_format="jpeg")
        if data.format == "jpeg"
        else tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
    )
    return tfds.features.FeaturesDict(
        {
            "image": image,
            "label": tfds.features.ClassLabel(names=class_names),
            "file_name": tfds.features.Text(),
        }
    )


def prepare(
    config: ConfigDict, source: str, *, strict: bool = False, part: str = "", merge: bool = False
) -> Path:
    """Makes the dataset that `config.data` names.

    Args:
      config: checked.
      source: a path or 'digits'.
      strict: stop at the first picture that cannot be decoded.

    Returns:
      The dataset's folder; what is there already is left as it is, and said so.

    Raises:
      UsageError: the source cannot be used. RunFailure: too many rejects, or a full disk.
    """
    if part or merge:
        raise UsageError("--part and --merge are not there yet: prepare on one machine")
    data = config.data
    folder = dataset_folder(data)
    if folder.is_dir():
        print(f"{folder} is prepared already; remove it to prepare it anew")
        return folder
    opened = sources.open_source(source)
    print(f"{source}: {opened.kind}")
    partial = folder.with_name(f".{VERSION}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "spool").mkdir(parents=True)
        made = _Made(data, partial)
        made.spool(opened, strict)
        made.write(opened.kind)
        shutil.rmtree(partial / "spool")
        os.replace(partial, folder)
        files.synchronise_folder(folder.parent)
    except OSError as error:
        raise RunFailure(f"{folder} cannot be prepared: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(made.summary(folder))
    return folder


class _Made:
    """A dataset in the making."""

    def __init__(self, data: ConfigDict, folder: Path):
        self.data, self.folder = data, folder
        self.statistics = Accumulator(data.size, data.channels)
        self.counts: Counter[str] = Counter()
        self.classes: dict[str, Counter[str]] = {}
        self.rejects: list[str] = []

    def spool(self, source: sources.Source, strict: bool) -> None:
        """Decodes, scales and encodes all pictures into spool files by hash."""
        form = (
            self.data.size,
            self.data.channels,
            self.data.exif_rotation,
            self.data.format,
            self.data.quality,
        )
        cores = os.cpu_count() or 1
        # spawn: a fork of a process that runs JAX's threads may hang
        with (
            ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool,
            Progress(f"prepare {self.data.name}", None, "pictures") as progress,
        ):
            waiting: deque[Future[_Done]] = deque()
            try:
                for chunk in _chunks(source.pictures()):
                    waiting.append(pool.submit(_encode, chunk, form))
                    if len(waiting) > 2 * cores:  # bounds the memory
                        self._keep(waiting.popleft().result(), strict, progress)
                while waiting:
                    self._keep(waiting.popleft().result(), strict, progress)
            finally:
                for future in waiting:
                    future.cancel()
        total = sum(self.counts.values())
        if not total:
            raise UsageError("the source holds no pictures that can be decoded")
        if len(self.rejects) > REJECTED_SHARE * (total + len(self.rejects)):
            first = self.rejects[0]
            raise RunFailure(
                f"{len(self.rejects)} of {total + len(self.rejects)} pictures cannot be decoded, "
                f"the first: {printable(first)}"
            )
        if "train" not in self.counts:
            raise UsageError(f"the source has no training pictures, only {', '.join(self.counts)}")

    def _keep(self, done: "_Done", strict: bool, progress: Progress) -> None:
        records, statistics, rejects = done
        if rejects and strict:
            raise RunFailure(f"--strict: {printable(rejects[0])}")
        self.rejects += rejects
        self.statistics.merge(statistics)
        for split, label, key, encoded in records:
            digest = _hash(key)
            self.counts[split] += 1
            self.classes.setdefault(split, Counter())[label] += 1
            header = json.dumps([label, key]).encode()
            with (self.folder / "spool" / f"{split}-{digest[0] * BUCKETS // 256:03d}").open("ab") as file:
                file.write(struct.pack("<II", len(header), len(encoded)) + header + encoded)
        progress.update(len(records) + len(rejects))

    def write(self, kind: str) -> None:
        """Writes shards, metadata and statistics."""
        data = self.data
        names = sorted(set().union(*self.classes.values()))
        if len(names) < 2:
            raise UsageError(f"the source has one class, {names[0]!r}: a net needs two or more")
        for split, found in self.classes.items():
            missing = [name for name in names if name not in found]
            if missing and split == "train":
                raise UsageError(f"class {missing[0]!r} has no training pictures")
        numbers = {name: number for number, name in enumerate(names)}
        described = features(data, names)
        serializer = example_serializer.ExampleSerializer(described.get_serialized_info())
        infos = []
        for split in sorted(self.counts):
            groups = _groups(sorted((self.folder / "spool").glob(f"{split}-*")))
            template = tfds.core.ShardedFileTemplate(
                data_dir=self.folder,
                dataset_name=f"{data.name}_{data.size}",
                split=split,
                filetype_suffix="array_record",
            )
            lengths, size = [], 0
            for number, group in enumerate(groups):
                path = template.sharded_filepath(shard_index=number, num_shards=len(groups))
                writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
                records = sorted(
                    (record for spooled in group for record in _unspool(spooled)),
                    key=lambda record: (_hash(record[1]), record[1]),
                )
                for label, key, encoded in records:
                    example = {"image": encoded, "label": numbers[label], "file_name": key}
                    serialized = serializer.serialize_example(example)
                    writer.write(serialized)
                    size += len(serialized)
                writer.close()
                lengths.append(len(records))
            infos.append(
                tfds.core.SplitInfo(
                    name=split, shard_lengths=lengths, num_bytes=size, filename_template=template
                )
            )
        tfds.folder_dataset.write_metadata(
            data_dir=self.folder, features=described, split_infos=infos, check_data=False
        )
        self.statistics.finish().save(self.folder / "statistics.npz")
        files.write_text(self.folder / REJECTS, "".join(f"{line}\n" for line in sorted(self.rejects)))
        made_with = {"source": kind, "counts": dict(sorted(self.counts.items()))}
        made_with |= {key: data[key] for key in FORM}
        files.write_text(self.folder / "preparation.json", json.dumps(made_with, indent=1) + "\n")

    def summary(self, folder: Path) -> str:
        """What was made, for a person."""
        splits = ", ".join(f"{count:,} {split}" for split, count in sorted(self.counts.items()))
        rejected = f"; {len(self.rejects)} could not be decoded, see {REJECTS}" if self.rejects else ""
        return f"{folder}: {splits} pictures of {len(self.classes['train'])} classes{rejected}"


_Form = tuple[int, int, bool, str, int]
_Done = tuple[list[tuple[str, str, str, bytes]], Accumulator, list[str]]


def _chunks(found: Iterator[sources.Picture]) -> Iterator[list[sources.Picture]]:
    chunk: list[sources.Picture] = []
    for picture in found:
        chunk.append(picture)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _encode(chunk: list[sources.Picture], form: _Form) -> _Done:
    """A process's work: the records of `chunk`, the sums of its training pictures, and its rejects."""
    size, channels, exif_rotation, kind, quality = form
    records, statistics, rejects = [], Accumulator(size, channels), []
    for picture in chunk:
        try:
            pixels = pictures.square(picture.data, size, channels, exif_rotation)
        except pictures.BadPicture as error:
            rejects.append(f"{picture.split}/{picture.key}: {error}")
            continue
        if kind == "jpeg":
            file = io.BytesIO()
            image = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
            image.save(file, "JPEG", quality=quality)
            encoded = file.getvalue()
        else:
            encoded = pixels.tobytes()
        if picture.split == "train":
            statistics.add(pixels)
        records.append((picture.split, picture.label, picture.key, encoded))
    return records, statistics, rejects


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _groups(spooled: list[Path]) -> list[list[Path]]:
    """Neighbouring spool files, so many together that a shard fits well in memory."""
    groups: list[list[Path]] = []
    size = SHARD_BYTES
    for path in spooled:
        if size >= SHARD_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(path)
        size += path.stat().st_size
    return groups


def _unspool(path: Path) -> Iterator[tuple[str, str, bytes]]:
    with path.open("rb") as file:
        while lengths := file.read(8):
            header, encoded = struct.unpack("<II", lengths)
            label, key = json.loads(file.read(header))
            yield label, key, file.read(encoded)
