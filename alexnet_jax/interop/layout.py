"""Where each number of a net stands in a file: names, order of axes, order of channels.

PyTorch and Caffe put outputs before inputs and flatten feature maps as (C, H, W), we as (H, W, C); Caffe's
images are BGR; our leaves have the towers first, theirs are of the whole net, with the towers' channels one
after the other (PyTorch's and Caffe's groups).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alexnet_jax.errors import UsageError
from alexnet_jax.interop.formats.weights import Weights
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Architecture, Dense, Weighted

Params = dict[str, dict[str, np.ndarray]]  # our tree, on the host

# torchvision/models/alexnet.py: the layers' positions in its two nn.Sequential.
TORCHVISION_NAMES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}
# What else our own files may hold: the heads of LPIPS (an .npz), and the mean image where the input needs it.
LPIPS_HEADS = {f"lpips/lin{number}": f"lin{number}" for number in range(5)}
MEAN = "statistics.mean"


@dataclass(frozen=True)
class Leaf:
    """Describe one array of a net, in our tree and in a file.

    Attributes:
      layout: the file's, as in `formats.weights.Weights`.
      layer: whose it is.
      first: whether the layer reads the image.
      name: 'kernel' or 'bias'.
      shape: in our tree.
      reads: what the layer reads: (H, W, C) or (inputs,).
    """

    layout: str
    layer: Weighted
    first: bool
    name: str
    shape: tuple[int, ...]
    reads: tuple[int, ...]

    @property
    def key(self) -> str:
        """Return the name in the file."""
        if self.layout == "torch":
            return f"{TORCHVISION_NAMES[self.layer.name]}.{'weight' if self.name == 'kernel' else 'bias'}"
        if self.layout == "plain":
            return f"{self.layer.name}/{self.name}"
        return f"{self.layer.name}.{0 if self.name == 'kernel' else 1}"

    @property
    def file_shape(self) -> tuple[int, ...]:
        """Return the shape in the file."""
        shape = self._whole_shape
        if not self._outputs_first:
            return shape
        return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]

    @property
    def _outputs_first(self) -> bool:
        return self.layout in ("torch", "caffe")

    @property
    def _towers_last(self) -> bool:
        """Return whether the towers' shares lie along the last axis of the whole; else along the first."""
        return self.name == "kernel" and not (isinstance(self.layer, Dense) and self.layer.reads == "sum")

    @property
    def _whole_shape(self) -> tuple[int, ...]:
        """Return the shape for the whole net, inputs before outputs."""
        if len(self.shape) == 1:
            return self.shape
        towers, *inner = self.shape
        if self._towers_last:
            return (*inner[:-1], towers * inner[-1])
        return (towers * inner[0], *inner[1:])

    def from_file(self, array: np.ndarray) -> np.ndarray:
        """Return the file's array, of `file_shape`, as ours: float32 of `shape`."""
        if self.name == "kernel" and self._outputs_first:
            if array.ndim == 2 and len(self.reads) == 3:
                height, width, _ = self.reads
                array = array.reshape(len(array), -1, height, width).transpose(0, 2, 3, 1)
                array = array.reshape(len(array), -1)
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        if self.name == "kernel" and self.first and self.layout.startswith("caffe"):
            array = array[:, :, ::-1]  # BGR
        if self._towers_last:
            array = np.moveaxis(array.reshape(*array.shape[:-1], self.shape[0], self.shape[-1]), -2, 0)
        with np.errstate(over="ignore"):  # the caller looks for what is not finite
            return np.array(array.reshape(self.shape), np.float32)

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """Return our array as the file's, for the layouts that we write: 'torch' and 'plain'."""
        array = np.moveaxis(array, 0, -2) if self._towers_last else array
        array = array.reshape(self._whole_shape)
        if self.name == "kernel" and self._outputs_first:
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            if array.ndim == 2 and len(self.reads) == 3:
                height, width, _ = self.reads
                array = array.reshape(len(array), height, width, -1).transpose(0, 3, 1, 2)
                array = array.reshape(len(array), -1)
        return np.ascontiguousarray(array)


def leaves(architecture: Architecture, layout: str) -> Iterator[Leaf]:
    """Yield every array of a net, in the order of its layers.

    Raises:
      UsageError: torchvision has no name for a layer.
    """
    table = layer_shapes(architecture)
    reads: tuple[int, ...] = (architecture.crop, architecture.crop, architecture.channels)
    first = True
    for layer in architecture.layers:
        if isinstance(layer, Weighted):
            if layout == "torch" and layer.name not in TORCHVISION_NAMES:
                raise UsageError(f"torchvision's AlexNet has no {layer.name}: write this net to a .npz")
            yield Leaf(layout, layer, first, "kernel", table[layer.name].kernel, reads)
            yield Leaf(layout, layer, first, "bias", table[layer.name].bias, reads)
            first = False
        reads = table[layer.name].output


def to_arrays(architecture: Architecture, params: Params, layout: str) -> dict[str, np.ndarray]:
    """Return our parameters as a file has them.

    Args:
      architecture: the net.
      params: {layer: {'kernel', 'bias'}}, float32, on the host.
      layout: 'torch' for torchvision's names, 'plain' for ours.

    Raises:
      UsageError: torchvision has no name for a layer.
    """
    return {
        leaf.key: leaf.to_file(params[leaf.layer.name][leaf.name]) for leaf in leaves(architecture, layout)
    }


def from_arrays(architecture: Architecture, weights: Weights) -> Params:
    """Return our parameters from a file's arrays: of all layers, or of the first where the rest is missing.

    Raises:
      UsageError: a shape, a missing array or values that this net cannot have; the file is not named.
    """
    params: Params = {}
    missing: str | None = None
    for leaf in leaves(architecture, weights.layout):
        array = weights.arrays.get(leaf.key)
        if array is None:
            missing = missing or leaf.key
            if leaf.layer.name in params:
                raise UsageError(f"it has no {missing}")
            continue
        if missing:
            raise UsageError(f"it has {leaf.key} and no {missing}")
        if array.shape != leaf.file_shape:
            raise UsageError(
                f"{leaf.key} has the shape {array.shape}, and {architecture.name} needs {leaf.file_shape}"
            )
        if array.dtype.kind in "iub":
            raise UsageError(f"{leaf.key} holds whole numbers ({array.dtype})")
        params.setdefault(leaf.layer.name, {})[leaf.name] = values = leaf.from_file(array)
        if not np.isfinite(values).all():
            raise UsageError(f"{leaf.key} holds values that are not finite in float32")
    if not params:
        raise UsageError(f"it has no {missing}: it is not of {architecture.name}")
    return params
