"""Records of several array_record files as one sequence, read in any order."""

import functools
import threading
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from array_record.python import array_record_module

from alexnet_jax.errors import RunFailure
from alexnet_jax.runtime import check_threads

# Nothing is read ahead, as records are asked for in any order.
READER = "readahead_buffer_size:0"
BUFFER_BYTES = 2**15  # of a read from the file, at most
POOL_THREADS = 64  # that array_record starts with a process's first reader


class Part(NamedTuple):
    """Consecutive records of a file: `start` to `end` - 1."""

    filename: str
    start: int
    end: int


class ShardedRecords(Sequence[bytes]):
    """Read the records of `parts`, one after the other, for many threads at once; can be pickled.

    It is array_record's `ArrayRecordDataSource` but for this: that asks a reader for a list of records, for
    which the reader goes through all of its file at each call; here it is asked for a range.

    Args:
      parts: of array_record files, which are opened when something is read of them.
    """

    def __init__(self, parts: Sequence[Part]):
        self._parts = parts
        self._ends = list(accumulate(part.end - part.start for part in parts))
        self._readers: dict[int, Any] = {}
        self._opening = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:  # another process opens the files itself
        return ShardedRecords, (self._parts,)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Any:
        """Return a record, without Python's lock meanwhile.

        Raises:
          IndexError: there are not so many.
          ValueError: a file holds fewer.
          RunFailure: the file is there and cannot be opened, or this process may not have the threads of
            array_record's pool.
          Exception: whatever array_record raises for a damaged file.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} records, from 0: {index}")
        number = bisect_right(self._ends, index)
        reader = self._readers.get(number)
        if reader is None:
            with self._opening:  # two threads at once would need two files for one
                reader = self._readers.get(number)
                reader = self._open(number) if reader is None else reader
        position = self._parts[number].end - self._ends[number] + index
        return reader.read(position, position + 1)[0]

    def _open(self, number: int) -> Any:
        part = self._parts[number]
        _check_pool()
        _check_opens(part.filename)
        reader = array_record_module.ArrayRecordReader(
            part.filename, READER, file_reader_buffer_size=BUFFER_BYTES
        )
        if reader.num_records() < part.end:  # 0 where it cannot be read
            _check_opens(part.filename)  # what else this process opens may have taken the last one meanwhile
            raise ValueError(f"{part.filename} holds {reader.num_records():,} records, not {part.end:,}")
        self._readers[number] = reader
        return reader


@functools.cache
def _check_pool() -> None:
    """Check, before the first reader, that array_record's pool does not hang as it starts."""
    check_threads(POOL_THREADS, "reading records")


def _check_opens(path: str) -> None:
    """Raise RunFailure for a file that is there and cannot be opened: array_record takes it for empty."""
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunFailure(f"{path} cannot be read: {error.strerror}") from error
