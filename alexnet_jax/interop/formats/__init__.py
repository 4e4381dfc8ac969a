"""Files of weights, read and written without the programs that they come from.

Each reader gives numpy arrays by the names that stand in the file and changes nothing about them; what they
mean is `identify`'s matter. Files come from strangers: every length is checked against what is there, nothing
in a file is run, and a small file cannot make a reader take much memory or time. The bounds stand in
`alexnet_jax.arrays`, `unpickle`, `weights` and `caffe`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from alexnet_jax.arrays import BadFile
from alexnet_jax.errors import UsageError
from alexnet_jax.interop.formats import caffe, npy, pytorch, safetensors, weights
from alexnet_jax.interop.formats.weights import Weights
from alexnet_jax.progress import printable

_T = TypeVar("_T")
READERS: dict[str, Callable[[bytes], Weights]] = {
    "PyTorch": pytorch.read,
    "safetensors": safetensors.read,
    "Caffe": caffe.read,
    ".npy": npy.read_dictionary,
    ".npz": npy.read_npz,
}
ENDINGS = {  # for what does not show what it is; PyTorch's files need no ending
    ".pth": "PyTorch",
    ".pt": "PyTorch",
    ".pth.tar": "PyTorch",
    ".ckpt": "PyTorch",
    ".bin": "PyTorch",
    ".safetensors": "safetensors",
    ".caffemodel": "Caffe",
    ".npy": ".npy",
    ".npz": ".npz",
}
WRITERS: dict[str, Callable[[Path, Mapping[str, np.ndarray], str], None]] = {
    ".safetensors": safetensors.write,
    ".npz": npy.write_npz,
}


def read(path: Path) -> Weights:
    """Read a file; its content says what it is, and its ending where the content does not.

    Raises:
      UsageError: no such file, or none of `READERS` can read it; one line.
    """
    data = _content(path)
    known = _format(data) or next((f for end, f in ENDINGS.items() if path.name.lower().endswith(end)), None)
    if known:
        return _parsed(path, data, known, READERS[known])
    try:  # a .caffemodel begins with nothing of its own
        return _parsed(path, data, "Caffe", READERS["Caffe"])
    except UsageError:
        raise UsageError(
            f"{path} shows neither by its content nor by its ending what it is: {', '.join(READERS)} are read"
        ) from None


def _format(data: bytes) -> str | None:
    """Return which of `READERS` a file is for, by its first bytes."""
    # First: the length of the header may begin as a pickle does, which is no length of a file.
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        return "safetensors"
    if data[:4] == b"PK\x03\x04":
        return "PyTorch" if b"/data.pkl" in data else ".npz" if b".npy" in data else None
    if data[:6] == b"\x93NUMPY":
        return ".npy"
    return "PyTorch" if data[:1] == b"\x80" else None  # a pickle


def read_mean(path: Path) -> np.ndarray:
    """Read Caffe's mean of its training images.

    Args:
      path: a `.binaryproto` or an `.npy` (C, H, W) or (C,), BGR as Caffe has it.

    Returns:
      float32 RGB: (H, W, C), or (C,) for one value a channel.

    Raises:
      UsageError: as `read`, or an array that is no mean.
    """
    readers = {".binaryproto": caffe.read_mean, ".npy": npy.read_array}
    ending = next((ending for ending in readers if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise UsageError(f"{path}: its name should end in {' or '.join(readers)}")
    mean = _parsed(path, _content(path), ending, readers[ending]).astype(np.float32)
    mean = mean[0] if mean.ndim == 4 and mean.shape[0] == 1 else mean
    if mean.ndim not in (1, 3) or mean.shape[0] not in (1, 3) or not np.isfinite(mean).all():
        raise UsageError(f"{path} holds an array {mean.shape}, not a finite mean (C, H, W) or (C,)")
    return np.ascontiguousarray(np.moveaxis(mean[::-1], 0, -1))


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UsageError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
        if path.stat().st_size > weights.MAX_BYTES:
            raise UsageError(f"{path} has {path.stat().st_size:,} bytes: no AlexNet is as large as that")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


def _parsed(path: Path, data: bytes, kind: str, reader: Callable[[bytes], _T]) -> _T:
    try:
        return reader(data)
    except BadFile as error:
        raise UsageError(f"{path}: {printable(str(error)[:300])[:300]}") from None
    except Exception as error:  # damage leads a parser anywhere
        words = printable((str(error) or type(error).__name__)[:120])[:120]
        raise UsageError(f"{path} is damaged, or is not a {kind} file: {words}") from error
