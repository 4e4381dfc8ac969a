"""`benchmark start`: how long a start takes with and without kept compiled programs.

Seconds from the start of a process to the end of its first training step on random images.

Examples:
  benchmark start --config=configs/imagenet.py
  benchmark start --config=configs/imagenet.py --config.data.batch_size=32 --output=start.json
"""

from pathlib import Path

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import CONFIG_FILE, Command, Request
from alexnet_jax.commands.flags import BENCHMARK_JSON, BENCHMARK_OUTPUT, CONFIG, CONFIG_OF_RUN


def run(request: Request) -> int:
    """Measure, print the table, write the JSON."""
    start_up.before_jax(request.config, keep_compiled=False)  # it keeps them in folders of its own
    from alexnet_jax.benchmark import start

    start.run(request.config, Path(request.flags.output or BENCHMARK_JSON))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(CONFIG, CONFIG_OF_RUN, BENCHMARK_OUTPUT),
    needs=CONFIG_FILE,
)
