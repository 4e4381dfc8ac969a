"""Where the time of training goes: windows of steps, waits for input, batches on their way."""

import math
import time
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.evaluation.metrics import Sums
from alexnet_jax.model import sharding
from alexnet_jax.training import throughput
from alexnet_jax.training.throughput import Window, batches_ahead


def sums(loss: float, wrong: float, count: float) -> Sums:
    return Sums(*map(jnp.float32, (loss, wrong, 0.0, count)))


def fail(step: int) -> NoReturn:
    raise AssertionError(step)


def test_a_window_averages_over_images_not_over_steps() -> None:
    window = Window()
    window.add(sums(8.0, 3.0, 4.0))
    window.add(sums(1.0, 0.0, 1.0))
    averages = window.close(2, fail)
    assert (averages.loss, averages.top1_error, averages.count) == (9 / 5, 3 / 5, 5)
    assert window.mean_loss == averages.loss
    assert window.losses == [2.0, 1.0]
    assert window.note == "loss 1.800, error 60.0%"
    assert window.sums == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_step_that_is_not_finite_is_named(bad: float) -> None:
    window = Window()
    for loss in (1.0, bad, bad, 1.0):
        window.add(sums(loss, 0.0, 1.0))
    with pytest.raises(AssertionError, match=r"^18$"):
        window.close(20, fail)  # steps 17 to 20


def test_rates_are_of_the_window_closed_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    window = Window()
    now = 104.0
    window.restart()  # an evaluation took four seconds
    window.wait_for_input(0.5)  # nothing was started: the device had nothing to do
    now = 106.0
    window.add(sums(1.0, 0.0, 64.0))
    window.close(1, fail)
    assert window.rates(64) == {"perf/images_per_second": 32.0, "perf/input_wait_fraction": 0.25}
    now = 107.0
    window.add(sums(1.0, 0.0, 64.0))
    window.close(2, fail)
    assert window.rates(64) == {"perf/images_per_second": 64.0, "perf/input_wait_fraction": 0.0}


def test_a_wait_counts_only_while_the_device_is_idle() -> None:
    class Busy:
        def __init__(self, ready: bool):
            self.ready = ready

        def is_ready(self) -> bool:
            return self.ready

    window = Window()
    for ready, seconds in ((False, 1.0), (True, 0.25)):
        window._latest = Sums(Busy(ready), None, None, None)  # type: ignore[arg-type]
        window.wait_for_input(seconds)
    assert window._waiting == 0.25


def test_no_more_than_two_steps_are_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[Sums] = []
    monkeypatch.setattr(throughput.jax, "block_until_ready", waited.append)
    window, steps = Window(), [sums(float(number), 0.0, 1.0) for number in range(5)]
    for step in steps:
        window.add(step)
    assert waited == steps[:3]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_batches_come_in_order_with_one_on_its_way(count: int) -> None:
    mesh = sharding.make_mesh(2, 1, 1, 4)
    taken: list[int] = []

    def host():
        for number in range(count):
            taken.append(number)
            yield {"label": np.full(4, number, np.int32)}

    for number, batch in enumerate(batches_ahead(host(), mesh, Window())):
        assert len(taken) == min(number + 2, count)
        assert isinstance(batch["label"], jax.Array)
        assert len(batch["label"].sharding.device_set) == 2
        np.testing.assert_array_equal(batch["label"], number)
    assert taken == list(range(count))
