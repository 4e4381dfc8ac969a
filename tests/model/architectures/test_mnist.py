"""Fully connected nets, counted by hand."""

import pytest

from tests.model.against_torch import compare
from tests.model.helpers import assert_published, parameters, table
from tests.reference import arithmetic


def test_784_15_10():
    net = table("fully_connected", 28, 1)
    assert_published(net, arithmetic.FULLY_CONNECTED_784_15_10)
    assert parameters(net) == 11_935
    assert [(x.name, x.std) for x in net.layers if hasattr(x, "std")] == [
        ("fc1", pytest.approx(784**-0.5)),
        ("fc2", pytest.approx(15**-0.5)),
    ]


@pytest.mark.parametrize(
    ("hidden", "names", "expected"),
    [
        ((), "fc1", 784 * 10 + 10),
        ((30, 20), "fc1 relu1 fc2 relu2 fc3", 784 * 30 + 30 + 30 * 20 + 20 + 20 * 10 + 10),
    ],
)
def test_hidden_layers(hidden, names, expected):
    net = table("fully_connected", 28, 1, hidden=hidden)
    assert " ".join(x.name for x in net.layers) == names
    assert parameters(net) == expected


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
def test_against_pytorch(torch_nets, train):
    compare(table("fully_connected"), 1, torch_nets.fully_connected, 4, train)
