"""The device half of the input: uint8 pictures become what the net reads.

One function for training, evaluation and export. The host decides (`data.augment`), the device does
what would cost the host dearly: flip, minus mean, plus lighting, scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclass(frozen=True)
class InputForm:
    """How pictures are normalised: `mean` 'centre', 'crop', 'rgb' or 'none'; `input_std` in grey levels."""

    mean: str
    input_std: tuple[float, ...]


def mean_array(form: InputForm, mean: np.ndarray, rgb_mean: np.ndarray, crop: int) -> np.ndarray:
    """The float32 array that `normalise` takes off: (crop, crop, C), the whole (S, S, C), or (C,)."""
    if form.mean == "centre":
        edge = (mean.shape[0] - crop) // 2
        return np.asarray(mean[edge : edge + crop, edge : edge + crop], np.float32)
    if form.mean == "crop":
        return np.asarray(mean, np.float32)
    return np.asarray(rgb_mean if form.mean == "rgb" else np.zeros_like(rgb_mean), np.float32)


def normalise(batch: Mapping[str, jax.Array], mean: jax.Array, form: InputForm) -> jax.Array:
    """Flip, minus mean, plus lighting, times scale, over `input_std`.

    The crop is flipped, then the centre crop of the mean picture is taken off, whatever the crop's place
    and direction, as the 2012 source does; with `mean='crop'` the mean at the crop's own place, flipped
    with it, as Caffe does.

    Args:
      batch: 'image' uint8 (B, crop, crop, C), 'flip' bool (B,), 'offset' int32 (B, 2) of the crop in the
        picture, 'lighting' float32 (B, C) in grey levels, 'scale' float32 (B,).
      mean: what `mean_array` gave.
      form: which mean it is, and the divisor.

    Returns:
      float32 (B, crop, crop, C).
    """
    image, flip = batch["image"], batch["flip"][:, None, None, None]
    x = jnp.where(flip, image[:, :, ::-1], image).astype(jnp.float32)
    if form.mean == "crop":
        size = image.shape[1:]
        places = jax.vmap(lambda at: lax.dynamic_slice(mean, (at[0], at[1], 0), size))(batch["offset"])
        x = x - jnp.where(flip, places[:, :, ::-1], places)
    else:
        x = x - mean
    x = (x + batch["lighting"][:, None, None, :]) * batch["scale"][:, None, None, None]
    return x if form.input_std == (1.0,) else x / jnp.asarray(form.input_std, jnp.float32)


def view(
    image: jax.Array, top: jax.Array | int, left: jax.Array | int, flip: jax.Array | bool, crop: int
) -> dict[str, jax.Array]:
    """One view of whole pictures (B, S, S, C), as a batch for `normalise`: no lighting, scale 1."""
    batch, channels = image.shape[0], image.shape[3]
    return {
        "image": lax.dynamic_slice(image, (0, top, left, 0), (batch, crop, crop, channels)),
        "flip": jnp.broadcast_to(jnp.asarray(flip), (batch,)),
        "offset": jnp.broadcast_to(jnp.asarray([top, left], jnp.int32), (batch, 2)),
        "lighting": jnp.zeros((batch, channels), jnp.float32),
        "scale": jnp.ones((batch,), jnp.float32),
    }
