"""AlexNet as Krizhevsky, Sutskever and Hinton trained it (NIPS 2012), in JAX and Flax.

  net = alexnet_jax.load("runs/digits")            # a trained net: a workdir or a file of weights
  model = alexnet_jax.create("alexnet_2012")       # a Flax Linen module

The names are loaded when they are first used: importing the package alone costs next to nothing.

Sections, figures and tables that a docstring cites without a title are of their paper, "ImageNet
classification with deep convolutional neural networks"; "the 2012 source" is their program.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alexnet_jax.library import AlexNet, Net, batches, create, load

__version__ = "1.0.0"
__all__ = ["AlexNet", "Net", "__version__", "batches", "create", "load"]


def __getattr__(name: str) -> Any:
    """Return a public name from `alexnet_jax.library`, which is imported now."""
    if name in __all__:
        return getattr(importlib.import_module("alexnet_jax.library"), name)
    raise AttributeError(f"module 'alexnet_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
