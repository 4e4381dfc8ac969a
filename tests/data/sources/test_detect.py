"""Which kind of source a path holds: every kind with the same files, and what is none."""

from pathlib import Path

import pytest

from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.errors import UsageError
from tests.data import made_up

ARCHIVES = {
    "a.tar": lambda files: made_up.tar_bytes(files),
    "a.tar.gz": lambda files: made_up.tar_bytes(files, "w:gz"),
    "a.tgz": lambda files: made_up.tar_bytes(files, "w:gz"),
    "a.tar.xz": lambda files: made_up.tar_bytes(files, "w:xz"),
    "a.tar.bz2": lambda files: made_up.tar_bytes(files, "w:bz2"),
    "a.zip": lambda files: made_up.zip_bytes(files),
}


@pytest.mark.parametrize("wrap", ["", "top/"])
@pytest.mark.parametrize("name", ["folder", *ARCHIVES])
def test_class_folders_of_every_kind(tmp_path: Path, name: str, wrap: str) -> None:
    files = made_up.class_folders(3, 2)
    wrapped = {f"{wrap}{path}": data for path, data in files.items()} | {f"{wrap}notes.txt": b"no image"}
    if name == "folder":
        made_up.write_folder(tmp_path / name, wrapped)
    else:
        (tmp_path / name).write_bytes(ARCHIVES[name](wrapped))
    assert made_up.all_images(tmp_path / name) == made_up.located(files)


@pytest.mark.parametrize("name", list(ARCHIVES))
def test_corrupt_archives(tmp_path: Path, name: str) -> None:
    """Cut off in the middle: one line, never a shorter dataset."""
    path = tmp_path / name
    whole = ARCHIVES[name](made_up.class_folders(6, 2))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cannot be read as a") as error:
        list(open_source(str(path)).images())
    assert "\n" not in str(error.value)


def test_twice_the_same_name(tmp_path: Path) -> None:
    one = made_up.tar_bytes({"train/ant/1.jpg": b"x", "train/bee/1.jpg": b"x"})
    (tmp_path / "a.tar").write_bytes(one[:2048] + made_up.tar_bytes({"train/ant/1.jpg": b"y"}))
    with pytest.raises(UsageError, match=r"ant/1\.jpg stands twice in train of .*a\.tar"):
        open_source(str(tmp_path / "a.tar"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no images; it may be a folder of class folders"),
        ({"notes.txt": b"x"}, r"holds no images that can be used \(left out: 1 .txt \(no image\)\); it"),
    ],
)
def test_a_folder_without_images(tmp_path: Path, files: made_up.Files, words: str) -> None:
    made_up.write_folder(tmp_path, files)
    with pytest.raises(UsageError, match=words):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "--source is missing: a folder of class folders"),
        ("nowhere", "--source=nowhere does not exist"),
        ("a.rar", r"a\.rar is not a folder nor one of \.tar, \.zip, \.tar\.gz"),
    ],
)
def test_what_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.rar").write_bytes(b"x")
    with pytest.raises(UsageError, match=words):
        open_source(name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("folder", "a folder of class folders"),
        ("a.zip", "a zip archive of class folders"),
        ("a.tar", "a tar archive of class folders"),
        ("a.tgz", "a compressed tar archive of class folders, read in order"),
        ("digits", "scikit-learn's handwritten digits"),
    ],
)
def test_what_it_is_is_said(tmp_path: Path, name: str, kind: str) -> None:
    files = made_up.class_folders(2, 1)
    made_up.write_folder(tmp_path / "folder", files)
    for archive, pack in ARCHIVES.items():
        (tmp_path / archive).write_bytes(pack(files))
    assert open_source(name if name == "digits" else str(tmp_path / name)).kind == kind


@pytest.mark.parametrize("name", ["folder", *ARCHIVES])
def test_another_content_has_another_identity(tmp_path: Path, name: str) -> None:
    """And the same content the same, wherever it lies."""
    identities = []
    for number, data in enumerate([b"abc", b"abc", b"abcd"]):
        path = tmp_path / str(number) / name
        if name == "folder":
            made_up.write_folder(path, {"ant/1.jpg": data})
        else:
            made_up.write_folder(path.parent, {name: ARCHIVES[name]({"ant/1.jpg": data})})
        identities.append(open_source(str(path)).identity())
    assert identities[0] == identities[1] != identities[2]
