"""What a run prints before its first step."""

import jax
import numpy as np
from jax.sharding import Mesh

from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.training import optimizer, small_data
from alexnet_jax.training.feed import Plans
from alexnet_jax.training.setup import RunSetup
from alexnet_jax.training.warm_start import Initial

MAX_PROCESSES_SHOWN = 64


def banner(setup: RunSetup, workdir: object, processes: int, initial: Initial | None, plans: Plans) -> str:
    """Return lines that say what is trained, on what, and what may surprise the user.

    Args:
      setup: the run.
      workdir: its folder.
      processes: how many processes it has.
      initial: the net that it starts from; None where all parameters are initialised at random.
      plans: what is to lie on the devices.
    """
    config, mesh = setup.config, setup.mesh
    data, model = mesh.shape["data"], mesh.shape["model"]
    towers = "a tower a device" if model == 2 else "all towers on one device"
    rest = len(jax.devices()) - mesh.size
    unused = f"; {rest} devices stay unused" if rest else ""
    parameters = sum(shape.parameters for shape in layer_shapes(setup.architecture).values())
    lines = [
        f"{setup.architecture.name}: {parameters:,} parameters",
        f"mesh: {data} x {model} of {mesh.devices.flat[0].device_kind} ({towers}){unused}",
        f"data: {setup.dataset.folder}, {setup.train_images:,} images in {config.data.train_split!r}",
        _length(setup),
        f"workdir: {workdir}",
    ]
    lines += plans.lines()
    if processes > 1:
        lines += process_lines(mesh, setup.architecture.towers, config.data.batch_size)
    if initial is not None:
        new = ", ".join(initial.new)
        lines.append(
            f"from {config.train.init_from}: {', '.join(initial.layers)}; initialised at random: {new}"
        )
        lines += initial.notices
    if initial is not None or not config.train.init_from:
        lines += _never_learnt(setup, initial.layers if initial is not None else ())
    if not config.data.validation_split:
        lines.append("no validation split: nothing is selected, the last checkpoint is the result")
    if config.schedule.steps and config.schedule.steps[-1][0] >= config.train.epochs:
        epoch, rate = config.schedule.steps[-1]
        lines.append(f"the run ends before the learning rate becomes {rate:g} at epoch {epoch:g}")
    if config.schedule.kind == "plateau" and config.schedule.patience_steps >= setup.total_steps:
        lines.append(
            "the run ends before the plateau rule can divide the learning rate: it waits for "
            f"config.schedule.patience_steps={config.schedule.patience_steps}"
        )
    lines += small_data.notices(setup, plans.values)
    fewer = len(setup.dataset.class_names)
    if fewer < config.model.classes:
        lines.append(f"the data has {fewer} classes, the net {config.model.classes}")
    return "\n".join(lines)


def _never_learnt(setup: RunSetup, taken: tuple[str, ...]) -> list[str]:
    """Return a line where layers that are never trained are not `taken` from another net either."""
    rules = optimizer.layer_rules(setup.architecture, setup.config.optimizer, setup.config.schedule)
    random = [name for name in rules if rules[name].frozen_from <= 0 and name not in taken]
    if not random:
        return []
    names = ", ".join(random)
    return [f"drawn at random and never trained: {names}; config.train.init_from gives no weights for them"]


def _length(setup: RunSetup) -> str:
    """Return how long the run is, and what decided it."""
    config = setup.config
    if setup.fits_at_once:
        folds = min(config.optimizer.folds, setup.train_images)
        return (
            f"run: {setup.architecture.logits} is fitted to all {setup.train_images:,} images, with "
            f"{len(config.optimizer.weight_decays)} weight decays in {folds} parts"
        )
    steps = f"{setup.total_steps:,} steps of {config.data.batch_size}"
    return f"run: {config.train.epochs:g} epochs = {steps}, learning rate {config.schedule.learning_rate:g}"


def process_lines(mesh: Mesh, towers: int, batch_size: int) -> list[str]:
    """Return a line for each process of the mesh: its devices, their towers and images of each batch."""
    data, model = mesh.shape["data"], mesh.shape["model"]
    held: dict[int, list[tuple[int, int, int]]] = {}
    for (replica, column), device in np.ndenumerate(mesh.devices):
        held.setdefault(device.process_index, []).append((device.id, replica, column))
    lines = [f"processes: {len(held)}"]
    for process, devices in held.items():
        rows, columns = [d[1] for d in devices], sorted({d[2] for d in devices})
        share, each = batch_size // data, towers // model
        names = ", ".join(str(tower) for c in columns for tower in range(c * each, (c + 1) * each))
        lines.append(
            f"  process {process}: device {', '.join(str(d[0]) for d in devices)}; tower {names}; "
            f"images {min(rows) * share} to {(max(rows) + 1) * share - 1} of each batch"
        )
    if len(lines) > MAX_PROCESSES_SHOWN + 1:
        more = len(held) - MAX_PROCESSES_SHOWN
        lines[MAX_PROCESSES_SHOWN + 1 :] = [f"  and {more} more in the same way"]
    return lines
