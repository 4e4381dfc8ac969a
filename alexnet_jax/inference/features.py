"""The verb `features`: the values of any layer for a user's images, by the layer's name."""

import itertools
import shutil
import tempfile
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any, TypeVar

import jax
import numpy as np

from alexnet_jax.data import image_files
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.evaluation import activations
from alexnet_jax.files import atomic_directory, atomic_write
from alexnet_jax.progress import Progress, printable
from alexnet_jax.workdir.trained import TrainedNet

T = TypeVar("T")
IN_FLIGHT = 1  # batches that an accelerator computes while the host writes the one before


def stream(
    net: TrainedNet, files: Sequence[Path], layers: Sequence[str], progress: Progress
) -> Iterator[tuple[list[Path], dict[str, np.ndarray], list[dict[str, str]]]]:
    """Yield the values of layers for files by batches: decoded ahead, and on an accelerator computed ahead.

    Memory does not grow with the number of files.

    Args:
      net: the net.
      files: images.
      layers: names.
      progress: counts the files, and says which cannot be read.

    Yields:
      The files of a batch that could be decoded, {name: (B, H, W, C) or (B, C)} with a row for each of them,
      and {'file', 'error'} of those that could not.
    """
    compute = activations.program(net, layers)
    rows = activations.rows_at_once(net, net.config.evaluate.batch_size, len(files))
    decoded = image_files.decode_batches(files, net.config.data, rows)
    computed = ((batch, compute(activations.on_mesh(net, batch.images))) for batch in decoded)
    # Two forward passes at once on a CPU gain nothing and take their temporary memory twice.
    count = 0 if net.mesh.devices.flat[0].platform == "cpu" else IN_FLIGHT
    for batch, on_device in ahead(computed, count):
        good = [row for row, error in enumerate(batch.errors) if error is None]
        left_out: list[dict[str, str]] = []
        for file, error in zip(batch.files, batch.errors, strict=True):
            if error is not None:
                left_out.append({"file": str(file), "error": error})
                progress.say(f"{printable(str(file))} cannot be read and is left out: {printable(error)}")
        values = jax.device_get(on_device)
        if len(good) < len(batch.images):
            values = {name: value[good] for name, value in values.items()}
        yield [batch.files[row] for row in good], values, left_out
        progress.update(len(batch.files))


def ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """Yield items, of which `count` are made before they are asked for."""
    waiting = deque(itertools.islice(items, count))
    for item in items:
        waiting.append(item)
        yield waiting.popleft()
    yield from waiting


def features(net: TrainedNet, files: Sequence[Path], layers: Sequence[str], output: str) -> dict[str, Any]:
    """Write the values of layers for files, centre view, as they come; whole or not at all.

    Args:
      net: what `trained.load` gave.
      files: images; those that cannot be decoded are named and left out.
      layers: names.
      output: 'X.npz', which gets one array for each name and `files`, or a folder, which gets
        `<name>.npy` for each, to be mapped into memory, and `files.txt`.

    Returns:
      {'output', 'files': how many, 'layers': {name: shape}, 'left_out': [{'file', 'error'}, ...]}.

    Raises:
      UsageError: an unknown layer, an output that cannot be, too little disk.
      RunFailure: no image could be decoded.
    """
    table, dtype = activations.shapes_of(net.architecture, layers), activations.value_dtype(net.architecture)
    path = check_output(output)
    needed = len(files) * sum(map(prod, table.values())) * dtype.itemsize
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise UsageError(
            f"--output={output}: {len(files):,} images need {needed / 1e9:,.1f} GB, "
            f"{free / 1e9:,.1f} GB are free"
        )
    kept: list[str] = []
    left_out: list[dict[str, str]] = []

    def write_all(folder: Path) -> dict[str, tuple[int, ...]]:
        arrays = {name: GrowingArray(folder / f"{name}.npy", table[name], dtype) for name in layers}
        with Progress("features", len(files), "images") as progress:
            for read, values, bad in stream(net, files, layers, progress):
                for name, array in arrays.items():
                    array.append(values[name])
                kept.extend(map(str, read))
                left_out.extend(bad)
        if not kept:
            raise RunFailure(f"none of {len(files)} images could be decoded: nothing was written")
        return {name: array.close() for name, array in arrays.items()}

    if path.suffix == ".npz":
        with tempfile.TemporaryDirectory(
            prefix=f".{path.name}.", suffix=".partial", dir=path.parent
        ) as spool:
            written = write_all(Path(spool))
            _pack(path, Path(spool), list(layers), kept)
    else:
        with atomic_directory(path) as folder:
            written = write_all(folder)
            lines = (name.replace("\r", "\\r").replace("\n", "\\n") + "\n" for name in kept)
            (folder / "files.txt").write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    return {"output": output, "files": len(kept), "layers": written, "left_out": left_out}


def check_output(output: str) -> Path:
    """Return the path to write; raise UsageError when neither an .npz nor a folder can be written there."""
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
        raise UsageError(f"--output={output} exists and is not an empty folder: remove it or name another")
    return path


def as_text(answer: Mapping[str, Any]) -> str:
    """Return the answer for a terminal."""
    lines = [f"{answer['output']}: {answer['files']:,} images"]
    lines += [
        f"  {printable(name)}  {' x '.join(map(str, shape))}" for name, shape in answer["layers"].items()
    ]
    if answer["left_out"]:
        lines.append(f"  {len(answer['left_out'])} of the files could not be read and are left out")
    return "\n".join(lines)


class GrowingArray:
    """Write a .npy file that grows by rows; its header, which numpy pads for that, gets their number last.

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
        """Add rows, which are cast."""
        self.file.write(np.ascontiguousarray(rows, self.dtype).data)
        self.rows += len(rows)

    def close(self) -> tuple[int, ...]:
        """Finish the file; return the shape of the array."""
        self.file.seek(0)
        self._header()
        self.file.close()
        return (self.rows, *self.shape)


def _pack(path: Path, folder: Path, layers: list[str], files: list[str]) -> None:
    """Put the .npy files below `folder` into an .npz, each removed when it is in."""
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in layers:
            member = folder / f"{name}.npy"
            with member.open("rb") as source, archive.open(f"{name}.npy", "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 22)
            member.unlink()
        with archive.open("files.npy", "w") as target:
            np.lib.format.write_array(target, np.asarray(files), allow_pickle=False)
