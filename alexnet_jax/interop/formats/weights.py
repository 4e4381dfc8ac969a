"""What a file of weights holds, whatever its format."""

from collections.abc import Collection
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

from alexnet_jax.arrays import BadFile

MAX_BYTES = 2**31  # of a file, and of what it unpacks to: eight times the paper's net
MAX_ARRAYS = 10_000  # with names of MAX_NAME_LENGTH; a net has some ten
MAX_NAME_LENGTH = 1000
MAX_TEXT_BYTES = 5 * 10**6  # of a header or a note; the most of it are the classes' names, ImageNet's 60 kB
MAX_SHARING = 4  # tensors may share their numbers: in all they have so many times the bytes of their file
MAX_SHOWN = 20  # names in a notice
MAX_SHOWN_LENGTH = 80
NOTE = "alexnet_jax"  # the name under which our own files say what their arrays are of
DTYPES = (  # PyTorch's storage, safetensors' name, numpy's type
    ("torch.DoubleStorage", "F64", np.float64),
    ("torch.FloatStorage", "F32", np.float32),
    ("torch.HalfStorage", "F16", np.float16),
    ("torch.BFloat16Storage", "BF16", jnp.bfloat16),
    ("torch.LongStorage", "I64", np.int64),
    ("torch.IntStorage", "I32", np.int32),
    ("torch.ShortStorage", "I16", np.int16),
    ("torch.CharStorage", "I8", np.int8),
    ("torch.ByteStorage", "U8", np.uint8),
    ("torch.BoolStorage", "BOOL", np.bool_),
)
# What wrappers put before every name of a net: DataParallel, torch.compile, Lightning, training scripts.
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "network.")
MAX_PREFIXES = 8  # one behind the other


@dataclass(frozen=True)
class Weights:
    """Hold what a file of weights says.

    Attributes:
      layout: whose names, order of axes and order of channels: 'torch', 'caffe' (.caffemodel),
        'caffe_tensorflow' (the .npy dictionary) or 'plain' (our own).
      arrays: by the file's own names; Caffe's first and second blob of a layer are 'conv1.0' and 'conv1.1'.
      note: in our own files the JSON that `convert` wrote, else ''.
      layers: in a .caffemodel the names of all layers, in its order.
      notices: what was chosen and what was left out, in lines.
    """

    layout: str
    arrays: dict[str, np.ndarray]
    note: str = ""
    layers: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass
class Collector:
    """Collect the arrays of a file.

    Attributes:
      max_bytes: what they may have in all, were they all written out.
      arrays: by name.
    """

    max_bytes: int
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, name: str, array: np.ndarray) -> None:
        """Take an array; raise BadFile for a name that is too long or known, and for too many arrays."""
        if len(name) > MAX_NAME_LENGTH:
            raise BadFile(f"an array in it has a name of {len(name):,} characters")
        if name in self.arrays:
            raise BadFile(f"it has {name[:80]} twice")
        self.max_bytes -= array.nbytes
        if len(self.arrays) == MAX_ARRAYS or self.max_bytes < 0:
            raise BadFile(f"it has more than {MAX_ARRAYS:,} arrays, or many that share their numbers")
        self.arrays[name] = array


def shared_prefix(names: Collection[str]) -> str:
    """Return those of `PREFIXES`, one behind the other, with which every name begins; '' for no names."""
    prefix = ""
    for _ in range(MAX_PREFIXES if names else 0):
        more = (p for p in PREFIXES if all(name.startswith(p, len(prefix)) for name in names))
        prefix += next(more, "")
    return prefix


def said(words: str, names: Collection[str]) -> tuple[str, ...]:
    """Return a line of names, or none where there are none."""
    shown = [name[:MAX_SHOWN_LENGTH] for name in list(names)[:MAX_SHOWN]]
    more = [f"and {len(names) - MAX_SHOWN:,} more"] if len(names) > MAX_SHOWN else []
    return (f"{words}: {', '.join([*shown, *more])}",) if names else ()
