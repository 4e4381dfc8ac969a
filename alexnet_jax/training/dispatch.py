"""How many updates one dispatch makes: a call of the device that costs the host as much as many small steps.

A loop in the compiled program makes them where that is fast: on accelerators, and on a CPU for nets without
convolutions, which are 25 times slower there inside a loop. No dispatch goes past a step after which
something is due, or before which a learning rate changes in a jump.
"""

import bisect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from alexnet_jax.data.batch import Batch
from alexnet_jax.model import network
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture
from alexnet_jax.training import diagnosis, optimizer
from alexnet_jax.training.optimizer import LayerRule
from alexnet_jax.training.setup import RunSetup

MAX_UPDATES = 512
MAX_BYTES = 2**25  # of the batches of a dispatch; two of them wait on the device
# About a quarter of a second of slow devices: in a dispatch no signal is heard.
MAX_OPERATIONS = {"cpu": 10**9, "accelerator": 2 * 10**12}


def most_updates(architecture: Architecture, mesh: Mesh, batch_size: int, start: str = "") -> int:
    """Return how many updates a dispatch makes at most.

    Args:
      architecture: the net.
      mesh: its devices.
      batch_size: images of a batch.
      start: the layer from whose stored values it continues; '': from images.
    """
    table = layer_shapes(architecture)
    trained = [table[layer.name] for layer in network.layers_after(architecture, start)]
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    if on_cpu and any(len(shape.kernel) > 3 for shape in trained):  # more than (towers, inputs, outputs)
        return 1
    operations = 6 * batch_size * sum(shape.multiply_accumulates for shape in trained)
    side, channels = architecture.crop, architecture.channels
    one = math.prod(table[start].output) * jnp.dtype(architecture.compute_dtype).itemsize if start else 0
    size = batch_size * (one or side * side * channels)
    limit = MAX_OPERATIONS["cpu" if on_cpu else "accelerator"]
    return max(1, min(MAX_UPDATES, limit // max(operations, 1), MAX_BYTES // size))


@dataclass(frozen=True)
class Dispatches:
    """Divide the steps of a run into dispatches.

    Attributes:
      setup: the run.
      rules: of its layers.
      most: updates of a dispatch at most.
      edges: further steps that none goes past, such as those between which a trace is taken.
    """

    setup: RunSetup
    rules: Mapping[str, LayerRule]
    most: int
    edges: tuple[int, ...] = ()

    def count(self, step: int) -> int:
        """Return how many updates the dispatch makes that starts after `step`; 0 after the last."""
        config, total = self.setup.config, self.setup.total_steps
        last = min(step + self.most, total)
        if last <= step + 1:
            return max(last - step, 0)
        every_steps = config.train.log_every_steps
        edges = {(step // every_steps + 1) * every_steps, *self.edges}
        edges |= diagnosis.flat_loss_steps(config.train, total)
        last = min([last] + [edge for edge in edges if edge > step])
        for every in (config.train.evaluate_every_epochs, config.checkpoint.every_epochs):
            last = self._first(step, last, partial(self._intervals, every))
        jumps = optimizer.jumps(self.rules, config.schedule)
        return self._first(step, last, lambda s: bisect.bisect(jumps, self.setup.epoch(s))) - step

    def counts(self, first: int) -> Iterator[int]:
        """Yield `count` of each dispatch after the step `first`."""
        while count := self.count(first):
            yield count
            first += count

    def due(self, step: int, every_epochs: float) -> bool:
        """Return whether a step is the first at or after a multiple of `every_epochs`, or the last."""
        if step == 0:
            return False
        before, now = (self._intervals(every_epochs, s) for s in (step - 1, step))
        return step >= self.setup.total_steps or now > before

    def _intervals(self, every_epochs: float, step: int) -> int:
        return math.floor(self.setup.epoch(step) / every_epochs + 1e-9)

    def _first(self, step: int, last: int, count: Callable[[int], int]) -> int:
        """Return the first later step, up to `last`, at which a count that never falls has risen."""
        now = count(step)
        return bisect.bisect_left(range(last), True, step + 1, key=lambda s: count(s) > now)


def stacked(
    batches: Iterator[Batch[np.ndarray]], counts: Iterable[int], most: int
) -> Iterator[Batch[np.ndarray]]:
    """Yield for each count so many batches as one: their arrays stacked, (most, B, ...), the rest zeros.

    With a `most` of 1 they stay as they are, (B, ...).
    """
    if most == 1:
        yield from batches
        return
    for count in counts:
        stack: dict[str, np.ndarray] = {}
        for row in range(count):
            for name, value in cast(dict[str, np.ndarray], next(batches)).items():
                if row == 0:
                    stack[name] = np.zeros((most, *value.shape), value.dtype)
                stack[name][row] = value
        yield cast(Batch[np.ndarray], stack)
