"""The lister, on folders with links and copies."""

import os
from pathlib import Path

from alexnet_jax.data.sources.folder import Walk
from alexnet_jax.data.sources.sieve import Sieve
from tests.data import made_up

IMAGE = made_up.image_file(1)


def walked(folder: Path) -> tuple[list[str], Walk, Sieve]:
    sieve = Sieve()
    walk = Walk(folder, sieve)
    return [entry.key for entry in walk], walk, sieve


def test_a_link_to_a_folder_outside_is_read(tmp_path: Path) -> None:
    made_up.write_folder(tmp_path / "elsewhere", {"1.jpg": IMAGE, "deep/2.jpg": IMAGE})
    made_up.write_folder(tmp_path / "source", {"cat/3.jpg": IMAGE})
    (tmp_path / "source" / "dog").symlink_to(tmp_path / "elsewhere")
    names, walk, sieve = walked(tmp_path / "source")
    assert names == ["cat/3.jpg", "dog/1.jpg", "dog/deep/2.jpg"]
    assert not walk.remarks
    assert not sieve.left_out


def test_each_folder_once_and_no_circle(tmp_path: Path) -> None:
    made_up.write_folder(tmp_path, {"cat/1.jpg": IMAGE, "dog/2.jpg": IMAGE})
    (tmp_path / "dog" / "circle").symlink_to(tmp_path)
    (tmp_path / "dog" / "self").symlink_to(tmp_path / "dog")
    (tmp_path / "puss").symlink_to(tmp_path / "cat")
    names, _, sieve = walked(tmp_path)
    assert names == ["cat/1.jpg", "dog/2.jpg"]
    assert sieve.left_out == {("", "a link to a folder that is read elsewhere"): 3}


def test_one_split_may_be_another(tmp_path: Path) -> None:
    """Whichever of the two is the link, both are read, and it is said."""
    for number, (real, link) in enumerate([("val", "test"), ("test", "val"), ("val", "Testing")]):
        folder = made_up.write_folder(tmp_path / str(number), {f"{real}/cat/1.jpg": IMAGE})
        (folder / link).symlink_to(real)
        names, walk, _ = walked(folder)
        assert sorted(names) == sorted([f"{real}/cat/1.jpg", f"{link}/cat/1.jpg"])
        (words,) = walk.remarks
        assert "are one folder, by a link" in words
        assert f"{real}/" in words
        assert f"{link}/" in words


def test_a_circle_through_splits_ends(tmp_path: Path) -> None:
    made_up.write_folder(tmp_path, {"train/cat/1.jpg": IMAGE, "val/cat/2.jpg": IMAGE})
    (tmp_path / "train" / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "val" / "cat" / "down").symlink_to(tmp_path / "val")
    assert walked(tmp_path)[0] == ["train/cat/1.jpg", "val/cat/2.jpg"]


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    made_up.write_folder(tmp_path, {"cat/1.jpg": IMAGE, "dog/.DS_Store": b"x", "notes/a.txt": b"x"})
    (tmp_path / "train" / "cow").mkdir(parents=True)
    names, walk, sieve = walked(tmp_path)
    assert names == ["cat/1.jpg"]
    assert walk.remarks == [
        "dog/ is an empty folder: no class is made of it",
        "train/cow/ is an empty folder: no class is made of it",
    ]
    assert sieve.left_out == {(".txt", "no image"): 1}


def test_what_is_no_plain_file_is_counted(tmp_path: Path) -> None:
    made_up.write_folder(tmp_path, {"cat/1.jpg": IMAGE})
    os.mkfifo(tmp_path / "cat" / "2.jpg")
    (tmp_path / "cat" / "3.png").symlink_to(tmp_path / "gone.png")
    names, _, sieve = walked(tmp_path)
    assert names == ["cat/1.jpg"]
    assert {ending for ending, _ in sieve.left_out} == {".jpg", ".png"}
