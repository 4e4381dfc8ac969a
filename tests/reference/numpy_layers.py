"""Layers in plain numpy, forward and backward: the oracle that the product's layers are held to.

Nothing here is shared with the product, and nothing is fast: each function follows its formula. Every
forward has a `..._vjp` that takes the same arguments with the gradient of a scalar with respect to the
output in front, and gives the gradients of that scalar. Arrays are batch, height, width, channels (NHWC),
kernels height, width, input channels, output channels (HWIO). All is computed in float64.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]
Sides = tuple[tuple[int, int], tuple[int, int]]


def _double(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def sides(padding: Padding) -> Sides:
    """((top, bottom), (left, right)) from one number for all sides, (before, after) of both, or itself."""
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    first, second = padding
    if isinstance(first, int) and isinstance(second, int):
        return (first, second), (first, second)
    if isinstance(first, tuple) and isinstance(second, tuple):
        return first, second
    raise TypeError(f"not a padding: {padding}")


def _padded(x: Array, padding: Padding) -> Array:
    return np.pad(x, ((0, 0), *sides(padding), (0, 0)))


def _unpadded(x: Array, padding: Padding) -> Array:
    (top, bottom), (left, right) = sides(padding)
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def _group(channels: int, groups: int, group: int) -> slice:
    if channels % groups:
        raise ValueError(f"{channels} channels in {groups} groups")
    size = channels // groups
    return slice(group * size, (group + 1) * size)


# --- convolution ---------------------------------------------------------------------------------------


def conv(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike,
    *,
    stride: int = 1,
    padding: Padding = 0,
    groups: int = 1,
) -> Array:
    """Cross-correlation of x (B, H, W, C) with kernel (kh, kw, C / groups, O), plus bias (O,).

    Output o of group g sees input group g alone. The last window that does not fit is left out.
    """
    padded, k = _padded(_double(x), padding), _double(kernel)
    rows = (padded.shape[1] - k.shape[0]) // stride + 1
    columns = (padded.shape[2] - k.shape[1]) // stride + 1
    y = np.zeros((padded.shape[0], rows, columns, k.shape[3]))
    for group in range(groups):
        seen, made = _group(padded.shape[3], groups, group), _group(k.shape[3], groups, group)
        for i in range(k.shape[0]):
            for j in range(k.shape[1]):
                shifted = padded[:, i : i + stride * rows : stride, j : j + stride * columns : stride, seen]
                y[..., made] += shifted @ k[i, j, :, made]
    return y + _double(bias)


def conv_vjp(
    dy: ArrayLike,
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    stride: int = 1,
    padding: Padding = 0,
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """Gradients (dx, dkernel, dbias) of `conv` for the output's gradient dy (B, rows, columns, O)."""
    g, padded, k = _double(dy), _padded(_double(x), padding), _double(kernel)
    rows, columns = g.shape[1:3]
    dpadded, dk = np.zeros_like(padded), np.zeros_like(k)
    for group in range(groups):
        seen, made = _group(padded.shape[3], groups, group), _group(k.shape[3], groups, group)
        for i in range(k.shape[0]):
            for j in range(k.shape[1]):
                window = (
                    slice(None),
                    slice(i, i + stride * rows, stride),
                    slice(j, j + stride * columns, stride),
                    seen,
                )
                dk[i, j, :, made] += np.tensordot(padded[window], g[..., made], axes=((0, 1, 2), (0, 1, 2)))
                dpadded[window] += g[..., made] @ k[i, j, :, made].T
    return _unpadded(dpadded, padding), dk, g.sum(axis=(0, 1, 2))


def local(
    x: ArrayLike, kernel: ArrayLike, bias: ArrayLike, *, stride: int = 1, padding: Padding = 0
) -> Array:
    """A convolution whose weights differ from position to position.

    x (B, H, W, C), kernel (rows, columns, kh, kw, C, O), bias broadcast to (rows, columns, O); gives
    (B, rows, columns, O).
    """
    padded, k = _padded(_double(x), padding), _double(kernel)
    rows, columns, kh, kw, _, outputs = k.shape
    y = np.zeros((padded.shape[0], rows, columns, outputs))
    for r in range(rows):
        for c in range(columns):
            window = padded[:, r * stride : r * stride + kh, c * stride : c * stride + kw]
            y[:, r, c] = np.tensordot(window, k[r, c], axes=3)
    return y + _double(bias)


def local_vjp(
    dy: ArrayLike,
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    stride: int = 1,
    padding: Padding = 0,
    shared_bias: bool = False,
) -> tuple[Array, Array, Array]:
    """Gradients (dx, dkernel, dbias) of `local`; dbias (rows, columns, O), or (O,) when it is shared."""
    g, padded, k = _double(dy), _padded(_double(x), padding), _double(kernel)
    rows, columns, kh, kw = k.shape[:4]
    dpadded, dk = np.zeros_like(padded), np.zeros_like(k)
    for r in range(rows):
        for c in range(columns):
            window = (
                slice(None),
                slice(r * stride, r * stride + kh),
                slice(c * stride, c * stride + kw),
            )
            dk[r, c] = np.tensordot(padded[window], g[:, r, c], axes=((0,), (0,)))
            dpadded[window] += np.tensordot(g[:, r, c], k[r, c], axes=((1,), (3,)))
    return _unpadded(dpadded, padding), dk, g.sum(axis=(0, 1, 2) if shared_bias else 0)


# --- fully connected -----------------------------------------------------------------------------------


def dense(x: ArrayLike, kernel: ArrayLike, bias: ArrayLike) -> Array:
    """x (B, I) @ kernel (I, O) + bias (O,)."""
    return _double(x) @ _double(kernel) + _double(bias)


def dense_vjp(dy: ArrayLike, x: ArrayLike, kernel: ArrayLike) -> tuple[Array, Array, Array]:
    """Gradients (dx, dkernel, dbias) of `dense`."""
    g = _double(dy)
    return g @ _double(kernel).T, _double(x).T @ g, g.sum(axis=0)


# --- activations ---------------------------------------------------------------------------------------


def relu(x: ArrayLike) -> Array:
    """max(x, 0)."""
    return np.maximum(_double(x), 0.0)


def relu_vjp(dy: ArrayLike, x: ArrayLike) -> Array:
    """The gradient passes where x > 0; at 0 it is 0."""
    return _double(dy) * (_double(x) > 0)


def tanh(x: ArrayLike) -> Array:
    """The hyperbolic tangent."""
    return np.tanh(_double(x))


def tanh_vjp(dy: ArrayLike, x: ArrayLike) -> Array:
    """dy * (1 - tanh(x)^2)."""
    return _double(dy) * (1.0 - np.tanh(_double(x)) ** 2)


def sigmoid(x: ArrayLike) -> Array:
    """1 / (1 + exp(-x)), written so that it overflows nowhere."""
    return 0.5 * (1.0 + np.tanh(0.5 * _double(x)))


def sigmoid_vjp(dy: ArrayLike, x: ArrayLike) -> Array:
    """dy * s * (1 - s)."""
    s = sigmoid(x)
    return _double(dy) * s * (1.0 - s)


# --- response normalisation ----------------------------------------------------------------------------


def _channel_windows(channels: int, size: int, groups: int) -> Array:
    """A 0/1 matrix (C, C): row i has a one for each channel in the window around channel i."""
    windows = np.zeros((channels, channels))
    for group in range(groups):
        members = _group(channels, groups, group)
        for i in range(members.start, members.stop):
            for j in range(i - size // 2, i + size // 2 + 1):
                if members.start <= j < members.stop:
                    windows[i, j] = 1.0
    return windows


def lrn(
    x: ArrayLike, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, groups: int = 1
) -> Array:
    """x / (k + alpha * s)^beta, s the sum of squares over channels i - size // 2 to i + size // 2.

    A window is clipped at the ends of its group: with `groups` the towers do not see each other. `alpha`
    multiplies the plain sum; a caller whose formula has alpha / size divides first.
    """
    v = _double(x)
    windows = _channel_windows(v.shape[-1], size, groups)
    return v * (k + alpha * (v**2 @ windows.T)) ** -beta


def lrn_vjp(
    dy: ArrayLike,
    x: ArrayLike,
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    groups: int = 1,
) -> Array:
    """dx_j = dy_j d_j^-beta - 2 alpha beta x_j sum over the i that see j of dy_i x_i d_i^(-beta - 1)."""
    g, v = _double(dy), _double(x)
    windows = _channel_windows(v.shape[-1], size, groups)
    d = k + alpha * (v**2 @ windows.T)
    return g * d**-beta - 2.0 * alpha * beta * v * ((g * v * d ** (-beta - 1.0)) @ windows)


def _spatial_sum(x: Array, size: int, transposed: bool = False) -> Array:
    """Sum each channel over size x size windows, zeros beyond the edge. A window starts size // 2 before its
    centre; transposed, it is the mirror image, which differs only for an even size."""
    before = size // 2 if not transposed else size - 1 - size // 2
    rows, columns = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (before, size - 1 - before), (before, size - 1 - before), (0, 0)))
    total = np.zeros_like(x)
    for i in range(size):
        for j in range(size):
            total += padded[:, i : i + rows, j : j + columns]
    return total


def same_channel_lrn(x: ArrayLike, *, size: int, alpha: float, beta: float = 0.75, k: float = 1.0) -> Array:
    """x / (k + alpha * s)^beta, s the sum of squares over a size x size window of the same channel.

    The window is centred and holds zeros beyond the image's edge. `alpha` multiplies the plain sum.
    """
    v = _double(x)
    return v * (k + alpha * _spatial_sum(v**2, size)) ** -beta


def same_channel_lrn_vjp(
    dy: ArrayLike, x: ArrayLike, *, size: int, alpha: float, beta: float = 0.75, k: float = 1.0
) -> Array:
    """The gradient of `same_channel_lrn`, as in `lrn_vjp`."""
    g, v = _double(dy), _double(x)
    d = k + alpha * _spatial_sum(v**2, size)
    return g * d**-beta - 2.0 * alpha * beta * v * _spatial_sum(g * v * d ** (-beta - 1.0), size, True)


# --- pooling -------------------------------------------------------------------------------------------


def _pool_windows(length: int, size: int, stride: int, ceil: bool) -> list[tuple[int, int]]:
    """(start, stop) of each window along one side; with `ceil` the last ones are cut off at the edge."""
    windows = []
    start = 0
    while start + size <= length:
        windows.append((start, start + size))
        start += stride
    if ceil and start < length and (not windows or windows[-1][1] < length):
        windows.append((start, length))
    return windows


def max_pool(x: ArrayLike, *, size: int = 3, stride: int = 2, ceil: bool = False) -> Array:
    """The maximum of each size x size window; with `ceil` the last window runs over the edge.

    Sizes: (H - size) // stride + 1, or rounded up with `ceil`.
    """
    v = _double(x)
    rows = _pool_windows(v.shape[1], size, stride, ceil)
    columns = _pool_windows(v.shape[2], size, stride, ceil)
    return np.stack([np.stack([v[:, a:b, c:d].max(axis=(1, 2)) for c, d in columns], 1) for a, b in rows], 1)


def max_pool_vjp(dy: ArrayLike, x: ArrayLike, *, size: int = 3, stride: int = 2, ceil: bool = False) -> Array:
    """The gradient goes to the first maximum of each window in row-major order."""
    g, v = _double(dy), _double(x)
    dx = np.zeros_like(v)
    batch, channels = np.ogrid[: v.shape[0], : v.shape[3]]
    for r, (a, b) in enumerate(_pool_windows(v.shape[1], size, stride, ceil)):
        for s, (c, d) in enumerate(_pool_windows(v.shape[2], size, stride, ceil)):
            flat = v[:, a:b, c:d].reshape(v.shape[0], (b - a) * (d - c), v.shape[3])
            first = flat.argmax(axis=1)
            dx[batch, a + first // (d - c), c + first % (d - c), channels] += g[:, r, s]
    return dx


def average_pool(x: ArrayLike, *, size: int = 3, stride: int = 2, ceil: bool = True) -> Array:
    """The mean of the elements present in each window; with `ceil` the last window runs over the edge."""
    v = _double(x)
    rows = _pool_windows(v.shape[1], size, stride, ceil)
    columns = _pool_windows(v.shape[2], size, stride, ceil)
    return np.stack([np.stack([v[:, a:b, c:d].mean(axis=(1, 2)) for c, d in columns], 1) for a, b in rows], 1)


def average_pool_vjp(
    dy: ArrayLike, x: ArrayLike, *, size: int = 3, stride: int = 2, ceil: bool = True
) -> Array:
    """Each element present gets an equal share of its window's gradient."""
    v = _double(x)
    rows = _pool_windows(v.shape[1], size, stride, ceil)
    columns = _pool_windows(v.shape[2], size, stride, ceil)
    return _shared(_double(dy), v, rows, columns)


def _shared(g: Array, x: Array, rows: list[tuple[int, int]], columns: list[tuple[int, int]]) -> Array:
    dx = np.zeros_like(x)
    for r, (a, b) in enumerate(rows):
        for s, (c, d) in enumerate(columns):
            dx[:, a:b, c:d] += g[:, r, s][:, None, None, :] / ((b - a) * (d - c))
    return dx


def _adaptive_windows(length: int, outputs: int) -> list[tuple[int, int]]:
    return [(i * length // outputs, -(-(i + 1) * length // outputs)) for i in range(outputs)]


def adaptive_average_pool(x: ArrayLike, outputs: int = 6) -> Array:
    """(B, outputs, outputs, C): window i runs from floor(i H / outputs) to ceil((i + 1) H / outputs).

    PyTorch's rule; windows may overlap, and repeat where the image is smaller than the output.
    """
    v = _double(x)
    rows, columns = _adaptive_windows(v.shape[1], outputs), _adaptive_windows(v.shape[2], outputs)
    return np.stack([np.stack([v[:, a:b, c:d].mean(axis=(1, 2)) for c, d in columns], 1) for a, b in rows], 1)


def adaptive_average_pool_vjp(dy: ArrayLike, x: ArrayLike, outputs: int = 6) -> Array:
    """The gradient of `adaptive_average_pool`."""
    v = _double(x)
    rows, columns = _adaptive_windows(v.shape[1], outputs), _adaptive_windows(v.shape[2], outputs)
    return _shared(_double(dy), v, rows, columns)


# --- dropout -------------------------------------------------------------------------------------------


def dropout(x: ArrayLike, mask: ArrayLike | None, *, rate: float = 0.5, inverted: bool = False) -> Array:
    """Dropout with a given mask (True: kept), or at test time when the mask is None.

    The paper's rule (section 4.2): x * mask in training, x * (1 - rate) at test time. Inverted, as in Caffe
    and PyTorch: x * mask / (1 - rate) in training, x at test time.
    """
    v = _double(x)
    if mask is None:
        return v if inverted else v * (1.0 - rate)
    kept = v * np.asarray(mask, dtype=bool)
    return kept / (1.0 - rate) if inverted else kept


def dropout_vjp(dy: ArrayLike, mask: ArrayLike | None, *, rate: float = 0.5, inverted: bool = False) -> Array:
    """The gradient of `dropout`, which is linear: the same factors."""
    return dropout(dy, mask, rate=rate, inverted=inverted)


# --- loss ----------------------------------------------------------------------------------------------


def softmax(logits: ArrayLike) -> Array:
    """Probabilities (B, classes)."""
    z = _double(logits)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def cross_entropy(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The mean of -log softmax(logits)[label] over the batch; with weights (B,) the weighted mean."""
    z, y = _double(logits), np.asarray(labels)
    top = z.max(axis=-1, keepdims=True)
    log_normaliser = np.log(np.exp(z - top).sum(axis=-1)) + top[:, 0]
    w = np.ones(len(y)) if weights is None else _double(weights)
    return float((w * (log_normaliser - z[np.arange(len(y)), y])).sum() / w.sum())


def cross_entropy_vjp(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """The gradient of `cross_entropy` with respect to the logits: (softmax - one hot) / B."""
    p, y = softmax(logits), np.asarray(labels)
    p[np.arange(len(y)), y] -= 1.0
    w = np.ones(len(y)) if weights is None else _double(weights)
    return p * w[:, None] / w.sum()
