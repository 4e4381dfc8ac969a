"""Where a run's batches come from: the devices, or records by way of the host."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from alexnet_jax.data import pipeline
from alexnet_jax.data.batch import Batch
from alexnet_jax.model import sharding
from alexnet_jax.training import dispatch, resident, stored_values
from alexnet_jax.training.dispatch import Dispatches
from alexnet_jax.training.optimizer import LayerRule
from alexnet_jax.training.profiler import Profiler
from alexnet_jax.training.resident import ImagesPlan, Resident
from alexnet_jax.training.setup import RunSetup
from alexnet_jax.training.step import Program
from alexnet_jax.training.stored_values import Plan
from alexnet_jax.training.throughput import Window, batches_ahead


@dataclass(frozen=True)
class Plans:
    """Say what is to lie on the devices.

    Attributes:
      values: of frozen layers; None: each step computes the whole net.
      images: of the run; None where values lie there.
    """

    values: Plan | None
    images: ImagesPlan | None

    @classmethod
    def of(cls, setup: RunSetup, rules: Mapping[str, LayerRule], room: int) -> "Plans":
        """Return them for a run on devices that have room for so many bytes each.

        Raises:
          UsageError: as `stored_values.plan` and `resident.plan_images`.
        """
        values = stored_values.plan(setup, rules, room)
        stored = values is not None and values.fits
        return cls(values, None if stored else resident.plan_images(setup, room))

    def lines(self) -> list[str]:
        """Return what the banner says."""
        return [plan.line() for plan in (self.values, self.images) if plan is not None]


@dataclass(frozen=True)
class Feed:
    """Hold a run's batches.

    Attributes:
      start: the layer whose values they have; '': they have images.
      training, validation: what lies on the devices; None where records are read.
      dispatches: how many updates each dispatch makes.
      batches: to come, one a dispatch; with `dispatches.most` above 1 those of its updates, stacked.
      close: ends threads and processes.
    """

    start: str
    training: Resident | None
    validation: Resident | None
    dispatches: Dispatches
    batches: Generator[Batch[jax.Array], None, None]
    close: Callable[[], None]


def open_feed(
    setup: RunSetup,
    rules: Mapping[str, LayerRule],
    plans: Plans,
    net: tuple[Program, Any, jax.Array],
    first: int,
    window: Window,
    profiler: Profiler,
    stopped: Callable[[], bool],
) -> Feed:
    """Put on the devices what is to lie there, and return the batches from number `first` on.

    Args:
      setup: the run.
      rules: of its layers.
      plans: what is to lie on the devices.
      net: the program, its parameters, and the mean on the mesh.
      first: updates that were made before; with all made, nothing is loaded.
      window: is told of waits for input.
      profiler: no dispatch goes past a step at which its trace begins or ends.
      stopped: asked at each batch that is loaded; True gives it up.

    Raises:
      RunFailure: a damaged record.
    """
    config, (program, params, mean) = setup.config, net
    shown, found, start = not jax.process_index(), None, ""
    if first < setup.total_steps and plans.values is not None and plans.values.fits:
        found = stored_values.compute(setup, program, params, mean, plans.values, stopped, shown)
        start = plans.values.layer if found is not None else ""
    elif first < setup.total_steps and plans.images is not None and not plans.images.reason:
        found = resident.load(setup, plans.images, stopped, shown)
    most = dispatch.most_updates(setup.architecture, setup.mesh, config.data.batch_size, start)
    dispatches = Dispatches(setup, rules, 1 if program.accumulate_steps > 1 else most, profiler.steps)
    closing = contextlib.ExitStack()
    if found is not None:
        batches = found[0].training_batches(dispatches, first)
    else:
        host_batches = pipeline.training_batches(
            setup.dataset,
            config.data,
            config.seed,
            first_batch=first,
            last_batch=setup.total_steps,
            rows=sharding.rows_here(setup.mesh, config.data.batch_size),
        )
        closing.callback(host_batches.close)
        stacks = dispatch.stacked(host_batches, dispatches.counts(first), dispatches.most)
        batches = batches_ahead(stacks, setup.mesh, window, dispatches.most > 1)
    closing.callback(batches.close)
    training, validation = found or (None, None)
    return Feed(start, training, validation, dispatches, batches, closing.close)
