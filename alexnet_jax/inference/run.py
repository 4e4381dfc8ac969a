"""A trained net as a workdir holds it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax import config as configuration
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.model import architectures, inputs, sharding
from alexnet_jax.model.architectures import Architecture
from alexnet_jax.training import evaluation
from alexnet_jax.training.checkpoint import Checkpoints


@dataclass(frozen=True)
class Run:
    """A net, its parameters on the devices at hand, and what its answers mean.

    Attributes:
      workdir: where it was read.
      config: the run's, with what the command line changed.
      architecture: the table; of partial weights (`convert`), up to the last layer that they reach.
      mesh: over the devices at hand.
      class_names: by label.
      form: how pictures are normalised.
      mean: what `inputs.mean_array` gave, on the mesh.
      params: placed on the mesh.
      step: of the checkpoint.
    """

    workdir: Path
    config: ConfigDict
    architecture: Architecture
    mesh: Mesh
    class_names: tuple[str, ...]
    form: inputs.InputForm
    mean: jax.Array
    params: Any
    step: int

    def predictor(self, views: int) -> Callable[[jax.Array], jax.Array]:
        """Probabilities of whole pictures (B, S, S, C), averaged over 1 or 10 views.

        Raises:
          UsageError: the weights are partial.
        """
        if not self.architecture.has_classes:
            raise UsageError(
                f"the weights in {self.workdir} reach {self.architecture.logits} only, and classes need the "
                "layers after it: features and fine-tuning can use these weights"
            )
        predict = evaluation.predictor(
            self.architecture, self.mesh, self.form, self.mean, self.config.data.size, views
        )
        return partial(predict, self.params)


def read_config(workdir: Path) -> ConfigDict:
    """The config of the run in `workdir`; UsageError when there is none."""
    return configuration.load(workdir / "config.json")[0]


def load(workdir: Path, config: ConfigDict, which: str) -> Run:
    """Reads a net, whatever devices it was trained on.

    Args:
      workdir: of a run.
      config: what `read_config` gave, perhaps changed on the command line.
      which: 'best', 'last' or a step.

    Raises:
      UsageError: not a run, no such checkpoint, or a config that does not fit it.
      RunFailure: the checkpoint is damaged.
    """
    configuration.check(config)
    beside = configuration.load(workdir / "config.json")[1]
    try:
        class_names = tuple(str(name) for name in beside["class_names"])
        statistics = Statistics.load(workdir / str(beside["statistics"]))
    except (KeyError, TypeError) as error:
        raise UsageError(f"{workdir / 'config.json'} lacks {error}: it is not of a whole run") from None
    architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    reach = beside.get("weights_reach")
    if reach is not None:
        names = [layer.name for layer in architecture.layers]
        if reach not in names:
            raise UsageError(f"{workdir / 'config.json'}: weights_reach={reach!r} is not a layer of this net")
        architecture = replace(architecture, layers=architecture.layers[: names.index(reach) + 1])
    if len(class_names) > config.model.classes:
        raise UsageError(
            f"{workdir} has {len(class_names)} class names, config.model.classes={config.model.classes}"
        )
    model = config.mesh.model if config.mesh.model <= jax.device_count() else 0
    data = config.mesh.data if config.mesh.data * (model or architecture.towers) <= jax.device_count() else 0
    batch_size = -(-config.evaluate.batch_size // max(data, 1)) * max(data, 1)  # the last rows are padding
    mesh = sharding.make_mesh(data, model, architecture.towers, batch_size)
    checkpoints = Checkpoints(workdir / "checkpoints")
    step = checkpoints.choose(which)
    damage = checkpoints.damage(step)
    if damage:
        raise RunFailure(f"checkpoint {step} is damaged: {damage}; choose another with --checkpoint")
    drawn = jax.eval_shape(lambda: sharding.init_params(architecture, 0, mesh))
    target = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        drawn,
        sharding.param_shardings(architecture, mesh),
    )
    params = checkpoints.restore(step, {"params": target})["params"]
    form = inputs.InputForm(config.data.mean, config.data.input_std)
    mean = inputs.mean_array(form, statistics.mean, statistics.rgb_mean, architecture.crop)
    return Run(
        workdir,
        config,
        architecture,
        mesh,
        class_names,
        form,
        jax.device_put(mean, sharding.replicated(mesh)),
        params,
        step,
    )


def load_members(workdirs: list[Path], config: ConfigDict, which: str) -> list[Run]:
    """The nets of an ensemble, all on one mesh.

    Args:
      workdirs: of their runs.
      config: of the first, perhaps changed on the command line; it says where the data lies and how
        the nets are evaluated, for all.
      which: the checkpoint of each: 'best', 'last' or a step.

    Raises:
      UsageError: as `load` does, or the nets do not read the same pictures or know the same classes.
    """
    configs = [config]
    for workdir in workdirs[1:]:
        own = read_config(workdir)
        for key in ("name", "size", "channels", "format", "quality", "exif_rotation"):
            if own.data[key] != config.data[key]:
                raise UsageError(
                    f"{workdir} has config.data.{key}={own.data[key]!r}, {workdirs[0]} {config.data[key]!r}: "
                    "the nets of an ensemble read the same pictures"
                )
        own.data.dir, own.evaluate, own.mesh = config.data.dir, config.evaluate, config.mesh
        configs.append(own)
    towers = [architectures.build(each.model, each.data.crop, each.data.channels).towers for each in configs]
    if min(towers) < max(towers):  # a net of one tower cannot be spread over the model axis
        config.mesh.model = 1
        for own in configs:
            own.mesh = config.mesh
    runs = [load(workdir, own, which) for workdir, own in zip(workdirs, configs, strict=True)]
    for run in runs[1:]:
        if run.class_names != runs[0].class_names:
            raise UsageError(f"{run.workdir} knows other classes than {runs[0].workdir}")
    return runs
