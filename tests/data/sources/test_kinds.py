"""Folders and archives as people have them: what each is read as, in every form, or why it is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.commands.doctor import COMMAND as DOCTOR
from alexnet_jax.data import image_files, prepare
from alexnet_jax.data.records import open_dataset
from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import RunFailure, UsageError
from configs import finetune
from tests.commands.helpers import call
from tests.data import made_up
from tests.data.sources.test_detect import ARCHIVES


def images(paths: str, each: int = 3) -> made_up.Files:
    """`each` images in every folder that `paths` names."""
    folders = paths.split()
    return {
        f"{folder}/{number}.png": made_up.image_file(9 * place + number, "PNG")
        for place, folder in enumerate(folders)
        for number in range(each)
    }


def write(folder: Path, form: str, files: made_up.Files) -> Path:
    if form == "folder":
        return made_up.write_folder(folder / "photos", files)
    path = folder / f"photos{form.removeprefix('a')}"
    path.write_bytes(ARCHIVES[form](files))
    return path


def counts(path: Path) -> dict[str, int]:
    """{'split/label': images}."""
    return dict(Counter(f"{entry.split}/{entry.label}" for entry, _ in open_source(str(path)).images()))


PLAIN = {"train/cat": 3, "train/dog": 3}
HELD = {**PLAIN, "validation/cat": 3, "validation/dog": 3}
READ = {
    "classes": ("cat dog", PLAIN),
    "cameras below every class": ("cat/one cat/two dog/one dog/two", {"train/cat": 6, "train/dog": 6}),
    "years below some": ("cat/2019 cat/2020 dog", {"train/cat": 6, "train/dog": 3}),
    "three levels": ("cat/a/b dog/a/c dog/d", {"train/cat": 3, "train/dog": 6}),
    "valid": ("train/cat train/dog valid/cat valid/dog", HELD),
    "Valid": ("Train/cat Train/dog Valid/cat Valid/dog", HELD),
    "dev": ("training/cat training/dog dev/cat dev/dog", HELD),
    "training_set": ("training_set/cat training_set/dog test_set/cat", {**PLAIN, "test/cat": 3}),
    "training_set twice": (
        "training_set/training_set/cat training_set/training_set/dog test_set/test_set/cat",
        {**PLAIN, "test/cat": 3},
    ),
    "testing": ("train/cat train/dog testing/cat", {**PLAIN, "test/cat": 3}),
    "seg_train": ("seg_train/cat seg_train/dog seg_test/cat", {**PLAIN, "test/cat": 3}),
    "a deeper image in a split": ("train/cat/far/below train/dog val/cat", {**PLAIN, "validation/cat": 3}),
    "validation alone": ("val/cat val/dog", {"validation/cat": 3, "validation/dog": 3}),
    "a class with the name of a split": ("train/cat train/test", {"train/cat": 3, "train/test": 3}),
}


@pytest.mark.parametrize("form", ["folder", "a.tar", "a.tar.gz", "a.tar.xz", "a.zip"])
@pytest.mark.parametrize("what", READ)
def test_what_is_read(what: str, form: str, tmp_path: Path) -> None:
    folders, expected = READ[what]
    assert counts(write(tmp_path, form, images(folders))) == expected


REFUSED = {
    "splits inside classes": ("cat/train cat/test dog/train dog/test", "are they splits"),
    "val inside one class": ("cat/train cat/val dog/train", "are they splits"),
    "folds at the top": ("fold0/cat fold0/dog fold1/cat fold1/dog", "fold0/, fold1/"),
    "folds inside classes": ("cat/fold_1 cat/fold_2 dog/fold_1 dog/fold_2", "fold_1/, fold_2/"),
    "an unlabelled folder": ("train/cat train/dog unlabeled", "lies outside train/"),
    "test1 beside train": ("train/cat train/dog test1", "lies outside train/"),
}


@pytest.mark.parametrize("form", ["folder", "a.tar", "a.tar.gz", "a.zip"])
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_doubtful_is_refused(what: str, form: str, tmp_path: Path) -> None:
    """Never merged, never dropped; and nothing without a label becomes a class."""
    folders, words = REFUSED[what]
    path = write(tmp_path, form, images(folders))
    with pytest.raises(UsageError, match=words) as error:
        counts(path)
    assert "\n" not in str(error.value)


def config_for(folder: Path, **changes: object) -> ConfigDict:
    config = finetune.get_config()
    config.data.update(name="made_up", dir=str(folder), size=24, crop=20, format="raw", threads=1, **changes)
    return config


@pytest.mark.parametrize("wrap", ["", "top/"])
@pytest.mark.parametrize("form", list(ARCHIVES))
def test_every_form_gives_the_same_dataset(form: str, wrap: str, tmp_path: Path) -> None:
    """Records, labels, names and statistics are those of the folder, byte for byte."""
    files = images("train/cat train/dog val/cat val/dog test/dog", 5)
    sources = (
        write(tmp_path, "folder", files),
        write(tmp_path, form, {wrap + k: v for k, v in files.items()}),
    )
    made = []
    for number, source in enumerate(sources):
        config = config_for(tmp_path / str(number))
        folder = prepare.prepare(config, str(source))
        dataset = open_dataset(config.data)
        every = {
            split: [*map(dataset.records(split).read, range(dataset.size(split)))] for split in dataset.splits
        }
        statistics = Statistics.load(folder / "statistics.npz")
        made.append(
            (every, dataset.class_names, statistics.mean.tobytes(), statistics.rgb_covariance.tobytes())
        )
    assert made[0] == made[1]
    assert sum(map(len, made[0][0].values())) == 25


def test_hidden_files_and_links_are_read_alike_by_all(tmp_path: Path) -> None:
    path = made_up.write_folder(tmp_path / "photos", images("cat dog", 6))
    junk = ".cat/1.png cat/._1.png __MACOSX/cat/1.png @eaDir/cat/1.png .ipynb_checkpoints/1.png cat/Thumbs.db"
    made_up.write_folder(path, dict.fromkeys(junk.split(), b"\0\5\x16\7"))
    made_up.write_folder(tmp_path / "elsewhere", images("owl", 6))
    (path / "owl").symlink_to(tmp_path / "elsewhere" / "owl")
    (path / "cat" / "circle").symlink_to(path)
    assert counts(path) == {"train/cat": 6, "train/dog": 6, "train/owl": 6}
    assert len(image_files.find_images([str(path)], "predict")) == 18


def test_what_a_file_is_its_first_bytes_say(tmp_path: Path) -> None:
    jpeg, png = made_up.image_file(1), made_up.image_file(2, "PNG")
    files = {"a/1.jfif": jpeg, "a/2.jpe": jpeg, "a/3": png, "a/4.dat": jpeg, "b/5.JPG": png, "b/6.jpg": b""}
    files |= {"b/notes.txt": b"hello", "b/page.jpg": b"<!DOCTYPE html><html></html>", "b/7.gif": b"GIF89a"}
    source = open_source(str(made_up.write_folder(tmp_path / "photos", files)))
    assert source.entries is not None
    keys = {entry.key for entry in source.entries}
    assert {"a/1.jfif", "a/2.jpe", "a/3", "a/4.dat", "b/5.JPG"} <= keys
    named = {ending for ending, _ in source.left_out}
    assert {".txt"} <= named
    assert len(keys) + source.left_out.total() == len(files)  # nothing vanishes


@pytest.mark.parametrize(
    ("share", "damaged", "kept"), [(0.01, 1, 39), (0.2, 6, 34), (0.0, 1, 0), (0.01, 2, 0)]
)
def test_a_share_of_damaged_images(share: float, damaged: int, kept: int, tmp_path: Path) -> None:
    files = images("cat dog", 20)
    for number in range(damaged):
        files[f"cat/{number}.png"] = files[f"cat/{number}.png"][:60]
    source = made_up.write_folder(tmp_path / "photos", files)
    config = config_for(tmp_path / "data", max_rejected_share=share)
    if kept:
        prepare.prepare(config, str(source))
        assert open_dataset(config.data).size("train") == kept
        return
    with pytest.raises(
        RunFailure, match=r"cannot be decoded, .*cat/\d\.png.*config\.data\.max_rejected_share="
    ):
        prepare.prepare(config, str(source))


def test_a_tenth_held_out_has_the_same_share_of_each_class(tmp_path: Path) -> None:
    files = images("common", 60) | images("rare", 20) | images("small", 10)
    config = config_for(tmp_path / "data")
    prepare.prepare(config, str(made_up.write_folder(tmp_path / "photos", files)))
    dataset = open_dataset(config.data)
    for split in ("train[90%:]", "train[:10%]", "train[40%:50%]"):
        labels = [dataset.records(split).read(index)[1] for index in range(dataset.size(split))]
        shares = np.bincount(labels, minlength=3)
        assert abs(shares - [6, 2, 1]).max() <= 1, split


def test_nothing_is_written_by_a_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = made_up.write_folder(tmp_path / "photos", images("cat dog owl", 4) | {"cat/x.txt": b"hello"})
    flags = ["--config=configs/finetune.py", f"--config.data.dir={tmp_path / 'data'}", f"--source={source}"]
    assert call(["prepare", *flags, "--dry_run"]) == 0
    told = capsys.readouterr().out
    assert "train: 12 images from the whole: no folders name splits" in told
    assert "3 classes: cat 4, dog 4, owl 4" in told
    assert "1 .txt" in told
    assert not (tmp_path / "data").exists()
    assert "source" in {flag.name for flag in DOCTOR.flags}
