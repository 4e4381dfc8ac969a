"""Figures that look the same everywhere."""

import contextlib
import os
from collections.abc import Iterator


def load_matplotlib() -> None:
    """Import matplotlib without the file `matplotlibrc` in the current folder, which it would read.

    It may be somebody else's: one setting runs LaTeX, another takes all memory, and a pipe of this name is
    waited for. Call it before anything else imports matplotlib.
    """
    elsewhere = contextlib.chdir(os.sep) if os.path.lexists("matplotlibrc") else contextlib.nullcontext()
    with elsewhere:
        import matplotlib  # noqa: F401


@contextlib.contextmanager
def default_style() -> Iterator[None]:
    """Draw with matplotlib's own settings while the block, or the function that this decorates, runs."""
    load_matplotlib()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield
