"""Finding images: the true nearest, the index kept up to date, labels, and what is refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image

from alexnet_jax.config import resolve
from alexnet_jax.data import image_files
from alexnet_jax.data.images import Preprocessing, resize_center_crop
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.evaluation import activations
from alexnet_jax.inference import features, similar
from tests.inference.helpers import random_run, write_images


@pytest.mark.parametrize(("count", "width", "chunk"), [(50, 7, 1 << 25), (50, 7, 80), (50, 7, 7), (3, 4, 4)])
def test_nearest_is_the_nearest(count, width, chunk, monkeypatch):
    """Against float64 in one piece, in chunks that fit, that do not, and of single rows."""
    monkeypatch.setattr(similar, "CHUNK", chunk)
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(count, width)).astype(np.float16)
    queries = draw.normal(size=(5, width)).astype(np.float32)
    queries[1] = vectors[2]
    distances, rows = similar.nearest(vectors, queries, 4, "euclidean")
    wide = vectors.astype(np.float64)
    expected = np.sqrt(((wide[None] - queries[:, None].astype(np.float64)) ** 2).sum(-1))
    order = np.argsort(expected, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_allclose(distances, np.take_along_axis(expected, order, 1), rtol=1e-6)
    assert (distances[1, 0], rows[1, 0]) == (0, 2)
    wide = queries.astype(np.float64) @ wide.T / np.linalg.norm(wide, axis=1)
    expected = 1 - wide / np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
    order = np.argsort(expected, axis=1, kind="stable")[:, :4]
    distances, rows = similar.nearest(vectors, queries, 4, "cosine")
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_allclose(distances, np.take_along_axis(expected, order, 1), rtol=1e-5, atol=1e-7)


def test_of_equals_the_first_is_first(monkeypatch):
    monkeypatch.setattr(similar, "CHUNK", 6)
    vectors = np.ones((9, 2), np.float16)
    rows = similar.nearest(vectors, np.ones((1, 2), np.float32), 9)[1]
    assert rows.tolist() == [list(range(9))]


@pytest.fixture
def photos(tmp_path):
    write_images(tmp_path / "photos" / "a", 5, seed=1)
    write_images(tmp_path / "photos" / "b", 4, seed=2)
    return tmp_path / "photos"


@pytest.fixture
def trained(tmp_path):
    return random_run(tmp_path / "run")


def by_hand(run, paths, layer):
    images = np.stack([resize_center_crop(path.read_bytes(), Preprocessing(72, 3, True)) for path in paths])
    values = activations.activations(run, images, [layer], 4)[layer]
    return values.reshape(len(paths), -1).astype(np.float64)


@pytest.mark.parametrize("distance", similar.DISTANCES)
def test_the_neighbours_of_an_image(trained, photos, distance):
    paths = image_files.list_folder(photos)
    values = by_hand(trained, paths, "relu7")
    answer = similar.similar(trained, photos, paths[3], "", 4, distance)
    lengths = np.linalg.norm(values, axis=1)
    distances = {
        "cosine": 1 - values @ values[3] / lengths / lengths[3],
        "euclidean": np.sqrt(((values - values[3]) ** 2).sum(1)),
    }[distance]
    order = [row for row in np.argsort(distances) if row != 3][:4]
    assert (answer["layer"], answer["indexed"], answer["distance"]) == ("relu7", 9, distance)
    assert [result["file"] for result in answer["results"]] == [str(paths[row]) for row in order]
    reported = [result["distance"] for result in answer["results"]]
    np.testing.assert_allclose(reported, distances[order], rtol=2e-3)  # half precision
    text = similar.as_text(answer).splitlines()
    assert text[0].endswith(f"by fc7 after its ReLU (relu7), {distance} distance:")
    assert str(paths[order[0]]) in text[1]


def test_the_index_follows_the_folder(trained, photos, monkeypatch, capsys):
    computed = []
    stream = features.stream

    def counted(net, files, layers, progress):
        computed.extend(path.name for path in files)
        return stream(net, files, layers, progress)

    monkeypatch.setattr(features, "stream", counted)
    assert len(similar.index(trained, photos)[0].files) == 9
    assert len(computed) == 9
    computed.clear()
    similar.index(trained, photos)
    assert computed == []
    paths = image_files.list_folder(photos)
    paths[0].unlink()
    Image.new("RGB", (80, 80), "red").save(paths[1])
    (photos / "new.png").write_bytes(paths[2].read_bytes())
    (photos / "bad.png").write_bytes(b"no image")
    table, left_out = similar.index(trained, photos)
    assert sorted(computed) == sorted(["bad.png", paths[1].name, "new.png"])
    assert [entry["file"] for entry in left_out] == [str(photos / "bad.png")]
    here = [photos / name for name in table.files]
    assert sorted(here) == sorted(set(image_files.list_folder(photos)) - {photos / "bad.png"})
    np.testing.assert_allclose(table.vectors, by_hand(trained, here, "relu7"), rtol=1e-3, atol=1e-4)
    probabilities = by_hand(trained, here, "prob")
    np.testing.assert_allclose(table.probabilities, probabilities, rtol=1e-4)
    folder = next((trained.workdir / "similar").iterdir())
    assert len(list(folder.iterdir())) == 3
    capsys.readouterr()
    other = random_run(trained.workdir, seed=5)
    computed.clear()
    table = similar.index(other, photos)[0]
    assert "its index is of other weights" in capsys.readouterr().err
    assert len(computed) == 10
    here = [photos / name for name in table.files]
    np.testing.assert_allclose(table.vectors, by_hand(other, here, "relu7"), rtol=1e-3, atol=1e-4)


def test_one_index_answers_by_both_distances(trained, photos, monkeypatch):
    """It holds values, of which each distance is computed: nothing is read again."""
    image = image_files.list_folder(photos)[3]
    by_default = similar.similar(trained, photos, image, "", 8)
    monkeypatch.setattr(features, "stream", None)
    other = similar.similar(trained, photos, image, "", 8, "euclidean")
    assert (by_default["distance"], other["distance"]) == ("cosine", "euclidean")
    assert [row["distance"] for row in by_default["results"]] != [row["distance"] for row in other["results"]]


def test_an_index_of_another_layer_is_made_anew(trained, photos, monkeypatch, capsys):
    """As an earlier version may have made it of the same weights; never are the two mixed."""
    with monkeypatch.context() as patch:
        patch.setattr(activations, "embedding_layer", lambda architecture: "pool5")
        assert similar.index(trained, photos)[0].layer == "pool5"
    table = similar.index(trained, photos)[0]
    assert "is indexed again: its index is of another layer, pool5" in capsys.readouterr().err
    here = [photos / name for name in table.files]
    np.testing.assert_allclose(table.vectors, by_hand(trained, here, "relu7"), rtol=1e-3, atol=1e-4)


def test_an_interruption_keeps_what_was_computed(trained, photos, monkeypatch):
    stream = features.stream

    def stops(net, files, layers, progress):
        yield next(stream(net, files, layers, progress))  # four images
        raise KeyboardInterrupt

    monkeypatch.setattr(features, "stream", stops)
    with pytest.raises(KeyboardInterrupt):
        similar.index(trained, photos)
    seen = []

    def counted(net, files, layers, progress):
        seen.extend(files)
        return stream(net, files, layers, progress)

    monkeypatch.setattr(features, "stream", counted)
    table = similar.index(trained, photos)[0]
    assert (len(seen), len(table.files), len(set(table.files))) == (5, 9, 9)
    here = [photos / name for name in table.files]
    np.testing.assert_allclose(table.vectors, by_hand(trained, here, "relu7"), rtol=1e-3, atol=1e-4)


def test_an_interruption_between_the_arrays_of_a_batch(trained, photos, monkeypatch):
    """Rows whose probabilities are not written yet are no part of the index."""
    append, calls = features.GrowingArray.append, []

    def stops(array, rows):
        calls.append(array)
        if len(calls) == 4:  # the vectors of the second batch are written
            raise KeyboardInterrupt
        append(array, rows)

    monkeypatch.setattr(features.GrowingArray, "append", stops)
    with pytest.raises(KeyboardInterrupt):
        similar.index(trained, photos)
    monkeypatch.undo()
    folder = next((trained.workdir / "similar").iterdir())
    for path in folder.glob("*.npy"):
        assert len(np.load(path)) == 4
    table = similar.index(trained, photos)[0]
    here = [photos / name for name in table.files]
    assert len(set(here)) == 9
    np.testing.assert_allclose(table.vectors, by_hand(trained, here, "relu7"), rtol=1e-3, atol=1e-4)


def test_an_image_that_replaces_the_last_one(trained, photos):
    """The names are the same and in the same order; the values are the new image's."""
    before = similar.index(trained, photos)[0]
    Image.new("RGB", (80, 90), "red").save(photos / before.files[-1])
    after = similar.index(trained, photos)[0]
    assert after.files == before.files
    here = [photos / name for name in after.files]
    np.testing.assert_allclose(after.vectors, by_hand(trained, here, "relu7"), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("fault", ["json", "edited", "gone", "short"])
def test_a_corrupt_index_is_made_anew(trained, photos, fault):
    before = similar.index(trained, photos)[0]
    folder = next((trained.workdir / "similar").iterdir())
    vectors = next(folder.glob("vectors-*.npy"))
    if fault == "json":
        (folder / "index.json").write_text('{"key": ')
    elif fault == "edited":  # the rows of others
        tree = json.loads((folder / "index.json").read_text())
        tree["files"].reverse()
        (folder / "index.json").write_text(json.dumps(tree))
    elif fault == "gone":
        vectors.unlink()
    else:
        vectors.write_bytes(vectors.read_bytes()[:500])
    table = similar.index(trained, photos)[0]
    assert table.files == before.files
    assert len(table.vectors) == 9


def test_images_of_a_class(trained, photos):
    paths = image_files.list_folder(photos)
    column = by_hand(trained, paths, "prob")[:, 3]
    answer = similar.similar(trained, photos, None, "CLASS 3", 5)
    order = np.argsort(-column)[:5]
    assert answer["label"] == "class 3"
    assert [result["file"] for result in answer["results"]] == [str(paths[row]) for row in order]
    reported = [result["probability"] for result in answer["results"]]
    np.testing.assert_allclose(reported, column[order], rtol=1e-4)
    likeliest = by_hand(trained, paths, "prob").argmax(axis=1)[order]
    assert [result["likeliest"] for result in answer["results"]] == [f"class {label}" for label in likeliest]
    lines = similar.as_text(answer).splitlines()[1:]
    ends = ["" if label == 3 else f"  (likelier: class {label})" for label in likeliest]
    files = [result["file"] for result in answer["results"]]
    assert [line[10:] for line in lines] == [file + end for file, end in zip(files, ends, strict=True)]
    json.dumps(answer)
    assert similar.class_of(trained, "3") == 3
    with pytest.raises(UsageError, match="--label=class could be class 0, class 1"):
        similar.class_of(trained, "class")
    with pytest.raises(UsageError, match="--label=beach is no class of this net; it knows class 0"):
        similar.class_of(trained, "beach")


def test_weights_without_classes(trained, photos):
    rows = trained.architecture.layers
    end = [row.name for row in rows].index("pool5") + 1
    cut = dataclasses.replace(
        trained,
        architecture=dataclasses.replace(trained.architecture, layers=rows[:end]),
        params={name: trained.params[name] for name in ("conv1", "conv2", "conv3", "conv4", "conv5")},
    )
    paths = image_files.list_folder(photos)
    answer = similar.similar(cut, photos, paths[0], "", 3)
    values = by_hand(trained, paths, "pool5")
    lengths = np.linalg.norm(values, axis=1)
    cosine = 1 - values @ values[0] / lengths / lengths[0]
    assert (answer["layer"], answer["distance"]) == ("pool5", "cosine")
    assert answer["results"][0]["file"] == str(paths[np.argsort(cosine)[1]])
    np.testing.assert_allclose(answer["results"][0]["distance"], np.sort(cosine)[1], rtol=1e-2)
    answer = similar.similar(cut, photos, paths[0], "", 3, "euclidean")
    distances = np.sqrt(((values - values[0]) ** 2).sum(1))
    assert answer["results"][0]["file"] == str(paths[np.argsort(distances)[1]])
    with pytest.raises(UsageError, match="end at pool5 and know no classes"):
        similar.similar(cut, photos, None, "class 1", 3)


def test_wrong_uses(trained, photos, tmp_path):
    image = str(image_files.list_folder(photos)[0])
    for given, words in [
        (([image], "", "", 5), "similar needs --source=FOLDER"),
        (([], "x", "", 5), "one image, or --label=NAME"),
        (([image, image], "x", "", 5), "one image, or --label=NAME"),
        (([image], "x", "class 1", 5), "one image, or --label=NAME"),
        (([image], "x", "", 0), "--count=0"),
        (([str(photos)], "x", "", 5), "is not a file"),
        (([image], "x", "", 5, "far"), "--distance=far: it is euclidean or cosine"),
    ]:
        with pytest.raises(UsageError, match=words):
            similar.check(*given)
    assert similar.check([], "x", "class 1", 5) is None
    with pytest.raises(UsageError, match="is not a folder"):
        similar.index(trained, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no images"):
        similar.index(trained, tmp_path / "empty")
    (tmp_path / "empty" / "bad.png").write_bytes(b"")
    with pytest.raises(RunFailure, match="none of 1 images"):
        similar.index(trained, tmp_path / "empty")
    with pytest.raises(RunFailure, match=r"bad.png cannot be read"):
        similar.similar(trained, photos, tmp_path / "empty" / "bad.png", "", 5)
    huge = dataclasses.replace(trained, params=jax.tree.map(lambda x: x * 1e4, trained.params))
    with pytest.raises(RunFailure, match="diverged"):
        similar.index(huge, photos)
    assert not list((trained.workdir / "similar").rglob("*.npy"))


def test_an_index_of_other_weights_is_none_where_no_image_can_be_decoded(trained, photos):
    similar.index(trained, photos)
    for path in image_files.list_folder(photos):
        path.write_bytes(b"no image")
    with pytest.raises(RunFailure, match="none of 9 images"):
        similar.index(random_run(trained.workdir, seed=5), photos)


def test_how_images_are_read_belongs_to_an_index(trained):
    """A config that reads them otherwise makes another one; that of the first versions stays."""
    keys = {similar.weights_key(trained)}
    for change in ({"resize": "squash"}, {"resize_filter": "bilinear"}, {"white_level": 9.0}):
        config = resolve.replace(trained.config, {f"data.{key}": value for key, value in change.items()})
        keys.add(similar.weights_key(dataclasses.replace(trained, config=config)))
    assert len(keys) == 4
