"""From a source to records: every form of class folders, awkward pictures, and the numbers beside them."""

import hashlib
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from alexnet_jax.data import pictures, prepare, sources
from alexnet_jax.data.statistics import Accumulator, Statistics
from alexnet_jax.errors import RunFailure, UsageError
from configs import imagenet


def encoded(side=(40, 30), seed=0, form="PNG", mode="RGB", **options):
    draw = np.random.default_rng(seed)
    channels = {"L": (), "RGB": (3,), "CMYK": (4,), "RGBA": (4,)}[mode]
    small = draw.integers(0, 256, (5, 4, *channels), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small, mode).resize(side, Image.Resampling.BICUBIC).save(file, form, **options)
    return file.getvalue()


MEMBERS = {
    f"{split}/{label}/{n}.png": encoded(seed=n + 10 * len(label + split))
    for split in ("train", "val")
    for label in ("cat", "horse")
    for n in range(3)
}


def write(path, kind, members=MEMBERS, top=""):
    """The same pictures as a folder, or as an archive of one."""
    if kind == "folder":
        for name, data in members.items():
            target = path / top / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return str(path)
    archive = path / f"pictures.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for name, data in members.items():
                file.writestr(top + name, data)
        return str(archive)
    with tarfile.open(archive, {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}[kind]) as file:
        for name, data in members.items():
            info = tarfile.TarInfo(top + name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return str(archive)


def small(tmp_path, **keys):
    config = imagenet.get_config()
    config.data.update({"name": "toy", "dir": str(tmp_path / "tfds"), "size": 24, "crop": 24} | keys)
    return config


@pytest.mark.parametrize("top", ["", "wrapped/"])
@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "tar.xz", "zip"])
def test_every_form_of_a_source_gives_the_same_pictures(tmp_path, kind, top):
    found = {
        (p.split, p.label, p.key): p.data
        for p in sources.open_source(write(tmp_path, kind, top=top)).pictures()
    }
    expected = {
        (
            {"train": "train", "val": "validation"}[name.split("/")[0]],
            name.split("/")[1],
            name.split("/", 1)[1],
        ): data
        for name, data in MEMBERS.items()
    }
    assert found == expected


def test_without_split_folders_all_is_for_training(tmp_path):
    write(
        tmp_path,
        "folder",
        {"cat/1.png": b"x", "horse/1.png": b"y", "horse/.hidden.png": b"z", "horse/a.txt": b""},
    )
    found = [(p.split, p.label, p.key) for p in sources.open_source(str(tmp_path)).pictures()]
    assert found == [("train", "cat", "cat/1.png"), ("train", "horse", "horse/1.png")]


def test_an_archive_is_never_unpacked_and_its_links_not_followed(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded())
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as file:
        for name, target in (("cat/link.png", str(secret)), ("cat/../../up.png", "")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.REGTYPE, "")
            file.addfile(info, io.BytesIO(b""))
    before = sorted(tmp_path.rglob("*"))
    found = list(sources.open_source(str(archive)).pictures())
    assert all(picture.data == b"" for picture in found)
    assert "cat/link.png" not in [picture.key for picture in found]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"train/cat/1.png": b"", "1.png": b""}, "lies outside train/"),
        ({"1.png": b""}, "lies in no class folder"),
    ],
)
def test_pictures_in_no_class_are_named(tmp_path, members, words):
    with pytest.raises(UsageError, match=words):
        list(sources.open_source(write(tmp_path, "tar", members)).pictures())


def test_a_broken_archive_is_one_line(tmp_path):
    for name in ("a.tar", "a.tar.xz", "a.zip"):
        (tmp_path / name).write_bytes(b"no archive" * 100)
        with pytest.raises(UsageError, match="cannot be read"):
            list(sources.open_source(str(tmp_path / name)).pictures())


def test_digits_are_the_ones_of_scikit_learn():
    from sklearn.datasets import load_digits

    found = list(sources.open_source("digits").pictures())
    assert len(found) == 1797
    assert sum(p.split == "test" for p in found) == 297
    digits = load_digits()
    for picture in found[::100]:
        index = int(picture.key[2:-4])
        assert picture.label == str(digits.target[index])
        pixels = np.asarray(Image.open(io.BytesIO(picture.data)))
        np.testing.assert_allclose(pixels / 255 * 16, digits.images[index], atol=0.05)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A JPEG dataset of twelve pictures, one file that is none, and where it lies."""
    tmp_path = tmp_path_factory.mktemp("prepared")
    config = small(tmp_path)
    members = MEMBERS | {f"train/horse/{n}.png": encoded(seed=n) for n in range(10, 120)}
    members["train/cat/broken.png"] = members["train/cat/1.png"][:60]
    source = write(tmp_path, "tar", members)
    return config, source, prepare.prepare(config, source), members


def test_records_are_what_tfds_reads(prepared):
    config, _, folder, _ = prepared
    assert folder == prepare.dataset_folder(config.data)
    assert prepare.is_prepared(config.data)
    builder = tfds.builder_from_directory(folder)
    assert builder.info.features["label"].names == ["cat", "horse"]
    read = {name: list(builder.as_data_source(name)) for name in ("train", "validation")}
    assert {name: len(records) for name, records in read.items()} == {"train": 116, "validation": 6}
    for record in [*read["train"][::20], *read["validation"]]:
        name = record["file_name"].decode()
        assert name.startswith(("cat", "horse")[record["label"]])
    split = {"train": read["train"], "val": read["validation"]}
    for name, data in MEMBERS.items():
        top, key = name.split("/", 1)
        record = next(r for r in split[top] if r["file_name"].decode() == key)
        whole = Image.open(io.BytesIO(data)).resize((32, 24), Image.Resampling.BICUBIC)
        centre = np.asarray(whole.crop((4, 0, 28, 24)).convert("L"), int)
        found = np.asarray(Image.fromarray(record["image"]).convert("L"), int)
        assert np.abs(found - centre).mean() < 2  # JPEG


def test_the_order_of_the_source_does_not_show(prepared):
    """A slice is a fair sample: both classes stand in the first and in the last part."""
    folder = prepared[2]
    labels = [r["label"] for r in tfds.builder_from_directory(folder).as_data_source("train")]
    assert labels != sorted(labels)


def test_rejects_are_listed_with_their_reason(prepared):
    lines = (prepared[2] / "rejects.txt").read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("train/cat/broken.png: ")
    made = json.loads((prepared[2] / "preparation.json").read_text())
    assert made["counts"] == {"train": 116, "validation": 6}


def test_prepared_twice_it_is_the_same_byte_for_byte(prepared, tmp_path):
    config, source, folder, _ = prepared
    again = small(tmp_path)
    other = prepare.prepare(again, source)

    def digest(path):
        return {
            p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in path.iterdir() if "array" in p.name
        }

    assert digest(other) == digest(folder)
    assert prepare.prepare(config, source) == folder  # there already


def test_strict_stops_and_leaves_nothing(prepared, tmp_path):
    config = small(tmp_path)
    with pytest.raises(RunFailure, match=r"--strict: train/cat/broken.png"):
        prepare.prepare(config, prepared[1], strict=True)
    assert not prepare.is_prepared(config.data)
    assert [path.name for path in prepare.dataset_folder(config.data).parent.iterdir()] == []


def test_too_many_rejects_are_an_error(tmp_path):
    members = MEMBERS | {"train/cat/broken.png": b"nothing"}
    with pytest.raises(RunFailure, match="1 of 13 pictures cannot be decoded"):
        prepare.prepare(small(tmp_path), write(tmp_path, "tar", members))


def test_one_class_is_refused(tmp_path):
    members = {name: data for name, data in MEMBERS.items() if "cat" in name}
    with pytest.raises(UsageError, match="one class, 'cat'"):
        prepare.prepare(small(tmp_path), write(tmp_path, "tar", members))


@pytest.mark.parametrize("side", [(40, 30), (30, 40), (24, 24), (33, 57), (1, 300), (500, 3)])
def test_square_is_the_centre_of_the_scaled_picture(side):
    data = encoded(side)
    short = min(side)
    scaled = tuple(max(round(s * 24 / short), 24) for s in side)
    whole = Image.open(io.BytesIO(data)).resize(scaled, Image.Resampling.BICUBIC)
    left, top = (scaled[0] - 24) // 2, (scaled[1] - 24) // 2
    expected = np.asarray(whole.crop((left, top, left + 24, top + 24)), int)
    assert np.abs(pictures.square(data, 24, 3, False).astype(int) - expected).max() <= 1


def test_awkward_pictures():
    grey = pictures.square(encoded(mode="L"), 24, 3, False)
    assert (grey[..., 0] == grey[..., 2]).all()
    assert pictures.square(encoded(), 24, 1, False).shape == (24, 24, 1)
    cmyk = pictures.square(encoded(form="JPEG", mode="CMYK"), 24, 3, False)
    assert cmyk.shape == (24, 24, 3)
    clear = io.BytesIO()
    Image.new("RGBA", (30, 30), (255, 0, 0, 0)).save(clear, "PNG")
    assert (pictures.square(clear.getvalue(), 24, 3, False) == 255).all()  # transparent on white
    deep = io.BytesIO()
    Image.fromarray(np.full((30, 30), 257 * 100, np.uint16)).save(deep, "PNG")
    assert (pictures.square(deep.getvalue(), 24, 3, False) == 100).all()


def test_exif_rotation_is_a_choice():
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    data = encoded((24, 24), form="PNG", exif=exif)
    as_stored = pictures.square(data, 24, 3, False)
    np.testing.assert_array_equal(pictures.square(data, 24, 3, True), as_stored[::-1, ::-1])


@pytest.mark.parametrize("data", [b"", b"text", encoded(form="JPEG")[:200]])
def test_what_is_no_picture_says_so(data):
    with pytest.raises(pictures.BadPicture):
        pictures.square(data, 24, 3, False)


def test_a_picture_of_absurd_size_is_not_decoded():
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    with pytest.raises(pictures.BadPicture, match="900000000 pixels"):
        pictures.square(file.getvalue(), 24, 3, False)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_against_numpy(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (7, 6, 6, channels), dtype=np.uint8)
    images[..., -1] //= 2
    parts = [Accumulator(6, channels), Accumulator(6, channels)]
    for number, image in enumerate(images):
        parts[number % 2].add(image)
    parts[1].merge(parts[0])
    found = parts[1].finish()
    pixels = images.reshape(-1, channels).astype(np.float64)
    np.testing.assert_allclose(found.mean, images.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.rgb_mean, pixels.mean(axis=0), rtol=1e-12)
    covariance = np.cov(pixels.T, bias=True).reshape(channels, channels)
    np.testing.assert_allclose(found.rgb_covariance, covariance, rtol=1e-9)
    assert (np.diff(found.eigenvalues) <= 0).all()
    rebuilt = found.eigenvectors @ np.diag(found.eigenvalues) @ found.eigenvectors.T
    np.testing.assert_allclose(rebuilt, covariance, rtol=1e-9, atol=1e-9 * covariance.max())
    assert found.count == 7
    path = tmp_path / "statistics.npz"
    found.save(path)
    np.testing.assert_array_equal(Statistics.load(path).mean, found.mean)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match=r"statistics.npz cannot be read"):
        Statistics.load(path)
