"""A source becomes a dataset: square records in TFDS layout, class names, and statistics.

Which record stands where is decided before any picture is read: the records of a split stand in the order of
a hash of their keys, so that any slice such as train[90%:] is a fair sample, cut into shards of equal length.
A process makes a whole shard; a shard that is there is not made again. So the outcome is the same byte for
byte on any number of cores and machines and after any interruption.

While it is made, a dataset <data_dir>/<name>/1.0.0 lies in `.1.0.0.partial` beside it:

  1.0.0/     the shards that are whole; it is renamed to its final name at the end
  work/      plan.json; <shard>.npz: counts, sums and rejects of each shard that is whole;
             spool/: from a compressed tar, the pictures encoded already, in the order of the archive
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import simplejpeg
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from alexnet_jax import files
from alexnet_jax.data import sources
from alexnet_jax.data.processes import crew
from alexnet_jax.data.shards import FORM, WRITER, Chunk, Form, Tally, Task, encode_chunk, write_shard
from alexnet_jax.data.statistics import Accumulator
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.progress import Progress, printable

VERSION = "1.0.0"
REJECTS = "rejects.txt"
REJECTED_SHARE = 0.01  # more than this share of undecodable pictures is an error
SHARD_BYTES = 8 * 2**20  # of a shard, while there are no more than MOST_SHARDS of them
MOST_SHARDS = 1024  # of a split
CHUNK_PICTURES, CHUNK_BYTES = 256, 32 * 2**20  # of a compressed tar, handed to a process at once


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
    config: ConfigDict,
    source: str,
    *,
    strict: bool = False,
    part: str = "",
    merge: bool = False,
) -> Path:
    """Makes the dataset that `config.data` names, or goes on where an earlier call was stopped.

    Args:
      config: checked; `config.data.threads` processes decode and encode, 0: one for each core.
      source: a path or 'digits'; not needed to merge.
      strict: stop at the first picture that cannot be decoded and at a source that is not complete.
      part: 'i/n': make every n-th shard from the i-th on, counted from 0, and leave the rest to others.
      merge: make nothing; check that all shards are there and register them.

    Returns:
      The dataset's folder; what is there already is left as it is, and said so.

    Raises:
      UsageError: the source, or its parts, cannot be used. RunFailure: too many rejects, a full disk, or a
        process that died; what is done stays, and the same call goes on from there.
    """
    share = _share(part)
    if merge and part:
        raise UsageError("--part makes shards and --merge registers them: give one of the two")
    folder = dataset_folder(config.data)
    making = folder.with_name(f".{VERSION}.partial")
    if folder.is_dir():
        print(f"{folder} is prepared already; remove it to prepare it anew")
        shutil.rmtree(making, ignore_errors=True)
        return folder
    made = _Making(config.data, making)
    try:
        if merge:
            plan = made.read_plan()
        else:
            opened = sources.open_source(source)
            many = "" if opened.entries is None else f", {len(opened.entries):,} pictures"
            print(f"{source}: {opened.kind}{many}")
            for note in opened.notes:
                if strict:
                    raise UsageError(f"--strict: {note}")
                print(f"note: {note}")
            if share is not None and opened.entries is None:
                raise UsageError(
                    f"--part needs a source that can be read at any place: unpack {source} to a .tar first"
                )
            with made.lock(f"lock-{share[0]}-of-{share[1]}" if share else "lock"):
                plan = made.plan(opened, strict, parted=share is not None)
                made.write_shards(plan, opened, strict, share)
            if share is not None:
                print(f"part {share[0]} of {share[1]} is made; when all are: prepare --merge")
                return folder
        with made.lock("lock"):
            summary = made.finish(plan, folder, strict)
    except OSError as error:
        raise RunFailure(f"{folder} cannot be prepared: {_words(error)}") from error
    print(f"{folder}: {summary}")
    return folder


def _share(part: str) -> tuple[int, int] | None:
    if not part:
        return None
    number, slash, of = part.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and int(number) < int(of)):
        raise UsageError(f"--part={part}: write i/n with i from 0 to n - 1, such as 0/4")
    return int(number), int(of)


def _words(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full; what is done stays: make room and give the same command"
    return str(error)


@dataclass(frozen=True)
class Shard:
    """One file of the dataset: its name and which records, in the order of the hash, it holds."""

    split: str
    file: str
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """All that is decided before a picture is decoded; `work/plan.json`."""

    identity: str
    kind: str
    class_names: list[str]
    shards: list[Shard]
    form: list[int | str]  # the values of `FORM`


class _Making:
    """A dataset in the making."""

    def __init__(self, data: ConfigDict, folder: Path):
        self.data, self.folder = data, folder
        self.processes = data.threads or len(os.sched_getaffinity(0))
        self.form = Form(*(data[key] for key in FORM))
        self.work, self.shards = folder / "work", folder / VERSION

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keeps a second process from making the same."""
        self.work.mkdir(parents=True, exist_ok=True)
        with (self.work / name).open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{self.folder} is being made by another process") from None
            except OSError:  # a file system without locks: twice the work, and the same bytes
                pass
            yield

    def identity(self, source: sources.Source) -> str:
        """A digest of all that the outcome depends on."""
        form = [VERSION, WRITER, SHARD_BYTES, MOST_SHARDS, CHUNK_PICTURES, CHUNK_BYTES]
        versions = [PIL.__version__, simplejpeg.__version__]
        given = [form, versions, self.data.name, [self.data[key] for key in FORM], source.identity()]
        return hashlib.sha256(json.dumps(given).encode()).hexdigest()

    def plan(self, source: sources.Source, strict: bool, parted: bool) -> Plan:
        """Decides what goes where; begins anew when what lies there was made from something else."""
        identity = self.identity(source)
        mark = self.work / "identity"
        if mark.exists() and mark.read_text() != identity:
            if parted:
                raise UsageError(
                    f"{self.folder} holds parts of another source or config or made with other versions of "
                    "Pillow or simplejpeg: remove it, or use the same everywhere"
                )
            with contextlib.ExitStack() as held:
                for path in self.work.glob("lock-*"):  # a part that another process makes
                    held.enter_context(self.lock(path.name))
                print("what was begun there was made from something else: it is begun anew")
                shutil.rmtree(self.shards, ignore_errors=True)
                for path in self.work.iterdir():
                    if path.name != "lock":
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.shards.mkdir(exist_ok=True)
        if not mark.exists():
            files.write_text(mark, identity)
        if source.entries is None:
            self._spool(source, strict)
            self.entries = self._spooled()
        else:
            self.entries = source.entries
        plan = self._cut(identity, source, self.entries)
        left = sum(shard.last - shard.first for shard in plan.shards if not self._is_made(shard))
        sums = len(plan.shards) * 4 * self.form.size**2 * self.form.channels
        self._check_disk(left * self.form.expected_bytes() + sums)
        if not (self.work / "plan.json").exists():
            tree = {**vars(plan), "shards": [vars(shard) for shard in plan.shards]}
            files.write_text(self.work / "plan.json", json.dumps(tree))
        return plan

    def read_plan(self) -> Plan:
        """The plan that parts were made by."""
        try:
            tree = json.loads((self.work / "plan.json").read_text())
        except FileNotFoundError:
            raise UsageError(f"{self.folder} holds no parts: make them with prepare --part=i/n") from None
        plan = Plan(**tree | {"shards": [Shard(**shard) for shard in tree["shards"]]})
        for key, value in zip(FORM, plan.form, strict=True):
            if self.data[key] != value:
                raise UsageError(
                    f"{self.folder} holds parts made with {key}={value!r}; config.data.{key} is "
                    f"{self.data[key]!r}"
                )
        return plan

    def _cut(self, identity: str, source: sources.Source, entries: sources.Entries) -> Plan:
        """Shards of equal length, as many as the expected bytes ask for."""
        counts = {split: len(places) for split, places in entries.order.items()}
        if not entries:
            raise UsageError("the source holds no pictures that can be decoded")
        if "train" not in counts:
            raise UsageError(f"the source has no training pictures, only {', '.join(sorted(counts))}")
        names = list(source.class_names) or sorted(set().union(*map(entries.classes, counts)))
        if len(names) < 2:
            raise UsageError(f"the source has one class, {names[0]!r}: a net needs two or more")
        for name in names:
            if not name.isprintable() or name != name.strip():  # TFDS writes them one a line
                raise UsageError(f"class {printable(name)!r} cannot be written down: rename its folder")
        _check_classes(names, entries.classes("train"))
        shards = []
        for split, count in sorted(counts.items()):
            number = min(-(-count * self.form.expected_bytes() // SHARD_BYTES), MOST_SHARDS, count)
            template = self._template(split)
            for index in range(number):
                path = template.sharded_filepath(shard_index=index, num_shards=number)
                first, last = index * count // number, (index + 1) * count // number
                shards.append(Shard(split, path.name, first, last))
        return Plan(identity, source.kind, names, shards, [self.data[key] for key in FORM])

    def _template(self, split: str) -> tfds.core.ShardedFileTemplate:
        return tfds.core.ShardedFileTemplate(
            data_dir=self.shards,
            dataset_name=f"{self.data.name}_{self.data.size}",
            split=split,
            filetype_suffix="array_record",
        )

    def _check_disk(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise UsageError(
                f"{self.folder.parent} has {free / 2**30:.1f} GiB free and this needs about "
                f"{needed / 2**30:.1f}: make room or set config.data.dir"
            )

    def _tally_path(self, shard: Shard) -> Path:
        return self.work / f"{shard.file}.npz"

    def _is_made(self, shard: Shard) -> bool:
        return self._tally_path(shard).exists() and (self.shards / shard.file).exists()

    # A compressed tar

    def _spool(self, source: sources.Source, strict: bool) -> None:
        """Encodes the pictures of a compressed tar in its order, a file for each chunk of them."""
        spool = self.work / "spool"
        if (spool / "whole").exists():
            return
        spool.mkdir(exist_ok=True)
        _remove_unfinished(spool)
        there = sum(path.stat().st_size for path in spool.iterdir())
        rejects: list[str] = []
        expected = 0

        def tasks() -> Iterator[Chunk]:
            nonlocal expected
            seen = 0
            for number, chunk in enumerate(_chunks(source.pictures())):
                seen += len(chunk)
                expected = round(seen / max(chunk[-1].read, 1e-6))
                if number == 0:  # room for all pictures in this order, then in the order of the records
                    self._check_disk(2 * expected * self.form.expected_bytes() - there)
                progress.expect(expected)
                path = spool / f"{number:06d}"
                if path.with_suffix(".npz").exists():
                    progress.update(len(chunk))
                else:
                    yield Chunk(chunk, path, self.form, strict)

        with Progress(f"prepare {self.data.name}", None, "pictures") as progress:
            for found in crew(tasks(), encode_chunk, self.processes, progress):
                rejects += found
                if len(rejects) > max(REJECTED_SHARE * expected, CHUNK_PICTURES):
                    self._refuse(rejects, expected)
            progress.expect(progress.done)
        files.write_text(spool / "whole", "")

    def _spooled(self) -> sources.Entries:
        entries = sources.Entries()
        for path in sorted((self.work / "spool").glob("*.npz")):
            _, told = Tally.load(path, self.form)
            for split, label, key, start, size in told["entries"]:
                entries.append(sources.Entry(split, label, key, str(path.with_suffix("")), start, size))
        return entries

    # Shards

    def write_shards(
        self, plan: Plan, source: sources.Source, strict: bool, share: tuple[int, int] | None
    ) -> None:
        """Makes the shards that are not there, or every n-th of them."""
        number, of = share or (0, 1)
        mine = plan.shards[number::of]
        _remove_unfinished(self.work, f".{number}-{of}-")
        left = [shard for shard in mine if not self._is_made(shard)]
        total = sum(shard.last - shard.first for shard in mine)
        numbers = {name: index for index, name in enumerate(plan.class_names)}
        encoded = source.entries is None
        read = sources.read_range if encoded else source.read

        def task(shard: Shard) -> Task:
            entries = [self.entries[i] for i in self.entries.order[shard.split][shard.first : shard.last]]
            return Task(
                entries,
                {entry.label: numbers[entry.label] for entry in entries},
                read,
                self.form,
                encoded,
                self.shards / shard.file,
                self.work / f".{number}-{of}-{shard.file}",
                self._tally_path(shard),
                plan.identity,
                strict,
            )

        begun = total - sum(shard.last - shard.first for shard in left)
        most = REJECTED_SHARE * sum(shard.last - shard.first for shard in plan.shards)
        rejects: list[str] = []
        words = "write shards" if encoded else f"prepare {self.data.name}"
        with Progress(words, total, "pictures", begun) as progress:
            for found in crew(map(task, left), write_shard, min(self.processes, max(len(left), 1)), progress):
                rejects += found
                if len(rejects) > most:
                    self._refuse(rejects, round(most / REJECTED_SHARE))

    def _refuse(self, rejects: list[str], total: int) -> None:
        files.write_text(self.work / REJECTS, "".join(f"{line}\n" for line in sorted(rejects)))
        raise RunFailure(
            f"{len(rejects)} of {total} pictures cannot be decoded, more than {REJECTED_SHARE:.0%}, the "
            f"first: {printable(rejects[0])}; all: {self.work / REJECTS}"
        )

    def finish(self, plan: Plan, folder: Path, strict: bool) -> str:
        """Registers the shards, sums up, and gives the dataset its name. Returns a summary for a person."""
        missing = [shard for shard in plan.shards if not self._is_made(shard)]
        if missing:
            raise UsageError(
                f"{len(missing)} of {len(plan.shards)} shards are not made, the first {missing[0].file}: run "
                "the parts that make them, or prepare without --part"
            )
        statistics = Accumulator(self.form.size, self.form.channels)
        rejects: list[str] = []
        counts: Counter[str] = Counter()
        lengths: dict[str, list[int]] = {}
        sizes: Counter[str] = Counter()
        classes: Counter[str] = Counter()
        for shard in plan.shards:
            tally, told = Tally.load(self._tally_path(shard), self.form)
            path = self.shards / shard.file
            if path.stat().st_size != tally.file_size or told["identity"] != plan.identity:
                raise RunFailure(f"{path} was changed after it was made: remove it and prepare again")
            number = sum(tally.classes.values())
            counts[shard.split] += number
            lengths.setdefault(shard.split, []).append(number)
            sizes[shard.split] += tally.bytes
            rejects += tally.rejects
            statistics.merge(tally.statistics)
            if shard.split == "train":
                classes += tally.classes
        for path in sorted((self.work / "spool").glob("*.npz")):
            tally, _ = Tally.load(path, self.form)
            rejects += tally.rejects
            statistics.merge(tally.statistics)
        rejects.sort()
        if strict and rejects:
            raise RunFailure(f"--strict: {rejects[0]}")
        total = sum(counts.values()) + len(rejects)
        if len(rejects) > REJECTED_SHARE * total:
            self._refuse(rejects, total)
        _check_classes(plan.class_names, classes)
        infos = [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=lengths[split],
                num_bytes=sizes[split],
                filename_template=self._template(split),
            )
            for split in sorted(lengths)
        ]
        described = features(self.data, plan.class_names)
        tfds.folder_dataset.write_metadata(
            data_dir=self.shards, features=described, split_infos=infos, check_data=False
        )
        statistics.finish().save(self.shards / "statistics.npz")
        files.write_text(self.shards / REJECTS, "".join(f"{line}\n" for line in rejects))
        made_with = {"source": plan.kind, "counts": dict(sorted(counts.items()))}
        made_with |= {key: self.data[key] for key in FORM}
        files.write_text(self.shards / "preparation.json", json.dumps(made_with, indent=1) + "\n")
        for path in self.shards.iterdir():
            files.synchronise(path)
        files.synchronise_folder(self.shards)
        os.replace(self.shards, folder)
        files.synchronise_folder(folder.parent)
        shutil.rmtree(self.folder, ignore_errors=True)
        splits = ", ".join(f"{count:,} {split}" for split, count in sorted(counts.items()))
        rejected = f"; {len(rejects)} could not be decoded, see {REJECTS}" if rejects else ""
        return f"{splits} pictures of {len(plan.class_names)} classes{rejected}"


def _check_classes(names: list[str], trained: Iterable[str]) -> None:
    missing = sorted(set(names) - set(trained))
    if missing:
        raise UsageError(f"class {printable(missing[0])!r} has no training pictures")


def _remove_unfinished(folder: Path, prefix: str = ".") -> None:
    for path in folder.glob(f"{prefix}*"):
        path.unlink()


def _chunks(found: Iterator[sources.Picture]) -> Iterator[list[sources.Picture]]:
    chunk: list[sources.Picture] = []
    size = 0
    for picture in found:
        chunk.append(picture)
        size += len(picture.data)
        if len(chunk) == CHUNK_PICTURES or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
