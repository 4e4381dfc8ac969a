"""Records of several files against array_record's own data source."""

import pickle
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_record.python import array_record_module
from array_record.python.array_record_data_source import ArrayRecordDataSource

from alexnet_jax.data.sharded_records import Part, ShardedRecords
from alexnet_jax.errors import RunFailure


def write(path: Path, lengths: list[int], options: str = "group_size:1,uncompressed") -> Path:
    """Write records of these lengths, each with content of its own."""
    writer = array_record_module.ArrayRecordWriter(str(path), options)
    random = np.random.default_rng(len(lengths))
    for length in lengths:
        writer.write(random.bytes(length))
    writer.close()
    return path


@pytest.fixture
def parts(tmp_path: Path) -> list[Part]:
    first = write(tmp_path / "first", [0, 1, 70_000, 5, 300])
    second = write(tmp_path / "second", [40, 2, 7], "group_size:2")  # as no more than TFDS's oldest have
    return [Part(str(first), 1, 4), Part(str(second), 0, 3), Part(str(first), 0, 0), Part(str(first), 2, 3)]


def oracle(parts: list[Part]) -> list[bytes]:
    return list(ArrayRecordDataSource([f"{part.filename}[{part.start}:{part.end}]" for part in parts]))


def test_the_records_of_parts_of_files(parts: list[Part]) -> None:
    records = ShardedRecords(parts)
    assert len(records) == 7
    assert list(records) == oracle(parts)
    assert [records[index] for index in (6, 0, 3)] == [oracle(parts)[index] for index in (6, 0, 3)]
    assert list(pickle.loads(pickle.dumps(records))) == oracle(parts)


@pytest.mark.parametrize("index", [-1, 7, 10**12])
def test_there_are_no_others(parts: list[Part], index: int) -> None:
    with pytest.raises(IndexError):
        ShardedRecords(parts)[index]
    assert len(ShardedRecords([])) == 0


def test_many_threads_read_at_once(parts: list[Part]) -> None:
    expected = oracle(parts)
    for _ in range(20):
        records = ShardedRecords(parts)
        asked = np.random.default_rng(0).integers(0, len(expected), 200).tolist()
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(records.__getitem__, asked)) == [expected[index] for index in asked]


def _spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\x05" * 9, b"\x06" * 9))


@pytest.mark.parametrize(
    ("spoil", "error"), [(Path.unlink, "holds 0 records, not 1"), (_spoil, "Corrupted Riegeli/records file")]
)
def test_a_file_that_is_gone_or_damaged(tmp_path: Path, spoil: Callable[[Path], None], error: str) -> None:
    path = tmp_path / "file"
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    writer.write(b"\x05" * 100)
    writer.close()
    assert ShardedRecords([Part(str(path), 0, 1)])[0] == b"\x05" * 100
    spoil(path)
    with pytest.raises((RuntimeError, ValueError), match=error):
        ShardedRecords([Part(str(path), 0, 1)])[0]


LIMITED = """
import resource, sys
from alexnet_jax.data.sharded_records import Part, ShardedRecords
from alexnet_jax.errors import RunFailure

pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 200 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    ShardedRecords([Part(sys.argv[1], 0, 1)])[0]
except RunFailure as error:
    print(error)
"""


def test_without_room_for_array_records_threads_it_fails_and_does_not_hang(parts: list[Part]) -> None:
    """Its pool, as it cannot start all of its threads, waits for ever for the others."""
    arguments = [sys.executable, "-c", LIMITED, parts[0].filename]
    root = Path(__file__).parents[2]
    done = subprocess.run(arguments, cwd=root, capture_output=True, text=True, timeout=60)
    assert re.fullmatch(
        r"reading records needs 64 threads, and only \d+ can be started: allow this process more memory "
        r"\(ulimit -v\) or threads \(ulimit -u, the container's limit of processes\)\n",
        done.stdout,
    ), done


def test_a_file_that_cannot_be_opened_is_not_called_damaged(parts: list[Part]) -> None:
    """Too few files may be open: who is told of damage removes what is whole."""
    records = ShardedRecords(parts)
    records[0]  # array_record's threads are there
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(RunFailure, match=r"/second cannot be read: Too many open files"):
            records[3]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert records[3] == oracle(parts)[3]
    with pytest.raises(ValueError, match="holds 0 records"):
        ShardedRecords([Part(f"{parts[0].filename}.gone", 0, 1)])[0]


def test_nor_is_one_whose_place_was_taken_meanwhile(
    parts: list[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread opens the last file that may be open, right before array_record does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    class Empty:
        def __init__(self, *arguments: object, **options: object) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))

        def num_records(self) -> int:
            return 0

    monkeypatch.setattr(array_record_module, "ArrayRecordReader", Empty)
    try:
        with pytest.raises(RunFailure, match=r"/first cannot be read: Too many open files"):
            ShardedRecords(parts)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_threads_that_begin_together_open_a_file_once(
    parts: list[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real, expected = [], array_record_module.ArrayRecordReader, oracle(parts)[0]

    def open_slowly(name: str, *arguments: Any, **options: Any) -> Any:
        opened.append(name)
        time.sleep(0.05)
        return real(name, *arguments, **options)

    monkeypatch.setattr(array_record_module, "ArrayRecordReader", open_slowly)
    records = ShardedRecords(parts)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(records.__getitem__, [0] * 4)) == [expected] * 4
    assert opened == [parts[0].filename]
