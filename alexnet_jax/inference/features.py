"""The verb `features`: what any layer says about pictures, by the layer's name.

A name is one of the net's own (`conv1` is the value before the ReLU, `relu1` after it), `prob`, one that
other tools give to the same place (`OTHER_NAMES`), or any of these with `/0` or `/1` behind it: the maps or
units of that tower alone. The name that was asked with is the name of the answer.
"""

import shutil
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from alexnet_jax import files as whole
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import reading
from alexnet_jax.inference.run import Run
from alexnet_jax.model import inputs, sharding
from alexnet_jax.model.architectures import Architecture, Dropout, shapes
from alexnet_jax.progress import Progress, printable
from alexnet_jax.training import step
from alexnet_jax.training.evaluation import padded_batch_size, views_of

# torchvision's modules, as its users, Brain-Score and thingsvision name them. At use its dropouts change
# nothing, nor does its average pooling of 6 x 6 maps, so that both have a place in nets without them. Its
# ReLUs work in place: what a hook keeps of `features.0` without a copy is `features.1` afterwards; here each
# name is the value that the module gives.
OTHER_NAMES = {
    "features.0": "conv1",
    "features.1": "relu1",
    "features.2": "pool1",
    "features.3": "conv2",
    "features.4": "relu2",
    "features.5": "pool2",
    "features.6": "conv3",
    "features.7": "relu3",
    "features.8": "conv4",
    "features.9": "relu4",
    "features.10": "conv5",
    "features.11": "relu5",
    "features.12": "pool5",
    "classifier.0": "avgpool",
    "classifier.1": "fc6",
    "classifier.2": "relu6",
    "classifier.3": "relu6",
    "classifier.4": "fc7",
    "classifier.5": "relu7",
    "classifier.6": "fc8",
}
PROBABILITIES = "prob"
IN_FLIGHT = 1  # batches that an accelerator computes while the host writes the one before


def names(architecture: Architecture) -> tuple[str, ...]:
    """All names that the net itself gives: its layers in order, and `prob` where it ends in classes."""
    table = tuple(layer.name for layer in architecture.layers)
    return (*table, PROBABILITIES) if architecture.has_classes else table


def deepest(architecture: Architecture) -> str:
    """The layer whose values stand for a picture: what the classes are told from, the paper's fc7 rectified.

    Of a net without classes it is the last layer.
    """
    layers = architecture.layers[:-1] if architecture.has_classes else architecture.layers
    return [layer.name for layer in layers if not isinstance(layer, Dropout)][-1]


def shapes_of(architecture: Architecture, layers: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The shape of each layer's values for one picture: (H, W, C) or (C,).

    Raises:
      UsageError: no layer, one twice, or one that the net does not have.
    """
    known = names(architecture)
    if not layers:
        raise UsageError(f"--layers is missing: this net has {', '.join(known)}")
    if len(set(layers)) < len(layers):
        raise UsageError(f"--layers={','.join(layers)} names a layer twice")
    table, found = shapes(architecture), {}
    for name in layers:
        layer, tower = _place(architecture, name)
        if layer not in known:
            other = f" ({layer})" if layer != name.partition("/")[0] else ""
            raise UsageError(
                f"--layers: {printable(name)!r}{other} is not a layer of this net; it has {', '.join(known)}"
            )
        shape = table[architecture.logits if layer == PROBABILITIES else layer].output
        if tower is not None:
            summed = architecture.has_classes and layer in (architecture.logits, PROBABILITIES)
            undivided = summed or architecture.towers < 2
            if undivided or tower not in ("0", "1"):
                some = "no towers" if undivided else "the towers 0 and 1"
                raise UsageError(f"--layers: {printable(name)!r}: {layer} has {some} in this net")
            shape = (*shape[:-1], shape[-1] // architecture.towers)
        found[name] = shape
    return found


def activations(run: Run, images: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
    """The values of layers for pictures in memory, centre view.

    Args:
      run: what `run.load` gave.
      images: uint8 (N, S, S, C): of the side that the run's pictures were prepared with
        (`config.data.size`), of which the centre is taken, or of `config.data.crop`.
      layers: names.

    Returns:
      {name: (N, H, W, C) or (N, C)}, float32 (float64 for a net that computes so).

    Raises:
      UsageError: an unknown layer, or pictures of another type or shape.
    """
    table, data = shapes_of(run.architecture, layers), run.config.data
    allowed = [(side, side, data.channels) for side in dict.fromkeys((data.size, data.crop))]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] not in allowed:
        forms = " or ".join(f"(N, {', '.join(map(str, form))})" for form in allowed)
        raise UsageError(f"pictures are uint8 {forms}, not {images.dtype} {images.shape}")
    compute = program(run, layers)
    rows = batch_size(run, len(images))
    found = {name: np.empty((len(images), *shape), _dtype(run.architecture)) for name, shape in table.items()}
    for start in range(0, len(images), rows):
        part = images[start : start + rows]
        values = compute(placed(run, np.pad(part, [(0, rows - len(part)), (0, 0), (0, 0), (0, 0)])))
        for name, target in found.items():
            target[start : start + len(part)] = np.asarray(values[name])[: len(part)]
    return found


def stream(
    run: Run, files: Sequence[Path], layers: Sequence[str]
) -> Iterator[tuple[reading.Batch, dict[str, np.ndarray]]]:
    """The values of layers for files, batch by batch: decoded ahead, and on an accelerator computed ahead.

    Memory does not grow with the number of files.

    Yields:
      What was read, and {name: (B, H, W, C) or (B, C)} with a row for each row of `images`.
    """
    compute = program(run, layers)
    waiting: deque[tuple[reading.Batch, dict[str, jax.Array]]] = deque()
    # Two forward passes at once on a CPU gain nothing and take their temporary memory twice.
    ahead = 0 if run.mesh.devices.flat[0].platform == "cpu" else IN_FLIGHT
    for batch in reading.batches(files, run.config.data, batch_size(run, len(files))):
        waiting.append((batch, compute(placed(run, batch.images))))
        if len(waiting) > ahead:
            read, values = waiting.popleft()
            yield read, jax.device_get(values)
    while waiting:
        read, values = waiting.popleft()
        yield read, jax.device_get(values)


def program(run: Run, layers: Sequence[str]) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """A function of pictures on the mesh (`placed`) to the values of `layers`, compiled once for each shape.

    What the layers do not need is not computed.
    """
    fixed = (run.architecture, run.mesh, run.form, run.config.data.size, tuple(layers))
    return lambda image: _values(*fixed, run.params, run.mean, image)


def placed(run: Run, images: np.ndarray) -> jax.Array:
    """Pictures, uint8 (B, S, S, C) or (B, crop, crop, C), spread over the mesh."""
    return step.to_device({"image": images}, run.mesh)["image"]


def batch_size(run: Run, pictures: int) -> int:
    """How many pictures are computed at once: what the config says, or fewer where there are not so many."""
    return padded_batch_size(min(run.config.evaluate.batch_size, max(pictures, 1)), run.mesh)


def features(run: Run, files: Sequence[Path], layers: Sequence[str], output: str) -> dict[str, Any]:
    """Writes the values of layers for files, centre view, as they come; whole or not at all.

    Args:
      run: what `run.load` gave.
      files: pictures; those that cannot be decoded are named and left out.
      layers: names.
      output: 'X.npz', which gets one array for each name and `files`, or a folder, which gets
        `<name>.npy` for each, to be mapped into memory, and `files.txt`.

    Returns:
      {'output', 'files': how many, 'layers': {name: shape}, 'left_out': [{'file', 'error'}, ...]}.

    Raises:
      UsageError: an unknown layer, an output that cannot be, too little disk.
      RunFailure: no picture could be decoded.
    """
    table = shapes_of(run.architecture, layers)
    path = check_output(output)
    needed = len(files) * sum(map(prod, table.values())) * _dtype(run.architecture).itemsize
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise UsageError(
            f"--output={output}: {len(files):,} pictures need {needed / 1e9:,.1f} GB, "
            f"{free / 1e9:,.1f} GB are free"
        )
    kept: list[str] = []
    left_out: list[dict[str, str]] = []

    def write_all(folder: Path) -> dict[str, tuple[int, ...]]:
        arrays = {
            name: GrowingArray(folder / f"{name}.npy", table[name], _dtype(run.architecture))
            for name in layers
        }
        with Progress("features", len(files), "pictures") as progress:
            for read, values in stream(run, files, layers):
                good = [row for row, error in enumerate(read.errors) if error is None]
                for name, array in arrays.items():
                    array.append(values[name][good] if len(good) < len(values[name]) else values[name])
                kept.extend(str(read.files[row]) for row in good)
                for file, error in zip(read.files, read.errors, strict=True):
                    if error is not None:
                        left_out.append({"file": str(file), "error": error})
                        progress.say(
                            f"{printable(str(file))} cannot be read and is left out: {printable(error)}"
                        )
                progress.update(len(read.files))
        if not kept:
            raise RunFailure(f"none of {len(files)} pictures could be decoded: nothing was written")
        return {name: array.close() for name, array in arrays.items()}

    if path.suffix == ".npz":
        with tempfile.TemporaryDirectory(
            prefix=f".{path.name}.", suffix=".partial", dir=path.parent
        ) as spool:
            written = write_all(Path(spool))
            _pack(path, Path(spool), list(layers), kept)
    else:
        with whole.whole_folder(path) as folder:
            written = write_all(folder)
            lines = (name.replace("\r", "\\r").replace("\n", "\\n") + "\n" for name in kept)
            (folder / "files.txt").write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    return {"output": output, "files": len(kept), "layers": written, "left_out": left_out}


def check_output(output: str) -> Path:
    """The path to write; UsageError when neither an .npz nor a folder can be written there."""
    path = Path(output)
    if not output:
        raise UsageError("features needs --output=X.npz, or --output=FOLDER for one .npy a layer")
    if path.suffix not in (".npz", "") and not output.endswith("/"):
        raise UsageError(f"--output={output}: the name of an .npz, or of a folder (with / at its end)")
    if not path.parent.is_dir():
        raise UsageError(f"--output={output}: the folder {path.parent} does not exist")
    if path.suffix == ".npz" and path.is_dir():
        raise UsageError(f"--output={output} is a folder: name an .npz, or a folder without .npz in its name")
    if path.suffix != ".npz" and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"--output={output} is there and not an empty folder: remove it or name another")
    return path


def as_text(answer: Mapping[str, Any]) -> str:
    """The answer for a terminal."""
    lines = [f"{answer['output']}: {answer['files']:,} pictures"]
    lines += [
        f"  {printable(name)}  {' x '.join(map(str, shape))}" for name, shape in answer["layers"].items()
    ]
    if answer["left_out"]:
        lines.append(f"  {len(answer['left_out'])} of the files could not be read and are left out")
    return "\n".join(lines)


def _place(architecture: Architecture, name: str) -> tuple[str, str | None]:
    """The net's own name for `name`, and the tower it asks for."""
    layer, slash, tower = name.partition("/")
    layer = OTHER_NAMES.get(layer, layer)
    table = shapes(architecture)
    if layer == "avgpool" and layer not in table and "pool5" in table and table["pool5"].output[:2] == (6, 6):
        layer = "pool5"
    return layer, tower if slash else None


def _dtype(architecture: Architecture) -> np.dtype:
    return np.dtype(np.float64 if architecture.compute_dtype == "float64" else np.float32)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _values(
    architecture: Architecture,
    mesh: Mesh,
    form: inputs.InputForm,
    size: int,
    layers: tuple[str, ...],
    params: Any,
    mean: jax.Array,
    image: jax.Array,
) -> dict[str, jax.Array]:
    top, left, flip = views_of(1, size, architecture.crop)[0]
    corner = (top, left) if image.shape[1] == size else (0, 0)
    batch = inputs.view(image, *corner, flip, architecture.crop)
    batch["offset"] = jnp.broadcast_to(jnp.asarray([top, left], jnp.int32), (image.shape[0], 2))
    x = inputs.normalise(batch, mean, form)
    places = {name: _place(architecture, name) for name in layers}
    sources = {architecture.logits if layer == PROBABILITIES else layer for layer, _ in places.values()}
    values = sharding.forward(architecture, mesh, params, x, wanted=tuple(sorted(sources)))
    found = {}
    for name, (layer, tower) in places.items():
        if layer == PROBABILITIES:
            value = jax.nn.softmax(values[architecture.logits].astype(_dtype(architecture)))
        else:
            value = values[layer].astype(_dtype(architecture))
        if tower is not None:
            share = value.shape[-1] // architecture.towers
            value = value[..., int(tower) * share : (int(tower) + 1) * share]
        found[name] = value
    return found


class GrowingArray:
    """A .npy file that grows by rows; its header, which numpy pads for that, gets their number at the end.

    Args:
      path: of the file; folders before it are made.
      shape: of a row.
      dtype: of its numbers.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: IO[bytes] = path.open("wb")
        self.shape, self.dtype, self.rows = shape, dtype, 0
        self._header()

    def _header(self) -> None:
        written = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self.file, written)

    def append(self, rows: np.ndarray) -> None:
        """Adds rows, which are cast."""
        self.file.write(np.ascontiguousarray(rows, self.dtype).data)
        self.rows += len(rows)

    def close(self) -> tuple[int, ...]:
        """Finishes the file; returns the shape of the array."""
        self.file.seek(0)
        self._header()
        self.file.close()
        return (self.rows, *self.shape)


def _pack(path: Path, folder: Path, layers: list[str], files: list[str]) -> None:
    """Puts the .npy files below `folder` into an .npz, each removed when it is in."""
    with whole.whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in layers:
            member = folder / f"{name}.npy"
            with member.open("rb") as source, archive.open(f"{name}.npy", "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 22)
            member.unlink()
        with archive.open("files.npy", "w") as target:
            np.lib.format.write_array(target, np.asarray(files), allow_pickle=False)
