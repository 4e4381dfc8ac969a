"""One step of training, as a pure function on a mesh."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.data.batch import Batch
from alexnet_jax.evaluation import metrics
from alexnet_jax.evaluation.metrics import Sums
from alexnet_jax.model import inputs, network, sharding
from alexnet_jax.model.inputs import Normalization
from alexnet_jax.model.specs import Architecture


@struct.dataclass
class TrainState:
    """Hold all that an update changes.

    Attributes:
      step: int32, updates applied.
      params: {layer: {'kernel', 'bias'}}.
      opt_state: the optimizer's, velocities included; layers that a run never trains have none.
    """

    step: jax.Array
    params: Any
    opt_state: Any


@dataclass(frozen=True)
class Program:
    """Hold everything that is fixed when a training step is compiled.

    Attributes:
      frozen: layers that are not updated; they cost no backward pass where nothing below them is trained.
      accumulate_steps: microbatches of a batch, computed one after another and added up.
      start: the layer whose stored values a batch has in the place of images; '': it has images.
    """

    architecture: Architecture
    mesh: Mesh
    normalization: Normalization
    optimizer: optax.GradientTransformationExtraArgs
    seed: int
    frozen: frozenset[str] = frozenset()
    accumulate_steps: int = 1
    start: str = ""


def init_state(program: Program, params: Any) -> TrainState:
    """Return the state before the first update, sharded over the mesh.

    Layers that `program` freezes have no velocities in it: no later step may train them.
    """
    state = TrainState(jnp.zeros((), jnp.int32), params, None)
    state = TrainState(state.step, params, program.optimizer.init(_trained(program, state)))
    placed: TrainState = jax.device_put(state, state_shardings(program, state))
    return placed


def split_state(state: TrainState, frozen: frozenset[str]) -> tuple[TrainState, Any]:
    """Return a state without the layers `frozen`, which have no velocities, and the parameters of these."""
    trained = {name: leaves for name, leaves in state.params.items() if name not in frozen}
    rest = {name: state.params[name] for name in sorted(frozen)}
    return TrainState(state.step, trained, state.opt_state), rest


def state_shardings(program: Program, state: TrainState) -> TrainState:
    """Return the sharding of each array of a state: velocities as their parameters, the rest replicated."""
    specs = sharding.param_specs(program.architecture)

    def sharding_of(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        spec = specs[keys[-2]][keys[-1]] if len(keys) >= 2 else P()
        return NamedSharding(program.mesh, spec)

    shardings: TrainState = jax.tree_util.tree_map_with_path(sharding_of, state)
    return shardings


def train_step(
    program: Program, state: TrainState, batch: Batch[jax.Array], mean: jax.Array, learning_rates: Any
) -> tuple[TrainState, Sums]:
    """Make one update on one batch.

    Dropout is drawn from the seed and the step alone.

    Args:
      program: what is fixed.
      state: as `init_state` gives it.
      batch: a training batch (`data.batch`), sharded over 'data'; with `program.start` that of
        `stored_values`.
      mean: what `inputs.mean_array` gave.
      learning_rates: {layer: {'kernel', 'bias'}}, scalars.

    Returns:
      The new state, and the sums of the batch before the update.
    """
    gradients, sums = _gradients(program, state, batch, mean, None)
    return _apply(program, state, gradients, learning_rates), sums


def _gradients(
    program: Program,
    state: TrainState,
    batch: Batch[jax.Array],
    mean: jax.Array,
    microbatch: jax.Array | None,
) -> tuple[Any, Sums]:
    """Return gradients, and the sums of the metrics.

    They are those of the mean loss of the batch; with the index of a `microbatch`, of its summed loss.
    """
    size = batch["label"].shape[0]
    key = jax.random.fold_in(jax.random.key(program.seed), state.step)
    masks = sharding.dropout_masks(program.architecture, key, size, program.mesh)
    if microbatch is not None:  # the masks are those that the whole batch would have
        batch, masks = _rows_of(program, (batch, masks), microbatch)
    x = batch["values"] if program.start else inputs.normalise(batch, mean, program.normalization)
    trained = _trained(program, state)

    def loss_of(trained: Any) -> tuple[jax.Array, Sums]:
        params = {**state.params, **trained}
        outputs = network.forward(program.architecture, program.mesh, params, x, masks, start=program.start)
        log_probabilities = metrics.log_softmax(outputs[program.architecture.logits])
        sums = metrics.score(log_probabilities, batch["label"], batch.get("weight"))
        return (sums.loss / sums.count if microbatch is None else sums.loss), sums

    gradients_and_sums: tuple[Any, Sums] = jax.grad(loss_of, has_aux=True)(trained)
    return gradients_and_sums


def _trained(program: Program, state: TrainState) -> Any:
    return {name: leaves for name, leaves in state.params.items() if name not in program.frozen}


def _rows_of(program: Program, tree: Any, microbatch: jax.Array) -> Any:
    """Return the rows of a microbatch: as many of each device's, so that no row leaves its device."""
    data = program.mesh.shape["data"]

    def rows(x: jax.Array) -> jax.Array:
        share = x.shape[0] // data // program.accumulate_steps
        split = x.reshape(data, program.accumulate_steps, share, *x.shape[1:])
        selected: jax.Array = jax.lax.dynamic_index_in_dim(split, microbatch, axis=1, keepdims=False)
        return selected.reshape(data * share, *x.shape[1:])

    return jax.tree.map(rows, tree)


def _apply(program: Program, state: TrainState, gradients: Any, learning_rates: Any) -> TrainState:
    """Return the state after the update by `gradients`."""
    trained = _trained(program, state)
    updates, opt_state = program.optimizer.update(
        gradients, state.opt_state, trained, learning_rates=learning_rates
    )
    params = {**state.params, **optax.apply_updates(trained, updates)}
    return TrainState(state.step + 1, params, opt_state)


def compiled_train_step(
    program: Program, state: TrainState
) -> Callable[[TrainState, Batch[jax.Array], jax.Array, Any], tuple[TrainState, Sums]]:
    """Return `train_step`, compiled, of (state, batch, mean, learning_rates); it donates the state.

    With `program.accumulate_steps` above 1 it is a Python loop over microbatches that adds up gradients and
    sums: a loop in the compiled program would be 25 times slower on a CPU. Dropout and result are those of
    the whole batch.
    """
    if program.accumulate_steps > 1:
        return _accumulating_step(program, state)
    return jax.jit(
        lambda state, batch, mean, rates: train_step(program, state, batch, mean, rates),
        donate_argnums=0,
        out_shardings=(state_shardings(program, state), sharding.replicated(program.mesh)),
        compiler_options=sharding.compiler_options(program.architecture, program.mesh),
    )


def compiled_train_steps(program: Program, state: TrainState, most: int) -> Callable[..., Any]:
    """Return as many `train_step`s in one program as are asked for: a loop whose turns cost no dispatch.

    The number of turns is an argument of the program, so that any division of the same steps gives the same
    bits.

    Args:
      program: what is fixed; with `accumulate_steps` above 1 `most` must be 1.
      state: as `init_state` gives it.
      most: how many at most.

    Returns:
      A function of (state, batches, mean, learning_rates, count) that donates the state and returns the new
      one, and the sums of each batch, (most,). Batches have their arrays stacked, (most, B, ...), learning
      rates too, (most,); those from `count` on are not read, and their sums are 0. With a `most` of 1 nothing
      is stacked: it is `compiled_train_step`.
    """
    if most == 1:
        one = compiled_train_step(program, state)
        return lambda state, batch, mean, rates, count: one(state, batch, mean, rates)

    def steps(
        state: TrainState, batches: Any, mean: jax.Array, learning_rates: Any, count: jax.Array
    ) -> tuple[TrainState, Sums]:
        def turn(number: jax.Array, carry: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
            state, rows = carry
            batch, rates = jax.tree.map(
                lambda x: jax.lax.dynamic_index_in_dim(x, number, keepdims=False), (batches, learning_rates)
            )
            state, sums = train_step(program, state, batch, mean, rates)
            return state, jax.lax.dynamic_update_index_in_dim(rows, _row(sums), number, 0)

        dtype = jnp.promote_types(program.architecture.compute_dtype, jnp.float32)
        rows = jnp.zeros((most, 4), dtype)
        state, rows = jax.lax.fori_loop(0, count, turn, (state, rows))
        return state, Sums(*rows.T)

    return jax.jit(
        steps,
        donate_argnums=0,
        out_shardings=(state_shardings(program, state), sharding.replicated(program.mesh)),
        compiler_options=sharding.compiler_options(program.architecture, program.mesh),
    )


def _row(sums: Sums) -> jax.Array:
    return jnp.stack([sums.loss, sums.top1_error, sums.top5_error, sums.count])


def _accumulating_step(
    program: Program, state: TrainState
) -> Callable[[TrainState, Batch[jax.Array], jax.Array, Any], tuple[TrainState, Sums]]:
    shardings = state_shardings(program, state)
    whole = sharding.replicated(program.mesh)
    out = (_trained(program, shardings), whole)
    options = sharding.compiler_options(program.architecture, program.mesh)
    first = jax.jit(
        lambda state, batch, mean, index: _gradients(program, state, batch, mean, index),
        out_shardings=out,
        compiler_options=options,
    )

    def add(total: Any, *arguments: Any) -> Any:
        return jax.tree.map(jnp.add, total, _gradients(program, *arguments))

    further = jax.jit(add, donate_argnums=0, out_shardings=out, compiler_options=options)

    def apply(state: TrainState, gradients: Any, count: jax.Array, rates: Any) -> TrainState:
        return _apply(program, state, jax.tree.map(lambda g: g / count.astype(g.dtype), gradients), rates)

    end = jax.jit(apply, donate_argnums=0, out_shardings=shardings)

    def step(
        state: TrainState, batch: Batch[jax.Array], mean: jax.Array, rates: Any
    ) -> tuple[TrainState, Sums]:
        total = first(state, batch, mean, np.int32(0))
        for index in range(1, program.accumulate_steps):
            total = further(total, state, batch, mean, np.int32(index))
        gradients, sums = total
        return end(state, gradients, sums.count, rates), sums

    return step
