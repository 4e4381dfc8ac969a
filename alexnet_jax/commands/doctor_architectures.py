"""`doctor --architectures`: every net with its figures.

Images, parameters, multiply-accumulates and neurons, counted from the tables, and what was published.

Examples:
  doctor --architectures
  doctor --architectures --debug
"""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from alexnet_jax.commands.command import Command, Request
from alexnet_jax.commands.flags import Flag
from alexnet_jax.report.published import LRN, PAPER, RELU

if TYPE_CHECKING:
    from alexnet_jax.model.specs import Architecture

IMAGENET: dict[str, Any] = {"width": 1.0, "dropout": 0.5}


@dataclass(frozen=True)
class PublishedNet:
    """Describe a net as it was published.

    Attributes:
      architecture: its table.
      crop, channels: of its input, pixels a side and colour channels.
      classes: how many it knows.
      arguments: those of the table.
      published: figures of its authors, in words.
    """

    architecture: str
    crop: int
    channels: int
    classes: int
    arguments: dict[str, Any]
    published: str = ""

    def build(self) -> "Architecture":
        """Return the architecture."""
        from alexnet_jax.model import architectures

        model = {"architecture": self.architecture, "classes": self.classes, "compute_dtype": "float32"}
        return architectures.build(ConfigDict(model | self.arguments), self.crop, self.channels)


NETS = (
    PublishedNet("alexnet_2012", 224, 3, 1000, PAPER, "60 million parameters, 650,000 neurons (paper)"),
    PublishedNet("alexnet_2012_source", 224, 3, 1000, IMAGENET),
    PublishedNet("source_132", 224, 3, 1000, IMAGENET),
    PublishedNet("source_145_half", 224, 3, 1000, IMAGENET),
    PublishedNet("source_146", 224, 3, 1000, IMAGENET),
    PublishedNet("source_147", 224, 3, 1000, IMAGENET),
    PublishedNet("source_148", 224, 3, 1000, IMAGENET),
    PublishedNet("source_150", 224, 3, 1000, IMAGENET),
    PublishedNet("caffe", 227, 3, 1000, IMAGENET),
    PublishedNet("caffenet", 227, 3, 1000, IMAGENET),
    PublishedNet("torchvision", 224, 3, 1000, IMAGENET, "61,100,840 parameters (its documentation)"),
    PublishedNet("torchvision", 224, 1, 10, IMAGENET),
    PublishedNet("cifar10_26", 32, 3, 10, RELU),
    PublishedNet("cifar10_19", 32, 3, 10, RELU),
    PublishedNet("cifar10_19", 24, 3, 10, RELU),
    PublishedNet("cifar10_18", 32, 3, 10, RELU),
    PublishedNet("cifar10_13", 24, 3, 10, RELU),
    PublishedNet("cifar10_11", 24, 3, 10, RELU | LRN),
    PublishedNet(
        "fully_connected", 28, 1, 10, {"hidden": (15,), "activation": "sigmoid"}, "11,935 parameters"
    ),
)


def architectures_table() -> str:
    """Return every net in lines: its images, parameters, multiply-accumulates, neurons, layers' outputs.

    Neurons are the outputs of the layers with weights; the multiply-accumulates are of one image's forward
    pass, without biases, normalisation and pooling.
    """
    from alexnet_jax.model.shapes import layer_shapes

    rows = [("net", "images", "parameters", "million multiply-accumulates", "neurons", "outputs")]
    notes = []
    for net in NETS:
        table = [shape for shape in layer_shapes(net.build()).values() if shape.kernel]
        rows.append(
            (
                net.architecture,
                f"{net.crop}x{net.crop}x{net.channels}",
                f"{sum(shape.parameters for shape in table):,}",
                f"{sum(shape.multiply_accumulates for shape in table) / 1e6:,.2f}",
                f"{sum(prod(shape.output) for shape in table):,}",
                " ".join("x".join(map(str, shape.output)) for shape in table),
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


def run(request: Request) -> int:
    """Print the table."""
    print(architectures_table())
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(Flag("architectures", "Print this table.", "switch"),),
)
