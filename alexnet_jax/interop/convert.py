"""Convert weights of other programs into a workdir, and the parameters of a workdir into a file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.config import io as config_io
from alexnet_jax.config import resolve, schema
from alexnet_jax.data.images import Preprocessing
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.evaluation import imagenet_names
from alexnet_jax.files import atomic_directory, check_parent, read_bounded
from alexnet_jax.inference import lpips
from alexnet_jax.interop import formats
from alexnet_jax.interop.identify import IdentifiedNet, identify_weights, with_lpips_heads, with_mean
from alexnet_jax.interop.layout import LPIPS_HEADS, MEAN, TORCHVISION_NAMES, to_arrays
from alexnet_jax.model import sharding
from alexnet_jax.model.specs import Architecture, Dropout, Weighted
from alexnet_jax.progress import printable
from alexnet_jax.training.optimizer import PlateauState
from alexnet_jax.workdir import layout, trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from alexnet_jax.workdir.provenance import RunInputs

MAX_NAMES_BYTES = 4 * 2**20  # of a file of class names; ImageNet's 21,841 need a quarter


def check_new(output: Path) -> None:
    """Raise UsageError where a folder cannot be made: it is there, or a file is where one around it is."""
    if output.exists():
        raise UsageError(f"--output={output} exists already: name a new folder")
    around = next(folder for folder in output.absolute().parents if folder.exists())
    if not around.is_dir():
        raise UsageError(f"--output={output}: {around} is a file")


def to_workdir(
    source: Path,
    output: Path,
    recipes: Mapping[str, ConfigDict],
    class_names: Path | None = None,
    mean: Path | None = None,
    lpips_heads: Path | None = None,
) -> list[str]:
    """Write the weights of a file as a workdir, whole or not at all.

    Args:
      source: a file that `formats.read` takes.
      output: a folder that does not exist yet.
      recipes: the configs that trained the nets of 'torchvision' and 'caffe'; the workdir gets a copy of
        one, with the keys that the weights decide.
      class_names: a text file with one name a line, in the order of the labels.
      mean: a mean file of Caffe, for weights that were trained with another mean than the published one.
      lpips_heads: a file of LPIPS' heads, such as the lpips package's alex.pth.

    Returns:
      Lines for the user that say what was done.

    Raises:
      UsageError: the file is damaged or not of an AlexNet, or does not fit the other arguments.
      RunFailure: the workdir cannot be written.
    """
    check_new(output)
    weights = formats.read(source)
    try:
        net = identify_weights(weights, recipes)
    except UsageError as error:
        raise UsageError(f"{source}: {printable(str(error))[:300]}") from error
    architecture = net.architecture
    weighted = [layer.name for layer in architecture.layers if isinstance(layer, Weighted)]
    missing = [name for name in weighted if name not in net.params]
    names = _class_names(net, class_names, partial=bool(missing))
    net = net if mean is None else with_mean(net, mean)
    net = net if lpips_heads is None else with_lpips_heads(net, lpips_heads)
    metadata = {"class_names": names, "statistics": layout.STATISTICS, "converted_from": source.name}
    reach = []
    if missing:
        architecture = _cut_before(architecture, missing[0])
        metadata["weights_reach"] = architecture.logits
        reach.append(
            f"partial: the weights reach {architecture.logits}, without {', '.join(missing)}: for features "
            "and fine-tuning, not for predict and evaluate"
        )
    _write_workdir(output, replace(net, architecture=architecture), metadata)
    return [*_summary(source, net), *net.notices, *reach, f"wrote the workdir {output}"]


def _summary(source: Path, net: IdentifiedNet) -> list[str]:
    """Return two lines that describe the net and how it reads images."""
    data = net.config.data
    count = sum(leaf.size for layer in net.params.values() for leaf in layer.values())
    mean = ", ".join(f"{value:.3f}" for value in net.statistics.rgb_mean)
    mean = mean if data.mean == "rgb" else "a mean image"
    std = ", ".join(f"{value:.3f}" for value in data.input_std)
    return [
        f"{source}: {net.architecture.name}, {count:,} parameters in {', '.join(net.params)}",
        f"input: {data.crop} x {data.crop} x {data.channels}, minus {mean}, over {std}",
        f"images: {Preprocessing.of(data).in_words()}",
    ]


def to_file(workdir: Path, output: Path, which: str, half: bool = False) -> list[str]:
    """Write the parameters of a run, its config and class names; `to_workdir` reads the same bits back.

    Args:
      workdir: the folder of a run.
      output: `.safetensors`, with torchvision's names and layout where it has names for the net's layers, or
        `.npz`; else with ours.
      which: the checkpoint: 'best', 'last' or a step.
      half: round to float16, half the bytes.

    Returns:
      Lines for the user that say what was done.

    Raises:
      UsageError: another suffix, no run, or a value that float16 cannot hold.
      RunFailure: the checkpoint is damaged, or the file cannot be written.
    """
    if output.suffix not in formats.WRITERS or output.is_dir():
        raise UsageError(f"--output={output}: name a file that ends in {' or '.join(formats.WRITERS)}")
    check_parent(output)
    net = trained.load(workdir, trained.read_config(workdir), which)
    names = {layer.name for layer in net.architecture.layers if isinstance(layer, Weighted)}
    form = "torch" if output.suffix == ".safetensors" and names <= TORCHVISION_NAMES.keys() else "plain"
    arrays = to_arrays(net.architecture, jax.device_get(net.params), form)
    statistics = asdict(net.statistics)
    mean = statistics.pop("mean")
    left_out = []
    if (workdir / layout.LPIPS_HEADS).exists():
        if form == "plain":
            arrays.update(zip(LPIPS_HEADS, lpips.heads_of(net), strict=True))
        else:
            left_out.append("without the heads of LPIPS, which a .npz holds too")
    if net.normalization.mean in ("centre", "crop"):
        arrays[MEAN] = mean
    arrays = _rounded(arrays) if half else arrays
    note = {
        # Its paths are of this machine.
        "config": config_io.to_json(resolve.replace(net.config, dict.fromkeys(schema.PATHS, ""))),
        "class_names": net.class_names,
        "statistics": {name: np.asarray(value).tolist() for name, value in statistics.items()},
    }
    try:
        formats.WRITERS[output.suffix](output, arrays, json.dumps(note))
    except OSError as error:
        raise RunFailure(f"{output} cannot be written: {error.strerror or error}") from error
    return [f"{output}: {net.architecture.name} of step {net.step}, {', '.join(net.params)}", *left_out]


def _rounded(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with np.errstate(over="ignore"):  # said below
        rounded = {name: array.astype(np.float16) for name, array in arrays.items()}
    for name, array in rounded.items():
        if not np.isfinite(array).all():
            raise UsageError(f"--half: {name} has values beyond float16's 65,504")
    return rounded


def _class_names(net: IdentifiedNet, path: Path | None, partial: bool) -> tuple[str, ...]:
    """Return the class names of a file, else those of the weights, else, for a whole net, the usual ones."""
    classes = net.config.model.classes
    if path is None:
        return net.class_names if net.class_names or partial else _usual_names(classes)
    names = _read_names(path)
    if len(names) != classes:
        raise UsageError(f"--class_names={path} has {len(names)} names, and the net {classes} classes")
    return names


def _usual_names(classes: int) -> tuple[str, ...]:
    """Return ImageNet's synsets, sorted, for 1000 classes, else 'class 0', 'class 1' and so on."""
    if classes != 1000:
        return tuple(f"class {label}" for label in range(classes))
    return tuple(imagenet_names.table())


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        lines = read_bounded(path, MAX_NAMES_BYTES).decode().splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"--class_names={path} cannot be read: {error}") from None
    return tuple(line.strip() for line in lines if line.strip())


def _cut_before(architecture: Architecture, missing: str) -> Architecture:
    """Return the architecture without the layer `missing` and all layers after it."""
    layers = architecture.layers[: [layer.name for layer in architecture.layers].index(missing)]
    while isinstance(layers[-1], Dropout):  # a dropout belongs to the layer after it
        layers = layers[:-1]
    return replace(architecture, layers=layers)


def _write_workdir(output: Path, net: IdentifiedNet, metadata: dict[str, Any]) -> None:
    mesh = sharding.make_mesh(1, 1, net.architecture.towers, 1, jax.devices()[:1])
    params = jax.device_put(net.params, sharding.param_shardings(net.architecture, mesh))
    progress = {"epoch": 0.0, "schedule": PlateauState().to_json(), "evaluated_step": 0}
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        with atomic_directory(output) as folder:
            net.statistics.save(folder / layout.STATISTICS)
            heads = lpips.save_heads(folder, net.lpips_heads) if net.lpips_heads else None
            config_io.save(folder / layout.CONFIG, net.config, **metadata)
            names, reach = tuple(metadata["class_names"]), metadata.get("weights_reach")
            made_with = RunInputs(net.config, names, net.statistics, reach).provenance(0, lpips_heads=heads)
            checkpoints = Checkpoints(folder)
            try:
                checkpoints.save(0, {"params": params}, progress | {"validation_top1_error": None}, made_with)
            finally:
                checkpoints.close()
    except OSError as error:
        raise RunFailure(f"{output} cannot be written: {error.strerror or error}") from error
