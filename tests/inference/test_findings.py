"""What the report draws, against numbers computed another way from the same run."""

import json
import re
from collections import Counter

import numpy as np
import pytest

from alexnet_jax.inference import deconvnet, evaluate, features, findings
from alexnet_jax.inference import run as runs
from alexnet_jax.training import loop
from tests.helpers import small_digits

MOST = 200


@pytest.fixture(scope="module")
def workdir(digits_folder, tmp_path_factory):
    """A small run on the digits, 12 steps: it makes mistakes."""
    folder = tmp_path_factory.mktemp("run")
    config = small_digits(digits_folder)
    config.mesh.model = 1
    assert loop.train(config, folder) == 0
    return folder


@pytest.fixture(scope="module")
def trained(workdir):
    return runs.load(workdir, runs.read_config(workdir), "best")


@pytest.fixture(scope="module")
def found(workdir):
    return findings.find(workdir, runs.read_config(workdir), "best", MOST)


@pytest.fixture(scope="module")
def data(trained):
    """Pictures uint8 (N, 72, 72, 1) and labels of each split, read one by one."""
    dataset = findings.pipeline.open_dataset(trained.config.data)

    def read(split):
        records = dataset.records(split)
        rows = [records.read(number) for number in range(len(records))]
        pixels = [np.frombuffer(image, np.uint8).reshape(72, 72, 1) for image, _, _ in rows]
        return np.stack(pixels), np.asarray([label for _, label, _ in rows])

    return {split: read(split) for split in ("train[:90%]", "train[90%:]", "test")}


def centre(images):
    return images[:, 4:68, 4:68]


def softmax(logits):
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def test_nothing_is_missing(found, workdir):
    assert found.missing == {}
    config = json.loads((workdir / "config.json").read_text())
    assert re.search(r", \d+ cores?$", config["hardware"])
    assert "jax" in config["versions"]


def test_the_kernels_are_the_kernels(found, trained):
    np.testing.assert_array_equal(found.kernels, np.asarray(trained.params["conv1"]["kernel"]))
    assert found.parameters == sum(x.size for layer in trained.params.values() for x in layer.values())


def test_the_guesses_are_the_softmax(found, trained, data):
    images, labels = data["train[90%:]"]
    picked = [(2 * n + 1) * len(images) // 16 for n in range(8)]
    np.testing.assert_array_equal([guess.picture.image for guess in found.guesses], centre(images[picked]))
    assert [guess.picture.label for guess in found.guesses] == [str(label) for label in labels[picked]]
    expected = softmax(features.activations(trained, images[picked], ["fc8"])["fc8"])
    for guess, row in zip(found.guesses, expected, strict=True):
        order = np.argsort(-row)[:5]
        assert [name for name, _ in guess.guesses] == [str(place) for place in order]
        np.testing.assert_allclose([value for _, value in guess.guesses], row[order], rtol=1e-4)


def test_the_neighbours_are_the_nearest(found, trained, data):
    images, labels = data["train[:90%]"]
    picked = [(2 * n + 1) * len(images) // (2 * MOST) for n in range(MOST)]
    vectors = features.activations(trained, images[picked], ["relu7"])["relu7"].astype(np.float64)
    tests, test_labels = data["test"]
    asked = [(2 * n + 1) * len(tests) // 10 for n in range(5)]
    queries = features.activations(trained, tests[asked], ["relu7"])["relu7"].astype(np.float64)
    assert (found.layer, found.distance, found.searched) == ("relu7", "euclidean", MOST)
    for row, query, number in zip(found.neighbours, queries, asked, strict=True):
        distances = np.sqrt(((vectors - query) ** 2).sum(axis=1))
        order = np.argsort(distances, kind="stable")[:6]
        np.testing.assert_array_equal(row.picture.image, centre(tests[number : number + 1])[0])
        assert row.picture.label == str(test_labels[number])
        nearest = [centre(images[picked[place]][None])[0] for place in order]
        np.testing.assert_allclose([far for _, far in row.nearest], distances[order], rtol=1e-4)
        np.testing.assert_array_equal([picture.image for picture, _ in row.nearest], nearest)
        assert [picture.label for picture, _ in row.nearest] == [str(labels[picked[p]]) for p in order]


def test_the_confusions_are_counted(found, trained, data):
    images, labels = data["test"]
    picked = [(2 * n + 1) * len(images) // (2 * MOST) for n in range(MOST)]
    values = softmax(features.activations(trained, images[picked], ["fc8"])["fc8"])
    counted = Counter(zip(labels[picked].tolist(), values.argmax(axis=1).tolist(), strict=True))
    matrix = found.confusions.matrix
    assert matrix.sum() == MOST
    assert {(i, j): matrix[i, j] for i, j in np.argwhere(matrix)} == counted
    ranks = [(row > row[label]).sum() for row, label in zip(values, labels[picked], strict=True)]
    assert found.confusions.top5_error == np.mean(np.asarray(ranks) >= 5)
    wrong = [place for place in range(MOST) if values[place].argmax() != labels[picked][place]]
    surest = sorted(wrong, key=lambda place: -values[place].max())[: findings.MISTAKES]
    assert len(surest) == len(found.confusions.mistakes)
    given = [mistake.guesses[0][1] for mistake in found.confusions.mistakes]
    np.testing.assert_allclose(given, [values[place].max() for place in surest], rtol=1e-4)
    for mistake in found.confusions.mistakes:
        assert mistake.guesses[0][0] != mistake.picture.label


def test_all_pictures_give_what_evaluate_gives(workdir, trained):
    whole = findings.find(workdir, runs.read_config(workdir), "best").confusions
    answer = evaluate.evaluate([trained], "test", 1)
    assert whole.matrix.sum() == answer["examples"] == whole.of
    assert 1 - np.trace(whole.matrix) / whole.matrix.sum() == pytest.approx(answer["top1_error"])
    assert whole.top5_error == pytest.approx(answer["top5_error"])
    (workdir / "evaluation.json").unlink()


def test_the_patches_are_the_strongest(found, trained, data):
    images, _ = data["train[90%:]"]
    assert found.looked_at == len(images)
    layers = deconvnet.convolutions(trained.architecture)
    values = features.activations(trained, images, layers)
    assert {one.layer for one in found.maps} <= set(layers)
    assert len(found.maps) >= 12
    for one in found.maps:
        plane = values[one.layer][..., one.number]
        best = np.sort(plane.max(axis=(1, 2)))[::-1][:9]
        np.testing.assert_allclose([patch.value for patch in one.patches], best, rtol=1e-4, atol=1e-4)
        assert one.tower == one.number // (values[one.layer].shape[-1] // 2)
        first = int(plane.max(axis=(1, 2)).argmax())
        place = np.unravel_index(plane[first].argmax(), plane[first].shape)
        box = deconvnet.receptive_field(trained.architecture, one.layer, *map(int, place))
        top, left, bottom, right = box
        patch = one.patches[0]
        assert patch.box == box
        np.testing.assert_array_equal(patch.pixels, centre(images)[first, top:bottom, left:right])
        assert patch.projection.shape == patch.pixels.shape


def test_what_is_missing_is_said(workdir, digits_folder, tmp_path):
    config = runs.read_config(workdir)
    config.data.dir = str(tmp_path)
    found = findings.find(workdir, config, "best")
    assert found.kernels is not None
    assert set(found.missing) == set(findings.PARTS) - {"kernels"}
    assert "is not prepared" in found.missing["maps"]
    (tmp_path / "run").mkdir()  # a run whose first checkpoint is still to come
    for name in ("config.json", "statistics.npz"):
        (tmp_path / "run" / name).write_bytes((workdir / name).read_bytes())
    found = findings.find(tmp_path / "run", runs.read_config(workdir), "best")
    assert set(found.missing) == set(findings.PARTS)
    assert "no complete checkpoint" in found.missing["kernels"]


def test_spread():
    assert findings.spread(3, 10).tolist() == [0, 1, 2]
    assert findings.spread(100, 4).tolist() == [12, 37, 62, 87]
    assert findings.spread(0, 4).tolist() == []
