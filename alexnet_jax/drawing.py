"""Figures that look the same everywhere."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def default_style() -> Iterator[None]:
    """Draw with matplotlib's own settings while the block, or the function that this decorates, runs.

    Matplotlib reads a file `matplotlibrc` in the current folder, which may be somebody else's, and one of its
    settings runs LaTeX.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield
