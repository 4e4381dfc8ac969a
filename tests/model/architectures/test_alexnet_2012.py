"""The paper's table against the paper's own numbers."""

import math

import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.model.architectures.alexnet_2012 import REMOVABLE
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Conv, Weighted
from tests.model.against_torch import compare
from tests.model.helpers import FULL, assert_published, paper, parameters
from tests.reference import arithmetic


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, arithmetic.ALEXNET_2012),
        ({"towers": 1}, arithmetic.ALEXNET_2012_ONE_TOWER),
        ({"communicate_at": ("conv4", "fc6", "fc7")}, arithmetic.ALEXNET_2012_CONV4),
        ({"communicate_at": ()}, arithmetic.ALEXNET_2012_APART),
        ({"pool_size": 2}, arithmetic.ALEXNET_2012_POOL_2),
    ],
    ids=str,
)
def test_parameters_multiply_accumulates_and_shapes(arguments, expected):
    assert_published(paper(224, **FULL, **arguments), expected)


def test_the_papers_own_figures():
    assert parameters(paper(224, **FULL)) == 60_965_224
    assert parameters(paper(224, towers=1, **FULL)) == 62_378_344
    half = (48, 128, 192, 192, 256)  # the source's net 145-half
    assert parameters(paper(224, towers=1, features=half, **FULL)) == 59_798_312
    weighted = [s for s in layer_shapes(paper(224, **FULL)).values() if s.kernel]
    assert sum(math.prod(s.output) for s in weighted) == 659_272  # the paper says 650,000
    assert weighted[0].kernel == (2, 11, 11, 3, 48)


def test_the_layers_stand_in_the_papers_order():
    order = """conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5
        fc6 relu6 drop6 fc7 relu7 drop7 fc8"""
    assert " ".join(layer_shapes(paper(224))) == " ".join(order.split())


@pytest.mark.parametrize("layer", REMOVABLE)
def test_a_middle_layer_is_left_out_and_the_towers_still_meet(layer):
    whole, less = paper(224), paper(224, without=(layer,))
    gone = {layer, f"relu{layer[-1]}", f"norm{layer[-1]}", f"drop{layer[-1]}"}
    assert [x.name for x in less.layers] == [x.name for x in whole.layers if x.name not in gone]
    meets = [x.name for x in less.layers if getattr(x, "reads", "") == "both"]
    instead = {"conv3": ["conv4"], "fc6": ["fc7"], "fc7": []}  # fc8 sums over the towers
    expected = ["conv3", "fc6", "fc7"]
    if layer in expected:
        position = expected.index(layer)
        expected[position : position + 1] = instead[layer]
    assert meets == ["conv1", *dict.fromkeys(expected)]


def test_initial_values_are_those_of_section_5():
    net = paper(224, **FULL)
    weighted = {x.name: x for x in net.layers if isinstance(x, Weighted)}
    assert {x.std for x in weighted.values()} == {0.01}
    ones = {name for name, x in weighted.items() if x.bias == 1.0}
    assert ones == {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert {x.bias for name, x in weighted.items() if name not in ones} == {0.0}


def test_switches_leave_their_layers_out():
    names = [x.name for x in paper(lrn=False, dropout=0.0).layers]
    assert names == [x.name for x in paper().layers if x.name[:4] not in ("norm", "drop")]


def test_227_pixels_need_no_padding():
    whole, padded = paper(227).layers[0], paper(224).layers[0]
    assert isinstance(whole, Conv)
    assert isinstance(padded, Conv)
    assert (whole.pad, padded.pad) == ((0, 0), (0, 3))


def test_an_image_too_small_is_refused():
    with pytest.raises(UsageError, match=r"config.data.crop=32 is too small .* pool"):
        paper(32)


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("model_axis", [1, 2])
def test_full_width_against_pytorch(torch_nets, model_axis, train):
    compare(paper(224, **FULL), model_axis, torch_nets.alexnet_2012, 2, train)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {"towers": 1},
        {"lrn": False},
        {"lrn_constants": (1.0, 0.01, 0.5)},
        {"lrn_constants": (2.0, 0.0, 0.75)},
        {"pool_size": 2},
        {"activation": "tanh"},
        {"communicate_at": ("conv4", "fc6", "fc7")},
        {"communicate_at": ()},
    ],
    ids=str,
)
def test_arguments_against_pytorch(torch_nets, arguments):
    compare(paper(64, **arguments), 1, torch_nets.alexnet_2012, 4, **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("layer", REMOVABLE)
def test_a_middle_layer_left_out_against_pytorch(torch_nets, layer):
    number = layer[-1]
    gone = (layer, f"relu{number}", f"norm{number}", f"drop{number}")
    meet = {"conv3": ("conv4", "fc6", "fc7"), "fc6": ("conv3", "fc7")}.get(layer, ("conv3", "fc6", "fc7"))
    compare(paper(64, without=(layer,)), 1, torch_nets.alexnet_2012, 4, without=gone, communicate_at=meet)
