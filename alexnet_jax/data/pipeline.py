"""Records to uint8 batches of this process's rows, by grain; the position in the data is a batch number."""

import math
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import grain
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.data import augment, order, workers
from alexnet_jax.data.batch import Batch, Batches
from alexnet_jax.data.records import Dataset, Records
from alexnet_jax.data.statistics import Statistics

RECORDS_PER_TASK = 8  # that one thread reads, decodes and crops at a time

# The records of a batch's rows, int (b,), and what of the batch is known before they are read.
_Plan = tuple[np.ndarray, Batch[np.ndarray]]


class _PlanTraining:
    """A batch's number to its records, crops, flips and lighting."""

    def __init__(self, data: ConfigDict, seed: int, statistics: Statistics, size: int, rows: tuple[int, int]):
        self.given = data, seed, statistics, size, rows
        self.order = lru_cache(2)(order.epoch_order)  # a batch may reach over the end of an epoch

    def __reduce__(self) -> tuple[Any, ...]:  # a worker remembers orders of its own
        return _PlanTraining, self.given

    def __call__(self, number: int) -> _Plan:
        data, seed, statistics, size, (low, high) = self.given
        _, indices = order.record_indices(size, seed, data.batch_size, int(number), self.order)
        indices, positions = indices[low:high], int(number) * data.batch_size + np.arange(low, high)
        batch = augment.decide(data, seed, statistics, size, positions, indices)
        return indices, {**batch, "weight": np.ones(high - low, np.float32)}


class BufferPool:
    """Arrays of one size whose memory is used again when nobody holds them or a view of them any more.

    The kernel would have to clear fresh memory.
    """

    def __init__(self) -> None:
        self._free: list[bytearray] = []  # its append and pop are whole for all threads

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array of uint8 that is not cleared."""
        memory = self._free.pop() if self._free else bytearray(math.prod(shape))
        array = np.frombuffer(memory, np.uint8)  # every view of it keeps this very object
        weakref.finalize(array, self._free.append, memory).atexit = False
        return array.reshape(shape)


class _Read:
    """A plan to a batch: read and decode its records and copy their crops, on threads, into one array."""

    def __init__(self, records: Records, side: int, threads: int):
        self.records, self.side, self.threads = records, side, threads
        self.pool, self.of_thread = ThreadPoolExecutor(threads, "read"), threading.local()
        self.buffers = BufferPool()

    def __reduce__(self) -> tuple[Any, ...]:  # a worker makes threads and buffers of its own
        return _Read, (self.records, self.side, self.threads)

    def __call__(self, plan: _Plan) -> Batch[np.ndarray]:
        indices, decided = plan
        count, side = len(indices), self.side
        offset, weight = decided.get("offset", np.zeros((count, 2), np.int32)), decided["weight"]
        image = self.buffers.empty((count, side, side, self.records.record_format.channels))
        label = np.zeros(count, np.int32)

        def fill(start: int) -> None:
            if not hasattr(self.of_thread, "buffer"):
                self.of_thread.buffer = self.records.new_buffer()
            buffer = self.of_thread.buffer
            for row in range(start, min(start + RECORDS_PER_TASK, count)):
                if not weight[row]:
                    image[row] = 0
                    continue
                whole, label[row] = self.records.image(int(indices[row]), buffer)
                top, left = offset[row]
                image[row] = whole[top : top + side, left : left + side]

        for _ in self.pool.map(fill, range(0, count, RECORDS_PER_TASK)):
            pass  # an error in any task is raised here
        return {"image": image, "label": label, **decided}


def training_batches(
    dataset: Dataset, data: ConfigDict, seed: int, *, first_batch: int, last_batch: int, rows: tuple[int, int]
) -> Batches:
    """Return an iterator over training batches `first_batch` to `last_batch` - 1.

    Their content depends on seed, number and row alone, not on where the iterator starts, nor on threads
    and processes.

    Args:
      dataset: the prepared data.
      data: `config.data`.
      seed: `config.seed`.
      first_batch: number of the first batch, counted from 0 over all epochs.
      last_batch: number after the last one's.
      rows: first and last + 1 of the rows of each batch that this process loads.

    Returns:
      Batches with all fields of `Batch`, of `rows` alone. Reading raises RunFailure for a damaged record.

    Raises:
      UsageError: shared memory has no room for `config.data.workers`, or the split is not there.
    """
    count = workers.worker_count(data, rows[1] - rows[0])
    records = dataset.records(data.train_split)
    # A copy of a FrozenConfigDict is an empty one once it is pickled.
    plain = ConfigDict(data.to_dict())
    plan = _PlanTraining(plain, seed, dataset.statistics, len(records), rows)
    read = _Read(records, data.crop, workers.thread_count(data, count))
    return _batches(grain.MapDataset.range(first_batch, last_batch).map(plan), read, rows, count)


def evaluation_batches(
    dataset: Dataset,
    split: str,
    data: ConfigDict,
    batch_size: int,
    *,
    rows: tuple[int, int],
    chosen: np.ndarray | None = None,
) -> Batches:
    """Return an iterator over every record of `split` once, in order, as whole images.

    Threads of this process read; no workers are started for what is over soon.

    Args:
      dataset: the prepared data.
      split: a TFDS split.
      data: `config.data`, for the number of threads.
      batch_size: of each batch over all processes.
      rows: first and last + 1 of the rows of each batch that this process loads.
      chosen: int (N,), the records to read in the place of all.

    Returns:
      Batches with `image` (b, S, S, C), `label` and `weight`; the last one is filled with black images of
      weight 0. Reading raises RunFailure for a damaged record.

    Raises:
      UsageError: the split is not there.
    """
    records = dataset.records(split)
    chosen = np.arange(len(records)) if chosen is None else chosen

    def plan(number: int) -> _Plan:
        positions = int(number) * batch_size + np.arange(*rows)
        weight = (positions < len(chosen)).astype(np.float32)
        return chosen.take(positions, mode="clip"), {"weight": weight}

    read = _Read(records, dataset.record_format.size, workers.thread_count(data))
    return _batches(grain.MapDataset.range(-(-len(chosen) // batch_size)).map(plan), read, rows, 0)


def _batches(plans: grain.MapDataset, read: _Read, rows: tuple[int, int], worker_count: int) -> Batches:
    # So many batches are filled at once that no thread waits for the last task of one.
    filling = 1 + -(-2 * read.threads * RECORDS_PER_TASK // max(rows[1] - rows[0], 1))
    options = grain.ReadOptions(num_threads=filling, prefetch_buffer_size=filling + workers.PREFETCH_BATCHES)
    batches = plans.map(read).to_iter_dataset(options)
    if worker_count:
        batches = workers.in_processes(batches, worker_count)
    iterator: Batches = iter(batches)
    return iterator
