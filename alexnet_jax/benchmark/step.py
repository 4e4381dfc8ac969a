"""How fast the net is: the forward pass and the whole training step, against PyTorch, layer by layer.

The training step is the very program that `train` runs, its state donated, on batches that lie on the device:
uint8 pictures, flipped, normalised and lit there. The forward pass reads float32 pictures. PyTorch reads
pictures that are normalised already.
"""

import contextlib
import dataclasses
import importlib.util
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.benchmark import timing
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.model import architectures, inputs, network, sharding
from alexnet_jax.model.architectures import Architecture
from alexnet_jax.training import optimizer, step

BATCHES = 3  # that lie on the device and are used in turn
RUNS = 5
SECONDS = 1.0  # of a run, about; a GPU's runs, which vary less, last a third of it
PROFILED = 3  # steps
MOST_EXPENSIVE = 10
UNIT = "images/s"
PAPER_DAYS = "5 to 6 days on two GTX 580 (paper, section 5)"
IMAGENET = 1_281_167  # training pictures of ILSVRC-2012

Rows = list[dict[str, Any]]


def run(config: ConfigDict, peer: str, output: Path) -> None:
    """`benchmark step`: measures, prints the table, writes benchmark.json.

    An `output` that ends in .png or .svg is a figure; the JSON lies beside it.

    Raises:
      UsageError: an unknown or missing peer, a folder that is not there.
    """
    figure = output if output.suffix.lower() in (".png", ".svg") else None
    output = output.with_suffix(".json") if figure else output
    if not output.parent.is_dir():
        raise UsageError(f"--output={output}: the folder {output.parent} does not exist")
    if peer not in ("", "torch"):
        raise UsageError(f"--peer={peer}: benchmark step compares with torch")
    if peer and importlib.util.find_spec("torch") is None:
        raise UsageError("--peer=torch: PyTorch is not installed: pip install torch")
    rows, notes = measure(config, bool(peer), RUNS)
    timing.write(output, rows)
    print(timing.table(rows))
    print("\n".join(notes))
    if figure is not None:
        draw(rows, figure)
    print(f"written to {output}" + (f" and {figure}" if figure else ""))


@dataclasses.dataclass
class Bench:
    """What is measured: the program of a config, its state, and batches on its mesh."""

    program: step.Program
    state: step.TrainState
    batches: list[dict[str, jax.Array]]
    pictures: list[jax.Array]
    mean: jax.Array
    rates: Any
    batch_size: int


def prepare(config: ConfigDict) -> Bench:
    """Random pictures and parameters for what `config` says; no data is read.

    Raises:
      UsageError: model, devices and config do not fit together.
    """
    data = config.data
    architecture = architectures.build(config.model, data.crop, data.channels)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.model, architecture.towers, data.batch_size)
    rules = optimizer.layer_rules(architecture, config.optimizer, config.schedule)
    form = inputs.InputForm(data.mean, data.input_std)
    update = optimizer.update_rule(rules, config.optimizer)
    program = step.Program(architecture, mesh, form, update, config.seed)
    state = step.init_state(program, sharding.init_params(architecture, config.seed, mesh))
    draw = np.random.default_rng(config.seed)
    shape = (data.batch_size, data.crop, data.crop, data.channels)
    first, last = step.rows_here(mesh, data.batch_size)

    def batch() -> dict[str, jax.Array]:
        whole = {
            "image": draw.integers(0, 256, shape, dtype=np.uint8),
            "label": draw.integers(0, architecture.classes, shape[0]).astype(np.int32),
            "flip": draw.random(shape[0]) < 0.5,
            "offset": draw.integers(0, data.size - data.crop + 1, (shape[0], 2)).astype(np.int32),
            "lighting": draw.normal(0, 10, (shape[0], shape[3])).astype(np.float32),
            "scale": np.ones(shape[0], np.float32),
            "weight": np.ones(shape[0], np.float32),
        }
        return step.to_device({name: value[first:last] for name, value in whole.items()}, mesh)

    batches = [batch() for _ in range(BATCHES)]
    grey = np.full((data.size, data.size, data.channels), 127.5, np.float32)
    mean = inputs.mean_array(form, grey, grey[0, 0], architecture.crop)
    placed = jax.device_put(mean, sharding.replicated(mesh))
    normalise = jax.jit(lambda batch, mean: inputs.normalise(batch, mean, form))
    values = optimizer.learning_rates(rules, config, optimizer.Memory(), 0.0)
    rates = jax.device_put(jax.tree.map(np.asarray, values), sharding.replicated(mesh))
    pictures = [normalise(each, placed) for each in batches]
    return Bench(program, state, batches, pictures, placed, rates, data.batch_size)


def flops(architecture: Architecture) -> tuple[int, int]:
    """Floating-point operations of one picture, forward and training, counting multiply-accumulates twice.

    Training costs three times the forward pass less the first layer's input gradient.
    """
    each = [shape.multiply_accumulates for shape in architectures.shapes(architecture).values()]
    first = next(count for count in each if count)
    return 2 * sum(each), 2 * (3 * sum(each) - first)


def measure(config: ConfigDict, torch: bool, runs: int) -> tuple[Rows, list[str]]:
    """Measures what `run` writes.

    Args:
      config: of any net; its data is not read.
      torch: whether PyTorch runs beside it.
      runs: counted runs of each contestant, alternating.

    Returns:
      The objects of benchmark.json, and lines for a person that say how they were made.
    """
    bench = prepare(config)
    architecture, mesh = bench.program.architecture, bench.program.mesh
    device, versions = _device(mesh), timing.versions("jax", "jaxlib", "flax", "torch")
    end, dtype = f"b{bench.batch_size}", architecture.compute_dtype

    def row(name: str, unit: str, ours: list[float], peer: str | None = None, theirs: Any = ()) -> None:
        rows.append(timing.row(f"step.{name}", unit, ours, peer, theirs, device, versions))

    rows: Rows = []
    forward = jax.jit(
        lambda params, x: sharding.forward(architecture, mesh, params, x)[architecture.logits],
        compiler_options=sharding.compiler_options(architecture, mesh),
    )
    compiled: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for what, lowered in (
        ("forward", forward.lower(bench.state.params, bench.pictures[0])),
        (
            "train",
            step.compiled_train_step(bench.program, bench.state).lower(  # type: ignore[attr-defined]
                bench.state, bench.batches[0], bench.mean, bench.rates
            ),
        ),
    ):
        started = time.perf_counter()
        compiled[what] = lowered.compile()
        seconds[what] = time.perf_counter() - started

    latest: Any = None

    def forward_once(number: int) -> None:
        nonlocal latest
        latest = compiled["forward"](bench.state.params, bench.pictures[number % BATCHES])

    def train_once(number: int) -> None:
        nonlocal latest
        batch = bench.batches[number % BATCHES]
        bench.state, latest = compiled["train"](bench.state, batch, bench.mean, bench.rates)

    def wait() -> None:
        jax.block_until_ready((bench.state, latest))

    run_seconds = _run_seconds(mesh)
    contestants: dict[str, Callable[[], float]] = {
        "forward": timing.repeated(forward_once, wait, run_seconds),
        "train": timing.repeated(train_once, wait, run_seconds),
    }
    side, product = _product(mesh, dtype)
    contestants["product"] = product
    notes = [f"device: {device}; compute in {dtype}; mesh {mesh.shape['data']} x {mesh.shape['model']}"]
    with contextlib.ExitStack() as stack:
        words: dict[str, str] = {}
        failed: dict[str, str] = {}
        if torch:
            peer = stack.enter_context(_torch(config, bench.program))
            notes.append(f"threads: XLA {timing.cores()}, PyTorch {peer.threads}")
            for form in peer.forms:
                for what in ("forward", "train"):
                    name = f"{what}, {form.words}"
                    words[name] = form.words
                    contestants[name] = peer.contestant(form, what, name, failed)
        rates = timing.alternate("benchmark step", contestants, runs)
    notes += [f"PyTorch {name} does not run here: {why}" for name, why in failed.items()]

    product_flops = 2.0 * side**3
    for what, operations in zip(("forward", "train"), flops(architecture), strict=True):
        ours = [rate * bench.batch_size for rate in rates[what]]
        theirs = {
            words[name]: [rate * bench.batch_size for rate in found]
            for name, found in rates.items()
            if name.startswith(f"{what}, ") and name not in failed
        }
        # On a CPU the peer is stock eager PyTorch in the better of its two layouts; elsewhere the fastest.
        stock = [w for w in theirs if w in ("eager float32", "eager float32 channels-last")]
        candidates = stock if mesh.devices.flat[0].platform == "cpu" else list(theirs)
        best = max(candidates, key=lambda w: statistics.median(theirs[w]), default=None)
        if best is None:
            row(f"{what}.{end}", UNIT, ours)
        else:
            row(f"{what}.{end}", UNIT, ours, f"torch {best}", theirs[best])
            for w in theirs:
                if w != best:
                    row(f"{what}.{end}.vs_{w.replace(' ', '_')}", UNIT, ours, f"torch {w}", theirs[w])
        tera = [rate * operations / 1e12 for rate in ours]
        row(f"{what}.{end}.flops", "TFLOP/s", tera, f"{side} x {side} product in {dtype}",
            [rate * product_flops / 1e12 for rate in rates["product"]])  # fmt: skip
        row(f"{what}.{end}.compile", "s", [seconds[what]])
    row(f"train.{end}.memory", "MiB", [_peak_memory(mesh, compiled["train"]) / 2**20])
    if architecture.name.startswith(("alexnet", "caffe", "source")):
        hours = 90 * IMAGENET / statistics.median(ours) / 3600
        notes.append(f"90 epochs of ImageNet at this rate: {hours:,.1f} hours; {PAPER_DAYS}")

    total, costs = _profile(compiled["train"], train_once, wait)
    notes.append(f"most expensive operations of a training step ({total * 1e3:,.1f} ms):")
    for name, cost in costs[:MOST_EXPENSIVE]:
        notes.append(f"  {cost * 1e3:9.3f} ms  {cost / total:6.1%}  {name}")
        row(f"operation.{name.split(' ')[0]}.{end}", "ms", [cost * 1e3])
    if mesh.size == 1:
        for name, what, took in _layers(bench, runs):
            row(f"layer.{name}.{what}.{end}", "ms", [second * 1e3 for second in took])
    else:
        notes.append("layers one by one: on a mesh of one device only")
    return rows, notes


def _run_seconds(mesh: Any) -> float:
    return SECONDS if mesh.devices.flat[0].platform == "cpu" else SECONDS / 3


def _device(mesh: Any) -> str:
    found = mesh.devices.flat[0]
    kind = timing.host() if found.platform == "cpu" else found.device_kind
    return kind if mesh.size == 1 else f"{mesh.size} x {kind}"


def _product(mesh: Any, dtype: str) -> tuple[int, Callable[[], float]]:
    """A square matrix product on one device of the mesh: its side, and a contestant in products a second."""
    found = mesh.devices.flat[0]
    side = 2048 if found.platform == "cpu" else 8192
    draw = np.random.default_rng(0)
    a, b = (
        jax.device_put(jnp.asarray(draw.standard_normal((side, side), np.float32), dtype), found)
        for _ in range(2)
    )
    multiply = jax.jit(jnp.matmul)
    latest = a

    def once(number: int) -> None:
        nonlocal latest
        latest = multiply(a, b)

    return side, timing.repeated(once, lambda: jax.block_until_ready(latest), _run_seconds(mesh))


def _peak_memory(mesh: Any, compiled: Any) -> float:
    """Bytes: what the device says, else (on a CPU) what the compiled step needs."""
    stats = mesh.devices.flat[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    need = compiled.memory_analysis()
    return (
        need.argument_size_in_bytes
        + need.output_size_in_bytes
        + need.temp_size_in_bytes
        - need.alias_size_in_bytes
    )


@dataclasses.dataclass
class _Peer:
    """The process in which PyTorch runs."""

    pipe: Any
    threads: int
    forms: list[Any]

    def contestant(self, form: Any, what: str, name: str, failed: dict[str, str]) -> Callable[[], float]:
        def once() -> float:
            if name in failed:
                return 0.0
            self.pipe.send((form, what))
            try:
                answer = self.pipe.recv()
            except EOFError:
                raise RunFailure(f"the process that runs PyTorch died in {name}") from None
            if isinstance(answer, str):
                failed[name] = answer
                return 0.0
            return answer

        return once


@contextlib.contextmanager
def _torch(config: ConfigDict, program: step.Program) -> Iterator[_Peer]:
    from alexnet_jax.benchmark import torch_peer

    rules = optimizer.layer_rules(program.architecture, config.optimizer, config.schedule)
    rates = optimizer.learning_rates(rules, config, optimizer.Memory(), 0.0)
    training = torch_peer.Training(
        config.optimizer.momentum,
        {
            name: (
                (rates[name]["kernel"], rule.kernel.weight_decay),
                (rates[name]["bias"], rule.bias.weight_decay),
            )
            for name, rule in rules.items()
        },
    )
    context = get_context("spawn")
    here, there = context.Pipe()
    platform = "cpu" if program.mesh.devices.flat[0].platform == "cpu" else "cuda"
    given = (there, program.architecture, training, config.data.batch_size, BATCHES, platform,
             timing.cores(), _run_seconds(program.mesh))  # fmt: skip
    process = context.Process(target=torch_peer.serve, args=given, daemon=True)
    process.start()
    there.close()
    try:
        try:
            told = here.recv()
        except EOFError:
            raise RunFailure("the process that runs PyTorch did not start") from None
        yield _Peer(here, **told)
    finally:
        process.kill()
        process.join()


def _profile(
    compiled: Any, once: Callable[[int], None], wait: Callable[[], None]
) -> tuple[float, list[tuple[str, float]]]:
    """Seconds a step in all operations together, and of each with its name, the most expensive first.

    On a CPU operations run side by side, so that their sum may exceed the step.
    """
    wait()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for number in range(PROFILED):
                once(number)
            wait()
        found = next(Path(folder).rglob("*.xplane.pb"))
        took = operation_seconds(jax.profiler.ProfileData.from_file(str(found)))
    named = re.findall(r"%?([\w.\-]+) = [^\n]*metadata=\{[^}]*op_name=\"([^\"]*)\"", compiled.as_text())
    origin = {_kernel(name): source for name, source in named}
    each = [
        (f"{name} {origin.get(_kernel(name), '')}".strip(), s / PROFILED) for name, s in took.most_common()
    ]
    return sum(s for _, s in each), each


def operation_seconds(profile: Any) -> Counter[str]:
    """Seconds that each operation of the compiled program took in a profile.

    What a GPU runs from a command buffer bears the name of the kernel, which is the operation's
    but for its dots.
    """
    took: Counter[str] = Counter()
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                for name, operation in event.stats:
                    if name == "hlo_op":
                        buffered = operation.startswith("command_buffer")
                        took[_without_types(event.name) if buffered else operation] += event.duration_ns / 1e9
    return took


def _without_types(kernel: str) -> str:
    """'void f<...>(...)' as 'f', and no more than the beginning of a mangled name."""
    name = re.split(r"[<(]", kernel.removeprefix("void "))[0].strip().replace(" ", "_")
    return name[:60] if name.startswith("_Z") else name


def _kernel(operation: str) -> str:
    return operation.replace(".", "_").replace("-", "_")


def _layers(bench: Bench, runs: int) -> Iterator[tuple[str, str, list[float]]]:
    """(name, 'forward' or 'gradient', seconds) of each layer, compiled apart from all others."""
    architecture = bench.program.architecture
    table = architectures.shapes(architecture)
    dtype = jnp.dtype(architecture.compute_dtype)
    device = bench.program.mesh.devices.flat[0]
    jit = partial(jax.jit, compiler_options=sharding.compiler_options(architecture, bench.program.mesh))
    params = jax.device_put(bench.state.params, device)
    draw = np.random.default_rng(0)

    def random(shape: tuple[int, ...]) -> jax.Array:
        values = draw.standard_normal((bench.batch_size, *shape), np.float32)
        return jax.device_put(jnp.asarray(values, dtype), device)

    seen: tuple[int, ...] = (architecture.crop, architecture.crop, architecture.channels)
    first = True
    for layer in architecture.layers:
        shape = table[layer.name]
        weights = params.get(layer.name)
        x, g = random(seen), random(shape.output)
        mask = random(shape.output) > 0 if isinstance(layer, architectures.Dropout) else None

        def forward(weights: Any, x: jax.Array, layer: Any = layer, mask: Any = mask) -> jax.Array:
            if weights is not None:
                weights = (weights["kernel"].astype(dtype), weights["bias"].astype(dtype))
            return network.apply_layer(layer, x, weights, mask, architecture.towers, None)

        def pull(weights: Any, x: jax.Array, first: bool = first, forward: Any = forward) -> Any:
            if first:  # pictures need no gradient
                return jax.vjp(lambda weights: forward(weights, x), weights)[1]
            return jax.vjp(forward, weights, x)[1]

        back = jit(pull)(weights, x)
        apply, gradient = jit(forward), jit(lambda back, g: back(g))
        yield layer.name, "forward", _seconds(apply, weights, x, runs=runs)
        yield layer.name, "gradient", _seconds(gradient, back, g, runs=runs)
        seen, first = shape.output, first and not shape.kernel


def _seconds(function: Callable[..., Any], *arguments: Any, runs: int) -> list[float]:
    """Seconds of a call in each of `runs` runs."""
    latest: Any = None

    def once(number: int) -> None:
        nonlocal latest
        latest = function(*arguments)

    timed = timing.repeated(once, lambda: jax.block_until_ready(latest), SECONDS / 20)
    return [1 / timed() for _ in range(runs)]


def draw(rows: Rows, path: Path) -> None:
    """A figure: images a second beside the peers', and where a step's layers spend their time."""
    from matplotlib.figure import Figure

    rates = [row for row in rows if row["unit"] == UNIT]
    layers: Mapping[str, dict[str, float]] = {}
    for row in rows:
        part = row["name"].split(".")
        if part[1] == "layer":
            layers = {**layers, part[2]: {**layers.get(part[2], {}), part[3]: row["median"]}}
    figure = Figure(figsize=(9, 1.2 + 0.3 * (2 * len(rates) + len(layers))), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(2 * len(rates) + 2, len(layers) + 2))
    bars: dict[str, tuple[float, str]] = {}
    for row in rates:
        what, batch = row["name"].split(".")[1:3]
        what = {"train": "training step"}.get(what, what)
        bars[f"{what}, this program"] = (row["median"], "tab:blue")
        if row["peer"]:
            bars[f"{what}, {row['peer']}"] = (row["peer_median"], "tab:gray")
    above.barh(list(bars), [v for v, _ in bars.values()], color=[c for _, c in bars.values()])
    above.invert_yaxis()
    above.set_xlabel(f"images a second, batch of {batch[1:]}")
    above.set_title(rates[0]["device"], fontsize=9)
    left = np.zeros(len(layers))
    for what in ("forward", "gradient"):
        values = np.asarray([each.get(what, 0.0) for each in layers.values()])
        below.barh(list(layers), values, left=left, label=what)
        left += values
    below.invert_yaxis()
    below.set_xlabel("milliseconds of a layer, compiled alone")
    below.legend()
    figure.savefig(path)
