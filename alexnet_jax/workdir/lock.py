"""One run at a time in a workdir."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from alexnet_jax import files
from alexnet_jax.errors import UsageError
from alexnet_jax.workdir import layout


@contextlib.contextmanager
def lock(workdir: Path) -> Iterator[None]:
    """Hold a workdir for this run; make it where it is missing, and clear it of half-written files.

    The lock goes with the process, however it ends.

    Raises:
      UsageError: another run holds it, it cannot be written or locked, or it holds links.
    """
    try:
        files.check_files(workdir, written=True)
        workdir.mkdir(parents=True, exist_ok=True)
        file = (workdir / layout.LOCK).open("w")
    except OSError as error:
        raise UsageError(f"the workdir {workdir} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another run is using {workdir}: wait for it, or use another --workdir"
            ) from None
        except OSError as error:
            raise UsageError(
                f"the workdir {workdir} cannot be locked, so that two runs would spoil each other there: "
                f"{error.strerror}; use one on another file system"
            ) from error
        files.remove_partial(workdir)
        yield


def is_locked(workdir: Path) -> bool:
    """Return whether a run holds the workdir now."""
    try:
        with (workdir / layout.LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock there, or a file system without locks
        return False
    return False
