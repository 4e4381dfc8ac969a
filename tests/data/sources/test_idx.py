"""IDX files against the arrays that the test wrote."""

import gzip
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.errors import UsageError
from tests.data import made_up
from tests.faults.structures import archives


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
    read = made_up.all_images(tmp_path)
    assert len(read) == len(want)
    for (split, label, key), data in read.items():
        wanted, image = want[split, int(Path(key).stem)]
        assert label == wanted
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), image)
    path = next(tmp_path.glob("train-images*"))
    path.write_bytes(gzip.compress(idx(images)[:-1]) if packed else idx(images)[:-1])
    with pytest.raises(UsageError, match="holds fewer"):
        open_source(str(tmp_path))


def test_images_without_labels(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 5, 4), np.uint8)))
    with pytest.raises(UsageError, match="train-images-idx3-ubyte has no file of labels"):
        open_source(str(tmp_path))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(UsageError, match=r"train-images-idx3-ubyte has 2 images, .* 3 labels"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0\0\x0d\3" + bytes(12), "is not an IDX file of bytes with 3 axes"),  # floats
        (b"\0\0\x08\3" + b"\xff" * 12, "claims 79,228,162,458,924,105,385,300,197,375 bytes"),
        (b"\0\0\x08\3" + bytes(12) + b"x", "claims 0 values and holds more"),
        (b"\0\0", "cannot be read as an IDX file"),
    ],
)
def test_what_is_no_idx_file(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(UsageError, match=words):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("sides", "content", "words"),
    [
        ((2**16, 2**16, 2**16), b"", "more than the 1,073,741,824"),
        ((4096, 1024, 1024), b"", "more than the 1,073,741,824"),
        ((400, 1024, 1024), bytes(10**5), "claims to inflate to 419,430,400"),
        ((2**23, 1, 1), bytes(10**5), "claims to inflate to 8,388,608"),
    ],
)
def test_small_files_that_claim_much(
    tmp_path: Path, sides: tuple[int, ...], content: bytes, words: str
) -> None:
    images, labels = archives.idx(sides, content), archives.idx((4,), bytes(4))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    with pytest.raises(UsageError, match=words):
        open_source(str(tmp_path))


def test_blank_images_and_sorted_labels_are_read(tmp_path: Path) -> None:
    """They compress better than digits do."""
    images, labels = archives.idx((5000, 6, 6), bytes(180_000)), archives.idx((5000,), bytes(5000))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    assert len(made_up.all_images(tmp_path)) == 5000


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(UsageError, match="train-labels-idx1-ubyte has no file of images"):
        open_source(str(tmp_path))


def write_set(folder: Path, prefix: str, images: str, labels: str, value: int, packed: bool = False) -> None:
    """One image of a set for each part; `value` tells whose it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", (images.startswith("test") and "test") or "t10k"):
        for name, array in (
            (images.removeprefix("test"), np.full((1, 4, 4), value, np.uint8)),
            (labels, np.array([value], np.uint8)),
        ):
            data = idx(array)
            (folder / f"{prefix}{part}{name}").write_bytes(gzip.compress(data) if packed else data)


PLAIN = ("-images-idx3-ubyte", "-labels-idx1-ubyte")


@pytest.mark.parametrize("where", ["", "raw", "MNIST/raw", "FashionMNIST/raw", "gzip"])
@pytest.mark.parametrize(("ending", "packed"), [("", False), (".gz", True), ("", True)])
def test_folders_in_which_others_put_them(tmp_path: Path, where: str, ending: str, packed: bool) -> None:
    """torchvision's and EMNIST's; a packed file may have lost its ending."""
    write_set(tmp_path / where, "", f"{PLAIN[0]}{ending}", f"{PLAIN[1]}{ending}", 7, packed)
    source = open_source(str(tmp_path))
    assert {(split, label) for split, label, _ in made_up.all_images(tmp_path)} == {
        ("train", "7"),
        ("test", "7"),
    }
    assert source.splits == {"train": f"train{PLAIN[0]}{ending}", "test": f"t10k{PLAIN[0]}{ending}"}
    assert not source.remarks


@pytest.mark.parametrize("files_too", [True, False])
def test_kaggle_s_folder(tmp_path: Path, files_too: bool) -> None:
    """Each file lies in a folder of its name, and beside it under another."""
    for part in ("train", "t10k"):
        for what, axes, array in (
            ("images", 3, np.zeros((1, 4, 4), np.uint8)),
            ("labels", 1, np.zeros(1, "u1")),
        ):
            name = f"{part}-{what}-idx{axes}-ubyte"
            made_up.write_folder(tmp_path, {f"{name}/{name}": idx(array)})
            if files_too:
                made_up.write_folder(tmp_path, {f"{part}-{what}.idx{axes}-ubyte": idx(array)})
    assert len(made_up.all_images(tmp_path)) == 2


def test_of_several_sets_one_is_chosen_and_said(tmp_path: Path) -> None:
    for value, name in enumerate(("balanced", "letters", "digits")):
        endings = (f"test{PLAIN[0]}.gz", f"{PLAIN[1]}.gz")
        write_set(tmp_path / "gzip", f"emnist-{name}-", *endings, value, packed=True)
    source = open_source(str(tmp_path))
    assert {label for _, label, _ in made_up.all_images(tmp_path)} == {"0"}
    chosen, mirrored = source.remarks
    assert (
        "emnist-balanced is read, not emnist-digits, emnist-letters: another one by --source=FILE" in chosen
    )
    assert "mirrored on their diagonal" in mirrored
    letters = tmp_path / "gzip" / f"emnist-letters-train{PLAIN[0]}.gz"
    assert {label for _, label, _ in made_up.all_images(letters)} == {"1"}
    (tmp_path / "gzip" / f"emnist-letters-test{PLAIN[1]}.gz").unlink()
    with pytest.raises(UsageError, match=r"emnist-letters-test.*ubyte.gz has no file of labels"):
        open_source(str(letters))
