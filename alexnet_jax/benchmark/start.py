"""How long a start takes until its first training step is done, without and with kept compiled programs."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
from ml_collections import ConfigDict

from alexnet_jax import runtime
from alexnet_jax.benchmark import step, timing
from alexnet_jax.benchmark.timing import Row
from alexnet_jax.config import io as config_io
from alexnet_jax.config import resolve
from alexnet_jax.errors import RunFailure
from alexnet_jax.training import step as training_step

RUNS = 3


def run(config: ConfigDict, output: Path) -> None:
    """Measure, print the table and write benchmark.json: `benchmark start`."""
    timing.report(output, measure(config))


def measure(config: ConfigDict, runs: int = RUNS) -> list[Row]:
    """Measure start.warm: seconds with a filled compilation cache, and with an empty one, alternating."""
    step.prepare(config)  # what is wrong with the config is reported here
    with tempfile.TemporaryDirectory() as folder:
        number = 0

        def cold() -> float:
            nonlocal number
            number += 1
            return 1 / _first_step(config, Path(folder) / str(number))

        def warm() -> float:
            return 1 / _first_step(config, Path(folder) / "kept")

        warm()
        rates = timing.alternate("benchmark start", {"cold": cold, "warm": warm}, runs)
    seconds = {name: [1 / rate for rate in found] for name, found in rates.items()}
    device = runtime.host() if jax.default_backend() == "cpu" else jax.devices()[0].device_kind
    where, name = timing.measured_on(device, "jax", "jaxlib"), f"start.warm.b{config.data.batch_size}"
    return [timing.row(where, name, "s", seconds["warm"], "cold", seconds["cold"])]


def _first_step(config: ConfigDict, cache: Path) -> float:
    """Return seconds from the start of a new process to the end of its first training step."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_jax.benchmark.start", json.dumps(config_io.to_json(config))],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RunFailure(f"the measured process failed: {(done.stderr.splitlines() or ['no message'])[-1]}")
    return float(done.stdout) - started


def _child() -> None:
    runtime.retain_malloc_heap()
    bench = step.prepare(resolve.freeze(config_io.from_json(json.loads(sys.argv[1]))))
    update = training_step.compiled_train_step(bench.program, bench.state)
    jax.block_until_ready(update(bench.state, bench.batches[0], bench.mean, bench.learning_rates))
    print(time.monotonic())  # the same clock in all processes


if __name__ == "__main__":
    _child()
