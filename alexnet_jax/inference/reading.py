"""A person's own pictures: finding the files, and decoding them ahead of the device."""

import glob
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.data import pictures, pipeline
from alexnet_jax.data.sources import SUFFIXES
from alexnet_jax.errors import UsageError

AHEAD = 2  # batches that are decoded while the device computes one


def find(arguments: list[str], verb: str) -> list[Path]:
    """The pictures that files, folders (searched through) and patterns name, each once, in order.

    Raises:
      UsageError: nothing was named, or a name leads to no picture.
    """
    if not arguments:
        raise UsageError(f"{verb} needs pictures: files, folders or patterns such as 'photos/*.jpg'")
    found: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside = inside_folder(path)
            if not inside:
                raise UsageError(f"the folder {argument} holds no pictures ({', '.join(sorted(SUFFIXES))})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            matches = [p for p in map(Path, sorted(glob.glob(argument, recursive=True))) if p.is_file()]
            if not matches:
                raise UsageError(f"{argument} does not exist, or leads to no picture")
            found += matches
    return list(dict.fromkeys(found))


def inside_folder(folder: Path) -> list[Path]:
    """All files below `folder` whose suffix is a picture's, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


@dataclass(frozen=True)
class Batch:
    """Pictures of one batch.

    Attributes:
      files: what was read, at most as many as the batch has rows.
      errors: for each file why it could not be decoded, else None.
      images: uint8 (B, S, S, C); rows without a picture are black.
    """

    files: list[Path]
    errors: list[str | None]
    images: np.ndarray


def batches(files: Sequence[Path], data: ConfigDict, batch_size: int) -> Iterator[Batch]:
    """Decodes `files` in order on threads, up to two batches before they are asked for.

    Args:
      files: pictures in any format that Pillow reads; turned as their EXIF entry says.
      data: `config.data`, for size, channels and threads.
      batch_size: rows of each batch, the last one's too.
    """
    waiting: deque[tuple[list[Path], list[Future[str | None]], np.ndarray]] = deque()
    pool = ThreadPoolExecutor(pipeline.threads_of(data))
    try:
        for start in range(0, len(files), batch_size):
            here = list(files[start : start + batch_size])
            images = np.zeros((batch_size, data.size, data.size, data.channels), np.uint8)
            futures = [pool.submit(_read, path, images[row]) for row, path in enumerate(here)]
            waiting.append((here, futures, images))
            if len(waiting) > AHEAD:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(files: list[Path], futures: list[Future[str | None]], images: np.ndarray) -> Batch:
    return Batch(files, [future.result() for future in futures], images)


def _read(path: Path, target: np.ndarray) -> str | None:
    size, _, channels = target.shape
    try:
        target[:] = pictures.square(path.read_bytes(), size, channels, exif_rotation=True)
        return None
    except (pictures.BadPicture, OSError) as error:
        return str(error)
