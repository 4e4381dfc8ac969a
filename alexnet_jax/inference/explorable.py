"""What the explorer (`report/explorer`) needs of a trained net: its table, its numbers and some pictures."""

import importlib.resources
import io
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.data import pictures, pipeline, sources
from alexnet_jax.errors import UsageError
from alexnet_jax.inference.run import Run
from alexnet_jax.model import architectures
from alexnet_jax.model.architectures import Architecture, Conv, Dropout, Weighted, shapes
from alexnet_jax.training.evaluation import views_of

WHOLE = 3_000_000  # parameters that a page holds: 12 MB, 16 MB as text
PICTURES = 10  # pictures to pick from


@dataclass(frozen=True)
class Explorable:
    """A net for the explorer.

    Attributes:
      net: its table and what its answers mean, as JSON has it.
      arrays: float32: '<layer>/kernel' and '<layer>/bias' in the shapes of the parameter tree, and 'mean' as
        `inputs.mean_array` gives it.
      pictures: (name, PNG file) of pictures of the net's own size.
    """

    net: dict[str, Any]
    arrays: dict[str, np.ndarray]
    pictures: list[tuple[str, bytes]]


def explorable(run: Run) -> Explorable:
    """Hands over `run`; of a net that is too large for a page (`WHOLE`) the part before its dense layers."""
    architecture = convolutional_part(run.architecture)
    data, table = run.config.data, shapes(architecture)
    layers = []
    for layer in architecture.layers:
        row = asdict(layer)
        # The rows speak as the table does; what has two meanings there has two names here.
        if "kind" in row:
            row["how"] = row.pop("kind")
        kind = type(layer).__name__
        row["kind"] = {"LRN": "lrn", "SameMapLRN": "sameMapLrn"}.get(kind, kind[0].lower() + kind[1:])
        if row["kind"] == "local":
            row["pad"], row["stride"] = (layer.pad, layer.pad), 1  # type: ignore[union-attr]
        layers.append(
            {**row, "output": table[layer.name].output, "macs": table[layer.name].multiply_accumulates}
        )
    net = {
        "name": architecture.name,
        "crop": architecture.crop,
        "size": data.size,
        "channels": architecture.channels,
        "classes": architecture.classes,
        "towers": architecture.towers,
        "hasClasses": architecture.has_classes,
        "classNames": list(run.class_names),
        "layers": layers,
        "input": {"form": run.form.mean, "std": [float(np.float32(x)) for x in run.form.input_std]},
        "step": run.step,
        "parameters": sum(shape.parameters for shape in table.values()),
        "allParameters": sum(
            shape.parameters
            for shape in shapes(architectures.build(run.config.model, data.crop, data.channels)).values()
        ),
        "tenViews": views_of(10, data.size, architecture.crop),
    }
    arrays = {
        f"{layer}/{part}": np.asarray(jax.device_get(run.params[layer][part]), np.float32)
        for layer, shape in table.items()
        if shape.kernel
        for part in ("kernel", "bias")
    }
    return Explorable(
        net, {**arrays, "mean": np.asarray(run.mean, np.float32)}, _pictures(run.config, run.class_names)
    )


def convolutional_part(architecture: Architecture) -> Architecture:
    """The net itself, or its convolutions and what is between them where it is too large for a page.

    Raises:
      UsageError: it has none.
    """
    if sum(shape.parameters for shape in shapes(architecture).values()) <= WHOLE:
        return architecture
    rows = architecture.layers
    cut = next(i for i, row in enumerate(rows) if isinstance(row, Weighted) and not isinstance(row, Conv))
    while cut and isinstance(rows[cut - 1], Dropout):
        cut -= 1
    if not cut:
        raise UsageError(f"{architecture.name} has no convolutions, and is too large for a page")
    return replace(architecture, layers=rows[:cut])


def _pictures(config: ConfigDict, class_names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """A test picture of each of some classes where the run's data is at hand, else scikit-learn's own."""
    data = config.data
    try:
        dataset = pipeline.open_dataset(data)
        rows = (0, config.evaluate.batch_size)
        batches = pipeline.evaluation_batches(dataset, data.test_split, config, rows=rows)
        try:
            batch = next(batches)
        finally:
            batches.close()
    except UsageError:
        return _pictures_at_hand(data)
    # The first of each class, then more, as far as they go.
    real = [i for i in range(len(batch["label"])) if batch["weight"][i]]
    firsts = [
        next(i for i in real if batch["label"][i] == label) for label in sorted({*batch["label"][real]})
    ]
    chosen = (firsts + [i for i in real if i not in firsts])[:PICTURES]
    return [(_name(int(batch["label"][i]), class_names), _png(batch["image"][i])) for i in chosen]


def _pictures_at_hand(data: ConfigDict) -> list[tuple[str, bytes]]:
    """scikit-learn's: digits for a net that reads grey, photographs for one that reads colours."""
    if data.channels == 1:
        found: dict[str, bytes] = {}
        for picture in sources.open_source("digits").pictures():
            if picture.split == "test":
                found.setdefault(picture.label, picture.data)
        files = sorted(found.items())[:PICTURES]
    else:
        folder = Path(str(importlib.resources.files("sklearn.datasets"))) / "images"
        files = [(path.stem, path.read_bytes()) for path in sorted(folder.glob("*.jpg"))]
    return [(name, _png(pictures.square(file, data.size, data.channels, False))) for name, file in files]


def _name(label: int, class_names: tuple[str, ...]) -> str:
    return class_names[label] if label < len(class_names) else f"class {label}"


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "png", optimize=True)
    return file.getvalue()
