"""The verb `doctor`: versions, devices, what would stop a run; with --architectures the nets there are."""

import importlib.metadata
import platform
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError
from alexnet_jax.model import architectures
from alexnet_jax.training import loop

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "grain", "ml-collections")
PAPER: dict[str, Any] = {
    "width": 1.0,
    "towers": 2,
    "communicate_at": ("conv3", "fc6", "fc7"),
    "without": (),
    "activation": "relu",
    "lrn": True,
    "pool_size": 3,
    "dropout": 0.5,
}
IMAGENET: dict[str, Any] = {"width": 1.0, "dropout": 0.5}
RELU: dict[str, Any] = {"activation": "relu"}


@dataclass(frozen=True)
class Net:
    """A net as it was published: its table with which arguments, for which pictures, and its own figures."""

    architecture: str
    crop: int
    channels: int
    classes: int
    arguments: dict[str, Any]
    published: str = ""

    def build(self) -> architectures.Architecture:
        """The architecture."""
        model = {"architecture": self.architecture, "classes": self.classes, "compute_dtype": "float32"}
        return architectures.build(ConfigDict(model | self.arguments), self.crop, self.channels)


NETS = (
    Net("alexnet_2012", 224, 3, 1000, PAPER, "60 million parameters, 650,000 neurons (paper)"),
    Net("alexnet_2012_source", 224, 3, 1000, IMAGENET),
    Net("source_132", 224, 3, 1000, IMAGENET),
    Net("source_145_half", 224, 3, 1000, IMAGENET),
    Net("source_146", 224, 3, 1000, IMAGENET),
    Net("source_147", 224, 3, 1000, IMAGENET),
    Net("source_148", 224, 3, 1000, IMAGENET),
    Net("source_150", 224, 3, 1000, IMAGENET),
    Net("caffe", 227, 3, 1000, IMAGENET),
    Net("caffenet", 227, 3, 1000, IMAGENET),
    Net("torchvision", 224, 3, 1000, IMAGENET, "61,100,840 parameters (its documentation)"),
    Net("torchvision", 224, 1, 10, IMAGENET),
    Net("cifar10_26", 32, 3, 10, RELU),
    Net("cifar10_19", 32, 3, 10, RELU),
    Net("cifar10_19", 24, 3, 10, RELU),
    Net("cifar10_18", 32, 3, 10, RELU),
    Net("cifar10_13", 24, 3, 10, RELU),
    Net("cifar10_11", 24, 3, 10, RELU),
    Net("fully_connected", 28, 1, 10, {"hidden": (15,), "activation": "sigmoid"}, "11,935 parameters"),
)


def architectures_table() -> str:
    """Every net: its pictures, parameters, multiply-accumulates, neurons and the outputs of its layers.

    Neurons are the outputs of the layers with weights; the multiply-accumulates are of one picture's
    forward pass, without biases, normalisation and pooling.
    """
    rows = [("net", "pictures", "parameters", "million multiply-accumulates", "neurons", "outputs")]
    notes = []
    for net in NETS:
        table = [s for s in architectures.shapes(net.build()).values() if s.kernel]
        rows.append(
            (
                net.architecture,
                f"{net.crop}x{net.crop}x{net.channels}",
                f"{sum(s.parameters for s in table):,}",
                f"{sum(s.multiply_accumulates for s in table) / 1e6:,.2f}",
                f"{sum(prod(s.output) for s in table):,}",
                " ".join("x".join(map(str, s.output)) for s in table),
            )
        )
        if net.published:
            notes.append(f"published for {net.architecture}: {net.published}")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for name, *figures, outputs in rows:
        cells = [cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=False)]
        lines.append("  ".join([name.ljust(widths[0]), *cells, outputs]))
    return "\n".join([*lines, *notes])


def report(config: ConfigDict | None) -> tuple[str, bool]:
    """Versions and devices; with a config whether a run of it could start. Returns the text and that."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    devices = jax.devices()
    lines = [
        f"Python {platform.python_version()}, {versions}",
        f"devices: {len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
    ]
    if config is None:
        return "\n".join(lines), True
    try:
        dataset, architecture, mesh = loop.prepare_run(config)
    except UsageError as error:
        return "\n".join([*lines, f"this run cannot start: {error}"]), False
    shape = " x ".join(str(mesh.shape[axis]) for axis in ("data", "model"))
    lines.append(f"this run can start: {architecture.name} on a mesh of {shape}, data in {dataset.folder}")
    return "\n".join(lines), True
