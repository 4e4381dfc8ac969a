"""`train`: train a net; it evaluates and saves on the way, and resumes what --workdir holds.

The workdir gets config.json, metrics.jsonl, TensorBoard's events and checkpoints. SIGINT and SIGTERM stop
it in order, and the same command resumes there. With --source the data is prepared first where that is
still to do.

Examples:
  train --config=configs/digits.py --source=digits
  train --config=configs/imagenet.py --workdir=runs/seed_1 --config.seed=1
"""

import os
import sys

from alexnet_jax import distributed, program
from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import CONFIG_FILE, Command, Request
from alexnet_jax.commands.flags import CLASS_LEVEL, CONFIG, MERGE, PART, SOURCE, STRICT, WORKDIR, Flag
from alexnet_jax.errors import UsageError


def run(request: Request) -> int:
    """Train, in one process or with others; with a source prepare the data first where it is not there."""
    flags, config = request.flags, request.config
    if not flags.source:
        for name in ("class_level", "strict", "part", "merge"):
            if flags[name].present:
                raise UsageError(f"train reads --{name} only with --source")
    start_up.before_jax(config)
    spec = distributed.resolve_process(
        flags.coordinator, flags.processes, flags.process, os.environ, distributed.machine_has_tpu()
    )
    if spec is not None:
        distributed.start(spec)
    if flags.source:
        _prepare(request, several=spec is not None)
    from alexnet_jax.training import loop

    code = loop.train(config, request.workdir, flags.profile)
    if code == 0 and distributed.is_primary():
        print(f"next: {program.next_command()} evaluate --workdir={request.workdir}")
        print("  which tells the errors of each class, what is taken for what, and the files of the mistakes")
    return code


def _prepare(request: Request, several: bool) -> None:
    from alexnet_jax.data import origin, prepare, tfds_layout

    flags, config = request.flags, request.config
    if tfds_layout.is_prepared(config.data):
        folder = tfds_layout.dataset_folder(config.data)
        print(origin.check(folder, flags.source, flags.class_level), file=sys.stderr)
        return
    if several:
        raise UsageError("several processes do not prepare: type prepare with this --source first")
    from alexnet_jax.training import setup, warm_start

    probed = warm_start.resolve_probe(config, request.workdir)
    checked, architecture, _ = setup.check_run(probed)  # preparing may take hours
    if checked.train.init_from:
        warm_start.open_initial(checked, architecture)
    prepare.prepare(
        config,
        flags.source,
        strict=flags.strict,
        part=flags.part,
        merge=flags.merge,
        class_level=flags.class_level,
    )


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        WORKDIR,
        SOURCE,
        CLASS_LEVEL,
        STRICT,
        PART,
        MERGE,
        Flag("profile", "Write a profiler trace of this many steps.", "integer", "STEPS", 0, minimum=0),
        Flag("coordinator", "In several processes: the first one's address.", value="HOST:PORT"),
        Flag("processes", "In several processes: how many.", "integer", "N", 0, minimum=0),
        Flag("process", "In several processes: which one this is, from 0.", "integer", "I", -1),
    ),
    needs=CONFIG_FILE,
)
