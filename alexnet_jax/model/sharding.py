"""The mesh ('data', 'model'), every PartitionSpec, and what puts arrays where they belong.

With two devices along `model` each tower has a device of its own, as each had a GPU in 2012; with one,
both stand side by side on it. `data` multiplies that by any number of replicas.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.errors import UsageError
from alexnet_jax.model.layers import SMALL_SIDE
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture, Dropout

Params = dict[str, dict[str, jax.Array]]


def make_mesh(
    data: int, model: int, towers: int, batch_size: int, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Return a mesh of `data` x `model` devices.

    Args:
      data: replicas; 0: as many as the devices and the batch allow.
      model: devices for a replica's towers, 1 or 2; 0: 2 where the net has two towers and there are two
        devices, else 1.
      towers: the net's towers.
      batch_size: images in a batch, which the data axis must divide.
      devices: all of the process group by default.

    Raises:
      UsageError: too few devices, a net of one tower on a model axis of 2, a batch that does not divide, a
        process without a device.
    """
    devices = list(jax.devices() if devices is None else devices)
    if model == 0:
        model = 2 if towers == 2 and len(devices) >= 2 else 1
    if model > towers:
        raise UsageError(f"config.mesh.model={model}: this net has {towers} tower, set config.mesh.model=1")
    if data == 0:
        most = max(len(devices) // model, 1)
        data = max(n for n in range(1, most + 1) if batch_size % n == 0)
    if data * model > len(devices):
        raise UsageError(
            f"config.mesh asks for {data} x {model} = {data * model} devices and there are {len(devices)}; "
            f"on a CPU, XLA_FLAGS=--xla_force_host_platform_device_count={data * model} simulates them"
        )
    if batch_size % data:
        raise UsageError(f"a batch of {batch_size} images does not divide over config.mesh.data={data}")
    used = devices[: data * model]
    idle = {d.process_index for d in devices} - {d.process_index for d in used}
    if idle:
        raise UsageError(
            f"config.mesh={data} x {model} leaves process {min(idle)} without a device: set config.mesh.data "
            f"so that all {len(devices)} devices have work, or start fewer processes"
        )
    grid = np.asarray(used).reshape(data, model)
    return Mesh(grid, ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))


def param_specs(architecture: Architecture) -> dict[str, dict[str, P]]:
    """Return how each parameter is sharded, {layer: {'kernel', 'bias'}}.

    Towers are sharded over `model`; the last layer's bias, which has none, is whole everywhere.
    """
    return {
        name: {"kernel": P("model"), "bias": P("model") if len(shape.bias) > 1 else P()}
        for name, shape in layer_shapes(architecture).items()
        if shape.kernel
    }


def param_shardings(architecture: Architecture, mesh: Mesh) -> dict[str, dict[str, NamedSharding]]:
    """Return `param_specs` on `mesh`."""
    return {
        name: {part: NamedSharding(mesh, spec) for part, spec in specs.items()}
        for name, specs in param_specs(architecture).items()
    }


def batch_sharding(mesh: Mesh, stacked: bool = False) -> NamedSharding:
    """Return the sharding of a batch's arrays: rows over `data`; `stacked`: they are those of several."""
    return NamedSharding(mesh, P(None, "data") if stacked else P("data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of what is whole on every device."""
    return NamedSharding(mesh, P())


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Put arrays of the host, the same in every process, whole on every device of `mesh`.

    `jax.device_put` would compare them between the processes, by a program of its own for each array.
    """
    sharding = replicated(mesh)
    if jax.process_count() == 1:  # all arrays at once
        return jax.device_put(jax.tree.map(np.asarray, tree), sharding)

    def put(x: Any) -> jax.Array:
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree)


def to_device(batch: Mapping[str, Any], mesh: Mesh, stacked: bool = False) -> Any:
    """Return this process's rows of a batch as global arrays, sharded over `data`.

    `stacked`: the arrays hold several batches, (batches, B, ...).
    """
    sharding = batch_sharding(mesh, stacked)
    if jax.process_count() == 1:  # all arrays at once: one by one they cost more than a small step
        return jax.device_put(dict(batch), sharding)
    return {name: jax.make_array_from_process_local_data(sharding, value) for name, value in batch.items()}


def rows_here(mesh: Mesh, batch_size: int) -> tuple[int, int]:
    """Return which rows (first, last + 1) of a global batch the devices of this process hold."""
    slices = batch_sharding(mesh).addressable_devices_indices_map((batch_size,)).values()
    bounds = [s[0].indices(batch_size) for s in slices if s is not None]
    return min(b[0] for b in bounds), max(b[1] for b in bounds)


def padded_batch_size(batch_size: int, mesh: Mesh) -> int:
    """Return the smallest multiple of the data axis that is at least `batch_size`: padding fills it."""
    data = int(mesh.shape["data"])
    return -(-batch_size // data) * data


def must_run_in_turn(mesh: Mesh) -> bool:
    """Return whether programs on `mesh` must not run at the same time.

    Programs that exchange and do not need each other's results can lock each other on simulated devices:
    each holds the thread that the other waits for, and XLA ends the process after 40 seconds.
    """
    return mesh.size > 1 and mesh.devices.flat[0].platform == "cpu"


def abstract_like(tree: Any, shardings: Any) -> Any:
    """Return `tree` with a jax.ShapeDtypeStruct for each array: its shape, its dtype, and its sharding.

    Args:
      tree: of arrays.
      shardings: a tree of the same structure, that restored arrays are to have.
    """
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings)


def compiler_options(architecture: Architecture, mesh: Mesh) -> dict[str, str] | None:
    """Return XLA's options for compiling the network: for `jax.jit(compiler_options=...)`; None: its own.

    On a CPU XLA leaves convolutions to YNNPACK, which is slower than Eigen on small images and no slower on
    large ones. Of small nets it gets the plain products alone.
    """
    if mesh.devices.flat[0].platform == "cpu" and architecture.crop <= SMALL_SIDE:
        return {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
    return None


def dropout_masks(
    architecture: Architecture, key: jax.Array, batch: int, mesh: Mesh | None
) -> dict[str, jax.Array]:
    """Draw for each dropout layer which values are kept: bool (batch, *its output), one global array.

    Drawn outside `shard_map`, so that the bits depend on the key alone and not on the topology. The key of a
    layer folds in its number in the table.
    """
    table = layer_shapes(architecture)
    masks = {}
    for number, layer in enumerate(architecture.layers):
        if isinstance(layer, Dropout):
            mask = jax.random.bernoulli(
                jax.random.fold_in(key, number), 1 - layer.rate, (batch, *table[layer.name].output)
            )
            if mesh is not None:
                spec = NamedSharding(mesh, P("data", *[None] * (mask.ndim - 2), "model"))
                mask = jax.lax.with_sharding_constraint(mask, spec)
            masks[layer.name] = mask
    return masks
