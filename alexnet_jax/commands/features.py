"""`features`: the values of layers for images (files, folders or patterns), into --output.

Layers have Caffe's names: conv1 is the value before the ReLU, relu1 after it, conv1/0 one tower's;
torchvision's names (features.0) are understood. The images are seen in one view, the centre. The exit
code is 1 where a file could not be read and was left out.

Examples:
  features --workdir=runs/imagenet --layers=relu5,fc7 --output=features.npz photos/
  features --workdir=runs/imagenet --layers=conv1 --output=features/ 'photos/*.jpg'
"""

from dataclasses import replace

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import CHECKPOINT, CONFIG, JSON, LAYERS, OUTPUT, WORKDIR
from alexnet_jax.progress import print_json


def run(request: Request) -> int:
    """Write the values of layers; return 1 where an image could not be read."""
    start_up.before_jax(request.config)
    from alexnet_jax.data import image_files
    from alexnet_jax.inference import features

    flags = request.flags
    files = image_files.find_images(request.arguments, "features")
    features.check_output(flags.output)
    answer = features.features(start_up.load_net(request), files, flags.layers, flags.output)
    if flags.json:
        print_json(answer, 1)
    else:
        print(features.as_text(answer))
    return 1 if answer["left_out"] else 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        CONFIG,
        WORKDIR,
        CHECKPOINT,
        LAYERS,
        replace(OUTPUT, help="An .npz, or a folder (with / at its end) for one .npy a layer."),
        JSON,
    ),
    arguments="FILE ...",
    needs=TRAINED_NET,
)
