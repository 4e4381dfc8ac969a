"""How many updates a dispatch makes: it ends where something is due, or a learning rate jumps."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.model import architectures, sharding
from alexnet_jax.training import dispatch, optimizer
from alexnet_jax.training.dispatch import Dispatches
from alexnet_jax.training.setup import RunSetup, prepare_run
from configs import cifar10, mnist
from tests.helpers import small_digits

BATCH, IMAGES = 32, 1350  # an epoch has 42.2 steps


@pytest.fixture(scope="module")
def run(digits_folder: str) -> RunSetup:
    return prepare_run(small_digits(digits_folder))


def dispatches(run: RunSetup, changes: dict[str, Any], most: int = 64, edges: tuple[int, ...] = ()) -> Any:
    """Return those of a run of 200 steps that logs every 50 and does nothing else, with some changes."""
    quiet = {
        "train.log_every_steps": 50,
        "train.evaluate_every_epochs": 100.0,
        "checkpoint.every_epochs": 100.0,
        "train.flat_loss_steps": 0,
    }
    config = ConfigDict(run.config.to_dict())
    config.update_from_flattened_dict(quiet | changes)
    rules = optimizer.layer_rules(run.architecture, config.optimizer, config.schedule)
    return Dispatches(replace(run, config=config, total_steps=200), rules, most, edges)


def ends(found: Dispatches, first: int = 0) -> list[int]:
    """Return the steps at which dispatches end."""
    return np.cumsum([first, *found.counts(first)])[1:].tolist()


@pytest.mark.parametrize(
    ("changes", "further"),
    [
        ({}, []),
        ({"train.flat_loss_steps": 70}, [70]),
        # The first step at or after a multiple of half an epoch, 21.09 steps.
        ({"train.evaluate_every_epochs": 0.5}, [22, 43, 64, 85, 106, 127, 148, 169, 190]),
        ({"checkpoint.every_epochs": 1.0}, [43, 85, 127, 169]),
        # A rate from epoch 1.5 on is that of the step which begins there or later, after 64 (63.3).
        ({"schedule.kind": "steps", "schedule.steps": ((1.5, 0.1), (3.0, 0.01))}, [64, 127]),
        ({"optimizer.per_layer": ConfigDict({"conv1": {"frozen_from": 2.0}})}, [85]),
        ({"optimizer.per_layer": ConfigDict({"conv1": {"kernel_steps": ((2.0, 0.1),)}})}, [85]),
        ({"schedule.bias_steps": ((2.0, 0.1),)}, [85]),
        ({"schedule.warmup_epochs": 0.25}, [11]),
    ],
)
def test_a_dispatch_ends_where_something_is_due(
    run: RunSetup, changes: dict[str, Any], further: list[int]
) -> None:
    found = dispatches(run, changes)
    expected = sorted({50, 100, 150, 200, *further})
    assert ends(found) == expected
    for start in (1, 49, 63, 84, 199):  # a resumed run has the same ends
        assert ends(found, start) == [end for end in expected if end > start]


def test_a_dispatch_is_no_longer_than_the_most_and_ends_at_an_edge(run: RunSetup) -> None:
    assert ends(dispatches(run, {}, most=20))[:6] == [20, 40, 50, 70, 90, 100]
    assert ends(dispatches(run, {}, edges=(3, 5)))[:3] == [3, 5, 50]
    assert ends(dispatches(run, {}, most=1)) == list(range(1, 201))
    assert dispatches(run, {}).count(200) == 0


def test_every_step_has_the_rates_of_its_own_epoch(run: RunSetup) -> None:
    """Those of the first step of a dispatch are those of all, or each step has its own."""
    changes = {
        "schedule.kind": "steps",
        "schedule.steps": ((0.7, 0.02), (1.9, 0.005)),
        "schedule.warmup_epochs": 0.3,
        "schedule.bias_steps": ((1.1, 0.3),),
        "optimizer.per_layer": ConfigDict({"fc8": {"kernel_steps": ((2.2, 0.7),), "frozen_from": 3.3}}),
    }
    found = dispatches(run, changes)
    config, step = found.setup.config, 0

    def at(step: int) -> tuple[Any, ...]:
        epoch = step * BATCH / IMAGES
        rates = optimizer.learning_rates(found.rules, config, optimizer.PlateauState(), epoch)
        return rates, optimizer.frozen_layers(found.rules, epoch)

    seen = 0
    for count in found.counts(0):
        if not optimizer.changes_each_step(config.schedule, step * BATCH / IMAGES):
            assert all(at(s) == at(step) for s in range(step, step + count))
            seen += count > 1
        step += count
    assert seen > 3


@pytest.mark.parametrize("step", range(1, 130))
def test_an_evaluation_is_due_at_the_first_step_after_its_epoch(run: RunSetup, step: int) -> None:
    found = dispatches(run, {})
    due = math.ceil(math.floor(step * BATCH / IMAGES / 0.3 + 1e-9) * 0.3 * IMAGES / BATCH - 1e-6) == step
    assert found.due(step, 0.3) == due


def test_nets_with_convolutions_make_one_update_a_dispatch_on_a_cpu() -> None:
    mesh = sharding.make_mesh(1, 1, 1, 10)
    config = cifar10.get_config()
    net = architectures.build(config.model.unlock(), config.data.crop, 3)
    assert dispatch.most_updates(net, mesh, 128) == 1
    last = net.layers[-2].name
    assert dispatch.most_updates(net, mesh, 128, last) > 1  # a head on stored values has none
    gpu: Any = SimpleNamespace(devices=np.array([SimpleNamespace(platform="gpu")]))
    # 24 x 24 x 3 bytes of 128 images fit 151 times into 32 MiB
    assert 1 < dispatch.most_updates(net, gpu, 128) <= 151


def test_small_nets_make_many_and_large_ones_few() -> None:
    mesh = sharding.make_mesh(1, 1, 1, 10)
    config = mnist.get_config()
    config.model.unlock()
    small = architectures.build(config.model, 28, 1)
    assert dispatch.most_updates(small, mesh, 10) == dispatch.MAX_UPDATES
    config.model.hidden = (4096, 4096)
    large = architectures.build(config.model, 28, 1)
    assert dispatch.most_updates(large, mesh, 128) == 1  # 15 GFLOP


def test_batches_are_stacked_and_the_rest_is_zeros() -> None:
    batches = iter([{"label": np.full(2, number, np.int32)} for number in range(1, 6)])
    stacks = [stack["label"].tolist() for stack in dispatch.stacked(batches, (3, 2), 3)]  # type: ignore[arg-type]
    assert stacks == [[[1, 1], [2, 2], [3, 3]], [[4, 4], [5, 5], [0, 0]]]


def test_one_batch_stays_as_it_is() -> None:
    batch: Any = {"label": np.zeros(2, np.int32)}
    assert list(dispatch.stacked(iter([batch]), (), 1)) == [batch]
    assert isinstance(jax.tree.leaves(batch)[0], np.ndarray)
