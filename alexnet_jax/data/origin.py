"""What a dataset was made from, as far as can be asked in a second: files and sizes, not contents."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alexnet_jax.data.sources.sieve import is_hidden
from alexnet_jax.errors import UsageError
from alexnet_jax.files import read_bounded
from alexnet_jax.progress import printable

PREPARATION = "preparation.json"  # of a dataset: how it was made, and from what
MAX_BYTES = 4 * 2**20  # of it; ImageNet's has 100 KB
_END_BYTES = 2**20  # of a source's start and of its end


def of_source(name: str, class_level: int = 0) -> dict[str, Any]:
    """Return what tells a source from another one, without opening it.

    Args:
      name: a path, or the word 'digits'.
      class_level: as `open_source`, for another reading of the same files gives other classes.

    Returns:
      `source`, the absolute path; `files`, how many; `digest`, of the names and sizes of a folder's files but
      the hidden ones, or of a file's size and its first and last MiB: the same wherever the files lie;
      `class_level`.

    Raises:
      OSError: there is none, or it cannot be read.
    """
    path = Path(name).expanduser().absolute()
    if name == "digits":
        digest = hashlib.sha256(name.encode())
        return {"source": name, "files": 1, "digest": digest.hexdigest(), "class_level": class_level}
    if path.is_dir():
        found = [f"{relative}\0{size}\n" for relative, size in _files(path)]
        digest = hashlib.sha256("".join(found).encode("utf-8", "surrogateescape"))
        known = {"source": str(path), "files": len(found), "digest": digest.hexdigest()}
        return known | {"class_level": class_level}
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(f"{size}\n".encode() + file.read(_END_BYTES))
        file.seek(max(size - _END_BYTES, 0))
        digest.update(file.read(_END_BYTES))
    return {"source": str(path), "files": 1, "digest": digest.hexdigest(), "class_level": class_level}


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield each file below a folder that is not hidden, and its size, sorted; links are followed once."""
    seen: set[tuple[int, int]] = set()
    waiting = [(str(folder), "")]
    while waiting:
        path, relative = waiting.pop()
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(path) as found:
            items = sorted(found, key=lambda item: item.name)
        folders = []
        for item in items:
            if is_hidden(item.name):
                continue
            if item.is_dir():
                folders.append((item.path, f"{relative}{item.name}/"))
            elif item.is_file():
                yield relative + item.name, item.stat().st_size
        waiting += reversed(folders)


def check(folder: Path, name: str, class_level: int = 0) -> str:
    """Check that a prepared dataset was made from a source.

    Args:
      folder: the dataset's, whose preparation.json keeps what `of_source` gave when it was made.
      name: the source's that is given now.
      class_level: the one that is given now.

    Returns:
      A line for the user: that it is prepared, and what could not be compared.

    Raises:
      UsageError: it was made from something else, or files were added, removed or changed; with the ways out.
    """
    try:
        made_from = json.loads(read_bounded(folder / PREPARATION, MAX_BYTES)).get("made_from")
    except (OSError, ValueError, AttributeError, RecursionError):
        made_from = None
    if not isinstance(made_from, dict):
        return f"{folder} is prepared already; it does not record from what, as those of earlier versions"
    before = printable(str(made_from.get("source")))
    try:
        now = of_source(name, class_level)
    except OSError:
        return f"{folder} is prepared already, from {before}; {name} is not there to compare"
    if made_from.get("class_level", class_level) != class_level:
        raise UsageError(
            f"{folder} was made with --class_level={made_from['class_level']}, not {class_level}: "
            "--config.data.name=NAME makes another dataset, prepare --replace this one anew"
        )
    if now["digest"] == made_from.get("digest"):
        return f"{folder} is prepared already, from {before}"
    raise UsageError(
        f"{folder} was made from {before} (files: {made_from.get('files')}), and {now['source']} holds "
        f"others (files: {now['files']}): --config.data.name=NAME makes another dataset of it, "
        "prepare --replace this one anew"
    )
