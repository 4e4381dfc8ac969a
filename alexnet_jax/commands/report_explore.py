"""`report --explore`: a page in which the user follows an image through the net in --workdir.

Number by number, in English and Chinese; nothing leaves the browser. It is report/explorer.html in the
workdir, or --output.

Examples:
  report --explore --workdir=runs/digits
  report --explore --workdir=pretrained:cifar10 --output=explorer.html
"""

import sys
from dataclasses import replace
from pathlib import Path

from alexnet_jax import extras, files
from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import CHECKPOINT, CONFIG, OUTPUT, WORKDIR, Flag
from alexnet_jax.errors import RunFailure
from alexnet_jax.workdir import layout


def run(request: Request) -> int:
    """Write the page and print where it is."""
    extras.require("pages", "report --explore")
    output = request.flags.output
    if output:
        files.check_parent(Path(output))
    start_up.before_jax(request.config)
    from alexnet_jax.inference import explorer_data
    from alexnet_jax.report import beside, explorer

    files.check_files(request.workdir, written=True)
    net = explorer_data.explorer_data(start_up.load_net(request))
    folder = request.workdir / layout.REPORT
    path = Path(output) if output else folder / layout.EXPLORER_PAGE
    if net.missing:
        print(
            "the page has all but the patches that each channel looks for, which are cut from the images of "
            f"its training: {net.missing}",
            file=sys.stderr,
        )
    try:
        print(explorer.write(path, net.net, net.arrays, net.images, net.digits, net.sought))
    except OSError as error:
        raise RunFailure(f"{path} cannot be written: {error.strerror}") from error
    if not output:
        beside.link(folder)
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        Flag("explore", "Write this page.", "switch"),
        CONFIG,
        WORKDIR,
        CHECKPOINT,
        replace(OUTPUT, help="The file to write; default: report/explorer.html in the workdir."),
    ),
    needs=TRAINED_NET,
)
