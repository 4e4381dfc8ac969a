"""`doctor`: versions and devices; what would stop a run, and the state of the run in --workdir.

Nothing is compiled or written. With --config or --workdir: data, memory, disk and devices against what
the run needs; with the --workdir of a run: how far it is, and its checkpoints with their health; with
--source: how it would be understood. The exit code is 1 where the run could not start.

Examples:
  doctor
  doctor --config=configs/imagenet.py --workdir=runs/imagenet
"""

from dataclasses import replace

from alexnet_jax.commands.command import Command, Request
from alexnet_jax.commands.flags import CLASS_LEVEL, CONFIG, SOURCE, WORKDIR


def run(request: Request) -> int:
    """Print what there is; return 1 where something would stop the run."""
    from alexnet_jax.commands import doctor_report
    from alexnet_jax.data import summary

    workdir = request.workdir if request.flags.workdir else None
    text, healthy = doctor_report.report(request.config or None, workdir)
    print(text)
    if request.flags.source:
        print("\n".join(summary.describe(request.flags.source, request.flags.class_level)))
    return 0 if healthy else 1


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        replace(WORKDIR, help="Folder of the run, which may still be to make."),
        replace(SOURCE, help="What would be prepared: how it would be understood."),
        CLASS_LEVEL,
    ),
)
