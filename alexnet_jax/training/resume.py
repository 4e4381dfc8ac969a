"""Keep a run's config in its workdir, find the checkpoints there, and resume from the last whole one."""

import hashlib
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet_jax import runtime
from alexnet_jax.config import compatibility
from alexnet_jax.config import io as config_io
from alexnet_jax.distributed import Group
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.model import network, sharding
from alexnet_jax.progress import printable
from alexnet_jax.training import optimizer, step
from alexnet_jax.training.setup import RunSetup
from alexnet_jax.training.step import TrainState
from alexnet_jax.training.warm_start import Initial, open_initial
from alexnet_jax.workdir import layout, provenance
from alexnet_jax.workdir.checkpoints import Checkpoints

SHARED_FOLDER_SECONDS = 30.0  # after which a file that another machine wrote must show itself


@dataclass(frozen=True)
class Start:
    """Hold where a run begins or continues.

    Attributes:
      step: updates made before.
      state: parameters and the optimizer's state.
      plateau: the state of reduce on plateau.
      evaluated_step: the step of the last validation.
    """

    step: int
    state: TrainState
    plateau: optimizer.PlateauState = field(default_factory=optimizer.PlateauState)
    evaluated_step: int = 0


def keep_or_check_config(
    setup: RunSetup, workdir: Path, checkpoints: Checkpoints, group: Group
) -> Initial | None:
    """Write the config of a new run into its workdir, or check that it is the config of the run there.

    Returns:
      The net whose layers the run starts from; None where there is none, or the run is under way.

    Raises:
      UsageError: the workdir holds another run or a checkpoint of another one, a file in it or the dataset's
        statistics were replaced, the run there is longer already, or it is not the same folder for all
        processes.
    """
    initial = None
    if setup.config.train.init_from and not group.broadcast_from_primary(checkpoints.steps):
        initial = open_initial(setup.config, setup.architecture)
    statistics = (initial or setup.dataset).statistics

    def keep_or_check() -> str:
        steps = checkpoints.steps()
        begun = bool(steps)
        if begun or (workdir / layout.CONFIG).exists():
            _check_workdir(setup, workdir)
        if begun and steps[-1] > setup.total_steps:
            raise UsageError(
                f"the run in {workdir} is at step {steps[-1]:,}, and config.train.epochs="
                f"{setup.config.train.epochs:g} ends at step {setup.total_steps:,}: use another --workdir, "
                f"or at least {setup.epoch(steps[-1]):.6g} epochs"
            )
        if not begun:
            statistics.save(workdir / layout.STATISTICS)
        return _save_config(setup, workdir)

    written = group.broadcast_from_primary(keep_or_check)
    deadline = time.monotonic() + SHARED_FOLDER_SECONDS
    while not group.is_primary and _digest(workdir / layout.CONFIG) != written:
        if time.monotonic() > deadline:
            raise UsageError(
                f"{workdir} is not the folder here that it is for the first process: "
                "--workdir must lie where all machines of the run see it"
            )
        time.sleep(0.2)
    return initial


def _check_workdir(setup: RunSetup, workdir: Path) -> None:
    """Check that the run in a workdir is the one of this config and data."""
    path = workdir / layout.CONFIG
    if not path.exists():
        raise UsageError(f"{workdir} holds checkpoints and no {path.name}: use another --workdir")
    saved, metadata = config_io.load(path)
    if "converted_from" in metadata:
        raise UsageError(
            f"{workdir} holds converted weights, not a run: use another --workdir, and "
            f"--config.train.init_from={workdir} to start from them"
        )
    provenance.check_workdir(workdir)
    compatibility.check_same_run(saved, setup.config, str(workdir))
    if metadata.get("class_names") != list(setup.dataset.class_names):
        raise UsageError(
            f"{setup.dataset.folder} has other classes than the run in {workdir}: use another --workdir"
        )
    provenance.check_dataset(setup.dataset.statistics, setup.dataset.folder, workdir)
    if metadata.get("dataset_digest", setup.dataset.digest) != setup.dataset.digest:
        raise UsageError(
            f"{setup.dataset.folder} is not the dataset that the run in {workdir} was trained on: name that "
            "one by --config.data.name or --config.data.dir, or use another --workdir"
        )


def _save_config(setup: RunSetup, workdir: Path) -> str:
    """Write `config.json`; return its digest."""
    device = setup.mesh.devices.flat[0]
    kind = runtime.host() if device.platform == "cpu" else f"{setup.mesh.size} x {device.device_kind}"
    config_io.save(
        workdir / layout.CONFIG,
        setup.config,
        class_names=list(setup.dataset.class_names),
        dataset_digest=setup.dataset.digest,
        statistics=layout.STATISTICS,
        hardware=kind,
        versions=runtime.versions("jax", "jaxlib", "flax"),
    )
    return _digest(workdir / layout.CONFIG)


def start(
    setup: RunSetup,
    workdir: Path,
    program: step.Program,
    checkpoints: Checkpoints,
    initial: Initial | None,
    group: Group,
) -> Start:
    """Draw the parameters of a new run, or restore the last checkpoint of the one in the workdir.

    Raises:
      RunFailure: there are checkpoints, and all are corrupt, or the frozen part that the last needs is.
      UsageError: the last was made with something else than lies beside it (`provenance.check`).
    """
    params = network.init_params(setup.architecture, setup.config.seed, setup.mesh)
    if initial is not None:
        params = initial.params(params, setup.architecture, setup.mesh)
    state = step.init_state(program, params)

    def latest() -> tuple[int, dict[str, Any], list[int]]:
        return _latest(checkpoints, workdir, setup.total_steps)

    number, metadata, corrupt = group.broadcast_from_primary(latest)
    if not number:
        return Start(0, state, optimizer.PlateauState(flat_loss=math.log(setup.config.model.classes)))
    target = sharding.abstract_like(state, step.state_shardings(program, state))
    restored = checkpoints.restore(number, target)

    def remove_corrupt() -> None:
        for later in corrupt:  # they would count as the last or the best; the run makes them again
            checkpoints.remove(later)

    group.broadcast_from_primary(remove_corrupt)
    plateau = optimizer.PlateauState.from_json(metadata["schedule"])
    return Start(number, restored, plateau, metadata["evaluated_step"])


def _latest(
    checkpoints: Checkpoints, workdir: Path, total_steps: int
) -> tuple[int, dict[str, Any], list[int]]:
    """Return the last whole checkpoint (0: there is none), its metadata, and the corrupt ones after it."""
    for name in checkpoints.clean():
        path = f"{checkpoints.folder.name}/{name}"
        print(f"{workdir}: removed what an interrupted save left, {path}", file=sys.stderr)
    corrupt = []
    for number in reversed(checkpoints.steps()):
        corruption = checkpoints.find_corruption(number)
        if corruption and corruption == checkpoints.find_frozen_corruption(number):
            # It can be put back, and then this checkpoint is whole.
            raise RunFailure(f"{corruption}, or remove {checkpoints.folder} to start anew")
        if corruption:
            print(f"checkpoint {number} is damaged and not used: {printable(corruption)}", file=sys.stderr)
            corrupt.append(number)
            continue
        provenance.check(provenance.read(workdir), workdir, number)
        how = "resumes at" if number < total_steps else "is finished at"
        print(f"{workdir} {how} step {number} of {total_steps}", file=sys.stderr)
        return number, checkpoints.metadata(number), corrupt
    if corrupt:
        raise RunFailure(f"no checkpoint in {checkpoints.folder} is whole: remove it to start anew")
    return 0, {}, []


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; empty when it is not there."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
