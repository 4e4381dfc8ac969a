"""Runs that hang, each in another part of its work, and get a signal: when the last resort ends them.

  python -m tests.faults.last_resort --data=DIR --times=10 --at-once=6

DIR holds the prepared digits. Each part hangs so many times, with the seconds of the program itself; as a run
ends it is a line of docs/reliability/last_resort.jsonl, and the same command makes those that are missing.

A hung run is a real process of which a part is replaced by a call that never comes back from C: no handler of
Python's runs there. Of two processes one is stopped by SIGSTOP, and the other gets the signal.
"""

import argparse
import datetime
import json
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from alexnet_jax import signals
from tests.faults import injections
from tests.faults.injections import TERM, command, finish, hit

ROWS = injections.ROOT / "docs" / "reliability" / "last_resort.jsonl"
TWO = "several processes"
WAIT_SECONDS = 900.0  # for the moment of the signal, on a machine that has other work
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


class Ended(NamedTuple):
    """How a hung run ended: seconds from the signal, exit code, standard error, and its last line."""

    seconds: float
    code: int
    text: str

    @property
    def line(self) -> str:
        """Return the last line, and '' where nothing was said."""
        return (self.text.splitlines() or [""])[-1]


def hang(part: str, data: str, folder: Path, cache: Path, stalled: float) -> Ended:
    """Start a run in `folder` that hangs in a part of `PARTS`, send SIGTERM, and wait for its end."""
    patch, flags = PARTS[part]
    errors = folder / "errors"
    process = _start(command(data, folder / "run", *flags), errors, cache, stalled, patch)
    injections.until_reported(process, errors, b"it hangs", WAIT_SECONDS)
    return _ended(process, errors, stalled)


def stop_one_of_two(data: str, folder: Path, cache: Path, stalled: float, stopped: int) -> Ended:
    """Start a run of two processes, stop one by SIGSTOP, send the other SIGTERM, and wait for its end."""
    processes, port, workdir = [], free_port(), folder / "run"
    for index in range(2):
        flags = [f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={index}"]
        arguments = command(data, workdir, "--config.mesh.data=2", *flags)
        processes.append(_start(arguments, folder / f"errors{index}", cache, stalled))
    try:
        injections.wait_until(processes[0], lambda: '"step": 5,' in injections.log(workdir), WAIT_SECONDS)
        assert hit(processes[stopped], signal.SIGSTOP), (folder / f"errors{stopped}").read_text()
        return _ended(processes[1 - stopped], folder / f"errors{1 - stopped}", stalled)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _start(
    arguments: list[str], errors: Path, cache: Path, stalled: float, patch: str = ""
) -> subprocess.Popen[bytes]:
    """Start a run of which something is replaced."""
    script = DRIVER.format(stalled=stalled, patch="import contextlib\n" + textwrap.dedent(patch))
    return injections.start([sys.executable, "-c", script, *arguments[3:]], errors, cache)


def _ended(process: subprocess.Popen[bytes], errors: Path, stalled: float) -> Ended:
    sent = time.monotonic()
    assert hit(process, TERM), errors.read_text()
    code = finish(process, stalled + 120)
    return Ended(time.monotonic() - sent, code, errors.read_text())


def main() -> int:
    """Make the rows that are missing; return 1 where a run ended otherwise than it should."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=6)
    flags = parser.parse_args()
    ROWS.parent.mkdir(exist_ok=True)
    rows = injections.rows(ROWS)
    left = {part: flags.times - sum(row["part"] == part for row in rows) for part in (*PARTS, TWO)}
    queue = [(part, number) for number in range(flags.times) for part in left if number < left[part]]
    writing, failed = threading.Lock(), []
    with tempfile.TemporaryDirectory() as base, ThreadPoolExecutor(flags.at_once) as pool:

        def one(number: int, part: str, count: int) -> None:
            folder, stalled = Path(base, str(number)), signals.STALLED_SECONDS
            folder.mkdir()
            cache = Path(base, "cache")
            ended = (
                stop_one_of_two(flags.data, folder, cache, stalled, count % 2)
                if part == TWO
                else hang(part, flags.data, folder, cache, stalled)
            )
            row = {
                "part": part,
                "seconds": round(ended.seconds, 2),
                "code": ended.code,
                "line": ended.line,
                "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "commit": injections.commit(),
            }
            if ended.code != 143:
                failed.append(row)
            with writing, ROWS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)

        for future in [pool.submit(one, number, *each) for number, each in enumerate(queue)]:
            future.result()
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
