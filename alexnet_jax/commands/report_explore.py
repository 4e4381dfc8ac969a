"""`report --explore`: a page in which the user follows an image through the net in --workdir.

Number by number, in English and Chinese; nothing leaves the browser. It is report/explorer.html in the
workdir.

Examples:
  report --explore --workdir=runs/digits
  report --explore --workdir=runs/digits --checkpoint=last
"""

import sys

from alexnet_jax import extras, files
from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import CHECKPOINT, CONFIG, WORKDIR, Flag
from alexnet_jax.workdir import layout


def run(request: Request) -> int:
    """Write the page and print where it is."""
    extras.require("pages", "report --explore")
    start_up.before_jax(request.config)
    from alexnet_jax.inference import explorer_data
    from alexnet_jax.report import explorer

    files.check_files(request.workdir, written=True)
    net = explorer_data.explorer_data(start_up.load_net(request))
    path = request.workdir / layout.REPORT / layout.EXPLORER_PAGE
    if net.missing:
        print(f"without the patches that each channel looks for: {net.missing}", file=sys.stderr)
    print(explorer.write(path, net.net, net.arrays, net.images, net.digits, net.sought))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(
        Flag("explore", "Write this page.", "switch"),
        CONFIG,
        WORKDIR,
        CHECKPOINT,
    ),
    needs=TRAINED_NET,
)
