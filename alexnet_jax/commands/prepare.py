"""`prepare`: make the dataset that the config names from --source.

Every image is decoded and becomes a square, as config.data.resize says; records, statistics.npz and
rejects.txt appear in the folder that config.data names. How the source was understood is printed and kept in
preparation.json; --dry_run prints it and writes nothing. What was stopped resumes. Several machines make
a --part each, and --merge registers them.

Examples:
  prepare --config=configs/imagenet.py --source=ILSVRC2012 --dry_run
  prepare --config=configs/imagenet.py --source=ILSVRC2012 --part=0/4
"""

from alexnet_jax import signals
from alexnet_jax.commands.command import CONFIG_FILE, Command, Request
from alexnet_jax.commands.flags import (
    CLASS_LEVEL,
    CONFIG,
    CONFIG_OF_RUN,
    DRY_RUN,
    MERGE,
    PART,
    REPLACE,
    SOURCE,
    STRICT,
)


def run(request: Request) -> int:
    """Make the dataset, a part of it, or the whole of its parts."""
    signals.watch()
    from alexnet_jax.data import prepare

    flags = request.flags
    if flags.dry_run:
        print("\n".join(prepare.dry_run(request.config, flags.source, flags.class_level)))
        return 0
    prepare.prepare(
        request.config,
        flags.source,
        strict=flags.strict,
        part=flags.part,
        merge=flags.merge,
        class_level=flags.class_level,
        replace=flags.replace,
    )
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(CONFIG, CONFIG_OF_RUN, SOURCE, CLASS_LEVEL, DRY_RUN, STRICT, REPLACE, PART, MERGE),
    needs=CONFIG_FILE,
)
