"""How the user called the program, for help and messages."""

import os
import sys
from pathlib import Path

SCRIPT = "alexnet-jax"
MODULES = ("alexnet_jax", "alexnet_jax.main")


def command() -> str:
    """Return what starts the program: 'alexnet-jax', or 'python -m' and the module that was called.

    'python -m alexnet_jax.main' where another program uses this package.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec else ""
    if module in MODULES:
        return f"python -m {module}"
    return SCRIPT if name() == SCRIPT else "python -m alexnet_jax.main"


def next_command() -> str:
    """Return `command` as it is to be typed next: with the interpreter that runs it."""
    return command().replace("python", os.path.relpath(sys.executable))


def name() -> str:
    """Return the name that stands before a message: that of the console script, else of the package."""
    return SCRIPT if Path(sys.argv[0]).stem == SCRIPT else "alexnet_jax"
