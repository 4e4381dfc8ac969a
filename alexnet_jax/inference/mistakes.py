"""What a net takes for what over a split: how often, and where it was surest and wrong."""

import heapq
import itertools
from collections import Counter
from typing import Any

import jax
import numpy as np

from alexnet_jax.data.batch import Batch
from alexnet_jax.data.records import Dataset

MOST = 20  # confusions, and mistakes, that an answer holds


class Mistakes:
    """Collect the wrong guesses of an evaluation: `watch` is what `evaluate_split` calls with each batch.

    Args:
      dataset: whose split is evaluated.
      split: a TFDS split, in whose order the batches come.
      names: of the net's outputs.
    """

    def __init__(self, dataset: Dataset, split: str, names: tuple[str, ...]):
        self.dataset, self.names = dataset, names
        self.records = dataset.records(split)
        self.counts: Counter[tuple[int, int]] = Counter()  # (class, guess)
        self.surest: list[tuple[float, int, int, int]] = []  # a heap: probability, -record, class, guess
        self.numbers = itertools.count()

    def watch(self, probabilities: jax.Array, batch: Batch[np.ndarray]) -> None:
        """Take the probabilities (B, classes) of a batch."""
        values = np.asarray(probabilities)
        guesses = values.argmax(axis=1)
        for row in np.flatnonzero(batch["weight"]):
            number, label, guess = next(self.numbers), int(batch["label"][row]), int(guesses[row])
            if label == guess:
                continue
            self.counts[label, guess] += 1
            mistake = (float(values[row, guess]), -number, label, guess)
            if len(self.surest) < MOST:
                heapq.heappush(self.surest, mistake)
            else:
                heapq.heappushpop(self.surest, mistake)

    def as_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return `confusions` and `mistakes`, at most `MOST` of each, the most frequent and the surest first.

        `confusions`: `class`, `guess` and `examples`, how many images of the class were taken for the guess;
        `mistakes`: `file`, as the dataset names it, `class`, `guess` and `probability`.
        """
        own = self.dataset.class_names
        often = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:MOST]
        return {
            "confusions": [
                {"class": own[label], "guess": self.names[guess], "examples": count}
                for (label, guess), count in often
            ],
            "mistakes": [
                {
                    "file": self.records.read(-negative)[2],
                    "class": own[label],
                    "guess": self.names[guess],
                    "probability": probability,
                }
                for probability, negative, label, guess in sorted(self.surest, reverse=True)
            ],
        }
