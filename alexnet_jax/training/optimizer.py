"""The paper's update rule and its learning-rate schedules (section 5), and LARS for large batches.

    v <- 0.9 v - 0.0005 e w - e g
    w <- w + v

The learning rate e scales what is added to the velocity v, so that a drop of e leaves the velocity gathered
before it as it is. `optax.sgd` multiplies the velocity by the rate instead, and moves 4.5 times less in the
20 steps after a division by 10.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from alexnet_jax.config.schema import FLAT_LOSS_TOLERANCE
from alexnet_jax.errors import UsageError
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture

Tree = Any
Steps = tuple[tuple[float, float], ...]  # pairs (epoch, learning rate), ascending
# Over about how many steps the training loss is averaged to see whether it has left ln(classes): the loss of
# one batch of two classes is off by more than the 2 % that count.
FLAT_LOSS_AVERAGE = 100


@dataclass(frozen=True)
class LeafRule:
    """Say how one kernel or bias is updated.

    Attributes:
      rate_factor: the factor of its learning rate.
      weight_decay: the coefficient of its weight decay.
      steps: pairs (epoch, learning rate): from that epoch on this instead of the schedule's learning rate.
    """

    rate_factor: float
    weight_decay: float
    steps: Steps = ()


@dataclass(frozen=True)
class LayerRule:
    """Say how a layer is updated, and the epoch from which it is not.

    `trust_ratio`: whether LARS scales the kernel's steps by its norm.
    """

    kernel: LeafRule
    bias: LeafRule
    frozen_from: float = math.inf
    trust_ratio: bool = True


def layer_rules(
    architecture: Architecture, optimizer: ConfigDict, schedule: ConfigDict
) -> dict[str, LayerRule]:
    """Return the rule of each layer with weights.

    Raises:
      UsageError: `config.optimizer.per_layer` names a layer that has no weights, or leaves none to train.
    """
    all_but_last = {"frozen_from": 0.0} if optimizer.name == "lbfgs" else {}
    names = [name for name, shape in layer_shapes(architecture).items() if shape.kernel]
    for name in optimizer.per_layer:
        if name not in names:
            raise UsageError(
                f"config.optimizer.per_layer.{name}: {architecture.name} has weights in {', '.join(names)}"
                "; --config.optimizer.per_layer=\"{'layer': {'frozen_from': 0.0}}\" gives all rows anew"
            )
    rules = {}
    for name in names:
        values = {
            "kernel_rate_factor": 1.0,
            "bias_rate_factor": optimizer.bias_rate_factor,
            "kernel_weight_decay": optimizer.weight_decay,
            "bias_weight_decay": optimizer.bias_weight_decay,
            "kernel_steps": (),
            "frozen_from": math.inf,
            "trust_ratio": True,
            **(all_but_last if name != architecture.logits else {}),
            **optimizer.per_layer.get(name, {}),
        }
        rules[name] = LayerRule(
            LeafRule(values["kernel_rate_factor"], values["kernel_weight_decay"], values["kernel_steps"]),
            LeafRule(values["bias_rate_factor"], values["bias_weight_decay"], schedule.bias_steps),
            values["frozen_from"],
            values["trust_ratio"],
        )
    if all(rule.frozen_from <= 0 for rule in rules.values()):
        raise UsageError("config.optimizer.per_layer freezes all layers: nothing is left to train")
    return rules


def frozen_layers(rules: Mapping[str, LayerRule], epoch: float) -> frozenset[str]:
    """Return the layers that a step at `epoch` leaves as they are."""
    return frozenset(name for name, rule in rules.items() if epoch >= rule.frozen_from)


def update_rule(
    rules: Mapping[str, LayerRule], optimizer: ConfigDict
) -> optax.GradientTransformationExtraArgs:
    """Return the update rule that `config.optimizer` names: the paper's, or LARS."""
    trust_coefficient = optimizer.trust_coefficient if optimizer.name == "lars" else None
    return momentum(rules, optimizer.momentum, trust_coefficient)


def momentum(
    rules: Mapping[str, LayerRule], decay: float, trust_coefficient: float | None = None
) -> optax.GradientTransformationExtraArgs:
    """Return the paper's update rule around optax's velocity (`optax.trace`).

    With a `trust_coefficient` it is LARS (You, Gitman, Ginsburg 2017, arXiv:1708.03888) in optax's form
    (`optax.scale_by_trust_ratio`): what goes into a kernel's velocity is scaled to that share of the kernel's
    norm, times the learning rate. A layer's towers count as one kernel. For biases, which may start at 0,
    kernels whose rule has no `trust_ratio`, and kernels of zeros, as a probe's at its start, the ratio of the
    norms is taken as 1: their learning rate is multiplied by the coefficient. By the paper's formula a kernel
    of zeros would never move; optax and other programs let it take a step without the coefficient, a thousand
    times that of the biases beside it.

    Its `update` takes `learning_rates` {layer: {'kernel', 'bias'}}, and gradients, parameters and learning
    rates of the trained layers alone: a frozen layer keeps its value and its velocity, where a learning rate
    of 0 would let it coast. Without momentum there are no velocities.
    """
    velocity, trust = optax.trace(decay), optax.scale_by_trust_ratio()

    def update(
        gradients: Tree, state: optax.TraceState, params: Tree = None, *, learning_rates: Tree, **unused: Any
    ) -> tuple[Tree, optax.TraceState]:
        def scaled(layer: str, leaf: str) -> jax.Array:
            g, w = gradients[layer][leaf], params[layer][leaf]
            weight_decay = getattr(rules[layer], leaf).weight_decay
            decayed: jax.Array = g + weight_decay * w if weight_decay else g
            if trust_coefficient is not None:
                if leaf == "kernel" and rules[layer].trust_ratio:
                    decayed, _ = trust.update(decayed, trust.init(w), w)
                decayed = trust_coefficient * decayed  # here, for optax's own does not reach a ratio of 1
            return -jnp.asarray(learning_rates[layer][leaf], g.dtype) * decayed

        inside = {
            layer: {leaf: scaled(layer, leaf) for leaf in leaves} for layer, leaves in gradients.items()
        }
        if not decay:
            return inside, state
        velocities = state.trace
        updates, new = velocity.update(
            inside, optax.TraceState(trace={name: velocities[name] for name in inside})
        )
        return updates, optax.TraceState(trace={**velocities, **new.trace})

    return optax.GradientTransformationExtraArgs(
        velocity.init if decay else lambda params: optax.TraceState(trace={}), update
    )


@dataclass(frozen=True)
class PlateauState:
    """Hold the state of the schedule 'plateau' (reduce on plateau); it is saved in the checkpoint.

    Attributes:
      num_decays: how often the learning rate was divided.
      best: the lowest validation top-1 error that counted as an improvement, None before the first.
      last_improvement_epoch: the epoch of that error, or of the last division.
      finished: whether the patience after the last division is over, and with it the run.
      flat_loss: the average training loss while it stands at ln(classes), in nats; None once it has left.
        Until then nothing else is counted.
    """

    num_decays: int = 0
    best: float | None = None
    last_improvement_epoch: float = 0.0
    finished: bool = False
    flat_loss: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the state under the names that checkpoints have."""
        flat = {} if self.flat_loss is None else {"flat_loss": self.flat_loss}
        return {
            "divisions": self.num_decays,
            "best": self.best,
            "since": self.last_improvement_epoch,
            "ended": self.finished,
            **flat,
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "PlateauState":
        """Return the state that `to_json` gave; earlier versions counted from the start, flat or not."""
        return cls(tree["divisions"], tree["best"], tree["since"], tree["ended"], tree.get("flat_loss"))


def batch_factor(config: ConfigDict) -> float:
    """Return the factor of the learning rates for the batch, by `schedule.batch_scaling`.

    B is the batch size, base is `schedule.base_batch_size`. 'linear': B / base, as a batch replaces B / base
    steps (Goyal et al. 2017, arXiv:1706.02677). 'square_root': its root, which keeps the variance of an
    update (Krizhevsky 2014, arXiv:1404.5997).
    """
    ratio: float = config.data.batch_size / config.schedule.base_batch_size
    return {"none": 1.0, "linear": ratio, "square_root": math.sqrt(ratio)}[config.schedule.batch_scaling]


def learning_rate(config: ConfigDict, plateau: PlateauState, epoch: float, own: Steps = ()) -> float:
    """Return the learning rate of a step that starts at `epoch` (a fraction counts).

    'constant'; 'steps': that of the last pair whose epoch is reached; 'plateau': divided as often as
    `plateau` says; 'polynomial': falls to 0 at the run's end. Where a pair of `own` (`LeafRule.steps`) is
    reached, that pair's instead. All times `batch_factor`, and rising from 0 over the first `warmup_epochs`.
    """
    schedule, factor = config.schedule, batch_factor(config)
    rate = _stepped(schedule.learning_rate, schedule.steps, epoch) * factor  # 'steps' alone has some
    if schedule.kind == "plateau":
        rate *= schedule.factor**plateau.num_decays
    elif schedule.kind == "polynomial":
        rate *= max(1 - epoch / config.train.epochs, 0.0) ** schedule.power
    rate = _stepped(rate, ((start, later * factor) for start, later in own), epoch)
    if epoch < schedule.warmup_epochs:
        rate *= epoch / schedule.warmup_epochs
    return float(rate)


def learning_rates(
    rules: Mapping[str, LayerRule], config: ConfigDict, plateau: PlateauState, epoch: float
) -> dict[str, dict[str, float]]:
    """Return the learning rate of each kernel and bias in a step that starts at `epoch`.

    It is `learning_rate` with the leaf's own steps, times its `rate_factor`: one of 0 leaves it as it is.
    """
    leaves = {name: {"kernel": rule.kernel, "bias": rule.bias} for name, rule in rules.items()}
    steps = {rule.steps for row in leaves.values() for rule in row.values()}  # nearly always one or two
    rates = {own: learning_rate(config, plateau, epoch, own) for own in steps}
    return {
        name: {leaf: rates[rule.steps] * rule.rate_factor for leaf, rule in row.items()}
        for name, row in leaves.items()
    }


def jumps(rules: Mapping[str, LayerRule], schedule: ConfigDict) -> list[float]:
    """Return the epochs, ascending, from which a learning rate is another one or a layer is frozen.

    Between two of them learning rates are constant, or change at every step (`changes_each_step`).
    """
    pairs = [*schedule.steps, *schedule.bias_steps]
    for rule in rules.values():
        pairs += [*rule.kernel.steps, *rule.bias.steps, (rule.frozen_from, 0.0)]
    return sorted({schedule.warmup_epochs, *(epoch for epoch, _ in pairs)})


def changes_each_step(schedule: ConfigDict, epoch: float) -> bool:
    """Return whether the learning rate of a step at `epoch` is another one than that of the step before."""
    return bool(schedule.kind == "polynomial" or epoch < schedule.warmup_epochs)


def _stepped(rate: float, steps: Iterable[tuple[float, float]], epoch: float) -> float:
    """Return the rate of the last pair (epoch, rate) that is reached, else `rate`."""
    for start, later in steps:
        rate = later if epoch >= start else rate
    return rate


def follow_loss(plateau: PlateauState, losses: Sequence[float], step: int, classes: int) -> PlateauState:
    """Return the state after steps of training: whether the loss has left ln(classes) for the first time.

    A loss at ln(classes) is that of guessing, where nets of this depth stand for hundreds of steps. It has
    left when its average over the last `FLAT_LOSS_AVERAGE` steps or so is `FLAT_LOSS_TOLERANCE` below. The
    average falls off exponentially, and begins as if ten steps at ln(classes) had gone before; a loss above
    twice that counts as twice, so that a bad step is soon forgotten.

    Args:
      plateau: the state before these steps.
      losses: the mean loss of each step, in nats; one after another, so that grouping changes no bit.
      step: the number of the last of them.
      classes: how many the net has.
    """
    average, guessing = plateau.flat_loss, math.log(classes)
    for number, loss in enumerate(losses, start=step - len(losses) + 1):
        if average is None:
            break
        average += (min(loss, 2 * guessing) - average) / min(number + 10, FLAT_LOSS_AVERAGE)
        if average <= (1 - FLAT_LOSS_TOLERANCE) * guessing:
            average = None
    return replace(plateau, flat_loss=average)


def update_plateau(
    schedule: ConfigDict, plateau: PlateauState, epoch: float, error: float, epochs_per_step: float
) -> PlateauState:
    """Return the state of reduce on plateau after an evaluation (section 5); of other schedules it stays.

    The paper divides the learning rate "when the validation error rate stopped improving": here, when the
    top-1 `error` (a fraction) has not fallen by `min_delta` for `patience` epochs and `patience_steps` steps.
    After `divisions` of these another such wait without a fall finishes the run. While the training loss
    stands at ln(classes) nothing is counted.
    """
    if schedule.kind != "plateau" or plateau.flat_loss is not None:
        return plateau
    if plateau.best is None or (error < plateau.best and error <= plateau.best - schedule.min_delta):
        return replace(plateau, best=error, last_improvement_epoch=epoch)
    patience = max(schedule.patience, schedule.patience_steps * epochs_per_step)
    if epoch - plateau.last_improvement_epoch < patience - 1e-9:
        return plateau
    if plateau.num_decays >= schedule.divisions:
        return replace(plateau, finished=True)
    return replace(plateau, num_decays=plateau.num_decays + 1, last_improvement_epoch=epoch)
