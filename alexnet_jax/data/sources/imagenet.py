"""ImageNet's challenges of 2010 and 2012: their tars, their labels, and what the whole of each has."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds

from alexnet_jax.data.sources import matlab, tar
from alexnet_jax.data.sources.entries import Entries, Entry, Source, split_path
from alexnet_jax.data.sources.sieve import Sieve
from alexnet_jax.data.sources.split_names import doubtful_split, exact_split
from alexnet_jax.errors import UsageError
from alexnet_jax.files import read_bounded
from alexnet_jax.progress import Progress, printable

CLASS_TAR = re.compile(r"n\d{8}\.tar")
SYNSET = re.compile(r"n\d{8}")
# Images of the validation and test sets: year, 'val' or 'test', number from 1.
NUMBERED_IMAGE = re.compile(r"ILSVRC(2010|2012)_(val|test)_(\d{8})\.JPEG")
UNLABELLED = "of ILSVRC-2012's test set, whose labels nobody outside has"
_MAX_KIT_BYTES = 2**24  # of a file of the development kit, packed and inflated; the largest has 0.5 MB
_PATCHES = "patch_images.tar"  # images that replace some of 2010's, handed out with its tars


class _Challenge(NamedTuple):
    """A year's tars, and what it has in 1,000 classes (Russakovsky et al. 2015, table 2)."""

    train: str
    validation: str
    test: str  # ''; nobody outside has its labels
    training_images: int
    images_of_class: dict[str, tuple[int, int]]  # by split, the fewest and the most


_CHALLENGES = {
    "2012": _Challenge(
        "ILSVRC2012_img_train.tar",
        "ILSVRC2012_img_val.tar",
        "",
        1_281_167,
        {"train": (732, 1300), "validation": (50, 50)},
    ),
    "2010": _Challenge(
        "ILSVRC2010_images_train.tar",
        "ILSVRC2010_images_val.tar",
        "ILSVRC2010_images_test.tar",
        1_261_406,
        {"train": (668, 3047), "validation": (50, 50), "test": (150, 150)},
    ),
}


def open_tars(path: Path) -> Source | None:
    """Index the tars of a year: a tar of a tar a class, flat ones for the other splits.

    Args:
      path: the folder that holds them, the training set's tar, or the validation set's, which is enough
        to evaluate on.

    Returns:
      The source; None when `path` is none of these.

    Raises:
      UsageError: a tar is missing or damaged, or holds what is not the year's.
    """
    for year, tars in _CHALLENGES.items():
        if path.name == tars.train:
            return _index(path.parent, year)
        if (path / tars.train).is_file():
            return _index(path, year)
        if path.name == tars.validation or (path / tars.validation).is_file():
            return _index(path if path.is_dir() else path.parent, year, trained=False)
    return None


def _index(folder: Path, year: str, trained: bool = True) -> Source:
    tars, sieve = _CHALLENGES[year], Sieve()
    if trained and not (folder / tars.validation).is_file():
        raise UsageError(f"{folder / tars.validation} is missing: it belongs beside {tars.train}")
    kind, patches = f"ILSVRC-{year}, its tars" if trained else f"ILSVRC-{year}'s validation set, its tar", {}
    if year == "2010" and (folder / _PATCHES).is_file():
        kind += f" with {_PATCHES}"
        listed = tar.list_tar(folder / _PATCHES, "", sieve)
        patches = {split_path(member.key)[-1]: member for member in listed}
    parts = [("validation", "val", tars.validation)]
    if trained and tars.test and (folder / tars.test).is_file():
        parts.append(("test", "test", tars.test))
    labels = [read_labels(folder, year, part) for _, part, _ in parts]  # may be missing: before all else
    listings = [_training_images(folder / tars.train, sieve)] if trained else []
    for (split, part, name), of_split in zip(parts, labels, strict=True):
        listings.append(_numbered_images(folder / name, year, split, part, of_split, sieve))
    entries = Entries()
    with Progress("index", None, "images") as progress:
        for listing in listings:
            for split, label, member in listing:
                name = split_path(member.key)[-1]
                found = patches.get(name, member)
                entries.append(found._replace(split=split, label=label, key=f"{label}/{name}"))
                progress.update(1)
    unknown = sorted(entries.classes("train").keys() - set(_shipped("labels.txt")))
    if year == "2012" and unknown:
        raise UsageError(
            f"{folder / tars.train} holds class {printable(unknown[0])}, which ILSVRC-2012 does not have"
        )
    names = tuple(sorted(set(labels[0]))) if not trained else ()
    notes = compare_counts(year, entries) if trained else ()
    return Source(kind, entries, class_names=names, notes=notes, left_out=sieve.left_out)


def _training_images(path: Path, sieve: Sieve) -> Iterator[tuple[str, str, Entry]]:
    for member in tar.list_tar(path, "", sieve):
        *folders, name = split_path(member.key)
        if not folders or not name.startswith(f"{folders[-1]}_"):
            raise UsageError(f"{printable(member.key)} in {path} is not of the class it lies in")
        yield "train", folders[-1], member


def _numbered_images(
    path: Path, year: str, split: str, part: str, labels: list[str], sieve: Sieve
) -> Iterator[tuple[str, str, Entry]]:
    for member in tar.list_tar(path, "", sieve):
        name = split_path(member.key)[-1]
        numbered = NUMBERED_IMAGE.fullmatch(name)
        if numbered is None or numbered.groups()[:2] != (year, part):
            raise UsageError(f"{printable(member.key)} in {path} is not of ILSVRC-{year}'s {split} set")
        yield split, label_of(labels, name, int(numbered[3])), member


def compare_counts(year: str, entries: Entries) -> tuple[str, ...]:
    """Return notes on what is not as in the whole of a year."""
    whole, trained = _CHALLENGES[year], entries.classes("train")
    notes = []
    if len(trained) != 1000:
        notes.append(f"ILSVRC-{year} has 1,000 classes, these are {len(trained):,}")
    if trained.total() != whole.training_images:
        notes.append(
            f"ILSVRC-{year} has {whole.training_images:,} training images, these are {trained.total():,}"
        )
    for split, (fewest, most) in whole.images_of_class.items():
        counts = entries.classes(split)
        wrong = [label for label in sorted(trained) if not fewest <= counts[label] <= most]
        if counts and wrong:
            expected = f"{fewest} to {most:,} training" if split == "train" else f"{most} {split}"
            notes.append(
                f"classes of ILSVRC-{year} have {expected} images: {wrong[0]} has "
                f"{counts[wrong[0]]:,}, {len(wrong) - 1:,} more differ"
            )
    return tuple(notes)


def is_unlabelled(path: str) -> bool:
    """Return whether an image is of ILSVRC-2012's test set, of which nobody outside has the labels."""
    folder, _, file = path.rpartition("/")
    if not file.startswith("ILSVRC2012_test_") or NUMBERED_IMAGE.fullmatch(file) is None:
        return False
    name = folder.rpartition("/")[2]
    return not name or "test" in (exact_split(name), doubtful_split(name))


def has_classes_of_2012(entries: Entries) -> bool:
    """Return whether the training classes are ILSVRC-2012's."""
    return entries.classes("train").keys() == set(_shipped("labels.txt"))


def _shipped(name: str) -> list[str]:
    """Return the words of a list of ILSVRC-2012 that comes with TFDS."""
    return Path(tfds.core.tfds_path(f"datasets/imagenet2012/{name}")).read_text().split()


def label_of(labels: list[str], file: str, number: int) -> str:
    """Return the synset of the image `number`, from 1; UsageError, which names `file`, where it has none."""
    if not 1 <= number <= len(labels):
        raise UsageError(f"{file} has no label: there are {len(labels):,}")
    return labels[number - 1]


def read_labels(folder: Path, year: str, part: str) -> list[str]:
    """Return the synset of each image of a validation or test set, in the order of their numbers.

    Those of ILSVRC-2012's validation set come with TFDS. The others are in the development kit: a file of
    numbers, and `meta.mat` (MATLAB), which has the synset of each number.

    Args:
      folder: where the development kit lies, or a folder below that.
      year: '2010' or '2012'.
      part: 'val' or 'test'.

    Raises:
      UsageError: the development kit is missing or damaged.
    """
    if (year, part) == ("2012", "val"):
        return _shipped("validation_labels.txt")
    name = f"ILSVRC{year}_{'validation' if part == 'val' else 'test'}_ground_truth.txt"
    words = _read_kit(folder, year, name).decode("ascii", "replace").split()
    if words and all(SYNSET.fullmatch(word) for word in words):
        return words
    meta = _read_kit(folder, year, "meta.mat")
    try:
        synsets = matlab.read_table(meta, "synsets", _MAX_KIT_BYTES)
        by_number = {int(row[f"ILSVRC{year}_ID"]): str(row["WNID"]) for row in synsets}
        return [by_number[int(word)] for word in words]
    except (KeyError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{name} and meta.mat of ILSVRC-{year}'s development kit do not fit: {error}"
        ) from None


class _Named(Sieve):
    """Takes the files of one name."""

    def __init__(self, name: str):
        super().__init__()
        self._name = name

    def take(self, path: str, read_head: Callable[[], bytes]) -> bool:
        return path.rpartition("/")[2] == self._name


def _read_kit(folder: Path, year: str, name: str) -> bytes:
    """Read a file of the development kit, unpacked or in its .tar.gz, beside the tars or one folder up."""
    for above in (folder, folder.parent):
        for pattern in (name, f"data/{name}", f"*devkit*/{name}", f"*devkit*/data/{name}"):
            for path in sorted(above.glob(pattern)):
                with contextlib.suppress(ValueError):
                    return read_bounded(path, _MAX_KIT_BYTES)
        for path in sorted(p for p in above.glob(f"ILSVRC{year}_devkit*.tar.gz") if p.is_file()):
            for _, data, _ in tar.stream_tar(path, _Named(name)):
                return data
    raise UsageError(
        f"{name} is missing: put ILSVRC-{year}'s development kit (ILSVRC{year}_devkit*.tar.gz) into {folder}"
    )
