"""A config as JSON: what `config.json` of a workdir holds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.config import resolve
from alexnet_jax.errors import UsageError
from alexnet_jax.files import read_bounded, write_text

MAX_BYTES = 4 * 2**20  # of a config.json; one with 21,841 class names has a quarter
MAX_KEYS_BYTES = 2**18  # of the keys in it, as JSON; a config has 4,000, and ConfigDict takes 20 us for ten
MAX_DEPTH = 20  # of values in values; a config has five, and ConfigDict follows them by recursion
# Keys that runs and datasets made by earlier versions do not have, with what those did.
ADDED: dict[str, dict[str, Any]] = {
    "data": {
        "max_rejected_share": 0.01,
        "white_level": 0.0,
        "resize": "cut",
        "resize_filter": "bicubic",
        "resize_rounding": "nearest",
        "resident": "auto",
    },
    "optimizer": {"trust_coefficient": 0.001, "folds": 5, "weight_decays": ()},
    "schedule": {
        "power": 2.0,
        "warmup_epochs": 0.0,
        "batch_scaling": "none",
        "base_batch_size": 128,
        "patience_steps": 0,
    },
    "train": {"accumulate_steps": 1, "stored_views": 0, "min_steps": 0},
}
# The same of `config.model`, by architecture.
ADDED_ARGUMENTS = {"alexnet_2012": {"features": (96, 256, 384, 384, 256), "lrn_constants": (2.0, 1e-4, 0.75)}}


def to_json(config: ConfigDict) -> dict[str, Any]:
    """Return a config as JSON has it: tuples become lists."""
    tree: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    return tree


def from_json(tree: Mapping[str, Any]) -> ConfigDict:
    """Return the config that `to_json` gave: lists become tuples.

    Raises:
      ValueError: its values lie in each other more than `MAX_DEPTH` deep.
    """
    config: ConfigDict = _restored(tree, MAX_DEPTH)
    return config


def _restored(value: Any, depth: int) -> Any:
    if not depth:
        raise ValueError(f"its values lie in each other more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        return ConfigDict({key: _restored(inner, depth - 1) for key, inner in value.items()})
    return tuple(_restored(inner, depth - 1) for inner in value) if isinstance(value, list) else value


def from_saved(tree: Mapping[str, Any]) -> ConfigDict:
    """Return the config that `to_json` gave in this version or an earlier one.

    The first versions had fewer keys, and relative paths, taken from the current folder.

    Raises:
      ValueError: it is larger than any config.
      TypeError, AttributeError, RecursionError: it is none.
    """
    size = len(json.dumps(tree))
    if size > MAX_KEYS_BYTES:
        raise ValueError(f"its keys and values have {size:,} characters, more than a config needs")
    added = {section: keys | tree[section] for section, keys in ADDED.items() if section in tree}
    if "model" in tree:
        added["model"] = ADDED_ARGUMENTS.get(tree["model"].get("architecture"), {}) | tree["model"]
    return resolve.absolute_paths(from_json({**tree, **added}))


def save(path: Path, config: ConfigDict, **metadata: Any) -> None:
    """Write a resolved config and its metadata (class names and so on) as JSON, whole or not at all."""
    tree = {"config": to_json(config), **metadata}
    write_text(path, json.dumps(tree, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> tuple[ConfigDict, dict[str, Any]]:
    """Read what `save` wrote: the config, and its metadata.

    Raises:
      UsageError: the file is missing, is not JSON or holds no config.
    """
    try:
        tree = json.loads(read_bounded(path, MAX_BYTES).decode())
        if not isinstance(tree, dict) or not isinstance(tree.get("config"), dict):
            raise ValueError("it holds no table of keys")
        named = tree.get("statistics", "")
        if not isinstance(named, str) or "/" in named or named.startswith("."):
            raise ValueError("its statistics are no file in the same folder")
        return from_saved(tree.pop("config")), tree
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: {path.parent} is not the workdir of a run") from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as a run's config: {error}") from None
