"""Fine-tuning: a run that starts from the layers of another (`config.train.init_from`)."""

from dataclasses import dataclass
from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax import config as configuration
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import UsageError
from alexnet_jax.model import sharding
from alexnet_jax.model.architectures import Architecture, shapes
from alexnet_jax.training.checkpoint import Checkpoints


@dataclass(frozen=True)
class Initial:
    """The net that a run starts from.

    Attributes:
      statistics: those that its pictures were normalised by, and so the run's.
      checkpoints: its checkpoints.
      step: of the one to read, the best.
      layers: those of the run that it has.
      new: those of the run that it does not have, and the last.
    """

    statistics: Statistics
    checkpoints: Checkpoints
    step: int
    layers: tuple[str, ...]
    new: tuple[str, ...]

    def params(self, drawn: sharding.Params, architecture: Architecture, mesh: Mesh) -> sharding.Params:
        """`drawn`, with the layers that the net has in the place of those that were drawn."""
        places = sharding.param_shardings(architecture, mesh)
        target = {
            name: jax.tree.map(
                lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
                drawn[name],
                places[name],
            )
            for name in self.layers
        }
        return {**drawn, **self.checkpoints.restore(self.step, {"params": target})["params"]}


def open_initial(config: ConfigDict, architecture: Architecture) -> Initial:
    """Looks at what `config.train.init_from` names: the workdir of a trained or converted net.

    All its layers that the run has too are taken, but the last, which belongs to other classes.

    Raises:
      UsageError: no such net, one that reads its pictures otherwise, or a layer of another shape.
    """
    workdir = Path(config.train.init_from)
    if not (workdir / "config.json").is_file():
        raise UsageError(
            f"config.train.init_from={config.train.init_from!r} is not the workdir of a trained net; weights "
            "become one by: python -m alexnet_jax.main convert FILE --output=DIR"
        )
    theirs, beside = configuration.load(workdir / "config.json")
    for key in ("channels", "mean", "input_std"):
        if theirs.data[key] != config.data[key]:
            raise UsageError(
                f"config.data.{key}={config.data[key]!r}, but the net in {workdir} was trained with "
                f"{theirs.data[key]!r}: use that"
            )
    statistics = Statistics.load(workdir / str(beside["statistics"]))
    size = config.data.size
    if config.data.mean in ("centre", "crop") and statistics.mean.shape[:2] != (size, size):
        raise UsageError(
            f"config.data.size={size}, but the net in {workdir} has a mean picture of "
            f"{statistics.mean.shape[0]} x {statistics.mean.shape[1]}: use that size"
        )
    checkpoints = Checkpoints(workdir / "checkpoints")
    step = checkpoints.choose("best")
    damage = checkpoints.damage(step)
    if damage:
        raise UsageError(f"checkpoint {step} of config.train.init_from is damaged: {damage}")
    there = checkpoints.shapes(step)
    layers, new = [], []
    for name, shape in shapes(architecture).items():
        if not shape.kernel:
            continue
        found = there.get(f"params/{name}/kernel")
        if found is None or name == architecture.logits:
            new.append(name)
        elif found != shape.kernel:
            raise UsageError(
                f"{name} of the net in {workdir} is {found}, here {shape.kernel}: use its config.model and "
                f"its config.data.crop={theirs.data.crop}"
            )
        else:
            layers.append(name)
    if not layers:
        raise UsageError(f"the net in {workdir} has no layer that {architecture.name} has")
    return Initial(statistics, checkpoints, step, tuple(layers), tuple(new))
