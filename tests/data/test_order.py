"""The order of records: counts over seeds and epochs, and the stream written out at length."""

from collections import Counter

import numpy as np
import pytest

from alexnet_jax.data.order import epoch_order, record_indices


def test_orders_are_uniform() -> None:
    """Every order of four records is as likely, over seeds and over epochs."""
    for numbers in ([(seed, 0) for seed in range(4800)], [(7, epoch) for epoch in range(4800)]):
        orders = [tuple(epoch_order(4, seed, epoch)) for seed, epoch in numbers]
        counts = np.array(list(Counter(orders).values()))
        assert len(counts) == 24
        assert ((counts - 200) ** 2 / 200).sum() < 50  # chi-squared, 23 degrees of freedom: p = 0.001


def test_a_seed_is_not_another_seeds_later_epoch() -> None:
    assert list(epoch_order(50, 1, 1)) != list(epoch_order(50, 2, 0))


def test_the_generator_is_frozen() -> None:
    """Runs resume only where the numbers of these seeds stay what they were in the first version."""
    assert epoch_order(10, 0, 0).tolist() == [3, 7, 6, 4, 1, 0, 2, 8, 5, 9]
    assert epoch_order(10, 2012, 89).tolist() == [8, 2, 3, 4, 7, 6, 0, 1, 9, 5]
    assert epoch_order(10, 0, 0).dtype == np.int32


@pytest.mark.parametrize(("size", "batch_size"), [(30, 8), (8, 8), (30, 70), (1, 3), (7, 1)])
def test_batches_cut_the_stream(size: int, batch_size: int) -> None:
    """Against all epochs put one after another, of which every batch takes the next rows."""
    batches = 9
    count = -(-batches * batch_size // size)
    stream = np.concatenate([epoch_order(size, 5, epoch) for epoch in range(count)])
    for number in range(batches):
        epochs, indices = record_indices(size, 5, batch_size, number)
        rows = slice(number * batch_size, (number + 1) * batch_size)
        assert indices.tolist() == stream[rows].tolist()
        assert epochs.tolist() == np.repeat(np.arange(count), size)[rows].tolist()


def test_an_order_that_remembers_is_asked_once_an_epoch() -> None:
    asked = []

    def order(size: int, seed: int, epoch: int) -> np.ndarray:
        asked.append((size, seed, epoch))
        return np.arange(size)[::-1]

    epochs, indices = record_indices(3, 4, 5, 1, order)
    assert asked == [(3, 4, 1), (3, 4, 2), (3, 4, 3)]
    assert epochs.tolist() == [1, 2, 2, 2, 3]
    assert indices.tolist() == [0, 2, 1, 0, 2]
