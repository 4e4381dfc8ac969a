"""`prepare`: make the dataset that the config names from --source.

Every image is decoded, its short side resized and its centre kept; records, statistics.npz and
rejects.txt appear in the folder that config.data names. What was stopped resumes. Several machines make a
--part each, and --merge registers them.

Examples:
  prepare --config=configs/imagenet.py --source=ILSVRC2012
  prepare --config=configs/imagenet.py --source=ILSVRC2012 --part=0/4
"""

from alexnet_jax.commands.command import CONFIG_FILE, Command, Request
from alexnet_jax.commands.flags import CONFIG, CONFIG_OF_RUN, MERGE, PART, SOURCE, STRICT


def run(request: Request) -> int:
    """Make the dataset, a part of it, or the whole of its parts."""
    from alexnet_jax.data import prepare

    flags = request.flags
    prepare.prepare(request.config, flags.source, strict=flags.strict, part=flags.part, merge=flags.merge)
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(CONFIG, CONFIG_OF_RUN, SOURCE, STRICT, PART, MERGE),
    needs=CONFIG_FILE,
)
