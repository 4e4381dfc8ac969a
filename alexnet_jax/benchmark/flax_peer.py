"""The same network in plain Flax, made from the same table, as a peer of the measurements.

As twelve lines of Flax would have it: `nn.Conv`, grouped for towers, `nn.max_pool`, `nn.Dense`, the gradient
that JAX derives, XLA's default options.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from alexnet_jax.errors import UsageError
from alexnet_jax.model import specs
from alexnet_jax.model.rows import Layer, Weighted
from alexnet_jax.model.specs import Architecture

NAME = "flax"
ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh, "sigmoid": nn.sigmoid}


class FlaxNet(nn.Module):
    """A table as a Linen module: normalised images (B, H, W, C) to logits (B, classes).

    Attributes:
      architecture: the table.
    """

    architecture: Architecture

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Return the logits; in training dropout needs `rngs={'dropout': key}`."""
        first = True
        for layer in self.architecture.layers:
            x = self._apply(layer, x, first, train)
            first = first and not isinstance(layer, Weighted)
        return x

    def _apply(self, layer: Layer, x: jax.Array, first: bool, train: bool) -> jax.Array:
        net = self.architecture
        dtype = jnp.dtype(net.compute_dtype)
        y: jax.Array
        match layer:
            case specs.Conv():
                groups = 1 if first or layer.reads == "both" else net.towers
                kernel, stride = (layer.kernel,) * 2, (layer.stride,) * 2
                return nn.Conv(
                    layer.features, kernel, stride, [layer.pad] * 2, feature_group_count=groups,
                    dtype=dtype, name=layer.name,
                )(x)  # fmt: skip
            case specs.Local():
                kernel, pad = (layer.kernel,) * 2, [(layer.pad,) * 2] * 2
                local = nn.ConvLocal(layer.features, kernel, padding=pad, dtype=dtype, name=layer.name)
                y = local(x)
                return y
            case specs.Dense():
                if layer.reads != "own" or first or net.towers == 1:
                    return nn.Dense(layer.features, dtype=dtype, name=layer.name)(x.reshape(x.shape[0], -1))
                parts = jnp.split(x, net.towers, axis=-1)
                return jnp.concatenate(
                    [
                        nn.Dense(layer.features // net.towers, dtype=dtype, name=f"{layer.name}_{t}")(
                            part.reshape(x.shape[0], -1)
                        )
                        for t, part in enumerate(parts)
                    ],
                    axis=-1,
                )
            case specs.Activation():
                return ACTIVATIONS[layer.kind](x)
            case specs.LRN():
                towers = 1 if layer.across else net.towers
                squares = jnp.square(x).reshape(*x.shape[:-1], towers, -1)
                sums = jax.lax.reduce_window(
                    squares, 0.0, jax.lax.add, (1, 1, 1, 1, layer.size // 2 * 2 + 1), (1,) * 5, "SAME"
                )
                y = x / (layer.k + layer.alpha * sums.reshape(x.shape)) ** layer.beta
                return y
            case specs.WithinChannelLRN():
                sums = layer.size**2 * nn.avg_pool(jnp.square(x), (layer.size,) * 2, padding="SAME")
                y = x / (layer.k + layer.alpha * sums) ** layer.beta
                return y
            case specs.Pool():
                return _pool(layer, x)
            case specs.AdaptivePool() if x.shape[1] == layer.side:
                return x
            case specs.Dropout():
                keep = 1.0 if layer.inverted else 1 - layer.rate
                return keep * nn.Dropout(layer.rate, deterministic=not train)(x) if train or keep < 1 else x
        raise UsageError(f"{layer.name}: the plain Flax net has no {type(layer).__name__}")


def _pool(layer: specs.Pool, x: jax.Array) -> jax.Array:
    over = -(x.shape[1] - layer.size) % layer.stride if layer.ceil else 0
    window, stride, pad = (layer.size,) * 2, (layer.stride,) * 2, ((0, over),) * 2
    y: jax.Array
    if layer.kind == "max":
        y = nn.max_pool(x, window, stride, pad)
    else:
        y = nn.avg_pool(x, window, stride, pad, count_include_pad=False)
    return y


def parameters(architecture: Architecture, params: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the package's parameters, {layer: {'kernel', 'bias'}}, as the variables of `FlaxNet`."""
    found: dict[str, Any] = {}
    for layer in architecture.layers:
        if not isinstance(layer, Weighted):
            continue
        kernel, bias = (np.asarray(params[layer.name][part]) for part in ("kernel", "bias"))
        if isinstance(layer, specs.Conv):
            joined = np.concatenate(list(kernel), axis=-1)
            found[layer.name] = {"kernel": joined, "bias": bias.reshape(-1)}
            continue
        if isinstance(layer, specs.Local):  # its patches are ordered (channel, row, column)
            patches = kernel[0].transpose(0, 1, 4, 2, 3, 5)
            flat = patches.reshape(*patches.shape[:2], -1, patches.shape[-1])
            found[layer.name] = {"kernel": flat, "bias": bias[0]}
            continue
        read_in_full = layer.reads != "own" or len(kernel) == 1
        if layer.reads == "sum":
            found[layer.name] = {"kernel": kernel.reshape(-1, kernel.shape[-1]), "bias": bias}
        elif read_in_full:
            found[layer.name] = {"kernel": np.concatenate(list(kernel), axis=-1), "bias": bias.reshape(-1)}
        else:
            for t, (own, added) in enumerate(zip(kernel, bias, strict=True)):
                found[f"{layer.name}_{t}"] = {"kernel": own, "bias": added}
    return {"params": jax.tree.map(jnp.asarray, found)}


class FlaxPeer:
    """The net with its own copy of the parameters, on the device of its batches."""

    def __init__(
        self,
        architecture: Architecture,
        params: Mapping[str, Mapping[str, Any]],
        batches: list[tuple[jax.Array, jax.Array]],
        learning_rate: float,
        momentum: float,
    ):
        """Compile both passes.

        Args:
          architecture: the table.
          params: as the package has them.
          batches: normalised images (B, crop, crop, C) and labels (B,), used in turn.
          learning_rate: of all parameters.
          momentum: of `optax.sgd`.

        Raises:
          UsageError: a layer that the plain net does not have.
        """
        net, update = FlaxNet(architecture), optax.sgd(learning_rate, momentum)

        def loss(variables: Any, x: jax.Array, labels: jax.Array, key: jax.Array) -> jax.Array:
            logits = net.apply(variables, x, train=True, rngs={"dropout": key})
            each: jax.Array = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return each.mean()

        def train(state: Any, x: jax.Array, labels: jax.Array, number: int) -> Any:
            variables, opt_state = state
            key = jax.random.fold_in(jax.random.key(0), number)
            value, gradients = jax.value_and_grad(loss)(variables, x, labels, key)
            updates, opt_state = update.update(gradients, opt_state, variables)
            return (optax.apply_updates(variables, updates), opt_state), value

        variables = parameters(architecture, params)
        self._state = (variables, update.init(variables))
        self._batches = batches
        self._forward, self._train = jax.jit(net.apply), jax.jit(train, donate_argnums=0)
        self._latest: Any = None

    def forward(self, number: int) -> None:
        """Start a forward pass."""
        self._latest = self._forward(self._state[0], self._batches[number % len(self._batches)][0])

    def train(self, number: int) -> None:
        """Start a training step."""
        batch = self._batches[number % len(self._batches)]
        self._state, self._latest = self._train(self._state, *batch, number)

    def wait(self) -> None:
        """Wait until all that was started is done."""
        jax.block_until_ready((self._state, self._latest))
