"""How fast the input is, against decoding alone, tf.data and torch's DataLoader, on the same records.

All take images from one prepared training split, in random order, and give uint8 batches of random
crops. Everyone decodes the whole JPEG with the exact DCT and crops after it, except where a row says
otherwise; this pipeline leaves the flip to the device, so the peers are timed without it and with it.
Everyone runs without end; a run first drains the buffers that filled before it, then times batches.
"""

import contextlib
import importlib.util
import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax import runtime
from alexnet_jax.benchmark import timing
from alexnet_jax.benchmark.timing import UNIT, Row
from alexnet_jax.config import resolve
from alexnet_jax.data import pipeline, prepare
from alexnet_jax.data.images import BadImage
from alexnet_jax.data.records import Dataset, Records, decode, open_dataset
from alexnet_jax.data.shards import RecordFormat
from alexnet_jax.data.sources.detect import open_source
from alexnet_jax.data.tfds_layout import dataset_folder, is_prepared
from alexnet_jax.data.workers import thread_count
from alexnet_jax.errors import UsageError

MAX_IMAGES = 4096  # of the split, at most: those that everyone reads
DRAIN = 10  # batches, more than anyone has ready
TIMED = 24  # batches of a run
SETTLE = 1.0  # seconds after a run in which its buffers fill again, so that they do not slow the next one
ENDLESS = 10**9  # batches
TORCH_WORKERS = 2


def run(config: ConfigDict, source: str, output: Path) -> None:
    """Measure, print the table and write benchmark.json: `benchmark input`.

    With a source, preparation is measured too, and the dataset is prepared first where it is not there.
    """
    if source and not is_prepared(config.data):
        prepare.prepare(config, source)
    rows = measure(config)
    if source:
        rows += measure_prepare(config, source)
    missing = [package for package in ("tensorflow", "torch") if importlib.util.find_spec(package) is None]
    timing.report(output, rows, [f"{package} is not installed: not compared" for package in missing])


def measure(config: ConfigDict, runs: int = 5, workers: int = 2) -> list[Row]:
    """Measure the input on prepared data.

    Args:
      config: of a dataset with JPEG records.
      runs: counted runs of each contestant, alternating.
      workers: processes of this pipeline in processes; torch has two, as is its custom here.

    Returns:
      Objects of benchmark.json: input.vs_decode, input.processes.vs_decode, and where tensorflow and
      torch are installed input.vs_tf_data, input.vs_tf_data_flip, input.vs_tf_data_partial (which
      decodes little more than the crop), input.vs_torch_dataloader (decoding by Pillow, as torchvision does),
      input.vs_torch_dataloader_flip, input.vs_torch_dataloader_simplejpeg (with our decoder).

    Raises:
      UsageError: the dataset is not there, or its records are raw.
    """
    if config.data.format != "jpeg":
        raise UsageError("benchmark input compares JPEG decoding; config.data.format is 'raw'")
    dataset = open_dataset(config.data)
    whole = config.data.train_split.split("[")[0]
    split = f"{whole}[:{min(dataset.size(whole), MAX_IMAGES)}]"
    config = resolve.replace(config, {"data.train_split": split, "data.workers": 0})
    threads = thread_count(config.data)
    with contextlib.ExitStack() as stack:
        contestants = _ours(stack, dataset, config, threads, workers)
        contestants |= _peers(stack, dataset.records(split), config.data, threads)
        rates = timing.alternate("benchmark input", contestants, runs)

    packages = ("numpy", "simplejpeg", "grain", "tensorflow-datasets", "tensorflow", "torch")
    row = partial(timing.row, timing.measured_on(runtime.host(), *packages))
    cores, torch = f"{threads} threads", f"torch DataLoader, {TORCH_WORKERS} workers"
    peers = {
        "input.vs_decode": ("ours", "decode", f"decoding alone, {cores}"),
        "input.processes.vs_decode": ("ours, processes", "decode", f"decoding alone, {cores}"),
        "input.vs_tf_data": ("ours", "tf.data", f"tf.data, {cores}"),
        "input.vs_tf_data_flip": ("ours", "tf.data, flip", f"tf.data with flip, {cores}"),
        "input.vs_tf_data_partial": ("ours", "tf.data, partial", f"tf.data decoding the crop alone, {cores}"),
        "input.vs_torch_dataloader": ("ours", "torch", f"{torch}, Pillow"),
        "input.vs_torch_dataloader_flip": ("ours", "torch, flip", f"{torch}, Pillow, with flip"),
        "input.vs_torch_dataloader_simplejpeg": ("ours", "torch, simplejpeg", f"{torch}, our decoder"),
    }
    return [
        row(name, UNIT, rates[ours], words, rates[peer])
        for name, (ours, peer, words) in peers.items()
        if peer in rates
    ]


Contestants = dict[str, Callable[[], float]]


def _ours(
    stack: contextlib.ExitStack, dataset: Dataset, config: ConfigDict, threads: int, workers: int
) -> Contestants:
    """Return this pipeline, in threads and in processes, and decoding alone."""
    batch_size = config.data.batch_size
    contestants = {"decode": _decoder(stack, dataset.records(config.data.train_split), config.data, threads)}
    in_processes = resolve.replace(config, {"data.workers": workers})
    for name, settings in (("ours", config), ("ours, processes", in_processes)):
        batches = pipeline.training_batches(
            dataset, settings.data, settings.seed, first_batch=0, last_batch=ENDLESS, rows=(0, batch_size)
        )
        stack.callback(batches.close)
        contestants[name] = _timed(batches, batch_size)
    return contestants


def _peers(stack: contextlib.ExitStack, records: Records, data: ConfigDict, threads: int) -> Contestants:
    """Return tf.data and torch's DataLoader, where they are installed."""
    contestants: Contestants = {}
    data = ConfigDict(data.to_dict())  # other processes get it, and a frozen one would arrive empty
    if importlib.util.find_spec("tensorflow"):
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = _write_tfrecords(records, Path(folder))
        for name, partly, flip in (("", False, False), (", flip", False, True), (", partial", True, False)):
            arguments = path, data, threads, partly, flip
            pipe = stack.enter_context(timing.child_process(_serve_tf_data, *arguments))
            contestants[f"tf.data{name}"] = partial(_ask, pipe)
    if importlib.util.find_spec("torch"):
        for name, pillow, flip in (("", True, False), (", flip", True, True), (", simplejpeg", False, False)):
            batches = _torch(_TorchImages(records, data.crop, pillow, flip), data.batch_size)
            contestants[f"torch{name}"] = _timed(batches, data.batch_size)
    return contestants


def measure_prepare(config: ConfigDict, source: str, runs: int = 5) -> list[Row]:
    """Measure prepare.vs_parts: preparing `source` against decoding, scaling and encoding, on all cores."""
    images = [data for _, data in open_source(source).images()]
    cores = runtime.cores()
    record_format = RecordFormat.of(config.data)
    chunks = [(images[start : start + 64], record_format) for start in range(0, len(images), 64)]
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(cores, get_context("spawn")) as pool,
    ):
        elsewhere = resolve.replace(config, {"data.dir": folder})

        def whole() -> float:
            shutil.rmtree(dataset_folder(elsewhere.data), ignore_errors=True)
            started = time.perf_counter()
            prepare.prepare(elsewhere, source)
            return len(images) / (time.perf_counter() - started)

        def parts() -> float:
            return len(images) * cores / sum(pool.map(_parts, chunks))

        rates = timing.alternate("benchmark prepare", {"prepare": whole, "parts": parts}, runs)
    peer = f"decode, scale and encode alone, {cores} processes"
    packages = ("numpy", "pillow", "simplejpeg", "array_record", "tensorflow-datasets")
    where = timing.measured_on(runtime.host(), *packages)
    return [timing.row(where, "prepare.vs_parts", UNIT, rates["prepare"], peer, rates["parts"])]


def _parts(chunk: tuple[list[bytes], RecordFormat]) -> float:
    """Return the seconds that decoding, scaling and encoding some images take: one process's share."""
    images, record_format = chunk
    started = time.perf_counter()
    for data in images:
        with contextlib.suppress(BadImage):
            record_format.encode(data)
    return time.perf_counter() - started


def _timed(batches: Iterator[Any], batch_size: int) -> Callable[[], float]:
    """Return a contestant that reads an endless iterator: images a second once its buffers are drained."""

    def once() -> float:
        for _ in range(DRAIN):
            next(batches)
        started = time.perf_counter()
        for _ in range(TIMED):
            next(batches)
        rate = TIMED * batch_size / (time.perf_counter() - started)
        time.sleep(SETTLE)
        return rate

    return once


def _decoder(
    stack: contextlib.ExitStack, records: Records, data: ConfigDict, threads: int
) -> Callable[[], float]:
    """Return the ceiling: the same decoder calls on as many threads, JPEGs in memory, nothing kept.

    In random order too: images read one after the other would be in the processor's caches.
    """
    images = [records.read(index)[0] for index in range(len(records))]
    shuffled = np.random.RandomState(1).permutation(len(images)).tolist()
    pool = stack.enter_context(ThreadPoolExecutor(threads))
    total: int = TIMED * data.batch_size

    def part(first: int) -> None:
        buffer = records.new_buffer()
        for number in range(first, min(first + data.batch_size, total)):
            decode(images[shuffled[number % len(images)]], "jpeg", buffer, "")

    def once() -> float:
        started = time.perf_counter()
        list(pool.map(part, range(0, total, data.batch_size)))
        return total / (time.perf_counter() - started)

    return once


def _write_tfrecords(records: Records, folder: Path) -> Path:
    """Write the same examples in the format that tf.data reads."""
    import tensorflow as tf

    path = folder / "records"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index in range(len(records)):
            writer.write(records.source[index])
    return path


def _ask(pipe: Any) -> float:
    pipe.send(None)
    rate: float = pipe.recv()
    return rate


def _serve_tf_data(pipe: Any, path: Path, data: ConfigDict, *arguments: Any) -> None:
    """Measure `_tf_data` in a process of its own: in the parent its iterator hung when it was freed."""
    once = _timed(_tf_data(path, data, *arguments), data.batch_size)
    while True:
        pipe.recv()
        pipe.send(once())


def _tf_data(path: Path, data: ConfigDict, threads: int, partly: bool, flip: bool) -> Any:
    """Return batches of tf.data as its guide advises: parallel map, tuned by itself, on as many threads.

    `partly`: it decodes the crop alone.
    """
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    crop, channels = data.crop, data.channels

    def load(example: Any) -> dict[str, Any]:
        features = {
            "image": tf.io.FixedLenFeature((), tf.string),
            "label": tf.io.FixedLenFeature((), tf.int64),
        }
        parsed = tf.io.parse_single_example(example, features)
        top, left = tf.unstack(tf.random.uniform((2,), 0, data.size - crop + 1, tf.int32))
        if partly:
            window = tf.stack((top, left, crop, crop))
            image = tf.io.decode_and_crop_jpeg(
                parsed["image"], window, channels=channels, dct_method="INTEGER_ACCURATE"
            )
        else:
            whole = tf.io.decode_jpeg(parsed["image"], channels=channels, dct_method="INTEGER_ACCURATE")
            image = tf.slice(whole, (top, left, 0), (crop, crop, channels))
        if flip:
            image = tf.image.random_flip_left_right(image)
        image = tf.ensure_shape(image, (crop, crop, channels))
        return {"image": image, "label": tf.cast(parsed["label"], tf.int32)}

    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    batches = (
        tf.data.TFRecordDataset(str(path))
        .repeat()
        .shuffle(1024)
        .map(load, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(data.batch_size, drop_remainder=True)
        .prefetch(2)  # tuned by itself it grows beyond what a run drains and times
        .with_options(options)
    )
    return batches.as_numpy_iterator()


class _TorchImages:
    """What torch's DataLoader asks for: one image by its index."""

    def __init__(self, records: Records, crop: int, pillow: bool, flip: bool):
        self.records, self.crop, self.pillow, self.flip = records, crop, pillow, flip
        self.buffer = records.new_buffer()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if self.pillow:
            record, label, _ = self.records.read(index)
            with Image.open(io.BytesIO(record)) as image:
                whole = np.atleast_3d(np.asarray(image))
        else:
            whole, label = self.records.image(index, self.buffer)
        top, left = np.random.randint(0, len(whole) - self.crop + 1, 2)
        pixels = whole[top : top + self.crop, left : left + self.crop]
        if self.flip and np.random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(pixels), label


def _torch(found: Any, batch_size: int) -> Iterator[Any]:
    """Return torch's DataLoader with its usual settings; spawned workers, as this process has threads."""
    from torch.utils.data import DataLoader, RandomSampler

    sampler = RandomSampler(found, replacement=True, num_samples=ENDLESS)
    loader: Any = DataLoader(
        found,
        batch_size,
        sampler=sampler,
        num_workers=TORCH_WORKERS,
        multiprocessing_context="spawn",
    )
    return iter(loader)
