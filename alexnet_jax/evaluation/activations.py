"""The values of a net's layers for images, by the layer's name.

A name is one of the net's own (`conv1` is the value before the ReLU, `relu1` after it), `prob`, one that
other tools give to the same value (`OTHER_NAMES`), or any of these with `/0` or `/1` appended: the channels
or units of that tower alone. The name that was asked with is the name of the answer.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from alexnet_jax.data.augment import center_offset
from alexnet_jax.errors import UsageError, WrongTypeError
from alexnet_jax.evaluation.views import PlacedNet
from alexnet_jax.model import inputs, network, sharding
from alexnet_jax.model.inputs import Normalization
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Activation, AdaptivePool, Architecture, Dropout, RMSNorm
from alexnet_jax.progress import printable

# torchvision's modules, as its users, Brain-Score and thingsvision name them. At use its dropouts change
# nothing, nor does its average pooling of 6 x 6 positions, so that both are known in nets without them. Its
# ReLUs overwrite what they read: what a hook keeps of `features.0` without a copy is `features.1`
# afterwards; here each name is the value that the module gives.
OTHER_NAMES = {
    "features.0": "conv1",
    "features.1": "relu1",
    "features.2": "pool1",
    "features.3": "conv2",
    "features.4": "relu2",
    "features.5": "pool2",
    "features.6": "conv3",
    "features.7": "relu3",
    "features.8": "conv4",
    "features.9": "relu4",
    "features.10": "conv5",
    "features.11": "relu5",
    "features.12": "pool5",
    "classifier.0": "avgpool",
    "classifier.1": "fc6",
    "classifier.2": "relu6",
    "classifier.3": "relu6",
    "classifier.4": "fc7",
    "classifier.5": "relu7",
    "classifier.6": "fc8",
}
PROBABILITIES = "prob"


def layer_names(architecture: Architecture) -> tuple[str, ...]:
    """Return all names that the net itself gives: its layers in order, and `prob` where it has classes."""
    table = tuple(layer.name for layer in architecture.layers)
    return (*table, PROBABILITIES) if architecture.has_classes else table


def embedding_layer(architecture: Architecture) -> str:
    """Return the layer whose values stand for an image: the last before the classes.

    In the paper's net it is relu7, the last hidden layer of 4,096 units (section 6.1); in a net without
    classes the last layer. Dropout, an average pooling that has nothing to average, and the normalisation of
    a probe, which changes no cosine, are passed over.
    """
    layers = architecture.layers[:-1] if architecture.has_classes else architecture.layers
    table, found = layer_shapes(architecture), ""
    read: tuple[int, ...] = ()
    for layer in layers:
        output = table[layer.name].output
        averages_nothing = isinstance(layer, AdaptivePool) and output == read
        if not (averages_nothing or isinstance(layer, Dropout | RMSNorm)):
            found = layer.name
        read = output
    return found


def in_words(architecture: Architecture, layer: str) -> str:
    """Return what the user reads of a layer: 'fc7 after its ReLU (relu7)', and 'pool5' as it is.

    Of another activation the name is left out: a sigmoid's is `relu1` too, its place in the paper's net.
    """
    for before, row in itertools.pairwise(architecture.layers):
        if row.name == layer and isinstance(row, Activation):
            after = f"ReLU ({layer})" if row.kind == "relu" else row.kind
            return f"{before.name} after its {after}"
    return layer


def shapes_of(architecture: Architecture, layers: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each layer's values for one image: (H, W, C) or (C,).

    Raises:
      UsageError: no layer, one twice, or one that the net does not have. WrongTypeError: not names.
    """
    known = layer_names(architecture)
    if not layers:
        raise UsageError(f"layers: none is named; this net has {', '.join(known)}")
    if wrong := [name for name in layers if not isinstance(name, str)]:
        raise WrongTypeError(f"layers are names such as 'fc7', not {type(wrong[0]).__name__}")
    if len(set(layers)) < len(layers):
        raise UsageError(f"layers: {','.join(layers)} names a layer twice")
    return {name: _shape_of(architecture, name, known) for name in layers}


def _shape_of(architecture: Architecture, name: str, known: Sequence[str]) -> tuple[int, ...]:
    layer, tower = _parse(architecture, name)
    if layer not in known:
        other = f" ({layer})" if layer != name.partition("/")[0] else ""
        raise UsageError(
            f"layers: {printable(name)!r}{other} is not a layer of this net; it has {', '.join(known)}"
        )
    shape = layer_shapes(architecture)[architecture.logits if layer == PROBABILITIES else layer].output
    if tower is None:
        return shape
    summed = architecture.has_classes and layer in (architecture.logits, PROBABILITIES)
    undivided = summed or architecture.towers < 2
    if undivided or tower not in ("0", "1"):
        some = "no towers" if undivided else "the towers 0 and 1"
        raise UsageError(f"layers: {printable(name)!r}: {layer} has {some} in this net")
    return (*shape[:-1], shape[-1] // architecture.towers)


def _parse(architecture: Architecture, name: str) -> tuple[str, str | None]:
    """Return the net's own name for `name`, and the tower it asks for."""
    layer, slash, tower = name.partition("/")
    layer = OTHER_NAMES.get(layer, layer)
    table = layer_shapes(architecture)
    if layer == "avgpool" and layer not in table and "pool5" in table and table["pool5"].output[:2] == (6, 6):
        layer = "pool5"
    return layer, tower if slash else None


def value_dtype(architecture: Architecture) -> np.dtype:
    """Return the type of the values: float32, or float64 for a net that computes so."""
    return np.dtype(np.float64 if architecture.compute_dtype == "float64" else np.float32)


def activations(
    net: PlacedNet, images: np.ndarray, layers: Sequence[str], batch_size: int
) -> dict[str, np.ndarray]:
    """Compute the values of layers for images in memory, centre view.

    Args:
      net: the net.
      images: uint8 (N, S, S, C): of the side that the net's images are prepared with (`net.size`), of which
        the centre is taken, or of the net's crop.
      layers: names.
      batch_size: how many images are computed at once, at most.

    Returns:
      {name: (N, H, W, C) or (N, C)}, float32 (float64 for a net that computes so).

    Raises:
      UsageError: an unknown layer, or images of another type or shape.
    """
    architecture = net.architecture
    table = shapes_of(architecture, layers)
    inputs.check_images(images, (net.size, architecture.crop), architecture.channels)
    compute = program(net, layers)
    rows = rows_at_once(net, batch_size, len(images))
    arrays = {
        name: np.empty((len(images), *shape), value_dtype(architecture)) for name, shape in table.items()
    }
    for start in range(0, len(images), rows):
        part = images[start : start + rows]
        padded = np.pad(part, [(0, rows - len(part)), (0, 0), (0, 0), (0, 0)])
        values = compute(on_mesh(net, padded))
        for name, target in arrays.items():
            target[start : start + len(part)] = np.asarray(values[name])[: len(part)]
    return arrays


def program(net: PlacedNet, layers: Sequence[str]) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """Return a function of images on the mesh (`on_mesh`) to the values of `layers`.

    It is compiled once for each shape; what the layers do not need is not computed.
    """
    fixed = (net.architecture, net.mesh, net.normalization, tuple(layers))
    return lambda image: _values(*fixed, net.params, net.mean, image)


def on_mesh(net: PlacedNet, images: np.ndarray) -> jax.Array:
    """Return images, uint8 (B, S, S, C) or (B, crop, crop, C), sharded over the mesh of the net."""
    placed: jax.Array = sharding.to_device({"image": images}, net.mesh)["image"]
    return placed


def rows_at_once(net: PlacedNet, batch_size: int, images: int) -> int:
    """Return how many rows a batch has: `batch_size`, or fewer where there are not so many images."""
    return sharding.padded_batch_size(min(batch_size, max(images, 1)), net.mesh)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _values(
    architecture: Architecture,
    mesh: Mesh,
    normalization: Normalization,
    layers: tuple[str, ...],
    params: Any,
    mean: jax.Array,
    image: jax.Array,
) -> dict[str, jax.Array]:
    corner = center_offset(image.shape[1], architecture.crop)
    batch = inputs.view(image, corner, corner, False, architecture.crop)
    del batch["offset"]  # a ready crop is the centre's too
    x = inputs.normalise(batch, mean, normalization)
    parsed = {name: _parse(architecture, name) for name in layers}
    sources = {architecture.logits if layer == PROBABILITIES else layer for layer, _ in parsed.values()}
    values = network.forward(architecture, mesh, params, x, wanted=tuple(sorted(sources)))
    by_name = {}
    for name, (layer, tower) in parsed.items():
        if layer == PROBABILITIES:
            value = jax.nn.softmax(values[architecture.logits].astype(value_dtype(architecture)))
        else:
            value = values[layer].astype(value_dtype(architecture))
        if tower is not None:
            share = value.shape[-1] // architecture.towers
            value = value[..., int(tower) * share : (int(tower) + 1) * share]
        by_name[name] = value
    return by_name
