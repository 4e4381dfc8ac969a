"""`export`: the net in --workdir as StableHLO in --output.

The exported net takes whole uint8 images and gives probabilities, for any number of images;
`jax.export.deserialize` reads it without this package.

Examples:
  export --workdir=runs/imagenet --output=alexnet.stablehlo
  export --workdir=runs/imagenet --checkpoint=last --output=alexnet.stablehlo
"""

from dataclasses import replace
from pathlib import Path

from alexnet_jax.commands import start_up
from alexnet_jax.commands.command import TRAINED_NET, Command, Request
from alexnet_jax.commands.flags import CHECKPOINT, CONFIG, OUTPUT, WORKDIR


def run(request: Request) -> int:
    """Write the exported net."""
    start_up.before_jax(request.config)
    from alexnet_jax.interop import export

    output = Path(request.flags.output)
    export.check_output(output)
    print(export.export(start_up.load_net(request), output))
    return 0


COMMAND = Command(
    __doc__,
    run,
    reads=(CONFIG, WORKDIR, CHECKPOINT, replace(OUTPUT, help="The file to write.")),
    needs=TRAINED_NET,
)
