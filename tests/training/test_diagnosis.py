"""Why a run does not learn: the records of a batch, dead layers, and what is reported to the user."""

import math
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.config import resolve
from alexnet_jax.data.records import open_dataset
from alexnet_jax.evaluation.views import PlacedNet
from alexnet_jax.training import diagnosis
from alexnet_jax.workdir import trained


def in_order(size: int, seed: int, batch_size: int, step: int) -> list[int]:
    """The records of step `step`, counted from 1: numpy's permutation of each epoch, one after another."""
    stream = np.concatenate([np.random.RandomState([seed, epoch]).permutation(size) for epoch in range(3)])
    return stream[(step - 1) * batch_size : step * batch_size].tolist()


@pytest.mark.parametrize("step", [1, 2, 43])  # of 32 records of 1,350: the last crosses an epoch's end
def test_the_records_of_a_step_are_those_that_it_reads(digits_config: ConfigDict, step: int) -> None:
    dataset = open_dataset(digits_config.data)
    records = dataset.records(digits_config.data.train_split)
    named = diagnosis.batch_records(dataset, digits_config, step)
    expected = in_order(len(records), digits_config.seed, 32, step)
    assert named == [f"{index} {records.read(index)[2]}" for index in expected]


def test_both_batches_are_written_and_the_last_one_is_named(
    digits_config: ConfigDict, tmp_path: Path
) -> None:
    dataset = open_dataset(digits_config.data)
    path = tmp_path / "not_finite.txt"
    words = diagnosis.name_batches(dataset, digits_config, path, 5)
    lines = path.read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["step 4"] * 32 + ["step 5"] * 32
    named = [line.partition(": ")[2] for line in lines[32:]]
    assert named == diagnosis.batch_records(dataset, digits_config, 5)
    assert words == f"{', '.join(named[:4])} and 28 more, all in {path}"
    words = diagnosis.name_batches(dataset, digits_config, path, 1)
    assert len(path.read_text().splitlines()) == 32  # there is none before the first
    nowhere = tmp_path / "none" / "file"
    words = diagnosis.name_batches(dataset, digits_config, nowhere, 1)
    assert words.endswith(f"and 28 more ({nowhere} cannot be written: No such file or directory)")


@pytest.fixture(scope="module")
def net(small_run: Path) -> trained.TrainedNet:
    config = resolve.replace(trained.read_config(small_run), {"mesh.model": 1})
    return trained.load(small_run, config)


def killed(net: trained.TrainedNet, layer: str) -> PlacedNet:
    """Return the net with a layer whose every value is far below 0."""
    params = dict(net.params)
    params[layer] = {
        "kernel": params[layer]["kernel"] * 0,
        "bias": jax.tree.map(lambda x: x * 0 - 1, params[layer]["bias"]),
    }
    return PlacedNet(net.architecture, net.mesh, net.normalization, net.size, net.mean, params)


def test_a_net_that_lives_has_no_dead_layer(net: trained.TrainedNet) -> None:
    assert diagnosis.dead_relu_layers(net, open_dataset(net.config.data), net.config) == []


@pytest.mark.parametrize(("layer", "dead"), [("conv5", "relu5"), ("fc7", "relu7")])
def test_a_dead_layer_is_named(net: trained.TrainedNet, layer: str, dead: str) -> None:
    dataset = open_dataset(net.config.data)
    # What follows is not dead: it has a bias of its own.
    assert diagnosis.dead_relu_layers(killed(net, layer), dataset, net.config) == [dead]


@pytest.mark.parametrize(("given", "steps"), [(0, set()), (200, {200, 500}), (500, {500})])
def test_a_flat_loss_is_looked_for_at_a_step_and_at_the_end(given: int, steps: set[int]) -> None:
    train = ConfigDict({"flat_loss_steps": given})
    assert diagnosis.flat_loss_steps(train, 500) == steps


def test_what_is_reported_of_a_loss_that_stands_still(net: trained.TrainedNet) -> None:
    dataset, guessing = open_dataset(net.config.data), math.log(10)
    assert diagnosis.flat_loss(net, dataset, net.config, 0.97 * guessing, 200, 500) == []
    (still,) = diagnosis.flat_loss(net, dataset, net.config, 0.99 * guessing, 200, 500)
    assert still.startswith(f"the loss stands still: {0.99 * guessing:.3f} after 200 steps is no better than")
    assert "Try more patience (" in still
    (still,) = diagnosis.flat_loss(net, dataset, net.config, guessing, 500, 500)
    assert "Try a config.train.epochs above 0.284444, which ends the run here (" in still
    dead, still_too = diagnosis.flat_loss(killed(net, "conv3"), dataset, net.config, guessing, 200, 500)
    assert dead.startswith("the net is dead: every value of relu3 is 0")
    assert "a lower config.schedule.learning_rate than 0.01" in dead
    assert still_too.startswith("the loss stands still")
