"""Fine-tuning: a run that starts from the layers of another (`config.train.init_from`)."""

from dataclasses import dataclass
from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.config import io as config_io
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import UsageError
from alexnet_jax.model import network, sharding
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture
from alexnet_jax.workdir import layout
from alexnet_jax.workdir.checkpoints import Checkpoints


@dataclass(frozen=True)
class Initial:
    """Hold the net that a run starts from.

    Attributes:
      statistics: those that its images were normalised by, and so the run's.
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
        """Return `drawn`, with the layers that the net has in the place of those that were drawn."""
        target = network.abstract_params(architecture, mesh)
        wanted = {"params": {name: target[name] for name in self.layers}}
        return {**drawn, **self.checkpoints.restore(self.step, wanted)["params"]}


def open_initial(config: ConfigDict, architecture: Architecture) -> Initial:
    """Look at what `config.train.init_from` names: the workdir of a trained or converted net.

    All its layers that the run has too are taken, but the last, which belongs to other classes.

    Raises:
      UsageError: no such net, one that reads its images otherwise, or a layer of another shape.
    """
    workdir = Path(config.train.init_from)
    if not (workdir / layout.CONFIG).is_file():
        raise UsageError(
            f"config.train.init_from={config.train.init_from!r} is not the workdir of a trained net; weights "
            "become one by: python -m alexnet_jax.main convert FILE --output=DIR"
        )
    saved, metadata = config_io.load(workdir / layout.CONFIG)
    for key in ("channels", "mean", "input_std"):
        if saved.data[key] != config.data[key]:
            raise UsageError(
                f"config.data.{key}={config.data[key]!r}, but the net in {workdir} was trained with "
                f"{saved.data[key]!r}: use that"
            )
    statistics = Statistics.load(workdir / str(metadata["statistics"]))
    size = config.data.size
    if config.data.mean in ("centre", "crop") and statistics.mean.shape[:2] != (size, size):
        raise UsageError(
            f"config.data.size={size}, but the net in {workdir} has a mean image of "
            f"{statistics.mean.shape[0]} x {statistics.mean.shape[1]}: use that size"
        )
    checkpoints = Checkpoints(workdir)
    step = checkpoints.resolve_step("best")
    corruption = checkpoints.find_corruption(step)
    if corruption:
        raise UsageError(f"checkpoint {step} of config.train.init_from is damaged: {corruption}")
    layers, new = _shared_layers(checkpoints.shapes(step), architecture, workdir, saved.data.crop)
    return Initial(statistics, checkpoints, step, layers, new)


def _shared_layers(
    saved: dict[str, tuple[int, ...]], architecture: Architecture, workdir: Path, crop: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the layers of a net that are taken from saved ones, and those that are not."""
    layers, new = [], []
    for name, shape in layer_shapes(architecture).items():
        if not shape.kernel:
            continue
        found = saved.get(f"params/{name}/kernel")
        if found is None or name == architecture.logits:
            new.append(name)
        elif found != shape.kernel:
            raise UsageError(
                f"{name} of the net in {workdir} is {found}, here {shape.kernel}: use its config.model and "
                f"its config.data.crop={crop}"
            )
        else:
            layers.append(name)
    if not layers:
        raise UsageError(f"the net in {workdir} has no layer that {architecture.name} has")
    return tuple(layers), tuple(new)
