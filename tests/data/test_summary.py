"""What was understood of a source, in words."""

import numpy as np

from alexnet_jax.data import summary
from tests.data import made_up


def test_a_source_in_words(tmp_path):
    files = made_up.class_folders(3, 2, tuple(f"class{n:02}" for n in range(25)))
    for name in [name for name in files if name.startswith("train/class07/")][1:]:
        del files[name]
    files["train/class00/notes.txt"] = b"hello"
    lines = summary.describe(str(made_up.write_folder(tmp_path, files)), 0)
    assert lines[0] == f"{tmp_path}: a folder of class folders"
    assert "test: 50 images from test/" in lines
    assert "train: 73 images from train/" in lines
    (classes,) = [line for line in lines if line.startswith("25 classes: ")]
    assert classes.startswith("25 classes: class00 3, class01 3, ")
    assert classes.endswith("class19 3 and 5 more")
    assert "smallest class: class07, 1 training images" in lines
    assert any(".txt" in line and "1" in line for line in lines if line.startswith("left out"))
    assert lines[-1] == summary.UNKNOWN


def test_duplicates_across_splits():
    digests = {
        "train": np.array([1, 2, 3, 2**64 - 1], np.uint64),
        "test": np.array([3, 9], np.uint64),
        "validation": np.array([2**64 - 1, 1, 1], np.uint64),
    }
    found = summary.duplicates(digests)
    assert found == [
        {"splits": ["test", "train"], "images": 1},
        {"splits": ["train", "validation"], "images": 2},
    ]
    assert summary.duplicate_lines(found, 3)[0] == "duplicates: 1 images of test are in train too"
    assert summary.duplicate_lines([], 2) == ["no image is in two splits"]
    assert summary.duplicate_lines([], 1) == []
