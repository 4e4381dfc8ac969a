"""What is said of a source, by hand."""

from collections import Counter
from pathlib import Path

import numpy as np

from alexnet_jax.data import summary
from alexnet_jax.data.sources.entries import Entries, Entry, Source
from tests.data import made_up


def source_of(counts: dict[tuple[str, str], int]) -> Source:
    entries = Entries()
    for (split, label), count in counts.items():
        for number in range(count):
            entries.append(Entry(split, label, f"{label}/{number}", "/a", 0, 1))
    left_out = Counter({(".txt", "no image"): 3, (".heic", "no decoder"): 1200})
    return Source("a test", entries, splits={"train": "Train/"}, remarks=("odd",), left_out=left_out)


def test_lines_by_hand() -> None:
    source = source_of({("train", "cat"): 12, ("train", "ant"): 3, ("test", "ant"): 2})
    assert source.entries is not None
    assert summary.as_lines(summary.understand(source, source.entries)) == [
        "test: 2 images",
        "train: 15 images from Train/",
        "no validation split: a config that asks for one holds out a tenth of train, of each class",
        "2 classes: ant 3, cat 12",
        "smallest class: ant, 3 training images",
        "note: odd",
        "left out: 1,200 .heic (no decoder)",
        "left out: 3 .txt (no image)",
    ]


def test_the_first_twenty_classes() -> None:
    source = source_of({("validation", f"c{n:02d}"): 1 + (n != 7) for n in range(25)})
    assert source.entries is not None
    lines = summary.as_lines(summary.understand(source, source.entries))
    (classes,) = [line for line in lines if " classes: " in line]
    assert classes.startswith("25 classes: c00 2, c01 2, ")
    assert classes.endswith(", c19 2 and 5 more")
    assert "smallest class: c07, 1 validation images" in lines
    assert not any("held out" in line for line in lines)


def test_duplicates_by_hand() -> None:
    digests = {"train": [1, 2, 3, 3], "test": [3, 9], "validation": [1, 2, 9]}
    found = summary.duplicates({split: np.array(these, np.uint64) for split, these in digests.items()})
    assert found == [
        {"splits": ["test", "train"], "images": 1},
        {"splits": ["test", "validation"], "images": 1},
        {"splits": ["train", "validation"], "images": 2},
    ]
    assert summary.duplicate_lines(found, 3)[2] == "duplicates: 2 images of train are in validation too"
    assert summary.duplicate_lines([], 2) == ["no image is in two splits"]
    assert summary.duplicate_lines([], 1) == []


def test_a_source_is_described(tmp_path: Path) -> None:
    files = made_up.class_folders(3, 2)
    (tmp_path / "a.tar.gz").write_bytes(made_up.tar_bytes(files, "w:gz"))
    made_up.write_folder(tmp_path / "folder", files)
    folder = summary.describe(str(tmp_path / "folder"), 0)
    assert folder[0] == f"{tmp_path}/folder: a folder of class folders"
    assert "3 classes: ant 3, bee 3, cat 3" in folder
    assert summary.describe(str(tmp_path / "a.tar.gz"), 0)[1:] == folder[1:]
