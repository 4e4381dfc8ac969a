"""The networks by name: each a function of its arguments to a table of layers."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.config import schema
from alexnet_jax.errors import UsageError
from alexnet_jax.model.architectures import alexnet_2012, caffe, cifar10, mnist, source_2012, torchvision
from alexnet_jax.model.architectures.common import require
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture, Dense, Dropout, Layer, RMSNorm, Table
from alexnet_jax.progress import printable

TABLES: dict[str, Callable[..., Table]] = {
    table.__name__: table
    for table in (
        alexnet_2012.alexnet_2012,
        source_2012.alexnet_2012_source,
        source_2012.source_132,
        source_2012.source_145_half,
        source_2012.source_146,
        source_2012.source_147,
        source_2012.source_148,
        source_2012.source_150,
        caffe.caffe,
        caffe.caffenet,
        torchvision.torchvision,
        cifar10.cifar10_26,
        cifar10.cifar10_19,
        cifar10.cifar10_18,
        cifar10.cifar10_13,
        cifar10.cifar10_11,
        mnist.fully_connected,
    )
}

_DTYPES = ("float32", "bfloat16", "float64")
# Beyond what anybody has use for, so that a config of somebody else's cannot ask for all memory. ImageNet's
# largest set has 21,841 classes; eight times the paper's width are four billion parameters.
MAX_CLASSES, MAX_WIDTH, MAX_HIDDEN, MAX_LAYERS, MAX_POOL = 100_000, 8, 2**16, 32, 32
MAX_CHANNELS = 1024  # of images that a net of one's own reads
MAX_LRN = 10**6
# What the arguments must be: their type, what more they must fulfil, and both in words.
_ARGUMENTS: dict[str, tuple[Any, Callable[[Any], bool], str]] = {
    "crop": (int, lambda v: 0 < v <= schema.MAX_SIDE, f"a whole number from 1 to {schema.MAX_SIDE}"),
    "channels": (int, lambda v: 0 < v <= MAX_CHANNELS, f"a whole number from 1 to {MAX_CHANNELS}"),
    "classes": (
        int,
        lambda v: v == 0 or 2 <= v <= MAX_CLASSES,
        f"a whole number from 2 to {MAX_CLASSES}, or 0: the data's",
    ),
    "width": (int | float, lambda v: 0 < v <= MAX_WIDTH, f"a number above 0, at most {MAX_WIDTH}"),
    "towers": (int, lambda v: v in (1, 2), "1 or 2"),
    "features": (
        tuple,
        lambda v: len(v) <= MAX_LAYERS and all(type(x) is int and 0 < x <= MAX_HIDDEN for x in v),
        f"a tuple of whole numbers from 1 to {MAX_HIDDEN}",
    ),
    "communicate_at": (tuple, lambda v: _are_names(v), "a tuple of layer names"),
    "without": (tuple, lambda v: _are_names(v), "a tuple of layer names"),
    "hidden": (
        tuple,
        lambda v: len(v) <= MAX_LAYERS and all(type(x) is int and 0 < x <= MAX_HIDDEN for x in v),
        f"a tuple of at most {MAX_LAYERS} whole numbers from 1 to {MAX_HIDDEN}",
    ),
    "activation": (str, lambda v: v in ("relu", "tanh", "sigmoid"), "'relu', 'tanh' or 'sigmoid'"),
    "lrn": (bool, lambda v: True, "True or False"),
    "lrn_constants": (
        tuple,
        lambda v: len(v) == 3 and all(type(x) in (int, float) and 0 <= x <= MAX_LRN for x in v) and v[0] > 0,
        f"k above 0, alpha and beta, numbers from 0 to {MAX_LRN:,}",
    ),
    "pool_size": (int, lambda v: 0 < v <= MAX_POOL, f"a whole number from 1 to {MAX_POOL}"),
    "dropout": (int | float, lambda v: 0 <= v < 1, "a number from 0 to below 1"),
    "probe": (
        str,
        lambda v: len(v) <= schema.MAX_TEXT,
        "a layer's name, 'deepest', or '' for the net itself",
    ),
    "compute_dtype": (str, lambda v: v in _DTYPES, "'float32', 'bfloat16' or 'float64'"),
}


def _are_names(value: tuple[object, ...]) -> bool:
    return len(value) <= MAX_LAYERS and all(isinstance(name, str) for name in value)


def build(model: ConfigDict, crop: int, channels: int) -> Architecture:
    """Return the architecture that `config.model` names, for images of `crop` x `crop` x `channels`.

    Where `classes` is 0, which is to become what the data has, it is built for 2.

    Raises:
      UsageError: an unknown name, a missing, unknown or wrong argument, an image too small.
    """
    arguments = dict(model)
    name = arguments.pop("architecture")
    known = isinstance(name, str) and name in TABLES
    require(known, f"config.model.architecture={schema.shown(name)}: there are {', '.join(TABLES)}")
    for key in sorted(arguments_of(name) - {"crop", "channels", "probe"} - arguments.keys()):
        raise UsageError(f"config.model.{key} is missing: {name} takes {_listed(name)}")
    return create(name, {"crop": crop, "channels": channels} | arguments, "config.model.")


def create(name: str, arguments: Mapping[str, Any], prefix: str = "") -> Architecture:
    """Return an architecture by name; arguments that are left away are the published net's.

    Args:
      name: one of `TABLES`.
      arguments: of its function, `compute_dtype`, and `probe`: the layer after which `RMSNorm` and a linear
        layer give the classes, in the place of all that follows it ('deepest': the last before the classes).
      prefix: what stands before an argument's name in a message.

    Raises:
      UsageError: an unknown name, an unknown or wrong argument, an image too small.
    """
    known = isinstance(name, str) and name in TABLES
    require(known, f"{prefix}architecture={schema.shown(name)}: there are {', '.join(TABLES)}")
    for key in sorted(arguments.keys() - arguments_of(name)):
        raise UsageError(f"{prefix}{printable(key)} is not an argument of {name}: {_listed(name)}")
    _check_values(arguments, prefix)
    defaults = {key: each.default for key, each in inspect.signature(TABLES[name]).parameters.items()}
    used = defaults | {"compute_dtype": "float32"} | dict(arguments)
    used["classes"] = used["classes"] or 2
    dtype, probe = used.pop("compute_dtype"), used.pop("probe", "")
    table = TABLES[name](**used)
    if probe:
        table = Table(_probed(table.layers, probe, used["classes"], f"{prefix}probe={probe!r}"), table.towers)
    shape = (used["crop"], used["channels"], used["classes"])
    architecture = Architecture(name, *shape, table.towers, table.layers, dtype)
    layer_shapes(architecture)  # raises where the image is too small
    return architecture


def of_table(table: Table, arguments: Mapping[str, Any]) -> Architecture:
    """Return the architecture of a table of one's own; its classes are the outputs of its last layer.

    Args:
      table: which ends in a `Dense` that `reads` 'sum'.
      arguments: crop (224), channels (3) and compute_dtype ('float32').

    Raises:
      UsageError: a table without such an end, an unknown or wrong argument, an image too small.
    """
    used: dict[str, Any] = {"crop": 224, "channels": 3, "compute_dtype": "float32"}
    for key in sorted(arguments.keys() - used.keys()):
        raise UsageError(f"{printable(key)} is not an argument for a table: {', '.join(used)}")
    _check_values(arguments)
    used |= arguments
    require(bool(table.layers), "the table has no layers")
    shape = (used["crop"], used["channels"], 0)
    net = Architecture("own", *shape, table.towers, table.layers, used["compute_dtype"])
    ends = f"the last layer, {net.logits}, is not Dense(..., reads='sum'), which gives logits"
    require(net.has_classes, ends)
    return replace(net, classes=layer_shapes(net)[net.logits].output[0])


def _check_values(arguments: Mapping[str, Any], prefix: str = "") -> None:
    """Raise UsageError where an argument has a value that it cannot have."""
    for key, value in arguments.items():
        kind, allowed, words = _ARGUMENTS[key]
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) and allowed(value)
        require(fits, f"{prefix}{key}={schema.shown(value)}: it must be {words}")


def _probed(rows: tuple[Layer, ...], probe: str, classes: int, given: str) -> tuple[Layer, ...]:
    """Return the rows up to the layer `probe`, and after it a linear layer on its values, normalised."""
    before = [row.name for row in rows[:-1]]
    if probe == "deepest":
        probe = next((row.name for row in reversed(rows[:-1]) if not isinstance(row, Dropout)), probe)
    listed = ", ".join(before) or "there is none"
    require(probe in before, f"{printable(given)} is not a layer before the classes: {listed}")
    kept = rows[: before.index(probe) + 1]
    return (*kept, RMSNorm("rmsnorm"), Dense("linear", classes, 0.0, 0.0, "sum"))


def arguments_of(name: str) -> set[str]:
    """Return the names of the arguments that the architecture `name` takes."""
    return {*inspect.signature(TABLES[name]).parameters, "compute_dtype", "probe"}


def _listed(name: str) -> str:
    return ", ".join(sorted(arguments_of(name) - {"crop", "channels"}))
