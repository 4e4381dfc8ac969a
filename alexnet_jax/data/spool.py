"""The images of a compressed tar, encoded, in the order of the archive: it can be read in order alone.

<number>: the records' images of a chunk. <number>.npz: what each image is, and the rejects.
<number>-<n>.npz: the sums of the chunk's images whose folders name the same splits. Which split that is, is
known when the whole archive is read. whole: that it is, and what was left out.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet_jax import files
from alexnet_jax.data import shards
from alexnet_jax.data.notes import Notes
from alexnet_jax.data.shards import Chunk, RecordFormat, ShardStats
from alexnet_jax.data.sources.entries import Entry, Source
from alexnet_jax.data.worker_pool import run_in_processes
from alexnet_jax.progress import Progress, printable

CHUNK_IMAGES, CHUNK_BYTES = 256, 32 * 2**20  # handed to a process at once


@dataclass(frozen=True)
class Arranged:
    """What is known when an archive was read.

    Attributes:
      source: with its entries, which lie in the spool.
      split_of_group: of images whose folders name the same splits, the split.
      rejects: a line for each image that cannot be used.
    """

    source: Source
    split_of_group: dict[str, str]
    rejects: list[str]


class Spool:
    """The spool of one dataset, which is resumed where it was left.

    Args:
      folder: where it lies.
      record_format: what a record holds.
      strict: whether an image that cannot be decoded is an error.
    """

    def __init__(self, folder: Path, record_format: RecordFormat, strict: bool):
        self.folder, self.record_format, self.strict = folder, record_format, strict

    def fill(
        self,
        source: Source,
        name: str,
        processes: int,
        check_disk: Callable[[int], None],
        check_rejects: Callable[[list[str], int, int], None],
    ) -> None:
        """Encode the images in their order, each chunk of them into a file.

        Args:
          source: the archive.
          name: of the dataset, for the progress.
          processes: how many encode.
          check_disk: called with the bytes that will be needed.
          check_rejects: called with the rejects, how many images are expected, and how many may always fail.
        """
        if (self.folder / "whole").exists():
            return
        self.folder.mkdir(exist_ok=True)
        shards.remove_unfinished(self.folder)
        spooled_bytes = sum(path.stat().st_size for path in self.folder.iterdir())
        rejects: list[str] = []
        expected = 0

        def tasks() -> Iterator[Chunk]:
            nonlocal expected
            read = 0
            assert source.stream is not None
            for number, (entries, fraction_read) in enumerate(chunks(source.stream())):
                read += len(entries)
                expected = round(read / max(fraction_read, 1e-6))
                if number == 0:  # room for all images twice: in the spool, and in the shards
                    check_disk(2 * expected * self.record_format.expected_bytes() - spooled_bytes)
                progress.expect(expected)
                path = self.folder / f"{number:06d}"
                stats_path = path.with_suffix(".npz")
                if stats_path.exists():
                    progress.update(len(entries))
                else:
                    yield Chunk(entries, path, stats_path, self.record_format, self.strict)

        with Progress(f"prepare {name}", None, "images") as progress:
            for rejected in run_in_processes(tasks(), shards.encode_chunk, processes, progress):
                rejects += rejected
                check_rejects(rejects, expected, CHUNK_IMAGES)
            progress.expect(progress.done)
        left_out = [[ending, reason, n] for (ending, reason), n in source.left_out.items()]
        files.write_text(self.folder / "whole", json.dumps(left_out))

    def arrange(self, source: Source) -> Arranged:
        """Return the archive with its entries, located by the names of all.

        Raises:
          UsageError: its folders cannot be read as splits and classes.
        """
        listed: list[Entry] = []
        rejects: list[tuple[str, str]] = []
        groups: dict[str, str] = {}
        for path in sorted(self.folder.glob("??????.npz")):
            _, metadata = ShardStats.load(path, self.record_format)
            container = str(path.with_suffix(""))
            for key, start, size in metadata["entries"]:
                listed.append(Entry("", "", key, container, start, size))
            rejects += [(key, error) for key, error in metadata["rejected"]]
            for group, example in metadata["groups"].items():
                groups.setdefault(group, example)
        listed += [Entry("", "", key, "", 0, -1) for key, _ in rejects]
        left_out = {(ending, why): n for ending, why, n in json.loads((self.folder / "whole").read_text())}
        assert source.arrange is not None
        arranged = source.arrange(listed, Counter(left_out))
        locate = arranged.locate
        assert locate is not None
        lines = []
        for path_, error in rejects:
            located = locate(path_)
            if located is not None:
                lines.append(printable(f"{located[0]}/{located[2]}: {error}"))
        split_of_group = {group: found[0] for group, example in groups.items() if (found := locate(example))}
        return Arranged(replace(arranged, read=source.read), split_of_group, lines)

    def notes(self) -> Notes:
        """Return what the user should know of the images."""
        notes = Notes()
        for path in sorted(self.folder.glob("??????.npz")):
            notes.merge(ShardStats.load(path, self.record_format)[0].notes)
        return notes

    def sums(self) -> Iterator[tuple[str, ShardStats]]:
        """Iterate over groups of images and the sums of some of their images."""
        for path in sorted(self.folder.glob("??????-*.npz")):
            stats, metadata = ShardStats.load(path, self.record_format)
            yield metadata["group"], stats


def chunks(images: Iterator[tuple[Entry, float]]) -> Iterator[tuple[list[Entry], float]]:
    """Yield images to encode in one task, and which fraction of the archive was read for them."""
    chunk: list[Entry] = []
    size, fraction_read = 0, 0.0
    for entry, fraction_read in images:
        chunk.append(entry)
        size += entry.size
        if len(chunk) == CHUNK_IMAGES or size > CHUNK_BYTES:
            yield chunk, fraction_read
            chunk, size = [], 0
    if chunk:
        yield chunk, fraction_read
