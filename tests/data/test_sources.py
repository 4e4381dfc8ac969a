"""Every form of source against the files that the test wrote itself."""

import gzip
import hashlib
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from alexnet_jax.data import sources
from alexnet_jax.errors import UsageError
from tests.data import made_up, toy


def found(path: Path | str) -> dict[tuple[str, str, str], bytes]:
    listed = list(sources.open_source(str(path)).pictures())
    answer = {(p.split, p.label, p.key): p.data for p in listed}
    assert len(answer) == len(listed)
    return answer


def expected(files: made_up.Files) -> dict[tuple[str, str, str], bytes]:
    return {(n.split("/")[0], n.split("/")[1], n.split("/", 1)[1]): data for n, data in files.items()}


FORMS = {
    "a.tar": lambda files: made_up.tar_bytes(files),
    "a.tar.gz": lambda files: made_up.tar_bytes(files, "w:gz"),
    "a.tgz": lambda files: made_up.tar_bytes(files, "w:gz"),
    "a.tar.xz": lambda files: made_up.tar_bytes(files, "w:xz"),
    "a.tar.bz2": lambda files: made_up.tar_bytes(files, "w:bz2"),
    "a.zip": lambda files: made_up.zip_bytes(files),
}


@pytest.mark.parametrize("wrap", ["", "top/"])
@pytest.mark.parametrize("name", ["folder", *FORMS])
def test_class_folders_in_every_form(tmp_path: Path, name: str, wrap: str) -> None:
    files = made_up.class_folders(3, 2)
    wrapped = {f"{wrap}{path}": data for path, data in files.items()} | {f"{wrap}notes.txt": b"no picture"}
    if name == "folder":
        made_up.write_folder(tmp_path / name, wrapped)
    else:
        (tmp_path / name).write_bytes(FORMS[name](wrapped))
    assert found(tmp_path / name) == expected(files)


def test_without_split_folders_all_is_train(tmp_path: Path) -> None:
    made_up.write_folder(tmp_path, {"ant/1.jpg": b"a", "train/1.jpg": b"b"})  # a class of trains
    assert set(found(tmp_path)) == {("train", "ant", "ant/1.jpg"), ("train", "train", "train/1.jpg")}


@pytest.mark.parametrize(("folder", "split"), [("val", "validation"), ("validation", "validation")])
def test_names_of_splits(tmp_path: Path, folder: str, split: str) -> None:
    made_up.write_folder(tmp_path, {"Train/ant/1.jpg": b"a", f"{folder}/ant/1.jpg": b"b"})
    assert set(found(tmp_path)) == {("train", "ant", "ant/1.jpg"), (split, "ant", "ant/1.jpg")}


def test_long_and_strange_names(tmp_path: Path) -> None:
    files = {f"train/{'long' * 40}/{'name' * 30}.jpg": b"a", "train/schön/ü 1.jpg": b"b"}
    (tmp_path / "a.tar").write_bytes(made_up.tar_bytes(files))
    assert found(tmp_path / "a.tar") == expected(files)


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pictures = found("digits")
    assert len(pictures) == 1797
    assert sum(split == "test" for split, _, _ in pictures) == 297
    for (_, label, key), data in pictures.items():
        index = int(Path(key).stem)
        assert label == str(digits.target[index])
        levels = np.asarray(Image.open(io.BytesIO(data)), np.float64) * 16 / 255
        assert np.abs(levels - digits.images[index]).max() < 0.04


@pytest.mark.parametrize("form", ["tars", "train tar", "flat", "class folders", "kaggle"])
def test_imagenet_2012(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All forms give the same pictures, labels by number from the list in TFDS, and the same keys."""
    train, val = made_up.imagenet()
    truth = made_up.shipped("validation_labels.txt")
    labels = {name: truth[int(name[-13:-5]) - 1] for name in val}
    path = tmp_path
    if form in ("tars", "train tar"):
        made_up.write_imagenet_tars(tmp_path, train, val)
        path = tmp_path / "ILSVRC2012_img_train.tar" if form == "train tar" else tmp_path
    elif form == "flat":
        made_up.write_folder(tmp_path / "train", train)
        made_up.write_folder(tmp_path / "val", val)
    elif form == "class folders":
        made_up.write_folder(tmp_path / "train", train)
        made_up.write_folder(tmp_path / "val", {f"{labels[n]}/{n}": data for n, data in val.items()})
    else:
        below = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
        made_up.write_folder(below / "train", train)
        made_up.write_folder(below / "val", val)
        made_up.write_folder(below / "test", {"ILSVRC2012_test_00000001.JPEG": b"no label"})
    source = sources.open_source(str(path))
    want = {("train", name.split("/")[0], name): data for name, data in train.items()}
    want |= {("validation", labels[n], f"{labels[n]}/{n}"): data for n, data in val.items()}
    assert {(p.split, p.label, p.key): p.data for p in source.pictures()} == want
    if form == "kaggle":
        assert source.notes == ("1 pictures of ILSVRC-2012's test set have no labels and are left out",)
    if form == "tars":
        assert source.notes == (
            "ILSVRC-2012 has 1,000 classes, these are 5",
            "ILSVRC-2012 has 1,281,167 training pictures, these are 150",
            "classes of ILSVRC-2012 have 732 to 1,300 training pictures: n01440764 has 30, 4 more differ",
            "classes of ILSVRC-2012 have 50 validation pictures: n01440764 has 3, 4 more differ",
        )


@pytest.mark.parametrize("form", ["tar", "tar.gz", "folder"])
def test_a_tar_for_each_class(tmp_path: Path, form: str) -> None:
    """ImageNet-22K as it is handed out, and what unpacking the outer tar alone leaves."""
    train, _ = made_up.imagenet(3, 4)
    tars: dict[str, made_up.Files] = {}
    for name, data in train.items():
        tars.setdefault(name.split("/")[0], {})[name.split("/")[1]] = data
    packed = {f"whole/{synset}.tar": made_up.tar_bytes(files) for synset, files in tars.items()}
    if form == "folder":
        path = made_up.write_folder(tmp_path, packed)
    else:
        path = tmp_path / f"fall11_whole.{form}"
        path.write_bytes(made_up.tar_bytes(packed, "w:gz" if form == "tar.gz" else "w"))
    assert found(path) == {("train", name.split("/")[0], name): data for name, data in train.items()}


def test_a_picture_in_the_folder_of_another_class(tmp_path: Path) -> None:
    train, val = made_up.imagenet(2, 2, 1)
    made_up.write_imagenet_tars(tmp_path / "a", {**train, "n01440764/n01443537_7.JPEG": b"x"}, val)
    with pytest.raises(UsageError, match=r"n01443537_7\.JPEG in .* is not of the class it lies in"):
        sources.open_source(str(tmp_path / "a"))
    truth = made_up.shipped("validation_labels.txt")
    name = next(iter(val))
    right = truth[int(name[-13:-5]) - 1]
    other = next(synset for synset in ("n01440764", "n01443537") if synset != right)
    made_up.write_folder(tmp_path / "b" / "train", train)
    made_up.write_folder(tmp_path / "b" / "val", {f"{other}/{name}": b"x"})
    with pytest.raises(UsageError, match=f"is of class {right}: its folder is wrong"):
        sources.open_source(str(tmp_path / "b"))


def test_imagenet_2012_refusals(tmp_path: Path) -> None:
    train, val = made_up.imagenet(2, 2, 1)
    made_up.write_imagenet_tars(tmp_path / "a", train, val)
    (tmp_path / "a" / "ILSVRC2012_img_val.tar").unlink()
    with pytest.raises(UsageError, match=r"ILSVRC2012_img_val\.tar is missing"):
        sources.open_source(str(tmp_path / "a"))
    made_up.write_imagenet_tars(tmp_path / "b", {**train, "n00000001/n00000001_1.JPEG": b"x"}, val)
    with pytest.raises(UsageError, match="class n00000001, which ILSVRC-2012 does not have"):
        sources.open_source(str(tmp_path / "b"))
    made_up.write_imagenet_tars(tmp_path / "c", train, {"ILSVRC2012_val_00050001.JPEG": b"x"})
    with pytest.raises(UsageError, match="has no label"):
        sources.open_source(str(tmp_path / "c"))
    path = made_up.write_imagenet_tars(tmp_path / "d", train, val) / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes()[:-30_000])
    with pytest.raises(UsageError, match="cannot be read as a tar archive"):
        sources.open_source(str(tmp_path / "d"))


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
        sources.open_source(str(tmp_path))
    if packed:
        packed_kit = made_up.tar_bytes({f"devkit-1.0/{n}": d for n, d in kit.items()}, "w:gz")
        (tmp_path / "ILSVRC2010_devkit-1.0.tar.gz").write_bytes(packed_kit)
    else:
        made_up.write_folder(tmp_path / "devkit-1.0", kit)
    patch = made_up.tar_bytes({"patch_images/train/n00000004_1.JPEG": b"mended"})
    (tmp_path / "patch_images.tar").write_bytes(patch)
    assert found(tmp_path)["train", "n00000004", "n00000004/n00000004_1.JPEG"] == b"mended"
    labels = {(split, key): label for split, label, key in found(tmp_path) if split != "train"}
    assert labels == {
        ("validation", "n00000004/ILSVRC2010_val_00000001.JPEG"): "n00000004",
        ("validation", "n00000009/ILSVRC2010_val_00000002.JPEG"): "n00000009",
        ("test", "n00000005/ILSVRC2010_test_00000001.JPEG"): "n00000005",
    }


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_idx(tmp_path: Path, packed: bool) -> None:
    random = np.random.default_rng(0)
    want: dict[tuple[str, int], tuple[str, np.ndarray]] = {}
    for part, count, split in (("train", 7, "train"), ("t10k", 3, "test")):
        images = random.integers(0, 256, (count, 5, 4)).astype(np.uint8)
        labels = random.integers(0, 10, count).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            data = gzip.compress(idx(array)) if packed else idx(array)
            (tmp_path / (name + ".gz" * packed)).write_bytes(data)
        want |= {
            (split, i): (str(label), image)
            for i, (label, image) in enumerate(zip(labels, images, strict=True))
        }
    pictures = found(tmp_path)
    assert len(pictures) == len(want)
    for (split, label, key), data in pictures.items():
        wanted, image = want[split, int(Path(key).stem)]
        assert label == wanted
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), image)
    path = next(tmp_path.glob("train-images*"))
    path.write_bytes(gzip.compress(idx(images)[:-1]) if packed else idx(images)[:-1])
    with pytest.raises(UsageError, match="holds fewer"):
        sources.open_source(str(tmp_path))


def test_what_tfds_prepared(tmp_path: Path) -> None:
    config = toy.config_for(tmp_path, "jpeg", 3)
    toy.write_dataset(config)
    pictures = sorted(
        (p.split, p.key, p.label, p.data) for p in sources.open_source(str(tmp_path)).pictures()
    )
    assert len(pictures) == toy.TRAIN + toy.TEST
    for split, key, label, data in pictures:
        index = int(Path(key).stem)
        assert label == f"class{index % toy.CLASSES}"
        assert data == toy.encode(toy.picture(split, index, 3), "jpeg")


def test_the_wrong_datasets_of_tfds(tmp_path: Path) -> None:
    raw, other = toy.config_for(tmp_path / "raw", "raw", 3), toy.config_for(tmp_path / "other", "jpeg", 3)
    toy.write_dataset(raw)
    with pytest.raises(UsageError, match="holds pixels, not encoded pictures"):
        sources.open_source(str(tmp_path / "raw"))
    toy.write_dataset(other)
    (tmp_path / "both").mkdir()
    (tmp_path / "raw" / "toy_16").rename(tmp_path / "both" / "a")
    (tmp_path / "other" / "toy_16").rename(tmp_path / "both" / "b")
    with pytest.raises(UsageError, match="holds 2 prepared datasets: name one"):
        sources.open_source(str(tmp_path / "both"))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar(tmp_path: Path, form: int) -> None:
    """Long names stand in a field, in an extension, or in another, and sizes in octal or not."""
    names = [f"train/{'d' * 60}/{'f' * 90}.jpg", "train/bee/1.jpg"]
    names += [] if form == tarfile.USTAR_FORMAT else [f"train/{'long' * 60}/ü{'name' * 50}.jpg"]
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = 3, 1.5 if form == tarfile.PAX_FORMAT else 1  # type: ignore[assignment]
            archive.addfile(member, io.BytesIO(b"abc"))
    assert found(tmp_path / "a.tar") == expected(dict.fromkeys(names, b"abc"))


def test_zip_by_its_own_fields(tmp_path: Path) -> None:
    """Stored and deflated, sizes after the data, and 64-bit fields."""
    path = tmp_path / "a.zip"
    data = {f"ant/{kind}.jpg": bytes([kind]) * 5000 for kind in range(3)}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ant/0.jpg", data["ant/0.jpg"], zipfile.ZIP_STORED)
        archive.writestr("ant/1.jpg", data["ant/1.jpg"], zipfile.ZIP_DEFLATED)
        with archive.open(zipfile.ZipInfo("ant/2.jpg"), "w", force_zip64=True) as file:
            file.write(data["ant/2.jpg"])
        archive.comment = b"a comment"
    assert found(path) == {("train", "ant", name): value for name, value in data.items()}
    spoilt = bytearray(path.read_bytes())
    spoilt[spoilt.index(b"\0" * 5000) + 2000] = 1
    path.write_bytes(spoilt)
    source = sources.open_source(str(path))
    assert source.entries is not None
    with pytest.raises(sources.Unreadable, match="damaged"):
        source.read(source.entries[0])


def test_the_index_is_small() -> None:
    """Of many entries: what costs a Python object each does not fit ImageNet-22K into memory."""
    tracemalloc.start()
    entries = sources.Entries()
    for number in range(20_000):
        synset = f"n{number // 500:08d}"
        entries.append(
            sources.Entry("train", synset, f"{synset}_{number}.JPEG", "/a.tar", number * 10**6, 10**5)
        )
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 100 * len(entries)
    assert entries[19_999] == sources.Entry(
        "train", "n00000039", "n00000039_19999.JPEG", "/a.tar", 19_999 * 10**6, 10**5
    )
    keys = sorted((entry.key for entry in entries), key=lambda key: hashlib.sha256(key.encode()).digest())
    assert [entries[int(place)].key for place in entries.order["train"]] == keys


# What is wrong


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.jpg": b"x"}, "lies in no class folder"),
        ({"train/ant/1.jpg": b"x", "odd/2.jpg": b"x"}, "lies outside train/"),
        ({"train/ant/1.jpg": b"x", "val/2.jpg": b"x"}, "in no class folder"),
        ({"notes.txt": b"x"}, "holds no pictures"),
        ({}, "holds no pictures"),
    ],
)
def test_a_folder_that_is_not_one(tmp_path: Path, files: made_up.Files, words: str) -> None:
    made_up.write_folder(tmp_path, files)
    with pytest.raises(UsageError, match=words) as error:
        sources.open_source(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", list(FORMS))
def test_damaged_archives(tmp_path: Path, name: str) -> None:
    """Cut off in the middle: one line, never a shorter dataset."""
    path = tmp_path / name
    whole = FORMS[name](made_up.class_folders(6, 2))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cannot be read as a") as error:
        list(sources.open_source(str(path)).pictures())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_header_is_not_the_end(tmp_path: Path, packed: bool) -> None:
    """tarfile takes it for the end of the archive and says nothing."""
    files = made_up.class_folders(6, 2)
    whole = bytearray(made_up.tar_bytes(files))
    with tarfile.open(fileobj=io.BytesIO(bytes(whole))) as archive:
        middle = archive.getmembers()[len(files) // 2].offset
    whole[middle + 120 : middle + 140] = os.urandom(20)
    path = tmp_path / ("a.tar.gz" if packed else "a.tar")
    path.write_bytes(gzip.compress(bytes(whole)) if packed else bytes(whole))
    with pytest.raises(UsageError, match="damaged at byte"):
        list(sources.open_source(str(path)).pictures())


def test_twice_the_same_name(tmp_path: Path) -> None:
    one = made_up.tar_bytes({"train/ant/1.jpg": b"x", "train/bee/1.jpg": b"x"})
    (tmp_path / "a.tar").write_bytes(one[:2048] + made_up.tar_bytes({"train/ant/1.jpg": b"y"}))
    with pytest.raises(UsageError, match=r"ant/1\.jpg stands twice in train of .*a\.tar"):
        sources.open_source(str(tmp_path / "a.tar"))


def test_links_and_places_outside_are_never_followed(tmp_path: Path) -> None:
    """Links are passed over; a name with .. is a key like any other, and nothing is written."""
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            member = tarfile.TarInfo(f"train/ant/{kind.decode()}.jpg")
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
        for name in ("train/ant/1.jpg", "../../outside/train/bee/2.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        link = zipfile.ZipInfo("ant/link.jpg")
        link.external_attr = 0o120777 << 16
        zipped.writestr(link, str(secret))
        zipped.writestr("bee/1.jpg", b"x")
    (tmp_path / "a.zip").write_bytes(packed.getvalue())
    before = sorted(tmp_path.rglob("*"))
    try:
        data = set(found(tmp_path / "a.tar").values())
    except UsageError:
        data = {b"x"}
    assert data == {b"x"}
    assert set(found(tmp_path / "a.zip").values()) == {b"x"}
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parent / "outside").exists()


def test_absurd_claims_are_refused(tmp_path: Path) -> None:
    """A member, and a header's extension, that claim more than any picture has."""
    member = tarfile.TarInfo("train/ant/1.jpg")
    member.size = 2**40
    (tmp_path / "a.tar").write_bytes(member.tobuf() + b"x" * 10_000)
    with pytest.raises(UsageError, match="claims 1,099,511,627,776 bytes"):
        sources.open_source(str(tmp_path / "a.tar"))
    extension = tarfile.TarInfo("././@LongLink")
    extension.type, extension.size = tarfile.GNUTYPE_LONGNAME, 2**33
    (tmp_path / "b.tar").write_bytes(extension.tobuf(tarfile.GNU_FORMAT) + b"x" * 10_000)
    with pytest.raises(UsageError, match="claims a name of 8,589,934,592 bytes"):
        sources.open_source(str(tmp_path / "b.tar"))


def test_encrypted_zip(tmp_path: Path) -> None:
    data = bytearray(made_up.zip_bytes({"ant/1.jpg": b"x", "bee/1.jpg": b"x"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UsageError, match="is encrypted"):
        sources.open_source(str(tmp_path / "a.zip"))
