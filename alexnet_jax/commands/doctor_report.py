"""What `doctor` says: what would stop a run, and the state of one. Nothing is compiled or written."""

import json
import os
import platform
import shutil
import time
from importlib import metadata
from math import prod
from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict
from packaging.requirements import Requirement

from alexnet_jax import extras
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture
from alexnet_jax.training import optimizer, setup, warm_start
from alexnet_jax.workdir import layout, provenance
from alexnet_jax.workdir.checkpoints import Checkpoints
from alexnet_jax.workdir.lock import is_locked
from alexnet_jax.workdir.log import lines_until

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "grain", "ml-collections")


def report(config: ConfigDict | None, workdir: Path | None = None) -> tuple[str, bool]:
    """Return what would stop a run, and the state of one that is there.

    Args:
      config: of the run; None: versions and devices alone.
      workdir: where it would run; of a run that is there its state is reported, too.

    Returns:
      Lines for the user, and whether nothing stands against the run.
    """
    lines, problems = _versions()
    lines.append(_clock([Path(__file__), *([workdir] if workdir and workdir.exists() else [])], problems))
    if config is not None:
        _can_start(config, workdir, lines, problems)
    if workdir is not None and (workdir / layout.CONFIG).exists():
        _state(workdir, lines, problems)
    lines += [f"this run cannot start: {problem}" for problem in problems]
    return "\n".join(lines), not problems


def _versions() -> tuple[list[str], list[str]]:
    """Return lines about Python, the packages that are needed, the extras and the devices; and problems."""
    problems, outside, installed = [], [], {}
    for requirement in map(Requirement, extras.requirements()):
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras.EXTRAS):
            continue  # JAX's own extras
        try:
            version = installed[requirement.name] = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            if marker is None:
                problems.append(f"the package {requirement.name} is missing: {extras.install()}")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            outside.append(f"{requirement.name} {version} (tested: {requirement.specifier})")
    devices = jax.devices()
    shown = ", ".join(f"{name} {installed[name]}" for name in PACKAGES if name in installed)
    lines = [f"Python {platform.python_version()}, {shown}"]
    lines += _extras()
    if outside:
        lines.append(f"versions that were not tested: {', '.join(outside)}")
    lines.append(f"devices: {len(devices)} x {devices[0].device_kind} ({devices[0].platform})")
    return lines, problems


def _extras() -> list[str]:
    """Return a line about the extras that are installed, and one about each that is not."""
    missing = {extra: extras.missing(extra) for extra in extras.EXTRAS}
    there = ", ".join(extra for extra, modules in missing.items() if not modules)
    return [f"extras: {there or 'none'}"] + [
        f"extra {extra}, which needs {' and '.join(modules)}, is not installed: {extras.install(extra)}"
        for extra, modules in missing.items()
        if modules
    ]


def _clock(paths: list[Path], problems: list[str]) -> str:
    """Return the time; a clock behind the files makes TensorBoard and `make` err, and certificates fail."""
    now, newest = time.time(), max(path.stat().st_mtime for path in paths)
    if now < newest - 120:
        problems.append(f"the clock says {time.ctime(now)}, and there are files of {time.ctime(newest)}")
    return f"clock: {time.strftime('%Y-%m-%d %H:%M:%S %Z', time.localtime(now))}"


def _can_start(config: ConfigDict, workdir: Path | None, lines: list[str], problems: list[str]) -> None:
    """Add what a run of this config needs, against what there is."""
    try:
        run = setup.prepare_run(warm_start.resolve_probe(config, workdir))
        if run.config.train.init_from and not (workdir and Checkpoints(workdir).steps()):
            warm_start.open_initial(run.config, run.architecture)
        lines += _data(run)
    except (UsageError, RunFailure) as error:
        problems.append(str(error))
        return
    trained, frozen = _parameters(run.config, run.architecture)
    needed, free = memory_needed(run.config, run.architecture, run.mesh), _free_memory(run.mesh)
    words = f"memory: about {_gibibytes(needed)} of {_gibibytes(free)} that a device has free"
    lines.append(words)
    if needed > free:
        problems.append(f"{words}: set a smaller config.data.batch_size, or more devices")
    if workdir is not None:
        _can_write(config.checkpoint.keep, workdir, 8 * trained, 4 * frozen, lines, problems)
    shape = " x ".join(str(run.mesh.shape[axis]) for axis in ("data", "model"))
    if not problems:
        lines.append(
            f"this run can start: {run.architecture.name} on a mesh of {shape}, data in {run.dataset.folder}"
        )


def _data(run: setup.RunSetup) -> list[str]:
    """Return a line for each split that the run reads; its last record is decoded."""
    lines = []
    for split in dict.fromkeys((run.config.data.train_split, run.config.data.validation_split)):
        if split:
            records = run.dataset.records(split)
            records.image(len(records) - 1)
            lines.append(f"data: {len(records):,} images in {split!r} of {run.dataset.folder}")
    return lines


def memory_needed(config: ConfigDict, architecture: Architecture, mesh: Mesh) -> int:
    """Return an estimate, in bytes a device, of what a step of training holds at once, in float32.

    Parameters, velocities and gradients, of layers that are never trained the parameters alone; of each layer
    the values, their gradients, and a copy in passing.
    """
    trained, frozen = _parameters(config, architecture)
    values = sum(prod(shape.output) for shape in layer_shapes(architecture).values())
    images = config.data.batch_size // mesh.shape["data"]
    return int(4 * (3 * trained + frozen + 3 * values * images) // mesh.shape["model"])


def _parameters(config: ConfigDict, architecture: Architecture) -> tuple[int, int]:
    """Return how many parameters a run trains at some time, and how many it never trains."""
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    never = optimizer.frozen_layers(rules, 0.0)
    table = layer_shapes(architecture)
    frozen = sum(table[name].parameters for name in never)
    return sum(shape.parameters for shape in table.values()) - frozen, frozen


def _free_memory(mesh: Mesh) -> int:
    """Return the free bytes of a device; CPU devices share the machine's."""
    stats = mesh.devices.flat[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1]) // mesh.size
    return 2**63


def _can_write(
    keep: int, workdir: Path, checkpoint: int, once: int, lines: list[str], problems: list[str]
) -> None:
    """Add whether the workdir can be written, and the disk that it needs.

    That is what `keep` checkpoints of so many bytes take, and before the first of them so many bytes once.
    """
    folder = next(path for path in (workdir.absolute(), *workdir.absolute().parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        problems.append(f"the workdir {workdir} cannot be written")
        return
    if is_locked(workdir):
        problems.append(f"another run is using {workdir}")
    # Those that are kept, the best, and the one that is written before an older one goes.
    written = len(Checkpoints(workdir).steps())
    needed = max(keep + 2 - written, 1) * checkpoint + (0 if written else once)
    free = shutil.disk_usage(folder).free
    words = f"disk: checkpoints need about {_gibibytes(needed)} more, {_gibibytes(free)} are free at {folder}"
    lines.append(words)
    if needed > free:
        problems.append(f"{words}: make room, or set a smaller config.checkpoint.keep")


def _state(workdir: Path, lines: list[str], problems: list[str]) -> None:
    """Add what a workdir holds: how far the run is, and its checkpoints with their health."""
    log = workdir / layout.METRICS
    logged = lines_until(log, 2**62, 2**62) if log.exists() else []
    if logged:
        last = json.loads(logged[-1])
        epoch = f", epoch {last['epoch']:g}" if isinstance(last.get("epoch"), int | float) else ""
        lines.append(f"{workdir}: logged as far as step {last['step']}{epoch}")
    else:
        lines.append(f"{workdir}: nothing is logged yet")
    checkpoints = Checkpoints(workdir)
    try:
        provenance.check_workdir(workdir)
    except UsageError as difference:
        problems.append(str(difference))
    steps, whole = checkpoints.steps(), 0
    for step in steps:
        corruption = checkpoints.find_corruption(step)
        if corruption:
            lines.append(f"checkpoint {step}: damaged: {corruption}")
            continue
        whole += 1
        metadata = checkpoints.metadata(step)
        error = metadata["validation_top1_error"]
        words = "" if error is None else f", validation top-1 error {error:.2%}"
        note = " (the best)" if step == checkpoints.best() else ""
        lines.append(f"checkpoint {step}: whole, epoch {metadata['epoch']:g}{words}{note}")
    for name in checkpoints.interrupted():
        lines.append(f"checkpoint {name}: an interrupted save, which the next start removes")
    lost = checkpoints.find_frozen_corruption(steps[-1]) if steps else None
    if lost:
        problems.append(lost)
    elif steps and not whole:
        problems.append(f"no checkpoint in {checkpoints.folder} is whole: remove it to start anew")
    elif whole < len(steps):
        lines.append("the run resumes from the newest whole checkpoint")
    elif not steps:
        lines.append("no checkpoint yet: the run starts at step 0")


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
