"""Widths, standard deviations and padding, by hand."""

import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.model.architectures.common import Scale, conv1_overrun, present, relu, require
from alexnet_jax.model.specs import Activation, Conv


def test_features():
    assert Scale(0.125, 2).features(96) == 12
    assert Scale(1.0, 1).features(4096) == 4096
    assert Scale(2.0, 2).features(10) == 20


@pytest.mark.parametrize(("width", "towers"), [(0.001, 1), (0.01, 2), (0.1875, 4)])
def test_features_that_do_not_divide_over_the_towers(width, towers):
    with pytest.raises(UsageError, match=rf"config.model.width={width} gives .* multiple of {towers} towers"):
        Scale(width, towers).features(96)


def test_a_narrow_net_starts_with_larger_weights():
    assert Scale(1.0, 1).std(0.01) == 0.01
    assert Scale(0.25, 1).std(0.01) == pytest.approx(0.02)


def test_fc6_is_made_for_6_x_6_positions():
    rows = (Conv("conv1", 8, 3, 0.01, 0.0, "both"),)
    assert Scale(1.0, 1).fc6_std(0.01, rows, 8, 3) == 0.01  # 8 - 3 + 1 = 6
    assert Scale(0.25, 1).fc6_std(0.01, rows, 5, 3) == pytest.approx(0.02 * 2)
    with pytest.raises(UsageError, match=r"config.data.crop=2 is too small for this net"):
        Scale(1.0, 1).fc6_std(0.01, rows, 2, 3)


@pytest.mark.parametrize(("crop", "pixels"), [(224, 3), (227, 0), (64, 3), (225, 2), (11, 0)])
def test_the_last_window_of_conv1_runs_over_the_edge(crop, pixels):
    assert conv1_overrun(crop) == pixels
    assert (crop + pixels - 11) % 4 == 0


def test_rows():
    assert present(relu(1), None, relu(3)) == (Activation("relu1", "relu"), Activation("relu3", "relu"))
    require(True, "nothing")
    with pytest.raises(UsageError, match="something"):
        require(False, "something")
