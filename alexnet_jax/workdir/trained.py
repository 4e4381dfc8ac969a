"""A trained net as a workdir holds it, on the devices at hand."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict

from alexnet_jax import files
from alexnet_jax.config import compatibility, resolve
from alexnet_jax.config import io as config_io
from alexnet_jax.data.images import PREPROCESSING_KEYS
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.evaluation import classes, imagenet_names, views
from alexnet_jax.model import architectures, inputs, network, sharding
from alexnet_jax.model.specs import Architecture
from alexnet_jax.workdir import layout, provenance
from alexnet_jax.workdir.checkpoints import Checkpoints


@dataclass(frozen=True, repr=False, eq=False)
class TrainedNet(views.PlacedNet):
    """Hold a net on the devices at hand, and what its answers mean.

    Of partial weights (`convert`) the architecture ends at the last layer that they reach.

    Attributes:
      workdir: where it was read.
      config: the run's, with what the command line changed.
      class_names: by label; of ImageNet's classes the synset ids, see `readable_names`.
      statistics: of the images that it was trained on.
      step: of the checkpoint.
      dataset_digest: `Dataset.digest` of the dataset that it was trained on; '' where that is not known.
      incomplete: the folders of checkpoints without a manifest: whether one of them was the last or the best
        is not known. Empty where the checkpoint was named by its step.
    """

    workdir: Path
    config: FrozenConfigDict
    class_names: tuple[str, ...]
    statistics: Statistics
    step: int
    dataset_digest: str = ""
    incomplete: tuple[str, ...] = ()

    def predictor(self, views_per_image: int) -> views.Predictor:
        """Return a function of whole images, uint8 (B, S, S, C), to probabilities (B, classes).

        Args:
          views_per_image: 1, the centre, or 10; the probabilities are averaged over them.

        Raises:
          UsageError: the weights are partial.
        """
        if not self.architecture.has_classes:
            raise UsageError(
                f"the weights in {self.workdir} reach {self.architecture.logits} only, and classes need the "
                "layers after it: features and fine-tuning can use these weights"
            )
        probabilities = views.predictor(
            self.architecture, self.mesh, self.normalization, self.mean, self.size, views_per_image
        )

        def predict(image: jax.Array) -> jax.Array:
            inputs.check_images(image, (self.size,), self.architecture.channels)
            return probabilities(self.params, image)

        return predict

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return a name for each output; 'class <label>' for one that no class has."""
        return classes.output_names(self.class_names, self.config.model.classes)

    @property
    def readable_names(self) -> tuple[str, ...]:
        """Return the class names, by label, as people read them: 'magpie' for 'n01582220'."""
        return tuple(map(imagenet_names.readable, self.class_names))

    def match_classes(self, names: Sequence[str], dataset: str, class_map: str = "") -> classes.ClassMatch:
        """Return which of this net's classes each class of a dataset is, by name.

        Args:
          names: of the dataset's classes, by its labels.
          dataset: what the messages call it.
          class_map: a file that says which class is which where the names differ; '': there is none.

        Raises:
          UsageError: as `evaluation.classes.match`.
        """
        net, outputs = f"the net in {self.workdir}", self.config.model.classes
        return classes.match(names, dataset, self.class_names, outputs, net, class_map)

    def changed(self) -> dict[str, Any]:
        """Return what makes an answer of this net another than the run's own, {} where nothing does.

        {'config.data.mean': 'none', ...}: the keys of the config whose change may change an answer, with
        the values that were used, and 'checkpoint' where another than the best was asked for, or where
        nobody knows which the best was.
        """
        differing = compatibility.changed_keys(read_config(self.workdir), self.config)
        found = {
            f"config.{key}": used
            for key, (_, used) in differing.items()
            if key not in compatibility.MAY_CHANGE
        }
        try:
            best = Checkpoints(self.workdir).resolve_step("best")
        except RunFailure:  # nobody knows the best: a manifest is corrupt
            best = None
        if self.step != best or self.incomplete:
            found["checkpoint"] = self.step
        return found


def read_config(workdir: Path) -> FrozenConfigDict:
    """Return the config of the run in `workdir`.

    Raises:
      UsageError: there is no run.
    """
    return resolve.freeze(config_io.load(workdir / layout.CONFIG)[0])


def load(workdir: Path, config: ConfigDict, which: str = "best") -> TrainedNet:
    """Read a net, whatever devices it was trained on: its parameters alone, verified.

    Args:
      workdir: of a run.
      config: what `read_config` gives, perhaps changed on the command line.
      which: the checkpoint, 'best', 'last' or a step. Those that are passed over are reported.

    Raises:
      UsageError: not a run, no such checkpoint, a config that does not fit it, or a checkpoint that was made
        with another config.json, class names or statistics than lie beside it.
      RunFailure: the checkpoint is corrupt.
    """
    files.check_files(workdir, written=False)
    config = resolve.freeze(config)
    run = provenance.read(workdir)
    checkpoints = Checkpoints(workdir)
    step = checkpoints.resolve_step(which)
    incomplete = () if which.isdecimal() else tuple(checkpoints.interrupted())
    for name in incomplete:
        print(
            f"{checkpoints.folder / name} has no {layout.MANIFEST}: not used; it is being saved, or damaged",
            file=sys.stderr,
        )
    provenance.check(run, workdir, step)
    if len(run.class_names) > config.model.classes:
        raise UsageError(
            f"{workdir} has {len(run.class_names)} class names, config.model.classes={config.model.classes}"
        )
    architecture = _reached(workdir, config, run.weights_reach)
    mesh = mesh_at_hand(config, architecture)
    normalization = inputs.Normalization(config.data.mean, config.data.input_std)
    mean = inputs.mean_array(normalization, run.statistics.mean, run.statistics.rgb_mean, architecture.crop)
    target = {"params": network.abstract_params(architecture, mesh)}
    return TrainedNet(
        architecture=architecture,
        mesh=mesh,
        normalization=normalization,
        size=config.data.size,
        mean=sharding.replicate(mean, mesh),
        params=checkpoints.verified_restore(step, target)["params"],
        workdir=workdir,
        config=config,
        class_names=run.class_names,
        statistics=run.statistics,
        step=step,
        dataset_digest=run.dataset_digest,
        incomplete=incomplete,
    )


def _reached(workdir: Path, config: ConfigDict, reach: Any) -> Architecture:
    """Return the config's architecture as far as the layer `reach`, whole where it is None."""
    architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    if reach is None:
        return architecture
    names = [layer.name for layer in architecture.layers]
    if reach not in names:
        raise UsageError(f"{workdir / layout.CONFIG}: weights_reach={reach!r} is not a layer of this net")
    return replace(architecture, layers=architecture.layers[: names.index(reach) + 1])


def mesh_at_hand(config: ConfigDict, architecture: Architecture) -> Mesh:
    """Return the config's mesh, or the largest that fits where the devices are fewer than it asks for."""
    devices = jax.device_count()
    model = config.mesh.model if config.mesh.model <= devices else 0
    data = config.mesh.data if config.mesh.data * (model or architecture.towers) <= devices else 0
    batch_size = -(-config.evaluate.batch_size // max(data, 1)) * max(data, 1)  # the last rows are padding
    return sharding.make_mesh(data, model, architecture.towers, batch_size)


def load_members(workdirs: Sequence[Path], config: ConfigDict, which: str) -> list[TrainedNet]:
    """Read the nets of an ensemble, all on one mesh.

    Args:
      workdirs: of their runs.
      config: of the first, perhaps changed on the command line; it says where the data lies and how
        the nets are evaluated, for all.
      which: the checkpoint of each: 'best', 'last' or a step.

    Raises:
      UsageError: as `load` does, or the nets do not read the same images or know the same classes, whose
        order may differ.
    """
    configs = [config]
    for workdir in workdirs[1:]:
        saved = read_config(workdir)
        for key in ("name", "format", "quality", *PREPROCESSING_KEYS):
            if saved.data[key] != config.data[key]:
                raise UsageError(
                    f"{workdir} has config.data.{key}={saved.data[key]!r}, {workdirs[0]} "
                    f"{config.data[key]!r}: the nets of an ensemble read the same images"
                )
        shared = {"data.dir": config.data.dir, "evaluate": config.evaluate, "mesh": config.mesh}
        configs.append(resolve.replace(saved, shared))
    towers = [architectures.build(each.model, each.data.crop, each.data.channels).towers for each in configs]
    if min(towers) < max(towers):  # a net of one tower cannot be spread over the model axis
        configs = [resolve.replace(each, {"mesh.model": 1}) for each in configs]
    nets = [load(workdir, each, which) for workdir, each in zip(workdirs, configs, strict=True)]
    for net in nets[1:]:
        if sorted(net.output_names) != sorted(nets[0].output_names):
            ours, first = set(net.output_names), set(nets[0].output_names)
            raise UsageError(
                f"{net.workdir} knows other classes than {nets[0].workdir}: only the former has "
                f"{classes.some(sorted(ours - first))}, only the latter {classes.some(sorted(first - ours))}"
            )
    return nets
