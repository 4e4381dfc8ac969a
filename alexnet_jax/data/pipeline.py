"""Records to uint8 batches for one place on the data axis, by grain; their position is a batch number.

The stream of training records is endless: position p is record p % n of epoch p // n, each epoch a new
permutation. Batch b takes positions b * B onward, so any batch can be made without those before it: to
resume is to start at another number, on any number of processes.
"""

import io
import json
import math
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import grain
import numpy as np
import simplejpeg
import tensorflow_datasets as tfds
from absl import flags
from ml_collections import ConfigDict
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from alexnet_jax.data import augment, prepare, shards
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import RunFailure, UsageError

PART = 8  # records that one thread reads, decodes and crops at a time
READY = 2  # finished batches that may wait for the consumer
SHARED = 2**16  # bytes from which an array comes from another process in shared memory, not through a pipe
SHARED_MEMORY = Path("/dev/shm")
IN_SHARED = 7  # batches of each process that reads lie there, at most
MOST_WORKERS = 8  # that a run starts unasked
Batch = dict[str, np.ndarray]


class Batches(Protocol):
    """An iterator over batches that lets go of its threads and processes when closed."""

    def __iter__(self) -> Iterator[Batch]: ...
    def __next__(self) -> Batch: ...
    def close(self) -> None: ...


class Records:
    """Random access to the records of a split with `classes` labels; for many threads, and can be pickled."""

    def __init__(self, folder: Path, split: str, source: Sequence[bytes], classes: int):
        self.folder, self.split, self.source, self.classes = folder, split, source, classes

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> tuple[bytes, int, str]:
        """The image (JPEG, or raw pixels), label and file name of one record.

        TFDS' own parsing, which makes numpy arrays of everything, costs six times as much. Records are
        read one at a time, each thread its own: array_record's reading of several at once starts threads
        of its own for each shard at each call, and costs twice as much where the records are in memory.

        Raises:
          RunFailure: the record is damaged.
        """
        try:
            feature = tf_example_pb2.Example.FromString(self.source[index]).features.feature
            name = feature["file_name"].bytes_list.value[0].decode()
            label = feature["label"].int64_list.value[0]
            if not 0 <= label < self.classes:
                raise ValueError(f"it has the label {label}, and there are {self.classes} classes")
            return feature["image"].bytes_list.value[0], label, name
        except Exception as error:  # array_record and protobuf raise whatever a damaged file leads them to
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise RunFailure(
                f"record {index} of split {self.split!r} of {self.folder} is damaged: {first}; "
                "remove the folder and prepare it again"
            ) from error


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset.

    Attributes:
      folder: where it lies.
      class_names: by label.
      statistics: of its training split.
      form: what its records hold: size, channels, format and so on.
    """

    folder: Path
    class_names: tuple[str, ...]
    statistics: Statistics
    form: dict[str, Any]

    @cached_property
    def _builder(self) -> tfds.core.DatasetBuilder:
        return tfds.builder_from_directory(self.folder)

    @property
    def splits(self) -> list[str]:
        """The names of its splits."""
        return list(self._builder.info.splits)

    def records(self, split: str) -> Records:
        """The records of a TFDS split; UsageError for one that is not there or is empty."""
        there = ", ".join(self.splits)
        try:
            source = self._builder.as_data_source(
                split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
            size = len(source)
        except Exception as error:  # TFDS raises whatever a name or a missing file leads it to
            first = (str(error) or "not a split").splitlines()[0]
            raise UsageError(f"split {split!r} of {self.folder}: {first} (there are: {there})") from None
        if not size:
            raise UsageError(f"split {split!r} of {self.folder} holds no records (there are: {there})")
        return Records(self.folder, split, source, len(self.class_names))

    def size(self, split: str) -> int:
        """How many records `split` has."""
        return len(self.records(split))


def open_dataset(data: ConfigDict) -> Dataset:
    """Opens the dataset that `config.data` names.

    Raises:
      UsageError: it is not prepared, damaged, or was prepared with other values of the keys that decide
        what a record holds.
    """
    folder = prepare.dataset_folder(data)
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not prepared; type: python -m alexnet_jax.main prepare "
            "--config=<this config> --source=<folder, archive, or digits>"
        )
    try:
        form = json.loads((folder / "preparation.json").read_text())
        class_names = tuple(tfds.builder_from_directory(folder).info.features["label"].names)
    except Exception as error:  # TFDS raises whatever a damaged file leads it to
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"{folder} is not a whole dataset: {first}; remove it and prepare it again"
        ) from None
    for key in shards.FORM:
        if key == "quality" and data.format == "raw":
            continue
        if form.get(key) != data[key]:
            raise UsageError(
                f"{folder} was prepared with {key}={form.get(key)!r} and config.data.{key} is {data[key]!r}: "
                "change the key, or prepare under another config.data.name"
            )
    return Dataset(folder, class_names, Statistics.load(folder / "statistics.npz"), form)


def epoch_order(size: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of `size` records in one epoch, int32 (size,); 40 ms for ImageNet's 1.28 million.

    numpy's frozen generator: its numbers are promised never to change between versions, so that a run can
    be taken up again after an upgrade. (grain's index shuffle costs 12 us a record, a twentieth of what
    decoding does, and is not quite uniform.)
    """
    return np.random.RandomState([seed, epoch]).permutation(np.arange(size, dtype=np.int32))


def record_indices(size: int, seed: int, batch_size: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Epoch and record index of each row of a batch.

    Args:
      size: records in the split.
      seed: the config's.
      batch_size: B.
      batch: the batch's number, from 0 over all epochs.

    Returns:
      int64 (B,) and (B,).
    """
    return _indices(size, batch_size, batch, lambda epoch: epoch_order(size, seed, epoch))


def _indices(size: int, batch_size: int, batch: int, order: Any) -> tuple[np.ndarray, np.ndarray]:
    positions = np.arange(batch * batch_size, (batch + 1) * batch_size)
    epochs, places = positions // size, positions % size
    indices = np.empty_like(places)
    for epoch in range(epochs[0], epochs[-1] + 1):
        rows = epochs == epoch
        indices[rows] = order(epoch)[places[rows]]
    return epochs, indices


class _Decide(grain.transforms.Map):
    """A batch number to what the batch holds: records, crops, flips and lighting of this process's rows."""

    def __init__(self, dataset: Dataset, config: ConfigDict, size: int, rows: tuple[int, int]):
        self.statistics, self.data, self.seed = dataset.statistics, config.data, config.seed
        self.size, self.rows = size, rows
        self.orders: dict[int, np.ndarray] = {}  # of the epochs in use; grain's threads may both fill it

    def order(self, epoch: int) -> np.ndarray:
        found = self.orders.get(epoch)
        if found is None:
            found = epoch_order(self.size, self.seed, epoch)
            self.orders = {e: o for e, o in self.orders.items() if e == epoch - 1} | {epoch: found}
        return found

    def map(self, batch: int) -> dict[str, Any]:
        data, (low, high) = self.data, self.rows
        epochs, indices = _indices(self.size, data.batch_size, int(batch), self.order)
        epochs, indices = epochs[low:high], indices[low:high]
        positions = int(batch) * data.batch_size + np.arange(low, high)
        if data.crop_sharing > 1:
            groups = positions // data.crop_sharing
            place = augment.random_words(self.seed, augment.PLACE, np.zeros_like(groups), groups)
        else:
            place = augment.random_words(self.seed, augment.PLACE, epochs, indices)
        offset = np.full((high - low, 2), (data.size - data.crop) // 2, np.int32)
        if data.random_crop:
            offset = augment.crop_offsets(place, data.size, data.crop)
        lighting = np.zeros((high - low, data.channels), np.float32)
        scale = np.ones(high - low, np.float32)
        if data.lighting:
            lit = np.ones(high - low, bool)
            for start, end in data.lighting_off:
                lit &= (positions < start * self.size) | (positions >= end * self.size)
            colour = augment.random_words(self.seed, augment.COLOUR, epochs, indices)
            alpha = data.lighting * augment.normals(colour) * lit[:, np.newaxis]
            lighting = augment.lighting_offsets(alpha, self.statistics, data.lighting_form)
            scale[lit] = 1 / data.lighting_divisor
        return {
            "indices": indices,
            "offset": offset,
            "flip": augment.flips(place) if data.flip else np.zeros(high - low, bool),
            "lighting": lighting,
            "scale": scale,
            "weight": np.ones(high - low, np.float32),
        }


class _InOrder(grain.transforms.Map):
    """A batch number to the records of an evaluation batch; beyond the last one, rows of weight 0."""

    def __init__(self, size: int, batch_size: int, rows: tuple[int, int]):
        self.size, self.batch_size, self.rows = size, batch_size, rows

    def map(self, batch: int) -> dict[str, Any]:
        low, high = self.rows
        indices = int(batch) * self.batch_size + np.arange(low, high)
        return {"indices": indices, "weight": (indices < self.size).astype(np.float32)}


class _Memory:
    """Arrays of one size whose memory is used again when nobody holds them or a view of them any more.

    Fresh memory has to be cleared by the kernel, which costs a tenth of what decoding does.
    """

    def __init__(self) -> None:
        self.free: list[bytearray] = []  # its append and pop are whole for all threads

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """An array of uint8 that is not cleared."""
        memory = self.free.pop() if self.free else bytearray(math.prod(shape))
        array = np.frombuffer(memory, np.uint8)  # every view of it keeps this very object
        weakref.finalize(array, self.free.append, memory).atexit = False
        return array.reshape(shape)


class _Read(grain.transforms.Map):
    """Reads and decodes the records of a batch and copies their crops, on all threads, into one array."""

    def __init__(self, records: Records, data: ConfigDict, side: int, threads: int):
        self.records, self.data, self.side, self.threads = records, data, side, threads

    def __getstate__(self) -> dict[str, Any]:
        travels = ("records", "data", "side", "threads")  # to a worker process; threads do not
        return {name: self.__dict__[name] for name in travels}

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, "read")

    @cached_property
    def own(self) -> threading.local:
        return threading.local()

    @cached_property
    def memory(self) -> _Memory:
        return _Memory()

    def map(self, decided: dict[str, Any]) -> Batch:
        indices, weight = decided.pop("indices"), decided["weight"]
        offset = decided.get("offset", np.zeros((len(indices), 2), np.int32))
        image = self.memory.empty((len(indices), self.side, self.side, self.data.channels))
        label = np.zeros(len(indices), np.int32)

        def fill(start: int) -> None:
            buffer = getattr(self.own, "buffer", None)
            if buffer is None:
                buffer = np.empty((self.data.size, self.data.size, self.data.channels), np.uint8)
                self.own.buffer = buffer
            for row in range(start, min(start + PART, len(indices))):
                if not weight[row]:
                    image[row] = 0
                    continue
                record, label[row], name = self.records.read(int(indices[row]))
                top, left = offset[row]
                pixels = decode(record, self.data.format, buffer, name)
                image[row] = pixels[top : top + self.side, left : left + self.side]

        for _ in self.pool.map(fill, range(0, len(indices), PART)):
            pass  # an error in any part is raised here
        return {"image": image, "label": label, **decided}


def decode(record: bytes, form: str, buffer: np.ndarray, name: str) -> np.ndarray:
    """The pixels of a record, uint8 (S, S, C); a JPEG is decoded into `buffer`.

    simplejpeg decodes without Python's lock, so that threads are enough, and to the very pixels that Pillow
    gives. (Its fast DCT saves 3 % of the time and is off by 1.2 grey levels on average, 19 at most.)

    Raises:
      RunFailure: the record `name` is no picture of the buffer's shape.
    """
    try:
        if form == "raw":
            return np.frombuffer(record, np.uint8).reshape(buffer.shape)
        colour = "RGB" if buffer.shape[2] == 3 else "GRAY"
        try:
            pixels = simplejpeg.decode_jpeg(record, colour, buffer=buffer)
        except ValueError:  # a JPEG that libjpeg-turbo does not convert, or none at all
            with Image.open(io.BytesIO(record)) as image:
                pixels = np.atleast_3d(np.asarray(image.convert("RGB" if colour == "RGB" else "L")))
        if pixels.shape != buffer.shape:
            raise ValueError(f"it has the shape {pixels.shape}, not {buffer.shape}")
        return pixels
    except (OSError, ValueError, SyntaxError) as error:
        raise RunFailure(
            f"the record of {name} cannot be decoded: {error}; prepare the data again"
        ) from error


def workers_of(data: ConfigDict, pictures: int) -> int:
    """How many processes read training pictures beside this one: `config.data.workers`, 0 for threads alone.

    Its -1 is none on a CPU. Beside an accelerator it is one for four cores, at most eight and as many as
    shared memory has room for: threads alone share Python's lock with the loop that feeds the device (16
    cores and an H100: 5,000 pictures/s, 16,000 from four processes).

    Args:
      data: the config's.
      pictures: of a batch in this process.

    Raises:
      UsageError: more processes are asked for than shared memory has room for.
    """
    each = IN_SHARED * pictures * data.crop**2 * data.channels
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else sys.maxsize
    if data.workers >= 0:
        if data.workers * each > free:
            raise UsageError(
                f"config.data.workers={data.workers}: their batches need {data.workers * each / 1e6:,.0f} MB "
                f"of {SHARED_MEMORY}, where {free / 1e6:,.0f} MB are free: give it more (docker run "
                "--shm-size=) or set config.data.workers=0"
            )
        return data.workers
    import jax  # not in the processes that read

    if jax.default_backend() == "cpu":
        return 0
    return min(len(os.sched_getaffinity(0)) // 4, MOST_WORKERS, free // each)


def threads_of(data: ConfigDict, workers: int = 0) -> int:
    """How many threads each of `workers` processes has: `config.data.threads`, or one for each core."""
    return data.threads or max(len(os.sched_getaffinity(0)) // max(workers, 1), 1)


def training_batches(
    dataset: Dataset, config: ConfigDict, *, first_batch: int, last_batch: int, rows: tuple[int, int]
) -> Batches:
    """Training batches `first_batch` to `last_batch` - 1.

    Args:
      dataset: what `open_dataset` gave.
      config: the run's.
      first_batch: where to start; the batches are those that would have come.
      last_batch: where to end.
      rows: first and last + 1 of the rows of each global batch that this process loads.

    Returns:
      An iterator over {'image' uint8 (b, crop, crop, C), 'label' int32 (b,), 'flip' bool (b,), 'offset'
      int32 (b, 2) top and left of the crop, 'lighting' float32 (b, C) grey levels, 'scale' float32 (b,),
      'weight' float32 (b,)}. It raises RunFailure for a damaged record.

    Raises:
      UsageError: as `workers_of`.
    """
    workers = workers_of(config.data, rows[1] - rows[0])
    records = dataset.records(config.data.train_split)
    decided = grain.MapDataset.range(first_batch, last_batch).map(
        _Decide(dataset, config, len(records), rows)
    )
    return _batches(decided, records, config.data, config.data.crop, rows, workers)


def evaluation_batches(dataset: Dataset, split: str, config: ConfigDict, *, rows: tuple[int, int]) -> Batches:
    """Every record of `split` once, in order, as whole pictures; read by threads, soon over.

    Returns:
      An iterator over {'image' uint8 (b, S, S, C), 'label' int32 (b,), 'weight' float32 (b,)}; the last
      batch is filled with pictures of weight 0. It raises RunFailure for a damaged record.
    """
    records, batch_size = dataset.records(split), config.evaluate.batch_size
    count = -(-len(records) // batch_size)
    decided = grain.MapDataset.range(count).map(_InOrder(len(records), batch_size, rows))
    return _batches(decided, records, config.data, config.data.size, rows)


def _in_worker(number: int, workers: int) -> None:
    """A process that reads lives as long as the one that it reads for, which alone hears signals.

    A signal to all of a job would take from a run the batches with which it ends in order; and a process
    whose parent was killed would wait for ever.
    """
    for told in (signal.SIGINT, signal.SIGTERM):
        signal.signal(told, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _batches(
    decided: grain.MapDataset,
    records: Records,
    data: ConfigDict,
    side: int,
    rows: tuple[int, int],
    workers: int = 0,
) -> Any:
    threads = threads_of(data, workers)
    # So many batches are filled at once that no thread waits for the last part of one.
    filling = 1 + -(-2 * threads * PART // max(rows[1] - rows[0], 1))
    options = grain.ReadOptions(num_threads=filling, prefetch_buffer_size=filling + READY)
    iterable = decided.map(_Read(records, data, side, threads)).to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():  # grain reads flags, which only absl's programs have parsed
            flags.FLAGS.mark_as_parsed()
        pictures_alone = grain.experimental.DatasetOptions(min_shm_size=SHARED)
        iterable = grain.experimental.WithOptionsIterDataset(iterable, pictures_alone)
        iterable = iterable.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=READY),
            worker_init_fn=_in_worker,
        )
    return iter(iterable)
