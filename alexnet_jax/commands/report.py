"""`report`: one page with the paper's figures for the run in --workdir.

Errors beside the published ones, curves, kernels by tower, guesses, nearest images, errors by class with
counts, confusions, the surest mistakes with their files, what excites each layer, and what to type next, for
a run that is finished or in progress; the page says what is missing. It is report/index.html in the workdir.

Examples:
  report --workdir=runs/imagenet
  report --workdir=runs/relu --workdir=runs/tanh
"""

from dataclasses import replace

from alexnet_jax import drawing, extras
from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import CHECKPOINT, CLASS_MAP, CONFIG, WORKDIR


def run(request: Request) -> int:
    """Write the page and print where it is, and what is missing from it."""
    extras.require("pages", "report")
    start_up.before_jax(request.config)
    drawing.load_matplotlib()
    from alexnet_jax.report import page

    runs = page.check(request.workdirs)  # before JAX is loaded
    from alexnet_jax.inference import report_data

    flags = request.flags
    data = report_data.find(request.workdir, request.config, flags.checkpoint, class_map=flags.class_map)
    print("\n".join(page.write(runs, data)))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        replace(WORKDIR, help=f"{WORKDIR.help} Several: their curves, overlaid.", repeated=True),
        CHECKPOINT,
        CLASS_MAP,
    ),
    needs=TRAINED_NET,
)
