"""What a table says of itself."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from alexnet_jax.model import specs
from alexnet_jax.model.rows import Here
from alexnet_jax.model.specs import (
    LRN,
    Activation,
    Architecture,
    Conv,
    Dense,
    Dropout,
    Local,
    Pool,
    RMSNorm,
    WithinChannelLRN,
)
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


def test_every_kind_is_in_some_table():
    kinds = {
        kind
        for kind in vars(specs).values()
        if isinstance(kind, type) and issubclass(kind, specs.Layer) and kind.__module__ == specs.__name__
    }
    used = {type(row) for name in TABLES for row in table(name).layers} | {
        type(row) for row in paper().layers
    }
    assert used | {RMSNorm} == kinds  # that is of `probe`, which any table takes


WRONG = [
    (lambda: Activation("r", "gelu"), "r: kind='gelu': there are 'relu', 'tanh', 'sigmoid'"),
    (lambda: Pool("p", "maximum", 3, 2), "p: kind='maximum': there are 'max', 'average'"),
    (lambda: Pool("p", "max", 0, 2), "p: size=0: it is at least 1"),
    (lambda: Conv("c", 4, 3, 0.01, 0.0, "botth"), "c: reads='botth': there are 'both', 'own'"),
    (lambda: Conv("c", 4, 3, 0.01, 0.0, "sum"), "c: reads='sum': there are 'both', 'own'"),
    (lambda: Conv("c", 4, 3, 0.01, 0.0, stride=0), "c: stride=0: it is at least 1"),
    (lambda: Conv("c", 4.0, 3, 0.01, 0.0), "c: features=4.0 is not a whole number"),
    (lambda: Dense("f", 4, 0.01, 0.0, "all"), "f: reads='all': there are 'both', 'own', 'sum'"),
    (lambda: Dropout("d", 1.5), "d: rate=1.5: it is a share from 0 to below 1"),
    (lambda: specs.LRN("a/b", 5, 1e-4, 0.75, 2.0), "a layer's name is a text without '/', not 'a/b'"),
    (lambda: net((*ROWS, ROWS[0])), "two layers are called 'conv1': each needs a name of its own"),
    (lambda: specs.Table((ROWS[0], ROWS[0])), "two layers are called 'conv1'"),
    (lambda: specs.Table(ROWS, 3), "towers=3: a net has 1 or 2"),
    (lambda: specs.Table(ROWS, 2), "fc2: 5 features do not divide over 2 towers"),
    (lambda: specs.Table(("conv1",)), "a table has rows such as Conv and Pool, not 'conv1'"),
    (lambda: Conv("c", 4, 3, 0.01, 0.0, pad=2), "c: pad=2: it is (before, after), whole numbers from 0 on"),
    (lambda: Conv("c", 4, 3, 0.01, 0.0, pad=(-1, 0)), "c: pad=(-1, 0): it is (before, after)"),
    (lambda: Conv("c", 4, 3, 0.01, 0.0, pad=(1.0, 0)), "c: pad=(1.0, 0): it is (before, after)"),
    (lambda: Conv("c", 4, 3, 0.01, 0.0, pad=(1, 1, 1)), "c: pad=(1, 1, 1): it is (before, after)"),
    (lambda: Local("c", 4, 3, 0.01, 0.0, pad=-1), "c: pad=-1: it is a whole number from 0 on"),
    (lambda: Conv("c", 4, 3, -0.1, 0.0), "c: std=-0.1: it is at least 0"),
    (lambda: Dense("f", 4, "0.1", 0.0), "f: std='0.1' is not a number"),
    (lambda: Dense("f", 4, float("nan"), 0.0), "f: std=nan: it is at least 0"),
    (lambda: Dense("f", 4, 0.1, None), "f: bias=None is not a number"),
    (lambda: Dropout("d", "a"), "d: rate='a' is not a number"),
    (lambda: Dropout("d", True), "d: rate=True is not a number"),
    (lambda: LRN("n", 0, 1e-4, 0.75, 2.0), "n: size=0: it is at least 1"),
    (lambda: LRN("n", 5, -1e-4, 0.75, 2.0), "n: alpha=-0.0001: it is at least 0"),
    (lambda: LRN("n", 5, 1e-4, "0.75", 2.0), "n: beta='0.75' is not a number"),
    (lambda: LRN("n", 5, 1e-4, 0.75, 0.0), "n: k=0.0: it is above 0"),
    (lambda: WithinChannelLRN("n", 4, 1e-4, 0.75, 1.0), "n: size=4: it is odd"),
    (lambda: WithinChannelLRN("n", 3.0, 1e-4, 0.75, 1.0), "n: size=3.0 is not a whole number"),
    (lambda: WithinChannelLRN("n", 3, 1e-4, 0.75, -1.0), "n: k=-1.0: it is above 0"),
]


@pytest.mark.parametrize(("make", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_wrong_table_is_refused_when_it_is_made(make, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


LAST = Dense("fc9", 10, 0.01, 0.0, "sum")
BEGINS = ": two towers begin with a layer of weights that reads the image: reads='both'"
SUMS = ": of two towers the last layer alone has reads='sum': write 'both' or 'own'"
# A tower would read a part of the image's channels, or of a sum that each tower holds whole.
TORN = [
    ((Conv("conv1", 4, 3, 0.01, 0.0), LAST), "conv1" + BEGINS),
    ((LAST,), "fc9" + BEGINS),
    ((Pool("pool1", "max", 3, 2), Dense("fc2", 4, 0.01, 0.0), LAST), "pool1" + BEGINS),
    ((ROWS[0], Dense("fc2", 4, 0.01, 0.0, "sum"), LAST), "fc2" + SUMS),
    ((ROWS[0], LAST, Activation("tanh9", "tanh")), "fc9" + SUMS),
]


@pytest.mark.parametrize(("rows", "words"), TORN, ids=[words for _, words in TORN])
def test_two_towers_that_read_no_part_of_a_whole(rows, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        specs.Table(rows, 2)
    with pytest.raises(ValueError, match=re.escape(words)):
        dataclasses.replace(net(rows), towers=2)
    assert specs.Table(rows).layers == rows  # one tower reads everything


@pytest.mark.parametrize("name", TABLES)
def test_a_name_stands_once_in_a_table(name):
    names = [row.name for row in table(name).layers]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("shape", [(3, 4, 4, 6), (3, 20)])
def test_rms_norm_divides_by_the_root_mean_square_of_an_image(shape):
    values = np.random.default_rng(2).normal(size=shape).astype(np.float32) * 100
    values[2] = 0
    rows = values.reshape(3, -1).astype(np.float64)
    expected = rows[:2] / np.sqrt((rows[:2] ** 2).mean(axis=1, keepdims=True))
    found = np.asarray(RMSNorm("norm").apply(jax.numpy.asarray(values), None, Here(1))).reshape(3, -1)
    np.testing.assert_allclose(found[:2], expected, rtol=1e-5)
    assert (found[2] == 0).all()
