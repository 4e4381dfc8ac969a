"""What excites a channel: its strongest patches, and their projection back to pixels.

After Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014): one value of a channel
is kept, all others are zero, and the way back to the image undoes each layer: a max-pool puts a value where
its maximum was (the switches), a ReLU is a ReLU again, a convolution is its transposed filters without the
bias. Normalisations, dropout and other activations pass values unchanged; an average pool spreads a value
evenly.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.data.augment import center_offset
from alexnet_jax.model import inputs
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import (
    LRN,
    Activation,
    Architecture,
    Conv,
    Dropout,
    Here,
    Layer,
    Local,
    Pool,
    WithinChannelLRN,
)
from alexnet_jax.workdir.trained import TrainedNet


def convolutions(architecture: Architecture) -> tuple[str, ...]:
    """Return the names of the net's convolutions."""
    return tuple(layer.name for layer in architecture.layers if isinstance(layer, Conv))


def receptive_field(architecture: Architecture, layer: str, row: int, column: int) -> tuple[int, ...]:
    """Return what a value of `layer` at (row, column) sees of the crop: top, left, bottom, right (exclusive).

    By arithmetic alone: from the layer back to the image, clipped at its edges. A normalisation within
    channels counts: what it divides by comes from around a position.
    """
    low, high = [row, column], [row + 1, column + 1]
    for spec in reversed(_rows(architecture, layer)):
        if isinstance(spec, Conv):
            size, stride, pad = spec.kernel, spec.stride, spec.pad[0]
        elif isinstance(spec, Local):
            size, stride, pad = spec.kernel, 1, spec.pad
        elif isinstance(spec, Pool):
            size, stride, pad = spec.size, spec.stride, 0
        elif isinstance(spec, WithinChannelLRN):
            size, stride, pad = spec.size, 1, spec.size // 2
        else:
            continue
        low = [at * stride - pad for at in low]
        high = [(at - 1) * stride - pad + size for at in high]
    top, left = (max(at, 0) for at in low)
    bottom, right = (min(at, architecture.crop) for at in high)
    return top, left, bottom, right


def strongest(
    net: TrainedNet, images: np.ndarray, layers: tuple[str, ...]
) -> dict[str, tuple[np.ndarray, ...]]:
    """Find the largest value of each channel of `layers` in each image, and where it is.

    Args:
      net: the net.
      images: uint8 (B, S, S, C), whole images; the centre view counts.
      layers: convolutions.

    Returns:
      {layer: (values float32 (B, channels), rows int32 (B, channels), columns int32 (B, channels))}, before
      the ReLU.
    """
    peaks = _strongest(net.architecture, layers, _on_one_device(net), normalised(net, images))
    return {name: tuple(map(np.asarray, arrays)) for name, arrays in peaks.items()}


def projections(
    net: TrainedNet,
    images: np.ndarray,
    layer: str,
    channels: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """Project one value of each image back to its pixels.

    Args:
      net: the net.
      images: uint8 (B, S, S, C), whole images; the centre view counts.
      layer: a convolution.
      channels: int (B,), the channel of the value that is kept.
      rows: int (B,), its row in the feature map.
      columns: int (B,), its column.

    Returns:
      float32 (B, crop, crop, C), in the units of the normalised image.
    """
    position = jnp.stack([jnp.asarray(x, jnp.int32) for x in (rows, columns, channels)], axis=1)
    return np.asarray(
        _projections(net.architecture, layer, _on_one_device(net), normalised(net, images), position)
    )


def normalised(net: TrainedNet, images: np.ndarray) -> jax.Array:
    """Return the centre view of uint8 (B, S, S, C) as the net reads it, float32 (B, crop, crop, C)."""
    edge = center_offset(images.shape[1], net.architecture.crop)
    view = inputs.view(jnp.asarray(images), edge, edge, False, net.architecture.crop)
    return inputs.normalise(view, jax.device_get(net.mean), net.normalization)


def _on_one_device(net: TrainedNet) -> Any:
    names = convolutions(net.architecture)
    return {name: jax.device_get(net.params[name]) for name in names if name in net.params}


def _rows(architecture: Architecture, layer: str) -> tuple[Layer, ...]:
    """Return the table as far as `layer`."""
    names = [row.name for row in architecture.layers]
    return architecture.layers[: names.index(layer) + 1]


def _applied(architecture: Architecture, row: Layer, params: Any, x: jax.Array) -> jax.Array:
    weights = (params[row.name]["kernel"], params[row.name]["bias"]) if row.name in params else None
    return row.apply(x, weights, Here(architecture.towers))


@partial(jax.jit, static_argnums=(0, 1))
def _strongest(architecture: Architecture, layers: tuple[str, ...], params: Any, x: jax.Array) -> Any:
    peaks = {}
    for row in _rows(architecture, layers[-1]):
        x = _applied(architecture, row, params, x)
        if row.name in layers:
            flat = x.reshape(x.shape[0], -1, x.shape[-1])
            positions = jnp.argmax(flat, axis=1)
            values = jnp.max(flat, axis=1).astype(jnp.float32)
            peaks[row.name] = (values, positions // x.shape[2], positions % x.shape[2])
    return peaks


@partial(jax.jit, static_argnums=(0, 1))
def _projections(
    architecture: Architecture, layer: str, params: Any, x: jax.Array, position: jax.Array
) -> jax.Array:
    rows, inputs_of_rows = _rows(architecture, layer), []
    for row in rows:
        inputs_of_rows.append(x)
        x = _applied(architecture, row, params, x)
    each = jnp.arange(len(x))
    at = (each, position[:, 0], position[:, 1], position[:, 2])
    signal = jnp.zeros_like(x).at[at].set(x[at])
    for row, read in zip(reversed(rows), reversed(inputs_of_rows), strict=True):
        signal = _back(architecture, row, params, read, signal)
    return signal


def _back(
    architecture: Architecture, row: Layer, params: Any, read: jax.Array, signal: jax.Array
) -> jax.Array:
    """Return what `signal` after a layer is before it; `read` is what the layer read on the way up."""
    if isinstance(row, Activation):
        return jax.nn.relu(signal) if row.kind == "relu" else signal
    if isinstance(row, LRN | WithinChannelLRN | Dropout):
        return signal
    # The derivative of a convolution or an average is its transpose, and that of a max-pool puts a value
    # where the maximum was: the switches.
    before: jax.Array = jax.vjp(lambda x: _applied(architecture, row, params, x), read)[1](signal)[0]
    return before


def channels_to_show(architecture: Architecture, layer: str, alive: np.ndarray, count: int) -> list[int]:
    """Choose channels of a layer, as many of each tower, evenly spread over those that are `alive`.

    Args:
      architecture: the net.
      layer: a convolution.
      alive: bool (channels,).
      count: how many; fewer where fewer are alive.
    """
    towers = architecture.towers
    share = layer_shapes(architecture)[layer].output[-1] // towers
    channels: list[int] = []
    for tower in range(towers):
        living = tower * share + np.flatnonzero(alive[tower * share : (tower + 1) * share])
        wanted = min(count // towers, len(living))
        channels += [int(living[(2 * number + 1) * len(living) // (2 * wanted)]) for number in range(wanted)]
    return channels
