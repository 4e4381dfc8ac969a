"""Prepared datasets against Pillow on the source's own files, read through TFDS; the same bytes always."""

import gzip
import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.data import images, prepare, tfds_layout
from alexnet_jax.data.records import open_dataset
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import RunFailure, UnsafeFile, UsageError
from configs import imagenet
from tests.data import made_up


def config_for(
    folder: Path, size: int = 24, record_format: str = "raw", channels: int = 3, threads: int = 0
) -> ConfigDict:
    config = imagenet.get_config()
    config.data.threads = threads
    config.data.update(
        name="toy",
        dir=str(folder),
        size=size,
        crop=size,
        format=record_format,
        channels=channels,
        lighting=0.0,
    )
    return config


def content(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def files() -> made_up.Files:
    return made_up.class_folders()


@pytest.fixture(scope="module")
def source(files: made_up.Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.write_folder(tmp_path_factory.mktemp("source"), files)


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare.prepare(config_for(tmp_path_factory.mktemp("whole"), threads=1), str(source))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfds_layout, "SHARD_BYTES", 10_000)


def test_records_are_the_source_scaled(whole: Path, files: made_up.Files) -> None:
    builder = tfds.builder_from_directory(whole)
    names = builder.info.features["label"].names
    assert names == ["ant", "bee", "cat"]
    seen, train = set(), []
    for split in ("train", "test"):
        for record in builder.as_data_source(split):
            name = f"{split}/{record['file_name'].decode()}"
            seen.add(name)
            assert names[record["label"]] == name.split("/")[1]
            want = made_up.center_by_pillow(files[name], 24)
            assert np.abs(record["image"].astype(int) - want).max() <= 1
            if split == "train":
                train.append(record["image"])
    assert seen == set(files)
    statistics = Statistics.load(whole / "statistics.npz")
    np.testing.assert_allclose(statistics.mean, np.mean(train, axis=0), rtol=1e-6)
    assert statistics.count == len(train) == 36
    made_with = json.loads((whole / "preparation.json").read_text())
    assert made_with["counts"] == {"test": 12, "train": 36}
    assert (whole / "rejects.txt").read_text() == ""
    assert not whole.with_name(".1.0.0.partial").exists()


def test_slices_are_fair(whole: Path) -> None:
    """Records stand in the order of a hash: any slice holds all classes, not the last alone."""
    tail = tfds.builder_from_directory(whole).as_data_source("train[60%:]")
    assert {record["label"] for record in tail} == {0, 1, 2}


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_records(source: Path, tmp_path: Path, channels: int) -> None:
    config = config_for(tmp_path, 32, "jpeg", channels)
    prepare.prepare(config, str(source))
    raw = config_for(tmp_path / "raw", 32, "raw", channels)
    prepare.prepare(raw, str(source))
    one, other = (open_dataset(c.data).records("train") for c in (config, raw))
    for index in range(len(one)):
        image = Image.open(io.BytesIO(one.read(index)[0]))
        assert image.size == (32, 32)
        assert image.mode == ("RGB" if channels == 3 else "L")
        want = np.frombuffer(other.read(index)[0], np.uint8).reshape(32, 32, channels)
        decoded = np.asarray(image).reshape(want.shape)
        assert np.abs(decoded.astype(int) - want).mean() < 4
        assert one.read(index)[1:] == other.read(index)[1:]


def test_the_same_bytes_from_every_source_and_on_any_number_of_processes(
    small_shards: None, source: Path, files: made_up.Files, tmp_path: Path
) -> None:
    (tmp_path / "a.tar").write_bytes(made_up.tar_bytes(files))
    (tmp_path / "a.tar.xz").write_bytes(made_up.tar_bytes(dict(reversed(files.items())), "w:xz"))
    (tmp_path / "a.zip").write_bytes(made_up.zip_bytes(files))
    made = []
    for number, (name, processes) in enumerate(
        [(str(source), 1), (str(source), 3), ("a.tar", 2), ("a.tar.xz", 2), ("a.zip", 2)]
    ):
        config = config_for(tmp_path / str(number), threads=processes)
        folder = prepare.prepare(config, str(tmp_path / name))
        written = content(folder)
        written.pop("preparation.json")  # it names the kind of source
        made.append(written)
    assert len([name for name in made[0] if "-of-" in name]) > 8
    assert all(other == made[0] for other in made[1:])


def test_parts(small_shards: None, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = prepare.prepare(config_for(tmp_path / "alone"), str(source))
    config = config_for(tmp_path / "parts")
    with pytest.raises(UsageError, match="holds no parts"):
        prepare.prepare(config, "", merge=True)
    for number in (2, 0):
        prepare.prepare(config, str(source), part=f"{number}/3")
    assert not tfds_layout.is_prepared(config.data)
    with pytest.raises(UsageError, match=r"shards are not made, the first toy_24-\w+\.array_record-00001-of"):
        prepare.prepare(config, "", merge=True)
    prepare.prepare(config, str(source), part="1/3")
    assert not tfds_layout.is_prepared(config.data)
    assert content(prepare.prepare(config, "", merge=True)) == content(alone)
    assert "part 1/3 is made" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["1", "3/3", "-1/3", "a/b", "1/"])
def test_a_part_that_is_none(source: Path, tmp_path: Path, part: str) -> None:
    with pytest.raises(UsageError, match="write i/n with i from 0"):
        prepare.prepare(config_for(tmp_path), str(source), part=part)


def test_parts_refuse_what_does_not_fit(source: Path, tmp_path: Path) -> None:
    config = config_for(tmp_path)
    prepare.prepare(config, str(source), part="0/2")
    config.data.exif_rotation = True
    with pytest.raises(UsageError, match="holds parts of another source or config"):
        prepare.prepare(config, str(source), part="1/2")
    with pytest.raises(UsageError, match="holds parts made with exif_rotation=False"):
        prepare.prepare(config, "", merge=True)
    with pytest.raises(UsageError, match="give one of the two"):
        prepare.prepare(config, str(source), part="1/2", merge=True)
    (tmp_path / "a.tar.gz").write_bytes(made_up.tar_bytes({"ant/1.jpg": b"x"}, "w:gz"))
    with pytest.raises(UsageError, match="needs a source that can be read at any offset"):
        prepare.prepare(config, str(tmp_path / "a.tar.gz"), part="1/2")


def test_another_source_begins_anew(
    small_shards: None, source: Path, files: made_up.Files, tmp_path: Path
) -> None:
    config = config_for(tmp_path / "data")
    prepare.prepare(config, str(source), part="0/2")
    fewer = made_up.write_folder(tmp_path / "fewer", dict(list(files.items())[1:]))
    folder = prepare.prepare(config, str(fewer))
    assert content(folder) == content(prepare.prepare(config_for(tmp_path / "alone"), str(fewer)))


def test_prepared_already(whole: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(whole)
    prepare.prepare(config_for(whole.parents[1]), str(source))
    assert "is prepared already" in capsys.readouterr().out
    assert content(whole) == before


def test_another_source_is_refused_or_takes_the_place(
    source: Path, files: made_up.Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second project's images are not passed over in silence, nor are those that were added."""
    own = made_up.write_folder(tmp_path / "own", files)
    folder = prepare.prepare(config_for(tmp_path / "data"), str(own))
    before = content(folder)
    added = own / "train" / "ant" / "added.jpg"
    added.write_bytes(made_up.image_file(99))
    for wrong in (own, made_up.write_folder(tmp_path / "other", dict(list(files.items())[1:]))):
        with pytest.raises(UsageError, match=rf"made from {own} \(files: \d+\), and {wrong} holds others"):
            prepare.prepare(config_for(tmp_path / "data"), str(wrong))
    assert content(folder) == before
    prepare.prepare(config_for(tmp_path / "data"), str(own), replace=True)
    assert content(folder) == content(prepare.prepare(config_for(tmp_path / "alone"), str(own))) != before
    assert [path.name for path in folder.parent.iterdir()] == ["1.0.0"]
    added.unlink()
    shutil.move(own, tmp_path / "gone")
    capsys.readouterr()
    prepare.prepare(config_for(tmp_path / "data"), str(own))
    assert "is not there to compare" in capsys.readouterr().out


def test_two_at_once(source: Path, tmp_path: Path) -> None:
    config = config_for(tmp_path)
    job = prepare.PrepareJob(config.data, tmp_path / "toy_24" / ".1.0.0.partial", strict=False)
    with job.lock(), pytest.raises(UsageError, match="is being made by another process"):
        prepare.prepare(config, str(source))
    prepare.prepare(config, str(source), part="0/2")
    config.data.exif_rotation = True  # something else: it must not take from a part what it is at
    with job.lock("lock-1-of-2"), pytest.raises(UsageError, match="is being made by another process"):
        prepare.prepare(config, str(source))


# Awkward images


def test_what_the_user_should_know_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exif = Image.Exif()
    exif[274] = 3
    for number in range(6):
        path = (
            tmp_path
            / "photos"
            / ("train" if number < 4 else "test")
            / f"{'ab'[number % 2]}"
            / f"{number}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:
            Image.fromarray(np.full((20, 20), 4000, np.uint16)).save(path)
        else:
            Image.new("RGB", (20, 20)).save(path, exif=exif)
    folder = prepare.prepare(config_for(tmp_path), str(tmp_path / "photos"))
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: 3")]
    assert told == [
        f"note: 3 images are {images.DARK} (the first: test/b/5.png)",
        f"note: 3 images are {images.TURNED} (the first: test/a/4.png)",
    ]
    assert json.loads((folder / "preparation.json").read_text())["understood"]["notes"] == told


def many(count: int) -> made_up.Files:
    return {
        f"{label}/{i}.jpg": made_up.image_file(i, size=(8, 8)) for label in ("a", "b") for i in range(count)
    }


def test_awkward_images_are_taken(tmp_path: Path) -> None:
    files = many(5) | {f"a/{name}": data for name, data in made_up.awkward().items()}
    config = config_for(tmp_path)
    folder = prepare.prepare(config, str(made_up.write_folder(tmp_path / "source", files)), strict=True)
    taken = {
        r["file_name"].decode(): r["image"]
        for r in tfds.builder_from_directory(folder).as_data_source("train")
    }
    assert set(taken) == set(files)
    for name in (
        "cmyk.JPEG",
        "ycck.JPEG",
        "grey.JPEG",
        "palette.png",
        "png.JPEG",
        "wide.JPEG",
        "rotated.JPEG",
    ):
        want = made_up.center_by_pillow(files[f"a/{name}"], 24)
        if name != "palette.png":  # what is transparent there lies on white
            assert np.abs(taken[f"a/{name}"].astype(int) - want).max() <= 2, name
    sixteen = taken["a/sixteen.png"]
    assert sixteen.min() < 12
    assert sixteen.max() > 243


@pytest.mark.parametrize("packed", [False, True])
def test_rejects(tmp_path: Path, packed: bool) -> None:
    files = many(250) | {f"b/{name}": data for name, data in made_up.broken().items()}
    path = tmp_path / "a.tar.gz"
    path.write_bytes(made_up.tar_bytes(files, "w:gz"))
    name = str(path if packed else made_up.write_folder(tmp_path / "source", files))
    folder = prepare.prepare(config_for(tmp_path / "data", 8), name)
    lines = (folder / "rejects.txt").read_text().splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"train/b/{file}" for file in sorted(made_up.broken())]
    assert all(line.split(": ", 1)[1] for line in lines)
    assert json.loads((folder / "preparation.json").read_text())["counts"] == {"train": 500}
    assert Statistics.load(folder / "statistics.npz").count == 500
    with pytest.raises(RunFailure, match=r"--strict: (train/)?b/") as error:
        prepare.prepare(config_for(tmp_path / "strict", 8), name, strict=True)
    assert "\n" not in str(error.value)


def test_strict_after_a_part_that_was_not(tmp_path: Path) -> None:
    """What an earlier call let pass is not let pass now."""
    files = many(250) | {f"b/{name}": data for name, data in made_up.broken().items()}
    name = str(made_up.write_folder(tmp_path / "source", files))
    config = config_for(tmp_path / "data", 8)
    prepare.prepare(config, name, part="0/1")
    with pytest.raises(RunFailure, match=r"--strict: train/b/"):
        prepare.prepare(config, "", merge=True, strict=True)
    assert not tfds_layout.is_prepared(config.data)


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    """Old archives have them: they are written down readably, and can be read again."""
    name = "train/a/\udce9t\udce9.jpg"  # Latin-1, as Python gives it
    files = many(5) | {f"{label}/1.jpg": made_up.image_file(1) for label in ("train/a", "train/b")}
    files = {n if n.startswith("train") else f"train/{n}": data for n, data in files.items()}
    (tmp_path / "a.tar").write_bytes(made_up.tar_bytes(files | {name: made_up.image_file(2)}))
    config = config_for(tmp_path, 8)
    prepare.prepare(config, str(tmp_path / "a.tar"))
    records = open_dataset(config.data).records("train")
    assert "a/\\udce9t\\udce9.jpg" in {records.read(index)[2] for index in range(len(records))}
    (tmp_path / "b.tar").write_bytes(made_up.tar_bytes({"\udce9/1.jpg": b"x", "b/1.jpg": b"x"}))
    with pytest.raises(UsageError, match="cannot be written down: rename its folder"):
        prepare.prepare(config_for(tmp_path / "b", 8), str(tmp_path / "b.tar"))


def test_too_many_rejects(tmp_path: Path) -> None:
    files = many(20) | {f"b/{name}": data for name, data in made_up.broken().items()}
    made_up.write_folder(tmp_path / "source", files)
    config = config_for(tmp_path / "data", 8)
    with pytest.raises(RunFailure, match="5 of 45 images cannot be decoded, more than 1%"):
        prepare.prepare(config, str(tmp_path / "source"))
    assert not tfds_layout.is_prepared(config.data)


# What is wrong


def test_wrong_sources(tmp_path: Path) -> None:
    image = made_up.image_file(0)
    for files, words in (
        ({"a/1.jpg": image}, "one class, 'a'"),
        (
            {"train/a/1.jpg": image, "train/b/1.jpg": image, "val/c/1.jpg": image},
            "class 'c' has no training",
        ),
    ):
        shutil.rmtree(tmp_path / "source", ignore_errors=True)
        made_up.write_folder(tmp_path / "source", files)
        with pytest.raises(UsageError, match=words):
            prepare.prepare(config_for(tmp_path / "data"), str(tmp_path / "source"))


def test_twice_the_same_name_in_a_compressed_archive(tmp_path: Path) -> None:
    one = made_up.tar_bytes({"ant/1.jpg": made_up.image_file(1), "bee/1.jpg": made_up.image_file(2)})
    both = one[: one.index(b"bee/1.jpg")] + made_up.tar_bytes({"ant/1.jpg": made_up.image_file(3)})
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(both))
    with pytest.raises(UsageError, match=r"ant/1\.jpg stands twice in train"):
        prepare.prepare(config_for(tmp_path), str(tmp_path / "a.tar.gz"))


def test_the_disk_is_checked_first(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: usage)
    (tmp_path / "a.tar.gz").write_bytes(made_up.tar_bytes(made_up.class_folders(), "w:gz"))
    for name in (source, tmp_path / "a.tar.gz"):  # how much a compressed archive holds is estimated
        with pytest.raises(UsageError, match="GiB free and this needs about"):
            prepare.prepare(config_for(tmp_path), str(name))
        assert not list(tmp_path.rglob("*.array_record*"))
        assert not list(tmp_path.rglob("000000*"))


def test_a_changed_shard_is_noticed(source: Path, tmp_path: Path) -> None:
    config = config_for(tmp_path)
    for part in ("0/2", "1/2"):
        prepare.prepare(config, str(source), part=part)
    shard = next((tmp_path / "toy_24" / ".1.0.0.partial" / "1.0.0").glob("*train*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RunFailure, match="was changed after it was made"):
        prepare.prepare(config, "", merge=True)


def test_a_folder_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFailure, match="cannot be prepared"):
        prepare.prepare(config_for(tmp_path / "file"), str(source))


def test_no_process_is_left_behind(source: Path, tmp_path: Path) -> None:
    prepare.prepare(config_for(tmp_path, threads=2), str(source))
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    assert not [command for command in commands if b"spawn_main" in command]


@pytest.mark.parametrize("name", ["work/lock", "work", "1.0.0", ""])
@pytest.mark.parametrize("merge", [False, True])
def test_unfinished_work_that_leads_elsewhere_is_refused(
    name: str, merge: bool, source: Path, tmp_path: Path
) -> None:
    """It may have come with a folder of somebody else's; a lock is emptied when it is taken."""
    config = config_for(tmp_path / "data")
    link = tmp_path / "data" / "toy_24" / ".1.0.0.partial" / name
    mine = tmp_path / "mine"
    (mine / "work").mkdir(parents=True)
    (mine / "work" / "lock").write_text("precious")
    link.parent.mkdir(parents=True)
    link.symlink_to(mine / name)
    with pytest.raises(UnsafeFile, match="is a symbolic link"):
        prepare.prepare(config, str(source), merge=merge)
    assert (mine / "work" / "lock").read_text() == "precious"
    assert [path.name for path in mine.rglob("*")] == ["work", "lock"]
