"""Files of weights, read and written without the programs that they come from.

Each reader gives numpy arrays by the names that stand in the file and changes nothing about them; what they
mean is `identify`'s matter. Files come from strangers: every length is checked against what is there, nothing
in a file is run, and a small file cannot make a reader take much memory or time. The bounds stand in
`alexnet_jax.arrays`, `unpickle`, `weights` and `caffe`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_jax.arrays import BadFile
from alexnet_jax.errors import UsageError
from alexnet_jax.interop.formats import caffe, npy, pytorch, safetensors, weights
from alexnet_jax.interop.formats.weights import Weights
from alexnet_jax.progress import printable

READERS: dict[str, Callable[[bytes], Weights]] = {
    ".pth": pytorch.read,
    ".pt": pytorch.read,
    ".pth.tar": pytorch.read,
    ".safetensors": safetensors.read,
    ".caffemodel": caffe.read,
    ".npy": npy.read_dictionary,
    ".npz": npy.read_npz,
}
WRITERS: dict[str, Callable[[Path, Mapping[str, np.ndarray], str], None]] = {
    ".safetensors": safetensors.write,
    ".npz": npy.write_npz,
}


def read(path: Path) -> Weights:
    """Read a file by its suffix, one of `READERS`.

    Raises:
      UsageError: another suffix, no such file, or not what the suffix promises; one line.
    """
    found: Weights = _read(path, READERS)
    return found


def read_mean(path: Path) -> np.ndarray:
    """Read Caffe's mean of its training images.

    Args:
      path: a `.binaryproto` or an `.npy` (C, H, W) or (C,), BGR as Caffe has it.

    Returns:
      float32 RGB: (H, W, C), or (C,) for one value a channel.

    Raises:
      UsageError: as `read`, or an array that is no mean.
    """
    mean = _read(path, {".binaryproto": caffe.read_mean, ".npy": npy.read_array}).astype(np.float32)
    mean = mean[0] if mean.ndim == 4 and mean.shape[0] == 1 else mean
    if mean.ndim not in (1, 3) or mean.shape[0] not in (1, 3) or not np.isfinite(mean).all():
        raise UsageError(f"{path} holds an array {mean.shape}, not a finite mean (C, H, W) or (C,)")
    return np.ascontiguousarray(np.moveaxis(mean[::-1], 0, -1))


def _read(path: Path, readers: Mapping[str, Callable[[bytes], Any]]) -> Any:
    suffix = next((s for s in readers if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise UsageError(f"{path}: its name should end in {' or '.join(readers)}")
    try:
        if not path.is_file():
            raise UsageError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
        if path.stat().st_size > weights.MAX_BYTES:
            raise UsageError(f"{path} has {path.stat().st_size:,} bytes: no AlexNet is as large as that")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return readers[suffix](data)
    except BadFile as error:
        raise UsageError(f"{path}: {printable(str(error)[:300])[:300]}") from None
    except Exception as error:  # damage leads a parser anywhere
        words = printable((str(error) or type(error).__name__)[:120])[:120]
        raise UsageError(f"{path} is damaged, or is not a {suffix} file: {words}") from error
