"""`benchmark loop`: whole epochs as a user gets them, against a PyTorch program of the same net.

Seconds of an epoch with its input, augmentation, updates, logs and validation, of a dataset that is prepared
and has room in memory; and what the loop costs by itself at each step.

Examples:
  benchmark loop --config=configs/mnist.py --peer=torch
  benchmark loop --config=configs/cifar10.py --peer=torch --config.data.train_split=train[:12800]
"""

from pathlib import Path

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import CONFIG_FILE, Command, Request
from alexnet_jax.commands.flags import BENCHMARK_JSON, BENCHMARK_OUTPUT, CONFIG, CONFIG_OF_RUN, Flag


def run(request: Request) -> int:
    """Measure, print the table, write the JSON."""
    start_up.before_jax(request.config)
    from alexnet_jax.benchmark import loop

    loop.run(request.config, request.flags.peer, Path(request.flags.output or BENCHMARK_JSON))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        CONFIG_OF_RUN,
        Flag("peer", "torch: measure a PyTorch program of the same net and recipe, too.", value="torch"),
        BENCHMARK_OUTPUT,
    ),
    needs=CONFIG_FILE,
)
