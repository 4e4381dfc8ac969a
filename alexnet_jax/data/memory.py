"""The memory that decoded images may take: one budget for all threads, and for all processes of `prepare`.

An encoded image of some kilobytes can be a gigabyte of pixels. Who decodes reserves what it will take, and
waits until others have released theirs.
"""

import contextlib
import threading
from collections.abc import Iterator
from multiprocessing.context import BaseContext

# One image of 12,000 x 8,000 pixels fits in every form (10 bytes a pixel: a progressive JPEG without chroma
# subsampling, one strip of a compressed 16-bit TIFF), and all of them together stay below 1 GiB.
BUDGET = 960 * 2**20  # bytes
_UNIT = 4 * 2**20  # bytes; a photograph of a megapixel is one


class MemoryBudget:
    """`BUDGET` bytes that threads share, or processes.

    Args:
      context: None for the threads of this process; that of `multiprocessing` for processes that are given
        the budget as they start.
    """

    def __init__(self, context: BaseContext | None = None):
        maker = threading if context is None else context
        self._turn = maker.Lock()
        self._free = maker.Semaphore(BUDGET // _UNIT)

    @contextlib.contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Hold `size` bytes while the block runs, at most all; wait until they are free.

        One waits at a time, in front of the others: so a large image is not passed by small ones for ever,
        and no two wait for what the other holds. A block that reserves again would wait for itself.
        """
        held, needed = 0, min(-(-size // _UNIT), BUDGET // _UNIT)
        try:
            with self._turn:
                while held < needed:
                    self._free.acquire()
                    held += 1
            yield
        finally:
            for _ in range(held):
                self._free.release()


_of_this_process = MemoryBudget()


def share(budget: MemoryBudget) -> None:
    """Make this process reserve from a budget that it has in common with others."""
    global _of_this_process
    _of_this_process = budget


def reserve(size: int) -> contextlib.AbstractContextManager[None]:
    """Reserve from this process's budget, as `MemoryBudget.reserve`."""
    return _of_this_process.reserve(size)
