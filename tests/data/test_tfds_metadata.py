"""The metadata of datasets against TFDS's own reading, and files that are not as TFDS writes them."""

import json
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow_datasets as tfds

from alexnet_jax.data import tfds_metadata
from alexnet_jax.errors import UnsafeFile, UsageError
from tests.data import toy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy.write_dataset(toy.config_for(tmp_path, "jpeg", 3))


@pytest.mark.parametrize(
    "split",
    ["train", "test", "train[:90%]", "train[50%:]+test", "train[-7:]", "test[2:3]", "all", "train[:1shard]"],
)
def test_the_records_are_those_that_tfds_gives(folder: Path, split: str) -> None:
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    oracle = tfds.builder_from_directory(folder).as_data_source(split, deserialize_method=raw)
    records = pickle.loads(pickle.dumps(tfds_metadata.read(folder).records(split)))
    assert len(records) > 0
    assert list(records) == list(oracle)


@pytest.mark.parametrize("encoding", ["jpeg", "raw"])
def test_the_names_and_splits_are_those_that_tfds_gives(tmp_path: Path, encoding: str) -> None:
    folder = toy.write_dataset(toy.config_for(tmp_path, encoding, 1))
    info = tfds.builder_from_directory(folder).info
    metadata = tfds_metadata.read(folder)
    assert list(metadata.class_names) == info.features["label"].names
    assert metadata.image_class == type(info.features["image"]).__name__
    assert {name: split.shard_lengths for name, split in metadata.splits.items()} == {
        name: split.shard_lengths for name, split in info.splits.items()
    }
    (folder / "label.labels.txt").unlink()
    names = tfds.builder_from_directory(folder).info.features["label"].names
    assert list(tfds_metadata.read(folder).class_names) == names == ["0", "1", "2", "3", "4"]


def test_other_features_of_tfds_are_allowed(folder: Path) -> None:
    _change("features.json", lambda tree: tree["featuresDict"]["features"].update(objects=_boxes()))(folder)
    assert len(tfds_metadata.read(folder).class_names) == toy.CLASSES


def _boxes() -> dict[str, Any]:
    classes = "tensorflow_datasets.core.features"
    box = {"pythonClassName": f"{classes}.bounding_boxes.BBoxFeature", "boundingBox": {}}
    return {"pythonClassName": f"{classes}.sequence_feature.Sequence", "sequence": {"feature": box}}


def _change(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tree = json.loads((folder / name).read_text())
        change(tree)
        (folder / name).write_text(json.dumps(tree))

    return apply


def _info(**values: Any) -> Callable[[Path], None]:
    return _change("dataset_info.json", lambda tree: tree.update(values))


def _split(**values: Any) -> Callable[[Path], None]:
    return _change("dataset_info.json", lambda tree: tree["splits"][1].update(values))


def _label(**values: Any) -> Callable[[Path], None]:
    return _change("features.json", lambda tree: tree["featuresDict"]["features"]["label"].update(values))


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return apply


def _link(name: str, target: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        os.symlink(target, folder / name)

    return apply


def _pipe(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return apply


def _socket(folder: Path) -> None:
    (folder / "features.json").unlink()
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(folder)  # a socket's name is short
        made.bind("features.json")
        os.chdir(here)


SHARD = "toy_16-train.array_record-00001-of-00002"
STRANGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "template up": (_split(filepathTemplate="../{SPLIT}-{SHARD_X_OF_Y}"), "filepathTemplate is"),
    "template absolute": (_split(filepathTemplate="/etc/passwd"), "filepathTemplate is"),
    "template address": (_split(filepathTemplate="gs://bucket/x"), "filepathTemplate is"),
    "template attribute": (_split(filepathTemplate="{SPLIT.__class__}"), "filepathTemplate is"),
    "template width": (_split(filepathTemplate="{SPLIT:>999999999}"), "filepathTemplate is"),
    "template is a list": (_split(filepathTemplate=["x"]), "filepathTemplate is"),
    "name up": (_info(name="../toy"), "name is '../toy', not"),
    "name a table": (_info(name={}), "name is a table or list, not"),
    "name long": (_info(name="../" * 10**5), "name is"),
    "split up": (_split(name="../train"), "the name of a split is '../train', not"),
    "split escape": (_split(name="a\x1b[2J"), "the name of a split is"),
    "split twice": (_split(name="test"), "splits is"),
    "split missing": (_info(splits=[]), "splits is '0 shards"),
    "splits a table": (_info(splits={}), "splits is a table or list, not a list"),
    "split a number": (_info(splits=[3]), "the name of a split is None"),
    "shards": (_split(shardLengths=["1"] * 70_000), "splits is '70,00"),
    "records": (_split(shardLengths=["99999999"] * 2), "splits is"),
    "length negative": (_split(shardLengths=[-1]), "shardLengths is -1, not"),
    "length a fraction": (_split(shardLengths=[1.5]), "shardLengths is 1.5, not"),
    "length true": (_split(shardLengths=[True]), "shardLengths is True, not"),
    "length huge": (_split(shardLengths=["9" * 10**5]), "shardLengths is"),
    "length superscript": (_split(shardLengths=["²"]), "shardLengths is"),
    "format": (_info(fileFormat="tfrecord"), "fileFormat is 'tfrecord', not 'array_record'"),
    "no JSON": (_write("dataset_info.json", b"[" * 10**6), "is not JSON: maximum recursion"),
    "a list": (_write("features.json", b"[]"), "the whole is a table or list"),
    "too large": (_write("features.json", b" " * (2**22 + 1)), "is larger than 4,194,304 bytes"),
    "no text": (_write("dataset_info.json", b"\xff{}"), "cannot be read"),
    "classes": (_label(classLabel={"numClasses": "1000000000"}), "numClasses is '1000000000', not"),
    "no classes": (_label(classLabel=3), "numClasses is None, not"),
    "names": (
        _write("label.labels.txt", b"a\nb\n"),
        "holds 2 different names of 2, and features.json says 5",
    ),
    "names twice": (_write("label.labels.txt", b"a\nb\nc\nd\na\n"), "holds 4 different names of 5"),
    "names long": (_write("label.labels.txt", b"a\n" * 2**22), "is larger than"),
    "label": (_label(pythonClassName="tensorflow_datasets.core.features.text_feature.Text"), "ClassLabel"),
    "device": (_link("features.json", "/dev/zero"), "is not a regular file"),
    "pipe": (_pipe("dataset_info.json"), "is not a regular file"),
    "socket": (_socket, "is not a regular file"),
    "shard is a pipe": (_pipe(SHARD), "is no file of 20 records"),
    "shard is a device": (_link(SHARD, "/dev/zero"), "is no file of 20 records"),
    "shard is missing": (lambda folder: (folder / SHARD).unlink(), "cannot be read: No such file"),
    "shard is short": (_split(shardLengths=["10", "20000"]), "is no file of 20,000 records"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_tfds_does_not_write_is_refused_in_a_line(folder: Path, name: str) -> None:
    change, words = STRANGE[name]
    change(folder)
    with pytest.raises(UsageError) as caught:
        tfds_metadata.read(folder).records("train")
    line = str(caught.value)
    assert words in line
    assert str(folder) in line
    assert line.isprintable()
    assert len(line) < 1000
    paths = ("template", "name ", "split up", "split escape", "split a number")
    assert isinstance(caught.value, UnsafeFile) == name.startswith(paths)
    assert ("prepare the dataset again" in line) or ("prepare from the images" in line)


def test_a_sum_of_many_splits_of_many_shards_is_refused(folder: Path) -> None:
    """TFDS makes an object for each part of the sum and each shard: 40 million for two small files."""
    _change("dataset_info.json", lambda tree: tree["splits"][0].update(shardLengths=["1"] * 60_000))(folder)
    metadata = tfds_metadata.read(folder)
    with pytest.raises(UsageError, match="adds 600 parts of up to 60,000 shards"):
        metadata.records("+".join([next(iter(metadata.splits))] * 600))
