"""Probabilities by one view and by ten, against the softmax of each view by numpy."""

import jax
import numpy as np
import pytest

from alexnet_jax.evaluation import views
from tests.inference.helpers import layers_by_hand, random_run
from tests.model.helpers import assert_close

# Section 4.1: the four corners and the centre of 72 x 72, 64 x 64 each, and their horizontal reflections.
CORNERS = ((0, 0), (0, 8), (8, 0), (8, 8), (4, 4))


def one_view(net, images, top, left, mirrored):
    """The probabilities of a view; of `crop` the mean at its own offset is mirrored with it."""
    cut = images[:, top : top + 64, left : left + 64].astype(np.float64)
    mean = np.asarray(net.mean, np.float64)
    if net.normalization.mean == "crop":
        cut, mean = cut - mean[top : top + 64, left : left + 64], 0.0
    cut = cut[:, :, ::-1] if mirrored else cut
    return layers_by_hand(net.params, (cut - mean) / 60)["prob"]


@pytest.mark.parametrize(("data", "model", "kind"), [(1, 1, "centre"), (1, 2, "crop"), (2, 2, "rgb")])
def test_ten_views_are_the_mean_of_their_softmax(data, model, kind, tmp_path):
    net = random_run(tmp_path, data, model, mean=kind)
    images = np.random.default_rng(8).integers(0, 256, (2, 72, 72, 3), dtype=np.uint8)
    each = [one_view(net, images, *corner, flip) for corner in CORNERS for flip in (False, True)]
    assert np.ptp(each, axis=0).max() > 0.02  # they differ
    probabilities = np.asarray(net.predictor(10)(images))
    assert_close(probabilities, np.mean(each, axis=0), 1e-5)
    assert probabilities.dtype == np.float32
    assert_close(net.predictor(1)(images), one_view(net, images, 4, 4, False), 1e-5)
    assert repr(net) == "TrainedNet(alexnet_2012)"  # not its parameters


def test_one_view_by_its_top_left_and_flip(tmp_path):
    net = random_run(tmp_path, mean="crop")
    images = np.random.default_rng(8).integers(0, 256, (2, 72, 72, 3), dtype=np.uint8)
    fixed = net.architecture, net.mesh, net.normalization, net.params
    for view in ((7, 2, True), (0, 5, False)):
        probabilities = jax.jit(lambda image, at=view: views.view_probabilities(*fixed, image, net.mean, at))(
            images
        )
        assert_close(probabilities, one_view(net, images, *view), 1e-5)
