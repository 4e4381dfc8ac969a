"""Loss and errors: sums and counts, so that averages over any grouping of batches are exact."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


@struct.dataclass
class Sums:
    """Hold sums over images, as scalars on the device.

    Attributes:
      loss: cross-entropy in nats.
      top1_error: images whose label is not the first guess.
      top5_error: images whose label is not among the first five.
      count: images.
      by_class: where asked for, (2, classes): images of each class, and those with a top-1 error.
    """

    loss: jax.Array
    top1_error: jax.Array
    top5_error: jax.Array
    count: jax.Array
    by_class: jax.Array | None = None


@dataclass(frozen=True)
class Averages:
    """Hold averages over images; the errors are fractions between 0 and 1.

    Attributes:
      loss: cross-entropy in nats.
      top1_error: the share of images whose label is not the first guess.
      top5_error: the share of images whose label is not among the first five.
      count: images.
      by_class: (images, images with a top-1 error) of each class, where the sums had them.
    """

    loss: float
    top1_error: float
    top5_error: float
    count: int
    by_class: tuple[tuple[int, int], ...] = ()

    def tags(self, split: str) -> dict[str, float]:
        """Return loss and errors under the names of the log: 'val/loss' for the split 'val'."""
        return {f"{split}/{name}": getattr(self, name) for name in ("loss", "top1_error", "top5_error")}


def in_words(top1_error: float, top5_error: float, classes: int) -> str:
    """Return the errors for the user; of a net with at most five classes not the top-5 error, always 0."""
    five = f", top-5 error {top5_error:.2%}" if classes > 5 else ""
    return f"top-1 error {top1_error:.2%}{five}"


def log_softmax(logits: jax.Array) -> jax.Array:
    """Return log probabilities (B, classes) of logits, in at least 32 bits."""
    return jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))


def score(
    log_probabilities_BxC: jax.Array,
    label_B: jax.Array,
    weight_B: jax.Array | None,
    by_class: bool = False,
) -> Sums:
    """Sum loss and errors over the images of weight 1; those of weight 0 are padding; None: all count.

    Equal values rank in order of class; a value that is not a number ranks before the label.
    """
    # A sum of zeros and one value is that value; its gradient is no scatter, which costs more.
    is_label_BxC = label_B[:, None] == jnp.arange(log_probabilities_BxC.shape[1])
    label_log_prob_B = jnp.where(is_label_BxC, log_probabilities_BxC, 0).sum(axis=1, keepdims=True)
    if weight_B is None:
        weight_B = jnp.ones(label_B.shape)
    before = (log_probabilities_BxC > label_log_prob_B) | jnp.isnan(log_probabilities_BxC)
    before |= jnp.isnan(label_log_prob_B)
    lower_class = jnp.arange(log_probabilities_BxC.shape[1]) < label_B[:, None]
    before |= (log_probabilities_BxC == label_log_prob_B) & lower_class
    rank_B = before.sum(axis=1)
    weight_B = weight_B.astype(log_probabilities_BxC.dtype)
    # where, not a product: the loss of a padding row may be infinite
    loss = jnp.where(weight_B > 0, -label_log_prob_B[:, 0] * weight_B, 0)
    wrong_B = (rank_B >= 1) * weight_B
    classes = None
    if by_class:
        each = jnp.stack([weight_B, wrong_B], axis=1)
        classes = jnp.zeros((log_probabilities_BxC.shape[1], 2), each.dtype).at[label_B].add(each).T
    return Sums(loss.sum(), wrong_B.sum(), ((rank_B >= 5) * weight_B).sum(), weight_B.sum(), classes)


def score_probabilities(probabilities: jax.Array, label: jax.Array, weight: jax.Array) -> Sums:
    """Sum loss and errors of averaged probabilities (B, classes), also by class."""
    tiny = np.finfo(probabilities.dtype).tiny  # a probability that underflowed has a finite loss
    return score(jnp.log(jnp.maximum(probabilities, tiny)), label, weight, by_class=True)


def average(sums: Sequence[Sums]) -> Averages:
    """Average over all images of `sums`, scalars or arrays, added in 64 bits on the host."""
    values = jax.device_get(list(sums))

    def total(name: str) -> float:
        return sum(float(np.sum(getattr(v, name), dtype=np.float64)) for v in values)

    count = total("count")

    def mean(name: str) -> float:
        return total(name) / count

    by_class: tuple[tuple[int, int], ...] = ()
    if values[0].by_class is not None:
        images, wrong = np.sum([np.asarray(v.by_class, np.int64) for v in values], axis=0)
        by_class = tuple(zip(images.tolist(), wrong.tolist(), strict=True))
    return Averages(mean("loss"), mean("top1_error"), mean("top5_error"), round(count), by_class)
