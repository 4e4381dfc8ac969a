"""The verb `doctor`: what would stop a run, the state of one; with --architectures the nets there are."""

import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from packaging.requirements import Requirement

from alexnet_jax.data import pipeline
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.model import architectures
from alexnet_jax.report.published import LRN, PAPER, RELU
from alexnet_jax.training import loop
from alexnet_jax.training.checkpoint import Checkpoints

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "grain", "ml-collections")
IMAGENET: dict[str, Any] = {"width": 1.0, "dropout": 0.5}


@dataclass(frozen=True)
class Net:
    """A net as it was published: its table with which arguments, for which pictures, and its own figures."""

    architecture: str
    crop: int
    channels: int
    classes: int
    arguments: dict[str, Any]
    published: str = ""

    def build(self) -> architectures.Architecture:
        """The architecture."""
        model = {"architecture": self.architecture, "classes": self.classes, "compute_dtype": "float32"}
        return architectures.build(ConfigDict(model | self.arguments), self.crop, self.channels)


NETS = (
    Net("alexnet_2012", 224, 3, 1000, PAPER, "60 million parameters, 650,000 neurons (paper)"),
    Net("alexnet_2012_source", 224, 3, 1000, IMAGENET),
    Net("source_132", 224, 3, 1000, IMAGENET),
    Net("source_145_half", 224, 3, 1000, IMAGENET),
    Net("source_146", 224, 3, 1000, IMAGENET),
    Net("source_147", 224, 3, 1000, IMAGENET),
    Net("source_148", 224, 3, 1000, IMAGENET),
    Net("source_150", 224, 3, 1000, IMAGENET),
    Net("caffe", 227, 3, 1000, IMAGENET),
    Net("caffenet", 227, 3, 1000, IMAGENET),
    Net("torchvision", 224, 3, 1000, IMAGENET, "61,100,840 parameters (its documentation)"),
    Net("torchvision", 224, 1, 10, IMAGENET),
    Net("cifar10_26", 32, 3, 10, RELU),
    Net("cifar10_19", 32, 3, 10, RELU),
    Net("cifar10_19", 24, 3, 10, RELU),
    Net("cifar10_18", 32, 3, 10, RELU),
    Net("cifar10_13", 24, 3, 10, RELU),
    Net("cifar10_11", 24, 3, 10, RELU | LRN),
    Net("fully_connected", 28, 1, 10, {"hidden": (15,), "activation": "sigmoid"}, "11,935 parameters"),
)


def architectures_table() -> str:
    """Every net: its pictures, parameters, multiply-accumulates, neurons and the outputs of its layers.

    Neurons are the outputs of the layers with weights; the multiply-accumulates are of one picture's
    forward pass, without biases, normalisation and pooling.
    """
    rows = [("net", "pictures", "parameters", "million multiply-accumulates", "neurons", "outputs")]
    notes = []
    for net in NETS:
        table = [s for s in architectures.shapes(net.build()).values() if s.kernel]
        rows.append(
            (
                net.architecture,
                f"{net.crop}x{net.crop}x{net.channels}",
                f"{sum(s.parameters for s in table):,}",
                f"{sum(s.multiply_accumulates for s in table) / 1e6:,.2f}",
                f"{sum(prod(s.output) for s in table):,}",
                " ".join("x".join(map(str, s.output)) for s in table),
            )
        )
        if net.published:
            notes.append(f"published for {net.architecture}: {net.published}")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for name, *figures, outputs in rows:
        cells = [cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=False)]
        lines.append("  ".join([name.ljust(widths[0]), *cells, outputs]))
    return "\n".join([*lines, *notes])


def report(config: ConfigDict | None, workdir: Path | None = None) -> tuple[str, bool]:
    """What would stop a run, told beforehand; nothing is compiled or written.

    Args:
      config: of the run; None: versions and devices alone.
      workdir: where it would run; of a run that is there its state is told, too.

    Returns:
      Lines for a person, and whether nothing stands against the run.
    """
    lines, problems = _versions()
    lines.append(_clock([Path(__file__), *([workdir] if workdir and workdir.exists() else [])], problems))
    if config is not None:
        _can_start(config, workdir, lines, problems)
    if workdir is not None and (workdir / "config.json").exists():
        _state(workdir, lines, problems)
    lines += [f"this run cannot start: {problem}" for problem in problems]
    return "\n".join(lines), not problems


def _versions() -> tuple[list[str], list[str]]:
    """Python, the packages that the product needs, and the devices."""
    problems, outside, there = [], [], {}
    for text in _requirements():
        requirement = Requirement(text)
        try:
            version = there[requirement.name] = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"the package {requirement.name} is missing: pip install -r requirements.txt")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            outside.append(f"{requirement.name} {version} (tested: {requirement.specifier})")
    devices = jax.devices()
    shown = ", ".join(f"{name} {there[name]}" for name in PACKAGES if name in there)
    lines = [f"Python {platform.python_version()}, {shown}"]
    if outside:
        lines.append(f"versions that were not tested: {', '.join(outside)}")
    lines.append(f"devices: {len(devices)} x {devices[0].device_kind} ({devices[0].platform})")
    return lines, problems


def _requirements() -> list[str]:
    path = Path(__file__).parents[1] / "requirements.txt"
    if not path.is_file():
        return list(PACKAGES)
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def _clock(paths: list[Path], problems: list[str]) -> str:
    """A clock that is behind the files makes TensorBoard and `make` err, and certificates fail."""
    now, newest = time.time(), max(path.stat().st_mtime for path in paths)
    if now < newest - 120:
        problems.append(f"the clock says {time.ctime(now)}, and there are files of {time.ctime(newest)}")
    return f"clock: {time.strftime('%Y-%m-%d %H:%M:%S %Z', time.localtime(now))}"


def _can_start(config: ConfigDict, workdir: Path | None, lines: list[str], problems: list[str]) -> None:
    try:
        dataset, architecture, mesh = loop.prepare_run(config)
        for split in dict.fromkeys((config.data.train_split, config.data.validation_split)):
            if split:
                records = dataset.records(split)
                pipeline.decode(
                    records.read(len(records) - 1)[0],
                    config.data.format,
                    np.empty((config.data.size, config.data.size, config.data.channels), np.uint8),
                    f"the last record of {split!r}",
                )
                lines.append(f"data: {len(records):,} pictures in {split!r} of {dataset.folder}")
    except (UsageError, RunFailure) as error:
        problems.append(str(error))
        return
    parameters = sum(shape.parameters for shape in architectures.shapes(architecture).values())
    needed, there = memory_needed(config, architecture, mesh), _memory(mesh)
    words = f"memory: about {_gibibytes(needed)} of {_gibibytes(there)} that a device has free"
    lines.append(words)
    if needed > there:
        problems.append(f"{words}: set a smaller config.data.batch_size, or more devices")
    if workdir is not None:
        _can_write(config, workdir, 8 * parameters, lines, problems)
    shape = " x ".join(str(mesh.shape[axis]) for axis in ("data", "model"))
    if not problems:
        lines.append(
            f"this run can start: {architecture.name} on a mesh of {shape}, data in {dataset.folder}"
        )


def memory_needed(config: ConfigDict, architecture: architectures.Architecture, mesh: Mesh) -> int:
    """An estimate, in bytes a device, of what a step of training holds at once, in float32.

    Parameters, velocities and gradients; of each layer the values, their gradients, and a copy in passing.
    """
    table = architectures.shapes(architecture).values()
    parameters = sum(shape.parameters for shape in table) // mesh.shape["model"]
    values = sum(prod(shape.output) for shape in table) // mesh.shape["model"]
    pictures = config.data.batch_size // mesh.shape["data"]
    return 4 * (3 * parameters + 3 * values * pictures)


def _memory(mesh: Mesh) -> int:
    """Free bytes of a device; CPU devices share the machine's."""
    device = mesh.devices.flat[0]
    told = device.memory_stats() or {}
    if "bytes_limit" in told:
        return told["bytes_limit"] - told.get("bytes_in_use", 0)
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1]) // mesh.size
    return 2**63


def _can_write(
    config: ConfigDict, workdir: Path, checkpoint: int, lines: list[str], problems: list[str]
) -> None:
    place = next(path for path in (workdir.absolute(), *workdir.absolute().parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        problems.append(f"the workdir {workdir} cannot be written")
        return
    if _is_used(workdir):
        problems.append(f"another run is using {workdir}")
    # Those that are kept, the best, and the one that is written before an older one goes.
    there = len(Checkpoints(workdir / "checkpoints").steps())
    needed = max(config.checkpoint.keep + 2 - there, 1) * checkpoint
    free = shutil.disk_usage(place).free
    words = f"disk: checkpoints need about {_gibibytes(needed)} more, {_gibibytes(free)} are free at {place}"
    lines.append(words)
    if needed > free:
        problems.append(f"{words}: make room, or set a smaller config.checkpoint.keep")


def _is_used(workdir: Path) -> bool:
    try:
        with (workdir / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _state(workdir: Path, lines: list[str], problems: list[str]) -> None:
    """What a workdir holds: how far the run is, and its checkpoints with their health."""
    checkpoints = Checkpoints(workdir / "checkpoints")
    steps, best = checkpoints.steps(), checkpoints.best()
    log = workdir / "metrics.jsonl"
    logged = loop.lines_until(log, 2**62) if log.exists() else []
    if logged:
        last = json.loads(logged[-1])
        epoch = f", epoch {last['epoch']:g}" if isinstance(last.get("epoch"), int | float) else ""
        lines.append(f"{workdir}: logged as far as step {last['step']}{epoch}")
    else:
        lines.append(f"{workdir}: nothing is logged yet")
    whole = 0
    for step in steps:
        damage = checkpoints.damage(step)
        if damage:
            lines.append(f"checkpoint {step}: damaged: {damage}")
            continue
        whole += 1
        progress = checkpoints.progress(step)
        error = progress["validation_top1_error"]
        words = "" if error is None else f", validation top-1 error {error:.2%}"
        note = " (the best)" if step == best else ""
        lines.append(f"checkpoint {step}: whole, epoch {progress['epoch']:g}{words}{note}")
    for name in checkpoints.interrupted():
        lines.append(f"checkpoint {name}: an interrupted save, which the next start removes")
    if steps and not whole:
        problems.append(f"no checkpoint in {checkpoints.folder} is whole: remove it to start anew")
    elif whole < len(steps):
        lines.append("the run goes on from the newest whole checkpoint")
    elif not steps:
        lines.append("no checkpoint yet: the run starts at step 0")


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
