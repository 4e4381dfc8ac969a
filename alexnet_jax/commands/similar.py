"""`similar`: the images below the folder --source nearest to an image, or likeliest to show --label.

Images are compared by the last layer before the classes, in the paper's net fc7 after its ReLU (section 6;
what `features --layers=relu7` writes), or by pool5 where the weights hold no more. The distance is cosine,
which finds the same class more often, or the paper's own (figure 4) with --distance=euclidean. The folder's
values are kept in the workdir, for both distances, so that a second question is quick. The exit code is 1
where a file could not be read and was left out.

Examples:
  similar --workdir=runs/imagenet --source=photos photo.jpg
  similar --workdir=runs/imagenet --source=photos --label=hen --output=hens.png
"""

from dataclasses import replace
from pathlib import Path

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import CHECKPOINT, CONFIG, JSON, OUTPUT, SOURCE, WORKDIR, Flag
from alexnet_jax.progress import print_json


def run(request: Request) -> int:
    """Print the nearest images; return 1 where one of the folder could not be read."""
    start_up.before_jax(request.config)
    from alexnet_jax.data.images import Preprocessing
    from alexnet_jax.inference import predict, sheet, similar

    flags = request.flags
    image = similar.check(request.arguments, flags.source, flags.label, flags.count, flags.distance)
    if flags.output:
        predict.check_figure(Path(flags.output))
    net = start_up.load_net(request)
    answer = similar.similar(net, Path(flags.source), image, flags.label, flags.count, flags.distance)
    if flags.json:
        print_json(answer, 1)
    else:
        print(similar.as_text(answer))
    if flags.output:
        sheet.draw(answer, Preprocessing.of(net.config.data), Path(flags.output))
    return 1 if answer["left_out"] else 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        WORKDIR,
        CHECKPOINT,
        replace(SOURCE, help="The folder that is searched, with all below it.", value="FOLDER"),
        Flag("label", "The name or synset id of a class; no image is given then.", value="NAME"),
        Flag("distance", "cosine or euclidean; default: cosine.", value="WHICH", default="cosine"),
        Flag("count", "How many images to show.", "integer", "N", 20),
        replace(OUTPUT, help="A sheet of the images, with class and score, .png or .svg."),
        JSON,
    ),
    arguments="[FILE]",
    needs=TRAINED_NET,
)
