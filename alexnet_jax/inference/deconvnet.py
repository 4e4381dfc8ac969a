"""What excites a map: its strongest patches, and their projection back to pixels.

After Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014): one value of a map is
kept, all others are zero, and the way back to the picture undoes each layer: a max-pool puts a value where
its maximum was (the switches), a ReLU is a ReLU again, a convolution is its transposed filters without the
bias. Normalisations are passed as they are, and so are dropout and other activations; an average pool
spreads a value evenly.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.inference.run import Run
from alexnet_jax.model import inputs
from alexnet_jax.model.architectures import (
    LRN,
    Activation,
    Architecture,
    Conv,
    Dropout,
    Layer,
    Local,
    Pool,
    SameMapLRN,
    shapes,
)
from alexnet_jax.model.network import apply_layer
from alexnet_jax.training.evaluation import views_of


def convolutions(architecture: Architecture) -> tuple[str, ...]:
    """The names of the net's convolutions."""
    return tuple(layer.name for layer in architecture.layers if isinstance(layer, Conv))


def receptive_field(architecture: Architecture, layer: str, row: int, column: int) -> tuple[int, ...]:
    """What a value of `layer` at (row, column) sees of the crop: top, left, and bottom, right beyond it.

    By arithmetic alone: from the layer back to the picture, clipped at its edges. A same-map normalisation
    counts: what it divides by comes from around a place.
    """
    low, high = [row, column], [row + 1, column + 1]
    for place in reversed(_rows(architecture, layer)):
        if isinstance(place, Conv):
            size, stride, pad = place.kernel, place.stride, place.pad[0]
        elif isinstance(place, Local):
            size, stride, pad = place.kernel, 1, place.pad
        elif isinstance(place, Pool):
            size, stride, pad = place.size, place.stride, 0
        elif isinstance(place, SameMapLRN):
            size, stride, pad = place.size, 1, place.size // 2
        else:
            continue
        low = [at * stride - pad for at in low]
        high = [(at - 1) * stride - pad + size for at in high]
    top, left = (max(at, 0) for at in low)
    bottom, right = (min(at, architecture.crop) for at in high)
    return top, left, bottom, right


def strongest(run: Run, images: np.ndarray, layers: tuple[str, ...]) -> dict[str, tuple[np.ndarray, ...]]:
    """Of each map of `layers` the largest value in each picture, and where it is.

    Args:
      run: the net.
      images: uint8 (B, S, S, C), whole pictures; the centre view counts.
      layers: convolutions.

    Returns:
      {layer: (values float32 (B, maps), rows int32 (B, maps), columns int32 (B, maps))}, before the ReLU.
    """
    found = _strongest(run.architecture, layers, _on_one_device(run), normalised(run, images))
    return {name: tuple(map(np.asarray, arrays)) for name, arrays in found.items()}


def projections(
    run: Run, images: np.ndarray, layer: str, maps: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """The projection of one value of each picture back to its pixels.

    Args:
      run: the net.
      images: uint8 (B, S, S, C), whole pictures; the centre view counts.
      layer: a convolution.
      maps, rows, columns: int (B,), where in the layer the value lies that is kept.

    Returns:
      float32 (B, crop, crop, C), in the units of the normalised picture.
    """
    place = jnp.stack([jnp.asarray(x, jnp.int32) for x in (rows, columns, maps)], axis=1)
    return np.asarray(
        _projections(run.architecture, layer, _on_one_device(run), normalised(run, images), place)
    )


def normalised(run: Run, images: np.ndarray) -> jax.Array:
    """The centre view of uint8 (B, S, S, C) as the net reads it, float32 (B, crop, crop, C)."""
    top, left, flip = views_of(1, images.shape[1], run.architecture.crop)[0]
    batch = inputs.view(jnp.asarray(images), top, left, flip, run.architecture.crop)
    batch["offset"] = jnp.broadcast_to(jnp.asarray([top, left], jnp.int32), (len(images), 2))
    return inputs.normalise(batch, jax.device_get(run.mean), run.form)


def _on_one_device(run: Run) -> Any:
    names = convolutions(run.architecture)
    return {name: jax.device_get(run.params[name]) for name in names if name in run.params}


def _rows(architecture: Architecture, layer: str) -> tuple[Layer, ...]:
    """The table up to and with `layer`."""
    names = [row.name for row in architecture.layers]
    return architecture.layers[: names.index(layer) + 1]


def _applied(architecture: Architecture, row: Layer, params: Any, x: jax.Array) -> jax.Array:
    weights = (params[row.name]["kernel"], params[row.name]["bias"]) if row.name in params else None
    return apply_layer(row, x, weights, None, architecture.towers, None)


@partial(jax.jit, static_argnums=(0, 1))
def _strongest(architecture: Architecture, layers: tuple[str, ...], params: Any, x: jax.Array) -> Any:
    found = {}
    for row in _rows(architecture, layers[-1]):
        x = _applied(architecture, row, params, x)
        if row.name in layers:
            flat = x.reshape(x.shape[0], -1, x.shape[-1])
            places = jnp.argmax(flat, axis=1)
            values = jnp.max(flat, axis=1).astype(jnp.float32)
            found[row.name] = (values, places // x.shape[2], places % x.shape[2])
    return found


@partial(jax.jit, static_argnums=(0, 1))
def _projections(
    architecture: Architecture, layer: str, params: Any, x: jax.Array, place: jax.Array
) -> jax.Array:
    rows, seen = _rows(architecture, layer), []
    for row in rows:
        seen.append(x)
        x = _applied(architecture, row, params, x)
    each = jnp.arange(len(x))
    at = (each, place[:, 0], place[:, 1], place[:, 2])
    signal = jnp.zeros_like(x).at[at].set(x[at])
    for row, read in zip(reversed(rows), reversed(seen), strict=True):
        signal = _back(architecture, row, params, read, signal)
    return signal


def _back(
    architecture: Architecture, row: Layer, params: Any, read: jax.Array, signal: jax.Array
) -> jax.Array:
    """What `signal` behind a layer is before it; `read` is what the layer read on the way up."""
    if isinstance(row, Activation):
        return jax.nn.relu(signal) if row.kind == "relu" else signal
    if isinstance(row, LRN | SameMapLRN | Dropout):
        return signal
    # The derivative of a convolution or an average is its transpose, and that of a max-pool puts a value
    # where the maximum was: the switches.
    return jax.vjp(lambda x: _applied(architecture, row, params, x), read)[1](signal)[0]


def maps_to_show(architecture: Architecture, layer: str, alive: np.ndarray, count: int) -> list[int]:
    """`count` maps of a layer, the same number of each tower, evenly spread over those that are `alive`.

    Args:
      architecture: the net.
      layer: a convolution.
      alive: bool (maps,).
      count: how many; fewer where fewer are alive.
    """
    towers = architecture.towers
    own = shapes(architecture)[layer].output[-1] // towers
    chosen: list[int] = []
    for tower in range(towers):
        there = tower * own + np.flatnonzero(alive[tower * own : (tower + 1) * own])
        wanted = min(count // towers, len(there))
        chosen += [int(there[(2 * number + 1) * len(there) // (2 * wanted)]) for number in range(wanted)]
    return chosen
