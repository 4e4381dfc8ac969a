"""`report --results`: the row of each --workdir into docs/results/, and docs/RESULTS.md from all rows.

The page sets what was claimed beside what the runs gave, with a verdict and figures, and lists every run.
A run is recorded over an older one of the same experiment, seed, views and kind of hardware. Without
--workdir the page alone is written anew.

Examples:
  report --results --workdir=runs/imagenet
  report --results --workdir=runs/relu --workdir=runs/tanh
"""

from dataclasses import replace

from alexnet_jax import extras
from alexnet_jax.commands.command import Command, Request
from alexnet_jax.commands.flags import WORKDIR, Flag


def run(request: Request) -> int:
    """Record the runs and write the page of all that are recorded."""
    extras.require("pages", "report --results")
    from alexnet_jax.report import results, results_page

    print("\n".join([*results.record(request.workdirs), results_page.write()]))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        Flag("results", "Record runs.", "switch"),
        replace(WORKDIR, help="A finished run; several: each.", repeated=True),
    ),
)
