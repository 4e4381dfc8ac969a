"""IDX files, as MNIST is handed out."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from alexnet_jax.data.sources.entries import Entries, Entry, Source
from alexnet_jax.errors import UsageError

_MAX_BYTES = 2**30  # of a file's values, which are held; the largest that is handed out (EMNIST) has 0.55 GB
# To what a packed file may inflate: MNIST's images 5 times, its labels twice. The first bytes are free, for
# labels that are sorted.
_MAX_RATIO, _FREE_BYTES = 20, 2**18


def open_folder(folder: Path) -> Source | None:
    """Read the IDX files in a folder, named as MNIST's, plain or .gz.

    Returns:
      The source; None when the folder holds none.

    Raises:
      UsageError: images without labels, or the other way round; a file that is damaged.
    """
    entries = Entries()
    found = _find_files(folder)
    for split, (images_path, labels_path) in found.items():
        images, labels = _read(images_path, 3), _read(labels_path, 1)
        if len(images) != len(labels):
            raise UsageError(
                f"{images_path} has {len(images):,} images, {labels_path} {len(labels):,} labels"
            )
        header = b"P5 %d %d 255\n" % (images.shape[2], images.shape[1])  # PGM: a header and the pixels
        for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            data = header + pixels.tobytes()
            key = f"{label}/{index:06d}.pgm"
            entries.append(Entry(split, str(label), key, "", 0, len(data), held=data))
    return Source("IDX files as MNIST has them", entries) if found else None


def _find_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return {split: (file of images, file of labels)}."""
    found = {}
    for split, names in (("train", ("train",)), ("test", ("t10k", "test"))):
        for name in names:
            images = sorted(path for path in folder.glob(f"*{name}-images*idx3*") if path.is_file())
            labels = sorted(path for path in folder.glob(f"*{name}-labels*idx1*") if path.is_file())
            if images and labels:
                found[split] = (images[0], labels[0])
            elif images or labels:
                raise UsageError(f"{(images or labels)[0]} has no file of {'labels' if images else 'images'}")
    return found


def _read(path: Path, axes: int) -> np.ndarray:
    """Read an IDX file of bytes: two zeros, 8 for uint8, the number of axes, their lengths, the values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
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


def _check_size(path: Path, size: int) -> None:
    """Check what an IDX file claims against what it has, before any value is read."""
    packed = path.stat().st_size
    if size > _MAX_BYTES:
        raise UsageError(
            f"{path} claims {size:,} bytes, more than the {_MAX_BYTES:,} that are held in memory"
        )
    if path.suffix == ".gz" and size > _MAX_RATIO * packed + _FREE_BYTES:
        raise UsageError(f"{path} has {packed:,} bytes and claims to inflate to {size:,}: inflate it first")
