"""Tables of files and labels, against the dictionaries that the test wrote."""

from pathlib import Path

import pytest

from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.errors import UsageError
from tests.data import made_up

LABELS = {"a.jpg": "cat", "b.jpg": "dog", "c.png": "cat", "d.jpg": "dog"}


def write(folder: Path, table: str, name: str = "labels.csv", where: str = "") -> Path:
    files: made_up.Files = {f"{where}{file}": file.encode() for file in LABELS}
    return made_up.write_folder(folder, {**files, name: table.encode()})


def lines(rows: list[tuple[str, ...]], delimiter: str = ",") -> str:
    return "".join(delimiter.join(row) + "\n" for row in rows)


ROWS = list(LABELS.items())


@pytest.mark.parametrize(
    ("table", "name", "where"),
    [
        (lines([("file", "label"), *ROWS]), "labels.csv", ""),
        (lines(ROWS), "x.csv", ""),  # no header
        (
            lines([("id", "breed"), *((f.split(".")[0], c) for f, c in ROWS)]),
            "labels.csv",
            "train/",
        ),  # Kaggle
        (lines([("label", "path"), *((c, f"images/{f}") for f, c in ROWS)], "\t"), "l.tsv", "images/"),
        (lines([("file", "size", "label"), *((f, "9", c) for f, c in ROWS)], ";"), "l.csv", ""),
        ("\ufeff" + lines([("file", "label"), *ROWS]).replace("\n", "\r\n"), "excel.csv", ""),
        (lines([("f", "c"), *((f"C:\\x\\{f}", f' "{c}"'.strip()) for f, c in ROWS)]), "l.csv", "pictures/"),
    ],
)
def test_forms_of_tables(tmp_path: Path, table: str, name: str, where: str) -> None:
    folder = write(tmp_path, table, name, where)
    for source in (str(folder), str(folder / name)):
        images = {
            Path(key).name: (label, data) for (_, label, key), data in made_up.all_images(source).items()
        }
        assert images == {file: (label, file.encode()) for file, label in LABELS.items()}
    opened = open_source(str(folder))
    assert opened.kind == "a folder of images with their labels in a table"
    assert name in opened.remarks[0]
    assert not opened.left_out


def test_a_column_of_splits(tmp_path: Path) -> None:
    splits = ["train", "Validation", "test", "training"]
    table = lines([("file", "label", "split"), *((*row, s) for row, s in zip(ROWS, splits, strict=True))])
    found = {(split, Path(key).name) for split, _, key in made_up.all_images(write(tmp_path, table))}
    expected = ["train", "validation", "test", "train"]
    assert found == {(split, file) for split, file in zip(expected, LABELS, strict=True)}
    with pytest.raises(UsageError, match="names the split fold3: there are train, val and test"):
        open_source(str(write(tmp_path, table.replace("test\n", "fold3\n"))))


def test_folders_of_splits_below_a_table(tmp_path: Path) -> None:
    made_up.write_folder(tmp_path, {"train/a.jpg": b"a", "test/b.jpg": b"b"})
    made_up.write_folder(tmp_path, {"all.csv": b"file,label\ntrain/a.jpg,cat\ntest/b.jpg,dog\n"})
    found = set(made_up.all_images(tmp_path / "all.csv"))
    assert found == {("train", "cat", "cat/train/a.jpg"), ("test", "dog", "dog/test/b.jpg")}


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    table = lines([("file", "label"), ("a.jpg", "cat"), ("b.jpg", ""), ("gone.gif", "dog"), ("a.jpg", "cat")])
    source = open_source(str(write(tmp_path, table)))
    assert source.left_out == {
        (".jpg", "the table has no label for it"): 1,
        (".gif", "the table names it and it is not there"): 1,
        (".jpg", "labels.csv does not name it"): 2,
        (".png", "labels.csv does not name it"): 1,
    }


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "is empty"),
        ("x,y\n1,2\n", "no column of .* names images below"),
        (lines([("file", "red", "blue"), *((f, "1", "0") for f in LABELS)]), "which column .* is doubtful"),
        (lines([("file", "label", "class"), *((f, c, c) for f, c in ROWS)]), "which column .* is doubtful"),
        (lines([("file",), *((f,) for f in LABELS)]), "which column .* is doubtful"),
        (lines([*ROWS, ("a.jpg", "dog")]), "gives a.jpg two labels, cat and dog"),
        ("file,label\n" + "x" * 200_000 + ",y\n", "cannot be read as a table: field larger"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, table: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        open_source(str(write(tmp_path, table)))
    assert "\n" not in str(error.value)


def test_a_table_beside_class_folders_is_none(tmp_path: Path) -> None:
    made_up.write_folder(tmp_path, {"cat/1.jpg": b"a", "dog/2.jpg": b"b", "classes.csv": b"1.jpg,x\n"})
    assert {label for _, label, _ in made_up.all_images(tmp_path)} == {"cat", "dog"}
    assert open_source(str(tmp_path)).left_out == {(".csv", "no image"): 1}


def test_several_tables(tmp_path: Path) -> None:
    folder = write(tmp_path, lines(ROWS), "train.csv")
    (folder / "sample.csv").write_text("a.jpg,cat\n")
    with pytest.raises(UsageError, match=r"several tables, sample.csv, train.csv: name the one with"):
        open_source(str(folder))
    assert len(made_up.all_images(folder / "train.csv")) == 4


def test_a_table_leads_nowhere_else(tmp_path: Path) -> None:
    """A name in it is looked up among the images below its folder, never opened."""
    made_up.write_folder(tmp_path, {"secret.jpg": b"secret", "in/a.jpg": b"a"})
    (tmp_path / "in" / "l.csv").write_text(f"a.jpg,cat\n../secret.jpg,dog\n{tmp_path}/secret.jpg,dog\n")
    assert list(made_up.all_images(tmp_path / "in").values()) == [b"a"]
