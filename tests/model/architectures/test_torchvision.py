"""torchvision's table against what was counted by hand and its documentation."""

import pytest

from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Dropout
from tests.model.against_torch import compare
from tests.model.helpers import FULL, assert_published, parameters, table
from tests.reference import arithmetic


def test_parameters_multiply_accumulates_and_shapes():
    net = table("torchvision", 224, **FULL)
    assert_published(net, arithmetic.TORCHVISION)
    assert parameters(net) == 61_100_840  # torchvision's documentation


def test_one_channel_and_ten_classes():
    assert_published(table("torchvision", 224, 1, classes=10, width=1.0), arithmetic.TORCHVISION_GREY_10)


@pytest.mark.parametrize("crop", [63, 224, 300])
def test_images_of_any_size_come_to_6_x_6(crop):
    assert layer_shapes(table("torchvision", crop))["avgpool"].output == (6, 6, 32)


def test_dropout_stands_before_the_layers_that_it_is_for():
    layers = table("torchvision").layers
    assert "avgpool drop6 fc6 relu6 drop7 fc7 relu7 fc8" in " ".join(x.name for x in layers)
    assert all(x.inverted for x in layers if isinstance(x, Dropout))


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
def test_against_pytorch(torch_nets, train):
    compare(table("torchvision"), 1, torch_nets.torchvision, 4, train)


@pytest.mark.slow
def test_full_width_against_pytorch(torch_nets):
    compare(table("torchvision", 224, **FULL), 1, torch_nets.torchvision, 1)


@pytest.mark.slow
@pytest.mark.parametrize("crop", [63, 224, 300])
def test_any_size_and_one_channel_against_pytorch(torch_nets, crop):
    compare(table("torchvision", crop, channels=1), 1, torch_nets.torchvision, 2)
