"""Check and fix what a run needs before it starts: config, data, net, mesh, and that all processes agree."""

import sys
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict

from alexnet_jax.config import compatibility, resolve
from alexnet_jax.config import io as config_io
from alexnet_jax.data.records import Dataset, open_dataset
from alexnet_jax.data.splits import check_classes, choose_splits
from alexnet_jax.data.workers import worker_count
from alexnet_jax.distributed import Group
from alexnet_jax.errors import UsageError
from alexnet_jax.model import architectures, sharding
from alexnet_jax.model.specs import Architecture
from alexnet_jax.training import optimizer
from alexnet_jax.workdir.provenance import digest_of_statistics

# Keys that may differ between the processes of a run: a machine may have its own copy of the data.
LOCAL_KEYS = ("config.data.dir", "config.data.threads", "config.data.workers")


@dataclass(frozen=True)
class RunSetup:
    """Hold what is fixed for a run before its first step.

    Attributes:
      config: the resolved config: the dataset has its splits, and its classes are counted.
      dataset: the prepared data.
      architecture: the net.
      mesh: the devices.
      train_images: how many images an epoch has.
      total_steps: how many updates the whole run makes.
    """

    config: FrozenConfigDict
    dataset: Dataset
    architecture: Architecture
    mesh: Mesh
    train_images: int
    total_steps: int

    @property
    def fits_at_once(self) -> bool:
        """Whether the whole run is one fit of the last layer (`training.linear_probe`)."""
        return bool(self.config.optimizer.name == "lbfgs")

    @property
    def evaluation_rows(self) -> int:
        """How many rows a batch of an evaluation has."""
        return sharding.padded_batch_size(self.config.evaluate.batch_size, self.mesh)

    def epoch(self, step: int) -> float:
        """Return how many epochs `step` updates are."""
        images = self.train_images if self.fits_at_once else int(self.config.data.batch_size)
        return step * images / self.train_images


def check_run(config: ConfigDict) -> tuple[FrozenConfigDict, Architecture, Mesh]:
    """Check all that can be checked without the data.

    Raises:
      UsageError: config, model or devices do not fit together.
    """
    config = resolve.freeze(config)
    architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    part = config.data.batch_size // config.train.accumulate_steps
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model, architecture.towers, part)
    return config, architecture, mesh


def open_data(config: ConfigDict) -> tuple[FrozenConfigDict, Dataset, int]:
    """Open the dataset of a config, and resolve what depends on it.

    The resolved config names splits that the dataset has (`data.splits.choose_splits`), and in
    `model.classes`, where that is 0, how many classes it has; its batch and its epochs fit the number of
    training images (`resolve.sized`).

    Returns:
      The resolved config, the dataset, and how many images an epoch has.

    Raises:
      UsageError: the data is not prepared, or does not fit.
    """
    dataset = open_dataset(config.data)
    splits = choose_splits(config.data, dataset.splits)
    config = resolve.replace(
        config,
        {
            "data.train_split": splits.train,
            "data.validation_split": splits.validation,
            "data.test_split": splits.test,
            "model.classes": config.model.classes or len(dataset.class_names),
        },
    )
    check_classes(len(dataset.class_names), config.model.classes, str(dataset.folder))
    if splits.notice and not jax.process_index():
        print(
            f"{dataset.folder.parent.name} has {' and '.join(dataset.splits)}: {splits.notice}",
            file=sys.stderr,
        )
    for split in (splits.train, splits.validation, splits.test):
        if split:
            dataset.records(split)  # refuses one that is not there or is empty
    train_images = dataset.size(config.data.train_split)
    return resolve.sized(config, train_images), dataset, train_images


def prepare_run(config: ConfigDict) -> RunSetup:
    """Check all that can be checked before anything is compiled, and resolve the config (`open_data`).

    Raises:
      UsageError: as `check_run` and `open_data` do, or a batch does not fit.
    """
    config, _, _ = check_run(config)
    config, dataset, train_images = open_data(config)
    config, architecture, mesh = check_run(config)
    first, last = sharding.rows_here(mesh, config.data.batch_size)
    worker_count(config.data, last - first)  # refuses more than shared memory has room for
    total_steps = resolve.total_steps(config, train_images)
    return RunSetup(config, dataset, architecture, mesh, train_images, total_steps)


def check_same_everywhere(setup: RunSetup, group: Group) -> None:
    """Check that every process of the run was given the same config and data.

    Raises:
      UsageError: naming the key in which this process differs from the first.
    """
    dataset = setup.dataset
    sizes = {name: dataset.size(name) for name in dataset.splits}
    statistics = digest_of_statistics(dataset.statistics)
    flat = compatibility.flatten(config_io.to_json(setup.config))
    values: dict[str, Any] = {f"config.{key}": value for key, value in flat.items()}
    values[f"the data {setup.config.data.name}"] = [list(dataset.class_names), sizes, statistics]
    for key, value in group.broadcast_from_primary(lambda: values).items():
        if key not in LOCAL_KEYS and values.get(key) != value:
            short = "" if key.startswith("the") else f": {values.get(key)!r}, not {value!r}"
            raise UsageError(f"{key} is not the same here as in the first process{short}")
