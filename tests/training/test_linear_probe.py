"""The linear layer that is fitted at once, beside scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.linear_model
from ml_collections import ConfigDict

from alexnet_jax.data.records import open_dataset
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.evaluation.activations import activations
from alexnet_jax.progress import Progress
from alexnet_jax.training import linear_probe, loop, optimizer, resident, stored_values
from alexnet_jax.training.setup import prepare_run
from alexnet_jax.workdir import trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.helpers import logged, small_digits


def clouds(images: int, width: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return values (N, D) around a centre for each class, and labels; the lengths differ widely."""
    random = np.random.default_rng(4)
    labels = np.arange(images) % classes
    values = random.normal(size=(classes, width))[labels] + 1.5 * random.normal(size=(images, width))
    return (values * random.uniform(0.1, 30, (images, 1))).astype(np.float32), labels


def sklearns(
    values: np.ndarray, labels: np.ndarray, weight_decay: float
) -> sklearn.linear_model.LogisticRegression:
    scaled = values / np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    penalty = 1 / (weight_decay * len(labels))
    return sklearn.linear_model.LogisticRegression(C=penalty, tol=1e-9, max_iter=5000).fit(scaled, labels)


@pytest.mark.parametrize("weight_decay", [1e-2, 1e-4])
@pytest.mark.parametrize("width", [20, 500], ids=["more images than values", "fewer"])
def test_the_fit_is_scikit_learns(width, weight_decay):
    values, labels = clouds(90, width)
    ours = linear_probe.LogisticRegression(values, labels, 3).fit(weight_decay)
    peer = sklearns(values, labels, weight_decay)
    assert ours.converged
    np.testing.assert_allclose(ours.kernel, peer.coef_.T, atol=3e-3 * np.abs(peer.coef_).max())
    scaled = values / np.linalg.norm(values, axis=1, keepdims=True)
    logits = [scaled @ peer.coef_.T + peer.intercept_, scaled @ ours.kernel + ours.bias]
    probabilities = [np.exp(each) / np.exp(each).sum(axis=1, keepdims=True) for each in logits]
    np.testing.assert_allclose(*probabilities, atol=5e-3)


def test_a_class_without_images_is_never_guessed():
    values, labels = clouds(90, 20)
    fit = linear_probe.LogisticRegression(values, labels, 4).fit(1e-3)
    logits = values / np.linalg.norm(values, axis=1, keepdims=True) @ fit.kernel + fit.bias
    assert set(logits.argmax(axis=1)) == {0, 1, 2}


def test_the_fit_is_in_32_bits_where_the_net_has_64():
    values, labels = clouds(90, 20)
    expected = linear_probe.LogisticRegression(values, labels, 3).fit(1e-2)
    with jax.enable_x64(True):
        fit = linear_probe.LogisticRegression(values, labels, 3).fit(1e-2)
    assert fit.kernel.dtype == fit.bias.dtype == np.float32
    np.testing.assert_allclose(fit.kernel, expected.kernel, atol=1e-3 * np.abs(expected.kernel).max())


def test_an_image_whose_values_are_0_counts_as_it_is():
    values, labels = clouds(90, 20)
    values[5] = 0
    fit = linear_probe.LogisticRegression(values, labels, 3).fit(1e-2)
    assert fit.converged
    assert np.isfinite(fit.kernel).all()


def test_cross_validation_leaves_each_image_out_once():
    values, labels = clouds(60, 200)
    decays = (1e-4, 1e-2)
    scores = linear_probe.LogisticRegression(values, labels, 3).cross_validate(decays, 3, seed=1)
    part = linear_probe.stratified_folds(labels, 3, seed=1)
    assert [score.weight_decay for score in scores] == [1e-2, 1e-4]
    for score in scores:
        wrong = 0
        for fold in range(3):
            peer = sklearns(values[part != fold], labels[part != fold], score.weight_decay)
            scaled = values[part == fold] / np.linalg.norm(values[part == fold], axis=1, keepdims=True)
            wrong += (peer.predict(scaled) != labels[part == fold]).sum()
        assert score.top1_error == pytest.approx(wrong / 60)


def test_folds_have_their_share_of_each_class():
    labels = np.repeat([0, 1, 2], [11, 4, 1])
    part = linear_probe.stratified_folds(labels, 5, seed=3)
    assert sorted(np.bincount(part, minlength=5)) == [3, 3, 3, 3, 4]
    assert sorted(np.bincount(part[labels == 0], minlength=5)) == [2, 2, 2, 2, 3]
    assert len(set(part[labels == 1])) == 4


def test_of_equal_errors_the_lower_loss_is_taken():
    scores = [linear_probe.Score(*row) for row in ((1e-2, 0.1, 0.9), (1e-3, 0.1, 0.5), (1e-4, 0.2, 0.1))]
    assert linear_probe.best(scores).weight_decay == 1e-3


@pytest.fixture(scope="module")
def probe_config(small_run, digits_folder) -> ConfigDict:
    """A probe of the second pooling layer of a small two-tower net."""
    config = small_digits(digits_folder)
    config.data.random_crop = config.data.flip = False
    config.data.lighting = 0.0
    config.model.probe = "pool2"
    config.train.init_from, config.train.epochs = str(small_run), 1.0
    config.optimizer.name, config.optimizer.weight_decays, config.optimizer.folds = "lbfgs", (1e-2, 1e-3), 2
    return config


@pytest.mark.parametrize("mesh", [(1, 1), (1, 2)])
def test_a_run_gives_the_net_that_scikit_learn_gives(mesh, probe_config, small_run, tmp_path, capfd):
    probe_config.mesh.data, probe_config.mesh.model = mesh
    assert loop.train(probe_config, tmp_path) == 0
    assert Checkpoints(tmp_path).steps() == [1]
    (line,) = logged(tmp_path, "train/loss")
    base = trained.load(small_run, trained.read_config(small_run))
    net = trained.load(tmp_path, trained.read_config(tmp_path))
    records = open_dataset(net.config.data).records("train[:90%]")
    images, labels = zip(*(records.image(row) for row in range(len(records))), strict=True)
    values = activations(base, np.stack(images), ["pool2"], 64)["pool2"].reshape(len(images), -1)
    peer = sklearns(values, np.asarray(labels), line["weight_decay"])
    scaled = values / np.linalg.norm(values, axis=1, keepdims=True)
    ours = activations(net, np.stack(images), ["linear"], 64)["linear"]
    expected = scaled @ peer.coef_.T + peer.intercept_
    centred = [logits - logits.mean(axis=1, keepdims=True) for logits in (ours, expected)]
    np.testing.assert_allclose(centred[0], centred[1], atol=1e-2 * np.abs(centred[1]).max())
    assert line["train/top1_error"] == pytest.approx(np.mean(peer.predict(scaled) != labels), abs=2 / 1350)
    capfd.readouterr()
    assert loop.train(probe_config, tmp_path) == 0  # it is there
    assert "is finished at step 1 of 1" in capfd.readouterr().err


def test_more_parts_than_images_are_as_many_as_images(probe_config, tmp_path, capfd):
    config = probe_config.copy_and_resolve_references()
    config.data.train_split, config.data.batch_size = "train[:3]", 3
    config.data.validation_split, config.optimizer.folds = "", 5
    config.mesh.model = 1
    assert loop.train(config, tmp_path) == 0
    (line,) = logged(tmp_path, "train/loss")
    assert 0 <= line["cross_validation/top1_error"] <= 1
    said = capfd.readouterr().err
    assert "with 2 weight decays in 3 parts" in said
    assert "left out in 3 parts" in said


def test_values_without_room_are_refused_before_anything_is_written(probe_config, tmp_path, monkeypatch):
    monkeypatch.setattr(resident, "room", lambda mesh: 10_000)
    with pytest.raises(UsageError, match=r"needs all at once, and the values of rmsnorm would take"):
        loop.train(probe_config, tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_several_processes_are_refused_before_anything_is_written(probe_config, tmp_path, monkeypatch):
    run = prepare_run(probe_config)
    rules = optimizer.layer_rules(run.architecture, run.config.optimizer, run.config.schedule)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UsageError, match="'lbfgs' fits in one process"):
        stored_values.plan(run, rules, 10**9)


def test_layers_before_it_that_tell_nothing(probe_config, tmp_path, monkeypatch):
    run = prepare_run(probe_config)
    nothing = resident.Resident(run, "values", jnp.zeros((4, 3, 3, 16)), jnp.arange(4))
    with pytest.raises(RunFailure, match="is 0 for all images"):
        linear_probe.fit_last_layer(run, nothing, lambda: False, Progress("train", 1, "steps", shown=False))
