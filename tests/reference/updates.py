"""The update rule and the schedules in numpy, float64: the oracle for training/optimizer.

Trees are {layer: {'kernel', 'bias'}}; learning rates and decays are {(layer, 'kernel' or 'bias'): number}.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tree = dict[str, dict[str, NDArray[np.float64]]]
Leaf = tuple[str, str]


def tree(values: Mapping[str, Mapping[str, Any]]) -> Tree:
    """Return a copy in float64."""
    return {
        layer: {name: np.array(leaf, dtype=np.float64) for name, leaf in leaves.items()}
        for layer, leaves in values.items()
    }


def zeros(values: Mapping[str, Mapping[str, Any]]) -> Tree:
    """Velocities at rest, in the shapes of `values`."""
    return {
        layer: {name: np.zeros(np.shape(leaf)) for name, leaf in leaves.items()}
        for layer, leaves in values.items()
    }


def by_leaf(
    values: Mapping[str, Mapping[str, Any]],
    kernel: float,
    bias: float,
    exceptions: Mapping[Leaf, float] | None = None,
) -> dict[Leaf, float]:
    """One number for every kernel, one for every bias, and the exceptions: {('conv1', 'kernel'): 0.001}."""
    numbers = {
        (layer, name): (bias if name == "bias" else kernel)
        for layer, leaves in values.items()
        for name in leaves
    }
    for leaf, number in (exceptions or {}).items():
        if leaf not in numbers:
            raise KeyError(leaf)
        numbers[leaf] = number
    return numbers


def update(
    params: Tree,
    velocities: Tree,
    gradients: Mapping[str, Mapping[str, Any]],
    learning_rates: Mapping[Leaf, float],
    decays: Mapping[Leaf, float],
    *,
    momentum: float = 0.9,
    frozen: Collection[Leaf] = (),
) -> tuple[Tree, Tree]:
    """Return (w', v') of the paper's rule (section 5), e the learning rate.

    v' = momentum v - decay e w - e g; w' = w + v'

    A frozen leaf keeps its value and its velocity: nothing happens to it, where a learning rate of 0
    would let it coast on its velocity.
    """
    new_params, new_velocities = tree(params), tree(velocities)
    for layer, leaves in params.items():
        for name, w in leaves.items():
            if (layer, name) in frozen:
                continue
            learning_rate, decay = learning_rates[layer, name], decays[layer, name]
            g = np.asarray(gradients[layer][name], dtype=np.float64)
            v = momentum * velocities[layer][name] - decay * learning_rate * w - learning_rate * g
            new_velocities[layer][name] = v
            new_params[layer][name] = w + v
    return new_params, new_velocities


def steps(epoch: float, learning_rate: float, changes: Sequence[tuple[float, float]]) -> float:
    """Return the learning rate at `epoch` (0 at the start).

    `changes` holds pairs (epoch, learning rate from there on).
    """
    for start, changed in changes:
        if epoch >= start:
            learning_rate = changed
    return learning_rate


def every(step: int, learning_rate: float, factor: float, interval: int) -> float:
    """Caffe's 'step' policy: learning_rate * factor^floor(step / interval); bvlc_alexnet: 0.01, 0.1, 1e5."""
    return learning_rate * factor ** (step // interval)


def plateau(
    errors: Sequence[float],
    *,
    learning_rate: float = 0.01,
    factor: float = 0.1,
    patience: int = 5,
    min_delta: float = 0.001,
    divisions: int = 3,
) -> tuple[list[float], int | None]:
    """The paper's rule: divide when the validation error stops improving, three times, then stop.

    `errors` holds the validation error after each epoch. Gives the learning rate of each epoch that was
    trained, and of the one after if the run continues; and how many epochs the run lasted, or None if it has
    not ended.
    An error counts as fallen when it is at least `min_delta` below the lowest one that counted before;
    `patience` epochs in a row without that are a wait. Each wait divides the learning rate and starts the
    next; the one after the last division ends the run.
    """
    learning_rates, lowest, waited, divided = [learning_rate], float("inf"), 0, 0
    for epoch, error in enumerate(errors, start=1):
        if lowest - error > min_delta - 1e-12:  # the same fall however the two errors were rounded
            lowest, waited = error, 0
        else:
            waited += 1
        if waited == patience:
            if divided == divisions:
                return learning_rates, epoch
            learning_rate, waited, divided = learning_rate * factor, 0, divided + 1
        learning_rates.append(learning_rate)
    return learning_rates, None


@dataclass(frozen=True)
class SourceRates:
    """What the 2012 source trains with at a moment; conv1's kernel has its own learning rate, and stops."""

    kernel: float
    bias: float
    conv1_kernel: float
    conv1_frozen: bool
    lighting: bool


def source_2012(epoch: float) -> SourceRates:
    """Net 145 on ILSVRC-2012, from the log in layer-params-145.cfg.

    It stops at 91, or continues to 135 with the learning rate pushed up. Epochs are counted as in the log.
    Biases stay at 0.02; frozen conv1 keeps kernel and bias. Lighting's division by 1.1 ends with it.
    """
    if epoch < 25:
        return SourceRates(0.01, 0.02, 0.01, False, True)
    if epoch < 51:
        return SourceRates(0.001, 0.02, 0.001, False, True)
    if epoch < 67:
        return SourceRates(0.0001, 0.02, 0.0001, False, True)
    if epoch < 72:
        return SourceRates(0.0001, 0.02, 0.00001, False, False)
    if epoch < 79:
        return SourceRates(0.0001, 0.02, 0.0, True, False)
    if epoch < 91:
        return SourceRates(0.00001, 0.02, 0.0, True, False)
    if epoch < 107:
        return SourceRates(0.001, 0.02, 0.0, True, True)
    if epoch < 124:
        return SourceRates(0.0001, 0.02, 0.0, True, True)
    return SourceRates(0.00001, 0.02, 0.0, True, False)
