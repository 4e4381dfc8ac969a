"""What the answers of a run's nets depend on beside the checkpoint, and whether it is what made it.

`config.json`, its class names and `statistics.npz` lie once in a workdir, beside all checkpoints. Each
checkpoint's manifest records what it was made with; whatever loads it compares. So a file that was replaced,
a key that was edited, a flipped bit and a checkpoint of another run are found. Somebody who writes a
manifest with digests of other files is not: this protects against mistakes and damage, not against forgery.

Keys of the config that may differ when a run is resumed are not compared. A checkpoint of an earlier version
records nothing and is accepted with a line. This module imports no JAX: the report compares without it.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.config import compatibility
from alexnet_jax.config import io as config_io
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.progress import printable
from alexnet_jax.workdir import layout, manifest

# The parts of a provenance beside the step and the config, and the file of the workdir that holds each.
LIES_IN = {
    "class_names": layout.CONFIG,
    "weights_reach": layout.CONFIG,
    "statistics": layout.STATISTICS,
    "lpips_heads": layout.LPIPS_HEADS,
}


@dataclass(frozen=True)
class RunInputs:
    """Hold what decides the answers of a run's nets beside their parameters.

    Attributes:
      config: resolved.
      class_names: by label.
      statistics: by which images are normalised.
      weights_reach: the layer at which partial weights end (`convert`); None for a whole net.
      dataset_digest: of the dataset that it was trained on; '' where that is not known.
    """

    config: ConfigDict
    class_names: tuple[str, ...]
    statistics: Statistics
    weights_reach: Any = None
    dataset_digest: str = ""

    def provenance(
        self,
        step: int,
        dataset_statistics: Statistics | None = None,
        lpips_heads: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, Any]:
        """Return what the manifest of a checkpoint records, for JSON: the config, and digests of the rest.

        Args:
          step: of the checkpoint.
          dataset_statistics: of the dataset that trains the net, by whose axes of colour images are lit; they
            differ from `statistics` where the run starts from another net. None: it is not trained.
          lpips_heads: of a converted net that has some.
        """
        return {
            "step": step,
            "config": config_io.to_json(self.config),
            "class_names": digest_of_json(self.class_names),
            "weights_reach": digest_of_json(self.weights_reach),
            "statistics": digest_of_statistics(self.statistics),
            "dataset_statistics": dataset_statistics and digest_of_statistics(dataset_statistics),
            "lpips_heads": digest_of_arrays(lpips_heads) if lpips_heads else None,
        }


def read(workdir: Path) -> RunInputs:
    """Read what lies beside the checkpoints of a run.

    Raises:
      UsageError: it is missing or damaged.
    """
    config, metadata = config_io.load(workdir / layout.CONFIG)
    try:
        return RunInputs(
            config,
            tuple(str(name) for name in metadata["class_names"]),
            Statistics.load(workdir / metadata["statistics"]),
            metadata.get("weights_reach"),
            str(metadata.get("dataset_digest", "")),
        )
    except (KeyError, TypeError) as error:
        raise UsageError(f"{workdir / layout.CONFIG} lacks {error}: it is not of a whole run") from None


def check(run: RunInputs, workdir: Path, step: int) -> None:
    """Check that the checkpoint at `step` was made with what lies beside it.

    Where it does not record what it was made with, stderr gets a line.

    Args:
      run: what `read` gave.
      workdir: of the run.
      step: of a complete checkpoint.

    Raises:
      UsageError: it was made with something else; the file, what differs, and the way out.
      RunFailure: its manifest is not as it was written.
    """
    recorded = _recorded(workdir, step)
    if recorded is None:
        print(
            f"{_folder(workdir, step)} does not record what it was made with, as in earlier versions: "
            f"{layout.CONFIG} and {layout.STATISTICS} are used as they are",
            file=sys.stderr,
        )
        return
    if recorded["step"] != step:
        raise UsageError(
            f"{_folder(workdir, step)} holds checkpoint {recorded['step']}: rename or remove the folder"
        )
    try:
        made_with = config_io.from_saved(recorded["config"])
        changes = compatibility.deciding_changes(made_with, run.config)
    except manifest.UNREADABLE as error:
        raise UsageError(f"{workdir / layout.CONFIG} does not fit checkpoint {step}: {error}") from None
    for key, (made, now) in changes.items():
        raise UsageError(
            f"{workdir / layout.CONFIG} has config.{key}={_short(now)}, and checkpoint {step} was made with "
            f"{_short(made)}: {_way_out(workdir, step)}"
        )
    for part, digest in run.provenance(step).items():
        if part in ("class_names", "weights_reach", "statistics"):
            _check_part(recorded, part, digest, workdir, step)


def check_lpips_heads(heads: Mapping[str, np.ndarray], workdir: Path, step: int) -> None:
    """Check that the LPIPS heads in a workdir are those that came with the checkpoint at `step`.

    Raises:
      UsageError, RunFailure: as `check`.
    """
    known = step in manifest.steps(workdir / layout.CHECKPOINTS)  # not of a net that was never saved
    recorded = _recorded(workdir, step) if known else None
    if recorded is not None:
        _check_part(recorded, "lpips_heads", digest_of_arrays(heads), workdir, step)


def check_workdir(workdir: Path) -> None:
    """Check every checkpoint of a workdir whose manifest is as it was written; none may be there.

    Raises:
      UsageError: as `check` and `read`.
    """
    run = None
    for step in manifest.steps(workdir / layout.CHECKPOINTS):
        try:
            if _recorded(workdir, step) is not None:
                run = run or read(workdir)
                check(run, workdir, step)
        except RunFailure:
            continue  # corrupt: it is named where it is used


def check_dataset(statistics: Statistics, folder: Path, workdir: Path) -> None:
    """Check that the statistics of a dataset are those that the run in a workdir was trained with.

    Args:
      statistics: of the dataset.
      folder: where it lies.
      workdir: of the run, perhaps without a checkpoint.

    Raises:
      UsageError: they are others.
    """
    digest = digest_of_statistics(statistics)
    for step in manifest.steps(workdir / layout.CHECKPOINTS):
        try:
            recorded = _recorded(workdir, step)
        except RunFailure:
            continue
        if recorded and recorded["dataset_statistics"] not in (None, digest):
            raise UsageError(
                f"{folder / layout.STATISTICS} is not what checkpoint {step} of {workdir} was trained with: "
                "prepare the data again from the same source, or use another --workdir"
            )


def digest_of_statistics(statistics: Statistics) -> str:
    """Return the SHA-256 of the values of statistics, whatever the file they came from."""
    return digest_of_arrays(asdict(statistics))


def digest_of_arrays(arrays: Mapping[str, Any]) -> str:
    """Return the SHA-256 of names, types, shapes and values of arrays, whatever their order in memory."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def sealed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the key `sha256`, the digest of all others."""
    return {**tree, "sha256": digest_of_json(tree)}


def unsealed(tree: dict[str, Any]) -> dict[str, Any]:
    """Return what `sealed` was given; of earlier versions, whose files have no digest, the object itself.

    Raises:
      ValueError: the digest does not hold.
    """
    content = {key: value for key, value in tree.items() if key != "sha256"}
    if "sha256" in tree and tree["sha256"] != digest_of_json(content):
        raise ValueError("it is not as it was written")
    return content


def digest_of_json(value: Any) -> str:
    """Return the SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _recorded(workdir: Path, step: int) -> dict[str, Any] | None:
    """Return what a manifest records, with all its keys; None where it records nothing."""
    folder = _folder(workdir, step)
    recorded = manifest.read(folder).get("provenance")
    keys = {"step", "config", "dataset_statistics", *LIES_IN}
    if recorded is not None and not (isinstance(recorded, dict) and keys <= recorded.keys()):
        raise RunFailure(f"{folder / layout.MANIFEST} does not record a whole provenance")
    return recorded


def _check_part(recorded: Mapping[str, Any], part: str, digest: Any, workdir: Path, step: int) -> None:
    if recorded[part] != digest:
        file = workdir / LIES_IN[part]
        what = f"has {part} that are" if file.name == layout.CONFIG else "is"
        raise UsageError(f"{file} {what} not what checkpoint {step} was made with: {_way_out(workdir, step)}")


def _way_out(workdir: Path, step: int) -> str:
    folder = _folder(workdir, step)
    return f"put back the file as it was, or remove {folder} if that is of another run"


def _folder(workdir: Path, step: int) -> Path:
    return workdir / layout.CHECKPOINTS / str(step)


def _short(value: Any) -> str:
    return printable(repr(value))[:200]
