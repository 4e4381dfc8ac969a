"""The tables against the paper's own numbers."""

import math
from typing import Any

import numpy as np
import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.model import architectures
from alexnet_jax.model.architectures import shapes
from configs import imagenet
from tests.model.helpers import TABLES, paper, table
from tests.reference import arithmetic

FULL: dict[str, Any] = {"classes": 1000, "width": 1.0}

# What each table must hold, counted by hand layer by layer.
PUBLISHED = {
    "the paper": (paper(224, **FULL), arithmetic.ALEXNET_2012),
    "one tower": (paper(224, towers=1, **FULL), arithmetic.ALEXNET_2012_ONE_TOWER),
    "at conv4": (
        paper(224, communicate_at=("conv4", "fc6", "fc7"), **FULL),
        arithmetic.ALEXNET_2012_CONV4,
    ),
    "apart": (paper(224, communicate_at=(), **FULL), arithmetic.ALEXNET_2012_APART),
    "pool 2": (paper(224, pool_size=2, **FULL), arithmetic.ALEXNET_2012_POOL_2),
    "source": (table("alexnet_2012_source", 224, **FULL), arithmetic.ALEXNET_2012_SOURCE),
    "132": (table("source_132", 224, **FULL), arithmetic.ALEXNET_2012_SOURCE_CONV4),
    "145-half": (table("source_145_half", 224, **FULL), arithmetic.SOURCE_145_HALF),
    "146": (table("source_146", 224, **FULL), arithmetic.source_146(1000)),
    "146, Fall 2011": (
        table("source_146", 224, classes=21841, width=1.0),
        arithmetic.source_146(21841),
    ),
    "147": (table("source_147", 224, **FULL), arithmetic.SOURCE_147),
    "148": (table("source_148", 224, **FULL), arithmetic.SOURCE_148),
    "150": (table("source_150", 224, **FULL), arithmetic.SOURCE_150),
    "caffe": (table("caffe", 227, **FULL), arithmetic.CAFFE),
    "caffenet": (table("caffenet", 227, **FULL), arithmetic.CAFFENET),
    "torchvision": (table("torchvision", 224, **FULL), arithmetic.TORCHVISION),
    "torchvision, grey": (
        table("torchvision", 224, 1, classes=10, width=1.0),
        arithmetic.TORCHVISION_GREY_10,
    ),
    "26 %": (table("cifar10_26"), arithmetic.CIFAR10_26),
    "19 %": (table("cifar10_19"), arithmetic.CIFAR10_19),
    "14 %": (table("cifar10_19", 24), arithmetic.CIFAR10_14),
    "18 %": (table("cifar10_18"), arithmetic.CIFAR10_18),
    "13 %": (table("cifar10_13"), arithmetic.CIFAR10_13),
    "11 %": (table("cifar10_11"), arithmetic.CIFAR10_11),
    "13 %, whole": (table("cifar10_13", 32), arithmetic.CIFAR10_13_WHOLE),
    "784-15-10": (table("fully_connected", 28, 1), arithmetic.FULLY_CONNECTED_784_15_10),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_multiply_accumulates_and_shapes(name):
    architecture, expected = PUBLISHED[name]
    found = shapes(architecture)
    weighted = {
        layer: (s.output, s.parameters, s.multiply_accumulates) for layer, s in found.items() if s.kernel
    }
    assert weighted == {
        row.layer: (row.output, row.parameters, row.multiply_accumulates) for row in expected.rows
    }
    others = {layer: s.output for layer, s in found.items() if layer in expected.others}
    assert others == expected.others


def test_the_publications_own_figures():
    def parameters(name):
        return sum(s.parameters for s in shapes(PUBLISHED[name][0]).values())

    assert parameters("the paper") == 60_965_224
    assert parameters("one tower") == 62_378_344
    assert parameters("145-half") == 59_798_312
    assert parameters("150") == 60_714_408
    assert parameters("torchvision") == 61_100_840  # torchvision's documentation
    assert parameters("784-15-10") == 11_935
    weighted = [s for s in shapes(PUBLISHED["the paper"][0]).values() if s.kernel]
    assert sum(math.prod(s.output) for s in weighted) == 659_272  # the paper says 650,000
    assert weighted[0].kernel == (2, 11, 11, 3, 48)


def test_every_table_is_tested():
    assert {"alexnet_2012", *TABLES} == set(architectures.TABLES)


def test_the_layers_stand_in_the_papers_order():
    order = """conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5
        fc6 relu6 drop6 fc7 relu7 drop7 fc8"""
    assert " ".join(shapes(paper(224))) == " ".join(order.split())


@pytest.mark.parametrize("layer", architectures.REMOVABLE)
def test_a_middle_layer_is_left_out_and_the_towers_still_meet(layer):
    whole, less = paper(224), paper(224, without=(layer,))
    gone = {layer, f"relu{layer[-1]}", f"norm{layer[-1]}", f"drop{layer[-1]}"}
    assert [x.name for x in less.layers] == [x.name for x in whole.layers if x.name not in gone]
    meets = [x.name for x in less.layers if getattr(x, "reads", "") == "both"]
    instead = {"conv3": ["conv4"], "fc6": ["fc7"], "fc7": []}  # fc8 sums over the towers
    expected = ["conv3", "fc6", "fc7"]
    if layer in expected:
        place = expected.index(layer)
        expected[place : place + 1] = instead[layer]
    assert meets == ["conv1", *dict.fromkeys(expected)]


@pytest.mark.parametrize(
    ("name", "crop", "parameters"),
    [
        (
            "cifar10_26",
            32,
            3 * 25 * 16 + 16 + 16 * 25 * 16 + 16 + 16 * 25 * 32 + 32 + 512 * 32 + 32 + 32 * 10 + 10,
        ),
        ("cifar10_19", 24, 3 * 25 * 16 + 16 + 16 * 25 * 16 + 16 + 16 * 25 * 32 + 32 + 288 * 10 + 10),
        ("cifar10_18", 32, 3 * 25 * 16 + 16 + 16 * 25 * 16 + 16 + 16 * 25 * 32 + 32 + 512 * 10 + 10),
        (
            "cifar10_11",
            24,  # 6 x 6 places of 3 x 3 kernels with a bias each
            3 * 25 * 32 + 32 + 32 * 25 * 32 + 32
            + 36 * (9 * 32 * 32 + 32) + 36 * (9 * 32 * 16 + 16) + 36 * 16 * 10 + 10,
        ),
    ],
)  # fmt: skip
def test_a_cifar10_net_of_half_the_width_starts_with_as_large_signals(name, crop, parameters):
    whole, half = table(name, crop), table(name, crop, width=0.5)
    assert sum(shape.parameters for shape in shapes(half).values()) == parameters
    deviations = [
        [layer.std for layer in net.layers if getattr(layer, "std", None) is not None]
        for net in (whole, half)
    ]
    assert deviations[1][0] == deviations[0][0] == 1e-4  # it reads the picture
    np.testing.assert_allclose(np.square(deviations[1][1:]), 2 * np.square(deviations[0][1:]), rtol=1e-12)


def test_227_pixels_need_no_padding():
    whole, padded = paper(227).layers[0], paper(224).layers[0]
    assert (whole.pad, padded.pad) == ((0, 0), (0, 3))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"width": 0.001}, "config.model.width=0.001"),
        ({"pool_size": 4}, "config.model.pool_size=4"),
        ({"communicate_at": ("conv9",)}, "config.model.communicate_at"),
        ({"without": ("conv1",)}, "config.model.without"),
        ({"activation": "gelu"}, "config.model.activation='gelu'"),
        ({"dropout": 1.0}, "config.model.dropout=1.0"),
        ({"classes": 1}, "config.model.classes=1"),
        ({"colour": 1}, "config.model.colour is not an argument of alexnet_2012"),
        ({"architecture": "vgg"}, "config.model.architecture='vgg'"),
        ({"compute_dtype": "int8"}, "config.model.compute_dtype='int8'"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    model = imagenet.get_config().model
    with model.unlocked():
        model.update(arguments)
    with pytest.raises(UsageError, match=words):
        architectures.build(model, 224, 3)


def test_a_picture_too_small_is_refused():
    with pytest.raises(UsageError, match=r"config.data.crop=32 is too small .* pool"):
        paper(32)
