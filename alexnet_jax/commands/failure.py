"""What the user sees of an error, and the exit code that it becomes."""

import sys
import traceback

from alexnet_jax import distributed, program
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.progress import printable
from alexnet_jax.streams import Unwritable


def report(error: BaseException, debug: bool) -> int:
    """Print an error in one line on standard error, after its traceback where that is asked for.

    Returns:
      The exit code: 1 a failure, 2 a wrong use, 130 an interruption, 141 a reader who has left.
    """
    code, text = 1, str(error)
    if isinstance(error, UsageError | RunFailure | Unwritable):
        code = error.exit_code
    elif isinstance(error, KeyboardInterrupt):
        code, text = 130, "interrupted"
    else:
        first = (text or "no message").splitlines()[0]
        text = f"{type(error).__name__}: {first} (--debug shows the traceback){distributed.explain()}"
    if debug:
        traceback.print_exception(error)
    if text:
        print(f"{program.name()}: {distributed.prefix()}{printable(text)}", file=sys.stderr)
    return code
