"""`benchmark input`: how fast the input is, against its peers on the same images.

Images per second of a prepared dataset's training split, against decoding alone, tf.data and torch's
DataLoader where they are installed. With --source the preparation is measured too, and the dataset is
prepared where that is still to do.

Examples:
  benchmark input --config=configs/imagenet.py
  benchmark input --config=configs/imagenet.py --config.data.name=photos --source=photos.tar
"""

from pathlib import Path

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import CONFIG_FILE, Command, Request
from alexnet_jax.commands.flags import BENCHMARK_JSON, BENCHMARK_OUTPUT, CONFIG, CONFIG_OF_RUN, SOURCE


def run(request: Request) -> int:
    """Measure, print the table, write the JSON."""
    start_up.before_jax(request.config)
    from alexnet_jax.benchmark import input as benchmark

    benchmark.run(request.config, request.flags.source, Path(request.flags.output or BENCHMARK_JSON))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(CONFIG, CONFIG_OF_RUN, SOURCE, BENCHMARK_OUTPUT),
    needs=CONFIG_FILE,
)
