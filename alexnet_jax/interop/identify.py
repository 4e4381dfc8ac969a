"""Which net a file of weights is of, and how it reads images.

Our own files say it (`convert.to_file`). Others are recognised by the shapes of their arrays; images are grey
levels 0 to 255 for us and for Caffe, so that torchvision's mean and standard deviation, given for 0 to 1, are
multiplied by 255.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from alexnet_jax.config import io as config_io
from alexnet_jax.config import resolve
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import UsageError
from alexnet_jax.interop import formats
from alexnet_jax.interop.formats.weights import Weights
from alexnet_jax.interop.layout import LPIPS_HEADS, MEAN, TORCHVISION_NAMES, Params, from_arrays, leaves
from alexnet_jax.model import architectures
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture
from alexnet_jax.progress import printable

# torchvision's, on 0 to 1; that of the pixels of Caffe's ilsvrc_2012_mean.npy. RGB.
TORCHVISION_MEAN = (0.485, 0.456, 0.406)
CAFFE_MEAN = (122.67892, 116.66877, 104.00699)
# lpips/lpips.py, LPIPS(net="alex"): the trunk is torchvision's in slices; each head may stand there twice.
LPIPS_TRUNK = re.compile(r"net\.slice[1-5]\.(\d+\.(?:weight|bias))")
LPIPS_HEAD = re.compile(r"(?:lin|lins\.)([0-4])\.model\.1\.weight")
LPIPS_NOTICE = "with the heads of LPIPS, for compare"
MAX_NAMED = 20  # arrays in a notice
MAX_SIDE = 4096  # of the images that a file's own config may speak of


@dataclass(frozen=True)
class IdentifiedNet:
    """Hold what a file was found to hold.

    Attributes:
      config: with what the weights decide.
      architecture: the whole net.
      params: its parameters on the host, perhaps of its first layers alone.
      statistics: of the images that it was trained on; of others' nets the mean alone is known.
      class_names: by label; empty where the file has none.
      lpips_heads: {'lin0', ..., 'lin4'}, or {}.
      notices: what the user should know, in lines.
    """

    config: FrozenConfigDict
    architecture: Architecture
    params: Params
    statistics: Statistics
    class_names: tuple[str, ...]
    lpips_heads: dict[str, np.ndarray]
    notices: tuple[str, ...]


def identify_weights(weights: Weights, recipes: Mapping[str, ConfigDict]) -> IdentifiedNet:
    """Return the net of a file.

    Args:
      weights: what `formats.read` gave.
      recipes: the configs by which 'torchvision' and 'caffe' were trained.

    Raises:
      UsageError: it is not of an AlexNet, or contradicts itself; the message does not name the file.
    """
    notices = [printable(line) for line in weights.notices]
    weights = _with_usual_head(_with_usual_names(weights), notices)
    if weights.arrays and weights.arrays.keys() <= LPIPS_HEADS.keys():
        raise UsageError("it holds the heads of LPIPS alone: convert a net, and give this file as --lpips")
    if weights.note:
        config, class_names, statistics = _read_note(weights)
    else:
        config, class_names = _foreign_config(weights, recipes), ()
        statistics = mean_statistics(_usual_mean(config), config.data)
    architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    keys = {MEAN} | {leaf.key for leaf in leaves(architecture, weights.layout)}
    heads = {}
    if LPIPS_HEADS.keys() <= weights.arrays.keys():
        heads = {name: weights.arrays[key] for key, name in LPIPS_HEADS.items()}
        keys |= LPIPS_HEADS.keys()
        notices.append(LPIPS_NOTICE)
    others = sorted(weights.arrays.keys() - keys)
    if others and weights.layout == "plain":
        more = f" and {len(others) - MAX_NAMED:,} more" if len(others) > MAX_NAMED else ""
        notices.append(printable(f"not read: {', '.join(others[:MAX_NAMED])}{more}"))
    elif others:
        strange = printable(others[0][:80])
        raise UsageError(f"it has {strange}, which {architecture.name} has not: it is of another net")
    params = from_arrays(architecture, weights)
    return IdentifiedNet(config, architecture, params, statistics, class_names, heads, tuple(notices))


def _with_usual_names(weights: Weights) -> Weights:
    """Call the arrays of a saved lpips.LPIPS, or of its heads, as torchvision and our own files call them."""
    if weights.layout != "torch":
        return weights
    arrays = {}
    for name, array in weights.arrays.items():
        trunk, head = LPIPS_TRUNK.fullmatch(name), LPIPS_HEAD.fullmatch(name)
        usual = f"features.{trunk[1]}" if trunk else f"lpips/lin{head[1]}" if head else name
        if name not in ("scaling_layer.shift", "scaling_layer.scale"):  # inference.lpips has them
            arrays[usual] = array
    return replace(weights, arrays=arrays)


def _with_usual_head(weights: Weights, notices: list[str]) -> Weights:
    """Call the last layer fc8: whoever fine-tunes in Caffe gives it a new name, so that it starts anew."""
    layer_of = {key: key.rpartition(".")[0] for key in weights.arrays}
    names = set(layer_of.values())
    unusual = names - TORCHVISION_NAMES.keys()
    if weights.layout != "caffe" or "fc8" in names or "fc7" not in names or len(unusual) != 1:
        return weights
    (name,) = unusual
    notices.append(f"its last layer is called {printable(name)}")
    renamed = {
        (f"fc8.{key.rpartition('.')[2]}" if layer_of[key] == name else key): array
        for key, array in weights.arrays.items()
    }
    return replace(weights, arrays=renamed)


def _foreign_config(weights: Weights, recipes: Mapping[str, ConfigDict]) -> FrozenConfigDict:
    """Return the config of a net that was not trained here, read off its file."""
    first, second, head = {
        "torch": ("features.0.weight", "features.3.weight", "classifier.6.bias"),
        "plain": ("conv1/kernel", "conv2/kernel", "fc8/bias"),
    }.get(weights.layout, ("conv1.0", "conv2.0", "fc8.1"))
    kernel = weights.arrays.get(first)
    if kernel is None or kernel.ndim != 4 or 0 in kernel.shape:
        held = printable(", ".join(name[:80] for name in sorted(weights.arrays)[:4])) or "nothing"
        raise UsageError(f"it has no {first} of a convolution, but {held}: it is not of an AlexNet")
    channels, features = kernel.shape[1::-1] if weights.layout in ("torch", "caffe") else kernel.shape[2:]
    if channels not in (1, 3):
        raise UsageError(f"{first} has the shape {kernel.shape}: images have one channel or three")
    read = weights.arrays[second].shape[2:3] if second in weights.arrays else (features,)
    if weights.layout == "plain" and read != (features,):
        raise UsageError("it has two towers and does not say of which net: a .npz that convert wrote does")
    caffe = weights.layout.startswith("caffe")
    recipe = recipes["caffe" if caffe else "torchvision"]
    # Views: those of which its published errors are.
    changes: dict[str, Any] = {"data.channels": channels, "data.mean": "rgb", "evaluate.views": 1}
    positions = [weights.layers.index(layer) for layer in ("pool1", "norm1") if layer in weights.layers]
    if caffe and len(positions) == 2 and positions[0] < positions[1]:
        changes["model.architecture"] = "caffenet"
    if channels == 1 and len(recipe.data.input_std) == 3:
        changes["data.input_std"] = (sum(recipe.data.input_std) / 3,)
    if head in weights.arrays:
        changes["model.classes"] = prod(weights.arrays[head].shape)
    config = resolve.replace(recipe, changes)
    full = layer_shapes(architectures.build(config.model, config.data.crop, channels))["conv1"].output[-1]
    return resolve.replace(config, {"model.width": features / full})


def _read_note(weights: Weights) -> tuple[FrozenConfigDict, tuple[str, ...], Statistics]:
    """Return config, class names and statistics as `to_file` wrote them; strangers may have changed them."""
    try:
        note = json.loads(weights.note)
        config = resolve.freeze(config_io.from_saved(note["config"]))
        names = tuple(str(name) for name in note["class_names"])
        found = {name: np.asarray(value, np.float64) for name, value in note["statistics"].items()}
        side, channels = config.data.size, config.data.channels
        if len(names) > config.model.classes or side > MAX_SIDE:
            raise UsageError("its config has fewer classes than class names, or images too large to be read")
        if config.data.mean in ("centre", "crop") and MEAN not in weights.arrays:
            raise UsageError(f"it has no {MEAN}")
        found["mean"] = weights.arrays.get(MEAN, np.broadcast_to(found["rgb_mean"], (side, side, channels)))
        expected = {
            name: np.asarray(value)
            for name, value in asdict(mean_statistics(np.zeros(channels), config.data)).items()
        }
        for name, like in expected.items():
            if found[name].shape != like.shape or not np.isfinite(found[name]).all():
                raise UsageError(f"its {name} of images has the shape {found[name].shape}, or is not finite")
        values: dict[str, Any] = {name: np.array(found[name], like.dtype) for name, like in expected.items()}
        return config, names, Statistics(**(values | {"count": int(values["count"])}))
    except UsageError:
        raise
    except Exception as error:  # any value can be of any kind
        raise UsageError(f"its config and metadata cannot be read: {error}") from error


def _usual_mean(config: ConfigDict) -> np.ndarray:
    torchvision = config.model.architecture == "torchvision"
    mean = 255 * np.array(TORCHVISION_MEAN) if torchvision else np.array(CAFFE_MEAN)
    return mean if config.data.channels == 3 else mean.mean(keepdims=True)


def with_mean(net: IdentifiedNet, path: Path) -> IdentifiedNet:
    """Return the net with Caffe's mean file in the place of the usual mean.

    A mean image is subtracted at the crop's own offset, as Caffe does.

    Raises:
      UsageError: as `formats.read_mean`, or a mean of another shape than the net's images.
    """
    mean, data = formats.read_mean(path), net.config.data
    if mean.shape[-1] != data.channels or (mean.ndim == 3 and mean.shape[:2] != (data.size, data.size)):
        raise UsageError(
            f"--mean={path} has the shape {mean.shape}, and the net needs "
            f"({data.size}, {data.size}, {data.channels}) or ({data.channels},)"
        )
    config = resolve.replace(net.config, {"data.mean": "crop" if mean.ndim == 3 else "rgb"})
    statistics = mean_statistics(mean.reshape(-1, data.channels).mean(axis=0, dtype=np.float64), data)
    if mean.ndim == 3:
        statistics = replace(statistics, mean=mean)
    return replace(net, config=config, statistics=statistics)


def with_lpips_heads(net: IdentifiedNet, path: Path) -> IdentifiedNet:
    """Return the net with the heads of LPIPS of a file, such as the lpips package's own alex.pth.

    Raises:
      UsageError: as `formats.read`, or the file has no such heads, or they are of another net.
    """
    arrays = _with_usual_names(formats.read(path)).arrays
    if not LPIPS_HEADS.keys() <= arrays.keys():
        raise UsageError(
            f"--lpips={path} has no lin0.model.1.weight to lin4.model.1.weight, the heads that the lpips "
            "package keeps in weights/v0.1/alex.pth"
        )
    heads = {name: np.asarray(arrays[key], np.float32) for key, name in LPIPS_HEADS.items()}
    convolutions = [layer["kernel"] for name, layer in net.params.items() if name.startswith("conv")]
    widths = [kernel.shape[-1] for kernel in convolutions]
    fit = [head.shape for head in heads.values()] == [(1, width, 1, 1) for width in widths]
    if not fit or net.architecture.towers != 1 or net.config.data.channels != 3:
        raise UsageError(
            f"--lpips={path} has heads for {', '.join(str(head.size) for head in heads.values())} channels, "
            f"and the net, {net.architecture.name} on {net.config.data.channels}-channel images, has "
            f"{', '.join(map(str, widths))}: LPIPS is of torchvision's AlexNet at its full width"
        )
    if not all(np.isfinite(head).all() for head in heads.values()):
        raise UsageError(f"--lpips={path} holds values that are not finite")
    notices = (*(line for line in net.notices if line != LPIPS_NOTICE), LPIPS_NOTICE)
    return replace(net, lpips_heads=heads, notices=notices)


def mean_statistics(rgb_mean: np.ndarray, data: ConfigDict) -> Statistics:
    """Return statistics of images of which the mean alone is known: no spread of colours, a count of 0."""
    side, channels = data.size, data.channels
    return Statistics(
        mean=np.broadcast_to(np.asarray(rgb_mean, np.float32), (side, side, channels)),
        rgb_mean=np.asarray(rgb_mean, np.float64),
        rgb_covariance=np.zeros((channels, channels)),
        eigenvalues=np.zeros(channels),
        eigenvectors=np.eye(channels),
        count=0,
    )
