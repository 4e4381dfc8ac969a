"""`doctor --architectures`: the table of nets against arithmetic by hand, and in docs/nets.md."""

import pytest

from alexnet_jax.commands import doctor_architectures
from alexnet_jax.model import architectures
from tests.commands.helpers import ROOT, call
from tests.reference import arithmetic

BY_HAND = [
    arithmetic.ALEXNET_2012,
    arithmetic.ALEXNET_2012_SOURCE,
    arithmetic.ALEXNET_2012_SOURCE_CONV4,
    arithmetic.SOURCE_145_HALF,
    arithmetic.source_146(1000),
    arithmetic.SOURCE_147,
    arithmetic.SOURCE_148,
    arithmetic.SOURCE_150,
    arithmetic.CAFFE,
    arithmetic.CAFFENET,
    arithmetic.TORCHVISION,
    arithmetic.TORCHVISION_GREY_10,
    arithmetic.CIFAR10_26,
    arithmetic.CIFAR10_19,
    arithmetic.CIFAR10_14,
    arithmetic.CIFAR10_18,
    arithmetic.CIFAR10_13,
    arithmetic.CIFAR10_11,
    arithmetic.FULLY_CONNECTED_784_15_10,
]


def test_the_table_of_nets() -> None:
    lines = doctor_architectures.architectures_table().splitlines()[1:]
    assert {net.architecture for net in doctor_architectures.NETS} == set(architectures.TABLES)
    for line, net, expected in zip(lines, doctor_architectures.NETS, BY_HAND, strict=False):
        name, images, parameters, operations, neurons, *outputs = line.split()
        assert name == net.architecture
        assert images.startswith(f"{net.crop}x{net.crop}x")
        assert int(parameters.replace(",", "")) == expected.parameters
        assert float(operations.replace(",", "")) == pytest.approx(
            expected.multiply_accumulates / 1e6, abs=0.005
        )
        assert int(neurons.replace(",", "")) == expected.neurons
        assert outputs == ["x".join(map(str, row.output)) for row in expected.rows]
    assert len(doctor_architectures.NETS) == len(BY_HAND)


def test_the_page_shows_this_table() -> None:
    assert doctor_architectures.architectures_table() in (ROOT / "docs" / "nets.md").read_text()


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["doctor", "--architectures"]) == 0
    assert capsys.readouterr().out == doctor_architectures.architectures_table() + "\n"
