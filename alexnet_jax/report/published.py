"""Published errors of the nets and data that this package knows, to be shown next to a run's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

FULL: dict[str, Any] = {"width": 1.0}
RELU: dict[str, Any] = FULL | {"activation": "relu"}
LRN: dict[str, Any] = {"lrn": True}
PAPER: dict[str, Any] = {
    "width": 1.0,
    "towers": 2,
    "communicate_at": ("conv3", "fc6", "fc7"),
    "without": (),
    "activation": "relu",
    "lrn": True,
    "lrn_constants": (2.0, 1e-4, 0.75),
    "features": (96, 256, 384, 384, 256),
    "pool_size": 3,
    "dropout": 0.5,
}


@dataclass(frozen=True)
class Published:
    """One published result.

    Attributes:
      architecture, dataset: `config.model.architecture` and `config.data.name`.
      views: of an image at test time, 1 or 10.
      top1_error, top5_error: fractions; None where only one was published.
      source: who published it, and where.
      model, data, optimizer: what these sections of a config must hold for the result to be comparable.
    """

    architecture: str
    dataset: str
    views: int
    top1_error: float
    top5_error: float | None
    source: str
    model: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)


_CUDA_CONVNET, _LOG = "cuda-convnet", "2012 source, its log"
_WHOLE_IMAGE = {"crop": 32}
_WEIGHT_DECAY = {"weight_decay": 0.004}  # without it the 19 % net is that of figure 1
TABLE = (
    Published("alexnet_2012", "imagenet2012", 10, 0.407, 0.182, "paper, table 2", PAPER),
    Published("alexnet_2012", "imagenet2010", 10, 0.375, 0.170, "paper, table 1", PAPER),
    Published("alexnet_2012", "imagenet2010", 1, 0.3902, 0.1830, _LOG, PAPER),
    Published("alexnet_2012_source", "imagenet2012", 10, 0.4066, 0.1821, _LOG, FULL),
    Published("alexnet_2012_source", "imagenet2010", 10, 0.3747, 0.1700, _LOG, FULL),
    Published("source_145_half", "imagenet2010", 10, 0.3917, 0.1823, _LOG, FULL),
    Published("source_147", "imagenet2012", 10, 0.4106, 0.1851, _LOG, FULL),
    Published("source_148", "imagenet2012", 10, 0.4203, 0.1936, _LOG, FULL),
    Published("source_150", "imagenet2012", 10, 0.4183, 0.1933, _LOG, FULL),
    Published("caffe", "imagenet2012", 1, 0.429, 0.198, "BVLC, its readme", FULL),
    Published("torchvision", "imagenet2012", 1, 0.43478, 0.20934, "torchvision, its documentation", FULL),
    Published("cifar10_26", "cifar10", 1, 0.26, None, _CUDA_CONVNET, RELU, _WHOLE_IMAGE, _WEIGHT_DECAY),
    Published("cifar10_19", "cifar10", 1, 0.19, None, _CUDA_CONVNET, RELU, _WHOLE_IMAGE, _WEIGHT_DECAY),
    Published("cifar10_19", "cifar10", 10, 0.142, None, _CUDA_CONVNET, RELU, {"crop": 24}),
    Published("cifar10_18", "cifar10", 1, 0.18, None, _CUDA_CONVNET, RELU, _WHOLE_IMAGE, _WEIGHT_DECAY),
    Published("cifar10_13", "cifar10", 10, 0.13, None, _CUDA_CONVNET, RELU, {"crop": 24}),
    Published("cifar10_11", "cifar10", 10, 0.11, None, _CUDA_CONVNET, RELU | LRN, {"crop": 24}),
)


def find(config: ConfigDict, views: int | None = None) -> tuple[Published, ...]:
    """Return what was published for the net and the data of a config.

    Args:
      config: of a run.
      views: of an image at test time, 1 or 10; None: any number of them.
    """

    def agrees(section: ConfigDict, wanted: Mapping[str, Any]) -> bool:
        return all(section.get(key) == value for key, value in wanted.items())

    return tuple(
        row
        for row in TABLE
        if row.architecture == config.model.architecture
        and row.dataset == config.data.name
        and (views is None or row.views == views)
        and agrees(config.model, row.model)
        and agrees(config.data, row.data)
        and agrees(config.optimizer, row.optimizer)
    )
