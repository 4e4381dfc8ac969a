"""The process and its machine: compiled programs on disk, malloc's heap, processor and versions."""

import atexit
import ctypes
import importlib.util
import os
import platform
import stat
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

from alexnet_jax.errors import RunFailure, UsageError

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_MADV_HUGEPAGE = 14
LEAVE_SECONDS = 5.0  # for which a failed program waits for the threads of libraries


def user_cache(part: str = "") -> Path:
    """Return the folder for what is kept between starts, or a part of it; make it where it is missing.

    `$XDG_CACHE_HOME/alexnet_jax` or `~/.cache/alexnet_jax`. Compiled programs that are loaded from it are
    executed, so it must belong to this user, who alone may write there.

    Raises:
      UsageError: the folder is another's, others may write there, or it cannot be made.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The XDG specification has relative paths ignored.
        folder = (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "alexnet_jax"
    except RuntimeError:
        raise UsageError("this user has no home folder for the cache: set HOME, or XDG_CACHE_HOME") from None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise UsageError(f"the cache {folder} cannot be used: {error.strerror}") from None
    wrong = ""
    if not stat.S_ISDIR(status.st_mode):
        wrong = "is not a folder"
    elif status.st_uid != os.geteuid():
        wrong = "belongs to another user"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        wrong = "may be written by others: chmod 700 makes it private"
    if wrong:
        raise UsageError(f"the cache {folder} {wrong}")
    try:
        (folder / part).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the cache {folder / part} cannot be used: {error.strerror}") from None
    return folder / part


def compilation_cache() -> str | None:
    """Return the folder in which compiled programs are kept between starts, `user_cache`.

    None when `$JAX_COMPILATION_CACHE_DIR` is set: JAX reads that by itself.

    Raises:
      UsageError: as `user_cache`.
    """
    return None if "JAX_COMPILATION_CACHE_DIR" in os.environ else str(user_cache())


def retain_malloc_heap() -> bool:
    """Keep freed memory in this process, in huge pages where the kernel gives them.

    XLA takes the temporary memory of a step on a CPU from malloc, gigabytes in one piece, and gives it
    back at the step's end. glibc asks the kernel for such a piece anew each time, so that every page of it
    is faulted in and zeroed at every step. Call it before the process has threads.

    Returns:
      Whether it was done: on a machine without accelerators, with glibc.
    """
    if os.environ.get("JAX_PLATFORMS") != "cpu" and (
        metadata.entry_points(group="jax_plugins") or importlib.util.find_spec("libtpu")
    ):
        return False
    libc = ctypes.CDLL(None)
    try:
        # From one heap that never shrinks, shared by all threads.
        settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1))
        if not all(libc.mallopt(name, value) for name, value in settings):
            return False
    except AttributeError:  # another C library
        return False
    # Addresses for half of the memory, so that they can be marked as one range; none of it is used yet.
    page = os.sysconf("SC_PAGE_SIZE")
    size = page * (os.sysconf("SC_PHYS_PAGES") // 2)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start = libc.malloc(size)
    if start:
        libc.free(start)
        first = -(-start // page) * page
        libc.madvise(first, size - page, _MADV_HUGEPAGE)
    return True


def host() -> str:
    """Return this machine's processor and how many of its cores this process may use."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass  # not Linux: the platform's own name stands
    return f"{model}, {cores()} core{'s' if cores() > 1 else ''}"


def cores() -> int:
    """Return how many cores this process may use; XLA has as many threads."""
    return len(os.sched_getaffinity(0))


def check_threads(count: int, what: str) -> None:
    """Check that this process may have so many threads more, by having them for a moment.

    A pool of threads in C++ that cannot start all of its own waits for ever for those that it has started.

    Args:
      count: of threads.
      what: needs them, for the message.

    Raises:
      RunFailure: the address space (ulimit -v) or the number of threads (ulimit -u, a container's limit of
        processes) does not allow them.
    """
    ended = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=ended.wait)
            thread.start()
            started.append(thread)
    except (RuntimeError, MemoryError) as error:
        raise RunFailure(
            f"{what} needs {count} threads, and only {len(started)} can be started: allow this process more "
            "memory (ulimit -v) or threads (ulimit -u, the container's limit of processes)"
        ) from error
    finally:
        ended.set()
        for thread in started:
            thread.join()


def leave(code: object) -> None:
    """End the process with an exit code after a failure, even where threads of libraries wait for ever.

    Python waits for them, and those of an Orbax save that failed wait ten minutes for each other. Return
    where all have ended within `LEAVE_SECONDS`, and where `code`, of a SystemExit, is of no failure.
    """
    if not isinstance(code, int) or not code:
        return
    until = time.monotonic() + LEAVE_SECONDS
    while any(not each.daemon and each is not threading.current_thread() for each in threading.enumerate()):
        if time.monotonic() < until:  # not by `join`, which raises in Orbax's threads what they met
            time.sleep(0.05)
            continue
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
        finally:  # what cannot be cleaned up, without files for example, is left
            os._exit(code)


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of those `packages` that are installed."""
    installed = {"python": platform.python_version()}
    for package in packages:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed
