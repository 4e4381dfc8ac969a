"""A small dataset of known images that a test writes in TFDS layout by itself, without `prepare`."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from ml_collections import ConfigDict
from PIL import Image
from tensorflow_datasets.core import example_serializer

from alexnet_jax.data import pipeline, records
from alexnet_jax.data.batch import Batch, Batches
from alexnet_jax.data.statistics import Statistics
from configs import imagenet

SIZE, CROP, BATCH = 16, 12, 8
TRAIN, TEST, CLASSES = 30, 11, 5  # 30 is no multiple of 8: batches reach over the end of an epoch


def pixels_of(split: str, index: int, channels: int) -> np.ndarray:
    """Draw the pixels of a toy record, other ones for each: uint8 (SIZE, SIZE, channels)."""
    random = np.random.default_rng([int(split == "test"), index])
    coarse = random.integers(0, 256, (4, 4, channels)).astype(np.uint8)
    bands = [Image.fromarray(coarse[:, :, c]).resize((SIZE, SIZE)) for c in range(channels)]
    return np.stack([np.asarray(band) for band in bands], axis=2)


def encode(pixels: np.ndarray, record_format: str) -> bytes:
    if record_format == "raw":
        return pixels.tobytes()
    file = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(
        file, "JPEG", quality=95, subsampling=0
    )
    return file.getvalue()


def config_for(folder: Path, record_format: str, channels: int) -> ConfigDict:
    config = imagenet.get_config()
    config.data.update(
        name="toy",
        dir=str(folder),
        size=SIZE,
        crop=CROP,
        channels=channels,
        format=record_format,
        batch_size=BATCH,
        threads=2,
    )
    config.data.mean = "crop"  # so that offsets stay in the batches
    config.data.lighting = 0.1 if channels == 3 else 0.0
    return config


def write_dataset(
    config: ConfigDict,
    change: Callable[[str, int, dict[str, Any]], None] = lambda split, index, example: None,
) -> Path:
    """Write the toy dataset, two shards a split; `change` may spoil a record's example."""
    data = config.data
    folder = Path(data.dir) / f"toy_{SIZE}" / "1.0.0"
    folder.mkdir(parents=True)
    shape = (SIZE, SIZE, data.channels)
    image = (
        tfds.features.Image(shape=shape, encoding_format="jpeg")
        if data.format == "jpeg"
        else tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
    )
    label = tfds.features.ClassLabel(names=[f"class{number}" for number in range(CLASSES)])
    features = tfds.features.FeaturesDict({"image": image, "label": label, "file_name": tfds.features.Text()})
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    splits = []
    for split, count in (("test", TEST), ("train", TRAIN)):
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name=f"toy_{SIZE}", split=split, filetype_suffix="array_record"
        )
        lengths = [count // 3, count - count // 3]
        index = 0
        for shard, length in enumerate(lengths):
            path = template.sharded_filepath(shard_index=shard, num_shards=2)
            writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
            for _ in range(length):
                example = {
                    "image": encode(pixels_of(split, index, data.channels), data.format),
                    "label": index % CLASSES,
                    "file_name": f"{index}.png",
                }
                change(split, index, example)
                writer.write(serializer.serialize_example(example))
                index += 1
            writer.close()
        splits.append(
            tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=1, filename_template=template)
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=splits, check_data=False
    )
    channels = data.channels
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(channels, channels)))[0]
    values = np.array([9_000.0, 700.0, 80.0][:channels])
    Statistics(
        np.zeros(shape, np.float32), np.zeros(channels), axes @ np.diag(values) @ axes.T, values, axes, TRAIN
    ).save(folder / "statistics.npz")
    made_with = {key: data[key] for key in ("size", "channels", "exif_rotation", "format", "quality")}
    (folder / "preparation.json").write_text(json.dumps(made_with))
    return folder


def changed(config: ConfigDict, **data: Any) -> ConfigDict:
    """A copy of `config` with other keys of `config.data`."""
    config = config.copy_and_resolve_references()
    config.data.update(**data)
    return config


def _all(batches: Batches) -> list[Batch[np.ndarray]]:
    try:
        return list(batches)
    finally:
        batches.close()


def training(
    config: ConfigDict, first: int = 0, last: int = 8, rows: tuple[int, int] = (0, BATCH)
) -> list[Batch[np.ndarray]]:
    dataset = records.open_dataset(config.data)
    return _all(
        pipeline.training_batches(
            dataset, config.data, config.seed, first_batch=first, last_batch=last, rows=rows
        )
    )


def evaluation(config: ConfigDict, split: str, rows: tuple[int, int]) -> list[Batch[np.ndarray]]:
    """Load a split's evaluation batches, 4 images each."""
    dataset = records.open_dataset(config.data)
    return _all(pipeline.evaluation_batches(dataset, split, config.data, 4, rows=rows))


def assert_same(batches: list[Batch[np.ndarray]], expected: list[Batch[np.ndarray]]) -> None:
    assert len(batches) == len(expected)
    for one, other in zip(batches, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)  # type: ignore[literal-required]


def joined(parts: list[list[Batch[np.ndarray]]]) -> list[Batch[np.ndarray]]:
    """Join the parts of batches that several processes loaded into whole batches."""
    return [
        {key: np.concatenate([part[key] for part in batch]) for key in batch[0]}  # type: ignore
        for batch in zip(*parts, strict=True)
    ]
