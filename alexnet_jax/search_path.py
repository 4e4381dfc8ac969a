"""The folders that Python searches for modules, while the program starts."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def drop_current_folder() -> None:
    """Take the current folder off the folders that Python searches, unless this package lies in it.

    `python -m` puts it first: a file `numpy.py` among somebody's images would be run in the place of numpy.
    Processes that are started from here inherit PYTHONSAFEPATH. Call it before anything else is imported.
    """
    here = os.getcwd()
    if sys.path[:1] in ([""], [here]) and os.path.realpath(here) != os.path.realpath(ROOT):
        del sys.path[0]
        os.environ["PYTHONSAFEPATH"] = "1"
