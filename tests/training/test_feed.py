"""Where batches come from: the devices where there is room, else records; and what ends with the feed."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.training import optimizer
from alexnet_jax.training.feed import Feed, Plans, open_feed
from alexnet_jax.training.profiler import Profiler
from alexnet_jax.training.setup import prepare_run
from alexnet_jax.training.throughput import Window
from tests.helpers import small_digits

SIZE = 72 * 72 * 1500


def opened(config: ConfigDict, room: int, first: int = 0) -> tuple[Plans, Feed]:
    run = prepare_run(config)
    rules = optimizer.layer_rules(run.architecture, run.config.optimizer, run.config.schedule)
    plans = Plans.of(run, rules, room)
    net: Any = (SimpleNamespace(accumulate_steps=config.train.accumulate_steps), None, jnp.zeros(1))
    profiler = Profiler(Path("nowhere"), 0, first)
    return plans, open_feed(run, rules, plans, net, first, Window(), profiler, lambda: False)


@pytest.mark.parametrize("room", [0, SIZE])
def test_both_ways_give_the_same_batches(room: int, digits_folder: str) -> None:
    config = small_digits(digits_folder)
    config.train.epochs = 1.0
    plans, feed = opened(config, room, first=40)  # of 43 steps
    assert (feed.training is not None) == (feed.validation is not None) == (room > 0)
    assert plans.lines() == [plans.images.line()] if plans.images else False
    found = list(feed.batches)
    feed.close()
    assert len(found) == 3
    config.data.resident = "always" if not room else "never"
    _, other = opened(config, SIZE, first=40)
    for batch, same in zip(found, other.batches, strict=True):
        assert {"image", "label", "flip"} == batch.keys() == same.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], same[name])  # type: ignore[literal-required]
            assert batch[name].sharding == same[name].sharding  # type: ignore[literal-required]
    other.close()


def test_a_finished_run_loads_nothing(digits_folder: str) -> None:
    config = small_digits(digits_folder)
    config.data.resident = "always"
    _, feed = opened(config, SIZE, first=12)
    assert feed.training is None
    assert list(feed.batches) == []
    feed.close()


def test_threads_end_with_it(digits_folder: str) -> None:
    before = threading.active_count()
    _, feed = opened(small_digits(digits_folder), 0)
    assert isinstance(next(feed.batches)["image"], jax.Array)
    assert threading.active_count() > before
    feed.close()
    assert next(feed.batches, None) is None


def test_microbatches_are_not_stacked(digits_folder: str) -> None:
    config = small_digits(digits_folder)
    config.train.accumulate_steps = 2
    _, feed = opened(config, 0)
    assert feed.dispatches.most == 1
    feed.close()
