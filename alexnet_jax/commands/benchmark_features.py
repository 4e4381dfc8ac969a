"""`benchmark features`: how fast features are, against the forward pass alone.

Images per second from files to written values, against the same layers of one batch that lies on the
device, and the memory that it takes.

Examples:
  benchmark features --workdir=runs/imagenet --source=photos
  benchmark features --workdir=runs/imagenet --source=photos --layers=pool5,fc7
"""

from dataclasses import replace
from pathlib import Path

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import (
    BENCHMARK_JSON,
    BENCHMARK_OUTPUT,
    CHECKPOINT,
    CONFIG,
    LAYERS,
    SOURCE,
    WORKDIR,
)


def run(request: Request) -> int:
    """Measure, print the table, write the JSON."""
    start_up.before_jax(request.config)
    from alexnet_jax.benchmark import features

    flags = request.flags
    features.run(start_up.load_net(request), flags.source, flags.layers, Path(flags.output or BENCHMARK_JSON))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        WORKDIR,
        CHECKPOINT,
        replace(SOURCE, help="A folder of images.", value="FOLDER"),
        LAYERS,
        BENCHMARK_OUTPUT,
    ),
    needs=TRAINED_NET,
)
