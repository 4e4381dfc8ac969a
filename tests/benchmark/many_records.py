"""As many records as ILSVRC-2012 has, of 8 x 8 pixels: seconds to start and to resume in mid-epoch, memory.

python -m tests.benchmark.many_records FOLDER [COUNT]

The records are read, not held in memory (`config.data.resident` is 'never'), shuffled over the whole split.
FOLDER keeps the dataset, so that a second call measures at once.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

IMAGENET = 1_281_167
SIDE, CLASSES, BATCH = 8, 10, 128
STEPS = 2_000  # of the first run, before it is stopped
STEP = re.compile(r"(\d+)/\d+ steps")


def write_source(folder: Path, count: int) -> None:
    """Write random images as MNIST's four files: `count` that train and 1,000 that test."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for name, number in (("train", count), ("t10k", 1_000)):
        pixels = draw.integers(0, 256, (number, SIDE, SIDE), np.uint8)
        labels = draw.integers(0, CLASSES, number).astype(np.uint8)
        for kind, values in (("images-idx3", pixels), ("labels-idx1", labels)):
            header = np.array([0x800 + values.ndim, *values.shape], ">u4").tobytes()
            (folder / f"{name}-{kind}-ubyte").write_bytes(header + values.tobytes())


def command(folder: Path, verb: str, *more: str) -> list[str]:
    """Return a command line on these records."""
    keys = {"name": "many", "dir": folder / "data", "size": SIDE, "crop": SIDE, "batch_size": BATCH}
    keys |= {"train_split": "train", "validation_split": "", "resident": "never"}
    words = [f"--config.data.{key}={value}" for key, value in keys.items()]
    start = [sys.executable, "-m", "alexnet_jax.main", verb, "--config=configs/mnist.py"]
    return [*start, *words, "--config.train.log_every_steps=100", "--config.train.epochs=100", *more]


def memory_of(process: int) -> int:
    """Return the bytes that a process and its children hold."""
    here = Path(f"/proc/{process}")
    try:
        pages = int((here / "statm").read_text().split()[1])
        children = (here / "task" / str(process) / "children").read_text().split()
    except FileNotFoundError:  # it has just ended
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(memory_of(int(child)) for child in children)


def train(folder: Path, steps: int) -> tuple[float, float, float]:
    """Train until `steps` more are done, then stop in order.

    Returns:
      Seconds to the first line of progress, steps a second after it, and the most memory of the program and
      its children, in MB of 10^6 bytes.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        command(folder, "train", f"--workdir={folder / 'run'}"), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    first: tuple[int, float] | None = None
    most, done, now = 0, 0, started
    for line in process.stderr:
        found = STEP.search(line)
        if not found or (not first and found.group(1) == "0"):
            continue
        done, now = int(found.group(1)), time.monotonic()
        first = first or (done, now)
        most = max(most, memory_of(process.pid))
        if done - first[0] >= steps:
            process.send_signal(signal.SIGTERM)
            break
    process.stderr.read()
    if process.wait() != 143 or first is None:
        raise SystemExit(f"the run ended with {process.returncode}")
    return first[1] - started, (done - first[0]) / (now - first[1]), most / 1e6


def main() -> None:
    """Make the records where that is still to do, measure, print."""
    folder = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else IMAGENET
    if not (folder / "data").is_dir():
        write_source(folder / "source", count)
        subprocess.run(command(folder, "prepare", f"--source={folder / 'source'}"), check=True)
    for what in ("start", "resumed"):
        seconds, rate, memory = train(folder, STEPS)
        print(f"{what}: {seconds:.1f} s to the first steps, then {rate:.0f}/s, at most {memory:.0f} MB")


if __name__ == "__main__":
    main()
