"""Metadata that follows its grammar and goes wrong in it: JSON of datasets and runs, names, statistics."""

import contextlib
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

Draw = np.random.Generator
CLASS = "tensorflow_datasets.core.features"
DEEP, MANY, LONG = 100_000, 60_000, 1_000_000
# Values as they stand in a file: JSON's own, and what Python and protobuf accept beside it.
RAW: tuple[str, ...] = (
    "null",
    "true",
    "-1",
    "0",
    "1e308",
    "1e999",
    "NaN",
    "-Infinity",
    "9" * 4000,
    "9" * 5000,
    "1" + "0" * 30,
    '"9999999999"',
    '"' + "9" * 4000 + '"',
    '""',
    '"../../../etc/passwd"',
    '"/dev/zero"',
    '"file:///etc/passwd"',
    '"gs://bucket/object"',
    '"os.path"',
    '"handed_over.Feature"',
    '"{SPLIT.__class__}"',
    '"{SPLIT:>999999999}"',
    '"train' + "+train" * 200 + '"',
    '"train[:1%]+train[99%:]"',
    r'"\u0000"',
    r'"\ud800"',
    r'"\u001b[2J\u202e"',
    "[]",
    "{}",
    "[[]]",
    '{"": {"": null}}',
    '{"a": 1, "a": {"a": [1]}}',
    '{"__class__": "x", "a.b": 1, "pythonClassName": "handed_over.Feature"}',
)
HUGE: tuple[Callable[[], str], ...] = (
    lambda: "[" * DEEP + "]" * DEEP,
    lambda: '{"a":' * DEEP + "1" + "}" * DEEP,
    lambda: "[" * DEEP,
    lambda: "[" + ",".join(["[]"] * MANY) + "]",
    lambda: "[" + ",".join(["1"] * MANY) + "]",
    lambda: "[" + ",".join(['"1"'] * MANY) + "]",
    lambda: "{" + ",".join(f'"k{number}":{{}}' for number in range(MANY // 10)) + "}",
    lambda: '"' + "x" * LONG + '"',
    lambda: '"' + r"\ud83d\ude00" * (LONG // 20) + '"',
    lambda: "9" * LONG,
    lambda: "[" * 900 + "]" * 900,
)


def _nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Every place of a tree: the table or list that holds it, and its key."""
    found, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        keys: Any = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            found.append((node, key))
            waiting.append(node[key])
    return found


def spoiled(draw: Draw, tree: Any) -> str:
    """The JSON of a tree, some of whose values are others; a third of the trees stay as they are."""
    raw: dict[str, str] = {}
    for _ in range(draw.choice([0, 1, 1, 1, 2, 4])):
        if nodes := _nodes(tree):
            _spoil(draw, nodes, raw)
    text = json.dumps(tree, indent=int(draw.integers(3)) or None, ensure_ascii=bool(draw.integers(2)))
    for mark, words in raw.items():
        text = text.replace(f'"{mark}"', words)
    around = [
        text * 2,
        text[: draw.integers(len(text) + 1)],
        " " * (LONG // 10) + text,
        f"[{text}]",
        "\ufeff" + text,
    ]
    return around[draw.integers(len(around))] if draw.random() < 0.2 else text


def _spoil(draw: Draw, nodes: list[tuple[Any, Any]], raw: dict[str, str]) -> None:
    """Changes a place of a tree; `raw` gets what JSON cannot write, by the mark that stands for it."""
    holder, key = nodes[draw.integers(len(nodes))]
    kind, mark = draw.integers(8), f"@{len(raw)}@"
    if kind == 0:  # what stands elsewhere: repeated, of a wrong type, or the whole in itself
        other, at = nodes[draw.integers(len(nodes))]
        holder[key] = json.loads(json.dumps(other[at]))
    elif kind == 1 and isinstance(holder, dict):
        del holder[key]
    elif kind == 2 and isinstance(holder, dict):
        holder[f"{key}\x1b" if draw.random() < 0.5 else "more"] = holder[key]
    elif kind == 3 and isinstance(holder[key], list):
        holder[key] = holder[key][:1000] * int(draw.choice([0, 2, 200]))
    elif kind == 4 and draw.random() < 0.4:
        holder[key], raw[mark] = mark, HUGE[draw.integers(len(HUGE))]()
    else:
        holder[key], raw[mark] = mark, RAW[draw.integers(len(RAW))]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def features(draw: Draw) -> bytes:
    """features.json, with nested features of TFDS, or of a module of one's own."""
    kinds = {
        "file_name": {"pythonClassName": f"{CLASS}.text_feature.Text", "text": {}},
        "image": {
            "image": {"dtype": "uint8", "encodingFormat": "jpeg", "shape": {"dimensions": ["16", "16", "3"]}},
            "pythonClassName": f"{CLASS}.image_feature.Image",
        },
        "label": {
            "classLabel": {"numClasses": "5"},
            "pythonClassName": f"{CLASS}.class_label_feature.ClassLabel",
        },
    }
    more: dict[str, Any] = {"pythonClassName": f"{CLASS}.text_feature.Text", "text": {}}
    for _ in range(draw.choice([0, 0, 1, 3, 200])):
        if draw.random() < 0.5:
            more = {
                "pythonClassName": f"{CLASS}.features_dict.FeaturesDict",
                "featuresDict": {"features": {"inside": more}},
            }
        else:
            more = {
                "pythonClassName": f"{CLASS}.sequence_feature.Sequence",
                "sequence": {"feature": more, "length": "-1"},
            }
    if draw.random() < 0.5:
        kinds["more"] = more
    tree = {"pythonClassName": f"{CLASS}.features_dict.FeaturesDict", "featuresDict": {"features": kinds}}
    return _encoded(spoiled(draw, tree))


def dataset_info(draw: Draw) -> bytes:
    """dataset_info.json of the toy dataset, or of one of many splits and shards."""
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    splits: list[dict[str, Any]] = [
        {"filepathTemplate": template, "name": "test", "numBytes": "1", "shardLengths": ["3", "8"]},
        {"filepathTemplate": template, "name": "train", "numBytes": "1", "shardLengths": ["10", "20"]},
    ]
    if draw.random() < 0.1:
        splits += [
            {"name": f"s{number}", "shardLengths": [str(draw.integers(10**9))]}
            for number in range(draw.integers(3000))
        ]
    tree = {
        "fileFormat": "array_record",
        "moduleName": "handed_over",
        "name": "toy_16",
        "splits": splits,
        "version": "1.0.0",
    }
    return _encoded(spoiled(draw, tree))


def preparation(draw: Draw) -> bytes:
    """preparation.json of the toy dataset."""
    tree = {"source": "x", "counts": {"train": 30}, "size": 16, "channels": 3}
    return _encoded(spoiled(draw, tree | {"exif_rotation": False, "format": "jpeg", "quality": 95}))


def config(draw: Draw) -> bytes:
    """config.json of a converted net."""
    return _encoded(spoiled(draw, json.loads(_whole_config())))


@lru_cache(1)
def _whole_config() -> bytes:
    from tests.faults import hostile  # which imports this

    with tempfile.TemporaryDirectory() as folder:
        hostile._workdir(Path(folder))
        return Path(folder, "run", "config.json").read_bytes()


def manifest(draw: Draw) -> bytes:
    """manifest.json of a checkpoint, of no file or of missing ones; its own checksum may hold."""
    progress = {"epoch": 0.0, "schedule": {"divisions": 0}, "validation_top1_error": 0.5}
    if draw.random() < 0.5:
        with contextlib.suppress(ValueError, RecursionError):
            progress = json.loads(spoiled(draw, progress))
    digest = hashlib.sha256(json.dumps(progress, sort_keys=True).encode()).hexdigest()
    count = draw.choice([0, 5, 5])
    table = {f"state/d/{number:032x}": [int(draw.integers(10**6)), "0" * 64] for number in range(count)}
    tree = {"progress": progress, "progress_sha256": digest, "files": table}
    return _encoded(json.dumps(tree, indent=1) if draw.random() < 0.7 else spoiled(draw, tree))


def metrics(draw: Draw) -> bytes:
    """metrics.jsonl: lines of objects, some of them strange, empty, repeated or not ended."""
    lines = []
    for step in range(draw.choice([0, 1, 30, 1000])):
        tree = {"step": step, "epoch": step / 7, "train/loss": 2.3, "val/top1_error": 0.5}
        lines.append(spoiled(draw, tree) if draw.random() < 0.02 else json.dumps(tree))
    return _encoded(str(draw.choice(["\n", "\n", "\r\n", "\n\n"])).join(lines))


def names(draw: Draw) -> bytes:
    """Lines of class names: as many as the toy dataset has classes, or other ones."""
    lines = [f"class{number}" for number in range(draw.choice([5, 5, 5, 4, 40]))]
    odd = ["", " ", "class0", "\x00", "\x1b[2J", "\u202eleft", "../..", "x" * LONG, "\ud800", "{{ 7 * 7 }}"]
    for _ in range(draw.choice([0, 0, 1, 2])):
        lines[draw.integers(len(lines))] = odd[draw.integers(len(odd))]
    repeated = int(draw.choice([1] * 49 + [LONG // 50])) if sum(map(len, lines)) < 1000 else 1
    return _encoded(str(draw.choice(["\n", "\n", "\r\n", "\r"])).join(lines * repeated) + "\n")


def _member(draw: Draw, values: np.ndarray) -> bytes:
    """An .npy of an array, or of a header that promises something else than follows."""
    file = io.BytesIO()
    np.save(file, values)
    if draw.random() < 0.85:
        return file.getvalue()
    shapes = ("(99999999999,)", "(3, 99999, 99999)", "(-1,)", "()", "(0, 3)", "((((1,),),),)", "(1,) * 9")
    kinds = (
        "'|O'",
        "'<f8'",
        "'<U99999999'",
        "'|V99999999'",
        "[('a', '<f8', (9999, 9999))]",
        "'<M8[ns]'",
        "3",
    )
    shape, kind = shapes[draw.integers(len(shapes))], kinds[draw.integers(len(kinds))]
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}".encode() + b"\n"
    length = int(draw.choice([len(text), 65535]))
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text + values.tobytes()


def statistics(draw: Draw) -> bytes:
    """statistics.npz: of the right shapes, or with members that are missing, others, repeated or zeros."""
    size, channels = int(draw.choice([8] * 18 + [16, 400])), int(draw.choice([3, 3, 1, 40]))
    axes = np.eye(channels)
    arrays: dict[str, np.ndarray] = {
        "mean": np.full((size, size, channels), 100, np.float32),
        "rgb_mean": np.full(channels, 100.0),
        "rgb_covariance": axes,
        "eigenvalues": np.arange(channels, 0, -1.0),
        "eigenvectors": axes,
        "count": np.array(3),
    }
    for _ in range(draw.choice([0, 0, 1, 2])):
        name = list(arrays)[draw.integers(len(arrays))]
        others = [
            np.float64("nan"),
            np.zeros((2, 2, 2, 2)),
            np.array("text"),
            np.array(1j),
            np.array([]),
            axes[:0],
        ]
        arrays[name] = np.asarray(others[draw.integers(len(others))])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            if draw.random() < 0.02:
                continue
            content = _member(draw, values)
            if draw.random() < 0.003:  # 30 MB that are 30 KB
                content = _member(draw, np.zeros(30 * 2**20, np.uint8))
            for _ in range(1 if draw.random() < 0.98 else 2):
                archive.writestr(str(draw.choice([f"{name}.npy"] * 40 + [f"../{name}.npy", name])), content)
    return file.getvalue()


STRUCTURES: dict[str, Callable[[Draw], bytes]] = {
    "records features.json": features,
    "records dataset_info.json": dataset_info,
    "records label.labels.txt": names,
    "records preparation.json": preparation,
    "config.json": config,
    "checkpoint manifest.json": manifest,
    "metrics.jsonl": metrics,
    "class names": names,
    "statistics.npz": statistics,
}
