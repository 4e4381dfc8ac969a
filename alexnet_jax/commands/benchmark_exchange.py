"""`benchmark exchange`: what the devices send each other in a step, against the least possible.

Bytes of each kind of exchange, counted in the compiled training step; nothing is run.

Examples:
  benchmark exchange --config=configs/imagenet.py
  benchmark exchange --config=configs/imagenet.py --output=exchange.json
"""

from pathlib import Path

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import CONFIG_FILE, Command, Request
from alexnet_jax.commands.flags import BENCHMARK_JSON, BENCHMARK_OUTPUT, CONFIG, CONFIG_OF_RUN


def run(request: Request) -> int:
    """Count, print the table, write the JSON."""
    start_up.before_jax(request.config)
    from alexnet_jax.benchmark import exchange

    exchange.run(request.config, Path(request.flags.output or BENCHMARK_JSON))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(CONFIG, CONFIG_OF_RUN, BENCHMARK_OUTPUT),
    needs=CONFIG_FILE,
)
