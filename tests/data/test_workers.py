"""Processes that read: how many there are, that they change nothing, and that they end with their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from ml_collections import ConfigDict, FrozenConfigDict

from alexnet_jax.data import workers
from alexnet_jax.errors import RunFailure, UsageError
from tests.data.toy import BATCH, CROP, assert_same, changed, config_for, training, write_dataset


@pytest.mark.parametrize("shared", [2**16, 0])  # small arrays through a pipe, and all in shared memory
def test_processes_do_not_matter(jpeg: ConfigDict, shared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when resumed in the middle of an epoch."""
    monkeypatch.setattr(workers, "MIN_SHM_BYTES", shared)
    assert_same(training(changed(jpeg, workers=2), 3), training(jpeg)[3:])


def test_processes_with_an_accelerator(jpeg: ConfigDict, monkeypatch: pytest.MonkeyPatch) -> None:
    cores, batch = 16, BATCH * CROP**2 * 3
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda process: set(range(cores)))
    default, three, none = (changed(jpeg, workers=count, threads=0).data for count in (-1, 3, 0))
    assert [workers.worker_count(data, BATCH) for data in (default, three, none)] == [0, 3, 0]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [workers.worker_count(data, BATCH) for data in (default, three, none)] == [4, 3, 0]
    assert workers.thread_count(default, 4) == 4
    cores = 200
    assert workers.worker_count(default, BATCH) == workers.MAX_WORKERS
    room = SimpleNamespace(free=2 * workers.SHM_BATCHES_PER_WORKER * batch)
    monkeypatch.setattr(workers.shutil, "disk_usage", lambda folder: room)
    assert workers.worker_count(default, BATCH) == 2
    with pytest.raises(UsageError, match=r"config.data.workers=3: .* /dev/shm, .* set config.data.workers=0"):
        training(changed(jpeg, workers=3))


def test_where_shared_memory_cannot_be_written_threads_read(
    jpeg: ConfigDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.os, "access", lambda folder, mode: folder != workers.SHM_FOLDER)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    default, one, none = (changed(jpeg, workers=count).data for count in (-1, 1, 0))
    assert [workers.worker_count(data, BATCH) for data in (default, none)] == [0, 0]
    with pytest.raises(UsageError, match=r"of /dev/shm, where 0 MB are free: .* set config.data.workers=0"):
        workers.worker_count(one, BATCH)


@pytest.mark.parametrize("count", [0, 1])
def test_corrupt_records_are_reported(tmp_path: Path, count: int) -> None:
    config = changed(config_for(tmp_path, "raw", 3), workers=count)
    folder = write_dataset(config)
    path = next(folder.glob("*train.array_record-00001*"))
    content = bytearray(path.read_bytes())
    for position in range(1000, 8000, 50):  # the rest of a small file is padding
        content[position] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(RunFailure, match=r"record \d+ of split 'train' of .* is damaged"):
        training(config)


def test_a_copy_of_a_frozen_config_reaches_the_processes(raw: ConfigDict) -> None:
    """ml_collections pickles it as an empty one."""
    frozen = FrozenConfigDict(changed(raw, workers=1)).copy_and_resolve_references()
    assert_same(training(frozen, last=2), training(raw, last=2))


@pytest.mark.parametrize(
    ("threads", "count", "want"), [(3, 0, 3), (3, 4, 3), (0, 0, 6), (0, 4, 1), (0, 9, 1)]
)
def test_threads(
    jpeg: ConfigDict, threads: int, count: int, want: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda process: set(range(6)))
    assert workers.thread_count(changed(jpeg, threads=threads).data, count) == want


def wait_in_worker(connection: int) -> None:
    workers._init_worker(0, 1)
    os.write(connection, f"{os.getpid()}\n".encode())
    time.sleep(100)


PARENT = """
import os, time
from multiprocessing import get_context
from tests.data.test_workers import wait_in_worker
process = get_context("fork").Process(target=wait_in_worker, args=(1,))
process.start()
process.join()
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_worker_ignores_signals_and_ends_with_its_parent() -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=root, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(worker, number)
            time.sleep(0.3)
            assert alive(worker)
            parent.kill()
            deadline = time.monotonic() + 10
            while alive(worker) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert not alive(worker)
        finally:
            parent.kill()
            if alive(worker):
                os.kill(worker, signal.SIGKILL)
