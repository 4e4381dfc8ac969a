"""`compare`: the LPIPS distance (AlexNet, v0.1) of two images of one size.

0 for equal images; the larger, the more a viewer sees. The net must have been converted from weights with
LPIPS heads.

Examples:
  compare --workdir=runs/lpips original.png compressed.png
  compare --workdir=runs/lpips --json original.png compressed.png
"""

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import CHECKPOINT, CONFIG, JSON, WORKDIR
from alexnet_jax.progress import print_json


def run(request: Request) -> int:
    """Print the LPIPS distance."""
    start_up.before_jax(request.config)
    from alexnet_jax.inference import lpips

    first, second = lpips.two_files(request.arguments)
    lpips.load_heads(request.workdir)
    answer = lpips.compare(start_up.load_net(request), first, second)
    if request.flags.json:
        print_json(answer)
    else:
        print(lpips.as_text(answer))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(CONFIG, WORKDIR, CHECKPOINT, JSON),
    arguments="FILE FILE",
    needs=TRAINED_NET,
)
