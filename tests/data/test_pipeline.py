"""Batches against images that the test itself wrote in TFDS layout, without `prepare`."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.data import pipeline
from alexnet_jax.data.order import record_indices
from alexnet_jax.data.records import open_dataset
from alexnet_jax.errors import RunFailure
from tests.data.toy import (
    BATCH,
    CLASSES,
    CROP,
    SIZE,
    TEST,
    TRAIN,
    assert_same,
    changed,
    config_for,
    evaluation,
    joined,
    pixels_of,
    training,
    write_dataset,
)


def test_batches_hold_the_crops_of_the_records(raw: ConfigDict) -> None:
    batches = training(raw)
    seen = []
    for number, batch in enumerate(batches):
        kinds = {key: (np.asarray(value).dtype, np.asarray(value).shape) for key, value in batch.items()}
        assert kinds == {
            "image": (np.uint8, (BATCH, CROP, CROP, 3)),
            "label": (np.int32, (BATCH,)),
            "flip": (np.bool_, (BATCH,)),
            "offset": (np.int32, (BATCH, 2)),
            "lighting": (np.float32, (BATCH, 3)),
        }
        epochs, indices = record_indices(TRAIN, raw.seed, BATCH, number)
        np.testing.assert_array_equal(epochs, (number * BATCH + np.arange(BATCH)) // TRAIN)
        for row, index in enumerate(indices):
            top, left = batch["offset"][row]
            whole = pixels_of("train", index, 3)
            np.testing.assert_array_equal(batch["image"][row], whole[top : top + CROP, left : left + CROP])
        np.testing.assert_array_equal(batch["label"], indices % CLASSES)
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


def test_a_batch_may_hold_several_epochs(raw: ConfigDict) -> None:
    config = changed(raw, batch_size=70)
    (batch,) = training(config, 1, 2, (0, 70))
    epochs, indices = record_indices(TRAIN, config.seed, 70, 1)
    assert set(epochs) == {2, 3, 4}
    np.testing.assert_array_equal(batch["label"], indices % CLASSES)


def test_one_channel(tmp_path: Path) -> None:
    config = config_for(tmp_path, "raw", 1)
    write_dataset(config)
    (batch,) = training(config, 0, 1)
    assert batch["image"].shape == (BATCH, CROP, CROP, 1)
    assert "lighting" not in batch


@pytest.mark.parametrize("records_per_task", [1, 3, 8])
@pytest.mark.parametrize("threads", [1, 3, 16])
def test_threads_and_tasks_do_not_matter(
    jpeg: ConfigDict, threads: int, records_per_task: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = training(jpeg), evaluation(jpeg, "test", (0, 4))
    monkeypatch.setattr(pipeline, "BYTES_PER_TASK", records_per_task * SIZE**2 * 3)
    config = changed(jpeg, threads=threads)
    assert_same(training(config), expected[0])
    assert_same(evaluation(config, "test", (0, 4)), expected[1])


@pytest.mark.parametrize("record_format", ["raw", "jpeg"])
def test_whole_images_are_those_of_the_records(record_format: str, request: pytest.FixtureRequest) -> None:
    """They are decoded to where they stand in the batch."""
    config = request.getfixturevalue(record_format)
    split = open_dataset(config.data).records("train")
    trained = training(changed(config, crop=SIZE), 0, 3)
    for number, batch in enumerate(trained):
        _, indices = record_indices(TRAIN, config.seed, BATCH, number)
        np.testing.assert_array_equal(batch["image"], [split.image(int(index))[0] for index in indices])
    images = np.concatenate([batch["image"] for batch in evaluation(config, "train", (0, 4))])
    np.testing.assert_array_equal(images[:TRAIN], [split.image(index)[0] for index in range(TRAIN)])


def test_resumes_anywhere(raw: ConfigDict) -> None:
    whole = training(raw)
    for first in (1, 4, 7):
        assert_same(training(raw, first), whole[first:])
    assert training(raw, 8) == []


def test_processes_share_the_batch(raw: ConfigDict) -> None:
    """The union over the data axis is the batch; two processes with the same rows see the same."""
    whole = training(raw)
    parts = [training(raw, rows=rows) for rows in ((0, 2), (2, 6), (6, 8))]
    assert_same(joined(parts), whole)
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
    assert len(np.unique(lighting, axis=0)) == len(lighting)  # each image its own
    assert_same(
        training(config, rows=(2, 7)),
        [{k: v[2:7] for k, v in batch.items()} for batch in batches[:8]],  # type: ignore
    )


def test_without_augmentation(raw: ConfigDict) -> None:
    edge = (SIZE - CROP) // 2
    batches = training(changed(raw, random_crop=False, flip=False, lighting=0.0))
    for number, batch in enumerate(batches):
        assert batch.keys() == {"image", "label"}
        _, indices = record_indices(TRAIN, raw.seed, BATCH, number)
        for image, index in zip(batch["image"], indices, strict=True):
            whole = pixels_of("train", index, 3)
            np.testing.assert_array_equal(image, whole[edge : edge + CROP, edge : edge + CROP])


def test_an_offset_stays_in_the_batch_where_the_mean_depends_on_it(raw: ConfigDict) -> None:
    (batch,) = training(changed(raw, mean="centre"), 0, 1)
    (other,) = training(raw, 0, 1)
    assert batch.keys() == other.keys() - {"offset"}
    np.testing.assert_array_equal(batch["image"], other["image"])


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
    batches = joined([evaluation(raw, split, rows) for rows in ((0, 1), (1, 4))])
    assert_same(evaluation(raw, split, (0, 4)), batches)
    assert len(batches) == -(-count // 4)
    images, labels, weights = (
        np.concatenate([batch[key] for batch in batches]) for key in ("image", "label", "weight")
    )
    assert (images.dtype, labels.dtype, weights.dtype) == (np.uint8, np.int32, np.float32)
    np.testing.assert_array_equal(weights, np.arange(len(weights)) < count)
    np.testing.assert_array_equal(images[:count], [pixels_of(split, index, 3) for index in range(count)])
    np.testing.assert_array_equal(labels[:count], np.arange(count) % CLASSES)
    assert not images[count:].any()
    assert not labels[count:].any()


def test_memory_is_used_again_when_nobody_holds_it() -> None:
    memory = pipeline.BufferPool()
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
    batches = pipeline.training_batches(
        open_dataset(raw.data), raw.data, raw.seed, first_batch=0, last_batch=40, rows=(0, BATCH)
    )
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
            open_dataset(raw.data), raw.data, raw.seed, first_batch=0, last_batch=10**9, rows=(0, BATCH)
        )
        next(batches)
        batches.close()
    del batches
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before


@pytest.mark.parametrize("records_per_task", [1, 4])
def test_a_record_that_cannot_be_decoded_is_reported(
    tmp_path: Path, records_per_task: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "BYTES_PER_TASK", records_per_task * SIZE**2 * 3)

    def change(split: str, index: int, example: dict[str, Any]) -> None:
        if (split, index) == ("test", 9):
            example["image"] = b"no image"

    config = config_for(tmp_path, "jpeg", 3)
    write_dataset(config, change)
    with pytest.raises(RunFailure, match=r"the record of 9\.png cannot be decoded"):
        evaluation(config, "test", (0, 4))
