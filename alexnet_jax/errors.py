"""The failures that a user can act on, each reported in one line."""


class UsageError(ValueError):
    """Report a wrong use: flags, config, data or files that do not fit together. Exit code 2."""

    exit_code = 2


class WrongTypeError(UsageError, TypeError):
    """Report a wrong use by the type of an argument."""


class RunFailure(Exception):
    """Report that work which was started rightly could not continue. Exit code 1."""

    exit_code = 1
