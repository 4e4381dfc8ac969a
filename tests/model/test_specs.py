"""What a table says of itself."""

import dataclasses
import typing

import pytest

from alexnet_jax.model import specs
from alexnet_jax.model.specs import Activation, Architecture, Conv, Dense
from tests.model.helpers import TABLES, paper, table

ROWS = (
    Conv("conv1", 4, 3, 0.01, 0.0, "both"),
    Activation("relu1", "relu"),
    Dense("fc2", 5, 0.01, 0.0),
    Dense("fc3", 10, 0.01, 0.0, "sum"),
)


def net(rows):
    return Architecture("small", 8, 3, 10, 1, rows)


def test_the_last_layer_gives_the_logits():
    assert net(ROWS).logits == "fc3"
    assert net(ROWS).has_classes


@pytest.mark.parametrize("end", [1, 2, 3])
def test_a_table_cut_off_before_its_last_layer_has_no_classes(end):
    assert net(ROWS[:end]).logits == ROWS[end - 1].name
    assert not net(ROWS[:end]).has_classes


def test_a_net_is_a_key_that_cannot_change():
    """Compiled programs are kept by the architecture that they are for."""
    assert hash(net(ROWS)) == hash(net(tuple(dataclasses.replace(row) for row in ROWS)))
    assert net(ROWS) != net(ROWS[:3])
    with pytest.raises(dataclasses.FrozenInstanceError):
        net(ROWS).crop = 9
    with pytest.raises(dataclasses.FrozenInstanceError):
        ROWS[0].std = 0.02


def test_every_kind_of_row_is_one_of_layer():
    kinds = {
        kind
        for kind in vars(specs).values()
        if dataclasses.is_dataclass(kind) and kind not in (specs.Table, specs.Architecture)
    }
    assert set(typing.get_args(specs.Layer)) == kinds
    assert set(typing.get_args(specs.Weighted)) == {
        kind for kind in kinds if "std" in {field.name for field in dataclasses.fields(kind)}
    }


def test_every_kind_is_in_some_table():
    used = {type(row) for name in TABLES for row in table(name).layers} | {
        type(row) for row in paper().layers
    }
    assert used == set(typing.get_args(specs.Layer))


@pytest.mark.parametrize("name", TABLES)
def test_a_name_stands_once_in_a_table(name):
    names = [row.name for row in table(name).layers]
    assert len(set(names)) == len(names)
