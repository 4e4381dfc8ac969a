"""`doctor`: the table of nets against arithmetic by hand, and whether a run could start."""

from pathlib import Path

import pytest

from alexnet_jax import doctor
from alexnet_jax.model import architectures
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


def test_the_table_of_nets():
    lines = doctor.architectures_table().splitlines()[1:]
    assert {net.architecture for net in doctor.NETS} == set(architectures.TABLES)
    for line, net, expected in zip(lines, doctor.NETS, BY_HAND, strict=False):
        name, pictures, parameters, operations, neurons, *outputs = line.split()
        assert name == net.architecture
        assert pictures.startswith(f"{net.crop}x{net.crop}x")
        assert int(parameters.replace(",", "")) == expected.parameters
        assert float(operations.replace(",", "")) == pytest.approx(
            expected.multiply_accumulates / 1e6, abs=0.005
        )
        assert int(neurons.replace(",", "")) == expected.neurons
        assert outputs == ["x".join(map(str, row.output)) for row in expected.rows]
    assert len(doctor.NETS) == len(BY_HAND)


def test_what_would_stop_a_run(digits_config, tmp_path):
    text, healthy = doctor.report(digits_config)
    assert healthy
    assert "this run can start: alexnet_2012 on a mesh of 1 x 2" in text
    digits_config.data.dir = str(tmp_path)
    text, healthy = doctor.report(digits_config)
    assert not healthy
    assert "is not prepared" in text


def test_the_readme_shows_this_table():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert doctor.architectures_table() in readme
