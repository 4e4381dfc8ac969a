"""Other people's weights become a workdir, and a workdir's parameters become files for others.

What differs between the layouts: PyTorch and Caffe put outputs before inputs and flatten pictures as
(C, H, W), we as (H, W, C); Caffe's pictures are BGR; our leaves have the towers first, theirs are of the
whole net, with the towers' maps one after the other (PyTorch's and Caffe's groups). Pictures are grey levels
0 to 255 for us and for Caffe; torchvision's mean and deviation, given for 0 to 1, are multiplied by 255.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from alexnet_jax import config as configuration
from alexnet_jax import files
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import lpips, run
from alexnet_jax.interop import formats
from alexnet_jax.interop.formats import Weights
from alexnet_jax.model import architectures, sharding
from alexnet_jax.model.architectures import Architecture, Dense, Dropout, Weighted
from alexnet_jax.progress import printable
from alexnet_jax.training.checkpoint import Checkpoints
from alexnet_jax.training.optimizer import Memory

Params = dict[str, dict[str, np.ndarray]]  # our tree, on the host

# torchvision/models/alexnet.py: the layers' places in its two nn.Sequential.
TORCHVISION = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}
# torchvision's, on 0 to 1; that of the pixels of Caffe's ilsvrc_2012_mean.npy. RGB.
TORCHVISION_MEAN = (0.485, 0.456, 0.406)
CAFFE_MEAN = (122.67892, 116.66877, 104.00699)
LARGEST_SIDE = 4096  # of the pictures that a file's own config may speak of
HEADS = {f"lpips/lin{number}": f"lin{number}" for number in range(5)}  # of LPIPS, in an .npz
MEAN = "statistics.mean"  # the mean picture in our own files, where the input needs it


@dataclass(frozen=True)
class Leaf:
    """One array of a net, in our tree and in a file.

    Attributes:
      layout: the file's, as in `formats.Weights`.
      layer: whose it is.
      first: whether the layer reads the picture.
      name: 'kernel' or 'bias'.
      shape: in our tree.
      reads: what the layer reads: (H, W, C) or (inputs,).
    """

    layout: str
    layer: Weighted
    first: bool
    name: str
    shape: tuple[int, ...]
    reads: tuple[int, ...]

    @property
    def key(self) -> str:
        """The name in the file."""
        if self.layout == "torch":
            return f"{TORCHVISION[self.layer.name]}.{'weight' if self.name == 'kernel' else 'bias'}"
        if self.layout == "plain":
            return f"{self.layer.name}/{self.name}"
        return f"{self.layer.name}.{0 if self.name == 'kernel' else 1}"

    @property
    def file_shape(self) -> tuple[int, ...]:
        """The shape in the file."""
        shape = self._whole_shape
        if not self._outputs_first:
            return shape
        return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]

    @property
    def _outputs_first(self) -> bool:
        return self.layout in ("torch", "caffe")

    @property
    def _towers_last(self) -> bool:
        """Whether the towers' shares stand side by side on the last axis of the whole; else on the first."""
        return self.name == "kernel" and not (isinstance(self.layer, Dense) and self.layer.reads == "sum")

    @property
    def _whole_shape(self) -> tuple[int, ...]:
        """The shape for the whole net, inputs before outputs."""
        if len(self.shape) == 1:
            return self.shape
        towers, *inner = self.shape
        if self._towers_last:
            return (*inner[:-1], towers * inner[-1])
        return (towers * inner[0], *inner[1:])

    def from_file(self, array: np.ndarray) -> np.ndarray:
        """The file's array of `file_shape` as ours: float32 of `shape`."""
        if self.name == "kernel" and self._outputs_first:
            if array.ndim == 2 and len(self.reads) == 3:
                height, width, _ = self.reads
                array = array.reshape(len(array), -1, height, width).transpose(0, 2, 3, 1)
                array = array.reshape(len(array), -1)
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        if self.name == "kernel" and self.first and self.layout.startswith("caffe"):
            array = array[:, :, ::-1]  # BGR
        if self._towers_last:
            array = np.moveaxis(array.reshape(*array.shape[:-1], self.shape[0], self.shape[-1]), -2, 0)
        with np.errstate(over="ignore"):  # the caller looks for what is not finite
            return np.array(array.reshape(self.shape), np.float32)

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """Our array as the file's, for the layouts that we write: 'torch' and 'plain'."""
        array = np.moveaxis(array, 0, -2) if self._towers_last else array
        array = array.reshape(self._whole_shape)
        if self.name == "kernel" and self._outputs_first:
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            if array.ndim == 2 and len(self.reads) == 3:
                height, width, _ = self.reads
                array = array.reshape(len(array), height, width, -1).transpose(0, 3, 1, 2)
                array = array.reshape(len(array), -1)
        return np.ascontiguousarray(array)


def leaves(architecture: Architecture, layout: str) -> Iterator[Leaf]:
    """Every array of a net, in the order of its layers.

    Raises:
      UsageError: torchvision has no name for a layer.
    """
    table = architectures.shapes(architecture)
    reads: tuple[int, ...] = (architecture.crop, architecture.crop, architecture.channels)
    first = True
    for layer in architecture.layers:
        if isinstance(layer, Weighted):
            if layout == "torch" and layer.name not in TORCHVISION:
                raise UsageError(f"torchvision's AlexNet has no {layer.name}: write this net to a .npz")
            yield Leaf(layout, layer, first, "kernel", table[layer.name].kernel, reads)
            yield Leaf(layout, layer, first, "bias", table[layer.name].bias, reads)
            first = False
        reads = table[layer.name].output


def to_arrays(architecture: Architecture, params: Any, layout: str) -> dict[str, np.ndarray]:
    """Our parameters, on the host, as a file has them: 'torch' for torchvision's names, 'plain' for ours.

    Raises:
      UsageError: torchvision has no name for a layer.
    """
    return {
        leaf.key: leaf.to_file(np.asarray(params[leaf.layer.name][leaf.name]))
        for leaf in leaves(architecture, layout)
    }


def from_arrays(architecture: Architecture, weights: Weights) -> Params:
    """Our parameters from a file's arrays: of all layers, or of the first ones where the rest is missing.

    Raises:
      UsageError: a shape, a missing array or values that this net cannot have.
    """
    params: Params = {}
    missing: str | None = None
    for leaf in leaves(architecture, weights.layout):
        array = weights.arrays.get(leaf.key)
        if array is None:
            missing = missing or leaf.key
            if leaf.layer.name in params:
                raise UsageError(f"it has no {missing}")
            continue
        if missing:
            raise UsageError(f"it has {leaf.key} and no {missing}")
        if array.shape != leaf.file_shape:
            raise UsageError(
                f"{leaf.key} has the shape {array.shape}, and {architecture.name} needs {leaf.file_shape}"
            )
        if array.dtype.kind in "iub":
            raise UsageError(f"{leaf.key} holds whole numbers ({array.dtype})")
        params.setdefault(leaf.layer.name, {})[leaf.name] = values = leaf.from_file(array)
        if not np.isfinite(values).all():
            raise UsageError(f"{leaf.key} holds values that are not finite in float32")
    if not params:
        raise UsageError(f"it has no {missing}: it is not of {architecture.name}")
    return params


def to_workdir(
    source: Path,
    output: Path,
    recipes: Mapping[str, ConfigDict],
    class_names: Path | None = None,
    mean: Path | None = None,
) -> list[str]:
    """Makes a workdir of a file of weights, whole or not at all.

    Args:
      source: a file that `formats.read` takes.
      output: a folder that does not exist yet.
      recipes: the configs by which 'torchvision' and 'caffe' were trained; the workdir gets a copy with
        what the weights decide.
      class_names: a text file with one name a line, in the order of the labels.
      mean: Caffe's mean file, for weights that were trained with another mean than the usual one.

    Returns:
      What was done, in lines for a person.

    Raises:
      UsageError: the file is damaged or not of an AlexNet, or does not fit the other arguments.
      RunFailure: the workdir cannot be written.
    """
    if output.exists():
        raise UsageError(f"--output={output} exists already: name a new folder")
    _check_parent(output)
    try:
        net = _understand(formats.read(source), recipes)
    except _Strange as error:
        raise UsageError(f"{source}: {printable(str(error))[:300]}") from error
    config, architecture, statistics, names = net.config, net.architecture, net.statistics, net.class_names
    weighted = [layer.name for layer in architecture.layers if isinstance(layer, Weighted)]
    missing = [name for name in weighted if name not in net.params]
    if class_names is not None:
        names = _read_names(class_names)
        if len(names) != config.model.classes:
            raise UsageError(
                f"--class_names={class_names} has {len(names)} names, and the net "
                f"{config.model.classes} classes"
            )
    elif not names and not missing:
        names = _usual_names(config.model.classes)
    if mean is not None:
        statistics = _mean_file(mean, config)
    beside = {"class_names": list(names), "statistics": "statistics.npz", "converted_from": source.name}
    reach = []
    if missing:
        architecture = _cut_before(architecture, missing[0])
        beside["weights_reach"] = architecture.logits
        reach.append(
            f"partial: the weights reach {architecture.logits}, without {', '.join(missing)}: for features "
            "and fine-tuning, not for predict and evaluate"
        )
    _write_workdir(output, replace(net, architecture=architecture, statistics=statistics), beside)
    count = sum(leaf.size for layer in net.params.values() for leaf in layer.values())
    rgb = config.data.mean == "rgb"
    off = ", ".join(f"{value:.3f}" for value in statistics.rgb_mean) if rgb else "a mean picture"
    std = ", ".join(f"{value:.3f}" for value in config.data.input_std)
    return [
        f"{source}: {architecture.name}, {count:,} parameters in {', '.join(net.params)}",
        f"input: {config.data.crop} x {config.data.crop} x {config.data.channels}, minus {off}, over {std}",
        *net.said,
        *reach,
        f"wrote the workdir {output}",
    ]


def to_file(workdir: Path, output: Path, which: str) -> list[str]:
    """Writes the parameters of a run with what they mean; `to_workdir` reads the same bits back.

    Args:
      workdir: of a run.
      output: `.safetensors`, with torchvision's names and layout, or `.npz`, with ours.
      which: the checkpoint: 'best', 'last' or a step.

    Returns:
      What was done, in lines for a person.

    Raises:
      UsageError: another suffix, no run, or a net for whose layers torchvision has no names.
      RunFailure: the checkpoint is damaged, or the file cannot be written.
    """
    writers = {".safetensors": ("torch", formats.write_safetensors), ".npz": ("plain", formats.write_npz)}
    if output.suffix not in writers or output.is_dir():
        raise UsageError(f"--output={output}: a workdir becomes a file {' or '.join(writers)}")
    _check_parent(output)
    layout, write = writers[output.suffix]
    loaded = run.load(workdir, run.read_config(workdir), which)
    arrays = to_arrays(loaded.architecture, jax.device_get(loaded.params), layout)
    statistics = asdict(Statistics.load(workdir / "statistics.npz"))
    mean = statistics.pop("mean")
    if layout == "plain" and (workdir / lpips.HEADS).exists():
        arrays.update(zip(HEADS, lpips.load_heads(workdir), strict=True))
    if loaded.form.mean in ("centre", "crop"):
        arrays[MEAN] = mean
    note = {
        "config": configuration.to_json(loaded.config),
        "class_names": loaded.class_names,
        "statistics": {name: np.asarray(value).tolist() for name, value in statistics.items()},
    }
    try:
        write(output, arrays, json.dumps(note))
    except OSError as error:
        raise RunFailure(f"{output} cannot be written: {error.strerror}") from error
    return [f"{output}: {loaded.architecture.name} of step {loaded.step}, {', '.join(loaded.params)}"]


def _check_parent(output: Path) -> None:
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output={output}: the folder {output.parent} does not exist")


class _Strange(UsageError):
    """Something in a file; the message does not name the file."""


@dataclass(frozen=True)
class _Net:
    """What a file was found to hold; `architecture` is whole, `params` may be of its first layers alone."""

    config: ConfigDict
    architecture: Architecture
    params: Params
    statistics: Statistics
    class_names: tuple[str, ...]
    heads: dict[str, np.ndarray]
    said: list[str]


def _understand(weights: Weights, recipes: Mapping[str, ConfigDict]) -> _Net:
    said: list[str] = []
    weights = _with_usual_head(weights, said)
    heads = {name: weights.arrays[key] for key, name in HEADS.items() if key in weights.arrays}
    try:
        if weights.note:
            config, class_names, statistics = _from_note(weights)
        else:
            config, class_names = _foreign_config(weights, recipes), ()
            statistics = _statistics(_usual_mean(config), config)
        architecture = architectures.build(config.model, config.data.crop, config.data.channels)
        keys = {MEAN} | {leaf.key for leaf in leaves(architecture, weights.layout)}
        if len(heads) == len(HEADS) and weights.layout == "plain":
            keys |= HEADS.keys()
            said.append("with the heads of LPIPS, for compare")
        else:
            heads = {}
        others = sorted(weights.arrays.keys() - keys)
        if others and weights.layout == "plain":
            said.append(printable(f"passed over: {', '.join(others)}"))
        elif others:
            strange = printable(others[0])
            raise UsageError(f"it has {strange}, which {architecture.name} has not: it is of another net")
        params = from_arrays(architecture, weights)
    except UsageError as error:
        raise _Strange(str(error)) from error
    return _Net(config, architecture, params, statistics, class_names, heads, said)


def _cut_before(architecture: Architecture, missing: str) -> Architecture:
    """The part of a table that can do without the layer `missing`."""
    layers = architecture.layers[: [layer.name for layer in architecture.layers].index(missing)]
    while isinstance(layers[-1], Dropout):  # it belongs to the layer that follows it
        layers = layers[:-1]
    return replace(architecture, layers=layers)


def _write_workdir(output: Path, net: _Net, beside: dict[str, Any]) -> None:
    mesh = sharding.make_mesh(1, 1, net.architecture.towers, 1, jax.devices()[:1])
    placed = jax.device_put(net.params, sharding.param_shardings(net.architecture, mesh))
    progress = {"epoch": 0.0, "schedule": Memory().to_json(), "evaluated_step": 0}
    try:
        with files.whole_folder(output) as folder:
            checkpoints = Checkpoints(folder / "checkpoints")
            try:
                checkpoints.save(0, {"params": placed}, progress | {"validation_top1_error": None})
            finally:
                checkpoints.close()
            net.statistics.save(folder / "statistics.npz")
            if net.heads:
                lpips.save_heads(folder, net.heads)
            configuration.save(folder / "config.json", net.config, **beside)
    except OSError as error:
        raise RunFailure(f"{output} cannot be written: {error.strerror}") from error


def _with_usual_head(weights: Weights, said: list[str]) -> Weights:
    """Calls the last layer fc8: whoever fine-tunes in Caffe gives it a new name, so that it starts anew."""
    names = {key.rpartition(".")[0] for key in weights.arrays} - TORCHVISION.keys()
    if (
        weights.layout != "caffe"
        or "fc8.0" in weights.arrays
        or "fc7.0" not in weights.arrays
        or len(names) != 1
    ):
        return weights
    name = names.pop()
    said.append(f"its last layer is called {printable(name)}")
    renamed = {
        (f"fc8.{key.rpartition('.')[2]}" if key.rpartition(".")[0] == name else key): array
        for key, array in weights.arrays.items()
    }
    return replace(weights, arrays=renamed)


def _foreign_config(weights: Weights, recipes: Mapping[str, ConfigDict]) -> ConfigDict:
    """The config of a net that was not trained here, read off its file."""
    first, second, head = {
        "torch": ("features.0.weight", "features.3.weight", "classifier.6.bias"),
        "plain": ("conv1/kernel", "conv2/kernel", "fc8/bias"),
    }.get(weights.layout, ("conv1.0", "conv2.0", "fc8.1"))
    kernel = weights.arrays.get(first)
    if kernel is None or kernel.ndim != 4 or 0 in kernel.shape:
        held = ", ".join(sorted(weights.arrays)[:4]) or "nothing"
        raise UsageError(f"it has no {first} of a convolution, but {held}: it is not of an AlexNet")
    channels, maps = kernel.shape[1::-1] if weights.layout in ("torch", "caffe") else kernel.shape[2:]
    if channels not in (1, 3):
        raise UsageError(f"{first} has the shape {kernel.shape}: pictures have one channel or three")
    caffe = weights.layout.startswith("caffe")
    config = recipes["caffe" if caffe else "torchvision"].copy_and_resolve_references()
    if (
        weights.layout == "plain"
        and second in weights.arrays
        and weights.arrays[second].shape[2:3] != (maps,)
    ):
        raise UsageError("it has two towers and does not say of which net: a .npz that convert wrote does")
    places = [weights.layers.index(layer) for layer in ("pool1", "norm1") if layer in weights.layers]
    if caffe and len(places) == 2 and places[0] < places[1]:
        config.model.architecture = "caffenet"
    config.data.channels, config.data.mean = channels, "rgb"
    if channels == 1 and len(config.data.input_std) == 3:
        config.data.input_std = (sum(config.data.input_std) / 3,)
    if head in weights.arrays:
        config.model.classes = prod(weights.arrays[head].shape)
    config.model.width = maps / _maps(architectures.build(config.model, config.data.crop, channels))
    config.evaluate.views = 1  # what its published errors are of
    configuration.check(config)
    return config


def _maps(architecture: Architecture) -> int:
    return architectures.shapes(architecture)["conv1"].output[-1]


def _from_note(weights: Weights) -> tuple[ConfigDict, tuple[str, ...], Statistics]:
    """Config, class names and statistics as `to_file` wrote them; strangers may have changed them."""
    try:
        note = json.loads(weights.note)
        config = configuration.from_json(note["config"])
        configuration.check(config)
        names = tuple(str(name) for name in note["class_names"])
        found = {name: np.asarray(value, np.float64) for name, value in note["statistics"].items()}
        side, channels = config.data.size, config.data.channels
        found["mean"] = weights.arrays.get(MEAN, np.broadcast_to(found["rgb_mean"], (side, side, channels)))
        if len(names) > config.model.classes or side > LARGEST_SIDE:
            raise UsageError("its config speaks of fewer classes or of larger pictures than it can have")
        if config.data.mean in ("centre", "crop") and MEAN not in weights.arrays:
            raise UsageError(f"it has no {MEAN}")
        blank = asdict(_statistics(np.zeros(channels), config))
        for name, like in blank.items():
            if found[name].shape != np.shape(like) or not np.isfinite(found[name]).all():
                raise UsageError(
                    f"its {name} of pictures has the shape {found[name].shape}, or is not finite"
                )
        values: dict[str, Any] = {
            name: np.array(found[name], np.asarray(blank[name]).dtype) for name in blank
        }
        return config, names, Statistics(**(values | {"count": int(values["count"])}))
    except UsageError:
        raise
    except Exception as error:  # any value can be of any kind
        raise UsageError(f"what it says of itself cannot be read: {error}") from error


def _usual_mean(config: ConfigDict) -> np.ndarray:
    torchvision = config.model.architecture == "torchvision"
    mean = 255 * np.array(TORCHVISION_MEAN) if torchvision else np.array(CAFFE_MEAN)
    return mean if config.data.channels == 3 else mean.mean(keepdims=True)


def _mean_file(path: Path, config: ConfigDict) -> Statistics:
    """The statistics of a mean file; a mean picture is taken off at the crop's own place, as Caffe does."""
    mean, data = formats.read_mean(path), config.data
    if mean.shape[-1] != data.channels or (mean.ndim == 3 and mean.shape[:2] != (data.size, data.size)):
        raise UsageError(
            f"--mean={path} has the shape {mean.shape}, and the net needs "
            f"({data.size}, {data.size}, {data.channels}) or ({data.channels},)"
        )
    data.mean = "crop" if mean.ndim == 3 else "rgb"
    statistics = _statistics(mean.reshape(-1, data.channels).mean(axis=0, dtype=np.float64), config)
    return replace(statistics, mean=mean) if mean.ndim == 3 else statistics


def _statistics(rgb_mean: np.ndarray, config: ConfigDict) -> Statistics:
    """Statistics of pictures of which the mean alone is known: no spread of colours, a count of 0."""
    side, channels = config.data.size, config.data.channels
    return Statistics(
        mean=np.broadcast_to(np.asarray(rgb_mean, np.float32), (side, side, channels)),
        rgb_mean=np.asarray(rgb_mean, np.float64),
        rgb_covariance=np.zeros((channels, channels)),
        eigenvalues=np.zeros(channels),
        eigenvectors=np.eye(channels),
        count=0,
    )


def _usual_names(classes: int) -> tuple[str, ...]:
    """ImageNet's synsets in the order of their numbers for 1000 classes; else 'class 0' and so on."""
    if classes != 1000:
        return tuple(f"class {label}" for label in range(classes))
    return tuple(Path(tfds.core.tfds_path("datasets/imagenet2012/labels.txt")).read_text().split())


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--class_names={path} cannot be read: {error}") from None
    return tuple(line.strip() for line in lines if line.strip())
