"""Packages that only some users need: the extras with which `alexnet-jax` is installed."""

import importlib.util
import tomllib
from importlib import metadata
from pathlib import Path

from alexnet_jax.errors import UsageError

DISTRIBUTION = "alexnet-jax"
# The modules that an extra of pyproject.toml brings, and what needs them.
EXTRAS = {
    "pages": ("matplotlib", "jinja2", "scipy"),
    "tensorboard": ("tensorboardX",),
    "digits": ("sklearn",),
    "heic": ("pillow_heif",),
}
_CHECKOUT = Path(__file__).parents[1]


def require(extra: str, what: str) -> None:
    """Check that an extra is installed, before work that needs it.

    Args:
      extra: a name of `EXTRAS`.
      what: that needs it, for the message.

    Raises:
      UsageError: naming what is missing and how it is installed.
    """
    gone = missing(extra)
    if gone:
        raise UsageError(f"{what} needs {' and '.join(gone)}: {install(extra)}")


def missing(extra: str) -> list[str]:
    """Return the modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if importlib.util.find_spec(module) is None]


def install(extra: str = "") -> str:
    """Return the command that installs an extra; without one: what every user needs."""
    try:
        metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:  # a checkout that was not installed
        return "pip install -r requirements.txt"
    return f'pip install "{DISTRIBUTION}[{extra}]"' if extra else f"pip install {DISTRIBUTION}"


def requirements() -> list[str]:
    """Return what this package needs, as pip writes it; what an extra brings with `; extra == "name"`."""
    path = _CHECKOUT / "pyproject.toml"
    if not path.is_file():
        return metadata.requires(DISTRIBUTION) or []
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    brought = [
        f'{requirement}; extra == "{extra}"'
        for extra, needed in project["optional-dependencies"].items()
        for requirement in needed
    ]
    return [*project["dependencies"], *brought]
