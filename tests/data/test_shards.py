"""What a process of prepare writes."""

import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from array_record.python import array_record_module
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from alexnet_jax.data import shards
from alexnet_jax.data.notes import Notes
from alexnet_jax.data.shards import Chunk, RecordFormat, ShardStats, ShardTask
from alexnet_jax.data.sources.entries import Entry
from alexnet_jax.data.statistics import Accumulator
from alexnet_jax.errors import RunFailure
from tests.data import made_up

RAW = RecordFormat(size=8, channels=3, exif_rotation=False, format="raw", quality=95)


@pytest.mark.parametrize("label", [0, 1, 127, 128, 21_840, 2**31])
@pytest.mark.parametrize("length", [0, 1, 127, 128, 70_000])
def test_a_record_is_the_example_that_protobuf_writes(label, length):
    name = "n01440764/\udcff ü 象.JPEG" if length else ""
    expected = tf_example_pb2.Example()
    feature = expected.features.feature
    feature["image"].bytes_list.value.append(bytes(i % 256 for i in range(length)))
    feature["label"].int64_list.value.append(label)
    feature["file_name"].bytes_list.value.append(name.encode("utf-8", "backslashreplace"))
    ours = shards.example(feature["image"].bytes_list.value[0], label, name)
    assert ours == expected.SerializeToString(deterministic=True)


def test_a_process_does_not_load_tfds():
    code = "import sys, alexnet_jax.data.shards; print('tensorflow_datasets' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout == "False\n"


def test_keys_that_decide_what_a_record_holds():
    """Datasets on disk have them, in this order in a plan."""
    assert shards.RECORD_FORMAT_KEYS == (
        "size",
        "channels",
        "exif_rotation",
        "white_level",
        "resize",
        "resize_filter",
        "resize_rounding",
        "format",
        "quality",
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [50, 95])
def test_jpeg(channels: int, quality: int) -> None:
    """Pillow reads the same pixels, nearly, and finds the chroma at half the resolution."""
    data = made_up.image_file(1, size=(64, 64))
    pixels, encoded = RecordFormat(size=64, channels=channels, format="jpeg", quality=quality).encode(data)
    image = Image.open(io.BytesIO(encoded))
    assert (image.format, image.size, image.mode) == ("JPEG", (64, 64), "RGB" if channels == 3 else "L")
    if channels == 3:
        assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]  # type: ignore[attr-defined]
    decoded = np.asarray(image).reshape(pixels.shape)
    assert np.abs(decoded.astype(int) - pixels).mean() < (8 if quality == 50 else 4)
    again = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(again, "JPEG", quality=quality)
    assert image.quantization == Image.open(again).quantization  # type: ignore[attr-defined]


def test_raw() -> None:
    pixels, encoded = RAW.encode(made_up.image_file(1))
    assert encoded == pixels.tobytes()
    assert RAW.expected_bytes() == 8 * 8 * 3 + 200


def test_stats_saved_and_loaded(tmp_path: Path) -> None:
    notes, digests = Notes({"dark": (2, "b")}), [2**64 - 1, 0]
    counts = Counter(b=2, a=1)
    stats = ShardStats(Accumulator(8, 3), counts, ["train/a/1.jpg: bad"], notes, 12, 345, digests)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    for image in images:
        stats.statistics.add(image)
    stats.save(tmp_path / "a.npz", identity="x")
    loaded, metadata = ShardStats.load(tmp_path / "a.npz", RAW)
    assert metadata == {
        "classes": {"a": 1, "b": 2},
        "rejects": ["train/a/1.jpg: bad"],
        "notes": {"dark": [2, "b"]},
        "bytes": 12,
        "file_size": 345,
        "identity": "x",
    }
    assert (loaded.classes, loaded.rejects) == (stats.classes, stats.rejects)
    assert loaded.digests == [2**64 - 1, 0]
    assert (loaded.bytes, loaded.file_size, loaded.statistics.count) == (12, 345, 5)
    np.testing.assert_array_equal(loaded.statistics.sum, images.sum(axis=0, dtype=np.int64))
    with np.load(tmp_path / "a.npz") as arrays:
        assert set(arrays) == {"words", "count", "sum", "products", "digests"}


def entries_held(*images: tuple[str, str, bytes]) -> list[Entry]:
    return [
        Entry(split, label, f"{label}/{number}.png", "", 0, len(data), held=data)
        for number, (split, label, data) in enumerate(images)
    ]


def test_a_shard_from_images_and_from_the_spool(tmp_path: Path) -> None:
    """A chunk encodes them into one file; a shard of that file's parts has the bytes of one of the images."""
    files = [made_up.image_file(number, "PNG") for number in range(20)]
    given = entries_held(*(("train" if n % 4 else "test", "ab"[n % 2], data) for n, data in enumerate(files)))
    given[7] = given[7]._replace(held=b"not an image", size=12)
    reported: list[int] = []
    chunk = Chunk(given, tmp_path / "000000", tmp_path / "000000.npz", RAW, False)
    rejects = shards.encode_chunk(chunk, reported.append)
    assert [line.split(": ")[0] for line in rejects] == ["b/7.png"]
    assert reported == [20]
    _, metadata = ShardStats.load(tmp_path / "000000.npz", RAW)
    assert [key for key, _ in metadata["rejected"]] == ["b/7.png"]
    sums = {}
    for path in tmp_path.glob("000000-*.npz"):  # of the images of each split apart
        stats, group = ShardStats.load(path, RAW)
        sums[group["group"]] = stats.statistics
    assert {name: found.count for name, found in sums.items()} == {"train": 14, "test": 5}
    by_key = {entry.key: entry for entry in given}
    entries = [
        by_key[key]._replace(container=str(tmp_path / "000000"), start=start, size=size, held=b"")
        for key, start, size in metadata["entries"]
    ]

    def write(name: str, entries: list[Entry], encoded: bool) -> ShardStats:
        task = ShardTask(
            entries,
            tmp_path / name,
            tmp_path / f"{name}.npz",
            RAW,
            False,
            encoded=encoded,
            counted_split="train",
            labels={"a": 0, "b": 1},
            unfinished=tmp_path / f".{name}",
            identity="x",
        )
        shards.write_shard(task, reported.append)
        return ShardStats.load(tmp_path / f"{name}.npz", RAW)[0]

    alone, from_spool = write("alone", given, False), write("spooled", entries, True)
    assert (tmp_path / "alone").read_bytes() == (tmp_path / "spooled").read_bytes()
    assert sum(reported) == 20 + 20 + 19
    assert alone.classes == from_spool.classes == {"a": 10, "b": 9}
    assert alone.rejects == [f"train/{line}" for line in rejects]
    assert alone.digests == from_spool.digests
    assert len(set(alone.digests)) == 19
    np.testing.assert_array_equal(alone.statistics.sum, sums["train"].sum)
    np.testing.assert_array_equal(alone.statistics.products, sums["train"].products)
    assert from_spool.rejects == []
    assert (alone.statistics.count, from_spool.statistics.count) == (14, 0)
    assert alone.file_size == (tmp_path / "alone").stat().st_size
    records = array_record_module.ArrayRecordReader(str(tmp_path / "alone")).read_all()
    pixels = [RAW.encode(entry.held)[0] for entry in given if entry.held != b"not an image"]
    for record, wanted in zip(records, pixels, strict=True):
        feature = tf_example_pb2.Example.FromString(record).features.feature
        assert feature["image"].bytes_list.value[0] == wanted.tobytes()
    assert not list(tmp_path.glob(".*"))


def test_strict(tmp_path: Path) -> None:
    chunk = Chunk(entries_held(("train", "a", b"x")), tmp_path / "0", tmp_path / "0.npz", RAW, True)
    with pytest.raises(RunFailure, match=r"--strict: a/0\.png: not an image"):
        shards.encode_chunk(chunk, lambda count: None)
    assert not list(tmp_path.iterdir())
