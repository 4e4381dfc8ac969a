"""The same network in PyTorch, made from the same table, as the measurements' peer.

Stock modules: grouped convolutions for towers, `nn.LocalResponseNorm`, `nn.MaxPool2d`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_jax.errors import UsageError
from alexnet_jax.model import specs
from alexnet_jax.model.shapes import Shapes, layer_shapes
from alexnet_jax.model.specs import Architecture, Layer

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


@dataclasses.dataclass(frozen=True)
class TorchVariant:
    """Describe one way to run the net.

    Attributes:
      precision: 'float32', 'tf32' or 'bfloat16' (autocast; parameters are float32 in all).
      channels_last: the memory layout NHWC instead of NCHW.
      compiled: through `torch.compile`.
      band: normalisation as a product with a band matrix instead of `nn.LocalResponseNorm`.
    """

    precision: str = "float32"
    channels_last: bool = False
    compiled: bool = False
    band: bool = False

    @property
    def name(self) -> str:
        """Return what a table calls it."""
        parts = ["compiled" if self.compiled else "eager", self.precision]
        parts += ["channels-last"] if self.channels_last else []
        return " ".join(parts + (["band LRN"] if self.band else []))


def variants(device: str, architecture: Architecture) -> list[TorchVariant]:
    """Return those that are measured on 'cpu' or 'cuda' against a net, in its `compute_dtype`."""
    bands = (False, True) if any(isinstance(x, specs.LRN) for x in architecture.layers) else (False,)
    if device == "cpu":
        changes: tuple[dict[str, Any], ...] = (
            {},
            {"channels_last": True},
            {"compiled": True},
            {"band": True},
        )
        return [TorchVariant(**change) for change in changes if change.get("band", False) in bands]
    precision = "bfloat16" if architecture.compute_dtype == "bfloat16" else "tf32"
    return [
        TorchVariant(precision, True, True, bands[-1])
    ]  # compiling takes a minute each: the fastest alone


class Towers(nn.Module):
    """Apply a module of one tower to each tower's share of the channels."""

    def __init__(self, modules: list[nn.Module]):
        super().__init__()
        self.each = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values of all towers, (B, C, ...), in tower order."""
        parts = x.chunk(len(self.each), 1)
        return torch.cat([module(part) for module, part in zip(self.each, parts, strict=True)], 1)


class TowerNorm(nn.Module):
    """Apply `nn.LocalResponseNorm` with a window that ends at the edge of a tower."""

    def __init__(self, layer: specs.LRN, towers: int):
        super().__init__()
        self.towers = 1 if layer.across else towers
        # PyTorch divides alpha by the size of the window.
        self.norm = nn.LocalResponseNorm(layer.size, layer.alpha * layer.size, layer.beta, layer.k)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (B, C, H, W), normalised."""
        if self.towers == 1:
            return self.norm(x)
        if x.is_contiguous():  # the towers become images of their own, without a copy
            batch, channels, *side = x.shape
            return self.norm(x.view(batch * self.towers, channels // self.towers, *side)).view(x.shape)
        return torch.cat([self.norm(part) for part in x.chunk(self.towers, 1)], 1)


class BandNorm(nn.Module):
    """Normalise as `TowerNorm` does, by a 1 x 1 convolution of the squares with a band matrix."""

    def __init__(self, layer: specs.LRN, channels: int, towers: int):
        super().__init__()
        self.alpha, self.beta, self.k = layer.alpha, layer.beta, layer.k
        channel = torch.arange(channels)
        tower = channel // (channels if layer.across else channels // towers)
        near = (channel[:, None] - channel).abs() <= layer.size // 2
        self.register_buffer("band", (near & (tower[:, None] == tower)).float()[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (B, C, H, W), normalised."""
        band: Any = self.band
        base = self.k + self.alpha * functional.conv2d(x * x, band.to(x.dtype))
        return x * (torch.rsqrt(base) * base.rsqrt().sqrt() if self.beta == 0.75 else base**-self.beta)


class WithinChannelNorm(nn.Module):
    """Normalise over `size` x `size` positions of a channel."""

    def __init__(self, layer: specs.WithinChannelLRN):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (B, C, H, W), normalised."""
        size = self.layer.size
        sums = size**2 * functional.avg_pool2d(x * x, size, stride=1, padding=size // 2)
        return x * (self.layer.k + self.layer.alpha * sums) ** -self.layer.beta


class LocallyConnected(nn.Module):
    """Convolve with a kernel and a bias of its own at each position."""

    def __init__(self, layer: specs.Local, shape: Shapes):
        super().__init__()
        _, rows, columns, size, _, in_channels, features = shape.kernel
        self.size, self.pad, self.output = size, layer.pad, (features, rows, columns)
        self.weight = nn.Parameter(torch.empty(rows * columns, in_channels * size * size, features))
        self.bias = nn.Parameter(torch.empty(rows * columns, features))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, features, H, W) of `x` (B, C, H, W)."""
        patches = functional.unfold(x, self.size, padding=self.pad).permute(2, 0, 1)
        y = torch.baddbmm(self.bias[:, None], patches, self.weight)
        return y.permute(1, 2, 0).unflatten(2, self.output[1:])


class PaperDropout(nn.Module):
    """Zero values in training, multiply by 1 - rate otherwise."""

    def __init__(self, rate: float):
        super().__init__()
        self.inverted, self.keep = nn.Dropout(rate), 1 - rate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with a share of its values zeroed, or scaled."""
        return self.inverted(x) * self.keep


class TorchNet(nn.Sequential):
    """A table as a `nn.Sequential` of its layers by name, with a `nn.Flatten` before the first dense one.

    Its input is (B, C, H, W) padded by what `first_pad` says.
    """

    def __init__(self, architecture: Architecture, band: bool = False):
        super().__init__()
        input_shape: tuple[int, ...] = (architecture.crop, architecture.crop, architecture.channels)
        self.input_shapes: dict[str, tuple[int, ...]] = {}  # what each layer reads
        first = True
        for layer, shape in zip(architecture.layers, layer_shapes(architecture).values(), strict=True):
            self.input_shapes[layer.name] = input_shape
            if isinstance(layer, specs.Dense) and not hasattr(self, "flatten"):
                self.add_module("flatten", nn.Flatten())
            if shape.kernel:
                module = _weighted(layer, input_shape, shape, architecture.towers, first)
                first = False
            else:
                module = _unweighted(layer, input_shape[-1], architecture.towers, band)
            self.add_module(layer.name, module)
            input_shape = shape.output

    def load(self, params: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Copy parameters in the package's own layout, {layer: {'kernel', 'bias'}}, into the modules."""
        for name, leaves in params.items():
            kernel, bias = (torch.tensor(np.asarray(leaves[leaf])) for leaf in ("kernel", "bias"))
            module: Any = self.get_submodule(name)
            with torch.no_grad():
                if isinstance(module, nn.Conv2d):
                    module.weight.copy_(kernel.permute(0, 4, 3, 1, 2).flatten(0, 1))
                    module.bias.copy_(bias.flatten())
                elif isinstance(module, LocallyConnected):
                    patches = kernel[0].permute(0, 1, 4, 2, 3, 5)  # unfold gives (channel, row, column)
                    module.weight.copy_(patches.reshape(module.weight.shape))
                    module.bias.copy_(bias[0].flatten(0, 1))
                else:
                    _load_dense(module, kernel, bias, self.input_shapes[name])


def _weighted(
    layer: Layer, input_shape: tuple[int, ...], shape: Shapes, towers: int, first: bool
) -> nn.Module:
    """Return the module of a layer with weights that reads values of the shape `input_shape`."""
    if isinstance(layer, specs.Conv):
        if not first and layer.pad[0] != layer.pad[1]:
            raise UsageError(f"{layer.name}: the PyTorch net pads all sides alike")
        groups = 1 if first or layer.reads == "both" else towers
        pad = 0 if first else layer.pad[0]
        return nn.Conv2d(input_shape[2], layer.features, layer.kernel, layer.stride, pad, groups=groups)
    if isinstance(layer, specs.Local):
        return LocallyConnected(layer, shape)
    assert isinstance(layer, specs.Dense)
    inputs = int(np.prod(input_shape))
    if first or layer.reads != "own":
        return nn.Linear(inputs, layer.features)
    return Towers([nn.Linear(inputs // towers, layer.features // towers) for _ in range(towers)])


def _unweighted(layer: Layer, channels: int, towers: int, band: bool) -> nn.Module:
    """Return the module of a layer without weights that reads so many channels."""
    match layer:
        case specs.Activation():
            return ACTIVATIONS[layer.kind]()
        case specs.LRN():
            return BandNorm(layer, channels, towers) if band else TowerNorm(layer, towers)
        case specs.WithinChannelLRN():
            return WithinChannelNorm(layer)
        case specs.Pool():
            pool = nn.MaxPool2d if layer.kind == "max" else nn.AvgPool2d
            return pool(layer.size, layer.stride, ceil_mode=layer.ceil)
        case specs.AdaptivePool():
            return nn.AdaptiveAvgPool2d(layer.side)
        case specs.Dropout():
            return nn.Dropout(layer.rate) if layer.inverted else PaperDropout(layer.rate)
    raise AssertionError(f"{layer.name} has weights")


def _load_dense(module: Any, kernel: Tensor, bias: Tensor, input_shape: tuple[int, ...]) -> None:
    """Copy kernels (T, inputs, outputs) of inputs flattened (H, W, C) into weights over inputs (C, H, W)."""
    if len(input_shape) == 3:
        height, width, _ = input_shape
        kernel = kernel.unflatten(1, (height, width, -1)).permute(0, 3, 1, 2, 4).flatten(1, 3)
    if isinstance(module, Towers):
        each: Any = module.each
        for own, tower, added in zip(each, kernel, bias, strict=True):
            own.weight.copy_(tower.T)
            own.bias.copy_(added)
    elif bias.ndim == 1:  # the towers' parts of a sum stand one after the other on the inputs
        module.weight.copy_(kernel.flatten(0, 1).T)
        module.bias.copy_(bias)
    else:
        module.weight.copy_(kernel.permute(0, 2, 1).flatten(0, 1))
        module.bias.copy_(bias.flatten())


def first_pad(architecture: Architecture) -> tuple[int, int]:
    """Return the zeros (before, after) of each side of the image, which the input brings along."""
    first = architecture.layers[0]
    return first.pad if isinstance(first, specs.Conv) else (0, 0)
