"""Class folders against the files that the test wrote itself."""

from pathlib import Path

import pytest

from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.errors import UsageError
from tests.data import made_up


def test_without_split_folders_all_is_train(tmp_path: Path) -> None:
    made_up.write_folder(tmp_path, {"ant/1.jpg": b"a", "train/1.jpg": b"b"})  # a class of trains
    assert set(made_up.all_images(tmp_path)) == {
        ("train", "ant", "ant/1.jpg"),
        ("train", "train", "train/1.jpg"),
    }


@pytest.mark.parametrize(("folder", "split"), [("val", "validation"), ("validation", "validation")])
def test_names_of_splits(tmp_path: Path, folder: str, split: str) -> None:
    made_up.write_folder(tmp_path, {"Train/ant/1.jpg": b"a", f"{folder}/ant/1.jpg": b"b"})
    assert set(made_up.all_images(tmp_path)) == {("train", "ant", "ant/1.jpg"), (split, "ant", "ant/1.jpg")}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.jpg": b"x"}, "lies in no class folder"),
        ({"train/ant/1.jpg": b"x", "odd/2.jpg": b"x"}, "lies outside train/"),
        ({"train/ant/1.jpg": b"x", "val/2.jpg": b"x"}, "in no class folder"),
    ],
)
def test_images_that_lie_elsewhere(tmp_path: Path, files: made_up.Files, words: str) -> None:
    made_up.write_folder(tmp_path, files)
    with pytest.raises(UsageError, match=words) as error:
        open_source(str(tmp_path))
    assert "\n" not in str(error.value)


def test_what_is_hidden_is_passed_over(tmp_path: Path) -> None:
    hidden = {".trash/ant/1.jpg": b"x", "ant/._1.jpg": b"x", "__MACOSX/ant/1.jpg": b"x"}
    made_up.write_folder(tmp_path, {"ant/1.jpg": b"a", "ant/2.JPG": b"b", "ant/notes.txt": b"c", **hidden})
    assert set(made_up.all_images(tmp_path)) == {("train", "ant", "ant/1.jpg"), ("train", "ant", "ant/2.JPG")}


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    """The user's own folder may be put together of links, and a link may lead in a circle."""
    made_up.write_folder(tmp_path / "elsewhere", {"1.jpg": b"a"})
    made_up.write_folder(tmp_path / "source", {"bee/2.jpg": b"b"})
    (tmp_path / "source" / "ant").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "source" / "bee" / "circle").symlink_to(tmp_path / "source")
    assert set(made_up.all_images(tmp_path / "source")) == {
        ("train", "ant", "ant/1.jpg"),
        ("train", "bee", "bee/2.jpg"),
    }


def test_the_split_is_named_by_the_uppermost_folder(tmp_path: Path) -> None:
    """A class below a split's folder may be named as a split."""
    made_up.write_folder(tmp_path, {"top/val/test/1.jpg": b"a", "top/train/test/2.jpg": b"b"})
    assert set(made_up.all_images(tmp_path)) == {
        ("validation", "test", "test/1.jpg"),
        ("train", "test", "test/2.jpg"),
    }


def test_a_file_larger_than_any_image(tmp_path: Path) -> None:
    made_up.write_folder(tmp_path, {"ant/0.jpg": b"x"})
    with (tmp_path / "ant" / "1.jpg").open("wb") as file:
        file.truncate(2**40)  # a hole, which takes no space
    with pytest.raises(UsageError, match=r"ant/1.jpg in .* claims 1,099,511,627,776 bytes"):
        open_source(str(tmp_path))
