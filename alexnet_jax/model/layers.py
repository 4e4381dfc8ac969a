"""The layers as pure functions of arrays.

A tower is one of the two halves of the network (sections 3.2 and 3.5 and figure 2 of the paper). Channels of
the towers that a device holds are concatenated on the last axis, in tower order, so that whatever works
channel by channel (activation, pooling) need not know about towers.
"""

import itertools
from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# The gradient of a convolution's kernel is added up over chunks of the batch on a CPU: `_convolve_backward`.
CHUNK_ELEMENTS = 2**19  # of input and output gradient together
MAX_CHUNKS = 16
# The gradient of a dense kernel with so few outputs is computed transposed on a CPU: `_narrow_product`.
MAX_NARROW_OUTPUTS = 32
MAX_FEW_CHANNELS = 4  # of an input that is an image: `_form`
MAX_GREY_CHANNELS = 2  # of an image whose blocks a CPU convolves faster
SMALL_SIDE = 64  # of images, in pixels, up to which a CPU's convolutions are Eigen's: `compiler_options`


def convolution(
    x_BxHxWxC: jax.Array,
    kernel_TxKxKxIxO: jax.Array,
    bias_TxO: jax.Array,
    stride: int,
    pad: tuple[int, int],
    forward_mode: bool = False,
) -> jax.Array:
    """Convolve once for each tower and concatenate the results on channels (section 3.5).

    Where I is C each tower reads all channels, and all towers are computed as one convolution. Otherwise
    tower t reads its own I channels; that is written as plain convolutions, since XLA's grouped ones are
    slower on a CPU.

    Args:
      x_BxHxWxC: the values of all towers on this device.
      kernel_TxKxKxIxO: one kernel a tower.
      bias_TxO: one bias a tower.
      stride: in both directions.
      pad: rows and columns of zeros (before, after) the image, the same for both directions.
      forward_mode: take JAX's own derivatives, so that `jax.jvp` works.

    Returns:
      (B, H', W', T * O).
    """
    convolve = _convolve_plainly if forward_mode else _convolve
    towers, _, _, in_channels, _ = kernel_TxKxKxIxO.shape
    if in_channels == x_BxHxWxC.shape[-1]:
        kernel = jnp.moveaxis(kernel_TxKxKxIxO, 0, -2)
        kernel = kernel.reshape(*kernel.shape[:3], -1)
        return convolve(x_BxHxWxC, kernel, bias_TxO.reshape(-1), stride, pad)
    outputs = []
    for t in range(towers):
        x = x_BxHxWxC[..., t * in_channels : (t + 1) * in_channels]
        outputs.append(convolve(x, kernel_TxKxKxIxO[t], bias_TxO[t], stride, pad))
    return jnp.concatenate(outputs, axis=-1)


def _convolve_plainly(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int, pad: tuple[int, int]
) -> jax.Array:
    return _correlate(x, kernel, stride, pad) + bias


def _correlate(x: jax.Array, kernel: jax.Array, stride: int, pad: tuple[int, int]) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _correlate_blocks(x: jax.Array, kernel: jax.Array, stride: int, pad: tuple[int, int]) -> jax.Array:
    """Return what `_correlate` does, computed at stride 1 after space-to-depth.

    Blocks of `stride` x `stride` pixels become channels: matrix units want many and an image has three. On a
    CPU it takes half of the time for a small grey image, and more for others.
    """
    size, features = kernel.shape[0], kernel.shape[-1]
    blocks = -(-size // stride)  # that cover one side of the kernel
    height, width = ((side + sum(pad) - size) // stride + blocks for side in x.shape[1:3])
    below, right = height * stride - x.shape[1] - pad[0], width * stride - x.shape[2] - pad[0]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (pad[0], below, 0), (pad[0], right, 0), (0, 0, 0)])
    x = x.reshape(-1, height, stride, width, stride, x.shape[-1]).swapaxes(2, 3)
    extra = blocks * stride - size
    kernel = jnp.pad(kernel, ((0, extra), (0, extra), (0, 0), (0, 0)))
    kernel = kernel.reshape(blocks, stride, blocks, stride, -1, features).swapaxes(1, 2)
    return _correlate(
        x.reshape(-1, height, width, int(np.prod(x.shape[3:]))),
        kernel.reshape(blocks, blocks, -1, features),
        1,
        (0, 0),
    )


def _correlate_columns(x: jax.Array, kernel: jax.Array, stride: int, pad: tuple[int, int]) -> jax.Array:
    """Return what `_correlate` does at stride 1, for several neighbouring columns at once.

    Blocks of columns, one less than the kernel has, become channels of the input and of the output, without
    moving a value; a block of the output reads two of the input. Of CIFAR-10's conv1, 3 channels and a kernel
    of 5 x 5, a CPU computes 1.6 times the products in half of the time.
    """
    size, channels, features = kernel.shape[0], *kernel.shape[2:]
    together = size - 1
    batch, height, width = x.shape[:3]
    columns = width + sum(pad) - size + 1
    blocks = -(-columns // together)
    right = (blocks + 1) * together - width - pad[0]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (*pad, 0), (pad[0], right, 0), (0, 0, 0)])
    x = x.reshape(batch, height + sum(pad), blocks + 1, together * channels)
    # The kernel as each of the columns reads it, from its own place in the two blocks.
    shifted = [jnp.pad(kernel, ((0, 0), (j, together - 1 - j), (0, 0), (0, 0))) for j in range(together)]
    wide = jnp.stack(shifted, axis=-2).reshape(size, 2, together * channels, together * features)
    y = _correlate(x, wide, 1, (0, 0))
    return y.reshape(batch, -1, blocks * together, features)[:, :, :columns]


def _form(x: jax.Array, kernel: jax.Array, stride: int, platform: str) -> Callable[..., jax.Array]:
    """Return how a convolution is computed: few channels suit neither matrix units nor a CPU's loops."""
    if x.shape[-1] > MAX_FEW_CHANNELS:
        return _correlate
    if stride > 1:
        grey = x.shape[-1] <= MAX_GREY_CHANNELS and x.shape[1] <= SMALL_SIDE
        return _correlate_blocks if platform != "cpu" or grey else _correlate
    return _correlate_columns if platform == "cpu" and kernel.shape[0] > 2 else _correlate


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _convolve(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int, pad: tuple[int, int]
) -> jax.Array:
    cpu, default = (
        partial(_form(x, kernel, stride, platform), stride=stride, pad=pad) for platform in ("cpu", "")
    )
    y: jax.Array = lax.platform_dependent(x, kernel, cpu=cpu, default=default)
    return y + bias


def _convolve_forward(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int, pad: tuple[int, int]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    return _convolve(x, kernel, bias, stride, pad), (x, kernel, bias)


def _convolve_backward(
    stride: int, pad: tuple[int, int], residuals: tuple[jax.Array, jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    # On a CPU the gradient of the kernel is added up over chunks of the batch. It is a convolution whose
    # channels are the images, and many of them do not fit into the caches.
    x, kernel, bias = residuals

    def kernel_gradient(
        x: jax.Array, g: jax.Array, correlate: Callable[..., jax.Array] = _correlate
    ) -> jax.Array:
        gradient: jax.Array = jax.linear_transpose(lambda k: correlate(x, k, stride, pad), kernel)(g)[0]
        return gradient

    def chunked_kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
        batch = x.shape[0]
        chunks = min(batch, MAX_CHUNKS, -(-(x.size + g.size) // CHUNK_ELEMENTS))
        ends = [batch * chunk // chunks for chunk in range(chunks + 1)]
        return reduce(jnp.add, [kernel_gradient(x[i:j], g[i:j]) for i, j in itertools.pairwise(ends)])

    input_gradient = jax.linear_transpose(lambda x: _correlate(x, kernel, stride, pad), x)(g)[0]
    plain = partial(kernel_gradient, correlate=_form(x, kernel, stride, ""))
    gradient = lax.platform_dependent(x, g, cpu=chunked_kernel_gradient, default=plain)
    # The bias' is summed over the images first, a loop over whole vectors. The sum over all at once, which
    # XLA makes of both without the barrier, takes 5 to 20 times as long on a CPU.
    over_images = lax.optimization_barrier(g.sum(axis=0, dtype=jnp.promote_types(g.dtype, jnp.float32)))

    def spread(bias: jax.Array) -> jax.Array:
        return jnp.zeros_like(over_images) + bias.astype(over_images.dtype)

    bias_gradient = jax.linear_transpose(spread, bias)(over_images)[0]
    return input_gradient, gradient, bias_gradient


_convolve.defvjp(_convolve_forward, _convolve_backward)


def dense(
    x: jax.Array, kernel_TxIxO: jax.Array, bias_TxO: jax.Array, forward_mode: bool = False
) -> jax.Array:
    """Apply one fully connected layer a tower and concatenate the results: (B, T * O).

    `x` is (B, H, W, C) or (B, C). A tower reads all of it, flattened in the order (H, W, C), or its own
    channels, flattened in the same order: the kernel's inputs I say which. `forward_mode`: take JAX's own
    derivatives, so that `jax.jvp` works.
    """
    y_TxBxO = _products(x, kernel_TxIxO, forward_mode) + bias_TxO[:, None]
    return y_TxBxO.swapaxes(0, 1).reshape(x.shape[0], -1)


def dense_partial_sum(x: jax.Array, kernel_TxIxO: jax.Array, forward_mode: bool = False) -> jax.Array:
    """Return the sum over this device's towers of a layer that sums over all: (B, O), without its bias."""
    return _products(x, kernel_TxIxO, forward_mode).sum(axis=0)


def _products(x: jax.Array, kernel_TxIxO: jax.Array, forward_mode: bool) -> jax.Array:
    """Return each tower's product, (T, B, O)."""
    # One batched product reads the kernel in place; a product for each tower would copy its slice.
    narrow = kernel_TxIxO.shape[-1] <= MAX_NARROW_OUTPUTS and not forward_mode
    product: Callable[..., jax.Array] = _narrow_product if narrow else jnp.matmul
    y_TxBxO: jax.Array = product(_inputs(x, kernel_TxIxO), kernel_TxIxO)
    return y_TxBxO


@jax.custom_vjp
def _narrow_product(x_TxBxI: jax.Array, kernel_TxIxO: jax.Array) -> jax.Array:
    return x_TxBxI @ kernel_TxIxO


def _narrow_product_forward(
    x_TxBxI: jax.Array, kernel_TxIxO: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x_TxBxI @ kernel_TxIxO, (x_TxBxI, kernel_TxIxO)


def _narrow_product_backward(
    residuals: tuple[jax.Array, jax.Array], g_TxBxO: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x_TxBxI, kernel_TxIxO = residuals

    def gradient(product: Callable[[jax.Array], jax.Array], g_TxBxO: jax.Array) -> jax.Array:
        found: jax.Array = jax.linear_transpose(product, kernel_TxIxO)(g_TxBxO)[0]
        return found

    def transposed(kernel_TxIxO: jax.Array) -> jax.Array:
        # The gradient of this is (T, O, I) first: 2 to 4 times as fast, as its rows are long. Without the
        # barrier XLA would turn it round.
        kernel_TxOxI = lax.optimization_barrier(kernel_TxIxO.swapaxes(1, 2))
        y_TxBxO: jax.Array = (kernel_TxOxI @ x_TxBxI.swapaxes(1, 2)).swapaxes(1, 2)
        return y_TxBxO

    kernel_gradient = lax.platform_dependent(
        g_TxBxO, cpu=partial(gradient, transposed), default=partial(gradient, lambda k: x_TxBxI @ k)
    )
    input_gradient: jax.Array = jax.linear_transpose(lambda x: x @ kernel_TxIxO, x_TxBxI)(g_TxBxO)[0]
    return input_gradient, kernel_gradient


_narrow_product.defvjp(_narrow_product_forward, _narrow_product_backward)


def _inputs(x: jax.Array, kernel_TxIxO: jax.Array) -> jax.Array:
    """Return what each tower reads, (T, B, I)."""
    towers, inputs, _ = kernel_TxIxO.shape
    batch = x.shape[0]
    if inputs == np.prod(x.shape[1:]):
        return jnp.broadcast_to(x.reshape(batch, -1), (towers, batch, inputs))
    by_tower = x.reshape(*x.shape[:-1], towers, -1)
    return jnp.moveaxis(by_tower, -2, 0).reshape(towers, batch, inputs)


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

    The sum runs over the `size` channels around a channel, an even `size` over one more; `alpha` is not
    divided by `size`. The window ends at the edge of a tower, `towers` of which are concatenated on the
    channel axis. It is computed in 32 bits at least.
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
    x_float32 = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    base = k + alpha * window_sum(jnp.square(x_float32))
    return (x_float32 * _negative_power(base, beta)).astype(x.dtype), (x, base.astype(x.dtype))


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
    # The barrier makes XLA compute this once, in x's dtype, and not again at each use.
    inner = lax.optimization_barrier((g * x * power / base).astype(dtype)).astype(g.dtype)
    return ((g * power - (2 * alpha * beta) * x * window_sum(inner)).astype(dtype),)


_normalised.defvjp(_normalised_forward, _normalised_backward)


def _sum_over_channels(x: jax.Array, size: int, towers: int) -> jax.Array:
    by_tower = x.reshape(*x.shape[:-1], towers, -1)
    window = (1,) * (by_tower.ndim - 1) + (size // 2 * 2 + 1,)
    sums: jax.Array = lax.reduce_window(by_tower, 0.0, lax.add, window, (1,) * by_tower.ndim, "SAME")
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


def dropout(x: jax.Array, mask: jax.Array | None, rate: float, inverted: bool) -> jax.Array:
    """Apply dropout: zero the values of `x` where `mask`, bool of the same shape, is False (section 4.2).

    Without a mask, outside training, multiply by 1 - rate. Inverted dropout divides by 1 - rate where there
    is a mask instead, and does nothing without one.
    """
    if mask is None:
        return x if inverted else x * (1 - rate)
    return jnp.where(mask, x / (1 - rate) if inverted else x, 0)
