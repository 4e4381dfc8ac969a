"""Fine-tuning: a run that starts from the layers of another (`config.train.init_from`)."""

from dataclasses import dataclass
from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax import program
from alexnet_jax.config import io as config_io
from alexnet_jax.config import resolve
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import activations
from alexnet_jax.model import architectures, network, sharding
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture
from alexnet_jax.workdir import layout, pretrained, provenance
from alexnet_jax.workdir.checkpoints import Checkpoints


@dataclass(frozen=True)
class Initial:
    """Hold the net that a run starts from.

    Attributes:
      statistics: by which its images were normalised, and the run's will be.
      checkpoints: its checkpoints.
      step: the step of the checkpoint to read, the best.
      layers: the names of the run's layers that are restored from it.
      new: the names of the run's layers that are initialised at random: those it lacks, and the last.
      notices: what differs in how the two make the squares that they read, in lines.
    """

    statistics: Statistics
    checkpoints: Checkpoints
    step: int
    layers: tuple[str, ...]
    new: tuple[str, ...]
    notices: tuple[str, ...]

    def params(self, drawn: sharding.Params, architecture: Architecture, mesh: Mesh) -> sharding.Params:
        """Return the run's initial parameters `drawn`, with `layers` restored from the net."""
        target = network.abstract_params(architecture, mesh)
        taken = {"params": {name: target[name] for name in self.layers}}
        return {**drawn, **self.checkpoints.restore(self.step, taken)["params"]}


def open_initial(config: ConfigDict, architecture: Architecture) -> Initial:
    """Open the workdir of a trained or converted net that `config.train.init_from` names.

    All layers that both nets have are restored from it but the last, which belongs to other classes.

    Raises:
      UsageError: no such net, one that reads its images otherwise, a layer of another shape, or a checkpoint
        that is corrupt or was made with something else than lies beside it.
      RunFailure: which checkpoint is the best cannot be known.
    """
    workdir, given = _workdir(config), config.train.init_from
    run = provenance.read(workdir)
    saved, statistics = run.config, run.statistics
    for key in ("channels", "mean", "input_std"):
        if saved.data[key] != config.data[key]:
            raise UsageError(
                f"config.data.{key}={config.data[key]!r}, but the net in {given} was trained with "
                f"{saved.data[key]!r}: use that"
            )
    size = config.data.size
    if config.data.mean in ("centre", "crop") and statistics.mean.shape[:2] != (size, size):
        raise UsageError(
            f"config.data.size={size}, but the net in {given} has a mean image of "
            f"{statistics.mean.shape[0]} x {statistics.mean.shape[1]}: use that size"
        )
    checkpoints = Checkpoints(workdir)
    step = checkpoints.resolve_step("best")
    corruption = checkpoints.find_corruption(step)
    if corruption:
        raise UsageError(f"checkpoint {step} of config.train.init_from is damaged: {corruption}")
    provenance.check(run, workdir, step)
    layers, new = _shared_layers(checkpoints.shapes(step), architecture, given, saved.data.crop)
    notices = tuple(
        f"config.data.{key}={config.data[key]!r}; the net in {given} read images with {saved.data[key]!r}"
        for key in ("resize", "resize_filter", "resize_rounding")
        if saved.data[key] != config.data[key]
    )
    return Initial(statistics, checkpoints, step, layers, new, notices)


def resolve_probe(config: ConfigDict, run: Path | None) -> ConfigDict:
    """Return a config whose `model.probe` names a layer, where it is 'deepest' that of a run's weights.

    Args:
      config: the experiment, as it was given.
      run: its workdir; what is resumed keeps the layer that it has. None: there is none yet.

    Raises:
      UsageError: as `resolve.freeze`; `config.train.init_from` names no net.
    """
    config = resolve.freeze(config)  # with the paths that the run will have
    if config.model.get("probe") != "deepest" or not config.train.init_from:
        return config
    if run is not None and (run / layout.CONFIG).is_file():
        layer = config_io.load(run / layout.CONFIG)[0].model.get("probe", "")
    else:
        read = provenance.read(_workdir(config))
        saved = read.config
        whole = architectures.build(saved.model, saved.data.crop, saved.data.channels)
        layer = activations.embedding_layer(whole) if read.weights_reach is None else read.weights_reach
    return resolve.replace(config, {"model.probe": layer})


def _workdir(config: ConfigDict) -> Path:
    given = config.train.init_from
    workdir = pretrained.folder(given)
    if not (workdir / layout.CONFIG).is_file():
        raise UsageError(
            f"config.train.init_from={given!r} is not the workdir of a trained net; weights become one by: "
            f"{program.command()} convert torchvision --output=runs/torchvision, or convert FILE --output=DIR"
        )
    return workdir


def _shared_layers(
    saved: dict[str, tuple[int, ...]], architecture: Architecture, given: str, crop: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the layers with weights that are restored from saved ones, and those that are not."""
    layers, new = [], []
    for name, shape in layer_shapes(architecture).items():
        if not shape.kernel:
            continue
        saved_shape = saved.get(f"params/{name}/kernel")
        if saved_shape is None or name == architecture.logits:
            new.append(name)
        elif saved_shape != shape.kernel:
            raise UsageError(
                f"{name} of the net in {given} is {saved_shape}, here {shape.kernel}: use its config.model "
                f"and its config.data.crop={crop}"
            )
        else:
            layers.append(name)
    if not layers:
        raise UsageError(f"the net in {given} has no layer that {architecture.name} has")
    return tuple(layers), tuple(new)
