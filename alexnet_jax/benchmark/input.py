"""How fast the input is, against decoding alone, tf.data and torch's DataLoader, on the same records.

All take pictures from one prepared training split, in random order, and give uint8 batches of random
crops. Everyone decodes the whole JPEG with the exact DCT and crops after it, except where a row says
otherwise; this pipeline leaves the flip to the device, so the peers are timed without it and with it.
Everyone runs without end; a run first drains the buffers that filled before it, then times batches.
"""

import contextlib
import importlib.util
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.benchmark import timing
from alexnet_jax.data import pictures, pipeline, prepare, shards, sources
from alexnet_jax.errors import UsageError

PICTURES = 4096  # of the split, at most: those that everyone reads
DRAIN = 10  # batches, more than anyone has ready
TIMED = 24  # batches of a run
SETTLE = 1.0  # seconds after a run in which its buffers fill again, so that they do not slow the next one
ENDLESS = 10**9  # batches
TORCH_WORKERS = 2
UNIT = "images/s"


def run(config: ConfigDict, source: str, output: Path) -> None:
    """`benchmark input`: measures, prints the table, writes benchmark.json.

    With a source, preparation is measured too, and the dataset is prepared first where it is not there.
    """
    if source and not prepare.is_prepared(config.data):
        prepare.prepare(config, source)
    rows = measure(config)
    if source:
        rows += measure_prepare(config, source)
    timing.write(output, rows)
    print(timing.table(rows))
    for package in ("tensorflow", "torch"):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: not compared")
    print(f"written to {output}")


def measure(config: ConfigDict, runs: int = 5, workers: int = 2) -> list[dict[str, Any]]:
    """Rates of the input on prepared data.

    Args:
      config: of a dataset with JPEG records.
      runs: counted runs of each contestant, alternating.
      workers: processes of this pipeline's second form; torch has two, as is its custom here.

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
    config = config.copy_and_resolve_references()
    config.data.workers = 0
    dataset = pipeline.open_dataset(config.data)
    whole = config.data.train_split.split("[")[0]
    config.data.train_split = f"{whole}[:{min(dataset.size(whole), PICTURES)}]"
    records = dataset.records(config.data.train_split)
    batch_size, threads = config.data.batch_size, pipeline.threads_of(config.data)
    in_processes = config.copy_and_resolve_references()
    in_processes.data.workers = workers

    contestants: dict[str, Callable[[], float]] = {}
    with contextlib.ExitStack() as stack:
        contestants["decode"] = _decoder(stack, records, config.data, threads)
        for name, given in (("ours", config), ("ours, processes", in_processes)):
            batches = pipeline.training_batches(
                dataset, given, first_batch=0, last_batch=ENDLESS, rows=(0, batch_size)
            )
            stack.callback(batches.close)
            contestants[name] = _timed(batches, batch_size)
        if importlib.util.find_spec("tensorflow"):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = _write_tfrecords(records, Path(folder))
            for name, partial, flip in (
                ("tf.data", False, False),
                ("tf.data, flip", False, True),
                ("tf.data, partial", True, False),
            ):
                contestants[name] = _tf_data_process(stack, path, config, threads, partial, flip)
        if importlib.util.find_spec("torch"):
            for name, pillow, flip in (
                ("torch", True, False),
                ("torch, flip", True, True),
                ("torch, simplejpeg", False, False),
            ):
                contestants[name] = _timed(
                    _torch(_Pictures(records, config.data, pillow, flip), batch_size), batch_size
                )
        rates = timing.alternate("benchmark input", contestants, runs)

    versions = timing.versions("numpy", "simplejpeg", "grain", "tensorflow-datasets", "tensorflow", "torch")
    device = timing.host()
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
        timing.row(name, UNIT, rates[ours], words, rates[peer], device, versions)
        for name, (ours, peer, words) in peers.items()
        if peer in rates
    ]


def measure_prepare(config: ConfigDict, source: str, runs: int = 5) -> list[dict[str, Any]]:
    """prepare.vs_parts: preparing `source` against decoding, scaling and encoding alone, on all cores."""
    found = [picture.data for picture in sources.open_source(source).pictures()]
    cores = len(os.sched_getaffinity(0))
    data = config.data
    form = shards.Form(*(data[key] for key in shards.FORM))
    chunks = [(found[start : start + 64], form) for start in range(0, len(found), 64)]
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(cores, get_context("spawn")) as pool,
    ):
        given = config.copy_and_resolve_references()
        given.data.dir = folder

        def whole() -> float:
            shutil.rmtree(prepare.dataset_folder(given.data), ignore_errors=True)
            started = time.perf_counter()
            prepare.prepare(given, source)
            return len(found) / (time.perf_counter() - started)

        def parts() -> float:
            return len(found) * cores / sum(pool.map(_parts, chunks))

        rates = timing.alternate("benchmark prepare", {"prepare": whole, "parts": parts}, runs)
    peer = f"decode, scale and encode alone, {cores} processes"
    versions = timing.versions("numpy", "pillow", "simplejpeg", "array_record", "tensorflow-datasets")
    return [
        timing.row("prepare.vs_parts", UNIT, rates["prepare"], peer, rates["parts"], timing.host(), versions)
    ]


def _parts(chunk: tuple[list[bytes], shards.Form]) -> float:
    """A process's share: seconds that decoding, scaling and encoding these pictures take."""
    found, form = chunk
    started = time.perf_counter()
    for data in found:
        with contextlib.suppress(pictures.BadPicture):
            form.encode(data)
    return time.perf_counter() - started


def _timed(batches: Iterator[Any], batch_size: int) -> Callable[[], float]:
    """One run over an endless iterator: images a second once its buffers are drained."""

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
    stack: contextlib.ExitStack, records: pipeline.Records, data: ConfigDict, threads: int
) -> Callable[[], float]:
    """The ceiling: the same decoder calls on as many threads, JPEGs in memory, nothing kept.

    In random order too: pictures read one after the other would be in the processor's caches.
    """
    found = [records.read(index)[0] for index in range(len(records))]
    shuffled = np.random.RandomState(1).permutation(len(found)).tolist()
    pool = stack.enter_context(ThreadPoolExecutor(threads))
    total = TIMED * data.batch_size

    def part(first: int) -> None:
        buffer = np.empty((data.size, data.size, data.channels), np.uint8)
        for number in range(first, min(first + data.batch_size, total)):
            pipeline.decode(found[shuffled[number % len(found)]], "jpeg", buffer, "")

    def once() -> float:
        started = time.perf_counter()
        list(pool.map(part, range(0, total, data.batch_size)))
        return total / (time.perf_counter() - started)

    return once


def _write_tfrecords(records: pipeline.Records, folder: Path) -> Path:
    """The same examples in the form that tf.data reads."""
    import tensorflow as tf

    path = folder / "records"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index in range(len(records)):
            writer.write(records.source[index])
    return path


def _tf_data_process(stack: contextlib.ExitStack, *given: Any) -> Callable[[], float]:
    """`_tf_data` in a process of its own: in this one its iterator was seen to hang when it was freed."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve_tf_data, args=(there, *given), daemon=True)
    process.start()
    there.close()
    stack.callback(process.join)
    stack.callback(process.kill)

    def once() -> float:
        here.send(None)
        return here.recv()

    return once


def _serve_tf_data(pipe: Connection, path: Path, config: ConfigDict, *given: Any) -> None:
    once = _timed(_tf_data(path, config, *given), config.data.batch_size)
    while True:
        pipe.recv()
        pipe.send(once())


def _tf_data(
    path: Path, config: ConfigDict, threads: int, partial: bool, flip: bool
) -> Iterator[dict[str, np.ndarray]]:
    """tf.data as its guide advises: parallel map, tuned by itself, on as many threads; batches as numpy."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    size, crop, channels = config.data.size, config.data.crop, config.data.channels

    def load(example: Any) -> dict[str, Any]:
        features = {
            "image": tf.io.FixedLenFeature((), tf.string),
            "label": tf.io.FixedLenFeature((), tf.int64),
        }
        parsed = tf.io.parse_single_example(example, features)
        top, left = tf.unstack(tf.random.uniform((2,), 0, size - crop + 1, tf.int32))
        if partial:
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
        .batch(config.data.batch_size, drop_remainder=True)
        .prefetch(2)  # tuned by itself it grows beyond what a run drains and times
        .with_options(options)
    )
    return batches.as_numpy_iterator()


class _Pictures:
    """What torch's DataLoader asks for: one picture by its index."""

    def __init__(self, records: pipeline.Records, data: ConfigDict, pillow: bool, flip: bool):
        self.records, self.data, self.pillow, self.flip = records, data, pillow, flip
        self.buffer = np.empty((data.size, data.size, data.channels), np.uint8)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        record, label, name = self.records.read(index)
        if self.pillow:
            with Image.open(io.BytesIO(record)) as image:
                whole = np.atleast_3d(np.asarray(image))
        else:
            whole = pipeline.decode(record, "jpeg", self.buffer, name)
        crop = self.data.crop
        top, left = np.random.randint(0, self.data.size - crop + 1, 2)
        pixels = whole[top : top + crop, left : left + crop]
        if self.flip and np.random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(pixels), label


def _torch(found: _Pictures, batch_size: int) -> Iterator[Any]:
    """torch's DataLoader with its usual settings; spawned workers, as this process has threads."""
    from torch.utils.data import DataLoader, RandomSampler

    sampler = RandomSampler(found, replacement=True, num_samples=ENDLESS)
    loader: Any = DataLoader(
        found,  # type: ignore[arg-type]
        batch_size,
        sampler=sampler,
        num_workers=TORCH_WORKERS,
        multiprocessing_context="spawn",
    )
    return iter(loader)
