"""Class folders, on disk or in an archive: [top/][train/|val/|test/]class/[anything/]image.

A class is the folder directly below the source or below a split, as for torchvision's ImageFolder and Keras;
images deeper inside belong to it. Folders that hold nothing but one folder are passed through. Images of
ImageNet's validation and test sets may lie flat: their labels are known by the number in their name.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from alexnet_jax.data.file_kinds import ending_of
from alexnet_jax.data.sources import imagenet
from alexnet_jax.data.sources.entries import Entries, Entry, Source, read_range
from alexnet_jax.data.sources.folder_layout import Layout, group_of
from alexnet_jax.data.sources.sieve import Sieve
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import Progress, printable

MAX_GROUPS = 32  # of folders in a compressed tar that may name splits: the sums of each are kept apart


def index(
    kind: str,
    path: Path,
    members: Iterable[Entry],
    sieve: Sieve,
    read: Callable[[Entry], bytes] = read_range,
    class_level: int = 0,
) -> Source:
    """Index images by the folders that they lie in.

    Args:
      kind: what the source is, in words.
      path: the folder or archive.
      members: its images, their keys the paths.
      sieve: what chose them.
      read: returns the bytes of an entry.
      class_level: which folder below the source or the split names the class, from 1; 0: the first, unless
        names of splits or folds make that doubtful.

    Raises:
      UsageError: an image lies in no class folder, outside the folders of splits where there are some, or
        in another class's folder than its own; or two readings are as likely.
    """
    folders = ClassFolders(path, class_level, sieve.left_out)
    listed, entries = Entries(), Entries()
    with Progress("index", None, "images") as progress:
        for member in members:
            if folders.add(member.key):
                listed.append(member)
            progress.update(1)
    folders.layout.resolve()
    for entry in listed:
        located = folders.locate(entry.key)
        if located is not None:
            split, label, key = located
            entries.append(entry._replace(split=split, label=label, key=key))
    return folders.finish(Source(kind, entries, read))


def stream(
    path: Path, found: Iterable[tuple[str, bytes, float]], left_out: Counter[tuple[str, str]]
) -> Iterator[tuple[Entry, float]]:
    """Iterate over the images of an archive that is read once, in order; their keys are the paths.

    Which are splits is known at the end alone: the split of an entry is what of its path may decide it.

    Args:
      path: the archive.
      found: path, bytes and fraction read of each image.
      left_out: counts images that have no label.

    Raises:
      UsageError: very many folders are named as splits.
    """
    groups = set()
    for name, data, fraction_read in found:
        if not _is_unlabelled(name, left_out):
            group = group_of(name)
            groups.add(group)
            if len(groups) > MAX_GROUPS:
                raise UsageError(f"{path} has names of splits in more than {MAX_GROUPS} ways: decompress it")
            yield Entry(group, "", name, "", 0, len(data), held=data), fraction_read


def arrange(
    source: Source,
    path: Path,
    class_level: int,
    listed: Iterable[Entry],
    left_out: Counter[tuple[str, str]],
) -> Source:
    """Return the source of a compressed tar with its entries located.

    Args:
      source: the archive.
      path: where it lies.
      class_level: as `index`.
      listed: an entry for each image, its key the path; one of negative size is of an image that cannot be
        used.
      left_out: what was not read, as `Source.left_out`.

    Raises:
      UsageError: as `index`.
    """
    kept = list(listed)
    folders, entries = ClassFolders(path, class_level, left_out), Entries()
    for entry in kept:
        folders.add(entry.key)
    folders.layout.resolve()
    for entry in kept:
        located = folders.locate(entry.key)
        if located is not None and entry.size >= 0:
            split, label, key = located
            entries.append(entry._replace(split=split, label=label, key=key))
    return folders.finish(replace(source, entries=entries, locate=folders.locate))


def _is_unlabelled(path: str, left_out: Counter[tuple[str, str]]) -> bool:
    """Return whether nobody outside knows an image's class, and count it then."""
    if not imagenet.is_unlabelled(path):
        return False
    left_out[ending_of(path), imagenet.UNLABELLED] += 1
    return True


class ClassFolders:
    """How a source's folders name splits and classes.

    Args:
      source: where it lies.
      class_level: as `index`.
      left_out: as `Source.left_out`; what turns out to have no label is added.

    Attributes:
      layout: of its folders.
    """

    def __init__(self, source: Path, class_level: int, left_out: Counter[tuple[str, str]]):
        self._source = source
        self._kit = source if source.is_dir() else source.parent  # where ImageNet's development kit may lie
        self.layout = Layout(source, class_level)
        self._labels: dict[tuple[str, str], list[str]] = {}
        self._left_out = left_out

    def add(self, path: str) -> bool:
        """Take a path into account; return whether it may have a label."""
        if _is_unlabelled(path, self._left_out):
            return False
        self.layout.add(path)
        return True

    def locate(self, path: str) -> tuple[str, str, str] | None:
        """Return split, class and key of an image; None for one that has no label.

        Raises:
          UsageError: it lies where no image should, or in another class's folder than its own.
        """
        split, below, file = self.layout.place(path)
        label = self._label_by_number(file, flat=not below)
        if not below:
            if label is None:
                self._left_out[ending_of(path), imagenet.UNLABELLED] += 1
                return None
            return split, label, f"{label}/{file}"
        named = below[self.layout.level - 1]
        if label and imagenet.SYNSET.fullmatch(named) and named != label:
            raise UsageError(f"{printable(path)} in {self._source} is of class {label}: its folder is wrong")
        return split, named, "/".join([*below, file])

    def finish(self, source: Source) -> Source:
        """Return the source with what was found out."""
        entries = source.entries or Entries()
        notes, kind, names = source.notes, source.kind, source.class_names
        unlabelled = sum(n for (_, reason), n in self._left_out.items() if reason == imagenet.UNLABELLED)
        if unlabelled:
            notes += (f"{unlabelled:,} images of ILSVRC-2012's test set have no labels and are left out",)
        if imagenet.has_classes_of_2012(entries):
            kind = f"{kind} with ILSVRC-2012's classes"
            notes += imagenet.compare_counts("2012", entries)
        elif self._labels and not entries.classes("train"):
            kind = f"{kind}, ILSVRC's validation or test set"
            names = tuple(sorted(set().union(*self._labels.values())))
        return replace(
            source,
            kind=kind,
            notes=notes,
            class_names=names,
            splits=self.layout.splits_from(),
            remarks=source.remarks + tuple(self.layout.remarks),
            left_out=self._left_out,
        )

    def _label_by_number(self, file: str, flat: bool) -> str | None:
        """Return the class that the number in a file's name says; None where nobody knows, or needs to."""
        numbered = imagenet.NUMBERED_IMAGE.fullmatch(file)
        if numbered is None:
            if flat:
                raise UsageError(
                    f"{printable(file)} in {self._source} lies in a split's folder but in no class folder: "
                    "sort the images into class folders, or name their labels in a .csv; unlabelled images "
                    "belong elsewhere"
                )
            return None
        year, part, number = numbered.groups()
        if (year, part) == ("2012", "test") or (not flat and (year, part) != ("2012", "val")):
            return None  # nobody outside has the labels of 2012's test set
        if (year, part) not in self._labels:
            self._labels[year, part] = imagenet.read_labels(self._kit, year, part)
        return imagenet.label_of(self._labels[year, part], file, int(number))
