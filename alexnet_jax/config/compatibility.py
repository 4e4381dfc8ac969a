"""What may differ between the config that a workdir holds and the one that is given now."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError

# What may change when a run is resumed: a workdir is one run.
MAY_CHANGE = (
    "data.dir",
    "data.max_rejected_share",
    "data.resident",
    "data.threads",
    "data.workers",
    "train.epochs",
    "train.min_steps",  # epochs hold what it made of them
    "train.accumulate_steps",
    "train.log_every_steps",
    "train.evaluate_every_epochs",
    "train.flat_loss_steps",
    "evaluate.batch_size",
    "evaluate.views",
    "mesh.data",
    "mesh.model",
    "checkpoint.every_epochs",
    "checkpoint.keep",
)


def flatten(config: Mapping[str, Any] | ConfigDict, path: str = "") -> dict[str, Any]:
    """Return a config as {'data.crop': 224, ...}, in order of names."""
    flat: dict[str, Any] = {}
    for key in sorted(config):
        value = config[key]
        if isinstance(value, Mapping | ConfigDict) and len(value):
            flat.update(flatten(value, f"{path}{key}."))
        else:
            flat[path + key] = {} if isinstance(value, Mapping | ConfigDict) else value
    return flat


def changed_keys(saved: ConfigDict, given: ConfigDict) -> dict[str, tuple[Any, Any]]:
    """Return {'section.key': (saved value, given value)} of the keys that differ, in order of names.

    A key that one of the two lacks has the value None there.
    """
    old, new = flatten(saved), flatten(given)
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    }


def without_effect(config: ConfigDict) -> set[str]:
    """Return the keys that do nothing in this config and are not the same in runs of before and now."""
    return set() if config.schedule.kind == "plateau" else {"schedule.patience_steps"}


def deciding_changes(saved: ConfigDict, given: ConfigDict) -> dict[str, tuple[Any, Any]]:
    """Return `changed_keys` without those that may differ when a run is resumed."""
    # The polynomial schedule falls with the share of the epochs that is behind a run.
    free = set(MAY_CHANGE) - ({"train.epochs"} if given.schedule.kind == "polynomial" else set())
    free |= without_effect(given)
    return {key: values for key, values in changed_keys(saved, given).items() if key not in free}


def check_same_run(saved: ConfigDict, given: ConfigDict, workdir: str) -> None:
    """Check that the run of the config `saved` may be resumed with the config `given`.

    Raises:
      UsageError: naming the first key that may not differ.
    """
    for key, (old, new) in deciding_changes(saved, given).items():
        raise UsageError(
            f"{workdir} holds a run with config.{key}={old!r}, not {new!r}: "
            "use the old value, or another --workdir"
        )
