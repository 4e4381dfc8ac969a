"""What people have, as a list of encoded pictures that any process can read: split, class, key, place.

A source is recognised by itself: the tars of ILSVRC-2010 and -2012, their unpacked forms, a folder or an
archive of class folders or of a tar a class, a dataset that TFDS prepared, IDX files (MNIST), or
scikit-learn's digits.

Archives are untrusted. Nothing is unpacked: their members are read where they lie, into memory, up to a
stated size; links are not followed. A .tar or .zip is indexed once and read at offsets by many processes. A
compressed .tar cannot be read at offsets: `Source.in_order` goes through it.
"""

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import struct
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from PIL import Image

from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.progress import Progress, printable

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
COMPRESSED: dict[str, Callable[[Any], Any]] = {
    ".tar.gz": lambda file: gzip.GzipFile(fileobj=file),
    ".tgz": lambda file: gzip.GzipFile(fileobj=file),
    ".tar.xz": lzma.LZMAFile,
    ".tar.bz2": bz2.BZ2File,
}
ARCHIVES = (".tar", ".zip", *COMPRESSED)
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}
LARGEST_FILE = 256 * 2**20  # bytes of one encoded picture
DIGITS_TEST = 297
WHAT = (
    "a folder of class folders, an archive of one (.tar, .tar.gz, .tar.xz, .zip), a folder with ImageNet's "
    "tars, a dataset that TFDS prepared, a folder with IDX files, or the word digits"
)
_CLASS_TAR = re.compile(r"n\d{8}\.tar")
_ILSVRC_FILE = re.compile(r"ILSVRC(2010|2012)_(val|test)_(\d{8})\.JPEG")
_ILSVRC_TRAIN = {
    "ILSVRC2012_img_train.tar": ("2012", "ILSVRC2012_img_val.tar", ""),
    "ILSVRC2010_images_train.tar": ("2010", "ILSVRC2010_images_val.tar", "ILSVRC2010_images_test.tar"),
}
# Pictures that replace some of ILSVRC-2010's, handed out beside its tars.
_PATCHES = "patch_images.tar"


class _Whole(NamedTuple):
    """What the whole of an ILSVRC has (Russakovsky et al. 2015, table 2); each has 1,000 classes."""

    training: int
    fewest: int  # training pictures of a class
    most: int
    each: dict[str, int]  # pictures of each class in the other splits


_ILSVRC = {
    "2010": _Whole(1_261_406, 668, 3047, {"validation": 50, "test": 150}),
    "2012": _Whole(1_281_167, 732, 1300, {"validation": 50}),
}


@dataclass(frozen=True)
class Picture:
    """One encoded picture: its split, class name, key (unique in its split) and bytes.

    `read` is the share of a compressed archive that was read when it came.
    """

    split: str
    label: str
    key: str
    data: bytes
    read: float = 0.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One encoded picture and its place: `size` bytes at `start` of the file `container`.

    Where `start` is -1, `container` is a folder and the key ends with the file's name. In a .zip `start` is
    that of the member's header and `checksum` its CRC-32, in a TFDS dataset `start` is the record's number.
    Where `container` is empty, `held` is the picture.
    """

    split: str
    label: str
    key: str
    container: str
    start: int
    size: int
    checksum: int = 0
    held: bytes = b""


class Entries(Sequence[Entry]):
    """Entries in columns: 50 bytes each and the key, so that ImageNet's 1.3 million are 0.1 GB."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, int]] = {"split": {}, "label": {}, "container": {}}
        self._split, self._label, self._container = array("b"), array("i"), array("i")
        self._start, self._size, self._checksum = array("q"), array("q"), array("I")
        self._keys, self._ends = bytearray(), array("q", [0])
        self._held = bytearray()

    def append(self, entry: Entry) -> None:
        """Adds one at the end."""
        numbers = []
        for column in ("split", "label", "container"):
            names = self._names[column]
            numbers.append(names.setdefault(getattr(entry, column), len(names)))
        self._split.append(numbers[0])
        self._label.append(numbers[1])
        self._container.append(numbers[2])
        self._start.append(len(self._held) if not entry.container else entry.start)
        self._size.append(entry.size)
        self._checksum.append(entry.checksum)
        self._keys += entry.key.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._keys))
        self._held += entry.held

    def __len__(self) -> int:
        return len(self._size)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        start, size, container = self._start[index], self._size[index], self._container[index]
        container_name = self._by_number["container"][container]
        return Entry(
            self._by_number["split"][self._split[index]],
            self._by_number["label"][self._label[index]],
            self._keys[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogatepass"),
            container_name,
            start,
            size,
            self._checksum[index],
            b"" if container_name else bytes(self._held[start : start + size]),
        )

    @cached_property
    def _by_number(self) -> dict[str, list[str]]:
        return {column: list(names) for column, names in self._names.items()}

    @cached_property
    def order(self) -> dict[str, np.ndarray]:
        """Of each split the places of its entries, int64, in the order of the SHA-256 of their keys.

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
        splits = np.frombuffer(self._split, np.int8) if len(self) else np.zeros(0, np.int8)
        ordered = {}
        for split, number in self._names["split"].items():
            places = np.flatnonzero(splits == number)
            places = places[np.lexsort((hashes[places, 1], hashes[places, 0]))]
            twice = (hashes[places[1:]] == hashes[places[:-1]]).all(axis=1)
            if twice.any():
                raise UsageError(
                    f"{printable(self[int(places[twice.argmax()])].key)} stands twice in {split}"
                )
            ordered[split] = places
        return ordered

    def classes(self, split: str) -> Counter[str]:
        """How many entries each class has in a split."""
        if split not in self._names["split"]:
            return Counter()
        splits, labels = np.frombuffer(self._split, np.int8), np.frombuffer(self._label, np.int32)
        counts = np.bincount(labels[splits == self._names["split"][split]], minlength=1)
        return Counter({label: int(n) for label, n in zip(self._names["label"], counts, strict=False) if n})

    def identity(self) -> str:
        """A digest of what the entries hold, wherever it lies."""
        digest = hashlib.sha256(json.dumps([list(self._names[c]) for c in ("split", "label")]).encode())
        for column in (self._split, self._label, self._size, self._ends, self._keys, self._held):
            digest.update(hashlib.sha256(column).digest())
        return digest.hexdigest()


class Unreadable(Exception):
    """One picture of a source is damaged where it lies; the message says how."""


def read_range(entry: Entry) -> bytes:
    """The bytes of an entry in a file, a tar, or in the entry itself."""
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


def read_zipped(entry: Entry) -> bytes:
    """The bytes of an entry in a .zip."""
    with open(entry.container, "rb") as file:
        file.seek(entry.start)
        header = file.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise Unreadable("its header in the archive is damaged")
        method, name, extra = struct.unpack("<8xH16xHH", header)
        file.seek(name + extra, os.SEEK_CUR)
        if method == 0:
            data = file.read(entry.size)
        else:
            inflate, data = zlib.decompressobj(-zlib.MAX_WBITS), b""
            try:
                while len(data) < entry.size and not inflate.eof and (piece := file.read(2**18)):
                    data += inflate.decompress(piece, entry.size - len(data))
            except zlib.error as error:
                raise Unreadable(str(error)) from None
    if len(data) != entry.size or zlib.crc32(data) != entry.checksum:
        raise Unreadable("its bytes in the archive are damaged")
    return data


def read_recorded(entry: Entry) -> bytes:
    """The image of a record that TFDS wrote."""
    feature = _features(_records(entry.container, entry.split)[entry.start])
    return feature["image"].bytes_list.value[0]


@dataclass(frozen=True)
class Source:
    """A source, recognised.

    Attributes:
      kind: what it is, in words.
      entries: its pictures; None for a compressed tar, which `in_order` goes through.
      read: the bytes of an entry; a plain function, so that any process can call it.
      in_order: all pictures of a compressed tar, in its order.
      class_names: by label; empty: the names of the classes found, sorted.
      notes: what a person should know about it.
      stamp: what tells another compressed tar from this one.
    """

    kind: str
    entries: Entries | None
    read: Callable[[Entry], bytes] = read_range
    in_order: Callable[[], Iterator[Picture]] | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stamp: str = ""

    def pictures(self) -> Iterator[Picture]:
        """All pictures, one after the other."""
        if self.entries is None:
            assert self.in_order is not None
            yield from self.in_order()
        else:
            for entry in self.entries:
                yield Picture(entry.split, entry.label, entry.key, self.read(entry))

    def identity(self) -> str:
        """A digest of what the source holds, the same on every machine that has it."""
        entries = "" if self.entries is None else self.entries.identity()
        return hashlib.sha256(json.dumps([self.stamp, self.class_names, entries]).encode()).hexdigest()


def open_source(name: str) -> Source:
    """Recognises a source and indexes it.

    Args:
      name: a path, or 'digits'.

    Raises:
      UsageError: nothing there, nothing that is known, or something that contradicts itself.
    """
    if not name:
        raise UsageError(f"--source is missing: {WHAT}")
    if name == "digits":
        return Source("scikit-learn's handwritten digits", _digits())
    path = Path(name)
    if not path.exists():
        raise UsageError(f"--source={name} does not exist")
    try:
        source = _recognise(path, name)
    except OSError as error:
        raise UsageError(f"--source={name} cannot be read: {error}") from None
    if source.entries is not None:
        if not source.entries:
            raise UsageError(f"--source={name} holds no pictures; it may be {WHAT}")
        try:
            _ = source.entries.order
        except UsageError as error:
            raise UsageError(f"{error} of {name}") from None
    return source


def _recognise(path: Path, name: str) -> Source:
    if path.name in _ILSVRC_TRAIN:
        return _ilsvrc(path.parent, path.name)
    if path.is_dir():
        for train in _ILSVRC_TRAIN:
            if (path / train).is_file():
                return _ilsvrc(path, train)
        for pattern in ("dataset_info.json", "*/dataset_info.json", "*/*/dataset_info.json"):
            prepared = sorted(path.glob(pattern))
            if len(prepared) > 1:
                raise UsageError(
                    f"--source={name} holds {len(prepared)} prepared datasets: name one, such as "
                    f"{prepared[0].parent}"
                )
            if prepared:
                return _prepared(prepared[0].parent)
        idx = _idx_files(path)
        if idx:
            return Source("IDX files as MNIST has them", _idx(idx))
        found = _folder_files(path)
        kind, read = "a folder of class folders", read_range
    elif not path.name.lower().endswith(ARCHIVES):
        raise UsageError(f"--source={name} is not a folder nor one of {', '.join(ARCHIVES)}")
    elif path.name.lower().endswith(".zip"):
        found, kind, read = _zip_files(path), "a zip archive of class folders", read_zipped
    elif path.name.lower().endswith(".tar"):
        found = _tar_files(path)
        kind, read = "a tar archive of class folders", read_range
    else:
        with path.open("rb") as file:
            stamp = f"{path.stat().st_size} {hashlib.sha256(file.read(2**20)).hexdigest()}"
        kind = "a compressed tar archive of class folders, read in order"
        return Source(kind, None, in_order=lambda: _compressed_pictures(path, name), stamp=stamp)
    arrangement = _Arrangement(name, path if path.is_dir() else path.parent)
    listed, entries = Entries(), Entries()
    with Progress("index", None, "pictures") as progress:
        for picture in found:
            listed.append(Entry("", "", *picture))
            arrangement.look_at(picture.path)
            progress.update(1)
    for entry in listed:
        arranged = arrangement.arrange(entry.key)
        if arranged is not None:
            entries.append(Entry(*arranged, entry.container, entry.start, entry.size, entry.checksum))
    notes = arrangement.notes()
    if entries.classes("train").keys() == set(_tfds_list("labels.txt")):
        kind, notes = f"{kind} with ILSVRC-2012's classes", notes + _check_ilsvrc("2012", entries)
    return Source(kind, entries, read, notes=notes)


# Class folders


class _Arrangement:
    """Class folders: [anything/][train|val|test/]class/.../picture.

    Pictures of ImageNet's validation and test sets may lie flat in their split's folder: their labels are
    known by the number in their name.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self.depth = -1  # of the folder that names the split; -1: there are none
        self.labels: dict[tuple[str, str], list[str]] = {}
        self.unlabelled = 0

    def look_at(self, path: str) -> None:
        """Finds out, from all paths or the first, whether folders name splits and at which depth."""
        parts = _parts(path)
        last = len(parts) - (1 if _ILSVRC_FILE.fullmatch(parts[-1]) else 2)
        for depth, part in enumerate(parts[:last]):
            if 0 <= self.depth <= depth:
                return
            if part.lower() in SPLITS:
                self.depth = depth

    def arrange(self, path: str) -> tuple[str, str, str] | None:
        """(split, class, key) of a picture; None for one that has no label.

        Raises:
          UsageError: it lies where no picture should, or in another class's folder than its own.
        """
        *folders, file = _parts(path)
        if self.depth < 0:
            if not folders:
                raise UsageError(f"{printable(path)} in {self.name} lies in no class folder")
            return "train", folders[-1], f"{folders[-1]}/{file}"
        if len(folders) <= self.depth or folders[self.depth].lower() not in SPLITS:
            raise UsageError(
                f"{printable(path)} in {self.name} lies outside train/, val/ and test/, where others are"
            )
        split, rest = SPLITS[folders[self.depth].lower()], [*folders[self.depth + 1 :], file]
        label = self._label(file, flat=len(rest) == 1)
        if len(rest) > 1:
            if label and re.fullmatch(r"n\d{8}", rest[0]) and rest[0] != label:
                raise UsageError(f"{printable(path)} in {self.name} is of class {label}: its folder is wrong")
            return split, rest[0], "/".join(rest)
        if label is None:
            self.unlabelled += 1
            return None
        return split, label, f"{label}/{file}"

    def _label(self, file: str, flat: bool) -> str | None:
        """The class that the number in a file's name says; None where nobody knows, or needs to."""
        named = _ILSVRC_FILE.fullmatch(file)
        if named is None:
            if flat:
                raise UsageError(
                    f"{printable(file)} in {self.name} lies in a split's folder but in no class folder"
                )
            return None
        year, part, number = named.groups()
        if (year, part) == ("2012", "test") or (not flat and (year, part) != ("2012", "val")):
            return None  # nobody outside has the labels of 2012's test set
        if (year, part) not in self.labels:
            self.labels[year, part] = _ilsvrc_labels(self.folder, year, part)
        return _numbered(self.labels[year, part], file, int(number))

    def notes(self) -> tuple[str, ...]:
        if not self.unlabelled:
            return ()
        return (f"{self.unlabelled:,} pictures of ILSVRC-2012's test set have no labels and are left out",)


class _File(NamedTuple):
    """A picture's path in a source, and its place as in `Entry`."""

    path: str
    container: str
    start: int
    size: int
    checksum: int = 0


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _is_picture(path: str) -> bool:
    if not path.lower().endswith(SUFFIXES):
        return False
    return not any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in path.split("/"))


def _folder_files(folder: Path) -> Iterator[_File]:
    """Pictures below a person's own folder, and in the tars of ImageNet's classes in it.

    Links are followed here, each folder once.
    """
    seen: set[tuple[int, int]] = set()

    def walk(path: str, relative: str) -> Iterator[_File]:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(path) as found:
            items = sorted(found, key=lambda item: item.name)
        for item in items:
            name = relative + item.name
            if _is_picture(name):
                if item.is_file():
                    yield _File(name, path, -1, item.stat().st_size)
            elif item.is_dir():
                yield from walk(item.path, f"{name}/")
            elif _CLASS_TAR.fullmatch(item.name) and item.is_file():
                yield from _tar_files(Path(item.path), f"{name[:-4]}/")

    return walk(str(folder.absolute()), "")


def _zip_files(path: Path) -> Iterator[_File]:
    """Pictures of a zip archive by its central directory, which zipfile would hold in memory as objects."""
    container = str(path.absolute())
    with path.open("rb") as file:
        for name, flags, method, checksum, packed, size, attributes, start in _central_directory(file, path):
            is_link = (attributes >> 16) & 0o170000 == 0o120000
            if is_link or not _is_picture(name):
                continue
            if flags & 1:
                raise UsageError(f"{printable(name)} in {path} is encrypted")
            if method not in (0, 8):
                raise UsageError(f"{printable(name)} in {path} is not stored nor deflated: unpack {path}")
            _check_size(max(size, packed), name, path)
            yield _File(name, container, start, size, checksum)


def _central_directory(file: Any, path: Path) -> Iterator[tuple[str, int, int, int, int, int, int, int]]:
    """(name, flags, method, CRC-32, packed size, size, attributes, start of the header) of each member.

    PKWARE's APPNOTE, sections 4.3.12 to 4.3.16; zip64 included.
    """
    damaged = f"--source={path} cannot be read as a zip archive"
    total = file.seek(0, os.SEEK_END)
    tail_start = file.seek(max(total - 22 - 2**16 - 20, 0))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise UsageError(f"{damaged}: it has no directory; it may be cut off")
    count, length, start = struct.unpack_from("<10xHLL", tail, at)
    end = tail_start + at
    if tail[max(at - 20, 0) : at].startswith(b"PK\6\7"):
        file.seek(struct.unpack_from("<8xQ", tail, at - 20)[0])
        large = file.read(56)
        if len(large) < 56 or large[:4] != b"PK\6\6":
            raise UsageError(f"{damaged}: its directory is damaged")
        count, length, start = struct.unpack_from("<32xQQQ", large)
    if start + length > end:
        raise UsageError(f"{damaged}: its directory is damaged")
    file.seek(start)
    for _ in range(count):
        fixed = file.read(46)
        if len(fixed) < 46 or fixed[:4] != b"PK\1\2" or file.tell() > end:
            raise UsageError(f"{damaged}: its directory is damaged")
        flags, method, checksum, packed, size, names, extras, comments, attributes, header = struct.unpack(
            "<8xHH4xLLLHHH4xLL", fixed
        )
        name = file.read(names).decode("utf-8" if flags & 0x800 else "cp437", "replace")
        extra = file.read(extras)
        file.seek(comments, os.SEEK_CUR)
        while len(extra) >= 4:
            kind, size_of_field = struct.unpack_from("<HH", extra)
            if kind == 1:  # the values of zip64 that do not fit 32 bits, in this order
                values = iter(struct.unpack_from(f"<{size_of_field // 8}Q", extra[: 4 + size_of_field], 4))
                size, packed, header = (
                    next(values, value) if value == 0xFFFFFFFF else value for value in (size, packed, header)
                )
            extra = extra[4 + size_of_field :]
        yield name, flags, method, checksum, packed, size, attributes, header


def _tar_files(path: Path, below: str = "") -> Iterator[_File]:
    """Pictures of a tar, and of tars in it: n01440764.tar/a.JPEG counts as n01440764/a.JPEG."""
    container = str(path.absolute())
    with path.open("rb", buffering=0) as file, _telling_damage(path):
        # Headers lie far apart: reading ahead would read the whole archive.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        stream = _Stream(file, path.stat().st_size)
        for name, size in _pictures_of(stream, path):
            yield _File(below + name, container, stream.position, size)


def _compressed_pictures(path: Path, name: str) -> Iterator[Picture]:
    opener = next(opener for suffix, opener in COMPRESSED.items() if path.name.lower().endswith(suffix))
    arrangement = _Arrangement(name, path.parent)
    total, first = path.stat().st_size, True
    with path.open("rb") as file, _telling_damage(path):
        stream = _Stream(opener(file))
        for member, size in _pictures_of(stream, path):
            if first:
                arrangement.look_at(member)
                first = False
            arranged = arrangement.arrange(member)
            if arranged is not None:
                yield Picture(*arranged, stream.read(size), file.tell() / total)


def _check_size(size: int, member: str, path: Path) -> None:
    if size > LARGEST_FILE:
        raise UsageError(f"{printable(member)} in {path} claims {size:,} bytes: no picture is that large")


# Tar


class _Stream:
    """A file read forward: a plain one of `size` bytes, or one that is decompressed on the way."""

    def __init__(self, file: Any, size: int | None = None):
        self.file, self.size, self.position = file, size, 0

    def read(self, size: int) -> bytes:
        """`size` bytes, from here.

        Raises:
          EOFError: it ends before, or is damaged.
        """
        try:
            data = self.file.read(size)
            while 0 < len(data) < size and (more := self.file.read(size - len(data))):
                data += more
        except (lzma.LZMAError, zlib.error, gzip.BadGzipFile, OSError, EOFError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise EOFError(str(error)) from None
        self.position += len(data)
        if len(data) < size:
            raise EOFError("it ends too early: it was cut off")
        return data

    def go(self, position: int) -> None:
        """Goes forward to `position`; EOFError when it ends before."""
        if self.size is None:
            while self.position < position:
                self.read(min(position - self.position, 2**20))
        elif position > self.size:
            raise EOFError("it ends too early: it was cut off")
        elif position != self.position:
            self.position = self.file.seek(position)


_BLOCK = 512
_NO_DATA = b"123456"  # links, devices, folders, pipes
_SPARSE = "it holds a sparse file: pack it again without --sparse"
_LARGEST_NAME = 2**20  # bytes of a header's extension


def _pictures_of(stream: _Stream, path: Path) -> Iterator[tuple[str, int]]:
    """(name, size) of each picture in a tar or in a tar in it; the stream stands at its bytes."""
    for name, size in _members(stream):
        if _is_tar(name):
            for inner, inner_size in _members(stream, stream.position + size):
                if _is_picture(inner):
                    _check_size(inner_size, inner, path)
                    yield f"{name[:-4]}/{inner}", inner_size
        elif _is_picture(name):
            _check_size(size, name, path)
            yield name, size


@contextlib.contextmanager
def _telling_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise UsageError(f"{path} cannot be read as a tar archive: {error}") from None


def _is_tar(path: str) -> bool:
    return path.lower().endswith(".tar") and not path.rpartition("/")[2].startswith(".")


def _members(stream: _Stream, end: int | None = None) -> Iterator[tuple[str, int]]:
    """(name, size) of each plain file of a tar; the stream stands at its bytes. Links are passed over.

    ustar with GNU's and POSIX's extensions. tarfile takes a damaged header, and the place where an archive
    was cut off, for the archive's end and says nothing, and needs ten times as long.

    Args:
      stream: at the first header.
      end: where the tar ends that lies in another; None: nobody knows.

    Raises:
      EOFError: it is damaged or cut off.
    """
    name, long_size = b"", None  # what an extension says of the next member
    while True:
        at = stream.position
        if end is not None and at + _BLOCK > end:
            raise EOFError(f"damaged at byte {at:,}: a tar in it does not end where it should")
        header = stream.read(_BLOCK)
        if not any(header):
            return
        kind = header[156:157]
        try:
            said = int(header[148:156].strip(b" \0") or b"0", 8)
            size = _number(header[124:136]) if long_size is None else long_size
        except ValueError:
            said, size = -1, 0
        if said != sum(header) - sum(header[148:156]) + 8 * 32 or size < 0:
            raise EOFError(f"damaged at byte {at:,}")
        data = stream.position
        after = data if kind in _NO_DATA else data + -(-size // _BLOCK) * _BLOCK
        if end is not None and after > end:
            raise EOFError(f"damaged at byte {at:,}: a file in it is larger than the tar around it")
        if kind in (b"L", b"x", b"X"):
            if size > _LARGEST_NAME:
                raise EOFError(f"the header at byte {at:,} claims a name of {size:,} bytes")
            extension = stream.read(size)
            if kind == b"L":
                name = extension.partition(b"\0")[0]
            else:
                told = _extended(extension)
                if any(key.startswith(b"GNU.sparse") for key in told):
                    raise EOFError(_SPARSE)
                name = told.get(b"path", name)
                long_size = int(told[b"size"]) if told.get(b"size", b"").isdigit() else long_size
        elif kind == b"S":
            raise EOFError(_SPARSE)
        elif kind not in (b"K", b"g"):
            if not name:
                name = header[:100].partition(b"\0")[0]
                if header[257:263] == b"ustar\0" and header[345:346] != b"\0":
                    name = header[345:500].partition(b"\0")[0] + b"/" + name
            if kind in (b"0", b"\0", b"7"):
                yield name.decode("utf-8", "surrogateescape"), size
            name, long_size = b"", None
        stream.go(after)


def _number(field: bytes) -> int:
    """A number of a header: octal digits, or, where the first bit is set, the bytes themselves."""
    if field[0] & 128:
        return int.from_bytes(field, "big") - (128 << 8 * (len(field) - 1))
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _extended(records: bytes) -> dict[bytes, bytes]:
    """POSIX's extension: '<length> <key>=<value>' and a line's end, again and again."""
    told = {}
    while records:
        length, _, rest = records.partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(records):
            raise EOFError("a header's extension is damaged")
        key, _, value = rest[: int(length) - len(length) - 2].partition(b"=")
        told[key] = value
        records = records[int(length) :]
    return told


# ImageNet


def _ilsvrc(folder: Path, train: str) -> Source:
    """The tars of ILSVRC-2010 or -2012: a tar of a tar a class, flat ones for the other splits."""
    year, validation, test = _ILSVRC_TRAIN[train]
    if not (folder / validation).is_file():
        raise UsageError(f"{folder / validation} is missing: it belongs beside {train}")
    kind, patches = f"ILSVRC-{year}, its tars", {}
    if year == "2010" and (folder / _PATCHES).is_file():
        kind += f" with {_PATCHES}"
        patches = {_parts(file.path)[-1]: file for file in _tar_files(folder / _PATCHES)}
    splits = [("validation", "val", validation)]
    if test and (folder / test).is_file():
        splits.append(("test", "test", test))
    labels = {split: _ilsvrc_labels(folder, year, part) for split, part, _ in splits}
    entries = Entries()
    with Progress("index", None, "pictures") as progress:

        def take(split: str, label: str, name: str, file: _File) -> None:
            place = patches.get(name, file)[1:]
            entries.append(Entry(split, label, f"{label}/{name}", *place))
            progress.update(1)

        for file in _tar_files(folder / train):
            *folders, name = _parts(file.path)
            if not folders or not name.startswith(f"{folders[-1]}_"):
                raise UsageError(f"{printable(file.path)} in {folder / train} is not of the class it lies in")
            take("train", folders[-1], name, file)
        for split, part, tar in splits:
            for file in _tar_files(folder / tar):
                name = _parts(file.path)[-1]
                named = _ILSVRC_FILE.fullmatch(name)
                if named is None or named.groups()[:2] != (year, part):
                    raise UsageError(
                        f"{printable(file.path)} in {folder / tar} is not of ILSVRC-{year}'s {split} set"
                    )
                take(split, _numbered(labels[split], name, int(named[3])), name, file)
    strange = sorted(entries.classes("train").keys() - set(_tfds_list("labels.txt")))
    if year == "2012" and strange:
        raise UsageError(
            f"{folder / train} holds class {printable(strange[0])}, which ILSVRC-2012 does not have"
        )
    return Source(kind, entries, notes=_check_ilsvrc(year, entries))


def _check_ilsvrc(year: str, entries: Entries) -> tuple[str, ...]:
    """Notes what is not as in the whole ILSVRC."""
    whole, trained = _ILSVRC[year], entries.classes("train")
    notes = []
    if len(trained) != 1000:
        notes.append(f"ILSVRC-{year} has 1,000 classes, these are {len(trained):,}")
    if trained.total() != whole.training:
        notes.append(f"ILSVRC-{year} has {whole.training:,} training pictures, these are {trained.total():,}")
    wrong = [(label, n) for label, n in sorted(trained.items()) if not whole.fewest <= n <= whole.most]
    if wrong:
        notes.append(
            f"classes of ILSVRC-{year} have {whole.fewest} to {whole.most:,} training pictures: "
            f"{wrong[0][0]} has {wrong[0][1]:,}, {len(wrong) - 1:,} more differ"
        )
    for split, each in whole.each.items():
        counts = entries.classes(split)
        wrong = [(label, counts[label]) for label in sorted(trained) if counts[label] != each]
        if counts and wrong:
            notes.append(
                f"classes of ILSVRC-{year} have {each} {split} pictures: {wrong[0][0]} has {wrong[0][1]:,}, "
                f"{len(wrong) - 1:,} more differ"
            )
    return tuple(notes)


def _tfds_list(name: str) -> list[str]:
    import tensorflow_datasets as tfds

    return Path(tfds.core.tfds_path(f"datasets/imagenet2012/{name}")).read_text().split()


def _numbered(labels: list[str], file: str, number: int) -> str:
    if not 1 <= number <= len(labels):
        raise UsageError(f"{file} has no label: there are {len(labels):,}")
    return labels[number - 1]


def _ilsvrc_labels(folder: Path, year: str, part: str) -> list[str]:
    """The synset of each picture of a validation or test set, in the order of their numbers.

    Those of ILSVRC-2012's validation set come with TFDS. The others are in the development kit: a file of
    numbers, and `meta.mat` (MATLAB), which tells the synset of each number.
    """
    if (year, part) == ("2012", "val"):
        return _tfds_list("validation_labels.txt")
    name = f"ILSVRC{year}_{'validation' if part == 'val' else 'test'}_ground_truth.txt"
    truth = _from_kit(folder, year, name)
    words = truth.decode("ascii", "replace").split()
    if words and all(re.fullmatch(r"n\d{8}", word) for word in words):
        return words
    from scipy.io import loadmat

    try:
        synsets = loadmat(io.BytesIO(_from_kit(folder, year, "meta.mat")), squeeze_me=True)["synsets"]
        numbers = {int(row[f"ILSVRC{year}_ID"]): str(row["WNID"]) for row in synsets}
        return [numbers[int(word)] for word in words]
    except UsageError:
        raise
    except Exception as error:  # a foreign format: loadmat raises whatever damage leads it to
        raise UsageError(
            f"{name} and meta.mat of ILSVRC-{year}'s development kit do not fit: {error}"
        ) from None


def _from_kit(folder: Path, year: str, name: str) -> bytes:
    """A file of the development kit, unpacked or in its .tar.gz, beside the tars or one folder up."""
    for place in (folder, folder.parent):
        for pattern in (name, f"data/{name}", f"*devkit*/{name}", f"*devkit*/data/{name}"):
            for path in sorted(place.glob(pattern)):
                if path.stat().st_size <= LARGEST_FILE:
                    return path.read_bytes()
        for path in sorted(place.glob(f"ILSVRC{year}_devkit*.tar.gz")):
            with gzip.open(path, "rb") as file, _telling_damage(path):
                stream = _Stream(file)
                for member, size in _members(stream):
                    if _parts(member)[-1:] == [name] and size <= LARGEST_FILE:
                        return stream.read(size)
    raise UsageError(
        f"{name} is missing: put ILSVRC-{year}'s development kit (ILSVRC{year}_devkit*.tar.gz) into {folder}"
    )


# Others


def _digits() -> Entries:
    """1,797 digits of 8 x 8 pixels and 17 grey levels; the last 297 of a fixed shuffle are the test split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.Generator(np.random.Philox(2012)).permutation(len(digits.images))
    entries = Entries()
    for place, index in enumerate(order):
        split = "test" if place >= len(order) - DIGITS_TEST else "train"
        pixels = np.rint(digits.images[index] * (255 / 16)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        label, data = str(digits.target[index]), file.getvalue()
        entries.append(Entry(split, label, f"{label}/{index:04d}.png", "", 0, len(data), held=data))
    return entries


def _idx_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """{split: (images, labels)} of IDX files, named as MNIST's, plain or .gz."""
    found = {}
    for split, names in (("train", ("train",)), ("test", ("t10k", "test"))):
        for name in names:
            images = sorted(folder.glob(f"*{name}-images*idx3*"))
            labels = sorted(folder.glob(f"*{name}-labels*idx1*"))
            if images and labels:
                found[split] = (images[0], labels[0])
            elif images or labels:
                raise UsageError(f"{(images or labels)[0]} has no file of {'labels' if images else 'images'}")
    return found


def _idx(files: dict[str, tuple[Path, Path]]) -> Entries:
    entries = Entries()
    for split, (images_path, labels_path) in files.items():
        images, labels = _read_idx(images_path, 3), _read_idx(labels_path, 1)
        if len(images) != len(labels):
            raise UsageError(
                f"{images_path} has {len(images):,} pictures, {labels_path} {len(labels):,} labels"
            )
        header = b"P5 %d %d 255\n" % (images.shape[2], images.shape[1])  # PGM: a header and the pixels
        for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            data = header + pixels.tobytes()
            key = f"{label}/{index:06d}.pgm"
            entries.append(Entry(split, str(label), key, "", 0, len(data), held=data))
    return entries


def _read_idx(path: Path, axes: int) -> np.ndarray:
    """An IDX file of bytes: two zeros, 8 for uint8, the number of axes, their lengths, the values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zeros, kind, found = struct.unpack(">HBB", file.read(4))
            if (zeros, kind, found) != (0, 8, axes):
                raise UsageError(f"{path} is not an IDX file of bytes with {axes} axes")
            shape = struct.unpack(f">{axes}I", file.read(4 * axes))
            size = int(np.prod([int(length) for length in shape], dtype=object))
            if size > 2**34:
                raise UsageError(f"{path} claims {size:,} bytes")
            content = bytearray()  # read by and by: a file may claim more than it has
            while len(content) <= size and (piece := file.read(min(size + 1 - len(content), 2**24))):
                content += piece
            values = np.frombuffer(bytes(content), np.uint8)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UsageError(f"{path} cannot be read as an IDX file: {error}") from None
    if len(values) != size:
        raise UsageError(
            f"{path} claims {size:,} values and holds {'more' if len(values) > size else 'fewer'}"
        )
    return values.reshape(shape)


def _prepared(folder: Path) -> Source:
    """A dataset that TFDS prepared as array_record, with the features image and label."""
    import tensorflow_datasets as tfds

    place, entries = str(folder.absolute()), Entries()
    try:
        info = tfds.builder_from_directory(folder).info
        names = tuple(info.features["label"].names)
        encoded = isinstance(info.features["image"], tfds.features.Image)
        with Progress("index", sum(split.num_examples for split in info.splits.values()), "pictures") as bar:
            for split in info.splits:
                records = _records(place, split)
                for index in range(len(records)):
                    feature = _features(records[index])
                    label = feature["label"].int64_list.value[0]
                    if label >= 0:  # -1: nobody outside has it
                        key = b"".join(feature["file_name"].bytes_list.value).decode("utf-8", "replace")
                        if not key.startswith(f"{names[label]}/"):
                            key = f"{names[label]}/{key or f'{index:08d}'}"
                        entries.append(Entry(split, names[label], key, place, index, 0))
                    bar.update(1)
    except (UsageError, RunFailure):
        raise
    except Exception as error:  # TFDS raises whatever a damaged or foreign dataset leads it to
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"{folder} cannot be read as a dataset that TFDS prepared as array_record: {first}"
        ) from None
    if not encoded:
        raise UsageError(f"{folder} holds pixels, not encoded pictures: prepare from what it was made from")
    return Source("a dataset that TFDS prepared", entries, read_recorded, class_names=names)


def _features(serialized: bytes) -> Any:
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example.FromString(serialized).features.feature


@lru_cache(4)
def _records(folder: str, split: str) -> Any:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    return builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
