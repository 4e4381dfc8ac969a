"""Pooling as pure functions of arrays (B, H, W, C), each channel by itself (section 3.4)."""

from collections.abc import Callable, Iterator
from functools import partial

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
    offsets = list(enumerate(_offsets(x, -np.inf, size, stride, ceil)))
    winner = jnp.full(y.shape, len(offsets), np.min_scalar_type(len(offsets) + 1))
    for number, here in reversed(offsets):
        winner = jnp.where(here == y, winner.dtype.type(number), winner)
    return (_scatter_windows(g, winner, x.shape, size, stride),)


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
    return (_scatter_windows(g / _elements(x, g, size, stride), None, x.shape, size, stride),)


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

    def along(axes: tuple[int, ...], x: jax.Array) -> jax.Array:
        sizes, strides = ([n if axis in axes else 1 for axis in range(4)] for n in (size, stride))
        edges = [(0, _overrun(x.shape[i], size, stride, ceil) if i in axes else 0) for i in range(4)]
        y: jax.Array = lax.reduce_window(x, initial, reduction, sizes, strides, edges)
        return y

    # One axis after the other is 3 to 4 times as fast on a CPU.
    y: jax.Array = lax.platform_dependent(
        x, cpu=lambda x: along((2,), along((1,), x)), default=partial(along, (1, 2))
    )
    return y


def windows(side: int, size: int, stride: int, ceil: bool) -> int:
    """Return how many windows of `size`, every `stride`, an axis of `side` elements has.

    With `ceil` the last one may run over the edge, and begins before it, as in PyTorch and Caffe.
    """
    room = side - size
    return min(-(-room // stride) + 1, -(-side // stride)) if ceil else room // stride + 1


def _overrun(side: int, size: int, stride: int, ceil: bool) -> int:
    """Return by how much the last window runs over the edge of an axis."""
    return max((windows(side, size, stride, ceil) - 1) * stride + size - side, 0)


def _offsets(x: jax.Array, beyond: float, size: int, stride: int, ceil: bool) -> Iterator[jax.Array]:
    """Yield for each offset in a window, row by row, the values of all windows there: (B, H', W', C).

    What lies `beyond` the edge is padded here and not in `x`, which would be copied.
    """

    def along(x: jax.Array, axis: int, offset: int) -> jax.Array:
        side = x.shape[axis]
        count = windows(side, size, stride, ceil)
        first, last = min(side, offset), min(side, offset + (count - 1) * stride + 1)
        found = lax.slice_in_dim(x, first, last, stride, axis)
        edges = [(0, count - found.shape[axis] if each == axis else 0, 0) for each in range(x.ndim)]
        return lax.pad(found, jnp.asarray(beyond, x.dtype), edges)

    for i in range(size):
        for j in range(size):
            yield along(along(x, 1, i), 2, j)


def _scatter_windows(
    g: jax.Array, winner: jax.Array | None, shape: tuple[int, ...], size: int, stride: int
) -> jax.Array:
    """Return the gradient of each pooling input, (B, H, W, C): the sum over the windows that hold it.

    Row r lies in the windows r // stride - n, at r % stride + n * stride in them, and columns likewise. So
    each input adds up the same few terms, which is one loop without branches: on a CPU 1.1 to 7 times as
    fast as scattering the windows, and than XLA's own gradients.

    Args:
      g: of each window, (B, H', W', C).
      winner: the offset in a window, counted row by row, whose input has all of its gradient, (B, H', W',
        C) of unsigned integers; None: all have it.
      shape: (B, H, W, C).
      size: of a window.
      stride: between windows.
    """
    batch, height, width, channels = shape
    reach = -(-size // stride)  # windows that hold an input, along an axis
    rows, columns = -(-height // stride), -(-width // stride)

    def padded(x: jax.Array, value: int) -> jax.Array:
        edges = [(reach - 1, n - have, 0) for n, have in zip((rows, columns), g.shape[1:3], strict=True)]
        return lax.pad(x, jnp.asarray(value, x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])

    padded_g, nowhere = padded(g, 0), size * size
    padded_winner = None if winner is None else padded(winner, nowhere)
    # Padded once, not in the loop over the inputs.
    padded_g, padded_winner = lax.optimization_barrier((padded_g, padded_winner))

    def of_inputs(x: jax.Array, i: int, j: int) -> jax.Array:
        """Return what the windows i rows and j columns back have, for (B, rows, 1, columns, 1, C) inputs."""
        first_row, first_column = reach - 1 - i, reach - 1 - j
        found = x[:, first_row : first_row + rows, first_column : first_column + columns]
        return found[:, :, None, :, None]

    phase = np.arange(stride)
    total = jnp.zeros((batch, rows, stride, columns, stride, channels), g.dtype)
    for i in range(reach):
        for j in range(reach):
            row, column = phase[:, None, None, None] + i * stride, phase[:, None] + j * stride
            inside = (row < size) & (column < size)
            here = jnp.asarray(inside)
            if padded_winner is not None:
                number = np.where(inside, row * size + column, nowhere + 1).astype(padded_winner.dtype)
                here = of_inputs(padded_winner, i, j) == number
            total += jnp.where(here, of_inputs(padded_g, i, j), 0)
    return total.reshape(batch, rows * stride, columns * stride, channels)[:, :height, :width]


def adaptive_average_pool(x_BxHxWxC: jax.Array, side: int) -> jax.Array:
    """Return the means of `side` x `side` windows, (B, side, side, C), as PyTorch's AdaptiveAvgPool2d does.

    Window i covers rows floor(i H / side) to ceil((i + 1) H / side) - 1, and columns likewise.
    """

    def means(length: int) -> jax.Array:
        first = np.arange(side) * length // side
        last = -(-(np.arange(side) + 1) * length // side)
        positions = np.arange(length)
        inside = (positions >= first[:, None]) & (positions < last[:, None])
        return jnp.asarray(inside / (last - first)[:, None], x_BxHxWxC.dtype)

    if x_BxHxWxC.shape[1:3] == (side, side):
        return x_BxHxWxC
    rows, columns = means(x_BxHxWxC.shape[1]), means(x_BxHxWxC.shape[2])
    return jnp.einsum("pi,bijc,qj->bpqc", rows, x_BxHxWxC, columns)
