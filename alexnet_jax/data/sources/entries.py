"""An index of encoded images: split, class, key, and where the bytes lie."""

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alexnet_jax.data.images import MAX_IMAGE_BYTES
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable

# What a compressed archive, or a member of one, may inflate to: photographs do not compress, flat drawings
# 30 times. The first bytes are free, so that a small archive of drawings is read.
MAX_RATIO, FREE_BYTES = 50, 2**27
MAX_NAME = 1000  # characters of a member's path, of which a message shows all


class Unreadable(Exception):
    """One image of a source is damaged where it lies; the message says how."""


class Entry(NamedTuple):
    """One encoded image and where it lies.

    Attributes:
      split: the split's name; '' as long as it is not known, and in a compressed tar what may decide it.
      label: the class's name; '' as long as it is not known.
      key: unique in its split; the path in the folder or archive as long as that is not known.
      container: the file or folder that holds it; empty: `held` is the image.
      start: of its bytes in `container`. -1: `container` is a folder, and the key ends with the file's name.
        In a .zip, of the member's header; in a TFDS dataset, the record's number.
      size: bytes of the image.
      checksum: CRC-32, in a .zip.
      packed: bytes of the image in a .zip.
      held: the image's bytes where no file holds them.
    """

    split: str
    label: str
    key: str
    container: str
    start: int
    size: int
    checksum: int = 0
    packed: int = 0
    held: bytes = b""


class Entries:
    """Entries in columns: 60 bytes each and the key, so that ImageNet's 1.3 million are 0.1 GB."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, int]] = {"split": {}, "label": {}, "container": {}}
        self._numbers = {"split": array("b"), "label": array("i"), "container": array("i")}
        self._start, self._size, self._checksum = array("q"), array("q"), array("I")
        self._packed = array("q")
        self._keys, self._ends = bytearray(), array("q", [0])
        self._held = bytearray()

    def append(self, entry: Entry) -> None:
        """Add one at the end."""
        for column, names in self._names.items():
            self._numbers[column].append(names.setdefault(getattr(entry, column), len(names)))
        self._start.append(len(self._held) if not entry.container else entry.start)
        self._size.append(entry.size)
        self._checksum.append(entry.checksum)
        self._packed.append(entry.packed)
        self._keys += entry.key.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._keys))
        self._held += entry.held

    def __len__(self) -> int:
        return len(self._size)

    def __iter__(self) -> Iterator[Entry]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Entry:
        start, size = self._start[index], self._size[index]
        split, label, container = (
            names[self._numbers[column][index]] for column, names in self._by_number.items()
        )
        key = self._keys[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogatepass")
        held = b"" if container else bytes(self._held[start : start + size])
        checksum, packed = self._checksum[index], self._packed[index]
        return Entry(split, label, key, container, start, size, checksum, packed, held)

    @cached_property
    def _by_number(self) -> dict[str, list[str]]:
        return {column: list(names) for column, names in self._names.items()}

    @cached_property
    def order(self) -> dict[str, np.ndarray]:
        """Of each split the positions of its entries, int64: any slice has the same share of each class.

        Those of a class stand in the order of the SHA-256 of their keys, evenly spread over the split.
        Sixteen bytes of the hash decide: that two keys of 14 million share them has odds of 1 in 10**24.

        Raises:
          UsageError: a key stands twice in a split.
        """
        digests = bytearray(16 * len(self))
        keys = memoryview(self._keys)
        for i in range(len(self)):
            key = keys[self._ends[i] : self._ends[i + 1]]
            digests[16 * i : 16 * i + 16] = hashlib.sha256(key).digest()[:16]
        keys.release()
        hashes = np.frombuffer(digests, ">u8").reshape(-1, 2).astype(np.uint64)
        splits, labels = np.asarray(self._numbers["split"]), np.asarray(self._numbers["label"])
        ordered = {}
        for split, number in self._names["split"].items():
            found = np.flatnonzero(splits == number)
            found = found[np.lexsort((hashes[found, 1], hashes[found, 0]))]
            twice = (hashes[found[1:]] == hashes[found[:-1]]).all(axis=1)
            if twice.any():
                raise UsageError(f"{printable(self[int(found[twice.argmax()])].key)} stands twice in {split}")
            ordered[split] = found[_spread(labels[found])]
        return ordered

    def classes(self, split: str) -> Counter[str]:
        """Return how many entries each class has in a split."""
        if split not in self._names["split"]:
            return Counter()
        splits, labels = np.asarray(self._numbers["split"]), np.asarray(self._numbers["label"])
        counts = np.bincount(labels[splits == self._names["split"][split]], minlength=1)
        return Counter({label: int(n) for label, n in zip(self._names["label"], counts, strict=False) if n})

    def identity(self) -> str:
        """Return a digest of what the entries hold, wherever it lies."""
        digest = hashlib.sha256(json.dumps([list(self._names[c]) for c in ("split", "label")]).encode())
        split, label = self._numbers["split"], self._numbers["label"]
        for column in (split, label, self._size, self._ends, self._keys, self._held):
            digest.update(hashlib.sha256(column).digest())
        return digest.hexdigest()


def _spread(labels: np.ndarray) -> np.ndarray:
    """Return an order in which each class is spread evenly, its own order kept: (rank + 1/2) / its size."""
    by_class = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(labels))
    place[by_class] = (np.arange(len(labels)) - starts[labels[by_class]] + 0.5) / sizes[labels[by_class]]
    return np.argsort(place, kind="stable")


def read_range(entry: Entry) -> bytes:
    """Return the bytes of an entry that lies in a file, in a tar, or in the entry itself.

    Raises:
      Unreadable: the file has become shorter.
    """
    if not entry.container:
        return entry.held
    path, start = entry.container, entry.start
    if start < 0:
        path, start = os.path.join(path, entry.key.rpartition("/")[2]), 0
    with open(path, "rb") as file:
        file.seek(start)
        data = file.read(entry.size)
    if len(data) != entry.size:
        raise Unreadable(f"{len(data)} bytes where there were {entry.size}")
    return data


@dataclass(frozen=True)
class Source:
    """A source, recognised.

    Attributes:
      kind: what it is, in words.
      entries: its images; None for a compressed tar, which `stream` goes through.
      read: returns the bytes of an entry; a plain function, so that any process can call it.
      stream: iterates over a compressed tar in its order: entries that hold their images, and how much of the
        tar was read when each came, 0 to 1.
      class_names: by label; empty: the names of the classes found, sorted.
      notes: what is missing in it, which `--strict` takes for an error.
      stamp: what tells another compressed tar from this one.
      splits: where each split came from, such as {'validation': 'valid/'}, as far as names say it.
      remarks: how it was read where another reading is possible, each a line.
      left_out: how many files of an ending were not read for a reason.
      arrange: returns a compressed tar with its entries located, of which those given have paths for keys;
        given is also what was left out.
      locate: returns split, class and key of a path in a compressed tar that `arrange` returned; None for
        an image that has no label.
    """

    kind: str
    entries: Entries | None
    read: Callable[[Entry], bytes] = read_range
    stream: Callable[[], Iterator[tuple[Entry, float]]] | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stamp: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    arrange: Callable[[Iterable[Entry], Counter[tuple[str, str]]], "Source"] | None = None
    locate: Callable[[str], tuple[str, str, str] | None] | None = None

    @property
    def is_stream(self) -> bool:
        """Return whether it can only be read from beginning to end: a compressed tar."""
        return self.stream is not None

    def images(self) -> Iterator[tuple[Entry, bytes]]:
        """Iterate over all entries and their encoded images; Unreadable for one that is damaged."""
        if self.stream is None or self.arrange is None:
            for entry in self.entries or ():
                yield entry, self.read(entry)
            return
        # Where its images belong is known at the end of the archive alone.
        arranged = self.listed()
        for entry, _ in self.stream():
            located = arranged.locate(entry.key) if arranged.locate else None
            if located is not None:
                split, label, key = located
                yield entry._replace(split=split, label=label, key=key), entry.held

    def listed(self) -> "Source":
        """Return it with its entries: of a compressed tar, which is read for that, without the images."""
        if self.stream is None or self.arrange is None:
            return self
        return self.arrange((entry._replace(held=b"") for entry, _ in self.stream()), self.left_out)

    def identity(self) -> str:
        """Return a digest of what the source holds, the same on every machine that has it."""
        entries = "" if self.entries is None else self.entries.identity()
        return hashlib.sha256(json.dumps([self.stamp, self.class_names, entries]).encode()).hexdigest()


def split_path(path: str) -> list[str]:
    """Return the names in a path with slashes, without empty ones and '.'."""
    return [part for part in path.split("/") if part not in ("", ".")]


def member_path(name: str, archive: Path) -> str:
    """Return the path of an archive's member below the archive, without empty names and '.'.

    Raises:
      UsageError: it leads elsewhere or nowhere, or is longer than any path.
    """
    if len(name) > MAX_NAME:
        raise UsageError(f"{archive} has a member whose name has {len(name):,} characters")
    parts = split_path(name)
    if name.startswith("/") or not parts or ".." in parts or "\\" in name:
        raise UsageError(
            f"{printable(name)} in {archive} is not a path below it: pack it again without '..', backslashes "
            "and a leading slash"
        )
    return "/".join(parts)


def most_inflated(packed: int) -> int:
    """Return to how many bytes an archive of `packed` bytes may inflate."""
    return MAX_RATIO * packed + FREE_BYTES


def check_size(size: int, member: str, archive: Path) -> None:
    """Raise UsageError when a member of an archive claims more bytes than any image has."""
    if size > MAX_IMAGE_BYTES:
        raise UsageError(f"{printable(member)} in {archive} claims {size:,} bytes: no image is that large")
