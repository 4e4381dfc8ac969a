"""`benchmark step`: the forward pass and the training step, layer by layer, and against its peers.

Images and FLOP per second, the share of a matrix product's speed, memory, and seconds to compile, for the
net and the batch of a config, on images that lie on the device.

Examples:
  benchmark step --config=configs/imagenet.py --peer=torch,flax
  benchmark step --config=configs/cifar10.py --config.data.batch_size=512 --output=step.png
"""

from dataclasses import replace
from pathlib import Path

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import CONFIG_FILE, Command, Request
from alexnet_jax.commands.flags import BENCHMARK_JSON, BENCHMARK_OUTPUT, CONFIG, CONFIG_OF_RUN, Flag


def run(request: Request) -> int:
    """Measure, print the table, write the JSON and perhaps a figure."""
    start_up.before_jax(request.config, keep_compiled=False)  # compilation is measured
    from alexnet_jax.benchmark import step

    step.run(request.config, request.flags.peer, Path(request.flags.output or BENCHMARK_JSON))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        CONFIG_OF_RUN,
        Flag(
            "peer",
            "torch, flax or torch,flax: measure the same net in PyTorch, in plain Flax, in the same run.",
            value="torch|flax",
        ),
        replace(
            BENCHMARK_OUTPUT,
            help=f"{BENCHMARK_OUTPUT.help} A figure, .png or .svg: the JSON lies next to it.",
        ),
    ),
    needs=CONFIG_FILE,
)
