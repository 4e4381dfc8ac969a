"""The device half of the input: uint8 images become what the net reads.

One function for training, evaluation and export. The host decides (`data.augment`), the device does
what would cost the host dearly: flip, minus mean, plus lighting, scale.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.data.augment import center_offset
from alexnet_jax.errors import UsageError, WrongTypeError


@dataclass(frozen=True)
class Normalization:
    """How images are normalised.

    Attributes:
      mean: which mean is subtracted: 'centre', 'crop', 'rgb' or 'none', see `mean_array`.
      input_std: the divisor in grey levels, one for all channels or one for each.
    """

    mean: str
    input_std: tuple[float, ...]


def mean_array(normalization: Normalization, mean: np.ndarray, rgb_mean: np.ndarray, crop: int) -> np.ndarray:
    """Return the array that `normalise` subtracts, float32.

    Args:
      normalization: which mean it is.
      mean: (S, S, C), the training set's mean image.
      rgb_mean: (C,), its mean over all positions.
      crop: side of the net's input in pixels.

    Returns:
      'centre': the centre of the mean image, (crop, crop, C). 'crop': the whole of it. 'rgb': `rgb_mean`.
      'none': zeros (C,).
    """
    if normalization.mean == "centre":
        edge = center_offset(mean.shape[0], crop)
        return np.asarray(mean[edge : edge + crop, edge : edge + crop], np.float32)
    if normalization.mean == "crop":
        return np.asarray(mean, np.float32)
    return np.asarray(rgb_mean if normalization.mean == "rgb" else np.zeros_like(rgb_mean), np.float32)


def check_images(images: Any, sides: Collection[int], channels: int) -> None:
    """Check a batch of ready images, wherever one comes in.

    Args:
      images: an array of numpy or JAX.
      sides: the sides in pixels that are right.
      channels: the channels that are right.

    Raises:
      WrongTypeError: not an array of uint8. UsageError: another shape. One line with what is right.
    """
    right = " or ".join(f"(N, {side}, {side}, {channels})" for side in dict.fromkeys(sides))
    if not hasattr(images, "dtype") or not hasattr(images, "shape"):
        raise WrongTypeError(f"images are an array, uint8 {right}, not {type(images).__name__}")
    if images.dtype != np.uint8:
        raise WrongTypeError(f"images are uint8 from 0 to 255, {right}, not {images.dtype} {images.shape}")
    if len(images.shape) != 4 or tuple(images.shape[1:]) not in [(side, side, channels) for side in sides]:
        raise UsageError(f"images are uint8 {right}, not {tuple(images.shape)}")


def normalise(batch: Mapping[str, Any], mean: jax.Array, normalization: Normalization) -> jax.Array:
    """Flip, subtract the mean, add the lighting, multiply by the scale, divide by `input_std`.

    The crop is flipped, then the centre crop of the mean image is subtracted, whatever the crop's offset
    and direction, as the 2012 source does; with `mean='crop'` the mean at the crop's own offset, flipped
    with it, as Caffe does.

    Args:
      batch: 'image' uint8 (B, crop, crop, C), and where they are decided 'flip' bool (B,), 'offset' int32
        (B, 2) of the crop in the image, 'lighting' float32 (B, C) in grey levels, 'scale' float32 (B,).
      mean: what `mean_array` gave.
      normalization: which mean it is, and the divisor.

    Returns:
      float32 (B, crop, crop, C).
    """
    image = batch["image"]

    def mirrored(x: jax.Array) -> jax.Array:
        if "flip" not in batch:
            return x
        return jnp.where(batch["flip"][:, None, None, None], x[..., ::-1, :], x)

    x = mirrored(image).astype(jnp.float32)
    if normalization.mean == "crop":
        x = x - mirrored(_means(mean, batch, image.shape[1:]))
    elif normalization.mean != "none":
        x = x - mean
    if "lighting" in batch:
        x = x + batch["lighting"][:, None, None, :]
    if "scale" in batch:
        x = x * batch["scale"][:, None, None, None]
    std = normalization.input_std
    normalised: jax.Array = x if std == (1.0,) else x / jnp.asarray(std, jnp.float32)
    return normalised


def _means(mean: jax.Array, batch: Mapping[str, Any], size: tuple[int, ...]) -> jax.Array:
    """Return the mean image at the crop's own offset, (B, crop, crop, C), or (1, crop, crop, C)."""
    if "offset" not in batch:
        edge = center_offset(mean.shape[0], size[0])
        return mean[None, edge : edge + size[0], edge : edge + size[1]]
    return jax.vmap(lambda at: lax.dynamic_slice(mean, (at[0], at[1], 0), size))(batch["offset"])


def view(
    image: jax.Array, top: jax.Array | int, left: jax.Array | int, flip: jax.Array | bool, crop: int
) -> dict[str, jax.Array]:
    """Return one view of whole images as a batch for `normalise`, without lighting.

    Args:
      image: uint8 (B, S, S, C).
      top: first row of the view.
      left: first column of the view.
      flip: whether `normalise` is to mirror it.
      crop: its side in pixels.
    """
    batch, channels = image.shape[0], image.shape[3]
    return {
        "image": lax.dynamic_slice(image, (0, top, left, 0), (batch, crop, crop, channels)),
        "flip": jnp.broadcast_to(jnp.asarray(flip), (batch,)),
        "offset": jnp.broadcast_to(jnp.asarray([top, left], jnp.int32), (batch, 2)),
    }
