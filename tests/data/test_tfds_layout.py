"""Which record stands where, and how it is written down."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from alexnet_jax.data import tfds_layout
from alexnet_jax.data.shards import RecordFormat
from alexnet_jax.data.sources.entries import Entries, Entry, Source
from alexnet_jax.data.tfds_layout import Plan, Shard
from alexnet_jax.errors import UsageError
from configs import digits

RAW = RecordFormat(size=10, channels=1, exif_rotation=False, format="raw", quality=95)  # 300 bytes expected


def data_config(folder: str = "/data") -> ConfigDict:
    reading = {"resize": "cut", "resize_rounding": "nearest"}
    return ConfigDict({"name": "toy", "size": 10, "dir": folder, **reading})


def entries_of(counts: dict[tuple[str, str], int]) -> Entries:
    entries = Entries()
    for (split, label), count in counts.items():
        for index in range(count):
            entries.append(Entry(split, label, f"{label}/{index}.jpg", "/a.tar", 0, 1))
    return entries


def planned(counts: dict[tuple[str, str], int], class_names: Sequence[str] = ()) -> Plan:
    entries = entries_of(counts)
    source = Source("a test", entries, class_names=tuple(class_names))
    return tfds_layout.make_plan("identity", source, entries, data_config(), RAW)


@pytest.mark.parametrize("shard_bytes", [1, 300, 2000, 10_000, 10**9])
def test_shards_of_equal_length(monkeypatch: pytest.MonkeyPatch, shard_bytes: int) -> None:
    monkeypatch.setattr(tfds_layout, "SHARD_BYTES", shard_bytes)
    counts = {("train", "a"): 50, ("train", "b"): 47, ("test", "a"): 3}
    shards = planned(counts).shards
    for split, count in (("test", 3), ("train", 97)):
        mine = [shard for shard in shards if shard.split == split]
        assert [shard.first for shard in mine] == [0, *(shard.last for shard in mine[:-1])]
        assert mine[-1].last == count
        assert max(map(len, mine)) - min(map(len, mine)) <= 1
        assert len(mine) == min(-(-count * 300 // shard_bytes), count)
        for index, shard in enumerate(mine):
            assert shard.file == f"toy_10-{split}.array_record-{index:05d}-of-{len(mine):05d}"
    assert [shard.split for shard in shards] == sorted(shard.split for shard in shards)


def test_there_is_a_most_of_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfds_layout, "SHARD_BYTES", 1)
    monkeypatch.setattr(tfds_layout, "MAX_SHARDS", 7)
    assert len(planned({("train", "a"): 50, ("train", "b"): 47}).shards) == 7


def test_names_of_classes() -> None:
    counts = {("train", "b"): 1, ("train", "a"): 1, ("test", "b"): 1}
    assert planned(counts).class_names == ["a", "b"]
    assert planned(counts, ["b", "a"]).class_names == ["b", "a"]  # the source's own order


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "the source holds no images that can be decoded"),
        ({("train", "a"): 9}, "one class, 'a': a net needs two or more"),
        ({("train", "a"): 1, ("train", "b"): 1, ("test", "c"): 1}, "class 'c' has no training images"),
        ({("train", "a"): 1, ("train", "b\n"): 1}, r"class 'b\\\\n' cannot be written down"),
        ({("train", "a"): 1, ("train", " b"): 1}, "class ' b' cannot be written down"),
    ],
)
def test_what_is_refused(counts: dict[tuple[str, str], int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        planned(counts)


def test_saved_and_loaded(tmp_path: Path) -> None:
    shards = [Shard("train", "toy_10-train.array_record-00000-of-00001", 0, 5)]
    plan = Plan(
        "identity", "a test", ["a", "b"], shards, RAW, {"remarks": ["odd"]}, {"train": "train"}, ["x"]
    )
    plan.save(tmp_path / "plan.json")
    assert json.loads((tmp_path / "plan.json").read_text()) == {
        "identity": "identity",
        "kind": "a test",
        "class_names": ["a", "b"],
        "shards": [
            {"split": "train", "file": "toy_10-train.array_record-00000-of-00001", "first": 0, "last": 5}
        ],
        "record_format": {
            "size": 10,
            "channels": 1,
            "exif_rotation": False,
            "white_level": 0.0,
            "resize": "cut",
            "resize_filter": "bicubic",
            "resize_rounding": "nearest",
            "format": "raw",
            "quality": 95,
        },
        "summary": {"remarks": ["odd"]},
        "split_of_group": {"train": "train"},
        "rejects": ["x"],
        "made_from": {},
    }
    assert Plan.load(tmp_path / "plan.json") == plan


def test_where_a_dataset_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    home = tmp_path / "tensorflow_datasets" / "toy_10" / "1.0.0"
    assert tfds_layout.dataset_folder(data_config("")) == home
    monkeypatch.setenv("TFDS_DATA_DIR", "/shared")
    assert tfds_layout.dataset_folder(data_config("")) == Path("/shared/toy_10/1.0.0")
    assert tfds_layout.dataset_folder(data_config("/data")) == Path("/data/toy_10/1.0.0")
    for form, folder in (
        ({"resize": "squash"}, "squash"),
        ({"resize_rounding": "torchvision"}, "torchvision"),
    ):
        data = ConfigDict(data_config("/data").to_dict() | form)
        assert tfds_layout.dataset_folder(data) == Path(f"/data/toy_10_{folder}/1.0.0")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert not tfds_layout.is_prepared(data_config(""))
    (tmp_path / "toy_10" / "1.0.0").mkdir(parents=True)
    assert tfds_layout.is_prepared(data_config(""))


def test_a_folder_whose_name_is_no_utf8_is_refused(tmp_path: Path) -> None:
    """array_record would fail on it, and its records would be called damaged."""
    config = digits.get_config()
    config.data.dir = f"{tmp_path}/a\udcff"
    with pytest.raises(UsageError, match="this name must be UTF-8"):
        tfds_layout.dataset_folder(config.data)
