"""Read records into uint8 batches with grain: this process's rows, from any batch number on."""

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
from alexnet_jax.data.records import Dataset, Records, decode
from alexnet_jax.data.statistics import Statistics

# Decoded pixels of the records that a thread reads, decodes and crops in one task: 8 of ImageNet's. A batch
# that is a single task, as one of small images, is made by the thread of grain that asks for it.
BYTES_PER_TASK = 8 * 256 * 256 * 3

# The indices of a batch's records, int (b,), and the fields of the batch that are known before they are read.
_Plan = tuple[np.ndarray, Batch[np.ndarray]]


class _PlanTraining:
    """Decide which records, crops, flips and lighting a batch of a given number has."""

    def __init__(
        self, data: ConfigDict, seed: int, statistics: Statistics, num_records: int, rows: tuple[int, int]
    ):
        self.arguments = data, seed, statistics, num_records, rows
        self.order = lru_cache(2)(order.epoch_order)  # a batch may reach over the end of an epoch

    def __reduce__(self) -> tuple[Any, ...]:  # each worker caches its own orders
        return _PlanTraining, self.arguments

    def __call__(self, number: int) -> _Plan:
        data, seed, statistics, num_records, (low, high) = self.arguments
        _, indices = order.record_indices(num_records, seed, data.batch_size, int(number), self.order)
        indices, positions = indices[low:high], int(number) * data.batch_size + np.arange(low, high)
        return indices, augment.decide(data, seed, statistics, num_records, positions, indices)


class BufferPool:
    """Lend arrays of one shape, and reuse the memory of those that nothing refers to any more.

    Reused memory need not be cleared by the kernel, as fresh memory is. All calls must ask for one shape.
    """

    def __init__(self) -> None:
        self._free: list[bytearray] = []  # append and pop are atomic

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return a uint8 array of `shape`, not cleared."""
        memory = self._free.pop() if self._free else bytearray(math.prod(shape))
        array = np.frombuffer(memory, np.uint8)  # the base of every view of it
        weakref.finalize(array, self._free.append, memory).atexit = False
        return array.reshape(shape)


class _Read:
    """Make a planned batch: read and decode its records and copy their crops, on threads, into one array.

    Crops are the centre's where the plan has no others; `keep_offset`: they stay in the batch.
    """

    def __init__(self, records: Records, side: int, threads: int, keep_offset: bool = False):
        self.records, self.side, self.threads, self.keep_offset = records, side, threads, keep_offset
        self.per_task = max(BYTES_PER_TASK // records.record_format.pixel_bytes, 1)
        self.pool, self.thread_local = ThreadPoolExecutor(threads, "read"), threading.local()
        self.buffers = BufferPool()

    def __reduce__(self) -> tuple[Any, ...]:  # each worker makes its own threads and buffers
        return _Read, (self.records, self.side, self.threads, self.keep_offset)

    def __call__(self, plan: _Plan) -> Batch[np.ndarray]:
        indices, planned = plan
        per_task, count = self.per_task, len(indices)
        if "weight" in planned:  # padding stands last
            count = int(np.count_nonzero(planned["weight"]))
        center = augment.center_offset(self.records.record_format.size, self.side)
        corners = planned["offset"].tolist() if "offset" in planned else [(center, center)] * count
        image = self.buffers.empty((len(indices), self.side, self.side, self.records.record_format.channels))
        image[count:] = 0
        label = np.zeros(len(indices), np.int32)

        parts = iter(range(0, count, per_task))  # each goes to one of the threads that ask for the next

        def fill() -> None:
            for start in parts:
                rows = slice(start, min(start + per_task, count))
                # All are read before one is decoded, which leaves little else in the processor's caches.
                records = [self.records.read(index) for index in indices[rows].tolist()]
                label[rows] = [number for _, number, _ in records]
                for row, (record, _, name) in enumerate(records, start):
                    self._decode(record, name, image[row], *corners[row])

        if count <= per_task:
            fill()
        else:
            tasks = [self.pool.submit(fill) for _ in range(min(self.threads, -(-count // per_task)))]
            for task in tasks:
                task.result()  # an error in any is raised here
        read: Batch[np.ndarray] = {"image": image, "label": label, **planned}
        if not self.keep_offset:
            read.pop("offset", None)
        return read

    def _decode(self, record: bytes, name: str, crop: np.ndarray, top: int, left: int) -> None:
        encoding, side = self.records.record_format.format, self.side
        if side == self.records.record_format.size:
            pixels = decode(record, encoding, crop, name)
            if not np.may_share_memory(pixels, crop):
                crop[...] = pixels
            return
        if not hasattr(self.thread_local, "buffer"):
            self.thread_local.buffer = self.records.new_buffer()
        pixels = decode(record, encoding, self.thread_local.buffer, name)
        crop[...] = pixels[top : top + side, left : left + side]


def training_batches(
    dataset: Dataset, data: ConfigDict, seed: int, *, first_batch: int, last_batch: int, rows: tuple[int, int]
) -> Batches:
    """Return an iterator over training batches `first_batch` to `last_batch` - 1.

    The content of a batch depends on the seed and its number alone, not on where the iterator starts, nor on
    threads and processes.

    Args:
      dataset: the prepared data.
      data: `config.data`.
      seed: `config.seed`.
      first_batch: number of the first batch, counted from 0 over all epochs.
      last_batch: number of the last batch + 1.
      rows: first and last + 1 of the rows of each batch that this process loads.

    Returns:
      Batches of `rows` alone, with `image`, `label` and what `augment.decide` decided; `offset`, which is
      applied, only where the mean depends on it. Iterating raises RunFailure for a damaged record.

    Raises:
      UsageError: shared memory has no room for `config.data.workers`, or there is no such split.
    """
    count = workers.worker_count(data, rows[1] - rows[0])
    records = dataset.records(data.train_split)
    # A copy of a FrozenConfigDict is an empty one once it is pickled.
    plain = ConfigDict(data.to_dict())
    plan = _PlanTraining(plain, seed, dataset.statistics, len(records), rows)
    read = _Read(records, data.crop, workers.thread_count(data, count), data.mean == "crop")
    return _batches(grain.MapDataset.range(first_batch, last_batch).map(plan), read, rows, count)


def evaluation_batches(
    dataset: Dataset,
    split: str,
    data: ConfigDict,
    batch_size: int,
    *,
    rows: tuple[int, int],
    indices: np.ndarray | None = None,
) -> Batches:
    """Return an iterator over batches with every record of `split` once, in order, as whole images.

    Threads of this process read; an evaluation is too short for workers to pay.

    Args:
      dataset: the prepared data.
      split: a TFDS split.
      data: `config.data`, for the number of threads.
      batch_size: images in a batch over all processes.
      rows: first and last + 1 of the rows of each batch that this process loads.
      indices: int (N,), the records to read; all where it is None.

    Returns:
      Batches with `image` (b, S, S, C), `label` and `weight`; the last one is padded with black images of
      weight 0. Iterating raises RunFailure for a damaged record.

    Raises:
      UsageError: there is no such split.
    """
    records = dataset.records(split)
    indices = np.arange(len(records)) if indices is None else indices

    def plan(number: int) -> _Plan:
        positions = int(number) * batch_size + np.arange(*rows)
        weight = (positions < len(indices)).astype(np.float32)
        return indices.take(positions, mode="clip"), {"weight": weight}

    read = _Read(records, dataset.record_format.size, workers.thread_count(data))
    return _batches(grain.MapDataset.range(-(-len(indices) // batch_size)).map(plan), read, rows, 0)


def _batches(plans: grain.MapDataset, read: _Read, rows: tuple[int, int], worker_count: int) -> Batches:
    # As many batches are filled at once as keep every thread busy while the last task of one ends.
    tasks = -(-max(rows[1] - rows[0], 1) // read.per_task)
    filling = read.threads if tasks == 1 else 1 + -(-2 * read.threads // tasks)
    options = grain.ReadOptions(num_threads=filling, prefetch_buffer_size=filling + workers.PREFETCH_BATCHES)
    batches = plans.map(read).to_iter_dataset(options)
    if worker_count:
        batches = workers.in_processes(batches, worker_count)
    iterator: Batches = iter(batches)
    return iterator
