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
