"""How fast training is as a user gets it: whole epochs of the loop, its input, its logs and its validation.

The peer is a PyTorch program of the same net and recipe with its data in memory (`torch_loop`). What the loop
costs by itself is measured on a net of one dense layer: the time of a step less that of the compiled step.
"""

import importlib.util
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax import runtime
from alexnet_jax.benchmark import timing
from alexnet_jax.benchmark.timing import Row
from alexnet_jax.config import resolve
from alexnet_jax.data.augment import center_offset
from alexnet_jax.distributed import Group
from alexnet_jax.errors import UsageError
from alexnet_jax.files import check_parent
from alexnet_jax.training import dispatch
from alexnet_jax.training.loop import Run, open_run
from alexnet_jax.training.setup import prepare_run
from alexnet_jax.training.stop import Stop
from alexnet_jax.training.throughput import batches_ahead

RUNS = 5
ENDLESS = 10.0**6  # epochs
# Of an opened run, what makes an epoch and returns epochs a second.
Program = Callable[[Run], Callable[[], float]]
BATCH = 128  # of the net whose steps cost next to nothing
COST_SECONDS = 0.5  # of a run of it, about
ONE_LAYER = {
    "architecture": "fully_connected",
    "hidden": (),
    "activation": "relu",
    "compute_dtype": "float32",
}


def run(config: ConfigDict, peer: str, output: Path) -> None:
    """Measure, print the table and write benchmark.json: `benchmark loop`.

    Raises:
      UsageError: an unknown or missing peer, a folder that is not there, data that is not prepared or has no
        room in memory.
    """
    check_parent(output)
    if peer not in ("", "torch"):
        raise UsageError(f"--peer={peer}: benchmark loop compares with torch")
    if peer and importlib.util.find_spec("torch") is None:
        raise UsageError("--peer=torch: PyTorch is not installed: pip install torch")
    rows, notes = measure(config, bool(peer), RUNS)
    timing.report(output, rows, notes)


def measure(
    config: ConfigDict, torch: bool, runs: int, others: Mapping[str, Program] | None = None
) -> tuple[list[Row], list[str]]:
    """Measure what `run` writes.

    Args:
      config: of a prepared dataset.
      torch: whether PyTorch's program is measured too.
      runs: counted runs of each contestant, alternating.
      others: further programs by name.

    Returns:
      The objects of benchmark.json, and lines for the user.
    """
    notes: list[str] = []
    with ExitStack() as stack:
        here = stack.enter_context(opened(config))
        contestants: dict[str, Callable[[], float]] = {"epoch": partial(_epoch, here)}
        contestants |= {name: make(here) for name, make in (others or {}).items()}
        failed: dict[str, str] = {}
        if torch:
            from alexnet_jax.benchmark import torch_loop

            peer = stack.enter_context(torch_loop.running(here))
            failed = peer.failed
            notes.append(f"threads: XLA {runtime.cores()}, PyTorch {peer.threads}")
            for variant in peer.variants:
                contestants[f"torch {variant.name}"] = partial(peer.run, variant, "epoch")
        rates = timing.alternate("benchmark loop", contestants, runs)
        rates = {name: found for name, found in rates.items() if name.removeprefix("torch ") not in failed}
    notes += [f"PyTorch {name} does not run here: {why}" for name, why in failed.items()]
    row = partial(timing.row, timing.measured_on(_device(here), "jax", "jaxlib", "flax", "numpy", "torch"))
    seconds = {name: [1 / rate for rate in found] for name, found in rates.items()}
    ours = seconds.pop("epoch")
    name = f"loop.epoch.b{here.config.data.batch_size}"
    ranked = sorted(seconds, key=lambda peer: statistics.median(seconds[peer]))
    rows = [row(f"{name}.vs_{peer.replace(' ', '_')}", "s", ours, peer, seconds[peer]) for peer in ranked]
    return (rows or [row(name, "s", ours)]) + costs(config, runs, row), notes


@contextmanager
def opened(config: ConfigDict) -> Iterator[Run]:
    """Give a run of a config in a folder of its own, endless, with its images in memory; it saves nothing.

    Raises:
      UsageError: the data is not prepared, or has no room in memory.
    """
    changes = {
        "data.resident": "always",
        "train.epochs": ENDLESS,
        "train.evaluate_every_epochs": 1.0,
        "train.flat_loss_steps": 0,
        "checkpoint.every_epochs": ENDLESS,
    }
    with tempfile.TemporaryDirectory() as folder:
        group = Group()
        setup = prepare_run(resolve.replace(config, changes))
        here = open_run(setup, Path(folder), Stop(group), group, shown=False)
        with here.opened():
            yield here


def _epoch(here: Run) -> float:
    """Make the updates of an epoch and its validation; return epochs a second."""
    started = time.perf_counter()
    evaluated, first = here.evaluated_step, here.step
    while here.evaluated_step == evaluated:
        here.advance()
        here.evaluate_where_due()
        if not here.config.data.validation_split and here.setup.epoch(here.step - first) >= 1:
            break
    jax.block_until_ready(here.state)
    return 1 / (time.perf_counter() - started)


def costs(config: ConfigDict, runs: int, row: Callable[..., Row]) -> list[Row]:
    """Return what the loop costs by itself, in milliseconds a step, for both ways of the input.

    Streaming: the host has the batches ready, and sends them. Resident: as they lie on the devices. The net
    has one dense layer on the config's images, and batches of `BATCH`.
    """
    changes = {"data.batch_size": BATCH, "data.validation_split": "", "train.accumulate_steps": 1}
    plain = ConfigDict(resolve.replace(config, changes).to_dict())
    plain.model = ConfigDict({**ONE_LAYER, "classes": config.model.classes})
    plain.optimizer.per_layer = ConfigDict()
    with opened(plain) as here:
        most = here.feed.dispatches.most
        here.advance()  # compiles
        batch = next(here.feed.batches)
        steps = max(1, round(COST_SECONDS / _seconds_of_step(here, batch) / most)) * most

        def bare() -> float:
            return 1 / _seconds_of_step(here, batch, steps // most)

        resident, mesh = here.feed, here.setup.mesh
        sent = batches_ahead(_ready(here), mesh, here.window, most > 1)
        streaming = replace(resident, batches=sent)

        def of(feed: Any) -> float:
            here.feed = feed
            started, first = time.perf_counter(), here.step
            while here.step < first + steps:
                here.advance()
            jax.block_until_ready(here.state)
            return (here.step - first) / (time.perf_counter() - started)

        contestants: dict[str, Callable[[], float]] = {"bare": bare}
        contestants |= {"resident": partial(of, resident), "streaming": partial(of, streaming)}
        rates = timing.alternate("benchmark loop, its own cost", contestants, runs)
        here.feed = resident
        sent.close()
    rows = []
    for way in ("streaming", "resident"):
        both = zip(rates[way], rates["bare"], strict=True)
        rows.append(row(f"loop.cost.{way}.b{BATCH}", "ms", [1e3 / rate - 1e3 / bare for rate, bare in both]))
    return rows


def _seconds_of_step(here: Run, batch: Any, dispatches: int = 1) -> float:
    """Return the seconds that an update of the compiled program takes, without the loop around it."""
    most = here.feed.dispatches.most
    started = time.perf_counter()
    for _ in range(dispatches):
        here.state, _ = here.compiled_steps(
            here.state, batch, here.mean, here.learning_rates_on_mesh, np.int32(most)
        )
    jax.block_until_ready(here.state)
    return (time.perf_counter() - started) / dispatches / most


def _ready(here: Run) -> Iterator[Any]:
    """Yield batches of a dispatch without end, which the host has at hand."""
    data, images = here.config.data, np.asarray(here.feed.training.data)  # type: ignore[union-attr]
    edge, labels = center_offset(data.size, data.crop), np.asarray(here.feed.training.labels)  # type: ignore[union-attr]
    crops = np.ascontiguousarray(images[: 16 * BATCH, edge : edge + data.crop, edge : edge + data.crop])
    zeros = {
        "flip": np.zeros(BATCH, bool) if data.flip else None,
        "lighting": np.zeros((BATCH, data.channels), np.float32) if data.lighting else None,
    }
    decided = {name: value for name, value in zeros.items() if value is not None}
    parts = [slice(start, start + BATCH) for start in range(0, len(crops) - BATCH + 1, BATCH)]
    batches = [{"image": crops[part], "label": labels[part], **decided} for part in parts]
    return dispatch.stacked(
        itertools.cycle(batches),  # type: ignore[arg-type]
        here.feed.dispatches.counts(here.step),
        here.feed.dispatches.most,
    )


def _device(here: Run) -> str:
    found = here.setup.mesh.devices.flat[0]
    kind = runtime.host() if found.platform == "cpu" else found.device_kind
    return kind if here.setup.mesh.size == 1 else f"{here.setup.mesh.size} x {kind}"
