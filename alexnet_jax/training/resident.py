"""Data that lies on the devices: the images of a split, decoded, or the values of a layer for them.

The host sends which rows a batch has and what was decided for them, for as many batches at once as a
dispatch has updates; the device gathers the rows and cuts the crops. Grain and the records are the source,
and stay the way for what does not fit. Both ways give the same batches, and the step is one program for both.
"""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.data import augment, order, pipeline
from alexnet_jax.data.batch import Batch
from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import metrics
from alexnet_jax.evaluation.split import BatchPredictor, evaluate_batches
from alexnet_jax.model import sharding
from alexnet_jax.progress import Progress
from alexnet_jax.training.dispatch import Dispatches
from alexnet_jax.training.setup import RunSetup

MAX_BYTES = 4 * 2**30  # on an accelerator that does not say how much memory it has
MAX_MEMORY_SHARE = 0.25  # of a device's memory; of the machine's for all devices of a CPU together


def room(mesh: Mesh) -> int:
    """Return how many bytes of data each device may hold."""
    device = mesh.devices.flat[0]
    if device.platform != "cpu":
        limit = (device.memory_stats() or {}).get("bytes_limit")
        return int(limit * MAX_MEMORY_SHARE) if limit else MAX_BYTES
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    here = sum(device.process_index == jax.process_index() for device in mesh.devices.flat)
    return int(memory * MAX_MEMORY_SHARE) // max(int(here), 1)


@dataclass(frozen=True)
class ImagesPlan:
    """Say which images lie on the devices.

    Attributes:
      train_images, validation_images: how many.
      bytes: what they take on a device.
      reason: why they are read from records instead; '': they lie on the devices.
    """

    train_images: int
    validation_images: int
    bytes: int
    reason: str = ""

    def line(self) -> str:
        """Return what the banner says."""
        images = f"{self.train_images + self.validation_images:,} images, {self.bytes / 1e6:,.1f} MB"
        if self.reason:
            return f"input: read from records at each step ({images}: {self.reason})"
        return f"input: {images} decoded, whole on each device"


def plan_images(setup: RunSetup, room: int) -> ImagesPlan:
    """Return whether a run's images lie on the devices, by `config.data.resident`.

    'auto': where they have room, and the run reads as many as an epoch has.

    Args:
      setup: the run.
      room: how many bytes of images each device may hold, the same for all processes.

    Raises:
      UsageError: it is 'always', and they have no room.
    """
    config = setup.config
    split = config.data.validation_split
    validation_images = setup.dataset.size(split) if split else 0
    one = config.data.size**2 * config.data.channels
    found = (setup.train_images, validation_images, one * (setup.train_images + validation_images))
    fits = found[2] <= room
    if config.data.resident == "always" and not fits:
        raise UsageError(
            f"config.data.resident='always': the images would take {found[2] / 1e9:,.1f} GB on each device, "
            f"more than {room / 1e9:,.1f}: use 'auto'"
        )
    reason = ""
    if config.data.resident == "never":
        reason = "config.data.resident='never'"
    elif not fits:
        reason = f"a device has room for {room / 1e6:,.1f} MB"
    elif config.data.resident == "auto" and setup.epoch(setup.total_steps) < 1:
        reason = "the run reads less than an epoch"
    return ImagesPlan(*found, reason)


@dataclass(frozen=True)
class Resident:
    """Hold images, or the values of a layer for them, on the mesh.

    Attributes:
      setup: the run.
      field: under which a batch has them: 'image' or 'values'.
      data: uint8 (N, S, S, C), whole on every device; values (N, H, W, C) or (N, C) in the net's type, of
        which every device has its towers' channels.
      labels: int32 (N,).
    """

    setup: RunSetup
    field: str
    data: jax.Array
    labels: jax.Array

    @property
    def mesh(self) -> Mesh:
        """Return the devices."""
        return self.setup.mesh

    def training_batches(self, dispatches: Dispatches, first: int) -> Generator[Batch[jax.Array], None, None]:
        """Yield the training batches from number `first` on, as `pipeline` and `dispatch.stacked` do."""
        epoch_order, size = lru_cache(2)(order.epoch_order), self.setup.config.data.batch_size
        for count in dispatches.counts(first):
            host = self._rows(first, count, epoch_order)
            if dispatches.most > 1:
                for name, x in host.items():
                    host[name] = _padded(x.reshape(count, size, *x.shape[1:]), dispatches.most)
            yield self._gather(host)
            first += count

    def _rows(self, first: int, count: int, epoch_order: order.EpochOrder) -> dict[str, np.ndarray]:
        """Return 'rows' of some training batches, int32 (count * B,), and what is decided for them.

        Values are those of whole epochs, one after another: those of the epoch's number, and after the last
        the first again.
        """
        setup, config = self.setup, self.setup.config
        images, size = setup.train_images, config.data.batch_size
        epochs, indices = order.record_indices(images, config.seed, size, first, epoch_order, count)
        if self.field == "values":
            views = len(self.labels) // images
            return {"rows": (epochs % views * images + indices).astype(np.int32)}
        positions = np.arange(first * size, (first + count) * size)
        statistics = setup.dataset.statistics
        decided = augment.decide(config.data, config.seed, statistics, images, positions, indices)
        return {"rows": indices.astype(np.int32), **cast(dict[str, np.ndarray], decided)}

    def in_order(self, batch_size: int) -> Iterator[Batch[jax.Array]]:
        """Yield every row once, in order, with weights; the last batch is padded with rows of weight 0."""
        for start in range(0, len(self.labels), batch_size):
            positions = np.arange(start, start + batch_size)
            rows = np.minimum(positions, len(self.labels) - 1).astype(np.int32)
            yield self._gather({"rows": rows, "weight": (positions < len(self.labels)).astype(np.float32)})

    def evaluate(
        self, predictor: BatchPredictor, batch_size: int, stopped: Callable[[], bool]
    ) -> list[metrics.Averages] | None:
        """Return loss and errors over all rows; None when stopped."""
        count = len(self.labels)
        with Progress("evaluate", count, "images", shown=False) as progress:
            nothing: Batch[np.ndarray] = {}
            batches = ((batch, nothing) for batch in self.in_order(batch_size))
            return evaluate_batches(batches, count, self.mesh, [predictor], stopped, progress)

    def _gather(self, host: dict[str, np.ndarray]) -> Batch[jax.Array]:
        """Return a batch on the mesh, sharded over 'data', of `rows` int32 (B,) or (batches, B).

        Training images are cut; what else stands in `host` comes along.
        """
        stacked = host["rows"].ndim > 1
        config = self.setup.config.data
        crop = 0 if self.field == "values" or "weight" in host else config.crop
        keep_offset = config.mean == "crop"
        gather = _gather(self.mesh, self.field, self.data.ndim, crop, stacked, keep_offset, tuple(host))
        batch: Batch[jax.Array] = gather(self.data, self.labels, sharding.replicate(host, self.mesh))
        return batch


def _padded(x: np.ndarray, length: int) -> np.ndarray:
    """Return an array with zeros after its rows, `length` in all."""
    padded = np.zeros((length, *x.shape[1:]), x.dtype)
    padded[: len(x)] = x
    return padded


@lru_cache(8)
def _gather(
    mesh: Mesh,
    field: str,
    ndim: int,
    crop: int,
    stacked: bool,
    keep_offset: bool,
    names: Sequence[str],
) -> Callable[..., Batch[jax.Array]]:
    """Return a program of its own, so that what steps on its batches is the same one as in the other way."""

    def gather(data: jax.Array, labels: jax.Array, host: dict[str, jax.Array]) -> Any:
        rows = host["rows"]
        batch = {name: x for name, x in host.items() if name not in ("rows", "offset")}
        batch["label"] = labels[rows]
        if not crop or crop == data.shape[1]:
            flat = data.reshape(len(data), -1)[rows]  # one run of memory a row
            batch[field] = flat.reshape(*rows.shape, *data.shape[1:])
        else:
            batch[field] = _crops(data, rows, host.get("offset"), crop)
        if keep_offset and "offset" in host:
            batch["offset"] = host["offset"]
        return batch

    leading = (None, "data") if stacked else ("data",)
    kept = {field, "label", *names} - ({"rows"} if keep_offset else {"rows", "offset"})
    shardings = {name: sharding.batch_sharding(mesh, stacked) for name in kept}
    if field == "values":
        shardings[field] = NamedSharding(mesh, P(*leading, *[None] * (ndim - 2), "model"))
    return jax.jit(gather, out_shardings=shardings)


def _crops(images: jax.Array, rows: jax.Array, offset: jax.Array | None, crop: int) -> jax.Array:
    """Return crops of the images in `rows`, (..., crop, crop, C), the centre's where there is no offset."""
    channels = images.shape[3]
    if offset is None:
        edge = augment.center_offset(images.shape[1], crop)
        center = images[:, edge : edge + crop, edge : edge + crop]
        return center[rows]

    def cut(row: jax.Array, at: jax.Array) -> jax.Array:
        size = (1, crop, crop, channels)
        return lax.dynamic_slice(images, (row, at[0], at[1], np.int32(0)), size)[0]

    crops = jax.vmap(cut)(rows.reshape(-1), offset.reshape(-1, 2))
    return crops.reshape(*rows.shape, crop, crop, channels)


def load(
    setup: RunSetup, plan: ImagesPlan, stopped: Callable[[], bool] = lambda: False, shown: bool = True
) -> tuple[Resident, Resident | None] | None:
    """Read all images of a run once and put them on the devices.

    Args:
      setup: the run.
      plan: which they are.
      stopped: asked at each batch; True gives it up.
      shown: whether progress is shown.

    Returns:
      Those that train, and those that validate, None where there are none; None when stopped.

    Raises:
      RunFailure: a damaged record.
    """
    data, found = setup.config.data, []
    with Progress("load", plan.train_images + plan.validation_images, "images", shown=shown) as progress:
        for split in filter(None, (data.train_split, data.validation_split)):
            count, size = setup.dataset.size(split), setup.evaluation_rows
            images = np.empty((count, data.size, data.size, data.channels), np.uint8)
            labels = np.empty(count, np.int32)
            batches = pipeline.evaluation_batches(setup.dataset, split, data, size, rows=(0, size))
            with closing(batches):
                for number, batch in enumerate(batches):
                    if stopped():
                        return None
                    part = slice(number * size, min((number + 1) * size, count))
                    images[part] = batch["image"][: part.stop - part.start]
                    labels[part] = batch["label"][: part.stop - part.start]
                    progress.update(part.stop - part.start)
            found.append(Resident(setup, "image", *sharding.replicate((images, labels), setup.mesh)))
    return found[0], found[1] if len(found) > 1 else None
