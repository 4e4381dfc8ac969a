"""Checks a config once, and saves and reads it as config.json.

`configs/imagenet.py` holds every key with the paper's value; the schema below says what each may be.
The arguments in `config.model` belong to the architecture and are checked by `model.architectures`.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError
from alexnet_jax.files import write_text

FLAT = 0.02  # a training loss that is not this share below ln(classes) is no better than guessing


@dataclass(frozen=True)
class Key:
    """What one key of a config may hold: its type, the test its value passes, and that test in words."""

    type: type
    allowed: Callable[[Any], bool]
    words: str


def _choice(*values: str) -> Key:
    return Key(str, lambda v: v in values, "one of " + ", ".join(repr(v) for v in values))


def _pairs(value: Any) -> bool:
    return all(
        isinstance(pair, tuple)
        and len(pair) == 2
        and all(isinstance(x, (int, float)) and x >= 0 for x in pair)
        for pair in value
    ) and all(first[0] < second[0] for first, second in itertools.pairwise(value))


_TEXT = Key(str, lambda v: True, "a text")
_NAME = Key(str, lambda v: v.isidentifier() and v.islower(), "a name of small letters, digits and _")
_SPLIT = Key(str, lambda v: v != "", "a TFDS split such as 'train[:90%]'")
_FLAG = Key(bool, lambda v: True, "True or False")
_POSITIVE = Key(int, lambda v: v >= 1, "a whole number of at least 1")
_COUNT = Key(int, lambda v: v >= 0, "a whole number of at least 0")
_RATE = Key(float, lambda v: 0 <= v < float("inf"), "a number of at least 0")
_LENGTH = Key(float, lambda v: 0 < v < float("inf"), "a number above 0")

_PAIRS = Key(tuple, _pairs, "pairs ((epoch, learning rate), ...), ascending")

# A row of config.optimizer.per_layer: any of these.
_PER_LAYER = {
    "kernel_rate_factor": _RATE,
    "bias_rate_factor": _RATE,
    "kernel_weight_decay": _RATE,
    "bias_weight_decay": _RATE,
    "kernel_steps": _PAIRS,
    "frozen_from": _RATE,
    "trust_ratio": _FLAG,
}

SCHEMA: dict[str, Any] = {
    "seed": Key(int, lambda v: 0 <= v < 2**32, "a whole number from 0 to 2**32 - 1"),
    "data": {
        "name": _NAME,
        "dir": _TEXT,
        "size": _POSITIVE,
        "crop": _POSITIVE,
        "channels": Key(int, lambda v: v in (1, 3), "1 or 3"),
        "train_split": _SPLIT,
        "validation_split": Key(str, lambda v: True, "a TFDS split, or '' for none"),
        "test_split": _SPLIT,
        "batch_size": _POSITIVE,
        "random_crop": _FLAG,
        "flip": _FLAG,
        "lighting": _RATE,
        "lighting_form": _choice("standard_deviation", "eigenvalue"),
        "lighting_divisor": _LENGTH,
        "lighting_off": Key(tuple, _pairs, "pairs of epochs ((from, to), ...), ascending"),
        "crop_sharing": _POSITIVE,
        "mean": _choice("centre", "crop", "rgb", "none"),
        "input_std": Key(
            tuple, lambda v: len(v) in (1, 3) and all(x > 0 for x in v), "one or three numbers above 0"
        ),
        "exif_rotation": _FLAG,
        "format": _choice("jpeg", "raw"),
        "quality": Key(int, lambda v: 1 <= v <= 100, "a whole number from 1 to 100"),
        "threads": _COUNT,
        "workers": Key(int, lambda v: v >= -1, "a whole number of at least -1"),
    },
    "model": None,
    "optimizer": {
        "name": _choice("momentum", "lars"),
        "trust_coefficient": _LENGTH,
        "momentum": Key(float, lambda v: 0 <= v < 1, "a number from 0 to below 1"),
        "weight_decay": _RATE,
        "bias_weight_decay": _RATE,
        "bias_rate_factor": _RATE,
        "per_layer": Key(ConfigDict, lambda v: True, "{layer: {key: value}}"),
    },
    "schedule": {
        "kind": _choice("constant", "steps", "plateau", "polynomial"),
        "learning_rate": _LENGTH,
        "steps": _PAIRS,
        "bias_steps": _PAIRS,
        "factor": Key(float, lambda v: 0 < v < 1, "a number between 0 and 1"),
        "patience": _POSITIVE,
        "min_delta": _RATE,
        "divisions": _COUNT,
        "power": _LENGTH,
        "warmup_epochs": _RATE,
        "batch_scaling": _choice("none", "linear", "square_root"),
        "base_batch_size": _POSITIVE,
    },
    "train": {
        "init_from": _TEXT,
        "epochs": _LENGTH,
        "accumulate_steps": _POSITIVE,
        "log_every_steps": _POSITIVE,
        "evaluate_every_epochs": _LENGTH,
        "flat_loss_steps": _COUNT,
        "deterministic": _FLAG,
    },
    "evaluate": {
        "batch_size": _POSITIVE,
        "views": Key(int, lambda v: v in (1, 10), "1 or 10"),
    },
    "mesh": {"data": _COUNT, "model": Key(int, lambda v: v in (0, 1, 2), "0, 1 or 2")},
    "checkpoint": {"every_epochs": _LENGTH, "keep": _POSITIVE},
}

# What may change when a workdir is taken up again (DESIGN: a workdir is one run).
MAY_CHANGE = (
    "data.dir",
    "data.threads",
    "data.workers",
    "train.epochs",
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


def check(config: ConfigDict) -> None:
    """Raises UsageError, naming the key, when `config` does not fit the schema or contradicts itself."""
    _check_section(config, SCHEMA, "config")
    for layer, row in config.optimizer.per_layer.items():
        name = f"config.optimizer.per_layer.{layer}"
        if not isinstance(row, ConfigDict):
            raise UsageError(f"{name}={row!r}: it must be {{key: value}} of {', '.join(_PER_LAYER)}")
        _check_section(row, _PER_LAYER, name, partly=True)
    data = config.data
    if not isinstance(config.get_ref("model").get(), ConfigDict) or "architecture" not in config.model:
        raise UsageError("config.model.architecture is missing: name a network such as 'alexnet_2012'")
    if data.crop > data.size:
        raise UsageError(
            f"config.data.crop={data.crop} is larger than the prepared pictures, config.data.size={data.size}"
        )
    if data.lighting and data.channels != 3:
        raise UsageError("config.data.lighting needs three channels: set config.data.lighting=0.0")
    if data.lighting_divisor != 1 and not data.lighting:
        raise UsageError("config.data.lighting_divisor acts only with lighting: set it to 1.0")
    if len(data.input_std) not in (1, data.channels):
        raise UsageError(
            f"config.data.input_std={data.input_std} has {len(data.input_std)} numbers for "
            f"{data.channels} channel(s)"
        )
    if data.batch_size % config.train.accumulate_steps:
        raise UsageError(
            f"config.data.batch_size={data.batch_size} is not a multiple of "
            f"config.train.accumulate_steps={config.train.accumulate_steps}"
        )
    if data.batch_size % data.crop_sharing:
        raise UsageError(
            f"config.data.batch_size={data.batch_size} is not a multiple of "
            f"config.data.crop_sharing={data.crop_sharing}"
        )
    kind, steps = config.schedule.kind, config.schedule.steps
    if (kind == "steps") != bool(steps):
        raise UsageError(
            f"config.schedule.kind={kind!r} with config.schedule.steps={steps}: "
            "'steps' needs some, and no other kind has any"
        )
    if config.schedule.kind == "plateau" and not data.validation_split:
        raise UsageError(
            "config.schedule.kind='plateau' needs config.data.validation_split, such as 'train[90%:]'"
        )


def _check_section(section: ConfigDict, schema: Mapping[str, Any], path: str, partly: bool = False) -> None:
    """Holds a section against its schema; `partly`: keys may be missing."""
    for key in section:
        if key not in schema:
            raise UsageError(f"{path}.{key} is not a known key; there are: {', '.join(schema)}")
    for key, rule in schema.items():
        name = f"{path}.{key}"
        if key not in section:
            if partly:
                continue
            raise UsageError(f"{name} is missing; configs/imagenet.py shows it")
        value = section[key]
        if isinstance(rule, Mapping):
            if not isinstance(value, ConfigDict):
                raise UsageError(f"{name} is a section of keys, not {value!r}")
            _check_section(value, rule, name)
        elif rule is not None:
            fits = isinstance(value, rule.type) and (rule.type is bool or not isinstance(value, bool))
            if rule.type is float and isinstance(value, int) and not isinstance(value, bool):
                fits = True
            if not fits or not rule.allowed(value):
                shown = value.to_dict() if isinstance(value, ConfigDict) else value
                raise UsageError(f"{name}={shown!r}: it must be {rule.words}")


def flatten(config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """`config` as {'data.crop': 224, ...}, in order of names."""
    flat: dict[str, Any] = {}
    for key in sorted(config):
        value = config[key]
        if isinstance(value, Mapping | ConfigDict) and len(value):
            flat.update(flatten(value, f"{path}{key}."))
        else:
            flat[path + key] = {} if isinstance(value, Mapping | ConfigDict) else value
    return flat


def check_same_run(saved: ConfigDict, given: ConfigDict, workdir: str) -> None:
    """Raises UsageError, naming the key, when `given` may not go on with the run of `saved`."""
    old, new = flatten(saved), flatten(given)
    for key in sorted(old.keys() | new.keys()):
        fixed = key not in MAY_CHANGE or (key == "train.epochs" and given.schedule.kind == "polynomial")
        if fixed and old.get(key) != new.get(key):
            raise UsageError(
                f"{workdir} holds a run with config.{key}={old.get(key)!r}, not {new.get(key)!r}: "
                "use the old value, or another --workdir"
            )


def to_json(config: ConfigDict) -> dict[str, Any]:
    """`config` as what json writes (tuples become lists)."""
    return json.loads(json.dumps(config.to_dict()))


def from_json(tree: Mapping[str, Any]) -> ConfigDict:
    """The config that `to_json` wrote (lists become tuples)."""

    def restore(value: Any) -> Any:
        if isinstance(value, Mapping):
            return ConfigDict({key: restore(x) for key, x in value.items()})
        return tuple(restore(x) for x in value) if isinstance(value, list) else value

    return restore(tree)


def save(path: Path, config: ConfigDict, **beside: Any) -> None:
    """Writes `config.json`: the resolved config, and `beside` it class names and whatever else is given."""
    write_text(path, json.dumps({"config": to_json(config), **beside}, indent=1, ensure_ascii=False) + "\n")


# Keys that runs saved by the first versions do not have, with what those did.
_ADDED = {
    "optimizer": {"trust_coefficient": 0.001},
    "schedule": {"power": 2.0, "warmup_epochs": 0.0, "batch_scaling": "none", "base_batch_size": 128},
    "train": {"accumulate_steps": 1},
}


def load(path: Path) -> tuple[ConfigDict, dict[str, Any]]:
    """Reads what `save` wrote. Returns the config and what stood beside it.

    Raises:
      UsageError: the file is missing, is not JSON or holds no config.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(tree, dict) or not isinstance(tree.get("config"), dict):
            raise ValueError("it holds no table of keys")
        config = tree.pop("config")
        for section, added in _ADDED.items():
            if section in config:
                config[section] = added | config[section]
        return from_json(config), tree
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: {path.parent} is not the workdir of a run") from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as a run's config: {error}") from None
