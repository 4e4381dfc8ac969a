"""What people have, as a list of encoded pictures that any process can read: split, class, key, place.

A source is recognised by itself: the tars of ILSVRC-2010 and -2012, their unpacked forms, a folder or an
archive of class folders, a dataset that TFDS prepared, IDX files (MNIST), or scikit-learn's digits.

Archives are untrusted. Nothing is unpacked: their members are read where they lie, into memory, up to a
stated size; links are not followed. A .tar or .zip is indexed once and read at offsets by many processes. A
compressed .tar cannot be read at offsets: `Source.pictures` goes through it in order.
"""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.progress import Progress, printable

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".tar.gz": gzip.GzipFile,
    ".tgz": gzip.GzipFile,
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
LARGEST_FILE = 256 * 2**20  # bytes of one encoded picture, or of a header in an archive
DIGITS_TEST = 297
WHAT = (
    "a folder of class folders, an archive of one (.tar, .tar.gz, .tar.xz, .zip), a folder with ImageNet's "
    "tars, a dataset that TFDS prepared, a folder with IDX files, or the word digits"
)
_DAMAGED = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile, UnicodeError)
_ILSVRC_FILE = re.compile(r"ILSVRC(2010|2012)_(val|test)_(\d{8})\.JPEG")
_ILSVRC_TRAIN = {
    "ILSVRC2012_img_train.tar": ("2012", "ILSVRC2012_img_val.tar", ""),
    "ILSVRC2010_images_train.tar": ("2010", "ILSVRC2010_images_val.tar", "ILSVRC2010_images_test.tar"),
}
_ILSVRC_TRAINING_PICTURES = {"2010": 1_261_406, "2012": 1_281_167}


@dataclass(frozen=True)
class Picture:
    """One encoded picture: its split, class name, key (unique in its split) and bytes."""

    split: str
    label: str
    key: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One encoded picture and its place: `size` bytes at `start` of the file `container`.

    In a .zip or a TFDS dataset `start` is the number of the member or record; where `container` is empty,
    `held` is the picture.
    """

    split: str
    label: str
    key: str
    container: str
    start: int
    size: int
    held: bytes = b""


class Unreadable(Exception):
    """One picture of a source is damaged where it lies; the message says how."""


def read_range(entry: Entry) -> bytes:
    """The bytes of an entry in a file, a tar, or in the entry itself."""
    if not entry.container:
        return entry.held
    with open(entry.container, "rb") as file:
        file.seek(entry.start)
        data = file.read(entry.size)
    if len(data) != entry.size:
        raise Unreadable(f"{len(data)} bytes where there were {entry.size}")
    return data


def read_zipped(entry: Entry) -> bytes:
    """The bytes of an entry in a .zip."""
    archive = _zip(entry.container)
    try:
        with archive.open(archive.infolist()[entry.start]) as file:
            return file.read(entry.size)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError) as error:
        raise Unreadable(str(error) or type(error).__name__) from None


def read_recorded(entry: Entry) -> bytes:
    """The image of a record that TFDS wrote."""
    return _record(_records(entry.container, entry.split)[entry.start])[0]


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
    entries: list[Entry] | None
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
        digest = hashlib.sha256(json.dumps([self.stamp, self.class_names]).encode())
        for entry in self.entries or ():
            digest.update(json.dumps([entry.split, entry.label, entry.key, entry.size]).encode())
            digest.update(entry.held)
        return digest.hexdigest()


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
        twice = _first_twice(source.entries)
        if twice is not None:
            raise UsageError(f"{printable(twice.key)} stands twice in {twice.split} of {name}")
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
            if prepared:
                return _prepared(prepared[-1].parent)
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
    paths = [(PurePosixPath(relative), place) for relative, place in found]
    arrangement = _Arrangement(name, path if path.is_dir() else path.parent)
    arrangement.find_splits(relative for relative, _ in paths)
    entries = []
    for relative, (container, start, size) in paths:
        arranged = arrangement.arrange(relative)
        if arranged is not None:
            entries.append(Entry(*arranged, container, start, size))
    return Source(kind, entries, read, notes=arrangement.notes())


# Class folders


class _Arrangement:
    """Class folders: [anything/][train|val|test/]class/.../picture.

    Pictures of ImageNet's validation and test sets may lie flat in their split's folder: their labels are
    known by the number in their name.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self.depth: int | None = None  # of the folder that names the split; -1: there are none
        self.labels: dict[tuple[str, str], list[str]] = {}
        self.unlabelled = 0

    def find_splits(self, paths: Iterable[PurePosixPath]) -> None:
        """Finds out, from all paths or the first, whether folders name splits and at which depth."""
        depths: Counter[int] = Counter()
        for path in paths:
            parts = path.parts
            last = len(parts) - (1 if _ILSVRC_FILE.fullmatch(parts[-1]) else 2)
            found = next((i for i, part in enumerate(parts[:last]) if part.lower() in SPLITS), None)
            if found is not None:
                depths[found] += 1
        self.depth = min(depths) if depths else -1

    def arrange(self, path: PurePosixPath) -> tuple[str, str, str] | None:
        """(split, class, key) of a picture; None for one that has no label.

        Raises:
          UsageError: it lies where no picture should.
        """
        if self.depth is None:
            self.find_splits([path])
        assert self.depth is not None
        folders, file = path.parts[:-1], path.parts[-1]
        if self.depth < 0:
            if not folders:
                raise UsageError(f"{printable(str(path))} in {self.name} lies in no class folder")
            return "train", folders[-1], f"{folders[-1]}/{file}"
        if len(folders) <= self.depth or folders[self.depth].lower() not in SPLITS:
            raise UsageError(
                f"{printable(str(path))} in {self.name} lies outside train/, val/ and test/, where others are"
            )
        split, rest = SPLITS[folders[self.depth].lower()], path.parts[self.depth + 1 :]
        if len(rest) > 1:
            return split, rest[0], "/".join(rest)
        label = self._label(file)
        if label is None:
            self.unlabelled += 1
            return None
        return split, label, f"{label}/{file}"

    def _label(self, file: str) -> str | None:
        named = _ILSVRC_FILE.fullmatch(file)
        if named is None:
            raise UsageError(
                f"{printable(file)} in {self.name} lies in a split's folder but in no class folder"
            )
        year, part, number = named.groups()
        if (year, part) == ("2012", "test"):
            return None  # nobody outside has these labels
        if (year, part) not in self.labels:
            self.labels[year, part] = _ilsvrc_labels(self.folder, year, part)
        return _numbered(self.labels[year, part], file, int(number))

    def notes(self) -> tuple[str, ...]:
        if not self.unlabelled:
            return ()
        return (f"{self.unlabelled:,} pictures of ILSVRC-2012's test set have no labels and are left out",)


def _is_picture(path: PurePosixPath) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(
        part.startswith((".", "__MACOSX")) for part in path.parts
    )


_Place = tuple[str, int, int]


def _folder_files(folder: Path) -> Iterator[tuple[str, _Place]]:
    """Pictures below a person's own folder. Links are followed here, each folder once."""
    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(names):
            path = os.path.join(root, name)
            relative = os.path.relpath(path, folder)
            if _is_picture(PurePosixPath(relative)) and os.path.isfile(path):
                yield relative, (os.path.abspath(path), 0, os.path.getsize(path))


def _zip_files(path: Path) -> Iterator[tuple[str, _Place]]:
    try:
        members = _zip(str(path)).infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise UsageError(f"--source={path} cannot be read as a zip archive: {error}") from None
    for number, info in enumerate(members):
        relative = PurePosixPath(info.filename)
        is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
        if info.is_dir() or is_link or not _is_picture(relative):
            continue
        if info.flag_bits & 1:
            raise UsageError(f"{printable(info.filename)} in {path} is encrypted")
        _check_size(info.file_size, info.filename, path)
        yield info.filename, (str(path.absolute()), number, info.file_size)


def _tar_files(path: Path) -> Iterator[tuple[str, _Place]]:
    with path.open("rb") as file:
        for member in _members(_Forward(file), path):
            if _is_picture(PurePosixPath(member.name)):
                _check_size(member.size, member.name, path)
                yield member.name, (str(path.absolute()), member.offset_data, member.size)


def _compressed_pictures(path: Path, name: str) -> Iterator[Picture]:
    opener = next(opener for suffix, opener in COMPRESSED.items() if path.name.lower().endswith(suffix))
    arrangement = _Arrangement(name, path.parent)
    seen: set[tuple[str, str]] = set()
    try:
        with opener(path) as file:
            forward = _Forward(file)
            for member in _members(forward, path):
                relative = PurePosixPath(member.name)
                if not _is_picture(relative):
                    continue
                _check_size(member.size, member.name, path)
                arranged = arrangement.arrange(relative)
                if arranged is None:
                    continue
                split, label, key = arranged
                if (split, key) in seen:
                    raise UsageError(f"{printable(key)} stands twice in {split} of {name}")
                seen.add((split, key))
                forward.seek(member.offset_data)
                data = forward.read(member.size)
                if len(data) != member.size:
                    raise EOFError("it ends within a picture")
                yield Picture(split, label, key, data)
    except _DAMAGED as error:
        raise UsageError(f"--source={path} cannot be read as a tar archive: {error}") from None


def _check_size(size: int, member: str, path: Path) -> None:
    if size > LARGEST_FILE:
        raise UsageError(f"{printable(member)} in {path} claims {size:,} bytes: no picture is that large")


def _first_twice(entries: list[Entry]) -> Entry | None:
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        if (entry.split, entry.key) in seen:
            return entry
        seen.add((entry.split, entry.key))
    return None


# Tar


class _Forward(io.RawIOBase):
    """A file read forward, from `start` on, `size` bytes of it; no read is larger than LARGEST_FILE.

    It can go back to what it read last, which is how an archive's end is looked at again. Seeking forward
    seeks in a plain file and reads on in a compressed one.
    """

    def __init__(self, file: Any, start: int = 0, size: int | None = None):
        self.file, self.start, self.size = file, start, size
        self.plain = isinstance(file, io.BufferedReader)
        self.position = 0
        self.last = b""  # the bytes before `position` that were read last
        self.again = b""  # of these, what is to be read again
        if start:
            file.seek(start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_SET
        back = self.position - position
        if back and self.plain:
            self.file.seek(self.start + position)
            self.last = b""
        elif 0 < back <= len(self.last) and not self.again:
            self.again = self.last[-back:]
        elif back > 0:
            raise tarfile.ReadError("its headers point backward")
        else:
            while self.position < position and self.read(min(position - self.position, 2**20)):
                pass
        self.position = position
        return position

    def read(self, size: int = -1) -> bytes:
        if self.size is not None:
            size = min(size, max(self.size - self.position, 0))
        if not 0 <= size <= LARGEST_FILE + tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        data, self.again = self.again[:size], self.again[size:]
        if len(data) < size:
            data += self.file.read(size - len(data))
        self.position += len(data)
        self.last = data
        return data


def _members(file: _Forward, path: Path) -> Iterator[tarfile.TarInfo]:
    """The plain files of a tar, their offsets in `file`; links and devices are passed over.

    tarfile takes a damaged header in the middle, and the place where an archive was cut off, for its end:
    the last block read tells them apart.
    """
    try:
        archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - it holds nothing to close
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember a million
            if member.isreg() and not member.issparse():
                yield member
        if file.last.strip(b"\0"):
            raise tarfile.ReadError(f"damaged at byte {file.start + archive.offset:,}")
        if not file.last:
            raise tarfile.ReadError("it ends without the mark of an end: it was cut off")
    except _DAMAGED as error:
        raise UsageError(f"{path} cannot be read as a tar archive: {error}") from None


# ImageNet


def _ilsvrc(folder: Path, train: str) -> Source:
    """The tars of ILSVRC-2010 or -2012: a tar of a tar a class, flat ones for the other splits."""
    year, validation, test = _ILSVRC_TRAIN[train]
    if not (folder / validation).is_file():
        raise UsageError(f"{folder / validation} is missing: it belongs beside {train}")
    entries = []
    path = folder / train
    with path.open("rb") as file, Progress("index", None, "classes") as progress:
        for member in _members(_Forward(file), path):
            if PurePosixPath(member.name).suffix != ".tar":
                continue
            label = PurePosixPath(member.name).stem
            position = file.tell()
            for inner in _members(_Forward(file, member.offset_data, member.size), path / member.name):
                name = PurePosixPath(inner.name).name
                if inner.offset_data + inner.size > member.size:
                    raise UsageError(f"{path}: {member.name} ends within {printable(inner.name)}")
                if _is_picture(PurePosixPath(name)):
                    _check_size(inner.size, inner.name, path)
                    start = member.offset_data + inner.offset_data
                    entries.append(
                        Entry("train", label, f"{label}/{name}", str(path.absolute()), start, inner.size)
                    )
            file.seek(position)
            progress.update(1)
    splits = [("validation", "val", validation)]
    if test and (folder / test).is_file():
        splits.append(("test", "test", test))
    for split, part, tar in splits:
        labels = _ilsvrc_labels(folder, year, part)
        for name, place in _tar_files(folder / tar):
            file_name = PurePosixPath(name).name
            named = _ILSVRC_FILE.fullmatch(file_name)
            if named is None or named.groups()[:2] != (year, part):
                raise UsageError(
                    f"{printable(name)} in {folder / tar} is no picture of ILSVRC-{year}'s {split} set"
                )
            label = _numbered(labels, file_name, int(named[3]))
            entries.append(Entry(split, label, f"{label}/{file_name}", *place))
    return Source(f"ILSVRC-{year}, its tars", entries, notes=_check_ilsvrc(year, entries, folder / train))


def _check_ilsvrc(year: str, entries: list[Entry], path: Path) -> tuple[str, ...]:
    """Holds classes against the list that TFDS ships; notes what is less than the whole."""
    counts = Counter(entry.label for entry in entries if entry.split == "train")
    notes = []
    if year == "2012":
        known = _tfds_list("labels.txt")
        strange = sorted(set(counts) - set(known))
        if strange:
            raise UsageError(f"{path} holds class {printable(strange[0])}, which ILSVRC-2012 does not have")
    if len(counts) != 1000:
        notes.append(f"ILSVRC-{year} has 1,000 classes, {path.name} has {len(counts):,} of them")
    total = sum(counts.values())
    if total != _ILSVRC_TRAINING_PICTURES[year]:
        whole = _ILSVRC_TRAINING_PICTURES[year]
        notes.append(f"ILSVRC-{year} has {whole:,} training pictures, {path.name} has {total:,}")
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
            with gzip.open(path, "rb") as file:
                forward = _Forward(file)
                for member in _members(forward, path):
                    if PurePosixPath(member.name).name == name and member.size <= LARGEST_FILE:
                        forward.seek(member.offset_data)
                        return forward.read(member.size)
    raise UsageError(
        f"{name} is missing: put ILSVRC-{year}'s development kit (ILSVRC{year}_devkit*.tar.gz) into {folder}"
    )


# Others


def _digits() -> list[Entry]:
    """1,797 digits of 8 x 8 pixels and 17 grey levels; the last 297 of a fixed shuffle are the test split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.Generator(np.random.Philox(2012)).permutation(len(digits.images))
    entries = []
    for place, index in enumerate(order):
        split = "test" if place >= len(order) - DIGITS_TEST else "train"
        pixels = np.rint(digits.images[index] * (255 / 16)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        label, data = str(digits.target[index]), file.getvalue()
        entries.append(Entry(split, label, f"{label}/{index:04d}.png", "", 0, len(data), data))
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


def _idx(files: dict[str, tuple[Path, Path]]) -> list[Entry]:
    entries = []
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
            entries.append(Entry(split, str(label), key, "", 0, len(data), data))
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
            values = np.frombuffer(file.read(size + 1), np.uint8)
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

    try:
        info = tfds.builder_from_directory(folder).info
        names = tuple(info.features["label"].names)
        splits = list(info.splits)
        entries = []
        for split in splits:
            records = _records(str(folder.absolute()), split)
            for index in range(len(records)):
                label = _record(records[index])[1]
                key = f"{names[label]}/{index:08d}" if label >= 0 else ""
                if key:
                    entries.append(Entry(split, names[label], key, str(folder.absolute()), index, 0))
    except (UsageError, RunFailure):
        raise
    except Exception as error:  # TFDS raises whatever a damaged or foreign dataset leads it to
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"{folder} cannot be read as a dataset that TFDS prepared as array_record: {first}"
        ) from None
    return Source("a dataset that TFDS prepared", entries, read_recorded, class_names=names)


def _record(serialized: bytes) -> tuple[bytes, int]:
    from tensorflow_datasets.proto import tf_example_pb2

    feature = tf_example_pb2.Example.FromString(serialized).features.feature
    return feature["image"].bytes_list.value[0], feature["label"].int64_list.value[0]


@lru_cache(4)
def _records(folder: str, split: str) -> Any:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    return builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)


@lru_cache(2)
def _zip(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
