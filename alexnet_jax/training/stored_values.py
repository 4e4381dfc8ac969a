"""The values of frozen layers, computed once: a head trains on them where nothing below it changes.

The layers from the image to the last one before what is trained give the same values for the same view of an
image at every epoch. They are computed before the first step for every image that trains or validates, kept
on the devices, and gathered for each batch. Which images a step reads, and the masks of its dropout, are
those of a run that computes them anew.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.data import order, pipeline
from alexnet_jax.data.augment import center_offset
from alexnet_jax.data.batch import Batches
from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import metrics
from alexnet_jax.evaluation.split import BatchPredictor
from alexnet_jax.model import inputs, network, sharding
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture, Dropout, Weighted
from alexnet_jax.progress import Progress
from alexnet_jax.training.optimizer import LayerRule
from alexnet_jax.training.resident import Resident
from alexnet_jax.training.setup import RunSetup
from alexnet_jax.training.step import Program


@dataclass(frozen=True)
class Plan:
    """Say at which layer values are stored, and how many.

    Attributes:
      layer: the last one that is the same at every epoch.
      views: of each training image; the crops, flips and lighting of that many first epochs, which repeat.
      train_images, validation_images: images of which values are stored.
      bytes: what they take on a device.
      room: what they may take.
    """

    layer: str
    views: int
    train_images: int
    validation_images: int
    bytes: int
    room: int

    @property
    def fits(self) -> bool:
        """Whether there is room; else every step computes the whole net."""
        return self.bytes <= self.room

    def line(self) -> str:
        """Return what the banner says."""
        images = self.train_images + self.validation_images
        views = f" in {self.views} views" if self.views > 1 else ""
        if not self.fits:
            return (
                f"frozen layers: the values of {self.layer} for {images:,} images{views} would take "
                f"{self.bytes / 1e9:,.1f} GB, more than {self.room / 1e9:,.1f}: each step computes them"
            )
        return (
            f"frozen layers: the values of {self.layer} are computed once, for {images:,} images{views}, "
            f"{self.bytes / 1e6:,.0f} MB"
        )


def plan(setup: RunSetup, rules: Mapping[str, LayerRule], room: int) -> Plan | None:
    """Return which values may be stored for a run; None where each step differs from the first layer on.

    They may where a layer with weights is never trained and nothing random stands before it: images are
    neither cropped at random, flipped nor lit, or `config.train.stored_views` says how many views of each
    are enough.

    Args:
      setup: the run.
      rules: of its layers.
      room: how many bytes of values each device may hold, the same for all processes.

    Raises:
      UsageError: the run is another one without the values, and they have no room or lie with several
        processes.
    """
    config, architecture = setup.config, setup.architecture
    random = config.data.random_crop or config.data.flip or config.data.lighting
    views = config.train.stored_views if random else 1
    layer = _last_fixed(architecture, rules, dropout_off=setup.fits_at_once)
    if not layer or not views:
        return None
    split = config.data.validation_split
    validation_images = setup.dataset.size(split) if split else 0
    size = (
        math.prod(layer_shapes(architecture)[layer].output) * jnp.dtype(architecture.compute_dtype).itemsize
    )
    total = size * (setup.train_images * views + validation_images) // setup.mesh.shape["model"]
    found = Plan(layer, views, setup.train_images, validation_images, total, room)
    _check_needed(found, setup)
    return found


def _check_needed(found: Plan, setup: RunSetup) -> None:
    """Refuse what only stored values can do where they cannot be stored."""
    if setup.fits_at_once and jax.process_count() > 1:
        raise UsageError(
            "config.optimizer.name='lbfgs' fits in one process: start it in one, or use 'momentum'"
        )
    if found.fits or not (setup.fits_at_once or found.views > 1):
        return
    room = f"more than {found.room / 1e9:,.1f}"
    size = f"the values of {found.layer} would take {found.bytes / 1e9:,.1f} GB, {room}"
    if setup.fits_at_once:
        raise UsageError(
            f"config.optimizer.name='lbfgs' needs all at once, and {size}: use --config=finetune, or name in "
            "config.model.probe a layer with fewer"
        )
    raise UsageError(f"config.train.stored_views={found.views}: {size}: store fewer views")


def _last_fixed(architecture: Architecture, rules: Mapping[str, LayerRule], dropout_off: bool) -> str:
    """Return the last layer before anything trained or random; '' where no layer with weights is below it."""
    last, weighted = "", False
    for layer in architecture.layers:
        random = isinstance(layer, Dropout) and not dropout_off
        if random or (isinstance(layer, Weighted) and rules[layer.name].frozen_from > 0):
            break
        weighted |= isinstance(layer, Weighted)
        last = layer.name
    return last if weighted else ""


def predictor(program: Program, params: Any) -> BatchPredictor:
    """Return a function of a batch with `values` to probabilities (B, classes): the net after them."""
    probabilities = _probabilities(program.architecture, program.mesh, program.start)
    return lambda batch: probabilities(params, batch["values"])


@lru_cache(8)
def _probabilities(net: Architecture, mesh: Mesh, start: str) -> Callable[[Any, jax.Array], jax.Array]:
    def probabilities(params: Any, values: jax.Array) -> jax.Array:
        logits = network.forward(net, mesh, params, values, start=start)[net.logits]
        return jnp.exp(metrics.log_softmax(logits))

    return jax.jit(probabilities, compiler_options=sharding.compiler_options(net, mesh))


def compute(
    setup: RunSetup,
    program: Program,
    params: Any,
    mean: jax.Array,
    plan: Plan,
    stopped: Callable[[], bool] = lambda: False,
    shown: bool = True,
) -> tuple[Resident, Resident | None] | None:
    """Compute the values of a plan, for the images that train and for those that validate.

    Args:
      setup: the run.
      program: its net.
      params: {layer: {'kernel', 'bias'}} of the layers up to the plan's, at least.
      mean: what `inputs.mean_array` gave, on the mesh.
      plan: what is stored.
      stopped: asked at each batch; True gives it up.
      shown: whether progress is shown.

    Returns:
      Those that train, and those that validate, None where there are none; None when stopped.

    Raises:
      RunFailure: a damaged record.
    """
    config, mesh = setup.config, setup.mesh
    total = plan.views * plan.train_images + plan.validation_images
    with Progress(f"values of {plan.layer}", total, "images", shown=shown) as progress:
        fill = _Fill(setup, program, params, mean, plan.layer, stopped, progress)
        size, count = config.data.batch_size, plan.views * plan.train_images
        epoch_order = lru_cache(2)(order.epoch_order)

        def rows_of(number: int) -> np.ndarray:
            epochs, indices = order.record_indices(plan.train_images, config.seed, size, number, epoch_order)
            rows = epochs * plan.train_images + indices  # epoch after epoch, each in order of records
            positions = number * size + np.arange(size)
            return np.where(positions < count, rows, count)  # those of the epoch after are left out

        batches = pipeline.training_batches(
            setup.dataset,
            config.data,
            config.seed,
            first_batch=0,
            last_batch=-(-count // size),
            rows=sharding.rows_here(mesh, size),
        )
        train = fill(batches, count, rows_of)
        if train is None:
            return None
        if not plan.validation_images:
            return train, None
        size = setup.evaluation_rows
        split, rows = config.data.validation_split, sharding.rows_here(mesh, size)
        batches = pipeline.evaluation_batches(setup.dataset, split, config.data, size, rows=rows)
        validation = fill(batches, plan.validation_images, lambda number: number * size + np.arange(size))
        return None if validation is None else (train, validation)


@dataclass(frozen=True)
class _Fill:
    """Fill stored values from batches of images."""

    setup: RunSetup
    program: Program
    params: Any
    mean: jax.Array
    layer: str
    stopped: Callable[[], bool]
    progress: Progress

    def __call__(self, batches: Batches, count: int, rows_of: Callable[[int], np.ndarray]) -> Resident | None:
        """Return `count` rows: the batch of a number fills `rows_of(number)`, but none from `count` on."""
        net, mesh = self.program.architecture, self.program.mesh
        shape = (count, *layer_shapes(net)[self.layer].output)
        by_tower = NamedSharding(mesh, P(*[None] * (len(shape) - 1), "model"))
        shardings = by_tower, sharding.replicated(mesh)
        edge = center_offset(self.setup.config.data.size, net.crop)

        def fill(stored: Any, params: Any, mean: jax.Array, batch: Any, rows: jax.Array) -> Any:
            ready = batch["image"].shape[1] == net.crop
            view = batch if ready else inputs.view(batch["image"], edge, edge, False, net.crop)
            x = inputs.normalise(view, mean, self.program.normalization)
            found = network.forward(net, mesh, params, x, wanted=(self.layer,))[self.layer]
            values, labels = stored
            return values.at[rows].set(found, mode="drop"), labels.at[rows].set(batch["label"], mode="drop")

        options = sharding.compiler_options(net, mesh)
        compiled = jax.jit(fill, donate_argnums=0, out_shardings=shardings, compiler_options=options)
        empty = jnp.zeros(shape, net.compute_dtype), jnp.zeros(count, jnp.int32)
        stored = jax.device_put(empty, shardings)
        with closing(batches):
            for number, host in enumerate(batches):
                if self.stopped():
                    return None
                rows = sharding.replicate(np.asarray(rows_of(number), np.int32), mesh)
                batch = sharding.to_device(host, mesh)
                stored = compiled(stored, self.params, self.mean, batch, rows)
                jax.block_until_ready(stored)
                self.progress.update(min(len(rows), (self.progress.total or 0) - self.progress.done))
        return Resident(self.setup, "values", *stored)
