"""How many threads and processes read training images, and how such a process lives and ends."""

import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import grain
from absl import flags
from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError

MAX_WORKERS = 8  # that a run starts unasked
PREFETCH_BATCHES = 2  # finished batches that may wait for the consumer, here and in each worker
MIN_SHM_BYTES = 2**16  # from which an array comes from a worker in shared memory, not through a pipe
SHM_BATCHES_PER_WORKER = 7  # that lie in shared memory at once, at most
SHM_FOLDER = Path("/dev/shm")


def worker_count(data: ConfigDict, images: int) -> int:
    """Return how many processes read training images; 0 where the threads of this process do.

    It is `config.data.workers`. Its -1 means none on a CPU; with an accelerator it means one for four
    cores, at most eight and as many as shared memory has room for, since threads alone share Python's lock
    with the loop that feeds the device.

    Args:
      data: `config.data`.
      images: rows of a batch that this process loads.

    Raises:
      UsageError: more processes are asked for than shared memory has room for.
    """
    each = SHM_BATCHES_PER_WORKER * images * data.crop**2 * data.channels
    free = sys.maxsize
    if SHM_FOLDER.is_dir():
        free = shutil.disk_usage(SHM_FOLDER).free if os.access(SHM_FOLDER, os.W_OK) else 0
    asked = int(data.workers)
    if asked >= 0:
        if asked * each > free:
            raise UsageError(
                f"config.data.workers={asked}: their batches need {asked * each / 1e6:,.0f} MB "
                f"of {SHM_FOLDER}, where {free / 1e6:,.0f} MB are free: give it more (docker run "
                "--shm-size=) or set config.data.workers=0"
            )
        return asked
    import jax  # not in the workers

    if jax.default_backend() == "cpu":
        return 0
    return min(len(os.sched_getaffinity(0)) // 4, MAX_WORKERS, int(free // each))


def thread_count(data: ConfigDict, workers: int = 0) -> int:
    """Return the threads of each of `workers` processes: `config.data.threads`, or one for each core."""
    return int(data.threads) or max(len(os.sched_getaffinity(0)) // max(workers, 1), 1)


def in_processes(dataset: grain.IterDataset, workers: int) -> grain.IterDataset:
    """Return `dataset` with its elements, unchanged and in their order, computed in `workers` processes."""
    if not flags.FLAGS.is_parsed():  # grain reads flags, which only absl's programs have parsed
        flags.FLAGS.mark_as_parsed()
    images_alone = grain.experimental.DatasetOptions(min_shm_size=MIN_SHM_BYTES)
    return grain.experimental.WithOptionsIterDataset(dataset, images_alone).mp_prefetch(
        grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=PREFETCH_BATCHES),
        worker_init_fn=_init_worker,
    )


def _init_worker(number: int, workers: int) -> None:
    """Make a worker ignore signals and end with its parent.

    A signal to all of a job would take from a run the batches with which it ends in order; and a worker
    whose parent was killed would wait for ever.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
