"""Every network in plain PyTorch, as an oracle that shares no code with the product.

Each net is a function `net(params, images, masks=None, ...)` that gives every activation by its layer name:

  params   {layer: {'kernel', 'bias'}}, numpy arrays or tensors, in the product's layout: towers first.
           Convolution (T, kh, kw, cin seen by a tower, cout / T), local (T, rows, columns, kh, kw, cin seen,
           cout / T), dense (T, inputs seen, outputs / T), biases (T, outputs / T); the last layer
           (T, inputs / T, classes) with one bias (classes,).
  images   (B, H, W, C) or, for the fully connected net, (B, features); the mean is already taken off.
  masks    {dropout layer: (B, features) bool}, True where a unit is kept, features in tower order; None at
           test time.

Activations are tensors, NHWC with the towers' channels one after the other, or (B, features), differentiable
with respect to params; 'prob' is the softmax of the last layer. Two towers are a grouped convolution here,
which the product never uses. Computed in float64 unless `dtype` says otherwise.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Params = Mapping[str, Mapping[str, Any]]
Masks = Mapping[str, Any] | None
Activations = dict[str, Tensor]
Gradients = dict[str, dict[str, np.ndarray]]

FIGURE_2 = frozenset({"conv3", "fc6", "fc7"})  # the layers that read both towers, besides conv1 and fc8


class _Pass:
    """One forward pass: the current value, NCHW or (B, features), and what was recorded so far."""

    def __init__(
        self,
        params: Params,
        images: Any,
        masks: Masks,
        towers: int,
        dtype: torch.dtype,
        without: Collection[str],
    ) -> None:
        self.params, self.masks, self.towers, self.dtype, self.without = params, masks, towers, dtype, without
        x = self.tensor(images)
        self.x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
        self.first = True
        self.activations: Activations = {}

    def tensor(self, values: Any) -> Tensor:
        return (values if isinstance(values, Tensor) else torch.tensor(np.asarray(values))).to(self.dtype)

    def record(self, name: str, value: Tensor) -> None:
        self.x = value
        self.activations[name] = value.permute(0, 2, 3, 1) if value.ndim == 4 else value

    def weights(self, name: str) -> tuple[Tensor, Tensor]:
        assert set(self.params[name]) == {"kernel", "bias"}, name
        return self.tensor(self.params[name]["kernel"]), self.tensor(self.params[name]["bias"])

    def own(self) -> int:
        """Groups of a layer that reads its own tower: the image has no towers."""
        return 1 if self.first else self.towers

    def conv(self, name: str, *, stride: int = 1, pad: int | tuple[int, int] = 0, both: bool = False) -> None:
        """A convolution; pad is one number, or (before, after) of both height and width."""
        if name in self.without:
            return
        kernel, bias = self.weights(name)
        groups = 1 if both else self.own()
        assert kernel.shape[0] == self.towers, (name, kernel.shape)
        assert kernel.shape[3] * groups == self.x.shape[1], (name, kernel.shape, self.x.shape)
        assert bias.shape == (self.towers, kernel.shape[4]), (name, bias.shape)
        weight = torch.cat([tower.permute(3, 2, 0, 1) for tower in kernel])
        before, after = (pad, pad) if isinstance(pad, int) else pad
        padded = functional.pad(self.x, (before, after, before, after))
        self.record(name, functional.conv2d(padded, weight, bias.reshape(-1), stride=stride, groups=groups))
        self.first = False

    def local(self, name: str, *, pad: int) -> None:
        """A locally connected layer, stride 1, one tower: im2col, then one small product a position."""
        kernel, bias = self.weights(name)
        assert kernel.shape[0] == 1, (name, kernel.shape)
        rows, columns, height, width, seen, outputs = kernel.shape[1:]
        patches = functional.unfold(self.x, (height, width), padding=pad)
        patches = patches.reshape(len(self.x), seen, height, width, rows, columns)
        value = torch.einsum("bcijrs,rsijco->bors", patches, kernel[0])
        # One bias a channel (1, outputs) or one a position and channel (1, rows, columns, outputs).
        self.record(name, value + bias[0].expand(rows, columns, outputs).permute(2, 0, 1))
        self.first = False

    def by_tower(self, both: bool) -> list[Tensor]:
        """What each tower's fully connected layer reads, flattened (H, W, C)."""
        parts = [self.x] * self.towers if both else list(self.x.chunk(self.own(), dim=1))
        return [(p.permute(0, 2, 3, 1) if p.ndim == 4 else p).flatten(1) for p in parts]

    def dense(self, name: str, *, both: bool = True) -> None:
        if name in self.without:
            return
        kernel, bias = self.weights(name)
        assert bias.shape == (self.towers, kernel.shape[2]), (name, bias.shape)
        parts = [
            seen @ k + b for seen, k, b in zip(self.by_tower(both or self.first), kernel, bias, strict=True)
        ]
        self.record(name, torch.cat(parts, dim=1))
        self.first = False

    def last(self, name: str) -> None:
        """The layer that sums over towers, and its softmax."""
        kernel, bias = self.weights(name)
        parts = [seen @ k for seen, k in zip(self.by_tower(both=False), kernel, strict=True)]
        assert bias.shape == (kernel.shape[2],), (name, bias.shape)
        self.record(name, torch.stack(parts).sum(dim=0) + bias)
        self.activations["prob"] = functional.softmax(self.x, dim=1)

    def activation(self, name: str, kind: str = "relu") -> None:
        functions: dict[str, Callable[[Tensor], Tensor]] = {
            "relu": functional.relu,
            "tanh": torch.tanh,
            "sigmoid": torch.sigmoid,
        }
        if name not in self.without:
            self.record(name, functions[kind](self.x))

    def lrn(
        self, name: str, *, size: int, alpha: float, beta: float, k: float, crossing: bool = False
    ) -> None:
        """x / (k + alpha * sum)^beta; PyTorch's own alpha is divided by the size, ours is not."""
        if name in self.without:
            return
        parts = self.x.chunk(1 if crossing else self.towers, dim=1)
        normed = [functional.local_response_norm(p, size, alpha=alpha * size, beta=beta, k=k) for p in parts]
        self.record(name, torch.cat(normed, dim=1))

    def same_channel_lrn(self, name: str, *, size: int, alpha: float, beta: float, k: float = 1.0) -> None:
        """x / (k + alpha * sum over size x size positions of the channel)^beta, zeros beyond the edge."""
        if name in self.without:
            return
        total = size**2 * functional.avg_pool2d(self.x**2, size, stride=1, padding=size // 2)
        self.record(name, self.x * (k + alpha * total) ** -beta)

    def max_pool(self, name: str, size: int = 3, stride: int = 2, *, ceil: bool = False) -> None:
        if name not in self.without:
            self.record(name, functional.max_pool2d(self.x, size, stride, ceil_mode=ceil))

    def average_pool(self, name: str, size: int = 3, stride: int = 2, *, ceil: bool = True) -> None:
        """Without padding PyTorch divides by the elements present, as cuda-convnet does."""
        if name not in self.without:
            self.record(name, functional.avg_pool2d(self.x, size, stride, ceil_mode=ceil))

    def adaptive_average_pool(self, name: str, outputs: int = 6) -> None:
        self.record(name, functional.adaptive_avg_pool2d(self.x, outputs))

    def dropout(self, name: str, rate: float, *, inverted: bool = False) -> None:
        if name in self.without:
            return
        [flat] = _flat(self.x)
        if self.masks is None:
            self.record(name, flat if inverted else flat * (1 - rate))
        elif rate == 0:
            self.record(name, flat)
        else:
            kept = flat * self.tensor(self.masks[name])
            self.record(name, kept / (1 - rate) if inverted else kept)


def _flat(*values: Tensor) -> list[Tensor]:
    return [(v.permute(0, 2, 3, 1) if v.ndim == 4 else v).flatten(1) for v in values]


def alexnet_2012(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    towers: int = 2,
    communicate_at: Collection[str] = FIGURE_2,
    activation: str = "relu",
    lrn: bool = True,
    lrn_constants: tuple[float, float, float] = (2.0, 1e-4, 0.75),
    pool_size: int = 3,
    dropout: float = 0.5,
    conv1_pad: int | tuple[int, int] = (0, 3),
    without: Collection[str] = (),
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """The paper's words (section 3): convolution, activation, normalisation, pooling.

    `communicate_at` names the layers of conv2 to fc7 that read both towers. `lrn` False leaves out norm1 and
    norm2, whose constants are k, alpha and beta. Pools have stride 2 and round down whatever their size.
    `without` names layers that are left out, each by its own name (a convolution's activation, too). 227
    crops: conv1_pad 0.
    """
    out = () if lrn else ("norm1", "norm2")
    k, alpha, beta = lrn_constants
    net = _Pass(params, images, masks, towers, dtype, {*without, *out})
    net.conv("conv1", stride=4, pad=conv1_pad)
    net.activation("relu1", activation)
    net.lrn("norm1", size=5, alpha=alpha, beta=beta, k=k)
    net.max_pool("pool1", pool_size)
    net.conv("conv2", pad=2, both="conv2" in communicate_at)
    net.activation("relu2", activation)
    net.lrn("norm2", size=5, alpha=alpha, beta=beta, k=k)
    net.max_pool("pool2", pool_size)
    net.conv("conv3", pad=1, both="conv3" in communicate_at)
    net.activation("relu3", activation)
    net.conv("conv4", pad=1, both="conv4" in communicate_at)
    net.activation("relu4", activation)
    net.conv("conv5", pad=1, both="conv5" in communicate_at)
    net.activation("relu5", activation)
    net.max_pool("pool5", pool_size)
    net.dense("fc6", both="fc6" in communicate_at)
    net.activation("relu6", activation)
    net.dropout("drop6", dropout)
    net.dense("fc7", both="fc7" in communicate_at)
    net.activation("relu7", activation)
    net.dropout("drop7", dropout)
    net.last("fc8")
    return net.activations


def alexnet_2012_source(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    towers: int = 2,
    communicate_at: Collection[str] = FIGURE_2,
    norms: bool = True,
    pool_size: int = 3,
    dropout: float = 0.5,
    conv1_pad: int | tuple[int, int] = (0, 3),
    conv2_pad: int = 2,
    conv5_pad: int = 1,
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """Net 145 of the 2012 source (layers-145.cfg): conv1 and conv5 have ReLU after the pool, conv2 two norms.

    `norms` False leaves all three out, as net 148 does. Pools have stride 2 and round up.
    """
    net = _source_convolutions(
        params,
        images,
        masks,
        towers=towers,
        communicate_at=communicate_at,
        norms=norms,
        pool_size=pool_size,
        conv1_pad=conv1_pad,
        conv2_pad=conv2_pad,
        conv5_pad=conv5_pad,
        dtype=dtype,
    )
    net.dense("fc6", both="fc6" in communicate_at)
    net.activation("relu6")
    net.dropout("drop6", dropout)
    net.dense("fc7", both="fc7" in communicate_at)
    net.activation("relu7")
    net.dropout("drop7", dropout)
    net.last("fc8")
    return net.activations


def _source_convolutions(
    params: Params,
    images: Any,
    masks: Masks,
    *,
    towers: int,
    communicate_at: Collection[str],
    norms: bool,
    pool_size: int,
    conv1_pad: int | tuple[int, int],
    conv2_pad: int,
    conv5_pad: int,
    dtype: torch.dtype,
) -> _Pass:
    """Net 145 up to relu5."""
    out = () if norms else ("norm1", "norm2", "norm2b")
    net = _Pass(params, images, masks, towers, dtype, out)
    net.conv("conv1", stride=4, pad=conv1_pad)
    net.lrn("norm1", size=5, alpha=1e-4 / 5, beta=0.75, k=2.0)
    net.max_pool("pool1", pool_size, ceil=True)
    net.activation("relu1")
    net.conv("conv2", pad=conv2_pad, both="conv2" in communicate_at)
    net.activation("relu2")
    net.lrn("norm2", size=5, alpha=1e-4 / 5, beta=0.75, k=2.0)
    net.same_channel_lrn("norm2b", size=5, alpha=1e-3 / 25, beta=0.75, k=1.0)
    net.max_pool("pool2", pool_size, ceil=True)
    net.conv("conv3", pad=1, both="conv3" in communicate_at)
    net.activation("relu3")
    net.conv("conv4", pad=1, both="conv4" in communicate_at)
    net.activation("relu4")
    net.conv("conv5", pad=conv5_pad, both="conv5" in communicate_at)
    net.max_pool("pool5", pool_size, ceil=True)
    net.activation("relu5")
    return net


def source_132(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    dropout: float = 0.5,
    conv1_pad: int | tuple[int, int] = (0, 3),
    image_layer: str = "conv2_image",
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """Net 132 as layers-132.cfg has it, which is more than net 145 with towers that meet at conv4.

    conv1 has 32 channels a tower; its pool and ReLU stand before its norm, whose offset is 1. conv2 also
    reads the image, blurred ('blur0': 9x9 Gaussian of standard deviation 4, zeros beyond the edge) and then
    every fourth pixel ('nails0'), through 5x5 kernels of stride 2: params[image_layer] = {'kernel': (2, 5, 5,
    3, 128)}, without a bias of its own. 'norm2b' divides by the local variance instead of the sum of squares
    (the gradient here is its exact one). conv3 reads its own tower, conv4 both. For net 145 that meets at
    conv4 and changes nothing else call alexnet_2012_source(..., communicate_at={"conv4", "fc6", "fc7"}).
    """
    net = _Pass(params, images, masks, 2, dtype, ())
    image = net.x
    offsets = torch.arange(-4, 5, dtype=dtype)
    line = torch.exp(-(offsets**2) / (2 * 4**2))
    line = line / line.sum()
    channels = image.shape[1]
    blur = torch.outer(line, line).expand(channels, 1, 9, 9)
    net.record("blur0", functional.conv2d(image, blur, padding=4, groups=channels))
    net.record("nails0", net.x[:, :, ::4, ::4])
    small = net.x

    net.x = image
    net.conv("conv1", stride=4, pad=conv1_pad)
    net.max_pool("pool1", ceil=True)
    net.activation("relu1")
    net.lrn("norm1", size=5, alpha=1e-4 / 5, beta=0.75, k=1.0)
    net.conv("conv2", pad=2)
    kernel = net.tensor(params[image_layer]["kernel"])
    weight = torch.cat([tower.permute(3, 2, 0, 1) for tower in kernel])
    reach = (
        2 * (net.x.shape[2] - 1) + 5 - small.shape[2]
    )  # the last window runs over the right and bottom edge
    from_image = functional.conv2d(functional.pad(small, (0, reach, 0, reach)), weight, stride=2)
    net.record("conv2", net.x + from_image)
    net.activation("relu2")
    net.lrn("norm2", size=5, alpha=1e-4 / 5, beta=0.75, k=1.0)
    mean = functional.avg_pool2d(net.x, 5, stride=1, padding=2, count_include_pad=False)
    squares = 25 * functional.avg_pool2d((net.x - mean) ** 2, 5, stride=1, padding=2)
    net.record("norm2b", net.x * (1 + 1e-3 / 25 * squares) ** -0.75)
    net.max_pool("pool2", ceil=True)
    net.conv("conv3", pad=1)
    net.activation("relu3")
    net.conv("conv4", pad=1, both=True)
    net.activation("relu4")
    net.conv("conv5", pad=1)
    net.max_pool("pool5", ceil=True)
    net.activation("relu5")
    net.dense("fc6")
    net.activation("relu6")
    net.dropout("drop6", dropout)
    net.dense("fc7")
    net.activation("relu7")
    net.dropout("drop7", dropout)
    net.last("fc8")
    return net.activations


def source_145_half(params: Params, images: Any, masks: Masks = None, **options: Any) -> Activations:
    """One tower, 48-128-192-192-256 channels (layers-145-half.cfg)."""
    return alexnet_2012_source(params, images, masks, towers=1, **options)


def source_147(params: Params, images: Any, masks: Masks = None, **options: Any) -> Activations:
    """Pools 2x2, stride 2; conv2 pad 1, conv5 pad 0: 55, 28, 26, 13, 13, 11, 6 (layers-147.cfg)."""
    return alexnet_2012_source(params, images, masks, pool_size=2, conv2_pad=1, conv5_pad=0, **options)


def source_148(params: Params, images: Any, masks: Masks = None, **options: Any) -> Activations:
    """No normalisation at all (layers-148.cfg)."""
    return alexnet_2012_source(params, images, masks, norms=False, **options)


def source_150(params: Params, images: Any, masks: Masks = None, **options: Any) -> Activations:
    """Towers that meet in fc8 alone; a tower has 160 channels in conv2, 4096 units in fc6: layers-150.cfg."""
    return alexnet_2012_source(params, images, masks, communicate_at=(), **options)


def source_146(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    towers: int = 2,
    communicate_at: Collection[str] = frozenset({"conv3", "conv6", "fc7", "fc8"}),
    dropout: float = 0.5,
    conv1_pad: int | tuple[int, int] = (0, 3),
    bottleneck: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """Net 145 with a sixth convolution over pool5 that reads both towers (layers-146-2012-2011.cfg).

    Layers are conv1 to conv6, fc7, fc8 and the head fc9. `bottleneck`: a linear fc9 (2 x 1,024 units in
    layers-146-2011.cfg, both reading both towers) before the head, then fc10, where each of the source's two
    halves of the head reads both towers: one head, for us.
    """
    net = _source_convolutions(
        params,
        images,
        masks,
        towers=towers,
        communicate_at=communicate_at,
        norms=True,
        pool_size=3,
        conv1_pad=conv1_pad,
        conv2_pad=2,
        conv5_pad=1,
        dtype=dtype,
    )
    net.conv("conv6", pad=1, both="conv6" in communicate_at)
    net.activation("relu6")
    net.dense("fc7", both="fc7" in communicate_at)
    net.activation("relu7")
    net.dropout("drop7", dropout)
    net.dense("fc8", both="fc8" in communicate_at)
    net.activation("relu8")
    net.dropout("drop8", dropout)
    if bottleneck:
        net.dense("fc9")
    net.last("fc10" if bottleneck else "fc9")
    return net.activations


def caffe(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    towers: int = 2,
    pool_first: bool = False,
    crossing: bool = True,
    dropout: float = 0.5,
    conv1_pad: int | tuple[int, int] = 0,
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """bvlc_alexnet: normalisation across all channels, offset 1, alpha / 5; inverted dropout; 227 crops.

    `pool_first`: CaffeNet's order. `crossing` False keeps the windows inside a tower. Pools round up, as
    Caffe's do, which makes no difference to 227 crops.
    """
    net = _Pass(params, images, masks, towers, dtype, ())

    def norm_and_pool(number: int) -> None:
        if pool_first:
            net.max_pool(f"pool{number}", ceil=True)
        net.lrn(f"norm{number}", size=5, alpha=1e-4 / 5, beta=0.75, k=1.0, crossing=crossing)
        if not pool_first:
            net.max_pool(f"pool{number}", ceil=True)

    net.conv("conv1", stride=4, pad=conv1_pad)
    net.activation("relu1")
    norm_and_pool(1)
    net.conv("conv2", pad=2)
    net.activation("relu2")
    norm_and_pool(2)
    net.conv("conv3", pad=1, both=True)
    net.activation("relu3")
    net.conv("conv4", pad=1)
    net.activation("relu4")
    net.conv("conv5", pad=1)
    net.activation("relu5")
    net.max_pool("pool5", ceil=True)
    net.dense("fc6")
    net.activation("relu6")
    net.dropout("drop6", dropout, inverted=True)
    net.dense("fc7")
    net.activation("relu7")
    net.dropout("drop7", dropout, inverted=True)
    net.last("fc8")
    return net.activations


def caffenet(params: Params, images: Any, masks: Masks = None, **options: Any) -> Activations:
    """bvlc_reference_caffenet: each pool before its normalisation."""
    return caffe(params, images, masks, pool_first=True, **options)


def torchvision(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    dropout: float = 0.5,
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """torchvision's alexnet ("one weird trick"): one tower, no normalisation, adaptive average pooling.

    Inverted dropout stands before fc6, on the flattened 'avgpool' (H, W, C), and before fc7.
    """
    net = _Pass(params, images, masks, 1, dtype, ())
    net.conv("conv1", stride=4, pad=2)
    net.activation("relu1")
    net.max_pool("pool1")
    net.conv("conv2", pad=2)
    net.activation("relu2")
    net.max_pool("pool2")
    net.conv("conv3", pad=1)
    net.activation("relu3")
    net.conv("conv4", pad=1)
    net.activation("relu4")
    net.conv("conv5", pad=1)
    net.activation("relu5")
    net.max_pool("pool5")
    net.adaptive_average_pool("avgpool")
    net.dropout("drop6", dropout, inverted=True)
    net.dense("fc6")
    net.activation("relu6")
    net.dropout("drop7", dropout, inverted=True)
    net.dense("fc7")
    net.activation("relu7")
    net.last("fc8")
    return net.activations


def cifar10_26(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    activation: str = "relu",
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """The 26 % net (layers-80sec.cfg): 32 max, 32 average, 64 average, fc 64, fc 10."""
    net = _cifar10_three_convolutions(params, images, masks, norms=False, activation=activation, dtype=dtype)
    net.dense("fc4")
    net.activation("relu4", activation)
    net.last("fc5")
    return net.activations


def cifar10_19(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    activation: str = "relu",
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """The 19 % net (layers-19pct.cfg): the same convolutions, then fc 10.

    On 24x24 crops it is the 14 % net; with ReLU or tanh it is what the paper's figure 1 is taken to show.
    """
    net = _cifar10_three_convolutions(params, images, masks, norms=False, activation=activation, dtype=dtype)
    net.last("fc4")
    return net.activations


def cifar10_18(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    activation: str = "relu",
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """The 18 % net (layers-18pct.cfg): same-channel 3x3 normalisation after pool1 and pool2."""
    net = _cifar10_three_convolutions(params, images, masks, norms=True, activation=activation, dtype=dtype)
    net.last("fc4")
    return net.activations


def _cifar10_three_convolutions(
    params: Params, images: Any, masks: Masks, *, norms: bool, activation: str, dtype: torch.dtype
) -> _Pass:
    net = _Pass(params, images, masks, 1, dtype, () if norms else ("norm1", "norm2"))
    net.conv("conv1", pad=2)
    net.max_pool("pool1", ceil=True)
    net.activation("relu1", activation)
    net.same_channel_lrn("norm1", size=3, alpha=5e-5 / 9, beta=0.75, k=1.0)
    net.conv("conv2", pad=2)
    net.activation("relu2", activation)
    net.average_pool("pool2", ceil=True)
    net.same_channel_lrn("norm2", size=3, alpha=5e-5 / 9, beta=0.75, k=1.0)
    net.conv("conv3", pad=2)
    net.activation("relu3", activation)
    net.average_pool("pool3", ceil=True)
    return net


def cifar10_13(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    activation: str = "relu",
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """The 13 % net (layers-conv-local-13pct.cfg): 64 max, 64 max, local 32, local 32, fc 10."""
    return _cifar10_local(params, images, masks, norms=False, activation=activation, dtype=dtype)


def cifar10_11(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    activation: str = "relu",
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """The 11 % net: local 64, local 32, normalisation over 9 channels after pool1 and before pool2."""
    return _cifar10_local(params, images, masks, norms=True, activation=activation, dtype=dtype)


def _cifar10_local(
    params: Params, images: Any, masks: Masks, *, norms: bool, activation: str, dtype: torch.dtype
) -> Activations:
    net = _Pass(params, images, masks, 1, dtype, () if norms else ("norm1", "norm2"))
    net.conv("conv1", pad=2)
    net.activation("relu1", activation)
    net.max_pool("pool1", ceil=True)
    net.lrn("norm1", size=9, alpha=1e-3 / 9, beta=0.75, k=1.0)
    net.conv("conv2", pad=2)
    net.activation("relu2", activation)
    net.lrn("norm2", size=9, alpha=1e-3 / 9, beta=0.75, k=1.0)
    net.max_pool("pool2", ceil=True)
    net.local("local3", pad=1)
    net.activation("relu3", activation)
    net.local("local4", pad=1)
    net.activation("relu4", activation)
    net.last("fc5")
    return net.activations


def fully_connected(
    params: Params,
    images: Any,
    masks: Masks = None,
    *,
    activation: str = "sigmoid",
    dtype: torch.dtype = torch.float64,
) -> Activations:
    """Layers fc1, fc2 and so on over flat input (B, features), as many as params has: 784-15-10.

    The activation stands after each but the last, and is recorded as relu1 and so on whatever its kind.
    Images (B, H, W, C) are flattened (H, W, C).
    """
    net = _Pass(params, images, masks, 1, dtype, ())
    for number in range(1, len(params)):
        net.dense(f"fc{number}")
        net.activation(f"relu{number}", activation)
    net.last(f"fc{len(params)}")
    return net.activations


def loss_and_gradients(
    net: Callable[..., Activations],
    params: Params,
    images: Any,
    labels: Any,
    masks: Masks = None,
    *,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> tuple[dict[str, np.ndarray], float, Gradients]:
    """Activations, mean cross-entropy of the last layer's logits, and its gradients, all as numpy.

    Gradients have the layout of `params`, which are numpy arrays.
    """
    leaves = {
        layer: {
            name: torch.tensor(np.asarray(leaf), dtype=dtype, requires_grad=True)
            for name, leaf in group.items()
        }
        for layer, group in params.items()
    }
    activations = net(leaves, images, masks, dtype=dtype, **options)
    logits = [value for name, value in activations.items() if name != "prob"][-1]
    loss = functional.cross_entropy(logits, torch.tensor(np.asarray(labels), dtype=torch.long))
    loss.backward()
    gradients: Gradients = {}
    for layer, group in leaves.items():
        for name, leaf in group.items():
            assert leaf.grad is not None, f"{layer}/{name} has no influence on the loss"
            gradients.setdefault(layer, {})[name] = leaf.grad.numpy()
    return {name: value.detach().numpy() for name, value in activations.items()}, loss.item(), gradients
