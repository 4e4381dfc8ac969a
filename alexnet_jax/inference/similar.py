"""The verb `similar`: the pictures of a folder that look like a given one, or that show a named thing.

A picture stands for itself by the values that the classes are told from (the paper's fc7, rectified), or by
the deepest that the weights hold (pool5, flattened). Near is near in Euclidean distance for units, as in the
paper's figure 4, and in cosine distance for maps: there the length of a vector, which says how much there is
to see, drowns what is to be seen (of 390 photographs of 13 classes, the nearest other by torchvision's pool5
is of the same class for 55 % by Euclidean and for 86 % by cosine distance). Every picture is compared
with the one asked for: nothing is approximated but the values themselves, which are kept in half precision,
8 KB a picture for fc7 and 18 KB for pool5.

The index lies in the workdir, `similar/<number of the folder's path>/`: `index.json` names the files, with
size and time of change, and the arrays beside it, one row each. It is written last: what it does not name
is not part of it.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax import config as configuration
from alexnet_jax import files as whole
from alexnet_jax.data import pictures
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import features, reading
from alexnet_jax.inference.run import Run
from alexnet_jax.model.architectures import Architecture
from alexnet_jax.progress import Progress, printable

CHUNK = 1 << 25  # numbers of the index that are compared at once
DISTANCES = ("euclidean", "cosine")
FIGURE = 24  # pictures of a contact sheet, at most


@dataclass(frozen=True)
class Index:
    """The pictures of a folder, and what a net makes of them; a row each.

    Attributes:
      folder: where they lie.
      layer: whose values `vectors` are.
      distance: 'euclidean' or 'cosine', which suits the layer.
      files: below `folder`.
      vectors: float16 (N, D), mapped into memory.
      probabilities: float32 (N, classes), mapped into memory; None for a net without classes.
    """

    folder: Path
    layer: str
    distance: str
    files: tuple[str, ...]
    vectors: np.ndarray
    probabilities: np.ndarray | None


def nearest(
    vectors: np.ndarray, queries: np.ndarray, count: int, distance: str = "euclidean"
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest vectors: exact, in chunks, so that `vectors` may lie on disk.

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
    placed = jnp.asarray(queries)
    for start in range(0, len(vectors), rows):
        chunk = vectors[start : start + rows]
        here = len(chunk)
        if here < rows and start:  # one shape, one program; rows seen before are put out of reach
            start -= rows - here
            chunk = vectors[start : start + rows]
        squares, places = _nearest_of(
            jnp.asarray(chunk), placed, jnp.asarray(rows - here), count, distance == "cosine"
        )
        merged = np.concatenate([best, np.asarray(squares)], axis=1)
        order = np.argsort(merged, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(merged, order, axis=1)
        which = np.take_along_axis(np.concatenate([which, np.asarray(places) + start], axis=1), order, axis=1)
    return (best / 2 if distance == "cosine" else np.sqrt(best)), which


@partial(jax.jit, static_argnums=(3, 4))
def _nearest_of(
    chunk: jax.Array, queries: jax.Array, skipped: jax.Array, count: int, unit: bool
) -> tuple[jax.Array, jax.Array]:
    """The smallest squared distances of each query to `chunk`, its first `skipped` rows left out.

    `unit`: all vectors are scaled to length 1 first; the square is then twice the cosine distance.
    """
    seen = jnp.arange(len(chunk)) < skipped

    # Differences and not |a|^2 - 2ab + |b|^2, whose rounding would hide that a picture is itself.
    def one(query: jax.Array) -> tuple[jax.Array, jax.Array]:
        a, b = chunk.astype(jnp.float32), query.astype(jnp.float32)
        if unit:
            lengths = (jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
            a, b = (v / jnp.maximum(n, 1e-30) for v, n in zip((a, b), lengths, strict=True))
        squares = jnp.sum(jnp.square(a - b), axis=-1)
        found, places = jax.lax.top_k(-jnp.where(seen, jnp.inf, squares), count)
        return -found, places

    return jax.lax.map(one, queries)


def index(run: Run, folder: Path) -> tuple[Index, list[dict[str, str]]]:
    """The index of all pictures below `folder`, from disk as far as it holds.

    What is new or changed is computed, what is gone is dropped; with other weights all is. An interruption
    keeps what was computed.

    Returns:
      The index, and {'file', 'error'} of those that could not be decoded.

    Raises:
      UsageError: no folder, or no pictures in it.
      RunFailure: none could be decoded.
    """
    if not folder.is_dir():
        raise UsageError(f"--source={folder} is not a folder: similar searches the pictures below one")
    found = {path.relative_to(folder).as_posix(): path for path in reading.inside_folder(folder)}
    if not found:
        raise UsageError(f"the folder {folder} holds no pictures")
    layer, key = features.deepest(run.architecture), weights_key(run)
    place = run.workdir / "similar" / hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    old = _read(place)
    if old and old["key"] != key:
        print(f"{printable(str(folder))} was indexed with other weights: it is indexed anew", file=sys.stderr)
        old = {}
    stamps = {name: _stamp(path) for name, path in found.items()}
    kept = {name: row for row, (name, stamp) in enumerate(old.get("files", ())) if stamps.get(name) == stamp}
    left_out = _update(run, place, layer, key, old, kept, found, stamps)
    now = _read(place)
    if not now or not now["files"]:
        raise RunFailure(f"none of {len(found)} pictures in {folder} could be decoded")
    names = tuple(name for name, _ in now["files"])
    distance = distance_of(run.architecture, layer)
    return Index(folder, layer, distance, names, now["vectors"], now["probabilities"]), left_out


def distance_of(architecture: Architecture, layer: str) -> str:
    """The distance that suits a layer: 'euclidean' for units, 'cosine' for maps."""
    return "euclidean" if len(features.shapes_of(architecture, [layer])[layer]) == 1 else "cosine"


def _update(
    run: Run,
    place: Path,
    layer: str,
    key: str,
    old: dict[str, Any],
    kept: dict[str, int],
    found: dict[str, Path],
    stamps: dict[str, list[int]],
) -> list[dict[str, str]]:
    """Brings the index in `place` up to date; returns what could not be decoded."""
    missing = [name for name in found if name not in kept]
    if not missing and len(kept) == len(old.get("files", ())):
        return []
    place.mkdir(parents=True, exist_ok=True)
    # A new name: what the index on disk names stays as it is until the new one is whole.
    number = 1 + max((int(path.stem.split("-")[1]) for path in place.glob("*-*.npy")), default=0)
    layers = [layer, features.PROBABILITIES] if run.architecture.has_classes else [layer]
    table = features.shapes_of(run.architecture, layers)
    arrays = {
        "vectors": features.GrowingArray(
            place / f"vectors-{number}.npy", (prod(table[layer]),), np.dtype(np.float16)
        )
    }
    if run.architecture.has_classes:
        arrays["probabilities"] = features.GrowingArray(
            place / f"probabilities-{number}.npy", table[features.PROBABILITIES], np.dtype(np.float32)
        )
    rows = np.asarray(list(kept.values()), np.int64)
    for what, array in arrays.items():
        for start in range(0, len(rows), 4096):
            array.append(old[what][rows[start : start + 4096]])
    files = [(name, stamps[name]) for name in kept]
    left_out: list[dict[str, str]] = []
    try:
        with Progress("index", len(missing), "pictures", shown=bool(missing)) as progress:
            paths = [found[name] for name in missing]
            done = 0
            for read, values in features.stream(run, paths, layers) if missing else ():
                good = [row for row, error in enumerate(read.errors) if error is None]
                with np.errstate(over="ignore"):
                    vectors = values[layer][good].reshape(len(good), prod(table[layer])).astype(np.float16)
                if not np.isfinite(vectors).all():
                    raise RunFailure(
                        f"the values of {layer} are not numbers below 65,504: these weights diverged"
                    )
                arrays["vectors"].append(vectors)
                if "probabilities" in arrays:
                    arrays["probabilities"].append(values[features.PROBABILITIES][good])
                names = missing[done : done + len(read.files)]
                files += [(names[row], stamps[names[row]]) for row in good]
                for name, error in zip(names, read.errors, strict=True):
                    if error is not None:
                        left_out.append({"file": str(found[name]), "error": error})
                        progress.say(f"{printable(name)} cannot be read and is left out: {printable(error)}")
                done += len(read.files)
                progress.update(len(read.files))
    finally:  # an interruption too: the next command goes on from there
        for array in arrays.values():
            array.rows = len(files)
            array.close()
        changed = len(files) != len(kept) or len(kept) != len(old.get("files", ()))
        if changed:
            written = {"key": key, "layer": layer, "number": number, "files": files}
            whole.write_text(place / "index.json", json.dumps(written) + "\n")
        for path in place.glob("*-*.npy"):
            if path.stem.endswith(f"-{number}") != changed:
                path.unlink()
    return left_out


def _read(place: Path) -> dict[str, Any]:
    """What `index.json` says, and the arrays that it names; {} when there is none or it is damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        tree = json.loads((place / "index.json").read_text())
        tree["files"] = [(str(name), [int(x) for x in stamp]) for name, stamp in tree["files"]]
        for what in ("vectors", "probabilities"):
            path = place / f"{what}-{tree['number']}.npy"
            tree[what] = np.load(path, mmap_mode="r") if path.exists() else None
        if tree["key"] and len(tree["vectors"]) == len(tree["files"]) > 0:
            return tree
    return {}


def _stamp(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def weights_key(run: Run) -> str:
    """A number that changes with the weights, and with the way that pictures come to them."""
    data, model = run.config.data, configuration.to_json(run.config)["model"]
    digest = hashlib.sha256(json.dumps([data.size, data.crop, data.channels, model], sort_keys=True).encode())
    digest.update(repr(run.form).encode())
    for leaf in jax.tree.leaves(jax.device_get((run.params, run.mean))):
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def similar(
    run: Run, folder: Path, picture: Path | None, label: str, count: int, distance: str = ""
) -> dict[str, Any]:
    """The verb: what in `folder` is nearest to `picture`, or shows `label`.

    The picture itself is not among its neighbours. `distance`: of `DISTANCES`, '' what suits the layer.

    Returns:
      {'folder', 'indexed': how many, 'query', 'layer' and 'distance' or 'label', 'results': [{'file', and
      'distance' or 'probability'}, ...], best first, 'left_out': [{'file', 'error'}, ...]}.

    Raises:
      UsageError: a name that no class has, a net without classes.
      RunFailure: the picture cannot be decoded.
    """
    answer: dict[str, Any] = {"folder": str(folder)}
    if picture is None:
        column = class_of(run, label)
        table, left_out = index(run, folder)
        assert table.probabilities is not None
        values = np.asarray(table.probabilities[:, column])
        order = np.argsort(-values, kind="stable")[:count]
        answer |= {"label": run.class_names[column]}
        results = [{"file": table.files[row], "probability": float(values[row])} for row in order]
    else:
        data = run.config.data
        try:
            image = pictures.square(picture.read_bytes(), data.size, data.channels, exif_rotation=True)
        except (pictures.BadPicture, OSError) as error:
            raise RunFailure(f"{printable(str(picture))} cannot be read: {printable(str(error))}") from None
        table, left_out = index(run, folder)
        query = features.activations(run, image[None], [table.layer])[table.layer]
        distance = distance or table.distance
        # In the index's own precision: a copy of the picture lies at 0 but for the last bits of a value.
        distances, rows = nearest(table.vectors, query.reshape(1, -1).astype(np.float16), count + 1, distance)
        answer |= {"query": str(picture), "layer": table.layer, "distance": distance}
        results = [
            {"file": table.files[row], "distance": float(far)}
            for far, row in zip(distances[0], rows[0], strict=True)
            if (folder / table.files[row]).resolve() != picture.resolve()
        ][:count]
    for result in results:
        result["file"] = str(folder / result["file"])
    return answer | {"indexed": len(table.files), "results": results, "left_out": left_out}


def class_of(run: Run, name: str) -> int:
    """The class that `name` names: by its whole name, else the only one with it in its name.

    Raises:
      UsageError: none, several, or a net without classes.
    """
    if not run.architecture.has_classes:
        raise UsageError(
            f"the weights in {run.workdir} end at {run.architecture.layers[-1].name} and know no classes: "
            "--label needs a net that has learned some"
        )
    names = [known.casefold() for known in run.class_names]
    if name.casefold() in names:
        return names.index(name.casefold())
    some = [place for place, known in enumerate(names) if name.casefold() in known]
    if len(some) == 1:
        return some[0]
    shown = [printable(run.class_names[place]) for place in (some or range(len(names)))[:10]]
    more = ", ..." if len(some or names) > 10 else ""
    word = "could be" if some else "is no class of this net; there are"
    raise UsageError(f"--label={printable(name)} {word} {', '.join(shown)}{more}")


def check(arguments: list[str], source: str, label: str, count: int, distance: str = "") -> Path | None:
    """The picture that was asked for, None with a label; UsageError where the two do not fit."""
    if not source:
        raise UsageError("similar needs --source=FOLDER, whose pictures it searches")
    if len(arguments) != (0 if label else 1):
        raise UsageError("similar needs one picture, or --label=NAME and no picture")
    if count < 1:
        raise UsageError(f"--count={count}: it must be at least 1")
    if distance not in ("", *DISTANCES):
        raise UsageError(f"--distance={distance}: it is {' or '.join(DISTANCES)}")
    if label:
        return None
    if not Path(arguments[0]).is_file():
        raise UsageError(f"{arguments[0]} is not a file: similar takes one picture")
    return Path(arguments[0])


def as_text(answer: Mapping[str, Any]) -> str:
    """The answer for a terminal."""
    if "label" in answer:
        asked = f"the likeliest {printable(answer['label'])}"
    else:
        asked = (
            f"the nearest to {printable(answer['query'])} by {answer['layer']}, {answer['distance']} distance"
        )
    lines = [f"{answer['indexed']:,} pictures in {printable(answer['folder'])}; {asked}:"]
    for result in answer["results"]:
        number = f"{result['probability']:8.2%}" if "label" in answer else f"{result['distance']:8.3f}"
        lines.append(f"{number}  {printable(result['file'])}")
    return "\n".join(lines)


def draw(answer: Mapping[str, Any], path: Path) -> None:
    """Draws the picture asked with and the first results into `path`, a .png or .svg."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    shown = [(answer["query"], "asked", Path(answer["query"]).name)] if "query" in answer else []
    for result in answer["results"][: FIGURE - len(shown)]:
        number = f"{result['probability']:.1%}" if "label" in answer else f"{result['distance']:.3g}"
        shown.append((result["file"], number, os.path.relpath(result["file"], answer["folder"])))
    columns = min(6, max(len(shown), 1))
    rows = max(-(-len(shown) // columns), 1)
    figure, axes = pyplot.subplots(rows, columns, figsize=(2 * columns, 2.3 * rows), squeeze=False)
    for place in axes.flat:
        place.axis("off")
    for place, (file, number, name) in zip(axes.flat, shown, strict=False):
        with contextlib.suppress(pictures.BadPicture, OSError):  # gone since it was indexed
            image: Image.Image = pictures.decode(Path(file).read_bytes(), 3, exif_rotation=True)
            image.thumbnail((400, 400))
            place.imshow(np.asarray(image))
        name = printable(name)
        name = name if len(name) <= 28 else "..." + name[-25:]
        place.set_title(f"{number}\n{name}", fontsize=8, parse_math=False)
    if "label" in answer:
        figure.suptitle(printable(answer["label"])[:60], fontsize=10, parse_math=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
