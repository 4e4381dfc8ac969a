"""What the user sees of an error, and the exit code that it becomes."""

import contextlib
import sys
import traceback

from alexnet_jax import distributed, program, streams
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.progress import printable


def report(error: BaseException, debug: bool) -> int:
    """Print an error in one line, the last on standard error; after its traceback where that is asked for.

    Returns:
      The exit code: 1 a failure, 2 a wrong use, 130 an interruption, 141 a reader who has left.
    """
    with contextlib.suppress(streams.Unwritable):  # else Python raises it as it ends, with code 120
        sys.stdout.flush()
    code, text = 1, str(error)
    if isinstance(error, UsageError | RunFailure | streams.Unwritable):
        code = error.exit_code
    elif isinstance(error, KeyboardInterrupt):
        code, text = 130, "interrupted"
    else:
        first = (text or "no message").splitlines()[0]
        text = f"{type(error).__name__}: {first} (--debug shows the traceback){distributed.explain()}"
    line = f"{program.name()}: {distributed.prefix()}{printable(text)}"
    if debug:
        traceback.print_exception(error)
        print(line, file=sys.stderr)
    elif text:
        streams.say_last(line)
    return code
