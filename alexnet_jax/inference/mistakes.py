"""What a net takes for what over a split: how often, and where it was surest and wrong."""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.data.batch import Batch
from alexnet_jax.data.records import Dataset

MOST = 20  # confusions, and mistakes, that an answer holds


class Mistakes:
    """Collect the guesses of an evaluation: `watch` is what `evaluate_split` calls with each batch.

    Args:
      dataset: whose split is evaluated.
      split: a TFDS split, in whose order the batches come.
      names: of the net's outputs.
    """

    def __init__(self, dataset: Dataset, split: str, names: tuple[str, ...]):
        self.dataset, self.split, self.names = dataset, split, names
        self.guesses: list[tuple[jax.Array, jax.Array]] = []  # on the device: nothing waits for them
        self.labels: list[np.ndarray] = []
        self.is_real: list[np.ndarray] = []

    def watch(self, probabilities: jax.Array, batch: Batch[np.ndarray]) -> None:
        """Take the probabilities (B, classes) of a batch."""
        self.guesses.append(_guesses(probabilities))
        self.labels.append(batch["label"])
        self.is_real.append(batch["weight"] > 0)

    def as_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return `confusions` and `mistakes`, at most `MOST` of each, the most frequent and the surest first.

        `confusions`: `class`, `guess` and `examples`, how many images of the class were taken for the guess;
        `mistakes`: `file`, as the dataset names it, `class`, `guess` and `probability`.
        """
        is_real, labels = np.concatenate(self.is_real), np.concatenate(self.labels)
        guesses, probabilities = (
            np.concatenate([np.asarray(part) for part in parts])[is_real]
            for parts in zip(*self.guesses, strict=True)
        )
        labels = labels[is_real]
        wrong = np.flatnonzero(guesses != labels)
        pairs = Counter(zip(labels[wrong].tolist(), guesses[wrong].tolist(), strict=True))
        often = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:MOST]
        surest = wrong[np.argsort(-probabilities[wrong], kind="stable")[:MOST]]
        own, records = self.dataset.class_names, self.dataset.records(self.split)
        return {
            "confusions": [
                {"class": own[label], "guess": self.names[guess], "examples": count}
                for (label, guess), count in often
            ],
            "mistakes": [
                {
                    "file": records.read(int(row))[2],
                    "class": own[labels[row]],
                    "guess": self.names[guesses[row]],
                    "probability": float(probabilities[row]),
                }
                for row in surest
            ],
        }


@jax.jit
def _guesses(probabilities: jax.Array) -> tuple[jax.Array, jax.Array]:
    return probabilities.argmax(axis=1), jnp.max(probabilities, axis=1)
