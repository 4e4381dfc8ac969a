"""The same network in PyTorch, made from the same table, as the measurements' peer.

Stock modules: grouped convolutions for towers, `nn.LocalResponseNorm`, `nn.MaxPool2d`, cross-entropy,
`torch.optim.SGD` with momentum and weight decay. It runs in a process of its own without JAX, with PyTorch's
own threads and memory.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_jax.benchmark import timing
from alexnet_jax.errors import UsageError
from alexnet_jax.model.architectures import (
    LRN,
    Activation,
    AdaptivePool,
    Architecture,
    Conv,
    Dense,
    Local,
    Pool,
    SameMapLRN,
    Shapes,
    shapes,
)

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


@dataclasses.dataclass(frozen=True)
class Form:
    """One way to run the net.

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
    def words(self) -> str:
        """What a table calls it."""
        parts = ["compiled" if self.compiled else "eager", self.precision]
        parts += ["channels-last"] if self.channels_last else []
        return " ".join(parts + (["band LRN"] if self.band else []))


def forms(device: str, dtype: str) -> list[Form]:
    """Those that are measured on 'cpu' or 'cuda' beside a net that computes in `dtype`."""
    if device == "cpu":
        return [
            Form(),
            Form(channels_last=True),
            Form(compiled=True),
            Form(band=True),
        ]
    precision = "bfloat16" if dtype == "bfloat16" else "tf32"
    eager = [Form(precision, channels_last=c, band=b) for c in (False, True) for b in (False, True)]
    return eager + [Form(precision, True, True, b) for b in (False, True)]


class Towers(nn.Module):
    """Applies a module of one tower to each tower's share of the channels."""

    def __init__(self, modules: list[nn.Module]):
        super().__init__()
        self.each = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.chunk(len(self.each), 1)
        return torch.cat([module(part) for module, part in zip(self.each, parts, strict=True)], 1)


class TowerNorm(nn.Module):
    """`nn.LocalResponseNorm` whose window ends at the edge of a tower."""

    def __init__(self, layer: LRN, towers: int):
        super().__init__()
        self.towers = 1 if layer.across else towers
        # PyTorch divides alpha by the size of the window.
        self.norm = nn.LocalResponseNorm(layer.size, layer.alpha * layer.size, layer.beta, layer.k)

    def forward(self, x: Tensor) -> Tensor:
        if self.towers == 1:
            return self.norm(x)
        if x.is_contiguous():  # the towers become pictures of their own, without a copy
            batch, channels, *side = x.shape
            return self.norm(x.view(batch * self.towers, channels // self.towers, *side)).view(x.shape)
        return torch.cat([self.norm(part) for part in x.chunk(self.towers, 1)], 1)


class BandNorm(nn.Module):
    """The same as a 1 x 1 convolution of the squares with a band matrix."""

    def __init__(self, layer: LRN, channels: int, towers: int):
        super().__init__()
        self.alpha, self.beta, self.k = layer.alpha, layer.beta, layer.k
        place = torch.arange(channels)
        tower = place // (channels if layer.across else channels // towers)
        near = (place[:, None] - place).abs() <= layer.size // 2
        self.register_buffer("band", (near & (tower[:, None] == tower)).float()[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        band: Any = self.band
        base = self.k + self.alpha * functional.conv2d(x * x, band.to(x.dtype))
        return x * (torch.rsqrt(base) * base.rsqrt().sqrt() if self.beta == 0.75 else base**-self.beta)


class SameMapNorm(nn.Module):
    """Normalisation over `size` x `size` places of a map."""

    def __init__(self, layer: SameMapLRN):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        size = self.layer.size
        sums = size**2 * functional.avg_pool2d(x * x, size, stride=1, padding=size // 2)
        return x * (self.layer.k + self.layer.alpha * sums) ** -self.layer.beta


class LocallyConnected(nn.Module):
    """A kernel and a bias for each place."""

    def __init__(self, layer: Local, shape: Shapes):
        super().__init__()
        _, rows, columns, size, _, seen, features = shape.kernel
        self.size, self.pad, self.output = size, layer.pad, (features, rows, columns)
        self.weight = nn.Parameter(torch.empty(rows * columns, seen * size * size, features))
        self.bias = nn.Parameter(torch.empty(rows * columns, features))

    def forward(self, x: Tensor) -> Tensor:
        patches = functional.unfold(x, self.size, padding=self.pad).permute(2, 0, 1)
        return (
            torch.baddbmm(self.bias[:, None], patches, self.weight)
            .permute(1, 2, 0)
            .unflatten(2, self.output[1:])
        )


class PaperDropout(nn.Module):
    """Zeroes in training, multiplies by 1 - rate otherwise."""

    def __init__(self, rate: float):
        super().__init__()
        self.inverted, self.keep = nn.Dropout(rate), 1 - rate

    def forward(self, x: Tensor) -> Tensor:
        return self.inverted(x) * self.keep


class Net(nn.Sequential):
    """A table as a `nn.Sequential` of its layers by name, with a `nn.Flatten` before the first dense one.

    Its input is (B, C, H, W) padded by what `first_pad` says.
    """

    def __init__(self, architecture: Architecture, band: bool = False):
        super().__init__()
        self.architecture = architecture
        towers = architecture.towers
        seen: tuple[int, ...] = (architecture.crop, architecture.crop, architecture.channels)
        flat = first = True
        for layer in architecture.layers:
            shape = shapes(architecture)[layer.name]
            module: nn.Module
            if isinstance(layer, Conv):
                groups = 1 if first or layer.reads == "both" else towers
                pad = 0 if first else layer.pad[0]
                if not first and layer.pad[0] != layer.pad[1]:
                    raise UsageError(f"{layer.name}: the PyTorch form pads all sides alike")
                module = nn.Conv2d(seen[2], layer.features, layer.kernel, layer.stride, pad, groups=groups)
            elif isinstance(layer, Local):
                module = LocallyConnected(layer, shape)
            elif isinstance(layer, Dense):
                if flat:
                    self.add_module("flatten", nn.Flatten())
                    flat = False
                inputs = int(np.prod(seen))
                if first or layer.reads != "own":
                    module = nn.Linear(inputs, layer.features)
                else:
                    share = [nn.Linear(inputs // towers, layer.features // towers) for _ in range(towers)]
                    module = Towers(list(share))
            elif isinstance(layer, Activation):
                module = ACTIVATIONS[layer.kind]()
            elif isinstance(layer, LRN):
                module = BandNorm(layer, seen[2], towers) if band else TowerNorm(layer, towers)
            elif isinstance(layer, SameMapLRN):
                module = SameMapNorm(layer)
            elif isinstance(layer, Pool) and layer.kind == "max":
                module = nn.MaxPool2d(layer.size, layer.stride, ceil_mode=layer.ceil)
            elif isinstance(layer, Pool):
                module = nn.AvgPool2d(layer.size, layer.stride, ceil_mode=layer.ceil)
            elif isinstance(layer, AdaptivePool):
                module = nn.AdaptiveAvgPool2d(layer.side)
            else:
                module = nn.Dropout(layer.rate) if layer.inverted else PaperDropout(layer.rate)
            self.add_module(layer.name, module)
            first = first and not shape.kernel
            seen = shape.output

    def load(self, params: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Takes over parameters in the product's layout: towers first, channels last."""
        seen: tuple[int, ...] = (self.architecture.crop, self.architecture.crop, self.architecture.channels)
        table = shapes(self.architecture)
        for layer in self.architecture.layers:
            if layer.name in params:
                kernel = torch.tensor(np.asarray(params[layer.name]["kernel"]))
                bias = torch.tensor(np.asarray(params[layer.name]["bias"]))
                module: Any = self.get_submodule(layer.name)
                with torch.no_grad():
                    if isinstance(layer, Conv):
                        module.weight.copy_(kernel.permute(0, 4, 3, 1, 2).flatten(0, 1))
                        module.bias.copy_(bias.flatten())
                    elif isinstance(layer, Local):
                        places = kernel[0].permute(0, 1, 4, 2, 3, 5)  # unfold gives (channel, row, column)
                        module.weight.copy_(places.reshape(module.weight.shape))
                        module.bias.copy_(bias[0].flatten(0, 1))
                    else:
                        _load_dense(module, kernel, bias, seen)
            seen = table[layer.name].output


def _load_dense(module: Any, kernel: Tensor, bias: Tensor, seen: tuple[int, ...]) -> None:
    """Kernels (T, inputs, outputs) of inputs flattened (H, W, C) as weights over inputs (C, H, W)."""
    if len(seen) == 3:
        height, width, _ = seen
        kernel = kernel.unflatten(1, (height, width, -1)).permute(0, 3, 1, 2, 4).flatten(1, 3)
    if isinstance(module, Towers):
        for own, tower, added in zip(module.each, kernel, bias, strict=True):
            own.weight.copy_(tower.T)  # type: ignore[operator, union-attr]
            own.bias.copy_(added)  # type: ignore[operator, union-attr]
    elif bias.ndim == 1:  # the towers' parts of a sum stand one after the other on the inputs
        module.weight.copy_(kernel.flatten(0, 1).T)
        module.bias.copy_(bias)
    else:
        module.weight.copy_(kernel.permute(0, 2, 1).flatten(0, 1))
        module.bias.copy_(bias.flatten())


def first_pad(architecture: Architecture) -> tuple[int, int]:
    """Zeros (before, after) of each side of the picture, which the input brings along."""
    first = architecture.layers[0]
    return first.pad if isinstance(first, Conv) else (0, 0)


@dataclasses.dataclass(frozen=True)
class Training:
    """What an update needs: momentum and for each layer (rate, decay) of its kernel and of its bias."""

    momentum: float
    rates: Mapping[str, tuple[tuple[float, float], tuple[float, float]]]


def optimizer(net: Net, training: Training, fused: bool) -> torch.optim.Optimizer:
    """`torch.optim.SGD` with a group of parameters for each rate and decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for layer, (kernel, bias) in training.rates.items():
        for name, parameter in net.get_submodule(layer).named_parameters():
            groups.setdefault(bias if name.endswith("bias") else kernel, []).append(parameter)
    return torch.optim.SGD(
        [{"params": found, "lr": rate, "weight_decay": decay} for (rate, decay), found in groups.items()],
        momentum=training.momentum,
        fused=fused,
    )


class Contestant:
    """One form of the net on a device, with its batches."""

    def __init__(self, architecture: Architecture, training: Training, form: Form, batch: int, batches: int,
                 device: str):  # fmt: skip
        self.form, self.device = form, device
        net: Any = Net(architecture, form.band)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.01)
        layout = torch.channels_last if form.channels_last else torch.contiguous_format
        net = net.to(device=device, memory_format=layout)
        self.update = optimizer(net, training, fused=device == "cuda")
        self.net: Any = torch.compile(net) if form.compiled else net
        before, after = first_pad(architecture)
        side, channels = architecture.crop, architecture.channels
        self.data = []
        for _ in range(batches):
            x = functional.pad(torch.randn(batch, channels, side, side) * 70, (before, after) * 2)
            labels = torch.randint(architecture.classes, (batch,))
            self.data.append((x.to(device=device, memory_format=layout), labels.to(device)))

    def _precision(self) -> Any:
        allowed = self.form.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed
        return torch.autocast(self.device, torch.bfloat16, enabled=self.form.precision == "bfloat16")

    def forward(self, number: int) -> None:
        """The net in use, without gradients."""
        self.net.eval()
        with torch.inference_mode(), self._precision():
            self.net(self.data[number % len(self.data)][0])

    def train(self, number: int) -> None:
        """The whole training step."""
        self.net.train()
        self.update.zero_grad(set_to_none=True)
        x, labels = self.data[number % len(self.data)]
        with self._precision():
            loss = functional.cross_entropy(self.net(x), labels)
        loss.backward()
        self.update.step()

    def wait(self) -> None:
        """Until the device has done all that was asked for."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def serve(pipe: Connection, architecture: Architecture, training: Training, batch: int, batches: int,
          device: str, threads: int, seconds: float) -> None:  # fmt: skip
    """Answers one message after the other, in a process of its own, until it is killed.

    The first answer tells 'threads' and 'forms'. A message (form, 'forward' or
    'train') is answered with a run's calls a second, or with the error as a text.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    pipe.send({"threads": torch.get_num_threads(), "forms": forms(device, architecture.compute_dtype)})
    ready: dict[Form, Contestant] = {}
    runs: dict[tuple[Form, str], Callable[[], float]] = {}
    while True:
        form, what = pipe.recv()
        try:
            if (form, what) not in runs:
                if form not in ready:
                    ready[form] = Contestant(architecture, training, form, batch, batches, device)
                found = ready[form]
                runs[form, what] = timing.repeated(getattr(found, what), found.wait, seconds)
            pipe.send(runs[form, what]())
        except Exception as error:  # a form that does not run here, such as one that needs a compiler
            pipe.send(f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}")
        time.sleep(0.05)  # until its threads have stopped looking for work
