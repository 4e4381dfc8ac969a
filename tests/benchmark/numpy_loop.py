"""`benchmark loop` of a net of MNIST's, also beside twenty lines of numpy.

python -m tests.benchmark.numpy_loop configs/mnist.py [RUNS]
"""

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from alexnet_jax.benchmark import loop, timing
from alexnet_jax.config.find import load_file
from alexnet_jax.training.loop import Run
from tests.reference.numpy_mnist import Net


def program(here: Run) -> Callable[[], float]:
    """Return the numpy program of an opened run: an epoch and its validation; it gives epochs a second."""
    config, sets = here.config, []
    for part in (here.feed.training, here.feed.validation):
        assert part is not None
        pixels = np.asarray(part.data).reshape(len(part.labels), -1)
        sets.append((pixels / np.float32(config.data.input_std[0]), np.asarray(part.labels)))
    (x, label), (held_out, right) = sets
    draw = np.random.default_rng(0)
    net = Net(x.shape[1], config.model.hidden[0], config.model.classes, draw)

    def epoch() -> float:
        started, order = time.perf_counter(), draw.permutation(len(x))
        for first in range(0, len(x), config.data.batch_size):
            rows = order[first : first + config.data.batch_size]
            net.train(x[rows], label[rows], config.schedule.learning_rate)
        error = (net.forward(held_out)[1].argmax(axis=1) != right).mean()
        assert error < 0.5
        return 1 / (time.perf_counter() - started)

    return epoch


def main() -> None:
    """Measure and print the table."""
    config, runs = load_file(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else loop.RUNS
    rows, notes = loop.measure(config, find_spec("torch") is not None, runs, {"numpy": program})
    timing.report(Path("benchmark.json"), rows, notes)


if __name__ == "__main__":
    main()
