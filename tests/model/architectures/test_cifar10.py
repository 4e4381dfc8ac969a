"""cuda-convnet's tables against what was counted by hand."""

import numpy as np
import pytest

from alexnet_jax.model.specs import Weighted
from tests.model.against_torch import compare
from tests.model.helpers import TABLES, assert_published, parameters, table
from tests.reference import arithmetic


@pytest.mark.parametrize(
    ("name", "crop", "expected"),
    [
        ("cifar10_26", 32, arithmetic.CIFAR10_26),
        ("cifar10_19", 32, arithmetic.CIFAR10_19),
        ("cifar10_19", 24, arithmetic.CIFAR10_14),
        ("cifar10_18", 32, arithmetic.CIFAR10_18),
        ("cifar10_13", 24, arithmetic.CIFAR10_13),
        ("cifar10_11", 24, arithmetic.CIFAR10_11),
        ("cifar10_13", 32, arithmetic.CIFAR10_13_WHOLE),
    ],
)
def test_parameters_multiply_accumulates_and_shapes(name, crop, expected):
    assert_published(table(name, crop), expected)


@pytest.mark.parametrize(
    ("name", "crop", "expected"),
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
            24,  # 6 x 6 positions of 3 x 3 kernels with a bias each
            3 * 25 * 32 + 32 + 32 * 25 * 32 + 32
            + 36 * (9 * 32 * 32 + 32) + 36 * (9 * 32 * 16 + 16) + 36 * 16 * 10 + 10,
        ),
    ],
)  # fmt: skip
def test_a_net_of_half_the_width_starts_with_as_large_signals(name, crop, expected):
    whole, half = table(name, crop), table(name, crop, width=0.5)
    assert parameters(half) == expected
    stds = [[layer.std for layer in net.layers if isinstance(layer, Weighted)] for net in (whole, half)]
    assert stds[1][0] == stds[0][0] == 1e-4  # it reads the image
    np.testing.assert_allclose(np.square(stds[1][1:]), 2 * np.square(stds[0][1:]), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", [name for name in TABLES if name.startswith("cifar10")])
def test_against_pytorch(torch_nets, name, train):
    compare(table(name), 1, getattr(torch_nets, name), 4, train)


@pytest.mark.slow
def test_tanh_against_pytorch(torch_nets):
    compare(table("cifar10_19", activation="tanh"), 1, torch_nets.cifar10_19, 4, activation="tanh")


@pytest.mark.slow
def test_11_percent_without_normalisation_against_pytorch(torch_nets):
    compare(table("cifar10_11", lrn=False), 1, torch_nets.cifar10_13, 4)
