"""LPIPS, version 0.1 on AlexNet: how different two images look (Zhang et al., CVPR 2018), and `compare`.

The trunk is torchvision's conv1 to relu5, of any workdir that holds it; the five linear heads lie in the
workdir's `lpips.npz`: `lin0` to `lin4`, float32 (channels of conv1,), ..., (channels of conv5,).
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.arrays import load_npz
from alexnet_jax.data.images import BadImage, Preprocessing, decode, read_file, read_size
from alexnet_jax.errors import RunFailure, UsageError, WrongTypeError, first_line
from alexnet_jax.files import atomic_write
from alexnet_jax.model import network
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture
from alexnet_jax.progress import printable
from alexnet_jax.workdir import layout, provenance
from alexnet_jax.workdir.trained import TrainedNet

# Of an image that is compared: the values and activations of two take 60 bytes a pixel, here 1 GiB.
MAX_PIXELS = 2**24
MAX_BYTES = 2**20  # bytes of the five heads; they have 1,152 numbers
LAYERS = ("relu1", "relu2", "relu3", "relu4", "relu5")
# The scaling layer of LPIPS: ImageNet's RGB mean and standard deviation as torchvision has them, on [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10


@flax.struct.dataclass
class LpipsNet:
    """Hold what a distance needs; a pytree, so that compiled functions take it as an argument.

    Attributes:
      params: {'conv1': {'kernel', 'bias'}, ..., 'conv5'}, one tower.
      heads: five arrays, the weight of each channel.
      architecture: the table as far as relu5.
    """

    params: Any
    heads: tuple[Any, ...]
    architecture: Architecture = flax.struct.field(pytree_node=False)


def distance(net: LpipsNet, a: jax.Array, b: jax.Array, outside: str = "check") -> jax.Array:
    """Return how different the images of two batches look: 0 for the same image.

    The values after the five ReLUs are scaled to length 1 over the channels, their squared differences
    weighted by the heads, averaged over positions, and summed over layers (equation 1). Differentiable in
    both batches (reverse mode).

    Args:
      net: what `load` gave.
      a: (B, H, W, 3), RGB from -1 to 1; float64 is computed so, any other float type as float32.
      b: the same shape.
      outside: what to do with values outside the range. 'check': refuse them; where a compiled or
        differentiated function cannot, the distance is NaN. 'clip': take the nearest value inside, as a loss
        on what a decoder gives. 'trust': compute with them.

    Returns:
      (B,) of the type computed in.

    Raises:
      WrongTypeError: not arrays of floats. UsageError: other or differing shapes, too small, a value outside
        the range that is checked, or another `outside`.
    """
    if outside not in ("check", "clip", "trust"):
        raise UsageError(f"outside={outside!r}: there are 'check', 'clip' and 'trust'")
    for batch in (a, b):
        kind = getattr(batch, "dtype", type(batch))
        if not jnp.issubdtype(kind, jnp.floating):
            raise WrongTypeError(
                f"LPIPS takes floats from -1 to 1, not {kind}: from_uint8 makes them of uint8"
            )
    if a.shape != b.shape or a.ndim != 4 or a.shape[3] != 3:
        raise UsageError(f"LPIPS takes two batches of one shape (B, H, W, 3), not {a.shape} and {b.shape}")
    try:
        layer_shapes(dataclasses.replace(net.architecture, crop=min(a.shape[1:3])))
    except UsageError:
        raise UsageError(f"images of {a.shape[1]} x {a.shape[2]} are too small for LPIPS") from None
    dtype = jnp.promote_types(jnp.promote_types(a.dtype, b.dtype), jnp.float32)
    if outside == "clip":
        a, b = jnp.clip(a, -1, 1), jnp.clip(b, -1, 1)
    inside = _inside(a) & _inside(b) if outside == "check" else jnp.ones(len(a), bool)
    if not isinstance(inside, jax.core.Tracer) and not bool(jnp.all(inside)):
        raise UsageError("LPIPS takes images from -1 to 1, and these have values outside, or not a number")

    trunk = dataclasses.replace(net.architecture, compute_dtype=dtype.name)
    images = (jnp.concatenate([a, b]).astype(dtype) - jnp.asarray(SHIFT, dtype)) / jnp.asarray(SCALE, dtype)
    with jax.default_matmul_precision("float32"):
        values = network.forward(trunk, None, net.params, images, None, LAYERS)
    total = jnp.zeros(len(a), dtype)
    for layer, head in zip(LAYERS, net.heads, strict=True):
        first, second = jnp.split(_unit(values[layer]), 2)
        total += jnp.mean(jnp.square(first - second) @ head.astype(dtype), axis=(1, 2))
    # Compilers contract the difference of two products, which leaves 1e-15 where an image meets itself.
    # Subtracted as a constant: the derivatives there, the second ones too, stay what they are.
    same = jnp.all(a == b, axis=(1, 2, 3))
    total -= jax.lax.stop_gradient(jnp.where(same, total, 0))
    return jnp.where(inside, total, jnp.nan)


def _inside(x: jax.Array) -> jax.Array:
    return jnp.all((x >= -1) & (x <= 1), axis=(1, 2, 3))


def _unit(x: jax.Array) -> jax.Array:
    """Return x / (|x| + epsilon) over the last axis; the gradient is finite where all channels are 0."""
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    length = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return x / (length + EPSILON)


def from_uint8(images: np.ndarray) -> np.ndarray:
    """Return uint8 images as float32 from -1 to 1."""
    return np.asarray(images, np.float32) / np.float32(127.5) - 1


def load(net: TrainedNet) -> LpipsNet:
    """Return the trunk of a trained net, and the heads in its workdir.

    Raises:
      UsageError: no heads, others than came with the net, or a net whose conv1 to conv5 they do not fit.
    """
    heads = heads_of(net)
    names = [layer.name for layer in net.architecture.layers]
    rows = net.architecture.layers[: names.index(LAYERS[-1]) + 1] if LAYERS[-1] in names else ()
    trunk = dataclasses.replace(net.architecture, layers=rows)
    table = layer_shapes(trunk)
    channels = tuple(table[name].output[-1] for name in LAYERS if name in table)
    head_sizes = tuple(len(head) for head in heads)
    if channels != head_sizes or trunk.towers != 1 or trunk.channels != 3:
        raise UsageError(
            f"{net.workdir / layout.LPIPS_HEADS} has heads for {head_sizes} channels after five convolutions "
            f"of one tower on RGB, and this net is {trunk.name} with {channels}"
        )
    params = {name: net.params[name] for name, shape in table.items() if shape.kernel}
    return LpipsNet(jax.device_get(params), heads, trunk)


def save_heads(workdir: Path, heads: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Write `lin0` to `lin4`, each of as many numbers as it weighs channels, whatever their shape.

    Returns:
      What was written, {name: float32 (channels,)}.
    """
    names = [f"lin{number}" for number in range(len(LAYERS))]
    flat = {name: np.asarray(heads[name], np.float32).reshape(-1) for name in names}
    with atomic_write(workdir / layout.LPIPS_HEADS) as file:
        np.savez(file, **flat)  # type: ignore[arg-type]
    return flat


def heads_of(net: TrainedNet) -> tuple[np.ndarray, ...]:
    """Return the heads in the workdir of a net, those with which it was converted.

    Raises:
      UsageError: they are missing, damaged, or others.
    """
    heads = load_heads(net.workdir)
    named = {f"lin{number}": head for number, head in enumerate(heads)}
    provenance.check_lpips_heads(named, net.workdir, net.step)
    return heads


def load_heads(workdir: Path) -> tuple[np.ndarray, ...]:
    """Read what `save_heads` wrote.

    Raises:
      UsageError: it is missing or damaged.
    """
    path = workdir / layout.LPIPS_HEADS
    if not path.exists():
        raise UsageError(
            f"{workdir} holds no LPIPS heads ({layout.LPIPS_HEADS}): "
            "convert weights that have lpips/lin0 to lin4"
        )
    try:
        found = load_npz(path, MAX_BYTES, [f"lin{number}" for number in range(len(LAYERS))])
        heads = tuple(found.values())
    except Exception as error:  # damage leads zipfile, zlib and numpy's parser anywhere
        raise UsageError(f"{path} cannot be read: {printable(first_line(error))[:200]}") from None
    if not all(head.ndim == 1 and head.dtype == np.float32 and np.isfinite(head).all() for head in heads):
        raise UsageError(f"{path} does not hold five lists of finite float32 numbers")
    return heads


def two_files(arguments: list[str]) -> tuple[Path, Path]:
    """Return the files that `compare` was given; raise UsageError when they are not two."""
    if len(arguments) != 2:
        raise UsageError(f"compare needs two images, and {len(arguments)} were given: compare A.png B.png")
    for argument in arguments:
        if not Path(argument).is_file():
            raise UsageError(f"{argument} is not a file: compare takes two images")
    return Path(arguments[0]), Path(arguments[1])


def compare(net: TrainedNet, first: Path, second: Path) -> dict[str, Any]:
    """Return the LPIPS distance of two files, at their own size.

    Images are turned or not as the net's training images were; what is transparent lies on white.

    Returns:
      {'files': [first, second], 'lpips': the distance}.

    Raises:
      UsageError: no heads, sizes that differ or are too small.
      RunFailure: a file cannot be read.
    """
    trunk = load(net)
    pixels = []
    for path in (first, second):
        try:
            data = read_file(path)
            width, height = read_size(data)
            if width * height > MAX_PIXELS:
                raise BadImage(f"{width:,} x {height:,} pixels are more than LPIPS is computed of: scale it")
            pixels.append(np.asarray(decode(data, Preprocessing.of(net.config.data)), np.uint8))
        except (BadImage, OSError) as error:
            raise RunFailure(f"{printable(str(path))} cannot be read: {printable(str(error))}") from None
    if pixels[0].shape != pixels[1].shape:
        sizes = [f"{image.shape[1]} x {image.shape[0]}" for image in pixels]
        raise UsageError(
            f"{printable(str(first))} is {sizes[0]} pixels and {printable(str(second))} {sizes[1]}: "
            "LPIPS compares images of one size; scale one of them"
        )
    a, b = (jnp.asarray(from_uint8(image)[None]) for image in pixels)
    return {"files": [str(first), str(second)], "lpips": float(jax.jit(distance)(trunk, a, b)[0])}


def as_text(answer: Mapping[str, Any]) -> str:
    """Return one line for the user."""
    first, second = map(printable, answer["files"])
    return f"{first} and {second}: LPIPS {answer['lpips']:.4f} (AlexNet, v0.1; 0: the same)"
