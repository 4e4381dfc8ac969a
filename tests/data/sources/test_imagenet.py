"""Every kind of ImageNet source against files that the test made up."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from alexnet_jax.data.sources import imagenet
from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.errors import UsageError
from tests.data import made_up


@pytest.mark.parametrize("layout", ["tars", "train tar", "flat", "class folders", "kaggle"])
def test_imagenet_2012(tmp_path: Path, layout: str) -> None:
    """All sources give the same images, labels by number from the list in TFDS, and the same keys."""
    train, val = made_up.imagenet()
    truth = made_up.shipped("validation_labels.txt")
    labels = {name: truth[int(name[-13:-5]) - 1] for name in val}
    path = tmp_path
    if layout in ("tars", "train tar"):
        made_up.write_imagenet_tars(tmp_path, train, val)
        path = tmp_path / "ILSVRC2012_img_train.tar" if layout == "train tar" else tmp_path
    elif layout == "flat":
        made_up.write_folder(tmp_path / "train", train)
        made_up.write_folder(tmp_path / "val", val)
    elif layout == "class folders":
        made_up.write_folder(tmp_path / "train", train)
        made_up.write_folder(tmp_path / "val", {f"{labels[n]}/{n}": data for n, data in val.items()})
    else:
        below = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
        made_up.write_folder(below / "train", train)
        made_up.write_folder(below / "val", val)
        made_up.write_folder(below / "test", {"ILSVRC2012_test_00000001.JPEG": b"no label"})
    source = open_source(str(path))
    want = {("train", name.split("/")[0], name): data for name, data in train.items()}
    want |= {("validation", labels[n], f"{labels[n]}/{n}"): data for n, data in val.items()}
    assert made_up.all_images(path) == want
    if layout == "kaggle":
        assert source.notes == ("1 images of ILSVRC-2012's test set have no labels and are left out",)
    if layout == "tars":
        assert source.notes == (
            "ILSVRC-2012 has 1,000 classes, these are 5",
            "ILSVRC-2012 has 1,281,167 training images, these are 150",
            "classes of ILSVRC-2012 have 732 to 1,300 training images: n01440764 has 30, 4 more differ",
            "classes of ILSVRC-2012 have 50 validation images: n01440764 has 3, 4 more differ",
        )


@pytest.mark.parametrize("layout", ["folder of the tar", "the tar", "flat", "flat alone", "class folders"])
def test_the_validation_set_alone(tmp_path: Path, layout: str) -> None:
    """Enough to evaluate converted weights: its images have their classes, and nothing trains."""
    _, val = made_up.imagenet()
    truth = made_up.shipped("validation_labels.txt")
    labels = {name: truth[int(name[-13:-5]) - 1] for name in val}
    path = tmp_path / "set"
    if "tar" in layout:
        path.mkdir()
        (path / "ILSVRC2012_img_val.tar").write_bytes(made_up.tar_bytes(val))
        path = path / "ILSVRC2012_img_val.tar" if layout == "the tar" else path
    elif layout == "class folders":
        made_up.write_folder(path / "val", {f"{labels[n]}/{n}": data for n, data in val.items()})
    else:
        made_up.write_folder(path / "val" if layout == "flat" else path, val)
    want = {("validation", labels[n], f"{labels[n]}/{n}"): data for n, data in val.items()}
    assert made_up.all_images(path) == want


def test_an_image_in_the_folder_of_another_class(tmp_path: Path) -> None:
    train, val = made_up.imagenet(2, 2, 1)
    made_up.write_imagenet_tars(tmp_path / "a", {**train, "n01440764/n01443537_7.JPEG": b"x"}, val)
    with pytest.raises(UsageError, match=r"n01443537_7\.JPEG in .* is not of the class it lies in"):
        open_source(str(tmp_path / "a"))
    truth = made_up.shipped("validation_labels.txt")
    name = next(iter(val))
    right = truth[int(name[-13:-5]) - 1]
    other = next(synset for synset in ("n01440764", "n01443537") if synset != right)
    made_up.write_folder(tmp_path / "b" / "train", train)
    made_up.write_folder(tmp_path / "b" / "val", {f"{other}/{name}": b"x"})
    with pytest.raises(UsageError, match=f"is of class {right}: its folder is wrong"):
        open_source(str(tmp_path / "b"))


def test_imagenet_2012_refusals(tmp_path: Path) -> None:
    train, val = made_up.imagenet(2, 2, 1)
    made_up.write_imagenet_tars(tmp_path / "a", train, val)
    (tmp_path / "a" / "ILSVRC2012_img_val.tar").unlink()
    with pytest.raises(UsageError, match=r"ILSVRC2012_img_val\.tar is missing"):
        open_source(str(tmp_path / "a"))
    made_up.write_imagenet_tars(tmp_path / "b", {**train, "n00000001/n00000001_1.JPEG": b"x"}, val)
    with pytest.raises(UsageError, match="class n00000001, which ILSVRC-2012 does not have"):
        open_source(str(tmp_path / "b"))
    made_up.write_imagenet_tars(tmp_path / "c", train, {"ILSVRC2012_val_00050001.JPEG": b"x"})
    with pytest.raises(UsageError, match="has no label"):
        open_source(str(tmp_path / "c"))
    path = made_up.write_imagenet_tars(tmp_path / "d", train, val) / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes()[:-30_000])
    with pytest.raises(UsageError, match="cannot be read as a tar archive"):
        open_source(str(tmp_path / "d"))


@pytest.mark.parametrize("packed", [True, False])
def test_imagenet_2010(tmp_path: Path, packed: bool) -> None:
    """Labels by the development kit's numbers, whose synsets are in meta.mat."""
    synsets = np.zeros(3, dtype=[("ILSVRC2010_ID", "O"), ("WNID", "O")])
    for row, (number, wnid) in enumerate([(1, "n00000009"), (2, "n00000004"), (3, "n00000005")]):
        synsets[row] = (number, wnid)
    mat = io.BytesIO()
    scipy.io.savemat(mat, {"synsets": synsets})
    kit = {
        "data/meta.mat": mat.getvalue(),
        "data/ILSVRC2010_validation_ground_truth.txt": b"2\n1\n",
        "data/ILSVRC2010_test_ground_truth.txt": b"3\n",
    }
    inner = {f"{wnid}.tar": made_up.tar_bytes({f"{wnid}_1.JPEG": wnid.encode()}) for _, wnid in synsets}
    files = {
        "ILSVRC2010_images_train.tar": made_up.tar_bytes(inner),
        "ILSVRC2010_images_val.tar": made_up.tar_bytes(
            {"val/ILSVRC2010_val_00000002.JPEG": b"two", "val/ILSVRC2010_val_00000001.JPEG": b"one"}
        ),
        "ILSVRC2010_images_test.tar": made_up.tar_bytes({"test/ILSVRC2010_test_00000001.JPEG": b"t"}),
    }
    made_up.write_folder(tmp_path, files)
    with pytest.raises(UsageError, match="put ILSVRC-2010's development kit"):
        open_source(str(tmp_path))
    if packed:
        packed_kit = made_up.tar_bytes({f"devkit-1.0/{n}": d for n, d in kit.items()}, "w:gz")
        (tmp_path / "ILSVRC2010_devkit-1.0.tar.gz").write_bytes(packed_kit)
    else:
        made_up.write_folder(tmp_path / "devkit-1.0", kit)
    patch = made_up.tar_bytes({"patch_images/train/n00000004_1.JPEG": b"mended"})
    (tmp_path / "patch_images.tar").write_bytes(patch)
    assert made_up.all_images(tmp_path)["train", "n00000004", "n00000004/n00000004_1.JPEG"] == b"mended"
    labels = {(split, key): label for split, label, key in made_up.all_images(tmp_path) if split != "train"}
    assert labels == {
        ("validation", "n00000004/ILSVRC2010_val_00000001.JPEG"): "n00000004",
        ("validation", "n00000009/ILSVRC2010_val_00000002.JPEG"): "n00000009",
        ("test", "n00000005/ILSVRC2010_test_00000001.JPEG"): "n00000005",
    }


def test_a_pipe_in_the_kit_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ILSVRC2010_validation_ground_truth.txt")
    os.mkfifo(tmp_path / "ILSVRC2010_devkit-1.0.tar.gz")
    with pytest.raises(UsageError, match="is missing: put ILSVRC-2010's development kit"):
        imagenet.read_labels(tmp_path, "2010", "val")
