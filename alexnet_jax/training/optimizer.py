"""The paper's update rule and its learning-rate schedules (section 5).

    v <- 0.9 v - 0.0005 e w - e g
    w <- w + v

Rate e and decay stand inside the velocity v, so a drop of e acts on what comes after it and leaves the
velocity that was gathered before: `optax.sgd`, which multiplies the velocity by the rate, moves 4.5
times less in the 20 steps after a division by 10.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError
from alexnet_jax.model.architectures import Architecture, shapes

Tree = Any


@dataclass(frozen=True)
class LeafRule:
    """How one kernel or bias is updated: its share of the learning rate, its decay, whether it is frozen."""

    rate_factor: float
    weight_decay: float
    frozen: bool


def leaf_rules(architecture: Architecture, optimizer: ConfigDict) -> dict[str, dict[str, LeafRule]]:
    """The rule of each kernel and bias, in the tree of the parameters.

    Raises:
      UsageError: `config.optimizer.per_layer` names a layer that has no weights.
    """
    names = [name for name, shape in shapes(architecture).items() if shape.kernel]
    for name in optimizer.per_layer:
        if name not in names:
            raise UsageError(
                f"config.optimizer.per_layer.{name}: {architecture.name} has weights in {', '.join(names)}"
            )
    rules = {}
    for name in names:
        own = dict(optimizer.per_layer[name]) if name in optimizer.per_layer else {}
        frozen = own.pop("frozen", False)
        given = {
            "kernel_rate_factor": 1.0,
            "bias_rate_factor": optimizer.bias_rate_factor,
            "kernel_weight_decay": optimizer.weight_decay,
            "bias_weight_decay": optimizer.bias_weight_decay,
        } | own
        rules[name] = {
            leaf: LeafRule(given[f"{leaf}_rate_factor"], given[f"{leaf}_weight_decay"], frozen)
            for leaf in ("kernel", "bias")
        }
    return rules


def momentum(
    rules: Mapping[str, Mapping[str, LeafRule]], decay: float
) -> optax.GradientTransformationExtraArgs:
    """The paper's update rule from optax's parts; its `update` takes `learning_rate`, a scalar.

    A frozen leaf's update is masked, velocity included; a rate of 0 would let it coast on its velocity.
    """

    def add_decay(updates: Tree, params: Tree) -> Tree:
        return _map(lambda rule, g, w: g + rule.weight_decay * w if rule.weight_decay else g, updates, params)

    def scale(updates: Tree, state: optax.EmptyState, params: Tree = None, *, learning_rate: Any) -> Any:
        def scaled(rule: LeafRule, g: jax.Array) -> jax.Array:
            return -jnp.asarray(learning_rate * rule.rate_factor, g.dtype) * g

        return _map(scaled, updates), state

    def _map(function: Callable[..., jax.Array], *trees: Tree) -> Tree:
        return jax.tree.map(function, rules, *trees, is_leaf=lambda x: isinstance(x, LeafRule))

    frozen = {layer: {leaf: rule.frozen for leaf, rule in leaves.items()} for layer, leaves in rules.items()}
    trained = jax.tree.map(lambda x: not x, frozen)
    return optax.chain(
        optax.stateless(add_decay),
        optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), scale),
        optax.masked(optax.trace(decay), trained),
        optax.masked(optax.set_to_zero(), frozen),
    )


@dataclass(frozen=True)
class Memory:
    """What the plateau rule remembers; kept in the checkpoint.

    Attributes:
      divisions: how often the rate has been divided.
      best: the lowest validation top-1 error that counted as a fall, None before the first.
      since: the epoch of that error, or of the last division.
      ended: whether the last wait is over.
    """

    divisions: int = 0
    best: float | None = None
    since: float = 0.0
    ended: bool = False

    def to_json(self) -> dict[str, Any]:
        """A dictionary for json."""
        return asdict(self)


def learning_rate(schedule: ConfigDict, memory: Memory, epoch: float) -> float:
    """The rate of a step that starts at `epoch` (a fraction counts).

    'constant'; 'steps': the rate of the last pair whose epoch is reached; 'plateau': divided as often as
    `memory` says.
    """
    rate = schedule.learning_rate
    if schedule.kind == "steps":
        for start, later in schedule.steps:
            rate = later if epoch >= start else rate
    elif schedule.kind == "plateau":
        rate *= schedule.factor**memory.divisions
    return float(rate)


def remember(schedule: ConfigDict, memory: Memory, epoch: float, error: float) -> Memory:
    """The memory after an evaluation: section 5's "divide when the validation error stopped improving".

    When the top-1 `error` (a fraction) has not fallen by `min_delta` for `patience` epochs, the rate is
    divided; after `divisions` of them another such wait ends the run.
    """
    if schedule.kind != "plateau":
        return memory
    if memory.best is None or (error < memory.best and error <= memory.best - schedule.min_delta):
        return replace(memory, best=error, since=epoch)
    if epoch - memory.since < schedule.patience:
        return memory
    if memory.divisions >= schedule.divisions:
        return replace(memory, ended=True)
    return replace(memory, divisions=memory.divisions + 1, since=epoch)
