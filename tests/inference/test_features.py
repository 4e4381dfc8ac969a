"""The verb `features`: files whole and in order, what cannot be read left out, wrong names refused."""

import os
import zipfile

import numpy as np
import pytest

from alexnet_jax.data.images import Preprocessing, resize_center_crop
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import features
from tests.inference.helpers import by_hand, random_run, write_images
from tests.model.helpers import assert_close


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return random_run(tmp_path_factory.mktemp("run"))


def test_files_in_order_and_left_out(trained, tmp_path):
    """Ten images, three of them bad, in batches of four: one batch loses two, the last is padded."""
    paths = write_images(tmp_path / "in", 10)
    for number in (1, 2, 9):
        paths[number].write_bytes(b"no image")
    layers = ["relu5", "fc7/1", "prob"]
    answer = features.features(trained, paths, layers, str(tmp_path / "out.npz"))
    good = [path for number, path in enumerate(paths) if number not in (1, 2, 9)]
    images = np.stack([resize_center_crop(path.read_bytes(), Preprocessing(72, 3, True)) for path in good])
    expected = by_hand(trained, images)
    with np.load(tmp_path / "out.npz") as loaded:
        assert list(loaded) == [*layers, "files"]
        assert loaded["files"].tolist() == [str(path) for path in good]
        assert loaded["relu5"].dtype == np.float32
        assert_close(loaded["relu5"], expected["relu5"], 1e-5)
        assert_close(loaded["fc7/1"], expected["fc7"][:, 128:], 1e-5)
        kept = {name: loaded[name] for name in layers}
    assert answer["files"] == 7
    assert answer["layers"] == {"relu5": (7, 3, 3, 16), "fc7/1": (7, 128), "prob": (7, 7)}
    assert [entry["file"] for entry in answer["left_out"]] == [str(paths[i]) for i in (1, 2, 9)]
    assert "3 of the files could not be read" in features.as_text(answer)

    features.features(trained, paths, layers, f"{tmp_path}/folder/")
    assert (tmp_path / "folder/files.txt").read_text().splitlines() == [str(path) for path in good]
    for name in layers:
        mapped = np.load(tmp_path / "folder" / f"{name}.npy", mmap_mode="r")
        np.testing.assert_array_equal(mapped, kept[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "in", "out.npz"]
    with zipfile.ZipFile(tmp_path / "out.npz") as archive:
        assert archive.testzip() is None


def test_what_is_computed_ahead_comes_in_order():
    """On an accelerator the next batch is started before the last one is written."""
    made = []

    def items():
        for number in range(4):
            made.append(number)
            yield number

    for count, ahead in ((0, [1, 2, 3, 4]), (1, [2, 3, 4, 4]), (9, [4, 4, 4, 4])):
        made.clear()
        assert [(number, len(made)) for number in features.ahead(items(), count)] == list(enumerate(ahead))


@pytest.mark.parametrize("rows", [[], [0], [3, 0, 2], [1] * 50])
def test_a_growing_array_is_a_file_of_numpy_s(rows, tmp_path):
    array = features.GrowingArray(tmp_path / "below" / "x.npy", (2, 3), np.dtype(np.float16))
    parts = [np.random.default_rng(n).normal(size=(n, 2, 3)) for n in rows]
    for part in parts:
        array.append(part)
    expected = np.concatenate([np.zeros((0, 2, 3)), *parts]).astype(np.float16)
    assert array.close() == expected.shape
    loaded = np.load(tmp_path / "below" / "x.npy", mmap_mode="r")
    assert loaded.dtype == np.float16
    np.testing.assert_array_equal(loaded, expected)


def test_a_strange_name_is_kept(trained, tmp_path):
    path = write_images(tmp_path, 1)[0]
    strange = path.rename(tmp_path / "a\nb <script> \u202e.png")
    unnameable = tmp_path / os.fsdecode(b"\xff.png")
    unnameable.write_bytes(strange.read_bytes())
    features.features(trained, [strange, unnameable], ["fc7"], str(tmp_path / "o.npz"))
    with np.load(tmp_path / "o.npz") as loaded:
        assert loaded["files"].tolist() == [str(strange), str(unnameable)]
    features.features(trained, [strange, unnameable], ["fc7"], f"{tmp_path}/o/")
    written = (tmp_path / "o/files.txt").read_bytes().splitlines()
    assert written == [os.fsencode(str(strange)).replace(b"\n", b"\\n"), os.fsencode(str(unnameable))]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], "layers: none is named; this net has conv1, relu1, norm1"),
        (["conv1", "fc9"], "'fc9' is not a layer of this net; it has conv1, relu1"),
        (["conv1/2"], "conv1 has the towers 0 and 1"),
        (["prob/0"], "prob has no towers"),
        (["fc8/0"], "fc8 has no towers"),
        (["conv1", "conv1"], "names a layer twice"),
        (["../x"], "is not a layer"),
        (["features.13"], "'features.13' is not a layer"),
    ],
)
def test_unknown_layers_are_refused(trained, tmp_path, layers, words):
    paths = write_images(tmp_path / "in", 1)
    with pytest.raises(UsageError) as error:
        features.features(trained, paths, layers, str(tmp_path / "o.npz"))
    assert words in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_outputs_that_cannot_be(trained, tmp_path, monkeypatch):
    paths = write_images(tmp_path / "in", 2)
    (tmp_path / "folder.npz").mkdir()
    for output, words in [
        ("", "features needs --output"),
        (f"{tmp_path}/x.csv", "the name of an .npz, or of a folder"),
        (f"{tmp_path}/nowhere/x.npz", "does not exist"),
        (f"{tmp_path}/folder.npz", "is a folder"),
        (f"{tmp_path}/in", "exists and is not an empty folder"),
    ]:
        with pytest.raises(UsageError, match=words):
            features.features(trained, paths, ["fc7"], output)
    for path in paths:
        path.write_bytes(b"")
    for output in (f"{tmp_path}/x.npz", f"{tmp_path}/x/"):
        with pytest.raises(RunFailure, match="none of 2 images"):
            features.features(trained, paths, ["fc7"], output)
    usage = features.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: usage._replace(free=2 * 256 * 4 - 1))
    with pytest.raises(UsageError, match="2 images need"):
        features.features(trained, paths, ["fc7"], f"{tmp_path}/x.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.npz", "in"]
