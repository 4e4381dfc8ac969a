"""The network: a table run on the towers that one device holds, on a mesh, and as a Flax module."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

from alexnet_jax.errors import UsageError, WrongTypeError
from alexnet_jax.model import sharding
from alexnet_jax.model.rows import Here, Layer, Weighted, exchange
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.sharding import Params
from alexnet_jax.model.specs import Architecture, Dropout

Values = dict[str, jax.Array]
Masks = Mapping[str, jax.Array]


def run(
    architecture: Architecture,
    params: Params,
    x_BxHxWxC: jax.Array,
    here: Here,
    masks: Masks | None = None,
    wanted: tuple[str, ...] = (),
    start: str = "",
) -> Values:
    """Run the table on the towers that are here and return values of its layers by name.

    Args:
      architecture: the table.
      params: {layer: {'kernel', 'bias'}} of the towers here.
      x_BxHxWxC: images as `inputs.normalise` gives them; with `start` its values here.
      here: how many towers that is, and over which mesh axis they lie.
      masks: for each dropout layer, in the shape of its values here, True where one is kept; None
        when the net is used, not trained.
      wanted: names of the layers whose values to return; empty: the logits.
      start: the layer after which to begin; '': with the image.

    Returns:
      {name: (B, H, W, C here) or (B, C here)}; the logits are (B, classes) on every device.

    Raises:
      UsageError: a wanted layer that the table does not have.
    """
    dtype = jnp.dtype(architecture.compute_dtype)
    wanted = check_wanted(architecture, wanted)
    x = x_BxHxWxC.astype(dtype)
    is_image = not start
    values: Values = {}
    for layer in layers_after(architecture, start):
        weights = None
        if isinstance(layer, Weighted):
            weights = tuple(params[layer.name][part].astype(dtype) for part in ("kernel", "bias"))
            if layer.reads == "both" and not is_image:
                x = exchange(x, here.axis)
            is_image = False
        mask = masks[layer.name] if masks is not None and isinstance(layer, Dropout) else None
        with jax.named_scope(layer.name):  # the name under which a profile shows its operations
            x = layer.apply(x, weights, replace(here, mask=mask))
        if layer.name in wanted:
            values[layer.name] = x
    return values


def layers_after(architecture: Architecture, start: str) -> tuple[Layer, ...]:
    """Return the rows of the table that follow the layer `start`; all where it is ''."""
    names = [layer.name for layer in architecture.layers]
    return architecture.layers[names.index(start) + 1 if start else 0 :]


def check_wanted(architecture: Architecture, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the layers whose values are wanted: `wanted`, or where it is empty the logits.

    Raises:
      UsageError: a name that is not a layer's.
    """
    names = [layer.name for layer in architecture.layers]
    for name in wanted:
        if name not in names:
            raise UsageError(f"{name!r} is not a layer of this net; it has {', '.join(names)}")
    return wanted or (architecture.logits,)


def forward(
    architecture: Architecture,
    mesh: Mesh | None,
    params: Params,
    x_BxHxWxC: jax.Array,
    masks: Masks | None = None,
    wanted: tuple[str, ...] = (),
    forward_mode: bool = False,
    start: str = "",
) -> Values:
    """Run the network on `mesh`: towers over `model`, images over `data`.

    Args:
      architecture: the table.
      mesh: what `sharding.make_mesh` gave; None computes all towers wherever the arrays lie.
      params: as `init_params` gives them.
      x_BxHxWxC: normalised images; with `start` the values of that layer, as this function gives them.
      masks: what `sharding.dropout_masks` gave, in training.
      wanted: layers whose values to return; empty: the logits.
      forward_mode: take JAX's own derivatives, so that `jax.jvp` works; slower.
      start: the layer after which to begin; '': with the image.

    Returns:
      {name: (B, H, W, C) or (B, C)}, whole values: gathered channels stand in tower order.

    Raises:
      UsageError: a wanted layer that the table does not have.
    """
    # An axis of one device is none: XLA would keep the sums over it, and run them.
    axes = frozenset() if mesh is None else frozenset(a for a, size in mesh.shape.items() if size > 1)
    if mesh is None or not axes:
        here = Here(architecture.towers, None, forward_mode)
        return run(architecture, params, x_BxHxWxC, here, masks, wanted, start)
    wanted = check_wanted(architecture, wanted)
    axis = "model" if "model" in axes else None
    here = Here(architecture.towers // mesh.shape["model"], axis, forward_mode)
    table = layer_shapes(architecture)

    def over(spec: P) -> P:
        return P(*(name if name in axes else None for name in spec))

    def channels_last(ndim: int) -> P:
        return over(P("data", *[None] * (ndim - 2), "model"))

    summed = architecture.logits if architecture.has_classes else None
    out_specs = {
        name: over(P("data")) if name == summed else channels_last(1 + len(table[name].output))
        for name in wanted
    }

    def towers(params: Params, x: jax.Array, masks: Masks | None) -> Values:
        return run(architecture, params, x, here, masks, wanted, start)

    mask_specs = None if masks is None else {n: channels_last(m.ndim) for n, m in masks.items()}
    needed = {layer.name for layer in layers_after(architecture, start)}
    param_specs = {
        name: {part: over(spec) for part, spec in specs.items()}
        for name, specs in sharding.param_specs(architecture).items()
        if name in needed
    }
    x_spec = channels_last(x_BxHxWxC.ndim) if start else over(P("data"))
    in_specs = (param_specs, x_spec, mask_specs)
    shard = jax.shard_map(towers, mesh=mesh, in_specs=in_specs, out_specs=out_specs, axis_names=axes)
    return shard({name: params[name] for name in param_specs}, x_BxHxWxC, masks)


_compiled_forward = jax.jit(forward, static_argnums=(0, 1, 5, 6))


class LayerModule(nn.Module):
    """One row as a Flax module: its parameters, float32, and the place where its values can be captured.

    Attributes:
      kernel, bias: the shapes of its parameters.
      std: initial standard deviation of the kernel; None: both uniform within 1 / sqrt(fan_in).
      initial_bias: where `std` is given.
      fan_in: inputs of a unit, where it is not.
    """

    kernel: tuple[int, ...] = ()
    bias: tuple[int, ...] = ()
    std: float | None = None
    initial_bias: float = 0.0
    fan_in: int = 0

    @nn.compact
    def weights(self) -> dict[str, jax.Array]:
        """Return {'kernel', 'bias'}."""
        if self.std is None:
            bound = float(self.fan_in) ** -0.5

            def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
                return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

            return {
                "kernel": self.param("kernel", draw, self.kernel),
                "bias": self.param("bias", draw, self.bias),
            }
        return {
            "kernel": self.param("kernel", nn.initializers.normal(self.std), self.kernel),
            "bias": self.param("bias", nn.initializers.constant(self.initial_bias), self.bias),
        }

    def __call__(self, value: jax.Array) -> jax.Array:
        """Return the layer's value, which Flax captures here."""
        return value


class AlexNet(nn.Module):
    """A network as a Flax Linen module: `alexnet_jax.create` makes it.

    `init(key)` draws {'params': {layer: {'kernel', 'bias'}}}, float32, towers first; an image may be left
    away. `apply(variables, x)` gives logits (B, classes) of normalised images (B, crop, crop, channels);
    with `train=True, rngs={'dropout': key}` dropout zeroes units. With
    `capture_intermediates=True` the values of all layers stand in
    {'intermediates': {layer: {'__call__': (value,)}}}, and the logits again under '__call__'.

    Attributes:
      architecture: the table of its layers.
      mesh: devices with the axes 'data' and 'model', over which images and towers are spread; what `apply`
        is given is placed there. None: everything is computed where the arrays lie.
      forward_mode: take JAX's own derivatives instead of the faster ones written for reverse mode, so that
        `jax.jvp`, `jax.linearize` and `jax.hessian` work.
    """

    architecture: Architecture
    mesh: Mesh | None = None
    forward_mode: bool = False

    def __post_init__(self) -> None:
        """Check the mesh."""
        if self.mesh is not None:
            self.mesh = _with_auto_axes(self.mesh, self.architecture)
        super().__post_init__()

    def __repr__(self) -> str:
        """Return one line instead of the whole table."""
        net = self.architecture
        return f"AlexNet({net.name}, crop={net.crop}, channels={net.channels}, classes={net.classes})"

    @nn.compact
    def __call__(self, x: jax.Array | None = None, *, train: bool = False) -> jax.Array | None:
        """Return the logits, float32 or the table's compute_dtype (B, classes); None where `x` is left away.

        Args:
          x: normalised images (B, crop, crop, channels), such as `preprocess` of a trained net gives.
          train: whether dropout zeroes units, by the key `rngs={'dropout': ...}`.

        Raises:
          WrongTypeError: not an array of floats. UsageError: another shape. Both are ValueErrors.
        """
        net, table = self.architecture, layer_shapes(self.architecture)
        modules: dict[str, LayerModule] = {}
        params: Params = {}
        for layer in net.layers:
            shape = table[layer.name]
            if isinstance(layer, Weighted):
                drawn = (shape.kernel, shape.bias, layer.std, layer.bias, shape.fan_in)
                modules[layer.name] = LayerModule(*drawn, name=layer.name)
                params[layer.name] = modules[layer.name].weights()
            else:
                modules[layer.name] = LayerModule(name=layer.name)
        if x is None:
            return None
        self._check(x)
        batch = x.shape[0]
        masks = None
        if train and any(isinstance(layer, Dropout) for layer in net.layers):
            masks = sharding.dropout_masks(net, self.make_rng("dropout"), batch, None)
        captured = self.is_mutable_collection("intermediates")
        wanted = tuple(modules) if captured else (net.logits,)
        if self.mesh is None:
            values = forward(net, None, params, jnp.asarray(x), masks, wanted, self.forward_mode)
        else:
            params = jax.tree.map(jax.device_put, params, sharding.param_shardings(net, self.mesh))
            x, masks = _padded((x, masks), self.mesh)
            # Compiled: layer by layer the devices would wait for each other.
            values = _compiled_forward(net, self.mesh, params, x, masks, wanted, self.forward_mode)
            values = {name: value[:batch] for name, value in values.items()}
        for name, value in values.items():
            if captured:
                modules[name](value)
        return values[net.logits]

    def _check(self, x: Any) -> None:
        net = self.architecture
        image = (net.crop, net.crop, net.channels)
        if not hasattr(x, "dtype") or not jnp.issubdtype(x.dtype, jnp.floating):
            kind = getattr(x, "dtype", type(x).__name__)
            raise WrongTypeError(
                f"apply takes normalised images, float32 (B, {', '.join(map(str, image))}), not {kind}; "
                "a trained net's preprocess makes them"
            )
        if x.ndim != 4 or x.shape[1:] != image:
            raise UsageError(
                f"apply takes normalised images (B, {', '.join(map(str, image))}), not {x.shape}"
            )


def _padded(arrays: Any, mesh: Mesh) -> Any:
    """Return a tree of arrays on `mesh`, with rows of zeros up to a multiple of the data axis."""

    def pad(x: Any) -> jax.Array:
        rows = sharding.padded_batch_size(len(x), mesh) - len(x)
        padded = jnp.pad(jnp.asarray(x), [(0, rows)] + [(0, 0)] * (x.ndim - 1))
        placed: jax.Array = jax.device_put(padded, sharding.batch_sharding(mesh))
        return placed

    return jax.tree.map(pad, arrays)


def _with_auto_axes(mesh: Mesh, architecture: Architecture) -> Mesh:
    """Return the mesh with the axes that `forward` names, of the type Auto.

    Raises:
      UsageError: it has other axes, or a net of one tower on a model axis of 2.
    """
    if set(mesh.axis_names) != {"data", "model"}:
        raise UsageError(f"the mesh has the axes {mesh.axis_names}: they are 'data' and 'model'")
    if architecture.towers % mesh.shape["model"]:
        raise UsageError(
            f"the mesh's model axis has {mesh.shape['model']} devices, the net {architecture.towers} tower(s)"
        )
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * 2)


def init_params(architecture: Architecture, seed: int, mesh: Mesh) -> Params:
    """Draw the parameters, float32, sharded as `param_specs` says; their bits do not depend on `mesh`."""
    shardings = sharding.param_shardings(architecture, mesh)
    draw = jax.jit(lambda key: AlexNet(architecture).init(key)["params"], out_shardings=shardings)
    params: Params = draw(jax.random.key(seed))
    return params


def abstract_params(architecture: Architecture, mesh: Mesh) -> Any:
    """Return the tree of `init_params` without its values, as restoring a checkpoint needs it.

    Returns:
      {layer: {'kernel', 'bias'}} of jax.ShapeDtypeStruct, float32, sharded on `mesh`.
    """
    drawn = jax.eval_shape(partial(init_params, architecture, 0, mesh))
    return sharding.abstract_like(drawn, sharding.param_shardings(architecture, mesh))
