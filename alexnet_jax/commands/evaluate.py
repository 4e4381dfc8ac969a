"""`evaluate`: the errors of the net in --workdir over its test split, over --split, or over --source.

Every image counts once. Classes are matched by name: data that has some of the net's, in any order, is
evaluated, and what the net does not know is refused. With several --workdir also the errors of their averaged
probabilities. The answer is printed and lies in the workdir as JSON; of other data than the run's own it lies
apart from the run's own result.

Examples:
  evaluate --workdir=runs/imagenet --views=10
  evaluate --workdir=runs/imagenet --source=photos.tar --predictions=photos.csv
"""

import sys
from dataclasses import replace
from pathlib import Path

from alexnet_jax import program
from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import CHECKPOINT, CLASS_MAP, CONFIG, JSON, SOURCE, VIEWS, WORKDIR, Flag
from alexnet_jax.progress import print_json


def run(request: Request) -> int:
    """Evaluate over a whole split and print the errors."""
    views, flags = start_up.views(request), request.flags
    start_up.before_jax(request.config)
    from alexnet_jax.inference import evaluate
    from alexnet_jax.workdir import trained

    predictions = Path(flags.predictions) if flags.predictions else None
    if predictions:
        evaluate.check_predictions(predictions)
    nets = trained.load_members(request.workdirs, request.config, flags.checkpoint)
    answer = evaluate.evaluate(
        nets,
        flags.split,
        views,
        source=flags.source,
        class_map=flags.class_map,
        predictions=predictions,
    )
    line = evaluate.save(answer, request.workdir)
    if flags.json:
        print_json(answer)
    else:
        print(evaluate.as_text(answer, len(nets[0].output_names)))
    if line:
        print(line, file=sys.stderr if flags.json else sys.stdout)
    elif not flags.json and len(nets) == 1:
        print(f"next: {program.next_command()} report --workdir={request.workdir}")
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        replace(WORKDIR, help=f"{WORKDIR.help} Several: an ensemble.", repeated=True),
        CHECKPOINT,
        VIEWS,
        replace(
            SOURCE,
            help="Labelled images in the place of the run's own data: whatever prepare takes, such as a "
            "folder of class folders or an archive of one; nothing is prepared.",
        ),
        Flag(
            "split",
            "A TFDS split such as train[90%:]; default: the config's test split; of --source its test split, "
            "else its validation split, else all of it.",
        ),
        CLASS_MAP,
        Flag(
            "predictions",
            "A CSV file to write, a row for each image: its file, its class, the five likeliest classes and "
            "their probabilities.",
            "path",
            "FILE",
        ),
        JSON,
    ),
    needs=TRAINED_NET,
)
