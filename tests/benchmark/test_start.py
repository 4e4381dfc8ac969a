"""A start with kept compiled programs is the faster one."""

import pytest

from alexnet_jax.benchmark import start
from tests.benchmark.helpers import tiny


@pytest.mark.slow
def test_start() -> None:
    [row] = start.measure(tiny(), runs=1)
    assert row["name"] == "start.warm.b4"
    assert row["unit"] == "s"
    assert row["ratio"] > 1
