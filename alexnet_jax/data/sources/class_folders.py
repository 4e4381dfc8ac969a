"""Class folders, on disk or in an archive: [anything/][train|val|test/]class/.../image.

Images of ImageNet's validation and test sets may lie flat in their split's folder: their labels are known by
the number in their name.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from alexnet_jax.data.sources import imagenet
from alexnet_jax.data.sources.entries import (
    Entries,
    Entry,
    Source,
    check_size,
    is_image,
    read_range,
    split_path,
)
from alexnet_jax.data.sources.tar import list_tar
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import Progress, printable

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}


def index(
    kind: str, path: Path, members: Iterable[Entry], read: Callable[[Entry], bytes] = read_range
) -> Source:
    """Index images by the folders that they lie in.

    Args:
      kind: what the source is, in words.
      path: the folder or archive.
      members: its images, their keys the paths.
      read: returns the bytes of an entry.

    Raises:
      UsageError: an image lies in no class folder, outside the folders of splits where there are some, or
        in another class's folder than its own.
    """
    layout = ClassFolders(path)
    listed, entries = Entries(), Entries()
    with Progress("index", None, "images") as progress:
        for member in members:
            listed.append(member)
            layout.detect_split_depth(member.key)
            progress.update(1)
    for entry in listed:
        located = layout.locate(entry.key)
        if located is not None:
            split, label, key = located
            entries.append(entry._replace(split=split, label=label, key=key))
    notes: tuple[str, ...] = ()
    if layout.unlabelled:
        notes = (f"{layout.unlabelled:,} images of ILSVRC-2012's test set have no labels and are left out",)
    if imagenet.has_classes_of_2012(entries):
        kind, notes = f"{kind} with ILSVRC-2012's classes", notes + imagenet.compare_counts("2012", entries)
    return Source(kind, entries, read, notes=notes)


def stream(path: Path, found: Iterable[tuple[str, bytes, float]]) -> Iterator[tuple[Entry, float]]:
    """Iterate over the images of an archive that is read once, in order.

    The first image's path decides whether folders name splits.

    Args:
      path: the archive.
      found: path, bytes and fraction read of each image.

    Raises:
      UsageError: as `index`.
    """
    layout = ClassFolders(path)
    for number, (name, data, fraction_read) in enumerate(found):
        if number == 0:
            layout.detect_split_depth(name)
        located = layout.locate(name)
        if located is not None:
            yield Entry(*located, "", 0, len(data), held=data), fraction_read


def list_folder(folder: Path) -> Iterator[Entry]:
    """Iterate over the images below the user's own folder, and in the tars of ImageNet's classes in it.

    Links are followed here, each folder once.
    """
    seen: set[tuple[int, int]] = set()

    def walk(path: str, relative: str) -> Iterator[Entry]:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(path) as found:
            items = sorted(found, key=lambda item: item.name)
        for item in items:
            name = relative + item.name
            if is_image(name):
                if item.is_file():
                    size = item.stat().st_size
                    check_size(size, name, folder)
                    yield Entry("", "", name, path, -1, size)
            elif item.is_dir():
                yield from walk(item.path, f"{name}/")
            elif imagenet.CLASS_TAR.fullmatch(item.name) and item.is_file():
                yield from list_tar(Path(item.path), f"{name[:-4]}/")

    return walk(str(folder.absolute()), "")


class ClassFolders:
    """How a source's folders name splits and classes.

    Attributes:
      unlabelled: how many images had no label, for nobody outside has those of ILSVRC-2012's test set.
    """

    def __init__(self, source: Path):
        self._source = source
        self._kit = source if source.is_dir() else source.parent  # where ImageNet's development kit may lie
        self._split_depth = -1  # of the folder that names the split; -1: there are none
        self._labels: dict[tuple[str, str], list[str]] = {}
        self.unlabelled = 0

    def detect_split_depth(self, path: str) -> None:
        """Find out, from all paths or the first, whether folders name splits and at which depth."""
        parts = split_path(path)
        last = len(parts) - (1 if imagenet.NUMBERED_IMAGE.fullmatch(parts[-1]) else 2)
        for depth, part in enumerate(parts[:last]):
            if 0 <= self._split_depth <= depth:
                return
            if part.lower() in SPLITS:
                self._split_depth = depth

    def locate(self, path: str) -> tuple[str, str, str] | None:
        """Return split, class and key of an image; None for one that has no label.

        Raises:
          UsageError: it lies where no image should, or in another class's folder than its own.
        """
        *folders, file = split_path(path)
        if self._split_depth < 0:
            if not folders:
                raise UsageError(f"{printable(path)} in {self._source} lies in no class folder")
            return "train", folders[-1], f"{folders[-1]}/{file}"
        if len(folders) <= self._split_depth or folders[self._split_depth].lower() not in SPLITS:
            raise UsageError(
                f"{printable(path)} in {self._source} lies outside train/, val/ and test/, where others are"
            )
        split, below = SPLITS[folders[self._split_depth].lower()], folders[self._split_depth + 1 :]
        label = self._label_by_number(file, flat=not below)
        if below:
            if label and imagenet.SYNSET.fullmatch(below[0]) and below[0] != label:
                raise UsageError(
                    f"{printable(path)} in {self._source} is of class {label}: its folder is wrong"
                )
            return split, below[0], "/".join([*below, file])
        if label is None:
            self.unlabelled += 1
            return None
        return split, label, f"{label}/{file}"

    def _label_by_number(self, file: str, flat: bool) -> str | None:
        """Return the class that the number in a file's name says; None where nobody knows, or needs to."""
        numbered = imagenet.NUMBERED_IMAGE.fullmatch(file)
        if numbered is None:
            if flat:
                raise UsageError(
                    f"{printable(file)} in {self._source} lies in a split's folder but in no class folder"
                )
            return None
        year, part, number = numbered.groups()
        if (year, part) == ("2012", "test") or (not flat and (year, part) != ("2012", "val")):
            return None  # nobody outside has the labels of 2012's test set
        if (year, part) not in self._labels:
            self._labels[year, part] = imagenet.read_labels(self._kit, year, part)
        return imagenet.label_of(self._labels[year, part], file, int(number))
