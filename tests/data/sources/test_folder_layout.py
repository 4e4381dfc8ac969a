"""How folders are read: as a person who looks at them would say, or refused with the readings named.

Each case is a list of paths. The first of each kind was found with users; the siblings are ours.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.data.sources.entries import Source
from alexnet_jax.data.sources.folder_layout import group_of
from alexnet_jax.errors import UsageError
from tests.data import made_up

FORMS = ("folder", "a.tar", "a.tar.gz", "a.zip")


def opened(tmp_path: Path, paths: Sequence[str], form: str = "folder", class_level: int = 0) -> Source:
    """Write files of these names in one form, and open it."""
    files = {path: path.encode() for path in paths}
    if form == "folder":
        made_up.write_folder(tmp_path / form, files)
    else:
        packed = {
            "a.tar": lambda: made_up.tar_bytes(files),
            "a.tar.gz": lambda: made_up.tar_bytes(files, "w:gz"),
            "a.zip": lambda: made_up.zip_bytes(files),
        }
        (tmp_path / form).write_bytes(packed[form]())
    return open_source(str(tmp_path / form), class_level).listed()


def counted(source: Source) -> dict[tuple[str, str], int]:
    assert source.entries is not None
    return dict(Counter((entry.split, entry.label) for entry in source.entries))


def each(folders: str, count: int = 2) -> list[str]:
    """Paths of `count` images in each folder of a list."""
    return [f"{folder}/{number}.jpg" for folder in folders.split() for number in range(count)]


# Classes are the folders directly below


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        ("cat/camera1 cat/camera2 dog/camera1 dog/camera2", {"cat": 4, "dog": 4}),
        ("cat cat/new dog", {"cat": 4, "dog": 2}),
        ("cat/2019/may cat/2020 dog dog/old/very", {"cat": 4, "dog": 4}),  # at any depth
        ("cat/cat dog/dog", {"cat": 2, "dog": 2}),
        ("cat/a dog/b", {"cat": 2, "dog": 2}),
    ],
)
def test_images_deeper_inside_belong_to_their_class(
    tmp_path: Path, form: str, folders: str, classes: dict[str, int]
) -> None:
    source = opened(tmp_path, each(folders), form)
    assert counted(source) == {("train", name): count for name, count in classes.items()}


@pytest.mark.parametrize(
    ("folders", "level", "words"),
    [
        ("cat/camera1 cat/camera2 dog/camera1 dog/camera2", 2, "camera1/, camera2/ stand below every class"),
        ("photo/dog photo/cat sketch/dog sketch/cat", 2, "cat/, dog/ stand below every class"),
        ("amazon/images/bike amazon/images/mug dslr/images/bike dslr/images/mug", 3, "bike/, mug/ stand"),
        ("train/a/left train/a/right train/b/left train/b/right", 2, "left/, right/ stand below every"),
    ],
)
def test_the_same_names_below_every_class_are_said(
    tmp_path: Path, folders: str, level: int, words: str
) -> None:
    (remark,) = opened(tmp_path, each(folders)).remarks
    assert words in remark
    assert f"--class_level={level} takes the folders below them" in remark
    other = opened(tmp_path, each(folders), class_level=level)
    assert {label for _, label in counted(other)} == {folder.split("/")[-1] for folder in folders.split()}


@pytest.mark.parametrize("folders", ["cat dog", "cat/new dog", "a/images b/images", "a/x a/y b/x c/x c/y"])
def test_nothing_is_said_where_nothing_is_doubtful(tmp_path: Path, folders: str) -> None:
    assert opened(tmp_path, each(folders)).remarks == ()


def test_a_level_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cat/0.jpg in .* fewer than the 2 folders of --class_level=2"):
        opened(tmp_path, each("cat cat/new dog/new"), class_level=2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "folders",
    [
        "cat/train cat/test dog/train dog/test",
        "cat/Training cat/Validation_set dog/Training",
        "cat/fold1 cat/fold2 dog/fold1 dog/fold2",
        "cat/cat_train cat/cat_test dog/dog_train dog/dog_test",
        "fold0/cat fold0/dog fold1/cat fold1/dog",
        "Fold_1/cat Fold_2/cat",
        "split1 split2",
        "train/cat/test train/dog",
    ],
)
def test_splits_and_folds_in_the_wrong_place_are_refused(tmp_path: Path, form: str, folders: str) -> None:
    with pytest.raises(UsageError) as error:
        opened(tmp_path, each(folders), form)
    assert "--class_level=1 takes" in str(error.value)
    assert "--class_level=2" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_refused_reading_is_taken_when_it_is_said(tmp_path: Path) -> None:
    paths = each("fold0/cat fold0/dog fold1/cat fold1/dog")
    assert counted(opened(tmp_path, paths, class_level=1)) == {("train", "fold0"): 4, ("train", "fold1"): 4}
    source = opened(tmp_path, paths, class_level=2)
    assert counted(source) == {("train", "cat"): 4, ("train", "dog"): 4}
    inside = opened(tmp_path / "b", each("cat/train cat/test dog/train"), class_level=1)
    assert counted(inside) == {("train", "cat"): 4, ("train", "dog"): 2}


# Splits


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("names", "splits"),
    [
        ("training_set test_set", ("train", "test")),
        ("train valid testing", ("train", "validation", "test")),
        ("Train Valid", ("train", "validation")),
        ("TRAIN DEV TEST", ("train", "validation", "test")),
        ("trainset val-set", ("train", "validation")),
        ("seg_train seg_test", ("train", "test")),
        ("train2017 val2017", ("train", "validation")),
        ("val", ("validation",)),
        ("test", ("test",)),
    ],
)
def test_names_of_splits(tmp_path: Path, form: str, names: str, splits: tuple[str, ...]) -> None:
    for top in ("", "photos/"):
        folder = tmp_path / (top or "bare")
        folder.mkdir()
        folders = " ".join(f"{top}{name}/{label}" for name in names.split() for label in ("cat", "dog"))
        source = opened(folder, each(folders), form)
        assert counted(source) == {(split, label): 2 for split in splits for label in ("cat", "dog")}
        assert source.splits == {split: f"{name}/" for name, split in zip(names.split(), splits, strict=True)}


def test_a_split_s_folder_may_stand_twice(tmp_path: Path) -> None:
    """As training/training/ in Kaggle's archives."""
    folders = "training/training/n0 training/training/n1 validation/validation/n0"
    assert counted(opened(tmp_path, each(folders))) == {
        ("train", "n0"): 2,
        ("train", "n1"): 2,
        ("validation", "n0"): 2,
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (
            ["0_overview.jpg", *each("train/cat train/dog val/cat")],
            "0_overview.jpg .* lies outside train/",
        ),
        (each("train/cat train/dog unlabeled"), "unlabeled/0.jpg in .* lies outside train/"),
        (each("train/cat train/dog test1/cat"), "test1/cat/0.jpg in .* lies outside train/"),
        (each("train/cat train/dog extra/cat"), "extra/cat/0.jpg in .* lies outside train/"),
        (
            each("seg_train/cat seg_test/cat seg_pred"),
            "seg_train/ may be splits, beside seg_pred/",
        ),
        (each("cat dog test"), "test/ holds images in no class folders beside cat/, dog/"),
        (each("train test"), "test/, train/ holds images in no class folders"),
        (each("cat dog training_set"), "training_set/ holds images in no class folders beside"),
        (each("train/cat train/dog test"), "lies in a split's folder but in no class folder"),
        (each("train/cat val/cat validation/cat"), "val/, validation/ would all be the validation split"),
        (each("train/cat Train/cat"), "Train/, train/ would all be the train split"),
        (["1.jpg", "2.jpg"], "1.jpg in .* lies in no class folder: make a folder for each"),
        (["1.jpg", *each("cat dog")], "1.jpg in .* lies in no class folder"),
    ],
)
def test_what_is_neither_split_nor_class_is_refused(
    tmp_path: Path, form: str, paths: list[str], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as error:
        opened(tmp_path, paths, form)
    assert "\n" not in str(error.value)


def test_a_class_of_trains_is_said(tmp_path: Path) -> None:
    source = opened(tmp_path, each("bus car train"))
    assert {label for _, label in counted(source)} == {"bus", "car", "train"}
    assert source.remarks == ("train/ is read as a class, as bus/, car/ are",)
    assert opened(tmp_path / "b", each("bus bullet_train")).remarks == ()


def test_what_decides_a_split_in_a_stream() -> None:
    assert group_of("photos/train/cat/new/1.jpg") == group_of("images/train/dog/2.jpg")
    assert group_of("photos/train/cat/1.jpg") != group_of("photos/val/cat/1.jpg")
    assert group_of("a/train/cat/1.jpg") != group_of("train/cat/1.jpg")
    assert group_of("a/ILSVRC2012_val_00000001.JPEG") != group_of("a/1.JPEG")
