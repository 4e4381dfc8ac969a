"""What the devices send each other in a training step, counted in the compiled program.

Towers exchange what enters the layers that read both of them, with its gradient, and sum the last layer:
bytes for each image. Replicas sum their gradients: bytes for each step, whatever the batch. A device of a
group of n sends, of N bytes, N (n - 1) / n in an all-gather or a reduce-scatter and twice that in an
all-reduce (by a ring, which is the least that is possible).
"""

import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from alexnet_jax.benchmark import timing
from alexnet_jax.benchmark.step import random_batch, training_program
from alexnet_jax.files import check_parent
from alexnet_jax.model import architectures, inputs, sharding
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture, Weighted
from alexnet_jax.training import step

# What the arithmetic of efficiency assumes (docs/SCALING.md).
IMAGES_PER_SECOND = 2994.0  # one V100 trains so many, float32 (published, MXNet, batch 256)
LINK = 12.5e9  # bytes/s from a device to the next replica: 100 Gbit/s each
PAIR = 150e9  # bytes/s between the two devices of a replica: NVLink of a V100
HOP = 5e-6  # seconds a message takes at least
WANTED = 0.9  # share of its time in which a device computes
DEVICES = (8, 64, 512)

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}
_KINDS = "all-gather|all-reduce|reduce-scatter|collective-permute|all-to-all"
_LINE = re.compile(rf"= (\(?\w+\[.*?) ({_KINDS})(?:-start)?\((.*)")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


@dataclass(frozen=True)
class Exchange:
    """Describe one exchange of a compiled program.

    Attributes:
      kind: as HLO names it.
      devices: in a group that exchanges.
      sent: bytes that each device sends.
      values: the sizes of its arrays.
    """

    kind: str
    devices: int
    sent: float
    values: tuple[int, ...]


def exchanges(text: str) -> list[Exchange]:
    """Return the exchanges in a compiled program's HLO between two devices or more, in its order."""
    listed_exchanges = []
    for line in text.splitlines():
        match = _LINE.search(line)
        if match is None:
            continue
        shape, kind, rest = match.groups()
        devices = _group_size(kind, rest)
        if devices < 2:
            continue
        arrays = [(d, math.prod(int(n) for n in s.split(",") if n)) for d, s in _ARRAY.findall(shape)]
        size = sum(BYTES[dtype] * count for dtype, count in arrays)
        share = (devices - 1) / devices
        sent = {
            "all-gather": size * share,
            "all-reduce": 2 * size * share,
            "reduce-scatter": size * devices * share,
            "all-to-all": size * share,
            "collective-permute": size,
        }[kind]
        listed_exchanges.append(Exchange(kind, devices, sent, tuple(count for _, count in arrays)))
    return listed_exchanges


def _group_size(kind: str, rest: str) -> int:
    """Return how many devices are in a group.

    Of {{0,1},{2,3}}, of [2,2]<=[4], of mesh['a'=2,'b'=4] {'b'}, or of pairs that send.
    """
    if kind == "collective-permute":
        return 2
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", rest)
    if listed:
        return len(listed[1].split(","))
    counted = re.search(r"replica_groups=\[(\d+),(\d+)\]", rest)
    if counted:
        return int(counted[2])
    named = re.search(r"replica_groups=mesh\[(.*?)\] \{([^}]*)\}", rest)
    if named is None:
        raise ValueError(f"an exchange without groups: {rest[:200]}")
    sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
    return math.prod(sizes[name.strip(" '")] for name in named[2].split(","))


def minimum(architecture: Architecture) -> list[tuple[str, int]]:
    """Return what two devices with a tower each must send, in values an image and device (paper, figure 2).

    Its own part of what enters each layer that reads both towers, the gradient of the other's part, and its
    part of the sum in the last layer.
    """
    table = layer_shapes(architecture)
    rows: list[tuple[str, int]] = []
    input_shape: tuple[int, ...] = (architecture.crop, architecture.crop, architecture.channels)
    is_image = True
    for layer in architecture.layers:
        if isinstance(layer, Weighted):
            if layer.reads == "both" and not is_image:
                rows += [
                    (f"what enters {layer.name}", math.prod(input_shape) // 2),
                    (f"its gradient at {layer.name}", math.prod(input_shape) // 2),
                ]
            elif layer.reads == "sum":
                rows.append((f"the sum of {layer.name}", architecture.classes))
            is_image = False
        input_shape = table[layer.name].output
    return rows


def smallest_batch(devices: int, model: int, tower_bytes: float, gradient_bytes: float) -> int | None:
    """Return the images in a batch, of all devices, from which on they compute for `WANTED` of their time.

    Nothing is sent while something is computed, so this is the worst case. A replica of `model` devices
    trains b images in b / (model * speed); it sends `tower_bytes` an image and device inside itself, and a
    ring over the replicas sends 2 (n - 1) / n of a device's share of the gradients, in 2 (n - 1) hops.

    Args:
      devices: in all.
      model: 1, or 2 with a tower a device.
      tower_bytes: that a device sends for each image to the other tower's.
      gradient_bytes: of all gradients.

    Returns:
      The batch; None where the towers alone take more than there is time for.
    """
    replicas = devices // model
    gradients = 2 * (replicas - 1) / replicas * gradient_bytes / model / LINK + 2 * (replicas - 1) * HOP
    computing = 1 / (model * IMAGES_PER_SECOND)  # seconds an image of a replica
    exchanging = tower_bytes / PAIR if model == 2 else 0.0
    left = computing * (1 / WANTED - 1) - exchanging
    return math.ceil(gradients / left) * replicas if left > 0 else None


def compiled_step(config: ConfigDict, data: int, model: int, share: int = 2) -> tuple[str, Architecture, int]:
    """Compile the training step on a mesh; no parameter or image is made.

    Args:
      config: for the net and the update.
      data: replicas of the mesh.
      model: its devices for the towers of a replica.
      share: images of a replica; few compile fastest.

    Returns:
      The HLO, the net, and the images of a batch.

    Raises:
      UsageError: the mesh or the config does not fit.
    """
    architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    batch_size = share * data
    mesh = sharding.make_mesh(data, model, architecture.towers, batch_size)
    program, state, batch, mean, rates = step_shapes(config, architecture, mesh, batch_size)
    update: Any = step.compiled_train_step(program, state)
    return update.lower(state, batch, mean, rates).compile().as_text(), architecture, batch_size


def step_shapes(
    config: ConfigDict, architecture: Architecture, mesh: jax.sharding.Mesh, batch_size: int
) -> tuple[step.Program, Any, Any, Any, Any]:
    """Return the program of a training step, and the shapes and shardings of its four arguments."""
    program = training_program(config, architecture, mesh)
    whole = sharding.replicated(mesh)

    def shaped(shape: tuple[int, ...], dtype: Any, placed: Any = whole) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=placed)

    params = {
        name: {leaf: shaped(getattr(shape, leaf), np.float32) for leaf in ("kernel", "bias")}
        for name, shape in layer_shapes(architecture).items()
        if shape.kernel
    }
    count: Any = shaped((), np.int32)
    state = step.TrainState(count, params, jax.eval_shape(program.optimizer.init, params))
    state = sharding.abstract_like(state, step.state_shardings(program, state))
    rows = sharding.batch_sharding(mesh)
    one = random_batch(config.data, architecture.classes, 1, np.random.default_rng(0))
    batch = {name: shaped((batch_size, *value.shape[1:]), value.dtype, rows) for name, value in one.items()}
    size = (config.data.size, config.data.size, architecture.channels)
    grey = np.zeros(size, np.float32)
    mean = inputs.mean_array(program.normalization, grey, grey[0, 0], architecture.crop)
    rates = {name: {leaf: shaped((), np.float32) for leaf in leaves} for name, leaves in params.items()}
    return program, state, batch, shaped(mean.shape, mean.dtype), rates


def run(config: ConfigDict, output: Path) -> None:
    """Count, print the tables and write benchmark.json: `benchmark exchange`.

    Raises:
      UsageError: a net of one tower, fewer than two devices, a folder that is not there.
    """
    check_parent(output)
    text, architecture, images = compiled_step(config, 1, 2)
    towers = exchanges(text)
    least = sum(4 * count for _, count in minimum(architecture))
    counted = sum(each.sent for each in towers) / images
    lines = [f"{architecture.name}, a tower a device: bytes that a device sends for each image"]
    lines += [f"  {name:<28}{4 * count:>12,}" for name, count in minimum(architecture)]
    lines += [f"  {'at least':<28}{least:>12,}", f"  {'counted':<28}{counted:>12,.0f}", ""]
    text, _, _ = compiled_step(config, 2, 1)
    replicas = sum(each.sent for each in exchanges(text))
    size = 4 * sum(shape.parameters for shape in layer_shapes(architecture).values())
    lines += [
        "two replicas: bytes that a device sends for each step",
        f"  {'the gradients, at least':<28}{size:>12,}",
        f"  {'counted':<28}{replicas:>12,.0f}",
    ]
    lines += ["", f"batch from which on the devices compute for {WANTED:.0%} of their time (docs/SCALING.md)"]
    lines.append(f"  {'devices':>8}{'both towers on one':>22}{'a tower each':>16}")
    for devices in DEVICES:
        batches = [smallest_batch(devices, model, counted, replicas) for model in (1, 2)]
        one, two = (f"{batch:,}" if batch else "none" for batch in batches)
        lines.append(f"  {devices:>8}{one:>22}{two:>16}")
    print("\n".join(lines))
    row = partial(timing.row, {"device": jax.devices()[0].device_kind, "versions": {}})
    rows = [
        row("exchange.towers", "bytes/image", [counted], "the least possible", [least]),
        row("exchange.replicas", "bytes/step", [replicas], "the least possible", [size]),
    ]
    timing.write(output, rows)
    print(f"written to {output}")
