"""A dataset and its records against images that the test itself wrote in TFDS layout, without `prepare`."""

import io
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.data import records
from alexnet_jax.errors import RunFailure, UsageError
from tests.data import made_up
from tests.data.toy import CLASSES, SIZE, TEST, TRAIN, changed, config_for, encode, pixels_of, write_dataset
from tests.faults.structures import images as made


def test_opens(raw: ConfigDict) -> None:
    dataset = records.open_dataset(raw.data)
    assert dataset.class_names == tuple(f"class{number}" for number in range(CLASSES))
    made = dataset.record_format
    assert (made.size, made.channels, made.format, made.exif_rotation) == (SIZE, 3, "raw", False)
    assert dataset.splits == ["test", "train"]
    assert dataset.size("train") == TRAIN
    assert dataset.size("train[50%:]") == TRAIN // 2
    image, label, name = dataset.records("test").read(7)
    assert (image, label, name) == (pixels_of("test", 7, 3).tobytes(), 7 % CLASSES, "7.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_decoded_as_pillow_does(channels: int, tmp_path: Path) -> None:
    config = config_for(tmp_path, "jpeg", channels)
    write_dataset(config)
    split = records.open_dataset(config.data).records("test")
    assert len(split) == TEST
    buffer = split.new_buffer()
    for index in range(TEST):
        file = io.BytesIO(encode(pixels_of("test", index, channels), "jpeg"))
        oracle = np.asarray(Image.open(file)).reshape(SIZE, SIZE, channels)
        for given in (None, buffer):
            pixels, label = split.image(index, given)
            assert label == index % CLASSES
            np.testing.assert_array_equal(pixels, oracle)


def test_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not prepared; type: python -m alexnet_jax\.main prepare"):
        records.open_dataset(config_for(tmp_path, "raw", 3).data)


@pytest.mark.parametrize(
    ("key", "value"),
    [("channels", 1), ("format", "jpeg"), ("exif_rotation", True), ("resize_filter", "bilinear")],
)
def test_prepared_otherwise(raw: ConfigDict, key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"config.data.{key}"):
        records.open_dataset(changed(raw, **{key: value}).data)


@pytest.mark.parametrize("form", [{"resize": "squash"}, {"resize_rounding": "torchvision"}])
def test_squares_of_another_form_are_another_dataset(raw: ConfigDict, form: dict[str, str]) -> None:
    (name,) = form.values()
    with pytest.raises(UsageError, match=f"_{SIZE}_{name}/1.0.0 is not prepared"):
        records.open_dataset(changed(raw, **form).data)


def test_a_dataset_of_before_was_cut_as_the_paper_cuts(tmp_path: Path) -> None:
    config = config_for(tmp_path, "raw", 3)
    path = write_dataset(config) / "preparation.json"
    tree = json.loads(path.read_text())
    for key in ("white_level", "resize", "resize_filter", "resize_rounding"):
        tree.pop(key, None)
    path.write_text(json.dumps(tree))
    made = records.open_dataset(config.data).record_format
    assert (made.resize, made.resize_filter, made.resize_rounding) == ("cut", "bicubic", "nearest")
    with pytest.raises(UsageError, match="was prepared with resize_filter='bicubic'"):
        records.open_dataset(changed(config, resize_filter="bilinear").data)


def test_quality_counts_for_jpeg_alone(raw: ConfigDict, jpeg: ConfigDict) -> None:
    records.open_dataset(changed(raw, quality=50).data)
    with pytest.raises(UsageError, match="quality"):
        records.open_dataset(changed(jpeg, quality=50).data)


@pytest.mark.parametrize("name", ["statistics.npz", "preparation.json", "features.json", "dataset_info.json"])
@pytest.mark.parametrize("fault", ["missing", "half"])
def test_half_made(tmp_path: Path, name: str, fault: str) -> None:
    config = config_for(tmp_path, "raw", 3)
    path = write_dataset(config) / name
    content = path.read_bytes()
    path.unlink()
    if fault == "half":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError) as caught:
        records.open_dataset(config.data)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["validation", "train[", "train[:0]", "train[90%"])
def test_split_that_is_not_there(raw: ConfigDict, split: str) -> None:
    with pytest.raises(UsageError) as caught:
        records.open_dataset(raw.data).records(split)
    assert re.search("there are: (11 )?test, (30 )?train", str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "record",
    [
        b"no image",
        encode(np.zeros((SIZE * 2, SIZE, 3), np.uint8), "jpeg"),
        encode(np.zeros((SIZE // 2, SIZE, 3), np.uint8), "jpeg"),
        encode(pixels_of("train", 3, 3), "jpeg")[:-100],
    ],
)
def test_records_that_do_not_fit_are_reported(tmp_path: Path, record: bytes) -> None:
    def change(split: str, index: int, example: dict[str, Any]) -> None:
        if (split, index) == ("test", 9):
            example["image"] = record

    config = config_for(tmp_path, "jpeg", 3)
    write_dataset(config, change)
    split = records.open_dataset(config.data).records("test")
    split.image(8)
    with pytest.raises(RunFailure, match=r"the record of 9\.png cannot be decoded"):
        split.image(9)


@pytest.mark.parametrize("error", [RunFailure("too many open files"), MemoryError()], ids=repr)
def test_what_is_no_fault_of_the_record_is_not_called_damage(error: Exception, raw: ConfigDict) -> None:
    class Source(list[bytes]):
        def __getitem__(self, index: Any) -> Any:
            raise error

    split = replace(records.open_dataset(raw.data).records("test"), source=Source())
    with pytest.raises(type(error)) as caught:
        split.read(0)
    assert caught.value is error


def test_a_raw_record_that_is_too_short_is_reported() -> None:
    with pytest.raises(RunFailure, match=r"the record of 9\.png cannot be decoded"):
        records.decode(b"too short", "raw", np.empty((SIZE, SIZE, 3), np.uint8), "9.png")


def test_pillow_decodes_what_libjpeg_does_not() -> None:
    pixels = pixels_of("train", 0, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    decoded = records.decode(file.getvalue(), "jpeg", np.empty((SIZE, SIZE, 3), np.uint8), "0.png")
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize(
    "record",
    [
        made.black_png(13_370, 13_370, 8, 2),
        made.grey_jpeg(65_000, 2000, made.FULL, True),
        made_up.broken()["program.JPEG"],  # with which Pillow would start Ghostscript
        made.saved("ICO", (SIZE, SIZE)),
    ],
)
def test_a_record_of_another_size_or_kind_is_not_decoded(
    record: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("it is decoded"))
    with pytest.raises(RunFailure, match=r"the record of 9\.png cannot be decoded"):
        records.decode(record, "jpeg", np.empty((SIZE, SIZE, 3), np.uint8), "9.png")


def test_records_can_be_pickled(raw: ConfigDict) -> None:
    """As they travel to a process that reads."""
    split = pickle.loads(pickle.dumps(records.open_dataset(raw.data).records("train[50%:]")))
    assert len(split) == TRAIN // 2
    np.testing.assert_array_equal(split.image(2)[0], pixels_of("train", TRAIN // 2 + 2, 3))


def test_a_preparation_that_is_no_table_is_not_whole(tmp_path: Path) -> None:
    config = config_for(tmp_path, "raw", 3)
    (write_dataset(config) / "preparation.json").write_text("[]")
    with pytest.raises(UsageError, match="is not a whole dataset"):
        records.open_dataset(config.data)


def test_a_jpeg_of_very_many_scans_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan takes ten bytes and as long as the image is large; libjpeg reads them all."""
    file = io.BytesIO()
    Image.new("RGB", (256, 256)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    monkeypatch.setattr(records.simplejpeg, "decode_jpeg", lambda *_, **__: pytest.fail("it is decoded"))
    with pytest.raises(RunFailure, match=r"the record of 9\.jpg cannot be decoded: it has very many scans"):
        records.decode(data[:-2] + 25_000 * scan, "jpeg", np.empty((256, 256, 3), np.uint8), "9.jpg")


def test_other_labels_are_read_where_others_are_given(raw: ConfigDict) -> None:
    """Labels 0 to 4 become 9, 7, 5, 3, 1; a label in a record is still checked against the dataset's own."""
    dataset = records.open_dataset(raw.data)
    other = dataset.relabelled([f"name{number}" for number in range(10)], (9, 7, 5, 3, 1))
    assert other.class_names[9] == "name9"
    for index in range(TEST):
        image, label, name = dataset.records("test").read(index)
        assert other.records("test").read(index) == (image, (9, 7, 5, 3, 1)[label], name)
        assert other.records("test").image(index)[1] == 9 - 2 * (index % CLASSES)
    assert other.records("test").classes == CLASSES
