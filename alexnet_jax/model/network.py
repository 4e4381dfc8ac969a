"""The Flax module that runs a table of layers, on all towers or on those that one device holds."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet_jax.model import layers, specs
from alexnet_jax.model.shapes import Shapes, layer_shapes
from alexnet_jax.model.specs import Architecture, Layer, Weighted


def exchange(x: jax.Array, axis: str | None) -> jax.Array:
    """Return the channels of all towers, in tower order: what figure 2 draws as crossing lines.

    This is the only place where activations go from one tower to the other. Its gradient is the
    opposite exchange: each device gets back the sum for its own channels.

    Args:
      x: (..., C here), the channels that this device holds.
      axis: the mesh axis over which the towers lie; None where all are here, and `x` is returned.
    """
    return x if axis is None else lax.all_gather(x, axis, axis=x.ndim - 1, tiled=True)


def apply_layer(
    layer: Layer,
    x: jax.Array,
    weights: tuple[jax.Array, jax.Array] | None,
    mask: jax.Array | None,
    towers_here: int,
    axis: str | None,
) -> jax.Array:
    """Return the values of one row of a table, (B, H, W, C here) or (B, C here).

    Args:
      layer: the row.
      x: what it reads, exchanged where it reads both towers.
      weights: kernel and bias of a layer that has them.
      mask: of a dropout layer in training.
      towers_here: how many towers `x` holds.
      axis: the mesh axis over which the towers lie, None where all are here.
    """
    match layer:
        case specs.Conv() | specs.Local() | specs.Dense():
            assert weights is not None, f"{layer.name} has weights"
            return _apply_weighted(layer, x, *weights, axis)
        case specs.Activation():
            return layers.activation(x, layer.kind)
        case specs.LRN():
            return _lrn(x, layer, towers_here, axis)
        case specs.WithinChannelLRN():
            return layers.within_channel_lrn(x, layer.size, layer.alpha, layer.beta, layer.k)
        case specs.Pool():
            pool = layers.max_pool if layer.kind == "max" else layers.average_pool
            return pool(x, layer.size, layer.stride, layer.ceil)
        case specs.AdaptivePool():
            return layers.adaptive_average_pool(x, layer.side)
        case specs.Dropout():
            return layers.dropout(x, mask, layer.rate, layer.inverted)


def _apply_weighted(
    layer: Weighted, x: jax.Array, kernel: jax.Array, bias: jax.Array, axis: str | None
) -> jax.Array:
    if isinstance(layer, specs.Conv):
        return layers.convolution(x, kernel, bias, layer.stride, layer.pad)
    if isinstance(layer, specs.Local):
        return layers.locally_connected(x, kernel, bias, layer.pad)
    if layer.reads == "sum":
        x = layers.dense_partial_sum(x, kernel)
        return (x if axis is None else lax.psum(x, axis)) + bias
    return layers.dense(x, kernel, bias)


def _lrn(x: jax.Array, layer: specs.LRN, towers_here: int, axis: str | None) -> jax.Array:
    if not layer.across:
        return layers.lrn(x, layer.size, layer.alpha, layer.beta, layer.k, towers_here)
    everywhere = layers.lrn(exchange(x, axis), layer.size, layer.alpha, layer.beta, layer.k, 1)
    if axis is None:
        return everywhere
    here = x.shape[-1]
    return lax.dynamic_slice_in_dim(everywhere, lax.axis_index(axis) * here, here, axis=-1)


class KernelAndBias(nn.Module):
    """The parameters of one layer, float32.

    Attributes:
      kernel, bias: their shapes.
      std: initial standard deviation of the kernel; None: both uniform within 1 / sqrt(inputs of a unit).
      initial_bias: where `std` is given.
    """

    kernel: tuple[int, ...]
    bias: tuple[int, ...]
    std: float | None
    initial_bias: float

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """Return kernel and bias."""
        if self.std is None:
            bound = float(np.prod(self.kernel[1:-1])) ** -0.5

            def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
                return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

            return self.param("kernel", draw, self.kernel), self.param("bias", draw, self.bias)
        return (
            self.param("kernel", nn.initializers.normal(self.std), self.kernel),
            self.param("bias", nn.initializers.constant(self.initial_bias), self.bias),
        )


class Network(nn.Module):
    """A network as a pure function of parameters and images.

    Attributes:
      architecture: the table.
      towers_here: how many towers this call computes: all, or one inside `shard_map`.
      axis: the mesh axis over which the towers lie, None where all are here.
    """

    architecture: Architecture
    towers_here: int
    axis: str | None = None

    @nn.compact
    def __call__(
        self,
        x_BxHxWxC: jax.Array,
        masks: Mapping[str, jax.Array] | None = None,
        wanted: tuple[str, ...] = (),
    ) -> dict[str, jax.Array]:
        """Run the table and return values of its layers by name.

        Args:
          x_BxHxWxC: images as `inputs.normalise` gives them.
          masks: for each dropout layer, in the shape of its values here, True where one is kept; None
            when the net is used, not trained.
          wanted: names of the layers whose values to return; empty: the logits.

        Returns:
          {name: (B, H, W, C here) or (B, C here)}; the logits are (B, classes) on every device.
        """
        dtype = jnp.dtype(self.architecture.compute_dtype)
        wanted = wanted or (self.architecture.logits,)
        table = layer_shapes(self.architecture)
        x = x_BxHxWxC.astype(dtype)
        is_image = True
        values: dict[str, jax.Array] = {}
        for layer in self.architecture.layers:
            weights = None
            if isinstance(layer, Weighted):
                weights = self._weights(layer, table[layer.name], dtype)
                if layer.reads == "both" and not is_image:
                    x = exchange(x, self.axis)
                is_image = False
            mask = masks[layer.name] if masks is not None and isinstance(layer, specs.Dropout) else None
            with jax.named_scope(layer.name):  # the name under which a profile shows its operations
                x = apply_layer(layer, x, weights, mask, self.towers_here, self.axis)
            if layer.name in wanted:
                values[layer.name] = x
        return values

    def _weights(self, layer: Weighted, shape: Shapes, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
        kernel = (self.towers_here, *shape.kernel[1:])
        bias = (self.towers_here, *shape.bias[1:]) if len(shape.bias) > 1 else shape.bias
        params = KernelAndBias(kernel, bias, layer.std, layer.bias, name=layer.name)()
        return params[0].astype(dtype), params[1].astype(dtype)
