"""Real runs of the program, moments at which to hit them, and a record of what happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parents[2]
FULL = os.environ.get("ALEXNET_FAULTS") == "full"  # set by tests.faults.full, with ..._RECORD
STEPS = 400  # several seconds on any machine, so that each moment finds the run under way


def count(quick: int, full: int) -> int:
    """Choose how many injections: a few where every change is tested, many for docs/RELIABILITY.md."""
    return full if FULL else quick


def record(fault: str, injections: int, promise: str, happened: str) -> None:
    """Record one row of docs/RELIABILITY.md."""
    if path := os.environ.get("ALEXNET_FAULTS_RECORD"):
        row = {"fault": fault, "injections": injections, "promise": promise, "happened": happened}
        row["test"] = os.environ.get("PYTEST_CURRENT_TEST", "").split("[")[0].split(" ")[0]
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines; none where it is missing."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def commit() -> str:
    """Return the commit that is checked out, short, '' outside a repository."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def command(data: str, workdir: Path, *changes: str) -> list[str]:
    """Return the command of a run of `STEPS` steps that evaluates and saves every 20."""
    every = 20 * 32 / 1350
    return [
        *(sys.executable, "-m", "alexnet_jax.main", "train", "--config=configs/digits.py"),
        *(f"--workdir={workdir}", f"--config.data.dir={data}", "--config.data.batch_size=32"),
        *("--config.model.width=0.0625", "--config.mesh.data=1", "--config.mesh.model=1"),
        f"--config.train.epochs={STEPS * 32 / 1350}",
        f"--config.train.evaluate_every_epochs={every}",
        f"--config.checkpoint.every_epochs={every}",
        "--config.train.log_every_steps=5",
        "--config.evaluate.batch_size=8",
        *changes,
    ]


def start(arguments: list[str], errors: Path, cache: Path) -> subprocess.Popen[bytes]:
    """Start the program; its standard error goes to the file `errors`, compiled programs to `cache`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    environment |= {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache)}
    cache.mkdir(exist_ok=True)
    with errors.open("wb") as file:
        return subprocess.Popen(
            arguments, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=file, process_group=0
        )


def finish(process: subprocess.Popen[bytes], seconds: float = 240) -> int:
    """Wait for a process, at most `seconds`, and return its exit code; kill it where it takes longer."""
    try:
        return process.wait(seconds)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def state(workdir: Path, step: int) -> Any:
    """Read all arrays of a checkpoint: parameters, velocities, step."""
    return arrays(workdir / "checkpoints" / str(step))


def arrays(folder: Path) -> Any:
    """Read all arrays of a checkpoint, or of the frozen part."""
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).restore((folder / "state").absolute())


def same(a: Any, b: Any) -> bool:
    """Return whether two trees agree in every bit."""
    flat, other = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(flat) == len(other) and all(map(np.array_equal, flat, other))


def validations(workdir: Path) -> list[dict[str, float]]:
    """Return the lines of a run's log that hold validation errors."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if "val/loss" in line]


# Moments

Moment = Callable[[subprocess.Popen[bytes], Path, Path], None]
_dice = random.Random(2012)


def wait_until(process: subprocess.Popen[bytes], happens: Callable[[], bool], seconds: float = 240) -> None:
    """Wait until something `happens`, the process ends, or `seconds` have passed."""
    until = time.monotonic() + seconds
    while process.poll() is None and not happens() and time.monotonic() < until:
        time.sleep(0.002)


def until_reported(
    process: subprocess.Popen[bytes], errors: Path, words: bytes, seconds: float = 240
) -> None:
    """Wait until `words` stand in `errors`, a process's standard error, it ends, or `seconds` are over."""
    wait_until(process, lambda: words in errors.read_bytes(), seconds)


def log(workdir: Path) -> str:
    """Return what a run's log holds by now."""
    path = workdir / "metrics.jsonl"
    return path.read_text() if path.exists() else ""


def starting_up(process: subprocess.Popen[bytes], workdir: Path, errors: Path) -> None:
    """Wait for a moment anywhere from the first instruction to the banner, which precedes compilation."""
    until_reported(process, errors, b"workdir: ", _dice.uniform(0, 6))


def compiling(process: subprocess.Popen[bytes], workdir: Path, errors: Path) -> None:
    """Wait for a moment after the banner, which precedes the first compilation."""
    until_reported(process, errors, b"workdir: ")
    time.sleep(_dice.uniform(0, 1.5))


def stepping(process: subprocess.Popen[bytes], workdir: Path, errors: Path) -> None:
    """Wait until some steps after the first ones of this start."""
    before = len(log(workdir))
    wait_until(process, lambda: b"workdir: " in errors.read_bytes() and len(log(workdir)) > before)
    time.sleep(_dice.uniform(0, 0.5))


def evaluating(process: subprocess.Popen[bytes], workdir: Path, errors: Path) -> None:
    """Wait until after the training line of an evaluation's step, before its own line."""

    def begun() -> bool:
        lines = log(workdir).splitlines()
        return bool(lines) and '"train/loss"' in lines[-1] and json.loads(lines[-1])["step"] % 20 in (0, 1)

    until_reported(process, errors, b"workdir: ")
    before = len(log(workdir))
    wait_until(process, lambda: len(log(workdir)) > before and _whole(workdir) and begun())
    time.sleep(_dice.uniform(0, 0.05))


def _whole(workdir: Path) -> bool:
    return log(workdir).endswith("\n")


def saving(process: subprocess.Popen[bytes], workdir: Path, errors: Path) -> None:
    """Wait until a checkpoint's folder has no manifest."""
    folder = workdir / "checkpoints"

    def begun() -> bool:
        if not folder.is_dir():
            return False
        return any(p.name.isdecimal() and not (p / "manifest.json").exists() for p in folder.iterdir())

    until_reported(process, errors, b"workdir: ")
    wait_until(process, begun)
    time.sleep(_dice.choice((0, 0, 0.005, 0.02)))


MOMENTS: tuple[Moment, ...] = (starting_up, compiling, stepping, evaluating, saving)


def halves(workdir: Path) -> list[str]:
    """Return the names of checkpoints whose writing was interrupted."""
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        return []
    return [p.name for p in folder.iterdir() if p.name.isdecimal() and not (p / "manifest.json").exists()]


def hit(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal; return whether the process was still there."""
    if process.poll() is not None:
        return False
    os.kill(process.pid, number)
    return True


KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
