"""Shapes of each kind of layer, counted by hand."""

from dataclasses import dataclass

import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.model.rows import Weighted
from alexnet_jax.model.shapes import Shapes, layer_shapes
from alexnet_jax.model.specs import (
    LRN,
    Activation,
    AdaptivePool,
    Architecture,
    Conv,
    Dense,
    Dropout,
    Local,
    Pool,
    WithinChannelLRN,
)


def of(*rows, crop=12, channels=3, towers=1):
    """Return the shapes of the last of these layers."""
    return layer_shapes(Architecture("small", crop, channels, 10, towers, rows))[rows[-1].name]


def conv(name, features, kernel, reads="own", **options):
    return Conv(name, features, kernel, 0.01, 0.0, reads, **options)


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "side"),
    [(11, 4, (0, 3), 2), (11, 4, (0, 0), 1), (5, 1, (2, 2), 12), (3, 2, (1, 1), 6), (3, 2, (0, 1), 6)],
)
def test_a_convolution(kernel, stride, pad, side):
    shapes = of(conv("conv1", 8, kernel, "both", stride=stride, pad=pad))
    weights = kernel * kernel * 3 * 8
    assert shapes == Shapes((side, side, 8), (1, kernel, kernel, 3, 8), (1, 8), weights * side * side)
    assert shapes.parameters == weights + 8


def test_a_tower_reads_its_own_channels_or_those_of_both():
    first = conv("conv1", 8, 3, "both")
    assert of(first, towers=2) == Shapes((10, 10, 8), (2, 3, 3, 3, 4), (2, 4), 2 * 9 * 3 * 4 * 100)
    own = of(first, conv("conv2", 6, 3), towers=2)
    assert own == Shapes((8, 8, 6), (2, 3, 3, 4, 3), (2, 3), 2 * 9 * 4 * 3 * 64)
    both = of(first, conv("conv2", 6, 3, "both"), towers=2)
    assert both == Shapes((8, 8, 6), (2, 3, 3, 8, 3), (2, 3), 2 * 9 * 8 * 3 * 64)


def test_a_locally_connected_layer_has_a_kernel_for_each_position():
    shapes = of(Local("local1", 4, 3, 0.01, 0.0, pad=1), crop=5)
    assert shapes == Shapes((5, 5, 4), (1, 5, 5, 3, 3, 3, 4), (1, 5, 5, 4), 25 * 9 * 3 * 4)
    assert shapes.parameters == 25 * (9 * 3 * 4 + 4)
    assert of(Local("local1", 4, 3, 0.01, 0.0, pad=0), crop=5).output == (3, 3, 4)


@pytest.mark.parametrize(
    ("reads", "kernel", "bias"),
    [("both", (2, 800, 5), (2, 5)), ("own", (2, 400, 5), (2, 5)), ("sum", (2, 400, 10), (10,))],
)
def test_a_fully_connected_layer_reads_the_flat_values(reads, kernel, bias):
    shapes = of(conv("conv1", 8, 3, "both"), Dense("fc2", 10, 0.01, 0.0, reads), towers=2)
    assert shapes == Shapes((10,), kernel, bias, kernel[0] * kernel[1] * kernel[2])


def test_a_fully_connected_layer_over_another():
    rows = (Dense("fc1", 6, 0.01, 0.0), Dense("fc2", 4, 0.01, 0.0, "own"))
    assert of(*rows, towers=2) == Shapes((4,), (2, 3, 2), (2, 2), 12)


@pytest.mark.parametrize(
    ("crop", "size", "stride", "ceil", "side"),
    [(55, 3, 2, False, 27), (55, 3, 2, True, 27), (32, 3, 2, False, 15), (32, 3, 2, True, 16),
     (27, 2, 2, False, 13), (27, 2, 2, True, 14), (4, 5, 2, True, 1),
     (8, 1, 2, True, 4), (9, 2, 3, True, 3)],  # a window that would begin beyond the edge is none
)  # fmt: skip
def test_a_pool_rounds_down_or_up(crop, size, stride, ceil, side):
    assert of(Pool("pool1", "max", size, stride, ceil), crop=crop) == Shapes((side, side, 3))


@pytest.mark.parametrize(
    "layer",
    [
        Activation("here", "relu"),
        LRN("here", 5, 1e-4, 0.75, 2.0),
        WithinChannelLRN("here", 3, 1e-4, 0.75, 1.0),
        Dropout("here", 0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_changes_no_shape_and_learns_nothing(layer):
    assert of(layer) == Shapes((12, 12, 3))
    assert of(layer).parameters == 0


def test_an_adaptive_pool():
    assert of(AdaptivePool("pool1", 6)) == Shapes((6, 6, 3))
    assert of(AdaptivePool("pool1", 6), crop=3) == Shapes((6, 6, 3))


def test_every_layer_in_its_order():
    rows = (conv("conv1", 4, 3, "both"), Activation("relu1", "relu"), Pool("pool1", "max", 2, 2))
    assert list(layer_shapes(Architecture("small", 12, 3, 10, 1, rows))) == ["conv1", "relu1", "pool1"]


FIRST = conv("conv1", 8, 3, "both")  # gives (10, 10, 8)


@pytest.mark.parametrize(
    ("rows", "towers", "inputs"),
    [
        ((FIRST,), 2, 3 * 3 * 3),
        ((FIRST, conv("conv2", 4, 5, stride=2)), 2, 5 * 5 * 4),  # of its own tower
        ((FIRST, Local("local2", 4, 3, 0.01, 0.0, pad=1)), 1, 3 * 3 * 8),
        ((FIRST, Dense("fc2", 6, 0.01, 0.0)), 2, 10 * 10 * 8),
        ((FIRST, Dense("fc2", 6, 0.01, 0.0, "own")), 2, 10 * 10 * 4),
        ((FIRST, Dense("fc2", 5, 0.01, 0.0, "sum")), 2, 10 * 10 * 8),  # a part from each tower
        ((FIRST, Activation("relu1", "relu")), 2, 0),
    ],
)
def test_the_inputs_of_a_unit(rows, towers, inputs):
    assert of(*rows, towers=towers).fan_in == inputs


def test_a_row_that_draws_by_its_inputs_counts_them():
    @dataclass(frozen=True)
    class Scaling(Weighted):
        features: int
        std: float | None
        bias: float
        reads: str = "both"

        def shapes(self, read, towers):
            return Shapes(read, (towers, 1, self.features), (towers, self.features))

    assert of(Scaling("scale1", 3, 0.1, 0.0)).fan_in == 0
    with pytest.raises(UsageError, match=r"scale1: std=None draws by the inputs: shapes\(\) gives"):
        of(Scaling("scale1", 3, None, 0.0))


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ((conv("conv1", 4, 13, "both"),), "conv1"),
        ((Pool("pool1", "max", 9, 9), Pool("pool2", "max", 2, 2)), "pool2"),
        ((conv("conv1", 4, 11, "both"), Local("local2", 4, 5, 0.01, 0.0, pad=0)), "local2"),
    ],
)
def test_an_image_too_small_names_the_layer(rows, name):
    words = f"config.data.crop=12 is too small for small: nothing is left at {name}"
    with pytest.raises(UsageError, match=words):
        of(*rows)
