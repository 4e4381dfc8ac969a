"""What people have, as a stream of (split, class, key, encoded picture).

A source is recognised by itself: a folder of class folders, an archive of one (.tar, .tar.gz, .tar.xz,
.zip), or the word `digits` for the handwritten digits inside scikit-learn's wheel. Archives are read in
memory, never unpacked: no member can be written anywhere, and links are not followed.
"""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".zip")
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}
LARGEST_FILE = 512 * 2**20  # bytes of one encoded picture
DIGITS_TEST = 297


@dataclass(frozen=True)
class Picture:
    """One encoded picture: its split, class name, key (unique in its split) and bytes."""

    split: str
    label: str
    key: str
    data: bytes


@dataclass(frozen=True)
class Source:
    """A source: what it is, in words, and its pictures, which can be gone through more than once."""

    kind: str
    pictures: Callable[[], Iterator[Picture]]


def open_source(name: str) -> Source:
    """Recognises a source.

    Args:
      name: a path, or 'digits'.

    Raises:
      UsageError: nothing there, or nothing that is known.
    """
    if not name:
        raise UsageError(
            "--source is missing: a folder of class folders, an archive of one, or the word digits"
        )
    if name == "digits":
        return Source("scikit-learn's handwritten digits", _digits)
    path = Path(name)
    if path.is_dir():
        return Source("a folder of class folders", lambda: _arranged(_folder_files(path), name))
    if not path.exists():
        raise UsageError(f"--source={name} does not exist")
    if path.name.lower().endswith(".zip"):
        return Source("a zip archive of class folders", lambda: _arranged(_zip_files(path), name))
    if path.name.lower().endswith(ARCHIVES):
        return Source("a tar archive of class folders", lambda: _arranged(_tar_files(path), name))
    raise UsageError(f"--source={name} is not a folder nor one of {', '.join(ARCHIVES)}")


def _arranged(files: Iterator[tuple[PurePosixPath, bytes]], name: str) -> Iterator[Picture]:
    """Class folders: [anything/][train|val|test/]class/.../picture.

    Whether there are split folders, and how many folders stand before them, is told by the first file
    that lies below a folder named after a split.
    """
    seen: set[tuple[str, str]] = set()
    depth: int | None = None  # of the folder that names the split; -1: there are none
    for path, data in files:
        folders = [part.lower() for part in path.parts[:-1]]
        if depth is None:
            found = [i for i, part in enumerate(folders[:-1]) if part in SPLITS]
            depth = found[0] if found else -1
        if depth >= 0:
            if len(folders) < depth + 2 or folders[depth] not in SPLITS:
                raise UsageError(
                    f"{printable(str(path))} in {name} lies outside train/, val/ and test/, where others are"
                )
            split, rest = SPLITS[folders[depth]], path.parts[depth + 1 :]
        else:
            if not folders:
                raise UsageError(f"{printable(str(path))} in {name} lies in no class folder")
            split, rest = "train", path.parts[-2:]
        key = "/".join(rest)
        if (split, key) in seen:
            raise UsageError(f"{printable(key)} stands twice in {name}")
        seen.add((split, key))
        yield Picture(split, rest[0], key, data)


def _is_picture(path: PurePosixPath) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(
        part.startswith((".", "__MACOSX")) for part in path.parts
    )


def _folder_files(folder: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    for path in sorted(folder.rglob("*")):
        relative = PurePosixPath(path.relative_to(folder).as_posix())
        if _is_picture(relative) and path.is_file():
            yield relative, path.read_bytes()


def _zip_files(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                relative = PurePosixPath(info.filename)
                if not info.is_dir() and _is_picture(relative):
                    _check_size(info.file_size, relative, path)
                    yield relative, archive.read(info)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise UsageError(f"--source={path} cannot be read as a zip archive: {error}") from None


def _tar_files(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                relative = PurePosixPath(member.name)
                if member.isreg() and _is_picture(relative):
                    _check_size(member.size, relative, path)
                    file = archive.extractfile(member)
                    assert file is not None
                    yield relative, file.read()
    except (tarfile.TarError, LZMAError, zlib.error, EOFError) as error:
        raise UsageError(f"--source={path} cannot be read as a tar archive: {error}") from None


def _check_size(size: int, member: PurePosixPath, path: Path) -> None:
    if size > LARGEST_FILE:
        raise UsageError(
            f"{printable(str(member))} in {path} claims {size:,} bytes: no picture is that large"
        )


def _digits() -> Iterator[Picture]:
    """1,797 digits of 8 x 8 pixels and 17 grey levels; the last 297 of a fixed shuffle are the test split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.Generator(np.random.Philox(2012)).permutation(len(digits.images))
    for place, index in enumerate(order):
        split = "test" if place >= len(order) - DIGITS_TEST else "train"
        pixels = np.rint(digits.images[index] * (255 / 16)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        label = str(digits.target[index])
        yield Picture(split, label, f"{label}/{index:04d}.png", file.getvalue())
