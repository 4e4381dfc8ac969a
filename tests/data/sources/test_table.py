"""A table of files and labels: which column is which, and what is refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.errors import UsageError
from tests.data import made_up

NAMES = ("a.png", "b.png", "c.png", "d.png")


def folder(tmp_path: Path, table: str, name: str = "labels.csv", images: Sequence[str] = NAMES) -> Path:
    files = {image: made_up.image_file(number, "PNG") for number, image in enumerate(images)}
    made_up.write_folder(tmp_path, files)
    (tmp_path / name).write_text(table, encoding="utf-8")
    return tmp_path


def found(path: Path) -> dict[str, tuple[str, str]]:
    entries = open_source(str(path)).entries
    assert entries is not None
    return {entry.key: (entry.split, entry.label) for entry in entries}


ANIMALS = {"cat/a.png": "cat", "dog/b.png": "dog", "cat/c.png": "cat", "dog/d.png": "dog"}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("labels.csv", "file,label\na.png,cat\nb.png,dog\nc.png,cat\nd.png,dog\n"),
        ("labels.tsv", "label\tfile\ncat\ta.png\ndog\tb.png\ncat\tc.png\ndog\td.png\n"),
        ("labels.csv", "a.png,cat\nb.png,dog\nc.png,cat\nd.png,dog"),  # no header
        ("train.csv", "\ufeffid;breed\r\na;cat\r\nb;dog\r\nc;cat\r\nd;dog\r\n"),  # no endings
        (
            "labels.csv",
            '"image","w","label"\n"./a.png",9,"cat"\nb.png,9,dog\nx/c.png,9,cat\nd.png,9,dog\n',
        ),
        ("labels.csv", "file,label\na.png, cat \n\nb.png,dog\nc.png,cat\nd.png,dog\na.png,cat\n"),
    ],
    ids=["header", "tabs, label first", "no header", "semicolons, no endings", "more columns", "a row twice"],
)
def test_files_and_labels(name: str, table: str, tmp_path: Path) -> None:
    expected = {key: ("train", label) for key, label in ANIMALS.items()}
    assert found(folder(tmp_path, table, name)) == expected
    assert found(tmp_path / name) == expected  # the table itself


def test_splits_and_what_is_left_out(tmp_path: Path) -> None:
    table = "file,label,split\na.png,cat,train\nb.png,dog,Test\nc.png,,train\ngone.jpg,cat,train\n"
    path = folder(tmp_path, table)
    assert found(path) == {"cat/a.png": ("train", "cat"), "dog/b.png": ("test", "dog")}
    assert dict(open_source(str(path)).left_out) == {
        (".png", "the table has no label for it"): 1,
        (".jpg", "the table names it and it is not there"): 1,
        (".png", "labels.csv does not name it"): 2,
    }


def test_which_columns_is_said(tmp_path: Path) -> None:
    path = folder(tmp_path, "image,species\na.png,cat\nb.png,dog\n")
    assert open_source(str(path)).remarks == ("labels by labels.csv: files in 'image', classes in 'species'",)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "is empty"),
        ("file,label\nx.png,cat\n", "no column of .* names images below"),
        ("file,kind,colour\na.png,cat,red\n", "which column of .* holds the class is doubtful"),
        ("file\na.png\n", "which column of .* holds the class is doubtful"),
        ("file,label\na.png,cat\na.png,dog\n", "gives a.png two labels, cat and dog"),
        ("file,label,split\na.png,cat,fold1\n", "names the split fold1: there are train, val and test"),
    ],
)
def test_tables_that_are_refused(table: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words) as error:
        open_source(str(folder(tmp_path, table)))
    assert "\n" not in str(error.value)


def test_two_tables(tmp_path: Path) -> None:
    folder(tmp_path, "a.png,cat\n", "one.csv")
    with pytest.raises(UsageError, match=r"several tables, one\.csv, two\.csv: name the one with the labels"):
        open_source(str(folder(tmp_path, "a.png,cat\n", "two.csv")))


def test_class_folders_with_a_table_are_class_folders(tmp_path: Path) -> None:
    path = folder(tmp_path, "a.png,x\n", images=("cat/a.png", "dog/b.png"))
    assert found(path) == {"cat/a.png": ("train", "cat"), "dog/b.png": ("train", "dog")}
