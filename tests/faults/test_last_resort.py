"""Runs that hang, each in another part of its work, and get a signal: the last resort ends them.

A hung run is a real process of which a part is replaced by a call that never comes back from C: no handler of
Python's runs there.
"""

import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.faults import injections
from tests.faults.injections import TERM, command, count, finish, hit

pytestmark = pytest.mark.slow

STALLED = 30.0 if injections.FULL else 4.0  # seconds; the program's own, or quicker
DRIVER = """
import ctypes, os, runpy, sys
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # what is compiled here hardly runs
from alexnet_jax import signals
signals.STALLED_SECONDS = {stalled}

def hang(*arguments, **options):
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    os.write(2, b"it hangs\\n")
    libc.pthread_mutex_lock(mutex)

def after(calls, function):
    made = []
    def replacement(*arguments, **options):
        made.append(None)
        return hang() if len(made) > calls else function(*arguments, **options)
    return replacement

{patch}
sys.argv[0] = "alexnet_jax"
runpy.run_module("alexnet_jax.main", run_name="__main__", alter_sys=True)
"""
# What hangs: how it is replaced, and what the command has besides.
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "start-up": (
        """
        from alexnet_jax.data import records
        records.open_dataset = hang
        """,
        (),
    ),
    "compilation": (
        """
        from alexnet_jax.training import loop
        loop.compiled_train_steps = hang
        """,
        (),
    ),
    "a step": (
        """
        from alexnet_jax.training import loop
        compiled = loop.compiled_train_steps
        loop.compiled_train_steps = lambda *arguments: after(7, compiled(*arguments))
        """,
        (),
    ),
    "evaluation": (
        """
        from alexnet_jax.evaluation import split
        split.evaluate_batches = hang
        """,
        (),
    ),
    "saving": (
        """
        from alexnet_jax.workdir import manifest
        manifest.write = hang
        """,
        (),
    ),
    "input": (
        """
        from alexnet_jax.data import pipeline
        batches = pipeline.training_batches

        def some(*arguments, **options):
            with contextlib.closing(batches(*arguments, **options)) as whole:
                for number, batch in enumerate(whole):
                    yield hang() if number == 9 else batch

        pipeline.training_batches = some
        """,
        ("--config.data.resident=never",),
    ),
}


def start(arguments: list[str], errors: Path, cache: Path, patch: str = "") -> subprocess.Popen[bytes]:
    """Start a run of which something is replaced."""
    script = DRIVER.format(stalled=STALLED, patch="import contextlib\n" + textwrap.dedent(patch))
    return injections.start([sys.executable, "-c", script, *arguments[3:]], errors, cache)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("part", PARTS)
def test_a_run_that_hangs_ends_at_a_signal(
    part: str, digits_folder: str, cache: Path, tmp_path: Path
) -> None:
    patch, flags = PARTS[part]
    times = []
    for number in range(count(1, 10)):
        errors = tmp_path / "errors"
        process = start(command(digits_folder, tmp_path / f"run{number}", *flags), errors, cache, patch)
        injections.until_reported(process, errors, b"it hangs")
        sent = time.monotonic()
        assert hit(process, TERM), errors.read_text()
        assert finish(process, STALLED + 60) == 143, errors.read_text()
        times.append(time.monotonic() - sent)
        text = errors.read_text()
        assert "SIGTERM: saving, then stopping; once more stops at once" in text
        assert text.endswith(f"\nalexnet_jax: SIGTERM: no progress for {STALLED:.0f} s: ended here\n")
    injections.record(
        f"SIGTERM to a run that hangs in {part}",
        len(times),
        f"the process ends after {STALLED:.0f} s without progress, with a line and exit code 143",
        f"all; the slowest took {max(times):.1f} s",
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_process_whose_peer_hangs_ends_at_a_signal(digits_folder: str, cache: Path, tmp_path: Path) -> None:
    times = []
    for number in range(count(1, 10)):
        processes, port, workdir = [], free_port(), tmp_path / f"run{number}"
        for index in range(2):
            flags = [f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={index}"]
            arguments = command(digits_folder, workdir, "--config.mesh.data=2", *flags)
            processes.append(start(arguments, tmp_path / f"errors{index}", cache))
        try:
            injections.stepping(processes[0], workdir, tmp_path / "errors0")
            stopped, other = number % 2, 1 - number % 2
            assert hit(processes[stopped], signal.SIGSTOP)
            sent = time.monotonic()
            assert hit(processes[other], TERM)
            assert finish(processes[other], 150) == 143
            times.append(time.monotonic() - sent)
            # JAX may have noticed before: it waits for the other's heartbeat for as long.
            why = r"SIGTERM: no progress for \d+ s: ended here|another process of this run has died"
            line = rf"\nalexnet_jax: process {other}: ({why})"
            assert re.search(line, (tmp_path / f"errors{other}").read_text())
        finally:
            for process in processes:
                process.kill()
                process.wait()
    injections.record(
        "SIGTERM to one process of two whose other stands still (SIGSTOP)",
        len(times),
        "it ends with a line and exit code 143",
        f"all; the slowest took {max(times):.1f} s",
    )
