"""How fast the net is: the forward pass and the whole training step, against its peers, layer by layer.

The training step is the very program that `train` runs, its state donated, on batches that lie on the device:
uint8 images, flipped, normalised and lit there. The forward pass reads float32 images. PyTorch and plain
Flax read images that are normalised already.
"""

import contextlib
import dataclasses
import importlib.util
import statistics
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax import extras, runtime
from alexnet_jax.benchmark import breakdown, flax_peer, timing
from alexnet_jax.benchmark.timing import UNIT, Rates, Row
from alexnet_jax.errors import UsageError
from alexnet_jax.files import check_parent
from alexnet_jax.model import architectures, inputs, network, sharding
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture
from alexnet_jax.training import optimizer, step

BATCHES = 3  # that lie on the device and are used in turn
RUNS = 5
SECONDS = 1.0  # of a run, about; a GPU's runs, which vary less, last a third of it
MAX_OPERATIONS = 10  # that are listed
PASSES = ("forward", "train")
PEERS = ("torch", "flax")
STOCK = ("eager float32", "eager float32 channels-last")  # PyTorch as it comes
PAPER_DAYS = "5 to 6 days on two GTX 580 (paper, section 5)"
IMAGENET = 1_281_167  # training images of ILSVRC-2012


def run(config: ConfigDict, peer: str, output: Path) -> None:
    """Measure, print the table and write benchmark.json: `benchmark step`.

    An `output` that ends in .png or .svg is a figure; the JSON lies next to it.

    Raises:
      UsageError: an unknown or missing peer, a folder that is not there, or a figure without matplotlib.
    """
    figure = output if output.suffix.lower() in (".png", ".svg") else None
    output = output.with_suffix(".json") if figure else output
    check_parent(output)
    if figure is not None:
        extras.require("pages", f"--output={figure}")
    asked = frozenset(peer.split(",") if peer else ())
    if not asked <= frozenset(PEERS):
        raise UsageError(f"--peer={peer}: benchmark step compares with {', '.join(PEERS)}")
    if "torch" in asked and importlib.util.find_spec("torch") is None:
        raise UsageError("--peer=torch: PyTorch is not installed: pip install torch")
    rows, notes = measure(config, asked, RUNS)
    timing.report(output, rows, notes)
    if figure is not None:
        from alexnet_jax.benchmark import step_figure

        step_figure.draw(rows, figure)
        print(f"written to {figure}")


def training_program(config: ConfigDict, architecture: Architecture, mesh: Mesh) -> step.Program:
    """Return the training step of a config, before anything is compiled."""
    normalization = inputs.Normalization(config.data.mean, config.data.input_std)
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    update = optimizer.update_rule(rules, config.optimizer)
    return step.Program(architecture, mesh, normalization, update, config.seed)


@dataclasses.dataclass
class Bench:
    """Hold what is measured.

    Attributes:
      program: the training step of a config.
      state: parameters and the optimizer's state; each training step replaces it.
      batches: `BATCHES` of training, sharded over the mesh.
      images: the same, normalised: float32 (B, crop, crop, C).
      mean: what `inputs.mean_array` gives, on the mesh.
      learning_rates: of the first step, {layer: {'kernel', 'bias'}}, on the mesh.
      batch_size: B, over all devices.
      compiled: 'forward' and 'train', once `compile` has made them.
      latest: what the last call gave.
    """

    program: step.Program
    state: step.TrainState
    batches: list[Any]
    images: list[jax.Array]
    mean: jax.Array
    learning_rates: Any
    batch_size: int
    compiled: dict[str, Any] = dataclasses.field(default_factory=dict)
    latest: Any = None

    @property
    def on_cpu(self) -> bool:
        """Return whether the mesh is of CPU devices."""
        return bool(self.program.mesh.devices.flat[0].platform == "cpu")

    @property
    def run_seconds(self) -> float:
        """Return how long a run lasts, about."""
        return SECONDS if self.on_cpu else SECONDS / 3

    def compile(self) -> dict[str, float]:
        """Compile the forward pass and the training step; return the seconds that each took."""
        architecture, mesh = self.program.architecture, self.program.mesh
        forward = jax.jit(
            lambda params, x: network.forward(architecture, mesh, params, x)[architecture.logits],
            compiler_options=sharding.compiler_options(architecture, mesh),
        )
        train: Any = step.compiled_train_step(self.program, self.state)
        seconds = {}
        for what, lowered in (
            ("forward", forward.lower(self.state.params, self.images[0])),
            ("train", train.lower(self.state, self.batches[0], self.mean, self.learning_rates)),
        ):
            started = time.perf_counter()
            self.compiled[what] = lowered.compile()
            seconds[what] = time.perf_counter() - started
        return seconds

    def forward(self, number: int) -> None:
        """Start a forward pass."""
        self._take_turn()
        self.latest = self.compiled["forward"](self.state.params, self.images[number % BATCHES])

    def train(self, number: int) -> None:
        """Start a training step."""
        self._take_turn()
        batch = self.batches[number % BATCHES]
        self.state, self.latest = self.compiled["train"](self.state, batch, self.mean, self.learning_rates)

    def _take_turn(self) -> None:
        if sharding.must_run_in_turn(self.program.mesh):
            jax.block_until_ready(self.latest)

    def wait(self) -> None:
        """Wait until all that was started is done."""
        jax.block_until_ready((self.state, self.latest))


def prepare(config: ConfigDict) -> Bench:
    """Return random images and parameters for what `config` says; no data is read.

    Raises:
      UsageError: model, devices and config do not fit together.
    """
    data = config.data
    architecture = architectures.build(config.model, data.crop, data.channels)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model, architecture.towers, data.batch_size)
    program = training_program(config, architecture, mesh)
    state = step.init_state(program, network.init_params(architecture, config.seed, mesh))
    draw = np.random.default_rng(config.seed)
    first, last = sharding.rows_here(mesh, data.batch_size)
    batches = []
    for _ in range(BATCHES):
        batch = random_batch(data, architecture.classes, data.batch_size, draw)
        batches.append(sharding.to_device({name: value[first:last] for name, value in batch.items()}, mesh))
    grey = np.full((data.size, data.size, data.channels), 127.5, np.float32)
    mean = sharding.replicate(
        inputs.mean_array(program.normalization, grey, grey[0, 0], architecture.crop), mesh
    )
    normalise = jax.jit(lambda batch, mean: inputs.normalise(batch, mean, program.normalization))
    images = [normalise(each, mean) for each in batches]
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    rates = optimizer.learning_rates(rules, config, optimizer.PlateauState(), 0.0)
    return Bench(program, state, batches, images, mean, sharding.replicate(rates, mesh), data.batch_size)


def random_batch(data: ConfigDict, classes: int, size: int, draw: np.random.Generator) -> dict[str, Any]:
    """Return a training batch of `size` random images on the host: numpy, all fields of `Batch`."""
    return {
        "image": draw.integers(0, 256, (size, data.crop, data.crop, data.channels), dtype=np.uint8),
        "label": draw.integers(0, classes, size).astype(np.int32),
        "flip": draw.random(size) < 0.5,
        "offset": draw.integers(0, data.size - data.crop + 1, (size, 2)).astype(np.int32),
        "lighting": draw.normal(0, 10, (size, data.channels)).astype(np.float32),
        "scale": np.ones(size, np.float32),
        "weight": np.ones(size, np.float32),
    }


def flops(architecture: Architecture) -> tuple[int, int]:
    """Return floating-point operations of one image, forward and training.

    A multiply-accumulate counts twice. Training costs three times the forward pass less the first layer's
    input gradient.
    """
    each = [shape.multiply_accumulates for shape in layer_shapes(architecture).values()]
    first = next(count for count in each if count)
    return 2 * sum(each), 2 * (3 * sum(each) - first)


def measure(config: ConfigDict, asked: Collection[str], runs: int) -> tuple[list[Row], list[str]]:
    """Measure what `run` writes.

    Args:
      config: of any net; its data is not read.
      asked: which of `PEERS` are measured too.
      runs: counted runs of each contestant, alternating.

    Returns:
      The objects of benchmark.json, and lines for the user that say how they were made.
    """
    bench = prepare(config)
    architecture, mesh = bench.program.architecture, bench.program.mesh
    compile_seconds = bench.compile()
    device = _device(mesh)
    row = partial(timing.row, timing.measured_on(device, "jax", "jaxlib", "flax", "torch"))
    end, dtype = f"b{bench.batch_size}", architecture.compute_dtype
    notes = [f"device: {device}; compute in {dtype}; mesh {mesh.shape['data']} x {mesh.shape['model']}"]
    side, product = _product(bench)
    rates, peers = _alternate(config, bench, product, asked, runs, notes)

    rows: list[Row] = []
    for what, operations in zip(PASSES, flops(architecture), strict=True):
        rows += _compared(bench, row, what, rates[what], peers[what])
        tera = [rate * bench.batch_size * operations / 1e12 for rate in rates[what]]
        possible = [rate * 2.0 * side**3 / 1e12 for rate in rates["product"]]
        peer = f"{side} x {side} product in {dtype}"
        rows.append(row(f"step.{what}.{end}.flops", "TFLOP/s", tera, peer, possible))
        rows.append(row(f"step.{what}.{end}.compile", "s", [compile_seconds[what]]))
    rows.append(row(f"step.train.{end}.memory", "MiB", [_peak_memory(bench) / 2**20]))
    if architecture.name.startswith(("alexnet", "caffe", "source")):
        hours = 90 * IMAGENET / (statistics.median(rates["train"]) * bench.batch_size) / 3600
        notes.append(f"90 epochs of ImageNet at this speed: {hours:,.1f} hours; {PAPER_DAYS}")

    total, costs = breakdown.profile(bench.compiled["train"], bench.train, bench.wait)
    notes.append(f"most expensive operations of a training step ({total * 1e3:,.1f} ms):")
    for name, cost in costs[:MAX_OPERATIONS]:
        notes.append(f"  {cost * 1e3:9.3f} ms  {cost / total:6.1%}  {name}")
        rows.append(row(f"step.operation.{name.split(' ')[0]}.{end}", "ms", [cost * 1e3]))
    if mesh.size == 1:
        for name, what, took in breakdown.layers(
            bench.program, bench.state.params, bench.batch_size, SECONDS / 20, runs
        ):
            rows.append(row(f"step.layer.{name}.{what}.{end}", "ms", [second * 1e3 for second in took]))
    else:
        notes.append("layers one by one: on a mesh of one device only")
    return rows, notes


def _alternate(
    config: ConfigDict,
    bench: Bench,
    product: Callable[[], float],
    asked: Collection[str],
    runs: int,
    notes: list[str],
) -> tuple[Rates, dict[str, Rates]]:
    """Run both passes, the product, plain Flax and PyTorch's variants in turn.

    Returns:
      Calls a second of 'forward', 'train' and 'product'; and those of the peers, {pass: {variant: rates}}.
    """
    contestants: dict[str, Callable[[], float]] = {
        "forward": timing.repeated(bench.forward, bench.wait, bench.run_seconds),
        "train": timing.repeated(bench.train, bench.wait, bench.run_seconds),
        "product": product,
    }
    failed: dict[str, str] = {}
    if "flax" in asked:
        flax = _flax_peer(config, bench)
        for what in PASSES:
            run = timing.repeated(getattr(flax, what), flax.wait, bench.run_seconds)
            contestants[f"{what}, {flax_peer.NAME}"] = run
    with contextlib.ExitStack() as stack:
        if "torch" in asked:
            peer = stack.enter_context(_torch_process(config, bench))
            failed = peer.failed
            notes.append(f"threads: XLA {runtime.cores()}, PyTorch {peer.threads}")
            for variant in peer.variants:
                for what in PASSES:
                    contestants[f"{what}, {variant.name}"] = partial(peer.run, variant, what)
        rates = timing.alternate("benchmark step", contestants, runs)
    notes += [f"PyTorch {name} does not run here: {why}" for name, why in failed.items()]
    peers: dict[str, Rates] = {what: {} for what in PASSES}
    for name in rates:
        what, _, variant_name = name.partition(", ")
        if variant_name and name not in failed:
            peers[what][variant_name] = rates[name]
    return rates, peers


def _flax_peer(config: ConfigDict, bench: Bench) -> flax_peer.FlaxPeer:
    """Return the same net in plain Flax, with the same parameters and images, on the first device."""
    device = bench.program.mesh.devices.flat[0]
    labels = (batch["label"] for batch in bench.batches)
    batches = [jax.device_put(pair, device) for pair in zip(bench.images, labels, strict=True)]
    rate = float(next(iter(bench.learning_rates.values()))["kernel"])
    architecture, momentum = bench.program.architecture, config.optimizer.momentum
    return flax_peer.FlaxPeer(architecture, bench.state.params, batches, rate, momentum)


def _torch_process(config: ConfigDict, bench: Bench) -> contextlib.AbstractContextManager[Any]:
    """Return `torch_process.running` for the same net and updates; PyTorch is imported here alone."""
    from alexnet_jax.benchmark import torch_process

    architecture = bench.program.architecture
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    updates = torch_process.updates_of(config, rules)
    return torch_process.running(
        torch_process.TorchJob(
            architecture=architecture,
            momentum=config.optimizer.momentum,
            updates=updates,
            batch_size=bench.batch_size,
            batches=BATCHES,
            device="cpu" if bench.on_cpu else "cuda",
            seconds=bench.run_seconds,
        )
    )


def _compared(
    bench: Bench, row: Callable[..., Row], what: str, calls: list[float], peers: Rates
) -> list[Row]:
    """Return the row of a pass in images/s against PyTorch's best variant, and one for each other peer."""
    name = f"step.{what}.b{bench.batch_size}"
    ours = [rate * bench.batch_size for rate in calls]
    theirs = {variant: [rate * bench.batch_size for rate in found] for variant, found in peers.items()}
    # On a CPU the peer is stock eager PyTorch in the better of its two layouts; elsewhere the fastest.
    flax = theirs.pop(flax_peer.NAME, None)
    candidates = [variant for variant in theirs if variant in STOCK or not bench.on_cpu]
    rows = [row(name, UNIT, ours)]
    if candidates:
        best = max(candidates, key=lambda variant: statistics.median(theirs[variant]))
        rows = [row(name, UNIT, ours, f"torch {best}", theirs[best])] + [
            row(f"{name}.vs_{variant.replace(' ', '_')}", UNIT, ours, f"torch {variant}", found)
            for variant, found in theirs.items()
            if variant != best
        ]
    if flax is not None:
        rows.append(row(f"{name}.vs_{flax_peer.NAME}", UNIT, ours, "plain Flax", flax))
    return rows


def _device(mesh: Mesh) -> str:
    found = mesh.devices.flat[0]
    kind = runtime.host() if found.platform == "cpu" else found.device_kind
    return kind if mesh.size == 1 else f"{mesh.size} x {kind}"


def _product(bench: Bench) -> tuple[int, Callable[[], float]]:
    """Return the side of a square matrix product on one device, and a contestant in products a second."""
    side = 2048 if bench.on_cpu else 8192
    draw = np.random.default_rng(0)
    dtype, device = bench.program.architecture.compute_dtype, bench.program.mesh.devices.flat[0]
    a, b = (
        jax.device_put(jnp.asarray(draw.standard_normal((side, side), np.float32), dtype), device)
        for _ in range(2)
    )
    multiply = jax.jit(jnp.matmul)
    latest = a

    def once(number: int) -> None:
        nonlocal latest
        latest = multiply(a, b)

    return side, timing.repeated(once, lambda: jax.block_until_ready(latest), bench.run_seconds)


def _peak_memory(bench: Bench) -> float:
    """Return bytes: what the device says, else (on a CPU) what the compiled training step needs."""
    stats = bench.program.mesh.devices.flat[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return float(stats["peak_bytes_in_use"])
    need = bench.compiled["train"].memory_analysis()
    used = need.argument_size_in_bytes + need.output_size_in_bytes + need.temp_size_in_bytes
    return float(used - need.alias_size_in_bytes)
