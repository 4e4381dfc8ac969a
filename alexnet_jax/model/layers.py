"""The layers as pure functions of arrays.

Channels of the towers that a device holds stand side by side on the last axis, in tower order, so that
whatever works channel by channel (activation, pooling) need not know about towers.
"""

import itertools
from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# The gradient of a convolution's kernel is taken over parts of the batch on a CPU, see `_convolve_backward`.
PART_ELEMENTS = 2**19  # of input and output gradient together
MAX_PARTS = 16
MAX_FOLD_CHANNELS = 4  # up to which a strided convolution is folded, see `_correlate_folded`


def convolution(
    x_BxHxWxC: jax.Array,
    kernel_TxKxKxIxO: jax.Array,
    bias_TxO: jax.Array,
    stride: int,
    pad: tuple[int, int],
    forward_mode: bool = False,
) -> jax.Array:
    """Convolve once for each tower and stack the results on channels (section 3.5).

    A kernel whose input channels I are all of C reads everything: the towers here are then one wide
    convolution. Otherwise tower t reads its own I channels; that is written as plain convolutions, since
    XLA's grouped ones are slower on a CPU.

    Args:
      x_BxHxWxC: the values of all towers here.
      kernel_TxKxKxIxO: a kernel for each tower.
      bias_TxO: its bias.
      stride: in both directions.
      pad: zeros (before, after) the rows and the columns.
      forward_mode: take JAX's own derivatives, so that `jax.jvp` works.

    Returns:
      (B, H', W', T * O).
    """
    convolve = _correlate if forward_mode else _convolve
    towers, _, _, seen, _ = kernel_TxKxKxIxO.shape
    if seen == x_BxHxWxC.shape[-1]:
        wide = jnp.moveaxis(kernel_TxKxKxIxO, 0, -2)
        return convolve(x_BxHxWxC, wide.reshape(*wide.shape[:3], -1), stride, pad) + bias_TxO.reshape(-1)
    parts = [
        convolve(x_BxHxWxC[..., t * seen : (t + 1) * seen], kernel_TxKxKxIxO[t], stride, pad) + bias_TxO[t]
        for t in range(towers)
    ]
    return jnp.concatenate(parts, axis=-1)


def _correlate(x: jax.Array, kernel: jax.Array, stride: int, pad: tuple[int, int]) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _correlate_folded(x: jax.Array, kernel: jax.Array, stride: int, pad: tuple[int, int]) -> jax.Array:
    """Return `_correlate` at stride 1, over squares of `stride` x `stride` pixels that became channels.

    Matrix units want many channels and an image has three.
    """
    size, features = kernel.shape[0], kernel.shape[-1]
    squares = -(-size // stride)  # under a row of the kernel
    height, width = ((side + sum(pad) - size) // stride + squares for side in x.shape[1:3])
    below, right = height * stride - x.shape[1] - pad[0], width * stride - x.shape[2] - pad[0]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (pad[0], below, 0), (pad[0], right, 0), (0, 0, 0)])
    x = x.reshape(-1, height, stride, width, stride, x.shape[-1]).swapaxes(2, 3)
    extra = squares * stride - size
    kernel = jnp.pad(kernel, ((0, extra), (0, extra), (0, 0), (0, 0)))
    kernel = kernel.reshape(squares, stride, squares, stride, -1, features).swapaxes(1, 2)
    return _correlate(
        x.reshape(-1, height, width, int(np.prod(x.shape[3:]))),
        kernel.reshape(squares, squares, -1, features),
        1,
        (0, 0),
    )


def _folds(x: jax.Array, stride: int) -> bool:
    return stride > 1 and x.shape[-1] <= MAX_FOLD_CHANNELS


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: jax.Array, kernel: jax.Array, stride: int, pad: tuple[int, int]) -> jax.Array:
    plain = partial(_correlate, stride=stride, pad=pad)
    if not _folds(x, stride):
        return plain(x, kernel)
    folded = partial(_correlate_folded, stride=stride, pad=pad)
    y: jax.Array = lax.platform_dependent(x, kernel, cpu=plain, default=folded)
    return y


def _convolve_forward(
    x: jax.Array, kernel: jax.Array, stride: int, pad: tuple[int, int]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, stride, pad), (x, kernel)


def _convolve_backward(
    stride: int, pad: tuple[int, int], residuals: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    # On a CPU the gradient of the kernel is taken over parts of the batch. It is a convolution whose channels
    # are the images, and many of them do not fit into the caches.
    x, kernel = residuals

    def of_kernel(x: jax.Array, g: jax.Array, correlate: Callable[..., jax.Array] = _correlate) -> jax.Array:
        gradient: jax.Array = jax.linear_transpose(lambda k: correlate(x, k, stride, pad), kernel)(g)[0]
        return gradient

    def in_parts(x: jax.Array, g: jax.Array) -> jax.Array:
        batch = x.shape[0]
        parts = min(batch, MAX_PARTS, -(-(x.size + g.size) // PART_ELEMENTS))
        ends = [batch * part // parts for part in range(parts + 1)]
        return reduce(jnp.add, [of_kernel(x[i:j], g[i:j]) for i, j in itertools.pairwise(ends)])

    of_input = jax.linear_transpose(lambda x: _correlate(x, kernel, stride, pad), x)(g)[0]
    whole = partial(of_kernel, correlate=_correlate_folded if _folds(x, stride) else _correlate)
    return of_input, lax.platform_dependent(x, g, cpu=in_parts, default=whole)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def dense(x: jax.Array, kernel_TxIxO: jax.Array, bias_TxO: jax.Array) -> jax.Array:
    """Apply one fully connected layer for each tower and stack the results: (B, T * O).

    `x` is (B, H, W, C) or (B, C). A tower that reads everything sees it flattened (H, W, C); one that
    reads its own part sees its own channels flattened so.
    """
    # One product over the towers reads the kernel where it lies; a product for each would copy its part.
    y_TxBxO = _inputs(x, kernel_TxIxO) @ kernel_TxIxO + bias_TxO[:, None]
    return y_TxBxO.swapaxes(0, 1).reshape(x.shape[0], -1)


def dense_partial_sum(x: jax.Array, kernel_TxIxO: jax.Array) -> jax.Array:
    """Return what the towers here add to a layer that sums over all towers: (B, O), without its bias."""
    return (_inputs(x, kernel_TxIxO) @ kernel_TxIxO).sum(axis=0)


def _inputs(x: jax.Array, kernel_TxIxO: jax.Array) -> jax.Array:
    """Return what each tower reads, (T, B, I)."""
    towers, seen, _ = kernel_TxIxO.shape
    batch = x.shape[0]
    if seen == np.prod(x.shape[1:]):
        return jnp.broadcast_to(x.reshape(batch, -1), (towers, batch, seen))
    apart = x.reshape(*x.shape[:-1], towers, -1)
    return jnp.moveaxis(apart, -2, 0).reshape(towers, batch, seen)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,  # section 3.1
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
}


def locally_connected(
    x_BxHxWxC: jax.Array, kernel_TxRxSxKxKxCxO: jax.Array, bias_TxRxSxO: jax.Array, pad: int
) -> jax.Array:
    """Convolve at stride 1 with a kernel and a bias for each of the R x S positions; T is 1.

    Written as one product for each position, over all patches at once: (B, R, S, O).
    """
    kernel = kernel_TxRxSxKxKxCxO[0]
    rows, columns, size = kernel.shape[:3]
    padded = jnp.pad(x_BxHxWxC, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    patches = jnp.concatenate(
        [padded[:, i : i + rows, j : j + columns] for i in range(size) for j in range(size)], axis=-1
    )
    flat = kernel.reshape(rows, columns, -1, kernel.shape[-1])
    return jnp.einsum("brsi,rsio->brso", patches, flat) + bias_TxRxSxO[0]


def lrn(
    x_BxHxWxC: jax.Array,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    towers: int,
    forward_mode: bool = False,
) -> jax.Array:
    """Apply local response normalisation, y = x / (k + alpha * sum_j x_j^2)^beta (section 3.3).

    The sum runs over the `size` channels around a channel; the window ends at the edge of a tower, `towers`
    of which stand side by side on the channel axis. It is computed in 32 bits at least.
    """
    normalise = _normalise if forward_mode else _normalised
    return normalise(x_BxHxWxC, partial(_sum_over_channels, size=size, towers=towers), alpha, beta, k)


def within_channel_lrn(
    x_BxHxWxC: jax.Array, size: int, alpha: float, beta: float, k: float, forward_mode: bool = False
) -> jax.Array:
    """Apply y = x / (k + alpha * sum_j x_j^2)^beta, j in `size` x `size` positions of one channel.

    `size` is odd; beyond the edge are zeros. It is computed in 32 bits at least.
    """
    normalise = _normalise if forward_mode else _normalised
    return normalise(x_BxHxWxC, partial(_sum_over_positions, size=size), alpha, beta, k)


def _normalise(
    x: jax.Array, window_sum: Callable[[jax.Array], jax.Array], alpha: float, beta: float, k: float
) -> jax.Array:
    return _normalised_forward(x, window_sum, alpha, beta, k)[0]


_normalised = jax.custom_vjp(_normalise, nondiff_argnums=(1, 2, 3, 4))


def _normalised_forward(
    x: jax.Array, window_sum: Callable[[jax.Array], jax.Array], alpha: float, beta: float, k: float
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    base = k + alpha * window_sum(jnp.square(wide))
    return (wide * _negative_power(base, beta)).astype(x.dtype), (x, base.astype(x.dtype))


def _normalised_backward(
    window_sum: Callable[[jax.Array], jax.Array],
    alpha: float,
    beta: float,
    k: float,
    residuals: tuple[jax.Array, jax.Array],
    g: jax.Array,
) -> tuple[jax.Array]:
    # dy_j/dx_i = [i = j] base_j^-beta - 2 alpha beta x_i x_j base_j^-(beta+1), for j in i's window: the
    # windows are symmetric, so that these j are those whose window holds i.
    dtype = g.dtype
    x, base, g = (each.astype(jnp.promote_types(dtype, jnp.float32)) for each in (*residuals, g))
    power = _negative_power(base, beta)
    # Once, in the memory of the values, not at each of its uses.
    inner = lax.optimization_barrier((g * x * power / base).astype(dtype)).astype(g.dtype)
    return ((g * power - (2 * alpha * beta) * x * window_sum(inner)).astype(dtype),)


_normalised.defvjp(_normalised_forward, _normalised_backward)


def _sum_over_channels(x: jax.Array, size: int, towers: int) -> jax.Array:
    apart = x.reshape(*x.shape[:-1], towers, -1)
    window = (1,) * (apart.ndim - 1) + (size // 2 * 2 + 1,)
    sums: jax.Array = lax.reduce_window(apart, 0.0, lax.add, window, (1,) * apart.ndim, "SAME")
    return sums.reshape(x.shape)


def _sum_over_positions(x: jax.Array, size: int) -> jax.Array:
    for window in ((1, size, 1, 1), (1, 1, size, 1)):
        x = lax.reduce_window(x, 0.0, lax.add, window, (1, 1, 1, 1), "SAME")
    return x


def _negative_power(base: jax.Array, beta: float) -> jax.Array:
    if beta == 0.75:  # two square roots cost a fraction of a power
        root = lax.rsqrt(base)
        return root * jnp.sqrt(root)
    return base**-beta


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
    winner, g = lax.optimization_barrier((winner, g))  # once, not at each of its uses
    given = {offset: jnp.where(winner == number, g, 0) for number, offset in enumerate(offsets)}
    return (_scatter_windows(given, x.shape, stride),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def average_pool(
    x_BxHxWxC: jax.Array, size: int, stride: int, ceil: bool, forward_mode: bool = False
) -> jax.Array:
    """Return the mean of each window of `size` x `size`, every `stride`.

    One that runs over the edge (`ceil`) divides by the elements present.
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
    given = {(i, j): share for i in range(size) for j in range(size)}
    return (_scatter_windows(given, x.shape, stride),)


_average_pool.defvjp(_average_pool_forward, _average_pool_backward)
POOLS: dict[str, Callable[..., jax.Array]] = {"max": max_pool, "average": average_pool}


def _elements(x: jax.Array, y: jax.Array, size: int, stride: int) -> jax.Array:
    """Return how many elements of `x` lie in each pooling window of `y`, padding left out: (H', W', 1)."""
    # Counted in numpy: XLA would fold the constant window sums for many seconds at compile time.
    first = [np.arange(n) * stride for n in y.shape[1:3]]
    counts = [np.minimum(at + size, side) - at for at, side in zip(first, x.shape[1:3], strict=True)]
    return jnp.asarray(np.outer(*counts)[:, :, None], y.dtype)


def _reduce_windows(
    x: jax.Array, start: float, how: Callable[..., jax.Array], size: int, stride: int, ceil: bool
) -> jax.Array:
    """Reduce each window to one value: (B, H', W', C)."""
    edges = _overrun(x, size, stride, ceil)
    y: jax.Array = lax.reduce_window(x, start, how, (1, size, size, 1), (1, stride, stride, 1), edges)
    return y


def _overrun(x: jax.Array, size: int, stride: int, ceil: bool) -> list[tuple[int, int]]:
    """Return the padding (before, after) of each axis that the last windows run into."""
    over = [-(side - size) % stride if ceil else 0 for side in x.shape[1:3]]
    return [(0, 0), (0, over[0]), (0, over[1]), (0, 0)]


def _scatter_windows(
    given: dict[tuple[int, int], jax.Array], shape: tuple[int, ...], stride: int
) -> jax.Array:
    """Return the sum of what all windows give to each value that was pooled, (B, H, W, C).

    Values a multiple of the stride apart have the same offset in their windows; each such phase is one
    loop, and the phases are interleaved. This is faster on a CPU than scattering each window, and than XLA's
    own gradients.

    Args:
      given: what each window gives to its value at offset (i, j): (B, H', W', C).
      shape: of what was pooled.
      stride: of the windows.
    """
    batch, height, width, channels = shape
    rows, columns = -(-height // stride), -(-width // stride)

    def phase(row: int, column: int) -> jax.Array:
        """Return the values at (row, column) and every `stride` from there."""
        total = jnp.zeros((batch, rows, columns, channels), given[0, 0].dtype)
        for (i, j), piece in given.items():
            if i % stride == row and j % stride == column:
                above, left = i // stride, j // stride
                below, right = rows - piece.shape[1] - above, columns - piece.shape[2] - left
                edges = [(0, 0, 0), (above, below, 0), (left, right, 0), (0, 0, 0)]
                total += lax.pad(piece, jnp.zeros((), piece.dtype), edges)
        return total

    phases = [jnp.stack([phase(p, q) for q in range(stride)], axis=3) for p in range(stride)]
    interleaved = jnp.stack(phases, axis=2).reshape(batch, rows * stride, columns * stride, channels)
    return interleaved[:, :height, :width]


def adaptive_average_pool(x_BxHxWxC: jax.Array, side: int) -> jax.Array:
    """Return means of `side` x `side` windows, from floor(i H / side) to ceil((i + 1) H / side).

    They are those of PyTorch's AdaptiveAvgPool2d.
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


def dropout(x: jax.Array, mask: jax.Array | None, rate: float, inverted: bool) -> jax.Array:
    """Zero what `mask`, bool of the shape of `x`, does not keep (section 4.2).

    Without a mask, where the net is used and not trained, multiply by 1 - rate. `inverted`: divide by
    1 - rate with a mask instead, and do nothing without.
    """
    if mask is None:
        return x if inverted else x * (1 - rate)
    return jnp.where(mask, x / (1 - rate) if inverted else x, 0)
