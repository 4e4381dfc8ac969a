"""Multinomial logistic regression on the values of a layer, by L-BFGS: the optimizer 'lbfgs'.

The loss is the mean cross-entropy plus half of `weight_decay` times the squared norm of the kernel; the bias
is free. In scikit-learn's LogisticRegression C is 1 / (weight_decay * images). Images enter with values of
length 1, so that a weight decay means the same at every layer. Which weight decay is taken is found by
cross-validation on the images that train, and all of them are fitted again with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alexnet_jax.errors import RunFailure
from alexnet_jax.progress import Progress
from alexnet_jax.training.resident import Resident
from alexnet_jax.training.setup import RunSetup

MAX_ITERATIONS = 500  # of L-BFGS for one fit; ten to a hundred are usual
TOLERANCE = 1e-5  # of the largest element of the gradient, at which a fit has converged
EIGENVALUE_TOLERANCE = 1e-10  # directions in which images vary less than this share of the most are left out


@dataclass(frozen=True)
class Fit:
    """Hold a fitted linear layer.

    Attributes:
      kernel: float32 (D, classes), for values of length 1.
      bias: float32 (classes,).
      iterations: of L-BFGS.
      converged: whether the gradient came below `TOLERANCE`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    iterations: int
    converged: bool


@dataclass(frozen=True)
class Score:
    """Hold what cross-validation found for one weight decay: the mean over images that were left out."""

    weight_decay: float
    top1_error: float
    loss: float


class LogisticRegression:
    """Fit linear layers to the values of images.

    Args:
      values: float (N, D), not all 0 in any row; they are scaled to length 1.
      labels: int (N,).
      classes: how many there are.
    """

    def __init__(self, values: np.ndarray, labels: np.ndarray, classes: int):
        lengths = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64))[:, None]
        scaled = values / np.maximum(lengths, np.finfo(np.float32).tiny).astype(np.float32)
        coordinates, self._to_values = _in_own_space(scaled)
        self.labels, self.classes = np.asarray(labels), classes
        self._x = jnp.asarray(coordinates)
        self._targets = jnp.asarray(labels, jnp.int32)

    def fit(self, weight_decay: float) -> Fit:
        """Fit all images with a penalty on the kernel."""
        everything = np.ones(len(self.labels), np.float32)
        (kernel, bias), (iterations, gradient) = self._fit(weight_decay, everything, None)
        whole = np.asarray(self._to_values(np.asarray(kernel)), np.float32)
        return Fit(whole, np.asarray(bias), int(iterations), float(gradient) < TOLERANCE)

    def _fit(self, weight_decay: float, weight: np.ndarray, start: Any) -> tuple[Any, Any]:
        """Return (kernel, bias) for the coordinates of the images, and (iterations, largest gradient).

        `weight`: float32 (N,), 0 for an image that is left out. `start`: weights to begin with; None: zeros.
        """
        if start is None:
            shapes = (self._x.shape[1], self.classes), (self.classes,)
            start = tuple(jnp.zeros(shape, jnp.float32) for shape in shapes)
        fitted: tuple[Any, Any] = _minimise()(
            self._x, self._targets, weight, jnp.float32(weight_decay), start
        )
        return fitted

    def _score(self, weights: Any, rows: np.ndarray) -> tuple[float, float]:
        """Return top-1 error and mean cross-entropy of (kernel, bias) over the rows that are True."""
        kernel, bias = (np.asarray(part) for part in weights)
        logits = np.asarray(np.asarray(self._x)[rows] @ kernel + bias, np.float64)
        labels = self.labels[rows]
        shifted = logits - logits.max(axis=1, keepdims=True)
        losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
        return float(np.mean(logits.argmax(axis=1) != labels)), float(losses.mean())

    def cross_validate(
        self,
        weight_decays: Sequence[float],
        folds: int,
        seed: int,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> list[Score] | None:
        """Return a score for each weight decay, the largest first; None where `goes_on` said no.

        Args:
          weight_decays: to choose from.
          folds: parts of the images, no more than there are; each is left out once, with its share of every
            class.
          seed: decides which image is in which part.
          goes_on: asked before each fit.
        """
        decays, part = sorted(weight_decays, reverse=True), stratified_folds(self.labels, folds, seed)
        scores = np.zeros((len(decays), 2))
        for fold in range(folds):
            start = None
            for row, weight_decay in enumerate(decays):
                if not goes_on():
                    return None
                # Each begins where the stronger penalty ended.
                start, _ = self._fit(weight_decay, (part != fold).astype(np.float32), start)
                left_out = part == fold
                scores[row] += np.multiply(self._score(start, left_out), left_out.mean())
        return [Score(decay, *map(float, row)) for decay, row in zip(decays, scores, strict=True)]


def best(scores: Sequence[Score]) -> Score:
    """Return the score with the lowest error, of equals the one with the lowest loss."""
    return min(scores, key=lambda score: (round(score.top1_error, 9), score.loss))


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the part that each image is in, int (N,): the images of each class go round the parts.

    Each class goes on where the one before it ended, so that the parts differ by one image at most.
    """
    parts, turn = np.empty(len(labels), np.int64), 0
    generator = np.random.RandomState(seed)
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        parts[rows] = (turn + np.arange(len(rows))) % folds
        turn += len(rows)
    return parts


def fit_last_layer(
    setup: RunSetup, stored: Resident, stopped: Callable[[], bool], progress: Progress
) -> tuple[dict[str, np.ndarray], dict[str, float]] | None:
    """Fit the last layer of a run's net to what it reads, and report how that went.

    Args:
      setup: the run.
      stored: what the last layer reads, for every image that trains.
      stopped: asked before each fit; True gives it up.
      progress: of the run.

    Returns:
      The layer's {'kernel', 'bias'}, and tags of the log; None when stopped.

    Raises:
      RunFailure: there is nothing in the values.
    """
    config, optimizer = setup.config, setup.config.optimizer
    images = np.asarray(stored.data, np.float32)
    if not images.any():
        raise RunFailure("what the last layer reads is 0 for all images: the layers before it tell nothing")
    regression = LogisticRegression(
        images.reshape(len(images), -1), np.asarray(stored.labels), config.model.classes
    )
    folds = min(optimizer.folds, len(images))
    fits = Progress("fit", folds * len(optimizer.weight_decays), "fits", shown=progress.shown)

    def goes_on() -> bool:
        fits.update(1)
        return not stopped()

    with fits:
        scores = regression.cross_validate(optimizer.weight_decays, folds, config.seed, goes_on)
    if scores is None or stopped():
        return None
    chosen = best(scores)
    for score in scores:
        progress.say(
            f"weight decay {score.weight_decay:g}: left out in {folds} parts, "
            f"top-1 error {score.top1_error:.2%}, loss {score.loss:.4f}"
            + (", taken" if score == chosen else "")
        )
    if chosen in (scores[0], scores[-1]) and len(scores) > 1:
        progress.say(
            f"the weight decay {chosen.weight_decay:g} is at the end of config.optimizer.weight_decays: "
            "one beyond it may be better"
        )
    fit = regression.fit(chosen.weight_decay)
    if not fit.converged:
        progress.say(f"the fit has not converged in {fit.iterations} iterations: try larger weight decays")
    tags = {
        "cross_validation/top1_error": chosen.top1_error,
        "cross_validation/loss": chosen.loss,
        "weight_decay": chosen.weight_decay,
        "iterations": float(fit.iterations),
    }
    return _as_params(fit, images.shape[1:], setup.architecture.towers), tags


def _as_params(fit: Fit, read: tuple[int, ...], towers: int) -> dict[str, np.ndarray]:
    """Return a fit as the parameters of a layer that sums over towers and reads values from `RMSNorm`.

    Those have the root mean square 1, and so the length of the square root of their number.
    """
    width = fit.kernel.shape[0]
    by_tower = fit.kernel.reshape(-1, towers, read[-1] // towers, fit.kernel.shape[1])
    kernel = np.moveaxis(by_tower, 1, 0).reshape(towers, width // towers, -1) / np.sqrt(width)
    return {"kernel": np.asarray(kernel, np.float32), "bias": fit.bias}


def _in_own_space(x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return coordinates of the rows in their own span, and what turns a kernel for these into one for `x`.

    A kernel with the least norm lies in the span of the images: where they are fewer than the values, N
    coordinates tell all.
    """
    count, width = x.shape
    if 2 * count > width:
        return x, lambda kernel: kernel
    wide = x.astype(np.float64)
    eigenvalues, vectors = np.linalg.eigh(wide @ wide.T)
    kept = eigenvalues > EIGENVALUE_TOLERANCE * eigenvalues[-1]
    roots, vectors = np.sqrt(eigenvalues[kept]), vectors[:, kept]
    return (vectors * roots).astype(np.float32), lambda kernel: wide.T @ (vectors / roots @ kernel)


@lru_cache(1)
def _minimise() -> Callable[..., Any]:
    """Return the compiled fit: of (x, labels, counts, weight decay, start) to weights and how it ended."""
    solver = optax.lbfgs(memory_size=10)

    def fit(x: jax.Array, labels: jax.Array, counts: jax.Array, weight_decay: jax.Array, start: Any) -> Any:
        def loss(weights: Any) -> jax.Array:
            kernel, bias = weights
            logits = jnp.matmul(x, kernel, precision="highest") + bias
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            total: jax.Array = (losses * counts).sum() / counts.sum() + weight_decay / 2 * (kernel**2).sum()
            return total

        value_and_grad = optax.value_and_grad_from_state(loss)

        def largest(gradient: Any) -> jax.Array:
            return jnp.max(jnp.stack([jnp.abs(part).max() for part in gradient]))

        def step(carry: Any) -> Any:
            weights, state, number, _ = carry
            value, gradient = value_and_grad(weights, state=state)
            updates, state = solver.update(
                gradient, state, weights, value=value, grad=gradient, value_fn=loss
            )
            return optax.apply_updates(weights, updates), state, number + 1, largest(gradient)

        carry = start, solver.init(start), jnp.int32(0), jnp.float32(jnp.inf)
        ended = jax.lax.while_loop(lambda c: (c[2] < MAX_ITERATIONS) & (c[3] >= TOLERANCE), step, carry)
        return ended[0], ended[2:]

    return jax.jit(fit)
