"""What the report draws, against numbers computed another way from the same run."""

import json
import re
import shutil
from collections import Counter

import jax
import numpy as np
import pytest

from alexnet_jax.config import resolve
from alexnet_jax.data.records import open_dataset
from alexnet_jax.evaluation import activations
from alexnet_jax.inference import deconvnet, evaluate, report_data, sample
from alexnet_jax.workdir import trained as runs
from alexnet_jax.workdir.checkpoints import Checkpoints
from configs import digits
from tests.helpers import forget_provenance
from tests.inference.helpers import random_net

MOST = 200


@pytest.fixture(scope="module")
def workdir(small_run, tmp_path_factory):
    """A copy of the small run, 12 steps: it makes mistakes."""
    return shutil.copytree(small_run, tmp_path_factory.mktemp("runs") / "copy")


@pytest.fixture(scope="module")
def trained(workdir):
    return runs.load(workdir, runs.read_config(workdir), "best")


@pytest.fixture(scope="module")
def report(workdir):
    return report_data.find(workdir, runs.read_config(workdir), "best", MOST)


@pytest.fixture(scope="module")
def data(trained):
    """Images uint8 (N, 72, 72, 1) and labels of each split, read one by one."""
    dataset = open_dataset(trained.config.data)

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


def test_nothing_is_missing(report, workdir):
    assert (report.missing, report.changed, report.step) == ({}, {}, 12)
    config = json.loads((workdir / "config.json").read_text())
    assert re.search(r", \d+ cores?$", config["hardware"])
    assert "jax" in config["versions"]


def test_the_kernels_are_the_kernels(report, trained):
    np.testing.assert_array_equal(report.kernels, np.asarray(trained.params["conv1"]["kernel"]))
    assert report.parameters == sum(x.size for layer in trained.params.values() for x in layer.values())


def test_the_guesses_are_the_softmax(report, trained, data):
    images, labels = data["train[90%:]"]
    picked = [(2 * n + 1) * len(images) // 16 for n in range(8)]
    np.testing.assert_array_equal([guess.image.pixels for guess in report.guesses], centre(images[picked]))
    assert [guess.image.label for guess in report.guesses] == [str(label) for label in labels[picked]]
    expected = softmax(activations.activations(trained, images[picked], ["fc8"], 4)["fc8"])
    for guess, row in zip(report.guesses, expected, strict=True):
        order = np.argsort(-row)[:5]
        assert [name for name, _ in guess.guesses] == [str(label) for label in order]
        np.testing.assert_allclose([value for _, value in guess.guesses], row[order], rtol=1e-4)


def test_the_neighbours_are_the_nearest(report, trained, data):
    images, labels = data["train[:90%]"]
    picked = [(2 * n + 1) * len(images) // (2 * MOST) for n in range(MOST)]
    vectors = activations.activations(trained, images[picked], ["relu7"], 4)["relu7"].astype(np.float64)
    tests, test_labels = data["test"]
    asked = [(2 * n + 1) * len(tests) // 10 for n in range(5)]
    queries = activations.activations(trained, tests[asked], ["relu7"], 4)["relu7"].astype(np.float64)
    assert report.layer == "fc7 after its ReLU (relu7)"
    assert (report.distance, report.searched) == ("cosine", MOST)
    for row, query, number in zip(report.neighbours, queries, asked, strict=True):
        distances = 1 - vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
        order = np.argsort(distances, kind="stable")[:6]
        np.testing.assert_array_equal(row.image.pixels, centre(tests[number : number + 1])[0])
        assert row.image.label == str(test_labels[number])
        nearest = [centre(images[picked[row]][None])[0] for row in order]
        np.testing.assert_allclose([far for _, far in row.nearest], distances[order], rtol=1e-4)
        np.testing.assert_array_equal([image.pixels for image, _ in row.nearest], nearest)
        assert [image.label for image, _ in row.nearest] == [str(labels[picked[p]]) for p in order]


def test_the_confusions_are_counted(report, trained, data):
    images, labels = data["test"]
    picked = [(2 * n + 1) * len(images) // (2 * MOST) for n in range(MOST)]
    values = softmax(activations.activations(trained, images[picked], ["fc8"], 4)["fc8"])
    counted = Counter(zip(labels[picked].tolist(), values.argmax(axis=1).tolist(), strict=True))
    matrix = report.confusions.matrix
    assert matrix.sum() == MOST
    assert {(i, j): matrix[i, j] for i, j in np.argwhere(matrix)} == counted
    ranks = [(row > row[label]).sum() for row, label in zip(values, labels[picked], strict=True)]
    assert report.confusions.top5_error == np.mean(np.asarray(ranks) >= 5)
    wrong = [row for row in range(MOST) if values[row].argmax() != labels[picked][row]]
    surest = sorted(wrong, key=lambda row: -values[row].max())[: report_data.MISTAKES]
    assert len(surest) == len(report.confusions.mistakes)
    given = [mistake.guesses[0][1] for mistake in report.confusions.mistakes]
    np.testing.assert_allclose(given, [values[row].max() for row in surest], rtol=1e-4)
    records = open_dataset(trained.config.data).records("test")
    whole = {name: image for image, _, name in map(records.read, range(len(records)))}
    for mistake in report.confusions.mistakes:
        assert mistake.guesses[0][0] != mistake.image.label
        pixels = np.frombuffer(whole[mistake.image.file], np.uint8).reshape(1, 72, 72, 1)
        np.testing.assert_array_equal(mistake.image.pixels, centre(pixels)[0])


def test_all_images_give_what_evaluate_gives(workdir, trained):
    whole = report_data.find(workdir, runs.read_config(workdir), "best").confusions
    answer = evaluate.evaluate([trained], "test", 1)
    assert whole.matrix.sum() == answer["examples"] == whole.of
    assert 1 - np.trace(whole.matrix) / whole.matrix.sum() == pytest.approx(answer["top1_error"])
    assert whole.top5_error == pytest.approx(answer["top5_error"])
    assert not (workdir / "evaluation.json").exists()  # one view is not this run's own result


@pytest.fixture
def renamed(workdir, tmp_path):
    """A run whose net gives its classes the names in reverse."""
    copy = shutil.copytree(workdir, tmp_path / "renamed")
    forget_provenance(copy)
    tree = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(tree | {"class_names": list("9876543210")}))
    return copy


def test_classes_in_another_order_are_matched_by_name(renamed, report, capsys):
    """An image of a four is one of the class that the net calls so, its output 5."""
    found = report_data.find(renamed, runs.read_config(renamed), "best", MOST)
    assert found.changed == {"classes": "10 of 10, matched by name"}  # not the run's own data
    assert found.missing == {}
    matrix = report.confusions.matrix
    np.testing.assert_array_equal(found.confusions.matrix, matrix[::-1])
    assert found.confusions.names == tuple("9876543210")
    assert [guess.image.label for guess in found.guesses] == [guess.image.label for guess in report.guesses]
    for one, other in zip(found.guesses, report.guesses, strict=True):
        assert [name for name, _ in one.guesses] == [str(9 - int(name)) for name, _ in other.guesses]
    assert "digits_72 has all 10 classes of the net in " in capsys.readouterr().err


def test_classes_that_the_net_does_not_know(renamed, tmp_path):
    """They have no confusions, unless a file says which they are."""
    tree = json.loads((renamed / "config.json").read_text())
    (renamed / "config.json").write_text(json.dumps(tree | {"class_names": list("abcdefghij")}))
    config = runs.read_config(renamed)
    found = report_data.find(renamed, config, "best", 50)
    assert set(found.missing) == {"guesses", "confusions"}
    assert (
        " does not know, 0, 1, 2, 3, 4 and 5 more; it knows a, b, c, d, e and 5 more: "
        in found.missing["guesses"]
    )
    assert {image.label for row in found.neighbours for image, _ in row.nearest} <= set("0123456789")
    (tmp_path / "map").write_text("".join(f"{n} {'abcdefghij'[n]}\n" for n in range(10)))
    mapped = report_data.find(renamed, config, "best", 50, class_map=str(tmp_path / "map"))
    assert mapped.missing == {}
    assert mapped.confusions.names == tuple("abcdefghij")


def test_the_patches_are_the_strongest(report, trained, data):
    """Those of the training images."""
    images, _ = data["train[:90%]"]
    looked_at = sample.spread(len(images), MOST)
    assert report.looked_at == len(looked_at)
    images = images[looked_at]
    layers = deconvnet.convolutions(trained.architecture)
    values = activations.activations(trained, images, layers, 4)
    assert {one.layer for one in report.channels} <= set(layers)
    assert len(report.channels) >= 12
    for one in report.channels:
        plane = values[one.layer][..., one.channel]
        best = np.sort(plane.max(axis=(1, 2)))[::-1][:9]
        np.testing.assert_allclose([patch.value for patch in one.patches], best, rtol=1e-4, atol=1e-4)
        assert one.tower == one.channel // (values[one.layer].shape[-1] // 2)
        first = int(plane.max(axis=(1, 2)).argmax())
        position = np.unravel_index(plane[first].argmax(), plane[first].shape)
        box = deconvnet.receptive_field(trained.architecture, one.layer, *map(int, position))
        top, left, bottom, right = box
        patch = one.patches[0]
        assert patch.box == box
        np.testing.assert_array_equal(patch.pixels, centre(images)[first, top:bottom, left:right])
        assert patch.projection.shape == patch.pixels.shape


def test_weights_that_end_early(workdir, trained, tmp_path):
    """As `convert` makes them of a file without dense layers: kernels, neighbours and patches alone."""
    part = shutil.copytree(workdir, tmp_path / "part")
    forget_provenance(part)
    tree = json.loads((part / "config.json").read_text())
    (part / "config.json").write_text(json.dumps(tree | {"weights_reach": "pool5"}))
    report = report_data.find(part, runs.read_config(part), "best", 20)
    np.testing.assert_array_equal(report.kernels, np.asarray(trained.params["conv1"]["kernel"]))
    assert set(report.missing) == {"guesses", "confusions"}
    assert "reach pool5 only" in report.missing["guesses"]
    assert (report.layer, report.distance, len(report.neighbours)) == ("pool5", "cosine", 5)
    assert report.channels


def test_another_net_is_said_to_be_one(workdir):
    config = resolve.replace(runs.read_config(workdir), {"data.mean": "none", "data.dir": "/nowhere"})
    assert report_data.find(workdir, config, "best").changed == {"config.data.mean": "none"}


def test_weights_that_diverged(workdir, tmp_path):
    """What is not a number is not drawn; the reason stands for each part."""
    broken = shutil.copytree(workdir, tmp_path / "broken")
    checkpoints, net = Checkpoints(broken), runs.load(broken, runs.read_config(broken))
    params = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), jax.device_get(net.params))
    checkpoints.save(20, {"params": params}, {"validation_top1_error": 0.0})
    checkpoints.close()
    report = report_data.find(broken, runs.read_config(broken), "best", 20)
    assert set(report.missing) == set(report_data.PARTS)
    assert all(reason.endswith(": these weights diverged") for reason in report.missing.values())


def test_a_first_layer_without_kernels(tmp_path, digits_folder):
    """A fully connected net: the report says what it cannot draw."""
    config = digits.get_config()
    config.data.dir = digits_folder
    config.mesh.data = config.mesh.model = 1
    config.model = {"architecture": "fully_connected", "hidden": (15,), "activation": "sigmoid"}
    config.model.update(classes=10, compute_dtype="float32")
    net = random_net(tmp_path, config, tuple("0123456789"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_data.trained, "load", lambda *arguments: net)
        patch.setattr(runs.TrainedNet, "changed", lambda net: {})
        report = report_data.find(tmp_path, config, "best", 20)
    assert report.missing == {
        "kernels": "the first layer, fc1, is not a convolution",
        "channels": "this net has no convolutions",
    }


def test_what_is_missing_is_said(workdir, tmp_path):
    config = resolve.replace(runs.read_config(workdir), {"data.dir": str(tmp_path)})
    report = report_data.find(workdir, config, "best")
    assert report.kernels is not None
    assert set(report.missing) == set(report_data.PARTS) - {"kernels"}
    assert "is not prepared" in report.missing["channels"]
    (tmp_path / "run").mkdir()  # a run whose first checkpoint is still to come
    for name in ("config.json", "statistics.npz"):
        (tmp_path / "run" / name).write_bytes((workdir / name).read_bytes())
    report = report_data.find(tmp_path / "run", runs.read_config(workdir), "best")
    assert set(report.missing) == set(report_data.PARTS)
    assert "no complete checkpoint" in report.missing["kernels"]
