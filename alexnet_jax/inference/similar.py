"""The verb `similar`: the images of a folder that look like a given one, or that show a named thing.

An image is compared by the values from which the classes are computed (in the paper's net relu7, that is fc7
after its ReLU), or by the last layer that the weights reach (pool5, flattened). The distance is cosine, with
which the nearest image is of the same class more often, by units and by feature maps (docs/measurements.md):
the length of a vector, which says how much there is to see, drowns what is to be seen. Euclidean, as in the
paper's figure 4, is the other choice. Every image is compared with the one asked for: nothing is approximated
but the values themselves, which are kept in half precision, 8 KB an image for relu7 and 18 KB for pool5.

The index lies in the workdir, `similar/<digest of the folder's path>/`: `index.json` names the files, with
size and time of change, and `vectors-<n>.npy` and `probabilities-<n>.npy` have a row for each. It is written
last and has a checksum of its own: what it does not name is not part of it.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax import files
from alexnet_jax.arrays import map_npy
from alexnet_jax.config import io as config_io
from alexnet_jax.data import image_files
from alexnet_jax.data.images import BadImage, Preprocessing, read_file, resize_center_crop
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.evaluation import activations, classes
from alexnet_jax.inference import features
from alexnet_jax.progress import Progress, printable
from alexnet_jax.workdir import layout
from alexnet_jax.workdir.provenance import sealed, unsealed
from alexnet_jax.workdir.trained import TrainedNet

CHUNK = 1 << 25  # numbers of the index that are compared at once
DISTANCES = ("euclidean", "cosine")
DEFAULT_DISTANCE = "cosine"  # the better one by every layer: docs/measurements.md
DTYPES = {"vectors": np.float16, "probabilities": np.float32}


@dataclass(frozen=True)
class Index:
    """Hold the images of a folder, and what a net computes of them; a row each.

    Attributes:
      folder: where they lie.
      layer: whose values `vectors` are.
      files: below `folder`.
      vectors: float16 (N, D), mapped into memory.
      probabilities: float32 (N, classes), mapped into memory; None for a net without classes.
    """

    folder: Path
    layer: str
    files: tuple[str, ...]
    vectors: np.ndarray
    probabilities: np.ndarray | None


def nearest(
    vectors: np.ndarray, queries: np.ndarray, count: int, distance: str = DEFAULT_DISTANCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest vectors: exact, in chunks, so that `vectors` may lie on disk.

    Args:
      vectors: (N, D), of any float type, perhaps mapped into memory.
      queries: (Q, D).
      count: how many, at most N.
      distance: 'euclidean', |a - b|, or 'cosine', 1 - a.b / |a||b| (0.5 where one of them is 0).

    Returns:
      Distances float32 (Q, count), ascending, and rows int64 (Q, count); of equals the first row is first.
    """
    count = min(count, len(vectors))
    rows = max(min(CHUNK // vectors.shape[1], len(vectors)), count, 1)
    best = np.full((len(queries), count), np.inf, np.float32)
    which = np.zeros((len(queries), count), np.int64)
    queries_on_device = jnp.asarray(queries)
    for start in range(0, len(vectors), rows):
        chunk = vectors[start : start + rows]
        size = len(chunk)
        if size < rows and start:  # one shape, one program; rows of the chunk before are masked
            start -= rows - size
            chunk = vectors[start : start + rows]
        squares, positions = _nearest_of(
            jnp.asarray(chunk), queries_on_device, jnp.asarray(rows - size), count, distance == "cosine"
        )
        merged = np.concatenate([best, np.asarray(squares)], axis=1)
        order = np.argsort(merged, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(merged, order, axis=1)
        which = np.take_along_axis(
            np.concatenate([which, np.asarray(positions) + start], axis=1), order, axis=1
        )
    return (best / 2 if distance == "cosine" else np.sqrt(best)), which


@partial(jax.jit, static_argnums=(3, 4))
def _nearest_of(
    chunk: jax.Array, queries: jax.Array, skipped: jax.Array, count: int, unit: bool
) -> tuple[jax.Array, jax.Array]:
    """Return the smallest squared distances of each query to `chunk`, its first `skipped` rows left out.

    `unit`: all vectors are scaled to length 1 first; the square is then twice the cosine distance.
    """
    is_skipped = jnp.arange(len(chunk)) < skipped

    # Differences and not |a|^2 - 2ab + |b|^2, whose rounding would hide that an image is itself.
    def one(query: jax.Array) -> tuple[jax.Array, jax.Array]:
        a, b = chunk.astype(jnp.float32), query.astype(jnp.float32)
        if unit:
            lengths = (jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
            a, b = (v / jnp.maximum(n, 1e-30) for v, n in zip((a, b), lengths, strict=True))
        squares = jnp.sum(jnp.square(a - b), axis=-1)
        negative, positions = jax.lax.top_k(-jnp.where(is_skipped, jnp.inf, squares), count)
        return -negative, positions

    smallest: tuple[jax.Array, jax.Array] = jax.lax.map(one, queries)
    return smallest


def index(net: TrainedNet, folder: Path) -> tuple[Index, list[dict[str, str]]]:
    """Return the index of all images below `folder`, from disk as far as it holds.

    What is new or changed is computed, what is gone is dropped; with other weights or another layer all is.
    It holds values alone, so that every distance is asked of the same one. An interruption keeps what was
    computed.

    Returns:
      The index, and {'file', 'error'} of those that could not be decoded.

    Raises:
      UsageError: no folder, or no images in it.
      RunFailure: none could be decoded.
    """
    if not folder.is_dir():
        raise UsageError(f"--source={folder} is not a folder: similar searches the images below one")
    paths = {path.relative_to(folder).as_posix(): path for path in image_files.list_folder(folder)}
    if not paths:
        raise UsageError(f"the folder {folder} holds no images")
    layer, key = activations.embedding_layer(net.architecture), weights_key(net)
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    index_folder = net.workdir / layout.SIMILAR / digest
    old = _read(index_folder)
    if old and (old["key"], old["layer"]) != (key, layer):
        other = "other weights" if old["key"] != key else f"another layer, {printable(old['layer'])}"
        print(f"{printable(str(folder))} is indexed again: its index is of {other}", file=sys.stderr)
        old = {}
    states = {name: path.stat() for name, path in paths.items()}
    stamps = {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}
    known = old.get("files", ())
    kept = {name: row for row, (name, stamp) in enumerate(known) if stamps.get(name) == stamp}
    left_out: list[dict[str, str]] = []
    if not len(kept) == len(paths) == len(known):
        files.check_files(net.workdir, written=True)
        index_folder.mkdir(parents=True, exist_ok=True)
        left_out = _update(net, folder, index_folder, layer, key, old, kept, stamps)
    now = _read(index_folder)
    if (now.get("key"), now.get("layer")) != (key, layer):
        raise RunFailure(f"none of {len(paths)} images in {folder} could be decoded")
    names = tuple(name for name, _ in now["files"])
    return Index(folder, layer, names, now["vectors"], now["probabilities"]), left_out


def _update(
    net: TrainedNet,
    folder: Path,
    index_folder: Path,
    layer: str,
    key: str,
    old: dict[str, Any],
    kept: dict[str, int],
    stamps: dict[str, list[int]],
) -> list[dict[str, str]]:
    """Bring an index up to date; return what could not be decoded.

    What `old` holds in the rows of `kept` {name: row} is used again; `stamps` {name: size and time} has all
    images.
    """
    # A new name: what the index on disk names stays as it is until the new one is whole.
    number = 1 + max((int(path.stem.split("-")[1]) for path in index_folder.glob("*-*.npy")), default=0)
    shapes = {"vectors": (prod(activations.shapes_of(net.architecture, [layer])[layer]),)}
    if net.architecture.has_classes:
        shapes["probabilities"] = (net.architecture.classes,)
    arrays = {
        what: features.GrowingArray(index_folder / f"{what}-{number}.npy", shape, np.dtype(DTYPES[what]))
        for what, shape in shapes.items()
    }
    rows = np.asarray(list(kept.values()), np.int64)
    for what, array in arrays.items():
        for start in range(0, len(rows), 4096):
            array.append(old[what][rows[start : start + 4096]])
    indexed = list(kept)
    left_out: list[dict[str, str]] = []
    missing = [folder / name for name in stamps if name not in kept]
    try:
        with Progress("index", len(missing), "images", shown=bool(missing)) as progress:
            for read, bad in _append(net, missing, layer, arrays, progress):
                indexed += [path.relative_to(folder).as_posix() for path in read]
                left_out += bad
    finally:  # an interruption too: the next command continues from there
        for array in arrays.values():
            array.rows = len(indexed)
            array.close()
        changed = not len(indexed) == len(kept) == len(old.get("files", ()))
        if changed:
            named = [(name, stamps[name]) for name in indexed]
            written = {"key": key, "layer": layer, "number": number, "files": named}
            files.write_text(index_folder / layout.SIMILAR_INDEX, json.dumps(sealed(written)) + "\n")
        for path in index_folder.glob("*-*.npy"):
            if path.stem.endswith(f"-{number}") != changed:
                path.unlink()
    return left_out


def _append(
    net: TrainedNet,
    paths: list[Path],
    layer: str,
    arrays: dict[str, features.GrowingArray],
    progress: Progress,
) -> Iterator[tuple[list[Path], list[dict[str, str]]]]:
    """Compute and append rows; yield the images whose rows they are, and what could not be decoded."""
    layers = [layer, activations.PROBABILITIES] if "probabilities" in arrays else [layer]
    for read, values, bad in features.stream(net, paths, layers, progress):
        with np.errstate(over="ignore"):
            vectors = values[layer].astype(np.float16).reshape(len(read), *arrays["vectors"].shape)
        if not np.isfinite(vectors).all():
            raise RunFailure(f"the values of {layer} are not numbers below 65,504: these weights diverged")
        arrays["vectors"].append(vectors)
        if "probabilities" in arrays:
            arrays["probabilities"].append(values[activations.PROBABILITIES])
        yield read, bad


def _read(index_folder: Path) -> dict[str, Any]:
    """Return what `index.json` says, and the arrays that it names; {} when there is none or it is damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        tree = unsealed(json.loads(files.read_bounded(index_folder / layout.SIMILAR_INDEX, 2**30)))  # bytes
        tree["files"] = [(str(name), [int(x) for x in stamp]) for name, stamp in tree["files"]]
        tree["layer"] = str(tree["layer"])
        for what, dtype in DTYPES.items():
            path = index_folder / f"{what}-{int(tree['number'])}.npy"
            tree[what] = array = map_npy(path) if path.exists() else None
            if array is not None and (array.dtype != dtype or array.ndim != 2):
                return {}
        if tree["key"] and len(tree["vectors"]) == len(tree["files"]) > 0:
            return tree
    return {}


def weights_key(net: TrainedNet) -> str:
    """Return a digest that changes with the weights, and with what images go through before they are read."""
    data, model = net.config.data, config_io.to_json(net.config)["model"]
    how = Preprocessing.of(data)
    digest = hashlib.sha256(json.dumps([data.size, data.crop, data.channels, model], sort_keys=True).encode())
    # In the words of the first versions, whose indices stay valid.
    form = f"InputForm(mean={net.normalization.mean!r}, input_std={net.normalization.input_std!r})"
    digest.update((form if how == Preprocessing(how.size, how.channels) else f"{form}{how}").encode())
    for leaf in jax.tree.leaves(jax.device_get((net.params, net.mean))):
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def similar(
    net: TrainedNet,
    folder: Path,
    image: Path | None,
    label: str,
    count: int,
    distance: str = DEFAULT_DISTANCE,
) -> dict[str, Any]:
    """Return what in `folder` is nearest to `image`, or shows `label`.

    The image itself is not among its neighbours. `distance`: of `DISTANCES`.

    Returns:
      {'folder', 'indexed': how many, 'query', 'layer', 'compared_by' (the layer in words) and 'distance' or
      'label', 'results': [{'file', 'likeliest' (the class it is taken for, where the net has classes), and
      'distance' or 'probability'}, ...], best first, 'left_out': [{'file', 'error'}, ...]}.

    Raises:
      UsageError: a name that no class has, a net without classes.
      RunFailure: the image cannot be decoded.
    """
    answer: dict[str, Any] = {"folder": str(folder)}
    if image is None:
        column = class_of(net, label)
        table, left_out = index(net, folder)
        assert table.probabilities is not None
        values = np.asarray(table.probabilities[:, column])
        order = np.argsort(-values, kind="stable")[:count]
        answer |= {"label": net.readable_names[column]}
        results = [_result(net, table, row) | {"probability": float(values[row])} for row in order]
    else:
        try:
            pixels = resize_center_crop(read_file(image), Preprocessing.of(net.config.data))
        except (BadImage, OSError) as error:
            raise RunFailure(f"{printable(str(image))} cannot be read: {printable(str(error))}") from None
        table, left_out = index(net, folder)
        query = activations.activations(net, pixels[None], [table.layer], batch_size=1)[table.layer]
        # In the index's own precision: a copy of the image lies at 0 but for the last bits of a value.
        distances, rows = nearest(table.vectors, query.reshape(1, -1).astype(np.float16), count + 1, distance)
        words = activations.in_words(net.architecture, table.layer)
        answer |= {"query": str(image), "layer": table.layer, "compared_by": words, "distance": distance}
        results = [
            _result(net, table, row) | {"distance": float(far)}
            for far, row in zip(distances[0], rows[0], strict=True)
            if (folder / table.files[row]).resolve() != image.resolve()
        ][:count]
    return answer | {"indexed": len(table.files), "results": results, "left_out": left_out}


def _result(net: TrainedNet, table: Index, row: int) -> dict[str, Any]:
    """Return the file of an index's row, and the class that it is taken for."""
    result = {"file": str(table.folder / table.files[row])}
    if table.probabilities is not None:
        result["likeliest"] = net.readable_names[int(table.probabilities[row].argmax())]
    return result


def class_of(net: TrainedNet, name: str) -> int:
    """Return the class that `name` names: by its name or synset id, else the only one with it in its name.

    Raises:
      UsageError: none, several, or a net without classes.
    """
    if not net.architecture.has_classes:
        raise UsageError(
            f"the weights in {net.workdir} end at {net.architecture.layers[-1].name} and know no classes: "
            "--label needs a net that has learned some"
        )
    return classes.find(name, net.class_names)


def check(
    arguments: list[str], source: str, label: str, count: int, distance: str = DEFAULT_DISTANCE
) -> Path | None:
    """Return the image that was asked for, None with a label; raise UsageError where the two do not fit."""
    if not source:
        raise UsageError("similar needs --source=FOLDER, whose images it searches")
    if len(arguments) != (0 if label else 1):
        raise UsageError("similar needs one image, or --label=NAME and no image")
    if count < 1:
        raise UsageError(f"--count={count}: it must be at least 1")
    if distance not in DISTANCES:
        raise UsageError(f"--distance={distance}: it is {' or '.join(DISTANCES)}")
    if label:
        return None
    if not Path(arguments[0]).is_file():
        raise UsageError(f"{arguments[0]} is not a file: similar takes one image")
    return Path(arguments[0])


def heading(answer: Mapping[str, Any]) -> str:
    """Return what was searched for, where and how, in one line."""
    if "label" in answer:
        what = f"the likeliest {printable(answer['label'])}"
    else:
        what = (
            f"the nearest to {printable(answer['query'])} by {answer['compared_by']}, "
            f"{answer['distance']} distance"
        )
    return f"{answer['indexed']:,} images in {printable(answer['folder'])}; {what}"


def as_text(answer: Mapping[str, Any]) -> str:
    """Return the answer for a terminal."""
    lines = [f"{heading(answer)}:"]
    for result in answer["results"]:
        number = f"{result['probability']:8.2%}" if "label" in answer else f"{result['distance']:8.3f}"
        other = "label" in answer and result["likeliest"] != answer["label"]
        taken = f"  (likelier: {printable(result['likeliest'])})" if other else ""
        lines.append(f"{number}  {printable(result['file'])}{taken}")
    return "\n".join(lines)
