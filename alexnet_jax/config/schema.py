"""The keys of a config, what each may hold, and the check that a config fits.

`configs/imagenet.py` holds every key with the paper's value. The arguments in `config.model` belong to the
architecture and are checked by `model.architectures`.

Every number has an upper bound, beyond what anybody has use for: a workdir's config may be somebody else's,
and nothing that is asked of it should take all memory or never end.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError
from alexnet_jax.progress import printable

MOST = 10**9  # of any number that no smaller bound holds
MAX_SIDE = 4096  # of an image in pixels: its float32 values take 200 MB
MAX_BATCH = 2**17  # ImageNet has been trained with up to 2**16
MAX_THREADS = 1024  # a machine has fewer cores
MAX_PAIRS = 1000  # of a schedule
MAX_TEXT = 4096  # of a path: Linux allows no longer ones
# A training loss that is not this share below ln(classes) is no better than guessing.
FLAT_LOSS_TOLERANCE = 0.02


@dataclass(frozen=True)
class Key:
    """Describe what one key of a config may hold: its type, a test of its value, and that test in words."""

    type: type
    allowed: Callable[[Any], bool]
    words: str


def _choice(*values: str) -> Key:
    return Key(str, lambda v: v in values, "one of " + ", ".join(repr(v) for v in values))


def _pairs(value: Any) -> bool:
    return (
        all(
            isinstance(pair, tuple)
            and len(pair) == 2
            and all(isinstance(x, (int, float)) and 0 <= x <= MOST for x in pair)
            for pair in value[: MAX_PAIRS + 1]
        )
        and len(value) <= MAX_PAIRS
        and all(first[0] < second[0] for first, second in itertools.pairwise(value))
    )


def _whole(least: int, most: int) -> Key:
    return Key(int, lambda v: least <= v <= most, f"a whole number from {least} to {most}")


_PATH = Key(str, lambda v: len(v) <= MAX_TEXT, f"a path of at most {MAX_TEXT} letters")
_NAME = Key(
    str,
    lambda v: not v or (v.isidentifier() and v.islower() and len(v) <= 100),
    "a name of lower-case letters, digits and _, of at most 100, or '' for the source's",
)
_SPLIT = Key(str, lambda v: 0 < len(v) <= MAX_TEXT, "a TFDS split such as 'train[:90%]'")
_FLAG = Key(bool, lambda v: True, "True or False")
_POSITIVE = _whole(1, MOST)
_COUNT = _whole(0, MOST)
_BATCH = _whole(1, MAX_BATCH)
_SIDE = _whole(1, MAX_SIDE)
_RATE = Key(float, lambda v: 0 <= v <= MOST, f"a number from 0 to {MOST}")
_LENGTH = Key(float, lambda v: 0 < v <= MOST, f"a number above 0, at most {MOST}")

_PAIRS = Key(tuple, _pairs, f"pairs ((epoch, learning rate), ...), ascending, at most {MAX_PAIRS}")

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
    "seed": _whole(0, 2**32 - 1),
    "data": {
        "name": _NAME,
        "dir": _PATH,
        "size": _SIDE,
        "crop": _SIDE,
        "channels": Key(int, lambda v: v in (1, 3), "1 or 3"),
        "train_split": _SPLIT,
        "validation_split": Key(str, lambda v: len(v) <= MAX_TEXT, "a TFDS split, or '' for none"),
        "test_split": _SPLIT,
        "batch_size": _BATCH,
        "random_crop": _FLAG,
        "flip": _FLAG,
        "lighting": _RATE,
        "lighting_form": _choice("standard_deviation", "eigenvalue"),
        "lighting_divisor": _LENGTH,
        "lighting_off": Key(
            tuple, _pairs, f"pairs of epochs ((from, to), ...), ascending, at most {MAX_PAIRS}"
        ),
        "crop_sharing": _BATCH,
        "mean": _choice("centre", "crop", "rgb", "none"),
        "input_std": Key(
            tuple,
            lambda v: len(v) in (1, 3) and all(_fits(x, _LENGTH) for x in v),
            f"one or three numbers above 0, at most {MOST}",
        ),
        "exif_rotation": _FLAG,
        "white_level": _RATE,
        "resize": _choice("cut", "squash"),
        "resize_filter": _choice("bicubic", "bilinear", "opencv_bilinear"),
        "resize_rounding": _choice("nearest", "torchvision"),
        "format": _choice("jpeg", "raw"),
        "quality": _whole(1, 100),
        "max_rejected_share": Key(float, lambda v: 0 <= v <= 1, "a number from 0 to 1"),
        "resident": _choice("auto", "always", "never"),
        "threads": _whole(0, MAX_THREADS),
        "workers": _whole(-1, MAX_THREADS),
    },
    "model": None,
    "optimizer": {
        "name": _choice("momentum", "lars", "lbfgs"),
        "folds": _whole(2, 100),
        "weight_decays": Key(
            tuple,
            lambda v: len(v) <= MAX_PAIRS and all(_fits(x, _LENGTH) for x in v),
            f"at most {MAX_PAIRS} numbers above 0, at most {MOST}",
        ),
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
        "patience_steps": _COUNT,
        "min_delta": _RATE,
        "divisions": _COUNT,
        "power": _LENGTH,
        "warmup_epochs": _RATE,
        "batch_scaling": _choice("none", "linear", "square_root"),
        "base_batch_size": _BATCH,
    },
    "train": {
        "init_from": _PATH,
        "epochs": _LENGTH,
        "accumulate_steps": _BATCH,
        "log_every_steps": _POSITIVE,
        "evaluate_every_epochs": _LENGTH,
        "flat_loss_steps": _COUNT,
        "stored_views": _COUNT,
        "min_steps": _COUNT,
        "deterministic": _FLAG,
    },
    "evaluate": {
        "batch_size": _BATCH,
        "views": Key(int, lambda v: v in (1, 10), "1 or 10"),
    },
    "mesh": {"data": _COUNT, "model": Key(int, lambda v: v in (0, 1, 2), "0, 1 or 2")},
    "checkpoint": {"every_epochs": _LENGTH, "keep": _POSITIVE},
}

PRETRAINED = "pretrained:"  # before the name of a net that comes along, in `train.init_from` and --workdir
# The keys that name a file or a folder, 'section.key'; empty: none.
PATHS = tuple(
    f"{section}.{key}"
    for section, keys in SCHEMA.items()
    if isinstance(keys, dict)
    for key in keys
    if keys[key] is _PATH
)


def check(config: ConfigDict) -> None:
    """Check that a config fits the schema and does not contradict itself.

    Raises:
      UsageError: naming the key, its value and what it may be.
    """
    _check_section(config, SCHEMA, "config")
    for layer, row in config.optimizer.per_layer.items():
        name = f"config.optimizer.per_layer.{printable(str(layer))[:100]}"
        if not isinstance(row, ConfigDict):
            raise UsageError(f"{name}={shown(row)}: it must be {{key: value}} of {', '.join(_PER_LAYER)}")
        _check_section(row, _PER_LAYER, name, partly=True)
    if not isinstance(config.model, ConfigDict) or "architecture" not in config.model:
        raise UsageError("config.model.architecture is missing: name a network such as 'alexnet_2012'")
    if "classes" in config.model and not _fits(config.model.classes, _COUNT):  # read before the net is built
        raise UsageError(f"config.model.classes={shown(config.model.classes)}: it must be {_COUNT.words}")
    _check_images(config.data)
    _check_batch(config.data.batch_size, config)
    _check_optimizer(config)
    _check_schedule(config)


def _check_images(data: ConfigDict) -> None:
    if data.crop > data.size:
        raise UsageError(
            f"config.data.crop={data.crop} is larger than the prepared images, config.data.size={data.size}"
        )
    if data.resize_rounding == "torchvision":
        _check_torchvision_rounding(data)
    if data.lighting and data.channels != 3:
        raise UsageError("config.data.lighting needs three channels: set config.data.lighting=0.0")
    if data.lighting_divisor != 1 and not data.lighting:
        raise UsageError("config.data.lighting_divisor acts only with lighting: set it to 1.0")
    if len(data.input_std) not in (1, data.channels):
        raise UsageError(
            f"config.data.input_std={data.input_std} has {len(data.input_std)} numbers for "
            f"{data.channels} channel(s)"
        )


def _check_torchvision_rounding(data: ConfigDict) -> None:
    rounding = "config.data.resize_rounding='torchvision'"
    if data.resize != "cut":
        raise UsageError(f"{rounding} is of config.data.resize='cut': nothing else is rounded")
    # Else the centre of the prepared square, the same for every image, is not where torchvision crops.
    if (data.size - data.crop) % 4:
        raise UsageError(
            f"{rounding} needs config.data.size={data.size} minus config.data.crop={data.crop} to be a "
            "multiple of 4, as 256 and 224: change one of these, or set config.data.resize_rounding='nearest'"
        )


def _check_batch(batch_size: int, config: ConfigDict) -> None:
    for key, divisor in (
        ("train.accumulate_steps", config.train.accumulate_steps),
        ("data.crop_sharing", config.data.crop_sharing),
    ):
        if batch_size % divisor:
            raise UsageError(
                f"config.data.batch_size={batch_size} is not a multiple of config.{key}={divisor}"
            )


def _check_optimizer(config: ConfigDict) -> None:
    fits_at_once, decays = config.optimizer.name == "lbfgs", config.optimizer.weight_decays
    if fits_at_once != bool(decays):
        raise UsageError(
            f"config.optimizer.name={config.optimizer.name!r} with config.optimizer.weight_decays={decays}: "
            "'lbfgs' chooses from some, and no other optimizer has any"
        )
    if fits_at_once and not config.model.get("probe"):
        raise UsageError(
            "config.optimizer.name='lbfgs' fits the linear layer that config.model.probe puts after another: "
            "name that one, or 'deepest', as configs/linear_probe.py does"
        )
    if fits_at_once and (config.optimizer.per_layer or config.schedule.kind != "constant"):
        raise UsageError(
            "config.optimizer.name='lbfgs' fits the last layer alone, at once: it takes an empty "
            "config.optimizer.per_layer and config.schedule.kind='constant'"
        )
    if fits_at_once and (config.data.random_crop or config.data.flip or config.data.lighting):
        raise UsageError(
            "config.optimizer.name='lbfgs' reads the centre of each image once: set config.data.random_crop "
            "and config.data.flip to False and config.data.lighting to 0.0"
        )


def _check_schedule(config: ConfigDict) -> None:
    kind, steps = config.schedule.kind, config.schedule.steps
    if (kind == "steps") != bool(steps):
        raise UsageError(
            f"config.schedule.kind={kind!r} with config.schedule.steps={steps}: "
            "'steps' needs some, and no other kind has any"
        )
    if kind == "plateau" and not config.data.validation_split:
        raise UsageError(
            "config.schedule.kind='plateau' needs config.data.validation_split, such as 'train[90%:]'"
        )
    _check_own_steps(config)


def _check_own_steps(config: ConfigDict) -> None:
    """Refuse learning rates of kernels or biases by epochs beside what they would override in silence."""
    bias_steps, factor = config.schedule.bias_steps, config.optimizer.bias_rate_factor
    own = {"config.schedule.bias_steps": bias_steps}
    for layer, row in config.optimizer.per_layer.items():
        name = f"config.optimizer.per_layer.{printable(str(layer))[:100]}.kernel_steps"
        own[name] = row.get("kernel_steps", ())
    named = [name for name, steps in own.items() if steps]
    if config.schedule.kind == "plateau" and named:
        raise UsageError(
            f"config.schedule.kind='plateau' divides learning rates when the error stops improving, and "
            f"{named[0]} gives some by epochs: use kind 'steps', or a rate factor instead of {named[0]}"
        )
    if bias_steps and factor != 1:
        raise UsageError(
            f"config.optimizer.bias_rate_factor={factor} beside config.schedule.bias_steps="
            f"{shown(bias_steps)}, which are the biases' learning rates: set one to 1.0 or the other to ()"
        )


def _check_section(section: ConfigDict, schema: Mapping[str, Any], path: str, partly: bool = False) -> None:
    """Check a section against its schema; `partly`: keys may be missing."""
    for key in section:
        if key not in schema:
            raise UsageError(
                f"{path}.{printable(str(key))[:100]} is not a known key; there are: {', '.join(schema)}"
            )
    for key, rule in schema.items():
        name = f"{path}.{key}"
        if key not in section:
            if partly:
                continue
            raise UsageError(f"{name} is missing; configs/imagenet.py shows it")
        value = section[key]
        if isinstance(rule, Mapping):
            if not isinstance(value, ConfigDict):
                raise UsageError(f"{name} is a section of keys, not {shown(value)}")
            _check_section(value, rule, name)
        elif rule is not None and not _fits(value, rule):
            raise UsageError(f"{name}={shown(value)}: it must be {rule.words}")


def shown(value: Any) -> str:
    """Return a value for a message: in one line, and cut where it is long."""
    if isinstance(value, int) and abs(value) >= 10**100:
        return "a number of more than 100 digits"  # which Python may refuse to write
    plain = value.to_dict() if isinstance(value, ConfigDict) else value
    text = printable(repr(plain))
    return text if len(text) <= 200 else f"{text[:200]}..."


def _fits(value: Any, rule: Key) -> bool:
    """Return whether a value has the rule's type (a whole number will do for a float) and passes its test."""
    if isinstance(value, bool) and rule.type is not bool:
        return False
    types = (int, float) if rule.type is float else rule.type
    return isinstance(value, types) and rule.allowed(value)
