"""The files below a user's folder: the one lister of everything that reads a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from alexnet_jax.data import file_kinds
from alexnet_jax.data.sources import imagenet
from alexnet_jax.data.sources.entries import Entry, check_size
from alexnet_jax.data.sources.sieve import Sieve, is_hidden
from alexnet_jax.data.sources.split_names import exact_split
from alexnet_jax.data.sources.tar import list_tar


class Walk:
    """Iterates over the images below a folder, and in the tars of ImageNet's classes in it.

    Links are followed here, each real folder once; once in each split, so that one split may be another.

    Args:
      folder: the user's own.
      sieve: chooses the images and counts the rest.
      tars: whether tars of classes are looked into.

    Attributes:
      remarks: what the user should know of folders that were read twice, by a link, or that hold nothing.
    """

    def __init__(self, folder: Path, sieve: Sieve, tars: bool = True):
        self._folder, self._sieve, self._tars = folder, sieve, tars
        self._seen: set[tuple[int, int, str]] = set()  # device, inode and split of each folder
        self._first: dict[tuple[int, int], str] = {}  # where a folder was met first
        self.remarks: list[str] = []

    def __iter__(self) -> Iterator[Entry]:
        return self._below(str(self._folder.absolute()), "", "", ())

    def _below(
        self, path: str, relative: str, split: str, above: tuple[tuple[int, int], ...]
    ) -> Iterator[Entry]:
        status = os.stat(path)
        real = (status.st_dev, status.st_ino)
        if real in above or (*real, split) in self._seen:
            self._sieve.skip(relative.rstrip("/"), "a link to a folder that is read elsewhere")
            return
        first = self._first.get(real)
        if first is not None and (os.path.islink(path) or os.path.islink(self._folder / first)):
            self.remarks.append(f"{relative} and {first} are one folder, by a link: the same images in both")
        self._seen.add((*real, split))
        self._first.setdefault(real, relative)
        with os.scandir(path) as found:
            items = sorted((item for item in found if not is_hidden(item.name)), key=lambda item: item.name)
        if not items and relative:
            self.remarks.append(f"{relative} is an empty folder: no class is made of it")
        for item in items:
            name = relative + item.name
            if item.is_dir():
                inner = split or (item.name if exact_split(item.name) else "")
                yield from self._below(item.path, f"{name}/", inner, (*above, real))
            elif item.is_file():
                yield from self._file(item, name, path)
            else:
                self._sieve.skip(name, "no plain file, or a link that leads nowhere")

    def _file(self, item: os.DirEntry[str], name: str, folder: str) -> Iterator[Entry]:
        if self._tars and imagenet.CLASS_TAR.fullmatch(item.name):
            yield from list_tar(Path(item.path), f"{name[:-4]}/", self._sieve)
        elif self._sieve.take(name, lambda: _head(item.path)):
            size = item.stat().st_size
            check_size(size, name, self._folder)
            yield Entry("", "", name, folder, -1, size)


def _head(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(file_kinds.HEAD_BYTES)
