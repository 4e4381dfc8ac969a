"""The manifest of a checkpoint: checksums of its files, its metadata, and what it was made with.

`manifest.json` is written last: a folder without one is an interrupted save. Metadata and provenance have
checksums of their own in it. They find a flipped bit and an edit by hand; they do not stop somebody who
computes them anew. This module imports no JAX: the report reads manifests without it.

The layers that a run never trains lie once beside all checkpoints (`layout.FROZEN`), with a manifest of the
same kind. Checkpoints that need them list that manifest among their files.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_jax import files
from alexnet_jax.errors import RunFailure
from alexnet_jax.workdir import layout

MAX_BYTES = 2**21  # a hundred for each file of a checkpoint, of which a process writes a few dozen
# The frozen part in the table of a checkpoint's files.
FROZEN = f"../../{layout.FROZEN}/{layout.MANIFEST}"
# What a damaged or hostile manifest leads its readers to.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def steps(folder: Path) -> list[int]:
    """Return the steps of all complete checkpoints in `checkpoints/`, ascending."""
    found = numbered_folders(folder)
    return sorted(int(path.name) for path in found if (path / layout.MANIFEST).is_file())


def numbered_folders(folder: Path) -> list[Path]:
    """Return the folders of `checkpoints/` that are named by a step, complete or not."""
    return [path for path in named_by_steps(folder) if path.is_dir()]


def named_by_steps(folder: Path) -> list[Path]:
    """Return what lies in `checkpoints/` under the name of a step, as `Checkpoints` writes it: not 007."""
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if path.name.isdecimal() and path.name == str(int(path.name))]


def write(
    folder: Path,
    table: Mapping[str, list[Any]],
    metadata: Mapping[str, Any],
    provenance: Mapping[str, Any] | None,
) -> None:
    """Write the manifest of the checkpoint in `folder`, whole or not at all.

    Args:
      folder: of one checkpoint.
      table: what `checksums` gave.
      metadata: for JSON: epoch, state of the schedule, validation error.
      provenance: for JSON: what the checkpoint was made with; None: nothing is recorded.
    """
    manifest: dict[str, Any] = {"progress": metadata, "progress_sha256": _digest(metadata)}
    if provenance is not None:
        manifest |= {"provenance": provenance, "provenance_sha256": _digest(provenance)}
    files.write_text(folder / layout.MANIFEST, _as_text(manifest | {"files": table}))


def read(folder: Path) -> dict[str, Any]:
    """Return the manifest of the checkpoint in `folder`; its own checksums hold, the files are not looked at.

    Returns:
      {'progress': the metadata, 'files': {name: [bytes, SHA-256]}, and 'provenance' where it is recorded}.

    Raises:
      RunFailure: it is not as it was written.
    """
    path = folder / layout.MANIFEST
    try:
        text = files.read_bounded(path, MAX_BYTES).decode()
        manifest: dict[str, Any] = json.loads(text)
        parts = ["progress", *(["provenance"] if "provenance" in manifest else [])]
        digests = [manifest[f"{part}_sha256"] for part in parts]
        intact = [_digest(manifest[part]) for part in parts] == digests
        if not intact or text != _as_text(manifest) or not isinstance(manifest["files"], dict):
            raise RunFailure(f"{path} is not as it was written")
    except UNREADABLE as error:
        raise RunFailure(f"{path} cannot be read: {error}") from None
    return manifest


def find_corruption(folder: Path) -> str | None:
    """Return what is wrong with the checkpoint in `folder`; None when it is as it was written.

    The frozen part is looked at, too, where the checkpoint needs it.
    """
    return _find_own_corruption(folder) or find_frozen_corruption(folder)


def find_frozen_corruption(folder: Path) -> str | None:
    """Return what is wrong with the frozen part that the checkpoint in `folder` needs, and the way out.

    None when it is as it was written, when there is no need of one, and when the manifest of the checkpoint
    itself, which would say so, is corrupt.
    """
    try:
        row = read(folder)["files"].get(FROZEN)
    except RunFailure:
        return None
    if row is None:
        return None
    frozen = folder.parent.parent / layout.FROZEN
    wrong: str | None
    if not (frozen / layout.MANIFEST).is_file():
        wrong = f"{frozen / layout.MANIFEST if frozen.exists() else frozen} is missing"
    else:
        wrong = _find_own_corruption(frozen)
        if wrong is None and row_of(frozen / layout.MANIFEST) != row:
            wrong = f"{frozen} is of another run"
    return wrong and (
        f"{wrong}; the layers that were never trained lie there, once for all checkpoints: put back the "
        f"folder {frozen.name} of this run"
    )


def _find_own_corruption(folder: Path) -> str | None:
    try:
        found, written = checksums(folder), read(folder)["files"]
        written.pop(FROZEN, None)
        for name in written:
            if name not in found:
                return f"{folder / name} is missing"
            if found[name] != written[name]:
                return f"{folder / name} is not as it was written"
    except RunFailure as error:
        return str(error)
    except UNREADABLE as error:
        return f"{folder / layout.MANIFEST} cannot be read: {error}"
    return None


def checksums(folder: Path) -> dict[str, list[Any]]:
    """Return [size in bytes, SHA-256] of each file below `folder` but the manifest, by relative name."""
    table: dict[str, list[Any]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != layout.MANIFEST:
            table[path.relative_to(folder).as_posix()] = row_of(path)
    return table


def row_of(path: Path) -> list[Any]:
    """Return [size in bytes, SHA-256] of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return [path.stat().st_size, digest]


def _as_text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=1)


def _digest(part: Any) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()
