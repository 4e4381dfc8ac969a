"""`predict`: the five best guesses for images: files, folders or patterns.

Prints the five likeliest classes of each image with their probabilities. The exit code is 1 where a file
could not be read.

Examples:
  predict --workdir=runs/imagenet photo.jpg
  predict --workdir=runs/imagenet --views=10 --output=guesses.png photos/
"""

from dataclasses import replace
from pathlib import Path

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import CHECKPOINT, CONFIG, JSON, OUTPUT, VIEWS, WORKDIR
from alexnet_jax.progress import print_json


def run(request: Request) -> int:
    """Print five guesses for each image; return 1 where one could not be read."""
    views = start_up.views(request)
    start_up.before_jax(request.config)
    from alexnet_jax.data import image_files
    from alexnet_jax.data.images import Preprocessing
    from alexnet_jax.inference import predict

    flags = request.flags
    files = image_files.find_images(request.arguments, "predict")
    if flags.output:
        predict.check_figure(Path(flags.output))
    net = start_up.load_net(request)
    answers = predict.predict(net, files, views)
    if flags.json:
        print_json(answers, 1)
    else:
        print(predict.as_text(answers))
    if flags.output:
        predict.draw(answers, Preprocessing.of(net.config.data), Path(flags.output))
    return 1 if any("error" in answer for answer in answers) else 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        WORKDIR,
        CHECKPOINT,
        VIEWS,
        replace(OUTPUT, help="A figure of the images and guesses, .png or .svg."),
        JSON,
    ),
    arguments="FILE ...",
    needs=TRAINED_NET,
)
