"""What tells a source from another, and the check of a dataset against it."""

import json
import os
import time
from pathlib import Path

import pytest

from alexnet_jax.data import origin
from alexnet_jax.errors import UsageError


def write(folder: Path, names: str) -> Path:
    for name in names.split():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def test_a_folder_is_known_by_its_names_and_sizes(tmp_path: Path) -> None:
    first = write(tmp_path / "first", "a/1.jpg a/2.jpg b/1.jpg")
    same = origin.of_source(
        str(write(tmp_path / "second", "b/1.jpg a/2.jpg a/1.jpg .x a/.DS_Store a/Thumbs.db @eaDir/1.jpg"))
    )
    assert same["digest"] == origin.of_source(str(first))["digest"]
    assert same["files"] == 3
    seen = {same["digest"]}
    for number, names in enumerate(("a/1.jpg b/1.jpg", "a/1.jpg a/2.jpg b/2.jpg", "a/1.jpg a/2.jpg c/1.jpg")):
        seen.add(origin.of_source(str(write(tmp_path / f"other{number}", names)))["digest"])
    (first / "a/1.jpg").write_bytes(b"longer than before")
    seen.add(origin.of_source(str(first))["digest"])
    assert len(seen) == 5


def test_links_lead_nowhere_twice(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", "a/1.jpg")
    (folder / "b").symlink_to(folder)
    (folder / "c.jpg").symlink_to(folder / "a" / "1.jpg")
    (folder / "d.jpg").symlink_to(folder / "gone")
    assert origin.of_source(str(folder))["files"] == 2


@pytest.mark.parametrize(
    ("changed", "seen"),
    [(0, True), (2**20 - 1, True), (2**20, False), (3 * 2**20 + 5, False), (3 * 2**20 + 6, True)],
)
def test_an_archive_is_known_by_its_size_and_ends(changed: int, seen: bool, tmp_path: Path) -> None:
    data = bytearray(4 * 2**20 + 6)
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    before = origin.of_source(str(path))
    moved = path.rename(tmp_path / "b.tar")
    assert origin.of_source(str(moved))["digest"] == before["digest"]
    data[changed] = 1
    moved.write_bytes(data)
    assert (origin.of_source(str(moved))["digest"] != before["digest"]) == seen
    moved.write_bytes(bytes(len(data) + 1))
    assert origin.of_source(str(moved))["digest"] != before["digest"]


def test_a_tar_of_imagenet_is_asked_in_no_time(tmp_path: Path) -> None:
    with (tmp_path / "ILSVRC2012_img_train.tar").open("wb") as file:
        os.truncate(file.fileno(), 138 * 2**30)
    began = time.process_time()
    assert origin.of_source(str(tmp_path / "ILSVRC2012_img_train.tar"))["files"] == 1
    assert time.process_time() - began < 1


def test_a_dataset_is_checked_against_a_source(tmp_path: Path) -> None:
    source, folder = write(tmp_path / "photos", "a/1.jpg a/2.jpg b/1.jpg"), tmp_path / "data"
    folder.mkdir()
    for content in ("{}", "[]", "no JSON"):
        (folder / "preparation.json").write_text(content)
        assert "does not record from what" in origin.check(folder, str(source))
    (folder / "preparation.json").write_text(json.dumps({"made_from": origin.of_source(str(source))}))
    assert origin.check(folder, str(source)) == f"{folder} is prepared already, from {source}"
    with pytest.raises(UsageError, match=r"made with --class_level=0, not 2: --config\.data\.name=NAME"):
        origin.check(folder, str(source), 2)
    write(source, "b/2.jpg")
    with pytest.raises(UsageError) as grown:
        origin.check(folder, str(source))
    assert str(grown.value) == (
        f"{folder} was made from {source} (files: 3), and {source} holds others (files: 4): "
        "--config.data.name=NAME makes another dataset of it, prepare --replace this one anew"
    )
    source.rename(tmp_path / "moved")
    assert origin.check(folder, str(source)).endswith("is not there to compare")


def test_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert origin.of_source("digits")["source"] == "digits"
    write(tmp_path / "digits", "0/1.png")
    assert origin.of_source("digits")["source"] == "digits"
    assert origin.of_source("./digits")["source"] == str(tmp_path / "digits")
