"""Prepare a source as a dataset: square records in TFDS layout, class names, and statistics.

Which record stands where is decided before any image is decoded (`tfds_layout`). A process makes a whole
shard; a shard that is there is not made again. So the outcome is the same byte for byte on any number of
cores and machines and after any interruption.

While it is made, a dataset <data_dir>/<name>/1.0.0 lies in `.1.0.0.partial` beside it:

  1.0.0/     the finished shards; it is renamed to its final name at the end
  work/      plan.json; <shard>.npz: counts, sums and rejects of each finished shard;
             spool/: the images of a compressed tar, encoded, in the order of the archive
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import PIL
import simplejpeg
from ml_collections import ConfigDict

from alexnet_jax import files, runtime
from alexnet_jax.data import origin, shards, summary, tfds_layout
from alexnet_jax.data.shards import RecordFormat, ShardStats, ShardTask
from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.data.sources.entries import Entries, Source
from alexnet_jax.data.spool import CHUNK_BYTES, CHUNK_IMAGES, Spool
from alexnet_jax.data.statistics import Accumulator
from alexnet_jax.data.tfds_layout import REJECTS, VERSION, Plan, Shard, Totals, dataset_folder
from alexnet_jax.data.worker_pool import run_in_processes
from alexnet_jax.errors import RunFailure, UnsafeFile, UsageError
from alexnet_jax.progress import Progress, printable

MAX_REJECTS_SHOWN = 3


def prepare(
    config: ConfigDict,
    source: str,
    *,
    strict: bool = False,
    part: str = "",
    merge: bool = False,
    class_level: int = 0,
    replace: bool = False,
) -> Path:
    """Make the dataset that `config.data` names, or resume where an earlier call was stopped.

    Args:
      config: checked; `config.data.threads` processes decode and encode, 0: one for each core.
      source: a path or 'digits'; not needed to merge.
      strict: stop at the first image that cannot be decoded and at a source that is not complete.
      part: 'i/n': make every n-th shard from the i-th on, counted from 0, and leave the rest to others.
      merge: make nothing; check that all shards are there and register them.
      class_level: which folder names the class, as `open_source`.
      replace: make a dataset anew that is there already; it stays until the new one is whole.

    Returns:
      The dataset's folder; one that was made from this source already is left as it is, with a message.

    Raises:
      UsageError: the source, or its parts, cannot be used, or the dataset is there, made from another one.
      RunFailure: too many rejects, a full disk, or a process that died; what is done stays, and the same call
        resumes from there.
    """
    parsed_part = parse_part(part)
    if merge and part:
        raise UsageError("--part makes shards and --merge registers them: give one of the two")
    folder = dataset_folder(config.data)
    partial = folder.with_name(f".{VERSION}.partial")
    if folder.is_dir() and not replace:
        print(origin.check(folder, source, class_level) if source else f"{folder} is prepared already")
        shutil.rmtree(partial, ignore_errors=True)
        return folder
    _check_own(partial)
    job = PrepareJob(config.data, partial, strict)
    try:
        if merge:
            plan = job.read_plan()
        else:
            opened = _open(source, strict, part, class_level)
            plan = job.make(opened, parsed_part, origin.of_source(source, class_level))
            if parsed_part:
                print(f"part {part} is made; when those from 0/{parsed_part[1]} on all are: prepare --merge")
                return folder
        summary = job.finish(plan, folder)
    except OSError as error:
        full = "the disk is full; what is done stays: make room and give the same command"
        reason = full if error.errno == errno.ENOSPC else str(error)
        raise RunFailure(f"{folder} cannot be prepared: {reason}") from error
    print(f"{folder}: {summary}")
    return folder


def _check_own(partial: Path) -> None:
    """Raise UnsafeFile where unfinished work, which somebody may have put there, leads elsewhere."""
    if partial.is_symlink():
        raise UnsafeFile(f"{partial} is a symbolic link: remove it")
    files.check_files(partial, written=True)


def parse_part(part: str) -> tuple[int, int] | None:
    """Return i and n of 'i/n'; None for ''.

    Raises:
      UsageError: it is written otherwise, or i is not below n.
    """
    if not part:
        return None
    index, slash, count = part.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UsageError(f"--part={part}: write i/n with i from 0 to n - 1, such as 0/4")
    return int(index), int(count)


def dry_run(config: ConfigDict, name: str, class_level: int = 0) -> list[str]:
    """Return how a source would be understood and prepared, as lines for the user; nothing is written.

    Args:
      config: checked.
      name: of the source.
      class_level: as `open_source`.

    Raises:
      UsageError: it cannot be prepared.
    """
    source = open_source(name, class_level).listed()
    record_format = RecordFormat.of(config.data)
    plan = tfds_layout.make_plan("", source, source.entries or Entries(), config.data, record_format)
    folder = dataset_folder(config.data)
    there = "which is there already" if folder.is_dir() else "which is still to make"
    return [
        f"{name}: {source.kind}",
        *summary.as_lines(plan.summary),
        f"nothing is written; the dataset would be {folder}, {there}",
        summary.UNKNOWN,
    ]


def _open(name: str, strict: bool, part: str, class_level: int) -> Source:
    """Open a source and print how it was understood."""
    source = open_source(name, class_level)
    count = f", {len(source.entries):,} images" if source.entries else ""
    print(f"{name}: {source.kind}{count}")
    if strict and source.notes:
        raise UsageError(f"--strict: {source.notes[0]}")
    for note in (*source.remarks, *source.notes):
        print(f"note: {note}")
    if part and source.is_stream:
        raise UsageError(
            f"--part needs a source that can be read at any offset: decompress {name} to a .tar first"
        )
    return source


class PrepareJob:
    """The making of one dataset, which resumes what an earlier process left.

    Args:
      data: `config.data`.
      folder: the folder of the unfinished dataset.
      strict: whether an image that cannot be decoded is an error.
    """

    def __init__(self, data: ConfigDict, folder: Path, strict: bool):
        self.data, self.folder, self.strict = data, folder, strict
        self.processes = data.threads or runtime.cores()
        self.record_format = RecordFormat.of(data)
        self.work, self.shards = folder / "work", folder / VERSION
        self.spool = Spool(self.work / "spool", self.record_format, strict)

    @contextlib.contextmanager
    def lock(self, name: str = "lock") -> Iterator[None]:
        """Hold a lock of the unfinished dataset; raise UsageError where another process holds it."""
        self.work.mkdir(parents=True, exist_ok=True)
        with (self.work / name).open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{self.folder} is being made by another process") from None
            except OSError:  # a file system without locks: two processes would write the same bytes
                pass
            yield

    def make(self, source: Source, part: tuple[int, int] | None, made_from: dict[str, Any]) -> Plan:
        """Write the shards that are missing: all, or those of part (i, n), every n-th from the i-th on."""
        with self.lock(f"lock-{part[0]}-of-{part[1]}" if part else "lock"):
            digest = self._identity(source)
            self._begin(digest, parted=part is not None)
            split_of_group, rejects = {}, []
            if source.is_stream:
                name, processes = self.data.name, self.processes
                self.spool.fill(source, name, processes, self._check_disk, self._check_rejects)
                arranged = self.spool.arrange(source)
                source, split_of_group, rejects = (
                    arranged.source,
                    arranged.split_of_group,
                    arranged.rejects,
                )
            entries = source.entries or Entries()
            plan = tfds_layout.make_plan(digest, source, entries, self.data, self.record_format)
            plan = dataclasses.replace(
                plan, split_of_group=split_of_group, rejects=rejects, made_from=made_from
            )
            left = sum(len(shard) for shard in plan.shards if not self._is_made(shard))
            sums = len(plan.shards) * 4 * self.record_format.size**2 * self.record_format.channels
            self._check_disk(left * self.record_format.expected_bytes() + sums)
            if not (self.work / "plan.json").exists():
                plan.save(self.work / "plan.json")
            self._write_shards(plan, source, entries, part or (0, 1))
        return plan

    def _identity(self, source: Source) -> str:
        """Return a digest of all that the outcome depends on."""
        layout = [VERSION, shards.WRITER, tfds_layout.SHARD_BYTES, tfds_layout.MAX_SHARDS]
        layout += [CHUNK_IMAGES, CHUNK_BYTES, "the same share of each class in every slice"]
        versions = [PIL.__version__, simplejpeg.__version__]
        inputs = [layout, versions, self.data.name, asdict(self.record_format), source.identity()]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()

    def _begin(self, identity: str, parted: bool) -> None:
        """Make the folders; remove unfinished work that was made from something else."""
        mark = self.work / "identity"
        if mark.exists() and mark.read_text() != identity:
            if parted:
                raise UsageError(
                    f"{self.folder} holds parts of another source or config, or made with other versions "
                    "of Pillow or simplejpeg: remove it, or use the same ones for all parts"
                )
            with contextlib.ExitStack() as held:
                for path in self.work.glob("lock-*"):  # held by a process that makes a part
                    held.enter_context(self.lock(path.name))
                print(f"{self.folder} was made from another source, config or version: its files are removed")
                shutil.rmtree(self.shards, ignore_errors=True)
                for path in self.work.iterdir():
                    if path.name != "lock":
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.shards.mkdir(exist_ok=True)
        if not mark.exists():
            files.write_text(mark, identity)

    def read_plan(self) -> Plan:
        """Return the plan by which the parts were made.

        Raises:
          UsageError: there is no plan, or its records hold something else than the config says.
        """
        try:
            plan = Plan.load(self.work / "plan.json")
        except FileNotFoundError:
            raise UsageError(f"{self.folder} holds no parts: make them with prepare --part=i/n") from None
        except (KeyError, TypeError):
            raise UsageError(f"{self.folder} was begun by another version: remove it") from None
        for key, value in asdict(plan.record_format).items():
            if self.data[key] != value:
                raise UsageError(
                    f"{self.folder} holds parts made with {key}={value!r}; config.data.{key} is "
                    f"{self.data[key]!r}"
                )
        return plan

    def _check_disk(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise UsageError(
                f"{self.folder.parent} has {free / 2**30:.1f} GiB free and this needs about "
                f"{needed / 2**30:.1f} GiB: make room or set config.data.dir"
            )

    def _stats_path(self, shard: Shard) -> Path:
        return self.work / f"{shard.file}.npz"

    def _is_made(self, shard: Shard) -> bool:
        return self._stats_path(shard).exists() and (self.shards / shard.file).exists()

    # Shards

    def _write_shards(self, plan: Plan, source: Source, entries: Entries, part: tuple[int, int]) -> None:
        index, count = part
        prefix = f".{index}-{count}-"
        shards.remove_unfinished(self.work, prefix)
        mine = plan.shards[index::count]
        left = [shard for shard in mine if not self._is_made(shard)]
        labels = {name: label for label, name in enumerate(plan.class_names)}
        encoded = source.is_stream  # into the spool

        def task(shard: Shard) -> ShardTask:
            of_shard = [entries[i] for i in entries.order[shard.split][shard.first : shard.last]]
            return ShardTask(
                of_shard,
                self.shards / shard.file,
                self._stats_path(shard),
                self.record_format,
                self.strict,
                source.read,
                encoded,
                counted_split=plan.counted_split,
                labels={entry.label: labels[entry.label] for entry in of_shard},
                unfinished=self.work / f"{prefix}{shard.file}",
                identity=plan.identity,
            )

        total, images = sum(map(len, mine)), sum(map(len, plan.shards))
        rejects: list[str] = []
        what = "write shards" if encoded else f"prepare {self.data.name}"
        with Progress(what, total, "images", total - sum(map(len, left))) as progress:
            processes = min(self.processes, max(len(left), 1))
            for rejected in run_in_processes(map(task, left), shards.write_shard, processes, progress):
                rejects += rejected
                self._check_rejects(rejects, images)

    def _check_rejects(self, rejects: list[str], total: int, allowed: int = 1) -> None:
        """Raise RunFailure for more rejects than the config's share of `total`, and than `allowed`."""
        share = self.data.max_rejected_share
        if len(rejects) <= max(share * total, allowed if share else 0):
            return
        files.write_text(self.work / REJECTS, "".join(f"{line}\n" for line in sorted(rejects)))
        needed = math.ceil(1000 * len(rejects) / total) / 1000
        raise RunFailure(
            f"{len(rejects)} of {total} images cannot be decoded, more than {100 * share:g}%, the first: "
            f"{printable(rejects[0])}; all: {self.work / REJECTS}; to leave them out: "
            f"--config.data.max_rejected_share={min(needed, 1.0)}"
        )

    # The finished dataset

    def finish(self, plan: Plan, folder: Path) -> str:
        """Write the dataset's metadata and statistics, and rename it to `folder`.

        Returns:
          A summary for the user.

        Raises:
          UsageError: shards are missing. RunFailure: a shard was changed, or there are too many rejects.
        """
        with self.lock():
            totals = self._sum_up(plan)
            images = sum(totals.counts().values()) + len(totals.rejects)
            if self.strict and totals.rejects:
                raise RunFailure(f"--strict: {totals.rejects[0]}")
            self._check_rejects(totals.rejects, images)
            understood = tfds_layout.write_metadata(self.shards, self.data, plan, totals)
            for path in self.shards.iterdir():
                files.synchronise(path)
            files.synchronise_folder(self.shards)
            before = folder.with_name(f".{VERSION}.before")
            if folder.is_dir():
                os.replace(folder, before)
            os.replace(self.shards, folder)
            files.synchronise_folder(folder.parent)
            shutil.rmtree(self.folder, ignore_errors=True)
            shutil.rmtree(before, ignore_errors=True)
        splits = ", ".join(f"{count:,} {split}" for split, count in totals.counts().items())
        lines = [f"{splits} images of {len(plan.class_names)} classes", *summary.as_lines(understood)]
        lines += totals.notes.lines()
        lines += summary.duplicate_lines(understood["duplicates"], len(totals.counts()))
        lines += [f"cannot be decoded: {line}" for line in totals.rejects[:MAX_REJECTS_SHOWN]]
        if totals.rejects:
            share = f"config.data.max_rejected_share={self.data.max_rejected_share:g}"
            lines.append(f"left out: {len(totals.rejects)} that cannot be decoded ({share}), see {REJECTS}")
        return "\n".join(lines)

    def _sum_up(self, plan: Plan) -> Totals:
        missing = [shard for shard in plan.shards if not self._is_made(shard)]
        if missing:
            raise UsageError(
                f"{len(missing)} of {len(plan.shards)} shards are not made, the first {missing[0].file}: run "
                "each --part=i/n that did not end, or prepare without --part"
            )
        totals = Totals(Accumulator(self.record_format.size, self.record_format.channels))
        for shard in plan.shards:
            stats, metadata = ShardStats.load(self._stats_path(shard), self.record_format)
            path = self.shards / shard.file
            if path.stat().st_size != stats.file_size or metadata["identity"] != plan.identity:
                raise RunFailure(f"{path} was changed after it was made: remove it and prepare again")
            totals.add(stats, shard.split)
        totals.notes.merge(self.spool.notes())
        for group, stats in self.spool.sums():
            if plan.split_of_group.get(group) == plan.counted_split:
                totals.statistics.merge(stats.statistics)
        totals.rejects = sorted(totals.rejects + plan.rejects)
        return totals
