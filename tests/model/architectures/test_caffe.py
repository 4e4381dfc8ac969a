"""Caffe's tables against what was counted by hand and what its prototxt files say."""

import pytest

from alexnet_jax.model.specs import LRN, Dropout, Pool, Weighted
from tests.model.against_torch import compare
from tests.model.helpers import FULL, assert_published, table
from tests.reference import arithmetic


@pytest.mark.parametrize(
    ("name", "expected"), [("caffe", arithmetic.CAFFE), ("caffenet", arithmetic.CAFFENET)]
)
def test_parameters_multiply_accumulates_and_shapes(name, expected):
    assert_published(table(name, 227, **FULL), expected)


def test_caffenet_pools_before_it_normalises():
    for name, order in (("caffe", "norm1 pool1"), ("caffenet", "pool1 norm1")):
        assert f"conv1 relu1 {order} conv2" in " ".join(x.name for x in table(name).layers)


@pytest.mark.parametrize(("name", "bias"), [("caffe", 0.1), ("caffenet", 1.0)])
def test_the_initial_values(name, bias):
    net = table(name, 227, **FULL)
    initial = {x.name: (x.std, x.bias) for x in net.layers if isinstance(x, Weighted)}
    assert initial == {
        "conv1": (0.01, 0.0),
        "conv2": (0.01, bias),
        "conv3": (0.01, 0.0),
        "conv4": (0.01, bias),
        "conv5": (0.01, bias),
        "fc6": (0.005, bias),
        "fc7": (0.005, bias),
        "fc8": (0.01, 0.0),
    }


@pytest.mark.parametrize("name", ["caffe", "caffenet"])
def test_what_caffe_does_otherwise_than_the_paper(name):
    layers = table(name).layers
    assert all(x.across and x.k == 1.0 for x in layers if isinstance(x, LRN))
    assert all(x.inverted for x in layers if isinstance(x, Dropout))
    assert all(x.ceil for x in layers if isinstance(x, Pool))


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("model_axis", [1, 2])
@pytest.mark.parametrize("name", ["caffe", "caffenet"])
def test_against_pytorch(torch_nets, name, model_axis, train):
    compare(table(name), model_axis, getattr(torch_nets, name), 4, train)


@pytest.mark.slow
def test_full_width_against_pytorch(torch_nets):
    compare(table("caffe", 227, **FULL), 1, torch_nets.caffe, 1)
