"""The order in which training reads records: a pure function of the seed.

The stream of training records is endless: position p is record p % n of epoch p // n, each epoch a new
permutation. Batch b takes positions b * B onward, so any batch can be made without those before it: a run
resumes by starting at another number, on any number of processes.
"""

from collections.abc import Callable

import numpy as np

EpochOrder = Callable[[int, int, int], np.ndarray]  # of (num_records, seed, epoch)


def epoch_order(num_records: int, seed: int, epoch: int) -> np.ndarray:
    """Return the permutation of the records in one epoch, int32 (num_records,).

    It comes from numpy's frozen generator, whose numbers are promised never to change between versions, so
    that a run resumes after an upgrade as if there had been none.
    """
    # grain's index shuffle takes 12 us a record, this 0.03 us, and is not quite uniform.
    return np.random.RandomState([seed, epoch]).permutation(np.arange(num_records, dtype=np.int32))


def record_indices(
    num_records: int,
    seed: int,
    batch_size: int,
    batch: int,
    order: EpochOrder = epoch_order,
    batches: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return epoch and record index of each row of a batch, or of several one after another.

    Args:
      num_records: in the split.
      seed: `config.seed`.
      batch_size: B, of the whole batch over all processes.
      batch: the batch's number, counted from 0 over all epochs.
      order: `epoch_order`, or a cached form of it.
      batches: how many, from that number on.

    Returns:
      Epochs and indices, each int64 (batches * B,).
    """
    positions = np.arange(batch * batch_size, (batch + batches) * batch_size)
    epochs, within = positions // num_records, positions % num_records
    indices = np.empty_like(within)
    for epoch in range(epochs[0], epochs[-1] + 1):
        rows = epochs == epoch
        indices[rows] = order(num_records, seed, epoch)[within[rows]]
    return epochs, indices
