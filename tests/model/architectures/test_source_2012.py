"""The released source's tables against what was counted by hand and what its files say."""

import pytest

from alexnet_jax.model.specs import LRN, Activation, Pool, Weighted, WithinChannelLRN
from tests.model.against_torch import compare
from tests.model.helpers import FULL, TABLES, assert_published, parameters, table
from tests.reference import arithmetic


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alexnet_2012_source", arithmetic.ALEXNET_2012_SOURCE),
        ("source_132", arithmetic.ALEXNET_2012_SOURCE_CONV4),
        ("source_145_half", arithmetic.SOURCE_145_HALF),
        ("source_146", arithmetic.source_146(1000)),
        ("source_147", arithmetic.SOURCE_147),
        ("source_148", arithmetic.SOURCE_148),
        ("source_150", arithmetic.SOURCE_150),
    ],
)
def test_parameters_multiply_accumulates_and_shapes(name, expected):
    assert_published(table(name, 224, **FULL), expected)


def test_the_pre_trained_net_of_the_fall_2011_release():
    assert_published(table("source_146", 224, classes=21841, width=1.0), arithmetic.source_146(21841))


def test_the_logs_own_figures():
    assert parameters(table("source_145_half", 224, **FULL)) == 59_798_312
    assert parameters(table("source_150", 224, **FULL)) == 60_714_408


def test_the_order_of_net_145():
    """layers-145.cfg: rectified after the pooling in conv1 and conv5, normalised twice in conv2."""
    order = """conv1 norm1 pool1 relu1 conv2 relu2 norm2 norm2b pool2 conv3 relu3 conv4 relu4 conv5 pool5
        relu5 fc6 relu6 drop6 fc7 relu7 drop7 fc8"""
    net = table("alexnet_2012_source", 224, **FULL)
    assert [x.name for x in net.layers] == order.split()
    assert all(x.ceil for x in net.layers if isinstance(x, Pool))
    assert {x.kind for x in net.layers if isinstance(x, Activation)} == {"relu"}
    across = [(x.size, x.alpha, x.beta, x.k, x.across) for x in net.layers if isinstance(x, LRN)]
    assert across == [(5, pytest.approx(2e-5), 0.75, 2.0, False)] * 2
    (within,) = (x for x in net.layers if isinstance(x, WithinChannelLRN))
    assert (within.size, within.beta, within.k) == (5, 0.75, 1.0)
    assert within.alpha == pytest.approx(4e-5)


def test_the_initial_values_of_net_145():
    """layer-params-145.cfg and layers-145.cfg: initW 0.01, 0.03 in conv3 to conv5; initB 1 where stated."""
    net = table("alexnet_2012_source", 224, **FULL)
    initial = {x.name: (x.std, x.bias) for x in net.layers if isinstance(x, Weighted)}
    assert initial == {
        "conv1": (0.01, 0.0),
        "conv2": (0.01, 1.0),
        "conv3": (0.03, 0.0),
        "conv4": (0.03, 1.0),
        "conv5": (0.03, 1.0),
        "fc6": (0.01, 1.0),
        "fc7": (0.01, 1.0),
        "fc8": (0.01, 0.0),
    }


@pytest.mark.parametrize(
    ("name", "meets"),
    [
        ("alexnet_2012_source", ["conv1", "conv3", "fc6", "fc7"]),
        ("source_132", ["conv1", "conv4", "fc6", "fc7"]),
        ("source_146", ["conv1", "conv3", "conv6", "fc7", "fc8"]),
        ("source_150", ["conv1"]),
    ],
)
def test_where_the_towers_meet(name, meets):
    assert [x.name for x in table(name).layers if getattr(x, "reads", "") == "both"] == meets


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", [name for name in TABLES if "source" in name])
def test_against_pytorch(torch_nets, name, train):
    net = table(name)
    for model_axis in range(1, net.towers + 1):
        if name == "source_132":  # not the whole of that file: see the table
            meet = {"communicate_at": ("conv4", "fc6", "fc7")}
            compare(net, model_axis, torch_nets.alexnet_2012_source, 4, train, **meet)
        else:
            compare(net, model_axis, getattr(torch_nets, name), 4, train)


@pytest.mark.slow
def test_full_width_against_pytorch(torch_nets):
    compare(table("alexnet_2012_source", 224, **FULL), 1, torch_nets.alexnet_2012_source, 1)
