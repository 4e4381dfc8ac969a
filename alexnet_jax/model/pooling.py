"""Pooling as pure functions of arrays (B, H, W, C), each channel by itself (section 3.4)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def max_pool(
    x_BxHxWxC: jax.Array, size: int, stride: int, ceil: bool, forward_mode: bool = False
) -> jax.Array:
    """Return the largest value of each window of `size` x `size`, every `stride` (section 3.4).

    With `ceil` the last window may run over the edge. The gradient goes to a window's first maximum in
    row order.
    """
    pool = _max_windows if forward_mode else _max_pool
    return pool(x_BxHxWxC, size, stride, ceil)


def _max_windows(x: jax.Array, size: int, stride: int, ceil: bool) -> jax.Array:
    return _reduce_windows(x, -np.inf, lax.max, size, stride, ceil)


_max_pool = jax.custom_vjp(_max_windows, nondiff_argnums=(1, 2, 3))


def _max_pool_forward(
    x: jax.Array, size: int, stride: int, ceil: bool
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = _max_windows(x, size, stride, ceil)
    return y, (x, y)


def _max_pool_backward(
    size: int, stride: int, ceil: bool, residuals: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array]:
    x, y = residuals
    padded = lax.pad(x, jnp.asarray(-np.inf, x.dtype), [(*e, 0) for e in _overrun(x, size, stride, ceil)])
    rows, columns = ((n - 1) * stride + 1 for n in y.shape[1:3])
    offsets = [(i, j) for i in range(size) for j in range(size)]
    winner = jnp.full(y.shape, len(offsets), jnp.uint8)
    for number, (i, j) in reversed(list(enumerate(offsets))):
        here = padded[:, i : i + rows : stride, j : j + columns : stride]
        winner = jnp.where(here == y, jnp.uint8(number), winner)
    winner, g = lax.optimization_barrier((winner, g))  # computed once, not at each use
    gradients = {offset: jnp.where(winner == number, g, 0) for number, offset in enumerate(offsets)}
    return (_scatter_windows(gradients, x.shape, stride),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def average_pool(
    x_BxHxWxC: jax.Array, size: int, stride: int, ceil: bool, forward_mode: bool = False
) -> jax.Array:
    """Return the mean of each window of `size` x `size`, every `stride`.

    With `ceil` the last window may run over the edge; it divides by the number of elements inside.
    """
    pool = _average_windows if forward_mode else _average_pool
    return pool(x_BxHxWxC, size, stride, ceil)


def _average_windows(x: jax.Array, size: int, stride: int, ceil: bool) -> jax.Array:
    sums = _reduce_windows(x, 0.0, lax.add, size, stride, ceil)
    return sums / _elements(x, sums, size, stride)


_average_pool = jax.custom_vjp(_average_windows, nondiff_argnums=(1, 2, 3))


def _average_pool_forward(x: jax.Array, size: int, stride: int, ceil: bool) -> tuple[jax.Array, jax.Array]:
    return _average_windows(x, size, stride, ceil), x


def _average_pool_backward(
    size: int, stride: int, ceil: bool, x: jax.Array, g: jax.Array
) -> tuple[jax.Array]:
    share = lax.optimization_barrier(g / _elements(x, g, size, stride))
    gradients = {(i, j): share for i in range(size) for j in range(size)}
    return (_scatter_windows(gradients, x.shape, stride),)


_average_pool.defvjp(_average_pool_forward, _average_pool_backward)
POOLS: dict[str, Callable[..., jax.Array]] = {"max": max_pool, "average": average_pool}


def _elements(x: jax.Array, y: jax.Array, size: int, stride: int) -> jax.Array:
    """Return how many elements of `x` lie in each pooling window of `y`, padding left out: (H', W', 1)."""
    # Counted in numpy: XLA would fold the constant window sums for many seconds at compile time.
    first = [np.arange(n) * stride for n in y.shape[1:3]]
    counts = [np.minimum(at + size, side) - at for at, side in zip(first, x.shape[1:3], strict=True)]
    return jnp.asarray(np.outer(*counts)[:, :, None], y.dtype)


def _reduce_windows(
    x: jax.Array, initial: float, reduction: Callable[..., jax.Array], size: int, stride: int, ceil: bool
) -> jax.Array:
    """Reduce each window to one value: (B, H', W', C)."""
    edges = _overrun(x, size, stride, ceil)
    y: jax.Array = lax.reduce_window(x, initial, reduction, (1, size, size, 1), (1, stride, stride, 1), edges)
    return y


def _overrun(x: jax.Array, size: int, stride: int, ceil: bool) -> list[tuple[int, int]]:
    """Return the padding (before, after) of each axis that the last windows run into."""
    over = [-(side - size) % stride if ceil else 0 for side in x.shape[1:3]]
    return [(0, 0), (0, over[0]), (0, over[1]), (0, 0)]


def _scatter_windows(
    gradients: dict[tuple[int, int], jax.Array], shape: tuple[int, ...], stride: int
) -> jax.Array:
    """Return the gradient of each pooling input, (B, H, W, C): the sum over the windows that hold it.

    Values a multiple of the stride apart have the same offset in their windows; each such phase is one
    loop, and the phases are interleaved. This is faster on a CPU than scattering each window, and than XLA's
    own gradients.

    Args:
      gradients: for each offset (i, j) in a window, the gradients of all windows there: (B, H', W', C).
      shape: (B, H, W, C).
      stride: between windows.
    """
    batch, height, width, channels = shape
    rows, columns = -(-height // stride), -(-width // stride)

    def phase(row: int, column: int) -> jax.Array:
        """Return the gradients at (row, column) and every `stride` rows and columns from there."""
        total = jnp.zeros((batch, rows, columns, channels), gradients[0, 0].dtype)
        for (i, j), gradient in gradients.items():
            if i % stride == row and j % stride == column:
                above, left = i // stride, j // stride
                below, right = rows - gradient.shape[1] - above, columns - gradient.shape[2] - left
                edges = [(0, 0, 0), (above, below, 0), (left, right, 0), (0, 0, 0)]
                total += lax.pad(gradient, jnp.zeros((), gradient.dtype), edges)
        return total

    phases = [jnp.stack([phase(p, q) for q in range(stride)], axis=3) for p in range(stride)]
    interleaved = jnp.stack(phases, axis=2).reshape(batch, rows * stride, columns * stride, channels)
    return interleaved[:, :height, :width]


def adaptive_average_pool(x_BxHxWxC: jax.Array, side: int) -> jax.Array:
    """Return the means of `side` x `side` windows, (B, side, side, C), as PyTorch's AdaptiveAvgPool2d does.

    Window i covers rows floor(i H / side) to ceil((i + 1) H / side) - 1, and columns likewise.
    """

    def windows(length: int) -> jax.Array:
        first = np.arange(side) * length // side
        last = -(-(np.arange(side) + 1) * length // side)
        positions = np.arange(length)
        inside = (positions >= first[:, None]) & (positions < last[:, None])
        return jnp.asarray(inside / (last - first)[:, None], x_BxHxWxC.dtype)

    if x_BxHxWxC.shape[1:3] == (side, side):
        return x_BxHxWxC
    rows, columns = windows(x_BxHxWxC.shape[1]), windows(x_BxHxWxC.shape[2])
    return jnp.einsum("pi,bijc,qj->bpqc", rows, x_BxHxWxC, columns)
