"""A config that is checked, complete and frozen: what everything after the command line reads.

A config file and the flags give a `ConfigDict`. `freeze` checks it once; from there on nothing changes it.
What depends on the data is filled in when the dataset is known, by `resolve`.
"""

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from alexnet_jax import files
from alexnet_jax.config import compatibility, schema
from alexnet_jax.errors import UsageError


def freeze(config: ConfigDict) -> FrozenConfigDict:
    """Return a checked config that nothing can change, its paths absolute.

    Raises:
      UsageError: a key that is unknown, missing or of a value that it may not hold.
    """
    schema.check(config)
    return FrozenConfigDict(absolute_paths(config))


def absolute_paths(config: ConfigDict) -> ConfigDict:
    """Return a copy of a config with each path in it absolute, `~` expanded: it means the same everywhere.

    A net that comes along, `train.init_from` of pretrained:NAME, stays as it is.

    Raises:
      UsageError: one is an address such as gs://bucket, or begins with `~` where that is nowhere.
    """
    copy = ConfigDict(config.to_dict())
    paths = {key: value for key, value in compatibility.flatten(config).items() if key in schema.PATHS}
    if paths.get("train.init_from", "").startswith(schema.PRETRAINED):
        del paths["train.init_from"]
    for key, path in paths.items():
        files.check_local(path, f"config.{key}=")
        if os.path.expanduser(path).startswith("~/"):  # it would become a folder of this name, here
            raise UsageError(f"config.{key}={path} is nowhere, since this user has no home: set HOME")
    copy.update_from_flattened_dict(
        {key: os.path.abspath(os.path.expanduser(path)) for key, path in paths.items() if path}
    )
    return copy


def dataset_name(source: str) -> str:
    """Return the name of the dataset that is made from a source: that of its folder or archive.

    >>> dataset_name("~/My Photos/"), dataset_name("/data/2024.tar.gz")
    ('my_photos', 'data_2024')
    """
    last = os.path.basename(os.path.abspath(os.path.expanduser(source)))
    plain = re.sub(r"[^a-z0-9_]+", "_", last.partition(".")[0].lower()).strip("_")[:90]
    return plain if plain.isidentifier() and plain.islower() else f"data_{plain}"


def replace(config: ConfigDict, changes: Mapping[str, Any]) -> FrozenConfigDict:
    """Return a checked copy of a config with {'section.key': value} in the place of its own values.

    Raises:
      UsageError: as `freeze`.
    """
    copy = ConfigDict(config.to_dict())
    copy.update_from_flattened_dict(dict(changes))
    return freeze(copy)


def sized(config: ConfigDict, train_images: int) -> FrozenConfigDict:
    """Return a config whose batch and epochs fit the number of training images, by `train.min_steps`.

    Where that is above 0, the batch is halved until it is no more than the images, and the epochs are as many
    as that number of updates needs, if `train.epochs` are fewer.
    """
    least, batch_size = config.train.min_steps, config.data.batch_size
    if not least:
        return freeze(config)
    while batch_size > train_images:
        batch_size = -(-batch_size // 2)
    epochs = max(config.train.epochs, least * batch_size / train_images)
    return replace(config, {"data.batch_size": batch_size, "train.epochs": epochs})


def total_steps(config: ConfigDict, train_images: int) -> int:
    """Return how many updates a run of `train.epochs` makes on `train_images` images.

    Raises:
      UsageError: as `batches`.
    """
    updates = batches(config, train_images, config.train.epochs)
    return 1 if config.optimizer.name == "lbfgs" else updates  # the whole fit


def batches(config: ConfigDict, train_images: int, epochs: float) -> int:
    """Return how many batches hold each of `train_images` images `epochs` times.

    The last may reach into the epoch after.

    Raises:
      UsageError: the batch is larger than the training split.
    """
    batch_size: int = config.data.batch_size
    if train_images < batch_size:
        raise UsageError(
            f"config.data.batch_size={batch_size} is more than the {train_images} images of "
            f"{config.data.train_split!r}; make it smaller, and config.schedule.learning_rate with it"
        )
    return math.ceil(epochs * train_images / batch_size - 1e-9)
