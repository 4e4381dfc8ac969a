"""A source's records without preparing it: those that `prepare` makes, in any form and of any split."""

import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.data import prepare, unprepared
from alexnet_jax.data.records import Dataset, open_dataset
from alexnet_jax.errors import RunFailure, UsageError
from configs import imagenet
from tests.data import made_up


def config(folder: Path | str = "/nowhere", **changes: object) -> ConfigDict:
    whole = imagenet.get_config()
    whole.data.update(name="made_up", dir=str(folder), size=32, crop=28, threads=1, **changes)
    return whole


def opened(source: Path | str, split: str = "", names: object = None, **changes: object) -> unprepared.Opened:
    return unprepared.open_unprepared(
        str(source), config(**changes).data, split, None, names or (lambda names: None)
    )


def rows(dataset: Dataset, split: str) -> list[tuple[bytes, str, str]]:
    """(Encoded image, class, file) of each record of a split, in its order."""
    records = dataset.records(split)
    read = [records.read(index) for index in range(len(records))]
    return [(image, dataset.class_names[label], name) for image, label, name in read]


FILES = made_up.class_folders(6, 5)


def write(folder: Path, form: str, files: made_up.Files = FILES) -> Path:
    if form == "folder":
        return made_up.write_folder(folder / "photos", files)
    path = folder / f"photos.{form}"
    if form == "zip":
        path.write_bytes(made_up.zip_bytes(files))
    else:
        path.write_bytes(made_up.tar_bytes(files, {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}[form]))
    return path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("prepared")
    whole = config(folder)
    prepare.prepare(whole, str(write(folder, "folder")))
    return open_dataset(whole.data)


@pytest.mark.parametrize("form", ["folder", "tar", "tar.gz", "tar.xz", "zip"])
@pytest.mark.parametrize("split", ["", "test", "train", "test[1:4]", "train[50%:]+test"])
def test_the_records_are_those_of_prepare(form: str, split: str, prepared: Dataset, tmp_path: Path) -> None:
    found = opened(write(tmp_path, form), split)
    wanted = split or "test"
    assert found.split == wanted
    assert rows(found.dataset, wanted) == rows(prepared, wanted)
    assert len(rows(found.dataset, wanted)) == {"test": 15, "train": 18, "test[1:4]": 3}.get(wanted, 24)
    assert found.dataset.class_names == prepared.class_names
    assert found.dataset.name == f"photos.{form}".removesuffix(".folder")
    image, label = found.dataset.records(wanted).image(1)
    expected, expected_label = prepared.records(wanted).image(1)
    np.testing.assert_array_equal(image, expected)
    assert label == expected_label


@pytest.mark.parametrize("changes", [{"channels": 1}, {"format": "raw"}, {"exif_rotation": False}])
def test_a_record_is_what_the_config_says(changes: dict[str, object], tmp_path: Path) -> None:
    files = {f"test/awkward/{name}": data for name, data in made_up.awkward().items()}
    files |= {f"train/{label}/1.png": made_up.image_file(1, "PNG") for label in ("awkward", "plain")}
    source = made_up.write_folder(tmp_path / "source", files)
    whole = config(tmp_path, **changes)
    prepare.prepare(whole, str(source))
    assert rows(opened(source, **changes).dataset, "test") == rows(open_dataset(whole.data), "test")


@pytest.mark.parametrize(
    ("names", "split", "words"),
    [
        (("train", "test", "val"), "test", "its test split is evaluated, 6 images"),
        (("train", "val"), "validation", "it has no test split: its validation split is evaluated, 6 images"),
        (("val",), "validation", "it has no test split: its validation split is evaluated, 6 images"),
        (("train",), "train", "it has no test and no validation split: all of it is evaluated, 6 images"),
        (("",), "train", "it has no test and no validation split: all of it is evaluated, 6 images"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "tar.gz"])
def test_which_split(form: str, names: tuple[str, ...], split: str, words: str, tmp_path: Path) -> None:
    files = {
        f"{name}/{label}/{number}.png".lstrip("/"): made_up.image_file(number, "PNG")
        for name in names
        for label in ("ant", "bee")
        for number in range(3)
    }
    source = write(tmp_path, form, files)
    found = opened(source)
    assert found.split == split
    assert found.lines[0].startswith(f"{source}: a ")
    assert found.lines[0].endswith(f"; {words}")
    assert {name for _, name, _ in rows(found.dataset, found.split)} == {"ant", "bee"}


@pytest.mark.parametrize("form", ["folder", "tar.gz"])
def test_another_split_is_said_to_be_missing(form: str, tmp_path: Path) -> None:
    source = write(tmp_path, form)
    assert opened(source, "train[:5]").lines[0].endswith("; --split=train[:5] is evaluated, 5 images")
    with pytest.raises(UsageError, match=f"^{source} has no split 'val'; it has test, train$"):
        opened(source, "test+val[:3]")


def test_one_class_is_enough(tmp_path: Path) -> None:
    source = made_up.write_folder(tmp_path / "one", {"ant/1.png": made_up.image_file(1, "PNG")})
    assert rows(opened(source).dataset, "train")[0][1:] == ("ant", "ant/1.png")


@pytest.mark.parametrize("form", ["folder", "tar.gz"])
def test_damaged_images_are_counted_or_too_many(form: str, tmp_path: Path) -> None:
    files = {f"test/ant/{number:03}.png": made_up.image_file(number, "PNG") for number in range(150)}
    files["test/ant/bad.png"] = files["test/ant/001.png"][:60]
    files |= {f"train/ant/{number}.png": b"" for number in range(9)}  # nobody asks for them
    found = opened(write(tmp_path, form, files))
    assert (found.left_out, found.dataset.size("test")) == (1, 150)
    assert found.lines[1].startswith("1 cannot be decoded and are left out, the first: ant/bad.png: ")
    files["test/bee/bad.png"] = b"not an image"
    with pytest.raises(
        RunFailure, match=r"^2 of 152 images of .* cannot be decoded, more than config.data.max_"
    ):
        opened(write(tmp_path, form, files))


@pytest.mark.parametrize("form", ["folder", "tar", "zip", "tar.gz"])
def test_classes_are_checked_before_an_image_is_decoded(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(names: tuple[str, ...]) -> None:
        raise UsageError(f"unknown: {names}")

    if form != "tar.gz":  # whose names nobody knows before it was read
        monkeypatch.setattr(unprepared.RecordFormat, "encode", None)
    with pytest.raises(UsageError, match=r"unknown: \('ant', 'bee', 'cat'\)"):
        opened(write(tmp_path, form), names=refuse)


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, usage = write(tmp_path, "folder"), SimpleNamespace(free=10)
    monkeypatch.setattr(unprepared.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UsageError, match=r"GiB free, and its records need about .* set TMPDIR "):
        opened(source)


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, records = write(tmp_path, "folder"), unprepared._Records
    with Path("/dev/full").open("w+b", buffering=0) as full:
        monkeypatch.setattr(unprepared, "_Records", lambda: records(full))
        with pytest.raises(RunFailure, match=f"^{source} cannot be read into /.*: No space left on device"):
            opened(source)


def test_a_path_that_leads_out_of_an_archive(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo("test/../../ant/1.png")
        archive.addfile(member, io.BytesIO())
    (tmp_path / "out.tar.gz").write_bytes(file.getvalue())
    with pytest.raises(UsageError, match="is not a path below it"):
        opened(tmp_path / "out.tar.gz")
