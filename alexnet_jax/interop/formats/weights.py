"""What a file of weights holds, whatever its format."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

MAX_BYTES = 2**31  # of a file, and of what it unpacks to: eight times the paper's net
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


@dataclass(frozen=True)
class Weights:
    """Hold what a file of weights says.

    Attributes:
      layout: whose names, order of axes and order of channels: 'torch', 'caffe' (.caffemodel),
        'caffe_tensorflow' (the .npy dictionary) or 'plain' (.npz).
      arrays: by the file's own names; Caffe's first and second blob of a layer are 'conv1.0' and 'conv1.1'.
      note: in our own files the JSON that `convert` wrote, else ''.
      layers: in a .caffemodel the names of all layers, in its order.
    """

    layout: str
    arrays: dict[str, np.ndarray]
    note: str = ""
    layers: tuple[str, ...] = ()
