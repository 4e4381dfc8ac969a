"""`evaluate`: the errors of the net in --workdir over its test split, or over --split.

Every image of the split counts once. With several --workdir also the errors of their averaged
probabilities. The answer is printed and lies in the workdir as JSON.

Examples:
  evaluate --workdir=runs/imagenet --views=10
  evaluate --workdir=runs/seed_1 --workdir=runs/seed_2 --json
"""

import json
from dataclasses import replace

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import CHECKPOINT, CONFIG, JSON, VIEWS, WORKDIR, Flag


def run(request: Request) -> int:
    """Evaluate over a whole split and print the errors."""
    views = start_up.views(request)
    start_up.before_jax(request.config)
    from alexnet_jax.inference import evaluate
    from alexnet_jax.workdir import trained

    nets = trained.load_members(request.workdirs, request.config, request.flags.checkpoint)
    answer = evaluate.evaluate(nets, request.flags.split, views)
    print(json.dumps(answer) if request.flags.json else evaluate.as_text(answer))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        replace(WORKDIR, help=f"{WORKDIR.help} Several: an ensemble.", repeated=True),
        CHECKPOINT,
        VIEWS,
        Flag("split", "A TFDS split such as train[90%:]; default: the config's test split."),
        JSON,
    ),
    needs=TRAINED_NET,
)
