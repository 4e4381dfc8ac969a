"""Where a training step spends its time: by operation, from a profile, and by layer, compiled alone."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.benchmark import timing
from alexnet_jax.model import sharding, specs
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.training import step

PROFILED = 3  # steps


def profile(
    compiled: Any, once: Callable[[int], None], wait: Callable[[], None]
) -> tuple[float, list[tuple[str, float]]]:
    """Run a compiled program under the profiler.

    On a CPU operations run side by side, so that their sum may exceed the step.

    Args:
      compiled: the program, for what its operations are made of.
      once: starts one step; it is given a number that counts up from 0.
      wait: returns when all work that was started is done.

    Returns:
      Seconds a step in all operations together, and of each with its name, the most expensive first.
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
    """Return the seconds that each operation of the compiled program took in a profile.

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
    """Return 'void f<...>(...)' as 'f', and no more than the beginning of a mangled name."""
    name = re.split(r"[<(]", kernel.removeprefix("void "))[0].strip().replace(" ", "_")
    return name[:60] if name.startswith("_Z") else name


def _kernel(operation: str) -> str:
    return operation.replace(".", "_").replace("-", "_")


def layers(
    program: step.Program, params: Any, batch_size: int, seconds: float, runs: int
) -> Iterator[tuple[str, str, list[float]]]:
    """Run each layer of a net on one device, compiled apart from all others, on random values.

    Args:
      program: the training step.
      params: {layer: {'kernel', 'bias'}}.
      batch_size: rows of the values.
      seconds: how long a run lasts, about.
      runs: of each layer and direction.

    Yields:
      (layer, 'forward' or 'gradient', the seconds of a call in each run).
    """
    architecture, mesh = program.architecture, program.mesh
    table = layer_shapes(architecture)
    dtype = jnp.dtype(architecture.compute_dtype)
    device = mesh.devices.flat[0]
    jit = partial(jax.jit, compiler_options=sharding.compiler_options(architecture, mesh))
    params = jax.device_put(params, device)
    draw = np.random.default_rng(0)

    def random(shape: tuple[int, ...]) -> Any:
        values = draw.standard_normal((batch_size, *shape), np.float32)
        return jax.device_put(jnp.asarray(values, dtype), device)

    input_shape: tuple[int, ...] = (architecture.crop, architecture.crop, architecture.channels)
    first = True
    for layer in architecture.layers:
        shape = table[layer.name]
        weights = params.get(layer.name)
        x, g = random(input_shape), random(shape.output)
        mask = random(shape.output) > 0 if isinstance(layer, specs.Dropout) else None

        def forward(weights: Any, x: jax.Array, layer: Any = layer, mask: Any = mask) -> jax.Array:
            if weights is not None:
                weights = (weights["kernel"].astype(dtype), weights["bias"].astype(dtype))
            y: jax.Array = layer.apply(x, weights, specs.Here(architecture.towers, mask=mask))
            return y

        def pull(weights: Any, x: jax.Array, first: bool = first, forward: Any = forward) -> Any:
            if first:  # images need no gradient
                return jax.vjp(lambda weights: forward(weights, x), weights)[1]
            return jax.vjp(forward, weights, x)[1]

        back = jit(pull)(weights, x)
        apply, gradient = jit(forward), jit(lambda back, g: back(g))
        yield layer.name, "forward", _seconds(partial(apply, weights, x), seconds, runs)
        yield layer.name, "gradient", _seconds(partial(gradient, back, g), seconds, runs)
        input_shape, first = shape.output, first and not shape.kernel


def _seconds(call: Callable[[], Any], seconds: float, runs: int) -> list[float]:
    """Return the seconds of a call in each of `runs` runs that last about `seconds`."""
    latest: Any = None

    def once(number: int) -> None:
        nonlocal latest
        latest = call()

    timed = timing.repeated(once, lambda: jax.block_until_ready(latest), seconds)
    return [1 / timed() for _ in range(runs)]
