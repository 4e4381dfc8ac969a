"""Checkpoints: `checkpoints/<step>/` with Orbax's `state` and a manifest.

Orbax restores a file with a flipped bit without a word, so `manifest.json`, written last, lists every
file with its size and SHA-256. It also holds the run's progress, with a checksum of its own: the epoch,
the schedule's memory, the validation error. A folder without one is an interrupted save, one that does
not agree with its own is damaged: neither is used.
"""

import hashlib
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from alexnet_jax import files
from alexnet_jax.distributed import explain
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.progress import printable

MANIFEST = "manifest.json"


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
      folder: the workdir's `checkpoints`.
      keep: how many of the last to keep; the best by validation error is kept beside them.
    """

    def __init__(self, folder: Path, keep: int = 1):
        self.folder = folder.absolute()
        self.keep = keep
        self._orbax = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
        self._finisher: threading.Thread | None = None
        self._failure: BaseException | None = None

    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(
            int(path.name)
            for path in self.folder.iterdir()
            if path.name.isdecimal() and (path / MANIFEST).is_file()
        )

    def progress(self, step: int) -> dict[str, Any]:
        """What was saved beside the state at `step`."""
        return json.loads((self.folder / str(step) / MANIFEST).read_text())["progress"]

    def best(self) -> int | None:
        """The checkpoint with the lowest validation top-1 error, the earliest of equals; None without one."""
        known = []
        for step in self.steps():
            try:
                error = self.progress(step).get("validation_top1_error")
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # a damaged manifest: `damage` tells it where the checkpoint is asked for
            if error is not None:
                known.append((error, step))
        return min(known)[1] if known else None

    def save(self, step: int, state: Any, progress: dict[str, Any]) -> None:
        """Saves in the background; the values are those of this moment. One save runs at a time.

        Args:
          step: names the checkpoint.
          state: a tree of arrays.
          progress: what else a resumed run needs, for json: 'epoch', 'schedule', 'validation_top1_error'.

        Raises:
          RunFailure: the save before this one failed.
        """
        self.wait()
        folder = self.folder / str(step)
        try:
            if jax.process_index() == 0:
                if folder.exists():
                    remove(folder)
                folder.mkdir(parents=True)
            self._orbax.save(folder / "state", args=ocp.args.PyTreeSave(state))
        except (OSError, ValueError) as error:
            raise RunFailure(
                f"the checkpoint {folder} cannot be written: {_first_line(error)}{explain()}"
            ) from error
        self._finisher = threading.Thread(target=self._finish, args=(folder, progress))
        self._finisher.start()

    def amend(self, step: int, progress: dict[str, Any]) -> None:
        """Replaces the progress saved at `step`, whose state is complete, in one move."""
        self.wait()
        if jax.process_index() == 0:
            folder = self.folder / str(step)
            _write_manifest(folder, json.loads((folder / MANIFEST).read_text())["files"], progress)

    def _finish(self, folder: Path, progress: dict[str, Any]) -> None:
        try:
            self._orbax.wait_until_finished()
            if jax.process_index() == 0:
                _write_manifest(folder, checksums(folder), progress)
                self._remove_old()
        except BaseException as error:  # handed to the caller of wait
            self._failure = error

    def _remove_old(self) -> None:
        steps, best = self.steps(), self.best()
        for step in steps[: -self.keep]:
            if step != best:
                remove(self.folder / str(step))

    def wait(self) -> None:
        """Waits until the save that runs is on disk.

        Raises:
          RunFailure: it failed.
        """
        if self._finisher is not None:
            self._finisher.join()
            self._finisher = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise RunFailure(
                f"a checkpoint cannot be written: {_first_line(failure)}{explain()}"
            ) from failure

    def clean(self) -> list[str]:
        """Removes what interrupted saves left; returns the names of what it removed."""
        for step in self.steps():
            files.remove_partial(self.folder / str(step))
        left = self.interrupted()
        for name in left:
            remove(self.folder / name)
        return left

    def interrupted(self) -> list[str]:
        """The names of what interrupted saves left, or of the save that runs."""
        if not self.folder.is_dir():
            return []
        folders = (path for path in self.folder.iterdir() if path.name.isdecimal())
        return sorted(path.name for path in folders if not (path / MANIFEST).is_file())

    def damage(self, step: int) -> str | None:
        """What is wrong with the checkpoint at `step`, in words; None when it is as it was written."""
        folder = self.folder / str(step)
        try:
            text = (folder / MANIFEST).read_text()
            manifest = json.loads(text)
            if manifest["progress_sha256"] != _digest(manifest["progress"]) or text != _written(manifest):
                return f"{folder / MANIFEST} is not as it was written"
            found = checksums(folder)
            for name, written in manifest["files"].items():
                if name not in found:
                    return f"{folder / name} is missing"
                if found[name] != written:
                    return f"{folder / name} is not as it was written"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return f"{folder / MANIFEST} cannot be read: {error}"
        return None

    def choose(self, which: str) -> int:
        """The step that `which` names: 'last', 'best' (else the last), or a number.

        Raises:
          UsageError: there is no such checkpoint.
        """
        steps = self.steps()
        if not steps:
            raise UsageError(f"{self.folder} holds no complete checkpoint: train first")
        if which in ("last", "best"):
            best = self.best() if which == "best" else None
            return steps[-1] if best is None else best
        if not which.isdecimal() or int(which) not in steps:
            raise UsageError(
                f"--checkpoint={which}: {self.folder} holds {', '.join(map(str, steps))}; or say last or best"
            )
        return int(which)

    def shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """The shape of each array at `step` by its name, such as 'params/conv1/kernel'."""
        folder = self.folder / str(step) / "state"
        try:
            metadata = ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).metadata(folder)
            if metadata.item_metadata is None:
                raise ValueError("what it says of its arrays is damaged or missing")
            return _names_and_shapes(metadata.item_metadata.tree)
        except Exception as error:  # Orbax raises whatever a damaged file leads it to
            raise UsageError(f"{folder} cannot be read: {_first_line(error)}") from error

    def restore(self, step: int, target: Any) -> Any:
        """The arrays at `step`, placed as `target` says, whatever the devices were when it was saved.

        Args:
          step: of a complete checkpoint whose `damage` is None.
          target: a tree of jax.ShapeDtypeStruct with shardings; part of the saved tree is enough.

        Raises:
          UsageError: the saved arrays do not have the target's shapes or names.
        """
        folder = self.folder / str(step) / "state"
        checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
        restore_args = ocp.checkpoint_utils.construct_restore_args(target)
        try:
            saved = self.shapes(step)
            for name, shape in _names_and_shapes(target).items():
                if name not in saved:
                    raise UsageError(f"{folder} holds no {name}: it is of another net")
                if saved[name] != shape:
                    raise UsageError(f"{folder}: {name} is {saved[name]}, and this config needs {shape}")
            return checkpointer.restore(
                folder,
                args=ocp.args.PyTreeRestore(item=target, restore_args=restore_args, partial_restore=True),
            )
        except UsageError:
            raise
        except Exception as error:  # Orbax and TensorStore raise whatever a damaged file leads them to
            raise UsageError(f"{folder} cannot be restored: {_first_line(error)}") from error

    def close(self) -> None:
        """Waits for the save that runs and lets Orbax go."""
        try:
            self.wait()
        finally:
            self._orbax.close()


def checksums(folder: Path) -> dict[str, list[Any]]:
    """[size in bytes, SHA-256] of each file below `folder` but the manifest, by relative name."""
    table = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            table[path.relative_to(folder).as_posix()] = [path.stat().st_size, digest]
    return table


def _write_manifest(folder: Path, table: dict[str, list[Any]], progress: dict[str, Any]) -> None:
    manifest = {"progress": progress, "progress_sha256": _digest(progress), "files": table}
    files.write_text(folder / MANIFEST, _written(manifest))


def _written(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=1)


def _digest(progress: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(progress, sort_keys=True).encode()).hexdigest()


def remove(folder: Path) -> None:
    """Removes a checkpoint, its manifest first: half removed, it counts as an interrupted save."""
    (folder / MANIFEST).unlink(missing_ok=True)
    files.synchronise_folder(folder)
    shutil.rmtree(folder)


def _names_and_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
        for path, leaf in flat
        if hasattr(leaf, "shape")
    }


def _first_line(error: BaseException) -> str:
    return printable((str(error) or type(error).__name__).splitlines()[0])[:300]
