"""A whole split, every image once: against a loop over the records, with any batch, mesh and set of nets."""

import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.config import resolve
from alexnet_jax.data.records import open_dataset
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.evaluation import metrics, split
from alexnet_jax.model import sharding

IMAGES = 297  # in the digits' test split


def brightness(image):
    """Ten made-up probabilities of each image: how bright its ten bands of seven rows are."""
    bands = jnp.asarray(image, jnp.float32)[:, :70].reshape(len(image), 10, -1).mean(-1) + 1
    return bands / bands.sum(1, keepdims=True)


def darkness(image):
    return brightness(255 - jnp.asarray(image))


def by_hand(config, predictors):
    """(loss, top-1 error, top-5 error) of the mean of the predictors, and the wrong ones of each class."""
    records = open_dataset(config.data).records("test")
    rows = [records.read(number) for number in range(len(records))]
    images = np.stack([np.frombuffer(image, np.uint8).reshape(72, 72, 1) for image, _, _ in rows])
    labels = np.asarray([label for _, label, _ in rows])
    probabilities = np.mean([np.asarray(predict(images), np.float64) for predict in predictors], axis=0)
    own = probabilities[np.arange(len(labels)), labels]
    rank = (probabilities > own[:, None]).sum(1)
    wrong = [((labels == c).sum(), ((labels == c) & (rank > 0)).sum()) for c in range(10)]
    return (-np.log(own).mean(), (rank > 0).mean(), (rank > 4).mean()), wrong


def evaluated(config, mesh, predictors, **others):
    dataset = open_dataset(config.data)
    return split.evaluate_split(dataset, config, mesh, "test", predictors, **others)


@pytest.mark.parametrize(
    ("batch_size", "data", "model"), [(100, 1, 1), (64, 2, 2), (297, 1, 2), (50, 4, 1), (1000, 2, 1)]
)
def test_every_image_counts_once(batch_size, data, model, digits_config):
    config = resolve.replace(digits_config, {"evaluate.batch_size": batch_size})
    mesh = sharding.make_mesh(data, model, 2, 4)
    (averages,) = evaluated(config, mesh, [brightness])
    expected, by_class = by_hand(config, [brightness])
    assert 0.2 < expected[1] < 0.98  # there is something to count
    assert (averages.loss, averages.top1_error, averages.top5_error) == pytest.approx(expected, rel=1e-5)
    assert averages.count == IMAGES
    assert list(averages.by_class) == by_class


def test_who_watches_gets_every_image_in_its_order(digits_config):
    """Of two nets the mean of their probabilities; the last batch is filled with images of weight 0."""
    config, rows = resolve.replace(digits_config, {"evaluate.batch_size": 100}), []

    def watch(probabilities, batch):
        real = batch["weight"] > 0
        rows.append((np.asarray(probabilities)[real], batch["label"][real], batch["image"][real]))

    evaluated(config, sharding.make_mesh(2, 1, 2, 4), [brightness, darkness], watch=watch)
    probabilities, labels, images = (np.concatenate(part) for part in zip(*rows, strict=True))
    records = open_dataset(config.data).records("test")
    for number in range(IMAGES):
        image, label = records.image(number)
        np.testing.assert_array_equal(images[number], image)
        assert labels[number] == label
    mean = (np.asarray(brightness(images)) + np.asarray(darkness(images))) / 2
    np.testing.assert_allclose(probabilities, mean, rtol=1e-5)


def test_of_several_nets_each_and_their_mean(digits_config):
    mesh = sharding.make_mesh(2, 1, 2, 4)
    predictors = [brightness, darkness]
    evaluations = evaluated(digits_config, mesh, predictors)
    assert len(evaluations) == 3
    for averages, of in zip(evaluations, [[brightness], [darkness], predictors], strict=True):
        expected = by_hand(digits_config, of)[0]
        assert (averages.loss, averages.top1_error, averages.top5_error) == pytest.approx(expected, rel=1e-5)


def test_it_can_be_stopped(digits_config, capfd):
    mesh, asked = sharding.make_mesh(1, 1, 2, 4), []

    def stopped():
        asked.append(1)
        return len(asked) > 2

    assert evaluated(digits_config, mesh, [brightness], stopped=stopped) is None
    assert len(asked) == 3
    evaluated(digits_config, mesh, [brightness], shown=False)
    assert capfd.readouterr().err.count("evaluate test") == 1  # of the first


def test_an_image_that_is_left_out_is_no_result(digits_config, monkeypatch):
    average = metrics.average

    def one_less(sums):
        return average(sums[:-1])

    monkeypatch.setattr(metrics, "average", one_less)
    with pytest.raises(RunFailure, match="evaluation counted 200 images of 297"):
        evaluated(digits_config, sharding.make_mesh(1, 1, 2, 4), [brightness])


def test_a_split_that_is_not_there(digits_config):
    dataset = open_dataset(digits_config.data)
    with pytest.raises(UsageError, match=r"split 'testing' of .*there are: test, train"):
        split.evaluate_split(dataset, digits_config, sharding.make_mesh(1, 1, 2, 4), "testing", [brightness])
