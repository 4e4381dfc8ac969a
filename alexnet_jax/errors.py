"""The failures that a person can act on, each told in one line."""


class UsageError(Exception):
    """A wrong use: flags, config, data or files that do not fit together. Exit code 2."""

    exit_code = 2


class RunFailure(Exception):
    """A run that was started rightly and could not go on. Exit code 1."""

    exit_code = 1
