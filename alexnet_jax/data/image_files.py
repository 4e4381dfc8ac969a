"""The user's own image files: finding them, and decoding them ahead of the device."""

import glob
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax import runtime
from alexnet_jax.data.images import BadImage, Preprocessing, read_file, resize_center_crop
from alexnet_jax.data.notes import Notes
from alexnet_jax.data.sources import sieve
from alexnet_jax.data.sources.folder import Walk
from alexnet_jax.errors import UsageError

PREFETCH_BATCHES = 2  # that are decoded while the device computes one


def find_images(arguments: list[str], verb: str) -> list[Path]:
    """Return the images that files, folders (searched through) and patterns name, each once, in order.

    Args:
      arguments: paths of files and folders, and patterns such as 'photos/*.jpg'.
      verb: the command, for messages.

    Raises:
      UsageError: nothing was named, or a name matches no image.
    """
    if not arguments:
        raise UsageError(f"{verb} needs images: files, folders or patterns such as 'photos/*.jpg'")
    files: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside = list_folder(path)
            if not inside:
                raise UsageError(f"the folder {argument} holds no images")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            found = [match for match in sorted(glob.glob(argument, recursive=True)) if os.path.isfile(match)]
            matches = [Path(match) for match in found if not sieve.is_hidden(match)]
            if not matches:
                raise UsageError(f"{argument} does not exist, or matches no image")
            files += matches
    return list(dict.fromkeys(files))


def list_folder(folder: Path) -> list[Path]:
    """Return the images below `folder` that `prepare` would take, sorted; print what is left out.

    Links to folders are followed, each folder once; hidden copies are passed over.
    """
    chosen = sieve.Sieve()
    found = sorted(folder / entry.key for entry in Walk(folder, chosen, tars=False))
    for line in sieve.as_lines(chosen.left_out):
        print(line, file=sys.stderr)
    return found


@dataclass(frozen=True)
class FileBatch:
    """Images of one batch.

    Attributes:
      files: what was read, at most as many as the batch has rows.
      errors: for each file why it could not be decoded, else None.
      images: uint8 (B, S, S, C); rows without an image are black.
    """

    files: list[Path]
    errors: list[str | None]
    images: np.ndarray


def decode_batches(files: Sequence[Path], data: ConfigDict, batch_size: int) -> Iterator[FileBatch]:
    """Decode `files` in order on threads, up to two batches before they are asked for.

    Args:
      files: images in any of `images.FORMATS`; read as `Preprocessing.of(data)` says, S = `data.size`.
        What the user should know of them is printed on stderr after the last.
      data: `config.data`, of the net that is asked.
      batch_size: rows of each batch, the last one's too.
    """
    waiting: deque[tuple[list[Path], Iterator[tuple[str | None, list[str]]], np.ndarray]] = deque()
    how, notes = Preprocessing.of(data), Notes()

    def read(path: Path, target: np.ndarray) -> tuple[str | None, list[str]]:
        """Decode a file into `target`; return why it could not be, and what the user should know of it."""
        noted: list[str] = []
        try:
            target[:] = resize_center_crop(read_file(path), how, noted)
        except (BadImage, OSError) as error:
            return str(error), []
        return None, noted

    def finished(
        paths: list[Path], answers: Iterator[tuple[str | None, list[str]]], images: np.ndarray
    ) -> FileBatch:
        errors = []
        for path, (error, noted) in zip(paths, answers, strict=True):  # in their order, whoever was first
            errors.append(error)
            notes.add(str(path), noted)
        return FileBatch(paths, errors, images)

    pool = ThreadPoolExecutor(data.threads or runtime.cores())
    try:
        for start in range(0, len(files), batch_size):
            paths = list(files[start : start + batch_size])
            images = np.zeros((batch_size, data.size, data.size, data.channels), np.uint8)
            waiting.append((paths, pool.map(read, paths, images), images))
            if len(waiting) > PREFETCH_BATCHES:
                yield finished(*waiting.popleft())
        while waiting:
            yield finished(*waiting.popleft())
        for line in notes.lines():
            print(line, file=sys.stderr)
    finally:
        pool.shutdown(cancel_futures=True)
