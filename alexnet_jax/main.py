"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) in JAX: the program `python -m alexnet_jax.main`."""

import sys

from alexnet_jax import search_path

if __name__ == "__main__":
    search_path.drop_current_folder()

from alexnet_jax import signals, streams

if __name__ == "__main__":
    signals.catch()  # the imports below take a while
    streams.prepare()

from absl import app, logging

from alexnet_jax import distributed, runtime
from alexnet_jax.commands import failure, parsing
from alexnet_jax.commands.command import Request
from alexnet_jax.errors import RunFailure, UsageError


def parse(argv: list[str]) -> Request:
    """Return what a command line asks for; exit with 2 where it is wrong, 1 on a failure, 0 after help."""
    try:
        return parsing.parse(argv)
    except (UsageError, RunFailure, streams.Unwritable) as error:
        raise SystemExit(failure.report(error, debug="--debug" in argv)) from None


def main(request: Request) -> int:
    """Run a command; return the exit code: 0, 1 a failure, 2 a wrong use, 128 + a signal that ended it."""
    try:
        code = request.command.run(request)
        sys.stdout.flush()
        distributed.shutdown(code, orderly=True)
    except (Exception, KeyboardInterrupt) as error:
        code = failure.report(error, request.flags.debug)
        distributed.shutdown(code, orderly=False)
    return code


def entry() -> None:
    """Do what `python -m alexnet_jax.main` does."""
    # Orbax and TFDS report their every step, and the errors that they raise besides.
    logging.set_verbosity(logging.FATAL)
    try:
        app.run(main, flags_parser=parse)
    except KeyboardInterrupt:  # before or after `main`, which has words for it
        sys.exit(130)
    except SystemExit as ended:
        runtime.leave(ended.code)
        raise
    finally:
        signals.end()


if __name__ == "__main__":
    entry()
