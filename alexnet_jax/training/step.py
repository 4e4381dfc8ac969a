"""One step of training and one view of evaluation, as pure functions on a mesh."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.model import inputs, sharding
from alexnet_jax.model.architectures import Architecture
from alexnet_jax.training import metrics
from alexnet_jax.training.metrics import Sums

Batch = Mapping[str, jax.Array]


@struct.dataclass
class TrainState:
    """All that an update changes.

    Attributes:
      step: int32, updates applied.
      params: {layer: {'kernel', 'bias'}}.
      opt_state: the optimizer's, velocities included.
    """

    step: jax.Array
    params: Any
    opt_state: Any


@dataclass(frozen=True)
class Program:
    """What a step is made for: everything that is fixed when it is compiled.

    Attributes:
      frozen: layers that are left alone; they cost no backward pass where nothing below them is trained.
      parts: in which a batch is computed, one after another.
    """

    architecture: Architecture
    mesh: Mesh
    form: inputs.InputForm
    optimizer: optax.GradientTransformationExtraArgs
    seed: int
    frozen: frozenset[str] = frozenset()
    parts: int = 1


def init_state(program: Program, params: Any) -> TrainState:
    """The state before the first update."""
    state = TrainState(jnp.zeros((), jnp.int32), params, program.optimizer.init(params))
    return jax.device_put(state, state_shardings(program, state))


def state_shardings(program: Program, state: TrainState) -> TrainState:
    """Where each array of a state lies: velocities beside their parameters, the rest on every device."""
    specs = sharding.param_specs(program.architecture)

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        spec = specs[keys[-2]][keys[-1]] if len(keys) >= 2 else P()
        return NamedSharding(program.mesh, spec)

    return jax.tree_util.tree_map_with_path(place, state)


def train_step(
    program: Program, state: TrainState, batch: Batch, mean: jax.Array, learning_rates: Any
) -> tuple[TrainState, Sums]:
    """One update on one batch.

    Dropout is drawn from the seed and the step alone.

    Args:
      program: what is fixed.
      state: as `init_state` gives it.
      batch: 'image' uint8 (B, crop, crop, C), 'label' int32 (B,), 'flip' bool (B,), 'offset' int32 (B, 2),
        'lighting' float32 (B, C), 'scale' float32 (B,), 'weight' float32 (B,); sharded over 'data'.
      mean: what `inputs.mean_array` gave.
      learning_rates: {layer: {'kernel', 'bias'}}, scalars.

    Returns:
      The new state, and the sums of the batch before the update.
    """
    gradients, sums = _gradients(program, state, batch, mean, None)
    return _apply(program, state, gradients, learning_rates), sums


def _gradients(
    program: Program, state: TrainState, batch: Batch, mean: jax.Array, part: jax.Array | None
) -> tuple[Any, Sums]:
    """Gradients of the mean loss of the batch, or of the summed loss of a part of it, and the sums."""
    size = batch["label"].shape[0]
    key = jax.random.fold_in(jax.random.key(program.seed), state.step)
    masks = sharding.dropout_masks(program.architecture, key, size, program.mesh)
    if part is not None:  # the masks are those that the whole batch would have
        batch, masks = _part_of(program, (batch, masks), part)
    x = inputs.normalise(batch, mean, program.form)
    trained = _trained(program, state)

    def loss_of(trained: Any) -> tuple[jax.Array, Sums]:
        params = {**state.params, **trained}
        outputs = sharding.forward(program.architecture, program.mesh, params, x, masks)
        log_probabilities = _log_softmax(outputs[program.architecture.logits])
        sums = metrics.score(log_probabilities, batch["label"], batch["weight"])
        return (sums.loss / sums.count if part is None else sums.loss), sums

    return jax.grad(loss_of, has_aux=True)(trained)


def _trained(program: Program, state: TrainState) -> Any:
    return {name: leaves for name, leaves in state.params.items() if name not in program.frozen}


def _part_of(program: Program, tree: Any, part: jax.Array) -> Any:
    """Rows of a part of a batch: as many of each device's, so that no row leaves its device."""
    data = program.mesh.shape["data"]

    def rows(x: jax.Array) -> jax.Array:
        share = x.shape[0] // data // program.parts
        split = x.reshape(data, program.parts, share, *x.shape[1:])
        chosen = jax.lax.dynamic_index_in_dim(split, part, axis=1, keepdims=False)
        return chosen.reshape(data * share, *x.shape[1:])

    return jax.tree.map(rows, tree)


def _apply(program: Program, state: TrainState, gradients: Any, learning_rates: Any) -> TrainState:
    """The state after the update by `gradients`."""
    trained = _trained(program, state)
    updates, opt_state = program.optimizer.update(
        gradients, state.opt_state, trained, learning_rates=learning_rates
    )
    params = {**state.params, **optax.apply_updates(trained, updates)}
    return TrainState(state.step + 1, params, opt_state)


def compiled_train_step(
    program: Program, state: TrainState
) -> Callable[[TrainState, Batch, jax.Array, Any], tuple[TrainState, Sums]]:
    """`train_step`, compiled, of (state, batch, mean, learning_rates); it takes the state over.

    With `program.parts` above 1 it is a loop over compiled parts, which add up gradients and sums (a loop in
    the compiled program would be 25 times slower on a CPU). Dropout and result are those of the whole batch.
    """
    if program.parts > 1:
        return _step_in_parts(program, state)
    return jax.jit(
        lambda state, batch, mean, rates: train_step(program, state, batch, mean, rates),
        donate_argnums=0,
        out_shardings=(state_shardings(program, state), sharding.replicated(program.mesh)),
        compiler_options=sharding.compiler_options(program.architecture, program.mesh),
    )


def _step_in_parts(
    program: Program, state: TrainState
) -> Callable[[TrainState, Batch, jax.Array, Any], tuple[TrainState, Sums]]:
    places = state_shardings(program, state)
    whole = sharding.replicated(program.mesh)
    out = (_trained(program, places), whole)
    options = sharding.compiler_options(program.architecture, program.mesh)
    first = jax.jit(
        lambda state, batch, mean, part: _gradients(program, state, batch, mean, part),
        out_shardings=out,
        compiler_options=options,
    )

    def add(total: Any, state: TrainState, batch: Batch, mean: jax.Array, part: jax.Array) -> Any:
        return jax.tree.map(jnp.add, total, _gradients(program, state, batch, mean, part))

    further = jax.jit(add, donate_argnums=0, out_shardings=out, compiler_options=options)

    def apply(state: TrainState, gradients: Any, count: jax.Array, rates: Any) -> TrainState:
        return _apply(program, state, jax.tree.map(lambda g: g / count.astype(g.dtype), gradients), rates)

    end = jax.jit(apply, donate_argnums=0, out_shardings=places)

    def step(state: TrainState, batch: Batch, mean: jax.Array, rates: Any) -> tuple[TrainState, Sums]:
        total = first(state, batch, mean, np.int32(0))
        for part in range(1, program.parts):
            total = further(total, state, batch, mean, np.int32(part))
        gradients, sums = total
        return end(state, gradients, sums.count, rates), sums

    return step


def view_probabilities(
    architecture: Architecture,
    mesh: Mesh,
    form: inputs.InputForm,
    params: Any,
    image: jax.Array,
    mean: jax.Array,
    view: tuple[Any, Any, Any],
) -> jax.Array:
    """Softmax probabilities (B, classes) of one view (top, left, flip) of whole pictures (B, S, S, C)."""
    x = inputs.normalise(inputs.view(image, *view, architecture.crop), mean, form)
    logits = sharding.forward(architecture, mesh, params, x)[architecture.logits]
    return jnp.exp(_log_softmax(logits))


def score_probabilities(probabilities: jax.Array, label: jax.Array, weight: jax.Array) -> Sums:
    """The sums of averaged probabilities (B, classes), also by class."""
    tiny = jnp.finfo(probabilities.dtype).tiny  # a probability that underflowed has a finite loss
    return metrics.score(jnp.log(jnp.maximum(probabilities, tiny)), label, weight, by_class=True)


def to_device(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of a batch as global arrays, sharded over 'data'."""
    place = NamedSharding(mesh, P("data"))
    return {name: jax.make_array_from_process_local_data(place, value) for name, value in batch.items()}


def rows_here(mesh: Mesh, batch_size: int) -> tuple[int, int]:
    """Which rows (first, last + 1) of a global batch the devices of this process hold."""
    slices = NamedSharding(mesh, P("data")).addressable_devices_indices_map((batch_size,)).values()
    bounds = [s[0].indices(batch_size) for s in slices if s is not None]
    return min(b[0] for b in bounds), max(b[1] for b in bounds)


def _log_softmax(logits: jax.Array) -> jax.Array:
    return jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
