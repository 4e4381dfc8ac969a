"""Checkpoints: `checkpoints/<step>/` with Orbax's `state` and a manifest. The only module that knows Orbax.

Orbax restores a file with a flipped bit without a word, so `manifest.json`, written last, lists every
file with its size and SHA-256. It also holds the checkpoint's metadata (the epoch, the schedule's memory, the
validation error) and what it was made with, each with a checksum of its own. A folder without a manifest is
an interrupted save, one that does not agree with its manifest is corrupt: neither is used. `restore` does
not verify; its callers do.

Layers that a run never trains are the same in all its checkpoints: they are saved once, in `frozen/` of the
workdir, which is complete before the first checkpoint is. What holds an array is known in this module alone.
"""

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Container, Mapping
from math import prod
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from alexnet_jax import files
from alexnet_jax.arrays import MAX_RATIO, SMALL_BYTES
from alexnet_jax.distributed import explain
from alexnet_jax.errors import RunFailure, UsageError, first_line
from alexnet_jax.progress import printable
from alexnet_jax.workdir import layout, manifest

# Of Orbax's list of arrays, 250 for each; a net with its optimizer has some fifty, and Orbax reads the file
# of all shardings again for each.
MAX_METADATA_BYTES = 2**20


class Checkpoints:
    """Save, list, verify and restore the checkpoints of one workdir.

    Args:
      workdir: the run's folder.
      keep: how many of the last to keep; the best by validation error is kept, too.

    Raises:
      UsageError: the name of the workdir is no UTF-8, the only one that TensorStore takes.

    Attributes:
      folder: in which they lie, one folder a step.
      frozen: the folder of the layers that are never trained; it need not be there.
    """

    def __init__(self, workdir: Path, keep: int = 1):
        self.folder = (workdir / layout.CHECKPOINTS).absolute()
        self.frozen = self.folder.parent / layout.FROZEN
        files.check_utf8(workdir)
        self.keep = keep
        # How a manifest lists the frozen part that this process has restored or saved; None before.
        self._frozen_row: list[Any] | None = None
        self._orbax = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
        self._finisher: threading.Thread | None = None
        self._failure: BaseException | None = None

    def steps(self) -> list[int]:
        """Return the steps of all complete checkpoints, ascending."""
        return manifest.steps(self.folder)

    def interrupted(self) -> list[str]:
        """Return the names of the folders that interrupted saves left; a save in progress counts as one."""
        found = manifest.numbered_folders(self.folder)
        return sorted(path.name for path in found if not (path / layout.MANIFEST).is_file())

    def metadata(self, step: int) -> dict[str, Any]:
        """Return the metadata saved with the state at `step`: 'epoch', 'schedule' and so on.

        Raises:
          RunFailure: the manifest is not as it was written.
        """
        metadata: dict[str, Any] = manifest.read(self.folder / str(step))["progress"]
        return metadata

    def best(self) -> int | None:
        """Return the checkpoint with the lowest validation top-1 error, the earliest of equals.

        None where no checkpoint has one. Those whose manifest is not as it was written do not count.
        """
        known = []
        for step in self.steps():
            with contextlib.suppress(RunFailure, TypeError, ValueError, OverflowError, AttributeError):
                error: Any = self.metadata(step).get("validation_top1_error")
                if type(error) in (int, float) and 0 <= error <= 1:
                    known.append((float(error), step))
        return min(known)[1] if known else None

    def save(
        self,
        step: int,
        state: Any,
        metadata: dict[str, Any],
        provenance: dict[str, Any] | None = None,
        frozen: Mapping[str, Any] | None = None,
    ) -> None:
        """Save the values that `state` has now, in the background, one save at a time.

        Args:
          step: names the checkpoint.
          state: a tree of arrays.
          metadata: what else a resumed run needs, for JSON: 'epoch', 'schedule', 'validation_top1_error'.
          provenance: what it is made with (`RunInputs.provenance`), for JSON; None: nothing is recorded.
          frozen: {layer: its parameters} of the layers that the run never trains, which `state` lacks. They
            are saved with the first checkpoint; later ones refer to them.

        Raises:
          RunFailure: the save before this one failed.
        """
        self.wait()
        folder = self.folder / str(step)
        parts = {folder: state}
        if frozen and self._frozen_row is None:  # what lies there no complete checkpoint of this run needs
            parts = {self.frozen: {"params": frozen}, folder: state}
        try:
            for part, tree in parts.items():
                if jax.process_index() == 0:
                    if part.exists():
                        _remove(part)
                    part.mkdir(parents=True)
                self._orbax.save(part / layout.STATE, args=ocp.args.PyTreeSave(tree))
        except (OSError, ValueError) as error:
            raise RunFailure(
                f"the checkpoint {folder} cannot be written: {_shown(error)}{explain()}"
            ) from error
        self._finisher = threading.Thread(
            target=self._finish, args=(folder, metadata, provenance, bool(frozen))
        )
        self._finisher.start()

    def update_metadata(self, step: int, metadata: dict[str, Any]) -> None:
        """Replace the metadata of the complete checkpoint at `step`, whole or not at all."""
        self.wait()
        if jax.process_index() == 0:
            folder = self.folder / str(step)
            written = manifest.read(folder)
            manifest.write(folder, written["files"], metadata, written.get("provenance"))

    def _finish(
        self,
        folder: Path,
        metadata: dict[str, Any],
        provenance: dict[str, Any] | None,
        needs_frozen: bool,
    ) -> None:
        try:
            self._orbax.wait_until_finished()
            if needs_frozen and self._frozen_row is None:
                self._frozen_row = self._finish_frozen() if jax.process_index() == 0 else []
            if jax.process_index() == 0:
                table = manifest.checksums(folder)
                if needs_frozen and self._frozen_row is not None:
                    table[manifest.FROZEN] = self._frozen_row
                manifest.write(folder, table, metadata, provenance)
                self._remove_old()
        except BaseException as error:  # handed to the caller of wait
            self._failure = error

    def _finish_frozen(self) -> list[Any]:
        manifest.write(self.frozen, manifest.checksums(self.frozen), {}, None)
        return manifest.row_of(self.frozen / layout.MANIFEST)

    def _remove_old(self) -> None:
        steps, best = self.steps(), self.best()
        for step in steps[: -self.keep]:
            if step != best:
                self.remove(step)

    def wait(self) -> None:
        """Wait until a save in progress is on disk.

        Raises:
          RunFailure: the save failed.
        """
        if self._finisher is not None:
            self._finisher.join()
            self._finisher = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise RunFailure(f"a checkpoint cannot be written: {_shown(failure)}{explain()}") from failure

    def size(self) -> int:
        """Return the bytes of all checkpoints; they grow while one is saved."""
        found = (path for folder in (self.folder, self.frozen) for path in folder.rglob("*"))
        return sum(path.stat().st_size for path in found)

    def clean(self) -> list[str]:
        """Remove the folders that interrupted saves left; return their names.

        Raises:
          UsageError: a file lies where a checkpoint's folder belongs.
        """
        for path in manifest.named_by_steps(self.folder):
            if not path.is_dir():
                raise UsageError(f"{path} is a file where the folder of a checkpoint belongs: remove it")
        for step in self.steps():
            files.remove_partial(self.folder / str(step))
        left = self.interrupted()
        for name in left:
            _remove(self.folder / name)
        return left

    def remove(self, step: int) -> None:
        """Remove the checkpoint at `step`."""
        _remove(self.folder / str(step))

    def find_corruption(self, step: int) -> str | None:
        """Return how the checkpoint at `step` differs from its manifest; None when it does not.

        So with the frozen part, where it needs one.
        """
        return manifest.find_corruption(self.folder / str(step))

    def find_frozen_corruption(self, step: int) -> str | None:
        """Return what is wrong with the frozen part that the checkpoint at `step` needs; None: nothing."""
        return manifest.find_frozen_corruption(self.folder / str(step))

    def resolve_step(self, which: str) -> int:
        """Return the step that `which` names: 'last', 'best' (else the last), or a number.

        Raises:
          UsageError: there is no such checkpoint.
          RunFailure: the best is asked for, and a manifest that could name it is not as it was written.
        """
        steps = self.steps()
        if not steps:
            raise UsageError(f"{self.folder} holds no complete checkpoint: train first")
        if which == "last":
            return steps[-1]
        if which == "best":
            for step in steps:
                self._check_ranked(step)
            best = self.best()
            return steps[-1] if best is None else best
        if not which.isdecimal() or int(which) not in steps:
            raise UsageError(
                f"--checkpoint={which}: {self.folder} holds {', '.join(map(str, steps))}; or say last or best"
            )
        return int(which)

    def _check_ranked(self, step: int) -> None:
        """Raise RunFailure where the validation error at `step` is unknown, for its manifest is corrupt."""
        try:
            manifest.read(self.folder / str(step))
        except RunFailure as error:
            raise RunFailure(
                f"which checkpoint is the best is not known: {error}; remove {self.folder / str(step)}, or "
                "name another with --checkpoint"
            ) from None

    def shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array at `step` by its name, such as 'params/conv1/kernel'.

        Raises:
          UsageError: the checkpoint cannot be read. RunFailure: its manifest is corrupt.
        """
        return {name: shape for part in self._parts(step).values() for name, shape in part.items()}

    def _parts(self, step: int) -> dict[Path, dict[str, tuple[int, ...]]]:
        """Return the arrays at `step` as `shapes` does, by the folder that holds them."""
        folder = self.folder / str(step)
        own = _shapes(folder / layout.STATE)
        parts = {folder / layout.STATE: own}
        if manifest.FROZEN in manifest.read(folder)["files"]:
            frozen = _shapes(self.frozen / layout.STATE)
            parts[self.frozen / layout.STATE] = {name: frozen[name] for name in frozen if name not in own}
        return parts

    def verified_restore(self, step: int, target: Any) -> Any:
        """Verify the checkpoint at `step`, and `restore` it.

        Raises:
          RunFailure: it is corrupt. UsageError: as `restore`.
        """
        corruption = self.find_corruption(step)
        if corruption and corruption == self.find_frozen_corruption(step):
            raise RunFailure(f"checkpoint {step} cannot be used: {corruption}")
        if corruption:
            raise RunFailure(f"checkpoint {step} is damaged: {corruption}; choose another with --checkpoint")
        return self.restore(step, target)

    def restore(self, step: int, target: Any) -> Any:
        """Return the arrays at `step`, sharded as `target` says, on whatever devices they were saved.

        Nothing is verified: call `find_corruption` before, or `verified_restore`.

        Args:
          step: of a complete checkpoint.
          target: a tree of jax.ShapeDtypeStruct with shardings; a part of the saved tree is enough, and only
            that part is read.

        Raises:
          UsageError: the saved arrays do not have the target's shapes or names.
          RunFailure: the manifest is corrupt.
        """
        folder, parts = self.folder / str(step) / layout.STATE, self._parts(step)
        saved = {name: shape for part in parts.values() for name, shape in part.items()}
        for name, shape in _names_and_shapes(target).items():
            if name not in saved:
                raise UsageError(f"{folder} holds no {name}: it is of another net")
            if saved[name] != shape:
                raise UsageError(f"{folder}: {name} is {saved[name]}, and this config needs {shape}")
        self._frozen_row = manifest.read(folder.parent)["files"].get(manifest.FROZEN)
        restored = [_restore_part(part, names, target) for part, names in parts.items()]
        return jax.tree.map(lambda *found: next(x for x in found if x is not ocp.PLACEHOLDER), *restored)

    def close(self) -> None:
        """Wait for a save in progress and release Orbax's threads."""
        try:
            self.wait()
        finally:
            with contextlib.suppress(OSError, ValueError):  # Orbax raises again what `wait` has reported
                self._orbax.close()


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array that Orbax saved in `folder`, by its name."""
    try:
        files.read_bounded(folder / "_METADATA", MAX_METADATA_BYTES)
        metadata = ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).metadata(folder)
        if metadata.item_metadata is None:
            raise ValueError("what it says of its arrays is damaged or missing")
        jax.tree.map(_check_chunks, metadata.item_metadata.tree, is_leaf=lambda x: hasattr(x, "shape"))
        return _names_and_shapes(metadata.item_metadata.tree)
    except Exception as error:  # Orbax raises whatever a damaged file leads it to
        raise UsageError(f"{folder} cannot be read: {_shown(error)}") from error


def _restore_part(folder: Path, names: Container[str], target: Any) -> Any:
    """Return the tree `target` with the arrays `names` from `folder`, and PLACEHOLDER for the others."""
    wanted = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if _name(path) in names else ocp.PLACEHOLDER, target
    )
    leaves = [leaf for leaf in jax.tree.leaves(wanted) if leaf is not ocp.PLACEHOLDER]
    if not leaves:
        return wanted
    try:
        _check_size(folder, leaves)
        restore_args = ocp.checkpoint_utils.construct_restore_args(wanted)
        return ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).restore(
            folder,
            args=ocp.args.PyTreeRestore(item=wanted, restore_args=restore_args, partial_restore=True),
        )
    except UsageError:
        raise
    except Exception as error:  # Orbax and TensorStore raise whatever a damaged file leads them to
        raise UsageError(f"{folder} cannot be restored: {_shown(error)}") from error


def _check_chunks(leaf: Any) -> None:
    """Check that no chunk of a saved array is larger than the array: TensorStore allocates a whole chunk.

    Zeros compress well: 65 KB in a checkpoint of somebody else's could take all memory.
    """
    if not getattr(leaf, "shape", ()):
        return
    chunks = leaf.storage.chunk_shape
    if any(chunk > max(side, 1) for side, chunk in zip(leaf.shape, chunks, strict=True)):
        raise ValueError(f"{leaf.name} has the shape {leaf.shape} and chunks of {chunks}")


def _remove(folder: Path) -> None:
    """Remove a checkpoint, its manifest first: half removed, it counts as an interrupted save."""
    (folder / layout.MANIFEST).unlink(missing_ok=True)
    files.synchronise_folder(folder)
    shutil.rmtree(folder)


def _check_size(folder: Path, leaves: list[Any]) -> None:
    """Raise UsageError where arrays have many times the bytes of the files in `folder`."""
    wanted = sum(prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    found = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if wanted > SMALL_BYTES + MAX_RATIO * found:
        raise UsageError(
            f"{folder} has {found:,} bytes and unpacks to {wanted:,}: no arrays that were learned do that"
        )


def _names_and_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {_name(path): tuple(leaf.shape) for path, leaf in flat if hasattr(leaf, "shape")}


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _shown(error: BaseException) -> str:
    """Return the reason that the system gave, where TensorStore quotes one among much else, or the start."""
    text = str(error)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.EROFS, errno.EIO):
        if os.strerror(number) in text:
            return os.strerror(number)
    return printable(first_line(error))[:300]
