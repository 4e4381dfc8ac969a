"""What a folder that TFDS prepared holds, read as data alone.

`tfds.builder_from_directory` imports the module that `features.json` names, so that a dataset is a program.
Here its metadata is read as JSON, within bounds: nothing in the folder names code that is run or a file
outside of it, and whatever is not as TFDS writes it is refused. TFDS itself computes the slices of splits.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow_datasets.core.naming import DEFAULT_FILENAME_TEMPLATE, ShardedFileTemplate
from tensorflow_datasets.core.splits import SplitDict, SplitInfo

from alexnet_jax import files
from alexnet_jax.data.sharded_records import Part, ShardedRecords
from alexnet_jax.errors import UnsafeFile, UsageError
from alexnet_jax.progress import printable

INFO, FEATURES, LABELS = "dataset_info.json", "features.json", "label.labels.txt"
# ImageNet's three need 60, 2 and 40 KB.
MAX_BYTES = 4 * 2**20  # of each
MAX_CLASSES = 100_000
MAX_SHARDS = 2**16
MAX_RECORDS = 10**8  # an epoch's order takes 8 bytes for each
MIN_RECORD_BYTES = 16  # of a shard: an array_record's own words take more
_CLASS = re.compile(r"tensorflow_datasets\.core\.features\.\w+\.(\w+)", re.ASCII)
# Parts of the names of files, which have at most 255 characters; looked at once from the left to the right.
_WORD = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_SPLIT = re.compile(r"(?=-*\w)[\w-]{1,100}", re.ASCII)
_VARIABLES = "DATASET|SPLIT|FILEFORMAT|SHARD_INDEX|NUM_SHARDS|SHARD_X_OF_Y"
_TEMPLATE = re.compile(rf"(?:[\w-]|\{{(?:{_VARIABLES})\}})(?:[\w.-]|\{{(?:{_VARIABLES})\}})*", re.ASCII)


@dataclass(frozen=True)
class TfdsMetadata:
    """Describe a dataset that TFDS prepared as array_record.

    Attributes:
      folder: its version, where all its files lie.
      class_names: by label.
      image_class: TFDS's class of the feature `image`: 'Image', encoded, or 'Tensor', pixels.
      splits: TFDS's table of them.
    """

    folder: Path
    class_names: tuple[str, ...]
    image_class: str
    splits: SplitDict

    def records(self, split: str) -> Sequence[bytes]:
        """Return the serialized records of a TFDS split such as 'train[:90%]'.

        Raises:
          UsageError: a shard is missing, or no file of so many records; a sum of very many splits.
          Exception: whatever TFDS raises for a split that is not there.
        """
        parts, most = split.count("+") + 1, max(part.num_shards for part in self.splits.values())
        if parts * most > MAX_SHARDS:
            raise UsageError(
                f"split {split[:80]!r} of {self.folder} adds {parts:,} parts of up to {most:,} shards: "
                f"at most {MAX_SHARDS:,} in all are read"
            )
        instructions = self.splits[split].file_instructions
        for shard in instructions:
            _check_shard(Path(shard.filename), shard.examples_in_shard)
        return ShardedRecords([Part(str(i.filename), i.skip, i.skip + i.take) for i in instructions])


def read(folder: Path) -> TfdsMetadata:
    """Read and check the metadata of a dataset with the features `image` and `label`.

    Raises:
      UsageError: naming the file, the key and what was found, where a file is missing or too large or holds
        something else than TFDS writes of such a dataset.
    """
    features = _read_features(folder / FEATURES)
    image = _class_of(folder / FEATURES, features, "image", ("Image", "Tensor"))
    _class_of(folder / FEATURES, features, "label", ("ClassLabel",))
    names = _class_names(folder, features["label"])
    return TfdsMetadata(folder, names, image, _read_splits(folder))


def _read_features(path: Path) -> dict[str, Any]:
    """Return {name: feature}, none of which, at any depth, is of a class that TFDS does not have itself."""
    tree = _read_json(path)
    for found in _named_classes(tree):
        if not _CLASS.fullmatch(found):
            raise _refused(
                path, "pythonClassName", found, "a class of tensorflow_datasets.core.features", UnsafeFile
            )
    features = tree.get("featuresDict")
    features = features.get("features") if isinstance(features, dict) else None
    if not isinstance(features, dict):
        raise _refused(path, "featuresDict", features, "a table of features")
    return features


def _named_classes(tree: Mapping[str, Any]) -> Iterator[str]:
    """Return every class that a feature names, in either spelling and in the form of the first versions."""
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            keys = ["pythonClassName", "python_class_name", *(["type"] if "content" in node else [])]
            yield from (node[key] for key in keys if isinstance(node.get(key), str))
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _class_of(path: Path, features: Mapping[str, Any], name: str, wanted: tuple[str, ...]) -> str:
    """Return the class, without its module, of the feature `name`, which must be one of those wanted."""
    feature = features.get(name)
    found = feature.get("pythonClassName") if isinstance(feature, dict) else None
    match = _CLASS.fullmatch(found) if isinstance(found, str) else None
    if match is None or match[1] not in wanted:
        raise _refused(path, f"the class of the feature {name!r}", found, " or ".join(wanted))
    return match[1]


def _class_names(folder: Path, label: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the lines of the file of class names, or numbers where there is none, as TFDS does."""
    content = label.get("classLabel")
    given = content.get("numClasses") if isinstance(content, dict) else None
    count = _whole(given, MAX_CLASSES)
    if not count:
        raise _refused(folder / FEATURES, "numClasses", given, f"a number from 1 to {MAX_CLASSES:,}")
    path = folder / LABELS
    if not path.exists():
        return tuple(map(str, range(count)))
    lines = _read_text(path).split("\n")
    names = tuple(name for name in map(str.strip, lines) if name)
    if len(names) != count or len(set(names)) != count:
        raise UsageError(
            f"{path} holds {len(set(names)):,} different names of {len(names):,}, and {FEATURES} says "
            f"{count:,} classes: prepare the dataset again"
        )
    return names


def _read_splits(folder: Path) -> SplitDict:
    path = folder / INFO
    tree = _read_json(path)
    formats = [tree.get("fileFormat"), *_listed(path, tree, "alternativeFileFormats")]
    if "array_record" not in formats:
        raise _refused(path, "fileFormat", formats[0], "'array_record'")
    name = tree.get("name")
    if not isinstance(name, str) or not _WORD.fullmatch(name):
        raise _refused(path, "name", name, "a word of letters, digits, _, . and -", UnsafeFile)
    splits, shards, records = [], 0, 0
    for row in _listed(path, tree, "splits"):
        split = _read_split(path, row, name)
        shards += split.num_shards
        records += split.num_examples
        splits.append(split)
    if shards > MAX_SHARDS or records > MAX_RECORDS or not splits:
        found = f"{shards:,} shards with {records:,} records"
        raise _refused(path, "splits", found, f"1 to {MAX_SHARDS:,} shards with at most {MAX_RECORDS:,}")
    if len({split.name for split in splits}) != len(splits):
        raise _refused(path, "splits", [split.name for split in splits], "each name once")
    return SplitDict(splits)


def _read_split(path: Path, row: Any, dataset: str) -> SplitInfo:
    split = row.get("name") if isinstance(row, dict) else None
    if not isinstance(split, str) or not _SPLIT.fullmatch(split):
        raise _refused(path, "the name of a split", split, "a word of letters, digits, _ and -", UnsafeFile)
    template = row.get("filepathTemplate", DEFAULT_FILENAME_TEMPLATE)
    if not isinstance(template, str) or not _TEMPLATE.fullmatch(template):
        words = f"a file's name such as {DEFAULT_FILENAME_TEMPLATE}"
        raise _refused(path, "filepathTemplate", template, words, UnsafeFile)
    lengths = []
    for given in _listed(path, row, "shardLengths"):
        length = _whole(given, MAX_RECORDS)
        if length is None:
            raise _refused(path, "shardLengths", given, f"numbers from 0 to {MAX_RECORDS:,}")
        lengths.append(length)
    files_of = ShardedFileTemplate(path.parent, template, dataset, split, "array_record")
    return SplitInfo(split, lengths, 0, files_of)


def _check_shard(path: Path, records: int) -> None:
    try:
        found = os.stat(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; prepare the dataset again") from None
    if not stat.S_ISREG(found.st_mode) or found.st_size < records * MIN_RECORD_BYTES:
        raise UsageError(
            f"{path} is no file of {records:,} records, which {path.with_name(INFO).name} promises: "
            "prepare the dataset again"
        )


def _listed(path: Path, tree: Mapping[str, Any], key: str) -> list[Any]:
    found = tree.get(key, [])
    if not isinstance(found, list):
        raise _refused(path, key, found, "a list")
    return found


def _whole(value: Any, most: int) -> int | None:
    """Return a whole number from 0 to `most`, which TFDS writes as text; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    return value if type(value) is int and 0 <= value <= most else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}; prepare the dataset again") from None
    if not isinstance(tree, dict):
        raise _refused(path, "the whole", tree, "a table of keys")
    return tree


def _read_text(path: Path) -> str:
    try:
        return files.read_bounded(path, MAX_BYTES).decode()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}; prepare the dataset again") from None


def _refused(
    path: Path, key: str, found: Any, wanted: str, kind: type[UsageError] = UsageError
) -> UsageError:
    """Return the error that says what stands in a file; texts are cut, for they are somebody else's."""
    plain = isinstance(found, str | int | float | None)
    shown = printable(repr(found[:80] if isinstance(found, str) else found)) if plain else "a table or list"
    return kind(
        f"{path}: {key} is {shown[:100]}, not {wanted}: this is no dataset that TFDS prepared as "
        "array_record; prepare from the images that it was made from"
    )
