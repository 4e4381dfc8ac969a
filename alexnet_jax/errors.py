"""The failures that a user can act on, each reported in one line."""

from alexnet_jax.progress import printable


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its type where it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]


class OneLine(Exception):
    """Report in one line, which a terminal may show: what a file holds is quoted in it."""

    def __init__(self, message: object = "") -> None:
        """Keep the message, printable; of a long one the start, and the end, where the way out is."""
        text = printable(str(message))
        super().__init__(text if len(text) <= 1500 else f"{text[:1000]} ... {text[-400:]}")


class UsageError(OneLine, ValueError):
    """Report a wrong use: flags, config, data or files that do not fit together. Exit code 2."""

    exit_code = 2


class WrongTypeError(UsageError, TypeError):
    """Report a wrong use by the type of an argument."""


class UnsafeFile(UsageError):
    """Report a file that names code, or a file that is not its own: what works without it stops, too."""


class RunFailure(OneLine):
    """Report that work which was started rightly could not continue. Exit code 1."""

    exit_code = 1
