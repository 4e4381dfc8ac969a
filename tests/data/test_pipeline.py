"""Batches against pictures that the test itself wrote in TFDS layout, without `prepare`."""

import io
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.data import pipeline
from alexnet_jax.errors import RunFailure, UsageError
from tests.data.toy import BATCH, CLASSES, CROP, SIZE, TEST, TRAIN, config_for, encode, picture, write_dataset


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    config = config_for(tmp_path_factory.mktemp("raw"), "raw", 3)
    write_dataset(config)
    return config


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    config = config_for(tmp_path_factory.mktemp("jpeg"), "jpeg", 3)
    write_dataset(config)
    return config


def changed(config: ConfigDict, **data: Any) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.data.update(**data)
    return config


def training(
    config: ConfigDict, first: int = 0, last: int = 8, rows: tuple[int, int] = (0, BATCH)
) -> list[dict[str, np.ndarray]]:
    dataset = pipeline.open_dataset(config.data)
    batches = pipeline.training_batches(dataset, config, first_batch=first, last_batch=last, rows=rows)
    try:
        return list(batches)
    finally:
        batches.close()


def evaluation(config: ConfigDict, split: str, rows: tuple[int, int]) -> list[dict[str, np.ndarray]]:
    batches = pipeline.evaluation_batches(pipeline.open_dataset(config.data), split, config, rows=rows)
    try:
        return list(batches)
    finally:
        batches.close()


def assert_same(found: list[dict[str, np.ndarray]], expected: list[dict[str, np.ndarray]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_opens(raw: ConfigDict) -> None:
    dataset = pipeline.open_dataset(raw.data)
    assert dataset.class_names == tuple(f"class{number}" for number in range(CLASSES))
    assert dataset.size("train") == TRAIN
    assert dataset.size("train[50%:]") == TRAIN // 2
    image, label, name = dataset.records("test").read(7)
    assert (image, label, name) == (picture("test", 7, 3).tobytes(), 7 % CLASSES, "7.png")


def test_batches_hold_the_crops_of_the_records(raw: ConfigDict) -> None:
    batches = training(raw)
    seen = []
    for number, batch in enumerate(batches):
        kinds = {key: (value.dtype, value.shape) for key, value in batch.items()}
        assert kinds == {
            "image": (np.uint8, (BATCH, CROP, CROP, 3)),
            "label": (np.int32, (BATCH,)),
            "flip": (np.bool_, (BATCH,)),
            "offset": (np.int32, (BATCH, 2)),
            "lighting": (np.float32, (BATCH, 3)),
            "scale": (np.float32, (BATCH,)),
            "weight": (np.float32, (BATCH,)),
        }
        epochs, indices = pipeline.record_indices(TRAIN, raw.seed, BATCH, number)
        np.testing.assert_array_equal(epochs, (number * BATCH + np.arange(BATCH)) // TRAIN)
        for row, index in enumerate(indices):
            top, left = batch["offset"][row]
            whole = picture("train", index, 3)
            np.testing.assert_array_equal(batch["image"][row], whole[top : top + CROP, left : left + CROP])
        np.testing.assert_array_equal(batch["label"], indices % CLASSES)
        assert (batch["weight"] == 1).all()
        assert (batch["scale"] == 1).all()
        seen += list(indices)
    first, second = seen[:TRAIN], seen[TRAIN : 2 * TRAIN]
    assert sorted(first) == sorted(second) == list(range(TRAIN))  # an epoch is every record once
    assert first != second
    assert first != sorted(first)
    offsets = np.concatenate([batch["offset"] for batch in batches])
    assert len(np.unique(offsets, axis=0)) > 15  # of 25
    assert 10 < sum(batch["flip"].sum() for batch in batches) < 54
    lighting = np.concatenate([batch["lighting"] for batch in batches])
    assert len(np.unique(lighting, axis=0)) == len(lighting)  # another one each epoch too


def test_orders_are_uniform() -> None:
    """Every order of four records is as likely, over seeds and over epochs."""
    for numbers in ([(seed, 0) for seed in range(4800)], [(7, epoch) for epoch in range(4800)]):
        orders = [tuple(pipeline.epoch_order(4, seed, epoch)) for seed, epoch in numbers]
        counts = np.array(list(Counter(orders).values()))
        assert len(counts) == 24
        assert ((counts - 200) ** 2 / 200).sum() < 50  # chi-squared, 23 degrees of freedom: p = 0.001


def test_a_seed_is_not_another_seeds_later_epoch() -> None:
    assert list(pipeline.epoch_order(50, 1, 1)) != list(pipeline.epoch_order(50, 2, 0))


def test_a_batch_may_hold_several_epochs(raw: ConfigDict) -> None:
    config = changed(raw, batch_size=70)
    (batch,) = training(config, 1, 2, (0, 70))
    epochs, indices = pipeline.record_indices(TRAIN, config.seed, 70, 1)
    assert set(epochs) == {2, 3, 4}
    np.testing.assert_array_equal(batch["label"], indices % CLASSES)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_decoded_as_pillow_does(channels: int, tmp_path: Path) -> None:
    config = config_for(tmp_path, "jpeg", channels)
    write_dataset(config)
    seen = 0
    for batch in evaluation(config, "test", (0, 4)):
        for row in range(int(batch["weight"].sum())):
            file = io.BytesIO(encode(picture("test", seen, channels), "jpeg"))
            oracle = np.asarray(Image.open(file)).reshape(SIZE, SIZE, channels)
            np.testing.assert_array_equal(batch["image"][row], oracle)
            seen += 1
    assert seen == TEST


def test_one_channel(tmp_path: Path) -> None:
    config = config_for(tmp_path, "raw", 1)
    write_dataset(config)
    (batch,) = training(config, 0, 1)
    assert batch["image"].shape == (BATCH, CROP, CROP, 1)
    assert batch["lighting"].shape == (BATCH, 1)
    assert (batch["lighting"] == 0).all()


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_threads_do_not_matter(jpeg: ConfigDict, threads: int) -> None:
    assert_same(training(changed(jpeg, threads=threads)), training(jpeg))


@pytest.mark.parametrize("shared", [2**16, 0])  # small arrays through a pipe, and all in shared memory
def test_processes_do_not_matter(jpeg: ConfigDict, shared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when taken up in the middle of an epoch."""
    monkeypatch.setattr(pipeline, "SHARED", shared)
    assert_same(training(changed(jpeg, workers=2), 3), training(jpeg)[3:])


def test_processes_beside_an_accelerator(jpeg: ConfigDict, monkeypatch: pytest.MonkeyPatch) -> None:
    cores, batch = 16, BATCH * CROP**2 * 3
    monkeypatch.setattr(pipeline.os, "sched_getaffinity", lambda process: set(range(cores)))
    default, three, none = (changed(jpeg, workers=workers, threads=0).data for workers in (-1, 3, 0))
    assert [pipeline.workers_of(data, BATCH) for data in (default, three, none)] == [0, 3, 0]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [pipeline.workers_of(data, BATCH) for data in (default, three, none)] == [4, 3, 0]
    assert pipeline.threads_of(default, 4) == 4
    cores = 200
    assert pipeline.workers_of(default, BATCH) == pipeline.MOST_WORKERS
    room = SimpleNamespace(free=2 * pipeline.IN_SHARED * batch)
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda folder: room)
    assert pipeline.workers_of(default, BATCH) == 2
    with pytest.raises(UsageError, match=r"config.data.workers=3: .* /dev/shm, .* set config.data.workers=0"):
        training(changed(jpeg, workers=3))


def test_resumes_anywhere(raw: ConfigDict) -> None:
    whole = training(raw)
    for first in (1, 4, 7):
        assert_same(training(raw, first), whole[first:])
    assert training(raw, 8) == []


def test_places_share_the_batch(raw: ConfigDict) -> None:
    """The union over the data axis is the batch; two processes at one place see the same."""
    whole = training(raw)
    parts = [training(raw, rows=rows) for rows in ((0, 2), (2, 6), (6, 8))]
    joined = [
        {key: np.concatenate([part[key] for part in batch]) for key in batch[0]}
        for batch in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)
    assert_same(training(raw, rows=(2, 6)), parts[1])


def test_crop_sharing(raw: ConfigDict) -> None:
    config = changed(raw, crop_sharing=4)
    batches = training(config, 0, 16)
    offsets = np.concatenate([batch["offset"] for batch in batches]).reshape(-1, 4, 2)
    flip = np.concatenate([batch["flip"] for batch in batches]).reshape(-1, 4)
    assert (offsets == offsets[:, :1]).all()
    assert (flip == flip[:, :1]).all()
    assert len(np.unique(offsets[:, 0], axis=0)) > 8
    assert 4 < flip[:, 0].sum() < 28
    lighting = np.concatenate([batch["lighting"] for batch in batches])
    assert len(np.unique(lighting, axis=0)) == len(lighting)  # each picture its own
    assert_same(
        training(config, rows=(2, 7)), [{k: v[2:7] for k, v in batch.items()} for batch in batches[:8]]
    )


def test_without_augmentation(raw: ConfigDict) -> None:
    for batch in training(changed(raw, random_crop=False, flip=False, lighting=0.0)):
        assert (batch["offset"] == (SIZE - CROP) // 2).all()
        assert not batch["flip"].any()
        assert (batch["lighting"] == 0).all()
        assert (batch["scale"] == 1).all()


def test_lighting_off(raw: ConfigDict) -> None:
    """Neither noise nor division from epoch 0.5 to 1: positions 15 to 29."""
    with_lighting = training(changed(raw, lighting_divisor=1.1))
    batches = training(changed(raw, lighting_divisor=1.1, lighting_off=((0.5, 1),)))
    lighting, scale = (np.concatenate([batch[key] for batch in batches]) for key in ("lighting", "scale"))
    off = np.zeros(64, bool)
    off[15:30] = True
    assert (lighting[off] == 0).all()
    np.testing.assert_array_equal(scale, np.where(off, np.float32(1), np.float32(1 / 1.1)))
    before = np.concatenate([batch["lighting"] for batch in with_lighting])
    np.testing.assert_array_equal(lighting[~off], before[~off])


@pytest.mark.parametrize("split", ["test", "train"])
def test_evaluation_counts_each_record_once(raw: ConfigDict, split: str) -> None:
    count = {"test": TEST, "train": TRAIN}[split]
    halves = [evaluation(raw, split, rows) for rows in ((0, 1), (1, 4))]
    batches = [
        {key: np.concatenate([part[key] for part in batch]) for key in batch[0]}
        for batch in zip(*halves, strict=True)
    ]
    assert_same(evaluation(raw, split, (0, 4)), batches)
    assert len(batches) == -(-count // 4)
    images, labels, weights = (
        np.concatenate([batch[key] for batch in batches]) for key in ("image", "label", "weight")
    )
    assert (images.dtype, labels.dtype, weights.dtype) == (np.uint8, np.int32, np.float32)
    np.testing.assert_array_equal(weights, np.arange(len(weights)) < count)
    np.testing.assert_array_equal(images[:count], [picture(split, index, 3) for index in range(count)])
    np.testing.assert_array_equal(labels[:count], np.arange(count) % CLASSES)
    assert not images[count:].any()
    assert not labels[count:].any()


def test_memory_is_used_again_when_nobody_holds_it() -> None:
    memory = pipeline._Memory()
    first = memory.empty((4, 6))
    first[:] = 1
    row, address = first[2, 1:3].T, first.ctypes.data
    del first
    other = memory.empty((4, 6))  # a view is still held
    assert other.ctypes.data != address
    other[:] = 2
    assert (row == 1).all()
    del row
    assert memory.empty((6, 4)).ctypes.data == address


def test_batches_that_are_held_do_not_change(raw: ConfigDict) -> None:
    expected = [batch["image"].copy() for batch in training(raw, 0, 40)]
    dataset = pipeline.open_dataset(raw.data)
    batches = pipeline.training_batches(dataset, raw, first_batch=0, last_batch=40, rows=(0, BATCH))
    held = []
    for number, batch in enumerate(batches):
        if number % 3:
            held.append((number, batch["image"]))
    for number, image in held:
        np.testing.assert_array_equal(image, expected[number])


def test_close_ends_the_threads(raw: ConfigDict) -> None:
    before = threading.active_count()
    for _ in range(3):
        batches = pipeline.training_batches(
            pipeline.open_dataset(raw.data), raw, first_batch=0, last_batch=10**9, rows=(0, BATCH)
        )
        next(batches)
        batches.close()
    del batches
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not prepared; type: python -m alexnet_jax\.main prepare"):
        pipeline.open_dataset(config_for(tmp_path, "raw", 3).data)


@pytest.mark.parametrize(("key", "value"), [("channels", 1), ("format", "jpeg"), ("exif_rotation", True)])
def test_prepared_otherwise(raw: ConfigDict, key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"config.data.{key}"):
        pipeline.open_dataset(changed(raw, **{key: value}).data)


def test_quality_counts_for_jpeg_alone(raw: ConfigDict, jpeg: ConfigDict) -> None:
    pipeline.open_dataset(changed(raw, quality=50).data)
    with pytest.raises(UsageError, match="quality"):
        pipeline.open_dataset(changed(jpeg, quality=50).data)


@pytest.mark.parametrize("name", ["statistics.npz", "preparation.json", "features.json", "dataset_info.json"])
@pytest.mark.parametrize("damage", ["missing", "half"])
def test_half_made(tmp_path: Path, name: str, damage: str) -> None:
    config = config_for(tmp_path, "raw", 3)
    path = write_dataset(config) / name
    content = path.read_bytes()
    path.unlink()
    if damage == "half":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError) as caught:
        pipeline.open_dataset(config.data)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["validation", "train[", "train[:0]", "train[90%"])
def test_split_that_is_not_there(raw: ConfigDict, split: str) -> None:
    with pytest.raises(UsageError) as caught:
        pipeline.open_dataset(raw.data).records(split)
    assert "there are: test, train" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_records_are_told(tmp_path: Path, workers: int) -> None:
    config = changed(config_for(tmp_path, "raw", 3), workers=workers)
    folder = write_dataset(config)
    path = next(folder.glob("*train.array_record-00001*"))
    content = bytearray(path.read_bytes())
    for place in range(1000, 8000, 50):  # the rest of a small file is padding
        content[place] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(RunFailure, match=r"record \d+ of split 'train' of .* is damaged"):
        training(config)


@pytest.mark.parametrize(
    "record",
    [
        b"no picture",
        encode(np.zeros((SIZE * 2, SIZE, 3), np.uint8), "jpeg"),
        encode(np.zeros((SIZE // 2, SIZE, 3), np.uint8), "jpeg"),
        encode(picture("train", 3, 3), "jpeg")[:-100],
    ],
)
def test_records_that_do_not_fit_are_told(tmp_path: Path, record: bytes) -> None:
    def change(split: str, index: int, example: dict[str, Any]) -> None:
        if (split, index) == ("test", 9):
            example["image"] = record

    config = config_for(tmp_path, "jpeg", 3)
    write_dataset(config, change)
    with pytest.raises(RunFailure, match=r"the record of 9\.png cannot be decoded"):
        evaluation(config, "test", (0, 4))


def test_a_raw_record_that_is_too_short_is_told() -> None:
    with pytest.raises(RunFailure, match=r"the record of 9\.png cannot be decoded"):
        pipeline.decode(b"too short", "raw", np.empty((SIZE, SIZE, 3), np.uint8), "9.png")


def test_pillow_decodes_what_libjpeg_does_not() -> None:
    pixels = picture("train", 0, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    found = pipeline.decode(file.getvalue(), "jpeg", np.empty((SIZE, SIZE, 3), np.uint8), "0.png")
    np.testing.assert_array_equal(found, pixels)
