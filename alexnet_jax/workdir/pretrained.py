"""Trained nets that come along in this package, by name.

They were trained by this project; `pretrained/cards.json` says of each by which command, on which data and
with which error.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from alexnet_jax import runtime
from alexnet_jax.config import schema
from alexnet_jax.errors import RunFailure, UsageError

FOLDER = Path(__file__).parents[1] / "pretrained"


@cache
def cards() -> dict[str, dict[str, Any]]:
    """Return the card of each net that comes along, by its name."""
    found: dict[str, dict[str, Any]] = json.loads((FOLDER / "cards.json").read_text())
    return found


def folder(given: str) -> Path:
    """Return the workdir of a net that is named by its path or by pretrained:NAME.

    Raises:
      UsageError, RunFailure: as `workdir`.
    """
    if given.startswith(schema.PRETRAINED):
        return workdir(given.removeprefix(schema.PRETRAINED))
    return Path(given)


def workdir(name: str) -> Path:
    """Return a workdir of a net that comes along, in the user's cache; made when it is first asked for.

    Another process makes it, on the CPU: this one may have to tell JAX things before JAX starts, or hold the
    memory of the GPU already.

    Raises:
      UsageError: there is no such net, or the cache cannot be used. RunFailure: the workdir cannot be made.
    """
    if name not in cards():
        raise UsageError(
            f"no net {name} comes along: there are {', '.join(cards())}; convert torchvision --output=DIR "
            "fetches torchvision's"
        )
    path = runtime.user_cache("nets") / f"{name}-{cards()[name]['sha256'][:12]}"
    if not path.exists():
        made = subprocess.run(
            [sys.executable, "-m", "alexnet_jax.main", "convert", name, f"--output={path}"],
            cwd=FOLDER.parents[1],  # where this package lies: the user's folder may have another of its name
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode and not path.exists():  # another process may have been first
            raise RunFailure(f"the net {name} cannot be written to {path}: {made.stderr.strip()[-500:]}")
        print(f"{name}: {cards()[name]['title']}; its workdir is {path}", file=sys.stderr)
    return path
