"""IDX files, as MNIST is handed out."""

import gzip
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from alexnet_jax.data.sources.entries import Entries, Entry, Source
from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable

_MAX_BYTES = 2**30  # of a file's values, which are held; the largest that is handed out (EMNIST) has 0.55 GB
# To what a packed file may inflate: MNIST's images 5 times, its labels twice. The first bytes are free, for
# labels that are sorted.
_MAX_RATIO, _FREE_BYTES = 20, 2**18
_IMAGES = re.compile(r"(.*?)(train|t10k|test)-images.*idx3.*")
_LABELS = re.compile(r"(.*?)(train|t10k|test)-labels.*idx1.*")


def open_files(path: Path) -> Source | None:
    """Read IDX files named as MNIST's, plain or packed with gzip, whatever their ending says.

    Args:
      path: a folder that holds them, itself or in MNIST/raw/, raw/ or gzip/ below it; or a file of images,
        which chooses among several sets.

    Returns:
      The source; None when there are none.

    Raises:
      UsageError: images without labels, or the other way round; a file that is damaged.
    """
    folder, chosen = (path, "") if path.is_dir() else (path.parent, _set_of(path.name))
    if chosen is None:
        return None
    sets: dict[str, dict[str, tuple[Path, Path]]] = {}
    patterns = ("raw", "gzip", "*/raw", "*/gzip")
    for inside in (folder, *(found for pattern in patterns for found in sorted(folder.glob(pattern)))):
        sets = sets or _find_sets(inside)
    if not sets:
        return None
    name = chosen or min(sets)
    if name not in sets:
        raise UsageError(f"{path} has no file of labels")
    remarks = []
    if len(sets) > 1:
        others = sorted(sets.keys() - {name})
        example = next(iter(sets[others[0]].values()))[0]
        names = ", ".join(printable(other) or "one without a name" for other in others)
        remarks.append(
            f"of several sets {printable(name) or 'the one without a name'} is read, not {names}: another "
            f"one by --source=FILE, such as {example}"
        )
    if "emnist" in name.lower():
        remarks.append("EMNIST's images are stored mirrored on their diagonal, and read so")
    entries = Entries()
    for split, (images_path, labels_path) in sets[name].items():
        _add(entries, split, images_path, labels_path)
    splits = {split: pair[0].name for split, pair in sets[name].items()}
    return Source("IDX files as MNIST has them", entries, splits=splits, remarks=tuple(remarks))


def _add(entries: Entries, split: str, images_path: Path, labels_path: Path) -> None:
    images, labels = _read(images_path, 3), _read(labels_path, 1)
    if len(images) != len(labels):
        raise UsageError(f"{images_path} has {len(images):,} images, {labels_path} {len(labels):,} labels")
    header = b"P5 %d %d 255\n" % (images.shape[2], images.shape[1])  # PGM: a header and the pixels
    for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        data = header + pixels.tobytes()
        key = f"{label}/{index:06d}.pgm"
        entries.append(Entry(split, str(label), key, "", 0, len(data), held=data))


def _set_of(file: str) -> str | None:
    """Return what stands before the part's name in a file of images; None where it is no such file."""
    found = _IMAGES.fullmatch(file)
    return None if found is None else found[1].strip("-_. ")


def _find_sets(folder: Path) -> dict[str, dict[str, tuple[Path, Path]]]:
    """Return {set: {split: (file of images, file of labels)}} of a folder; the set's name may be ''.

    Kaggle has each file once more, in a folder of its name.
    """
    found: dict[tuple[str, str], dict[str, Path]] = {}
    twice, once = sorted(folder.glob("*idx[13]*/*idx[13]*")), sorted(folder.glob("*idx[13]*"))
    for path in (*twice, *once):
        for what, pattern in (("images", _IMAGES), ("labels", _LABELS)):
            match = pattern.fullmatch(path.name)
            if match is not None and path.is_file():
                split = "train" if match[2] == "train" else "test"
                found.setdefault((match[1].strip("-_. "), split), {})[what] = path
    sets: dict[str, dict[str, tuple[Path, Path]]] = {}
    for (name, split), pair in sorted(found.items()):
        if len(pair) < 2:
            (what, path), *_ = pair.items()
            raise UsageError(f"{path} has no file of {'labels' if what == 'images' else 'images'}")
        sets.setdefault(name, {})[split] = (pair["images"], pair["labels"])
    return sets


def _read(path: Path, axes: int) -> np.ndarray:
    """Read an IDX file of bytes: two zeros, 8 for uint8, the number of axes, their lengths, the values."""
    try:
        with gzip.open(path) if _is_packed(path) else path.open("rb") as file:
            zeros, kind, found = struct.unpack(">HBB", file.read(4))
            if (zeros, kind, found) != (0, 8, axes):
                raise UsageError(f"{path} is not an IDX file of bytes with {axes} axes")
            shape = struct.unpack(f">{axes}I", file.read(4 * axes))
            size = int(np.prod([int(length) for length in shape], dtype=object))
            _check_size(path, size)
            content = bytearray()  # read by and by: a file may claim more than it has
            while len(content) <= size and (piece := file.read(min(size + 1 - len(content), 2**24))):
                content += piece
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UsageError(f"{path} cannot be read as an IDX file: {error}") from None
    if len(content) != size:
        raise UsageError(
            f"{path} claims {size:,} values and holds {'more' if len(content) > size else 'fewer'}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _check_size(path: Path, size: int) -> None:
    """Check what an IDX file claims against what it has, before any value is read."""
    packed = path.stat().st_size
    if size > _MAX_BYTES:
        raise UsageError(
            f"{path} claims {size:,} bytes, more than the {_MAX_BYTES:,} that are held in memory"
        )
    if _is_packed(path) and size > _MAX_RATIO * packed + _FREE_BYTES:
        raise UsageError(f"{path} has {packed:,} bytes and claims to inflate to {size:,}: inflate it first")
