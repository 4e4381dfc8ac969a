"""`benchmark similar`: whether near means alike, and how long finding takes.

How often the nearest training image of a test image shows the same class, against the same net with
shuffled weights; and the time to index a folder and to ask it, against numpy.

Examples:
  benchmark similar --workdir=runs/imagenet --source=caltech101
  benchmark similar --workdir=runs/imagenet --source=caltech101 --output=similar.json
"""

from dataclasses import replace
from pathlib import Path

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import BENCHMARK_JSON, BENCHMARK_OUTPUT, CHECKPOINT, CONFIG, SOURCE, WORKDIR


def run(request: Request) -> int:
    """Measure, print the table, write the JSON."""
    start_up.before_jax(request.config)
    from alexnet_jax.benchmark import similar

    similar.run(
        start_up.load_net(request), request.flags.source, Path(request.flags.output or BENCHMARK_JSON)
    )
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        WORKDIR,
        CHECKPOINT,
        replace(SOURCE, help="A folder with train/<class>/ and test/<class>/.", value="FOLDER"),
        BENCHMARK_OUTPUT,
    ),
    needs=TRAINED_NET,
)
