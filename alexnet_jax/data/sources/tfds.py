"""Datasets that TFDS prepared as array_record, with the features image and label."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from tensorflow_datasets.proto import tf_example_pb2

from alexnet_jax.data import tfds_metadata
from alexnet_jax.data.sources.entries import Entries, Entry, Source
from alexnet_jax.errors import RunFailure, UsageError, first_line
from alexnet_jax.progress import Progress


def open_folder(folder: Path) -> Source | None:
    """Index a dataset that TFDS prepared.

    Args:
      folder: the dataset's version, or a folder one or two above that holds one dataset.

    Returns:
      The source; None when there is no dataset.

    Raises:
      UsageError: there are several, it is damaged, or it holds pixels and not encoded images.
    """
    for pattern in ("dataset_info.json", "*/dataset_info.json", "*/*/dataset_info.json"):
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise UsageError(
                f"--source={folder} holds {len(found)} prepared datasets: name one, such as {found[0].parent}"
            )
        if found:
            return _index(found[0].parent)
    return None


def read_record(entry: Entry) -> bytes:
    """Return the image of a record that TFDS wrote."""
    feature = _features(_records(entry.container, entry.split)[entry.start])
    image: bytes = feature["image"].bytes_list.value[0]
    return image


def _index(folder: Path) -> Source:
    container, entries = str(folder.absolute()), Entries()
    try:
        metadata = tfds_metadata.read(folder)
        if metadata.image_class != "Image":
            raise UsageError(f"{folder} holds pixels, not encoded images: prepare from what it was made from")
        names = metadata.class_names
        with Progress("index", metadata.splits.total_num_examples, "images") as progress:
            for split in metadata.splits:
                records = _records(container, split)
                for index in range(len(records)):
                    feature = _features(records[index])
                    label = feature["label"].int64_list.value[0]
                    if label >= 0:  # -1: nobody outside has it
                        key = b"".join(feature["file_name"].bytes_list.value).decode("utf-8", "replace")
                        if not key.startswith(f"{names[label]}/"):
                            key = f"{names[label]}/{key or f'{index:08d}'}"
                        entries.append(Entry(split, names[label], key, container, index, 0))
                    progress.update(1)
    except (UsageError, RunFailure):
        raise
    except Exception as error:  # array_record and protobuf raise whatever a damaged file leads them to
        raise UsageError(
            f"{folder} cannot be read as a dataset that TFDS prepared as array_record: {first_line(error)}"
        ) from None
    return Source("a dataset that TFDS prepared", entries, read_record, class_names=names)


def _features(serialized: bytes) -> Any:
    return tf_example_pb2.Example.FromString(serialized).features.feature


@lru_cache(4)
def _records(folder: str, split: str) -> Any:
    return tfds_metadata.read(Path(folder)).records(split)
