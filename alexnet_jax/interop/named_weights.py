"""Files of weights by a net's name: those that come along in this package, and torchvision's published one.

Nothing is fetched but torchvision's file, when somebody asks for it by name.
"""

from pathlib import Path

from alexnet_jax import runtime
from alexnet_jax.interop.fetch import Published, fetch
from alexnet_jax.workdir import pretrained

# torchvision/models/alexnet.py, AlexNet_Weights.IMAGENET1K_V1.
PUBLISHED = {
    "torchvision": Published(
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "7be5be79", most=256 * 2**20
    )
}


def is_name(source: str) -> bool:
    """Return whether a text is a net's name and not a path; a file of that name is meant by ./NAME."""
    return source in PUBLISHED or source in pretrained.cards()


def weights_file(name: str) -> Path:
    """Return the file of a net's weights; torchvision's is fetched, once, into the user's cache.

    Args:
      name: for which `is_name` holds.

    Raises:
      UsageError, RunFailure: as `fetch`; the cache cannot be used.
    """
    if name in PUBLISHED:
        return fetch(PUBLISHED[name], runtime.user_cache("downloads"))
    return pretrained.FOLDER / f"{name}.safetensors"
