"""The user's files: which are found, and what is decoded of them."""

import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.data import image_files, images
from alexnet_jax.data.images import Preprocessing
from alexnet_jax.errors import UsageError
from tests.data import made_up


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    files = {f"{name}.jpg": made_up.image_file(number) for number, name in enumerate("edcba")}
    made_up.write_folder(tmp_path / "photos", files | {"deep/er/f.PNG": made_up.image_file(9, "PNG")})
    made_up.write_folder(tmp_path / "photos", {"notes.txt": b"x", "g.jpg/inside.txt": b"a folder"})
    return tmp_path / "photos"


def test_folders_files_and_patterns(photos: Path) -> None:
    a, b, c, d, e = (photos / f"{name}.jpg" for name in "abcde")
    deep = photos / "deep" / "er" / "f.PNG"
    assert image_files.list_folder(photos) == [a, b, c, d, deep, e]
    files = image_files.find_images([str(c), str(photos / "[ab].jpg"), str(photos)], "predict")
    assert files == [c, a, b, d, deep, e]
    assert image_files.find_images([str(photos / "**" / "*.PNG")], "predict") == [deep]
    notes = photos / "notes.txt"
    assert image_files.find_images([str(notes)], "predict") == [notes]  # named, so it is tried


def test_what_leads_to_no_image(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="predict needs images: files, folders or patterns"):
        image_files.find_images([], "predict")
    with pytest.raises(UsageError, match=r"the folder .*empty holds no images"):
        image_files.find_images([str(photos), str(tmp_path / "empty")], "predict")
    for name in ("nothing.jpg", "*.gif", "g.*"):  # the last one leads to a folder
        with pytest.raises(UsageError, match="does not exist, or matches no image"):
            image_files.find_images([str(photos / name)], "predict")


def data_config(threads: int = 2) -> ConfigDict:
    return ConfigDict({"threads": threads, **asdict(Preprocessing(size=16, channels=3, exif_rotation=True))})


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 20])
def test_decoded_in_order(tmp_path: Path, threads: int, batch_size: int) -> None:
    files = {f"{number:02d}.png": made_up.image_file(number, "PNG") for number in range(14)}
    files["05.png"] = b"not an image"
    paths = sorted(made_up.write_folder(tmp_path, files).iterdir())
    paths.insert(8, tmp_path / "gone.png")
    batches = list(image_files.decode_batches(paths, data_config(threads), batch_size))
    assert [path for batch in batches for path in batch.files] == paths
    assert [len(batch.files) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    decoded = 0
    for batch in batches:
        assert batch.images.shape == (batch_size, 16, 16, 3)
        assert len(batch.errors) == len(batch.files)
        for path, error, image in zip(batch.files, batch.errors, batch.images, strict=False):
            if path.name in ("05.png", "gone.png"):
                assert error
                assert not image.any()
                continue
            assert error is None
            wanted = images.resize_center_crop(path.read_bytes(), images.Preprocessing(16, 3, True))
            np.testing.assert_array_equal(image, wanted)
            decoded += 1
        assert not batch.images[len(batch.files) :].any()
    assert decoded == 13


def test_no_files() -> None:
    assert list(image_files.decode_batches([], data_config(), 4)) == []


def test_two_batches_ahead_and_no_thread_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = made_up.write_folder(tmp_path, {f"{n:02d}.png": made_up.image_file(n, "PNG") for n in range(20)})
    read = []

    def counted(data: bytes, *arguments: object, **options: object) -> np.ndarray:
        read.append(data)
        return np.zeros((16, 16, 3), np.uint8)

    monkeypatch.setattr(image_files, "resize_center_crop", counted)
    before = threading.active_count()
    batches = image_files.decode_batches(sorted(files.iterdir()), data_config(), 2)
    next(batches)
    assert len(read) <= 2 * (1 + image_files.PREFETCH_BATCHES)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert len(read) < 20


def test_what_the_user_should_know_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        dark = Image.fromarray(np.full((20, 20), 300, np.uint16))
        path.write_bytes(made_up.image_file(number, "PNG")) if number < 2 else dark.save(path)
    list(image_files.decode_batches(paths, data_config(), 2))
    assert capsys.readouterr().err == f"note: 3 images are {images.DARK} (the first: {paths[2]})\n"
