"""Which folders of a source are splits and which are classes, from all its folders' names."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from alexnet_jax.data.sources import imagenet
from alexnet_jax.data.sources.entries import split_path
from alexnet_jax.data.sources.split_names import READ, doubtful_split, exact_split, is_fold
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable

_SPLIT_OF_PART = {"val": "validation", "test": "test"}  # of ImageNet's numbered images
_MOST_NAMED = 4  # folders that a message names


def group_of(path: str) -> str:
    """Return what of a path may decide its split: the names of its folders, those that name none as '*'."""
    *folders, file = split_path(path)
    names = [name if exact_split(name) or doubtful_split(name) else "*" for name in folders]
    while names and names[-1] == "*":
        names.pop()
    numbered = imagenet.NUMBERED_IMAGE.fullmatch(file)
    return "/".join([*names, f"{numbered[1]} {numbered[2]}" if numbered else ""])


@dataclass
class _Top:
    """A folder that may be a split or a class: its images and what stands in it."""

    direct: int = 0
    numbered: int = 0  # of those, images with ImageNet's numbers
    below: set[str] = field(default_factory=set)

    @property
    def is_flat(self) -> bool:
        """Return whether it holds images without class folders and without numbers."""
        return not self.below and self.numbered < self.direct


class Layout:
    """How folders name splits and classes. First `add` all paths, then `resolve`, then `place` them.

    Args:
      source: where they lie, for messages.
      class_level: which folder below the source or the split names the class; 0: nobody said it.

    Attributes:
      level: the same, 1 where nobody said it.
      remarks: what the user should know of how it was read.
    """

    def __init__(self, source: Path, class_level: int):
        self._source, self._given, self.level = source, class_level, max(class_level, 1)
        self._folders: Counter[str] = Counter()  # images directly in each
        self._numbered: Counter[str] = Counter()  # those of them with ImageNet's numbers
        self._first: dict[str, str] = {}  # an image of each
        self._depth = 0  # folders that are passed through
        self._splits: dict[str, str] = {}  # by the folder's name; empty: there are none
        self._inner: dict[str, int] = {}  # folders that are passed through below a split
        self._split = "train"  # where no folders name splits
        self.remarks: list[str] = []

    def add(self, path: str) -> None:
        """Take a path into account."""
        folder, _, file = path.rpartition("/")
        self._folders[folder] += 1
        if file.startswith("ILSVRC") and imagenet.NUMBERED_IMAGE.fullmatch(file):
            self._numbered[folder] += 1
        self._first.setdefault(folder, file)

    def resolve(self) -> None:
        """Find out what the folders are.

        Raises:
          UsageError: two readings are as likely; the message names both.
        """
        below = {folder: split_path(folder) for folder in self._folders}
        self._depth = _wrapped(below.values())
        top = self._top(below)
        self._find_splits(top)
        if not self._splits:
            self._find_parts(below)
        if not self._given:
            self._check_level(below.values())
        if self._depth:
            shared = "/".join(next(iter(below.values()))[: self._depth])
            self.remarks.append(f"{printable(shared)}/ holds all of it and names neither a class nor a split")

    def place(self, path: str) -> tuple[str, list[str], str]:
        """Return the split of an image, its folders from the class's level on, and its file's name.

        The list is empty where an image lies flat in its split, which ImageNet's numbered ones may.

        Raises:
          UsageError: it lies outside the splits, or in no class folder.
        """
        *folders, file = split_path(path)
        folders, split = folders[self._depth :], self._split
        if self._splits:
            if not folders or folders[0] not in self._splits:
                names = ", ".join(f"{printable(name)}/" for name in sorted(self._splits))
                raise UsageError(
                    f"{printable(path)} in {self._source} lies outside {names}, where the splits are ({READ} "
                    "are read): move it into one of them, or elsewhere"
                )
            split = self._splits[folders[0]]
            folders = folders[1 + self._inner.get(folders[0], 0) :]
        elif not folders and not (self._numbered and imagenet.NUMBERED_IMAGE.fullmatch(file)):
            raise UsageError(
                f"{printable(path)} in {self._source} lies in no class folder: make a folder for "
                "each class, or a .csv of files and labels"
            )
        if self._numbered and not self._splits and self._split != "train":
            numbered = imagenet.NUMBERED_IMAGE.fullmatch(file)
            split = _SPLIT_OF_PART[numbered[2]] if numbered else split
            if folders and not imagenet.SYNSET.fullmatch(folders[0]) and self._is_flat(folders):
                folders = []
        if folders and len(folders) < self.level:
            raise UsageError(
                f"{printable(path)} in {self._source} lies in fewer than the {self.level} folders of "
                f"--class_level={self.level}"
            )
        return split, folders, file

    def splits_from(self) -> dict[str, str]:
        """Return where each split came from, in words."""
        if self._splits:
            return {split: f"{name}/" for name, split in sorted(self._splits.items())}
        if self._split != "train":
            return dict.fromkeys([self._split], "the names of ImageNet's images")
        return {"train": "the whole: no folders name splits"}

    # Finding out

    def _top(self, below: dict[str, list[str]]) -> dict[str, _Top]:
        """Return the folders that may be splits or classes."""
        top: dict[str, _Top] = {}
        for folder, names in below.items():
            if len(names) > self._depth:
                one = top.setdefault(names[self._depth], _Top())
                if len(names) > self._depth + 1:
                    one.below.add(names[self._depth + 1])
                else:
                    one.direct += self._folders[folder]
                    one.numbered += self._numbered[folder]
        return top

    def _find_splits(self, top: dict[str, _Top]) -> None:
        """Find the folders that name splits."""
        exact = {name: split for name in top if (split := exact_split(name))}
        others = sorted(top.keys() - exact.keys())
        if not exact:
            exact = self._doubtful(top)
            if not exact:
                return
        flat = sorted(name for name in exact if top[name].is_flat)
        if len(flat) == len(exact):
            if others and [name.lower() for name in flat] == ["train"]:
                self.remarks.append(f"{printable(flat[0])}/ is read as a class, as {_named(others)} are")
                return
            beside = f" beside {_named(others)}" if others else ""
            self._refuse(
                f"{_named(flat)} holds images in no class folders{beside}: as a split it needs class folders "
                "or a .csv of files and labels; as a class, another name; without labels it belongs elsewhere"
            )
        twice = [name for name, n in Counter(exact.values()).items() if n > 1]
        if twice:
            both = _named(sorted(name for name, split in exact.items() if split == twice[0]))
            self._refuse(f"{both} would all be the {twice[0]} split: put one of them elsewhere")
        self._splits = exact
        for name in exact:
            # training/training/cat, as some archives have it
            inner = top[name].below
            if not top[name].direct and len(inner) == 1 and next(iter(inner)).lower() == name.lower():
                self._inner[name] = 1

    def _doubtful(self, top: dict[str, _Top]) -> dict[str, str]:
        """Return folders such as seg_train that name splits, if all do."""
        found = {name: split for name in top if (split := doubtful_split(name))}
        if len(set(found.values())) < 2:
            return {}
        if len(found) == len(top):
            words = ", ".join(f"{printable(name)}/ as {split}" for name, split in sorted(found.items()))
            self.remarks.append(f"read as splits by a word in their names: {words}")
            return found
        if not self._given:
            self._refuse(
                f"{_named(sorted(found))} may be splits, beside {_named(sorted(top.keys() - found.keys()))}: "
                f"name splits {READ} and put the rest elsewhere; --class_level=1 takes all for classes"
            )
        return {}

    def _find_parts(self, below: dict[str, list[str]]) -> None:
        """Find the split of ImageNet's numbered images, where there are no others and no split folders."""
        if self._numbered and sum(self._numbered.values()) == sum(self._folders.values()):
            parts = {"validation" if "_val_" in self._first[folder] else "test" for folder in below}
            if len(parts) == 1:
                self._split = parts.pop()

    def _is_flat(self, folders: list[str]) -> bool:
        """Return whether the one folder in which numbered images lie is no class."""
        return len(folders) == 1 and len({tuple(split_path(folder)) for folder in self._folders}) == 1

    def _check_level(self, below: Iterable[list[str]]) -> None:
        """Refuse or remark on folders below or above the classes that make the reading doubtful."""
        inside: dict[str, set[str]] = {}  # the folders below each class
        depth = self._depth
        trees = []
        for names in below:
            skipped = depth + (1 + self._inner.get(names[depth], 0) if self._splits and names[depth:] else 0)
            if names[skipped:]:
                trees.append(names[skipped:])
                inside.setdefault(names[skipped], set()).update(names[skipped + 1 : skipped + 2])
        nested = set().union(*inside.values()) if inside else set()
        if not self._splits and inside and all(map(is_fold, inside)):
            self._refuse(
                f"{_named(sorted(inside))} may be folds or classes: arrange the folds you train on as "
                "train/<class>/, the others as val/ or test/; --class_level=2 takes the folders below them "
                "for the classes, all folds together; --class_level=1 takes them for the classes"
            )
        splits = {name for name in nested if exact_split(name) or is_fold(name)}
        doubtful = {name for name in nested if doubtful_split(name)}
        splits |= doubtful if len(set(map(doubtful_split, doubtful))) > 1 else set()
        if splits:
            first = min(name for name in inside if inside[name] & splits)
            self._refuse(
                f"{_named(sorted(splits))} stand below folders such as {printable(first)}/: are they splits, "
                f"arrange them as {printable(min(splits))}/{printable(first)}/; --class_level=1 takes "
                f"{printable(first)}/ for the class with all below it, --class_level=2 the folders below it"
            )
        self._remark_on_same_names(trees)

    def _remark_on_same_names(self, trees: list[list[str]]) -> None:
        """Remark on folders whose names stand the same below every class: cameras, domains."""
        classes = {names[0] for names in trees}
        for level in range(2, max(map(len, trees), default=0) + 1):
            inside: dict[str, set[str]] = {}
            for names in trees:
                inside.setdefault(names[0], set()).update(names[level - 1 : level])
            shared = set.intersection(*inside.values()) if inside else set()
            if len(classes) < 2 or not shared:
                return
            if len(shared) > 1:
                self.remarks.append(
                    f"{_named(sorted(shared))} stand below every class: read are the classes "
                    f"{_named(sorted(classes))}; --class_level={level} takes the folders below them for the "
                    "classes"
                )
                return

    def _refuse(self, words: str) -> NoReturn:
        raise UsageError(f"{self._source}: {words}")


def _wrapped(below: Iterable[list[str]]) -> int:
    """Return how many folders hold all the rest and are neither a split nor the only class."""
    trees, depth = list(below), 0
    while trees and any(len(names) > depth + 1 for names in trees):
        found = {names[depth] if len(names) > depth else "" for names in trees}
        if len(found) > 1:
            return depth
        inner = {names[depth + 1] for names in trees if len(names) > depth + 1}
        if exact_split(found.pop()) and not all(map(exact_split, inner)):
            return depth
        depth += 1
    return depth


def _named(names: list[str]) -> str:
    """Return names of folders for a message, the first few."""
    shown = [f"{printable(name)}/" for name in names[:_MOST_NAMED]]
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(shown) + more
