"""Trained nets by name: those that come along in this package, and torchvision's published one.

Those that come along were trained by this project; `pretrained/cards.json` says of each by which command, on
which data and with which error. Nothing is fetched but torchvision's file, when somebody asks for it by name.
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from alexnet_jax import runtime
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.interop.fetch import Published, fetch

FOLDER = Path(__file__).parents[1] / "pretrained"
# torchvision/models/alexnet.py, AlexNet_Weights.IMAGENET1K_V1.
PUBLISHED = {
    "torchvision": Published(
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "7be5be79", most=256 * 2**20
    )
}


@cache
def cards() -> dict[str, dict[str, Any]]:
    """Return the card of each net that comes along, by its name."""
    found: dict[str, dict[str, Any]] = json.loads((FOLDER / "cards.json").read_text())
    return found


def is_name(source: str) -> bool:
    """Return whether a text is a net's name and not a path; a file of that name is meant by ./NAME."""
    return source in PUBLISHED or source in cards()


def weights_file(name: str) -> Path:
    """Return the file of a net's weights; torchvision's is fetched, once, into the user's cache.

    Args:
      name: for which `is_name` holds.

    Raises:
      UsageError, RunFailure: as `fetch`; the cache cannot be used.
    """
    if name in PUBLISHED:
        return fetch(PUBLISHED[name], runtime.user_cache("downloads"))
    return FOLDER / f"{name}.safetensors"


def workdir(name: str) -> Path:
    """Return a workdir of a net that comes along, in the user's cache; made when it is first asked for.

    Another process makes it: this one may have to tell JAX things before JAX starts.

    Raises:
      UsageError: there is no such net, or the cache cannot be used. RunFailure: the workdir cannot be made.
    """
    if name not in cards():
        fetched = f"; convert {name} --output=DIR fetches that one" if name in PUBLISHED else ""
        raise UsageError(f"no net {name} comes along: there are {', '.join(cards())}{fetched}")
    path = runtime.user_cache("nets") / f"{name}-{cards()[name]['sha256'][:12]}"
    if not path.exists():
        made = subprocess.run(
            [sys.executable, "-m", "alexnet_jax.main", "convert", name, f"--output={path}"],
            cwd=FOLDER.parents[1],  # where this package lies: the user's folder may have another of its name
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode and not path.exists():  # another process may have been first
            raise RunFailure(f"the net {name} cannot be written to {path}: {made.stderr.strip()[-500:]}")
        print(f"{name}: {cards()[name]['title']}; its workdir is {path}", file=sys.stderr)
    return path
