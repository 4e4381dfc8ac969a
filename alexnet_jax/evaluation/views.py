"""Probabilities of a net for whole images, by the centre view or the paper's ten (section 4.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from alexnet_jax.data.augment import views_of
from alexnet_jax.evaluation.metrics import log_softmax
from alexnet_jax.model import inputs, network, sharding
from alexnet_jax.model.inputs import Normalization
from alexnet_jax.model.specs import Architecture

# Averaged softmax probabilities (B, classes) of whole uint8 images (B, S, S, C) on the mesh.
Predictor = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True, eq=False)  # arrays neither hash nor compare to one truth: a net is itself alone
class PlacedNet:
    """Hold a net, its parameters on the devices of a mesh, and how it reads images.

    Attributes:
      architecture: the table of its layers.
      mesh: the devices, as `sharding.make_mesh` gives them.
      normalization: what is subtracted from an image, and what it is divided by.
      size: S, the side in pixels of the whole images of which views are cut.
      mean: float32, what `inputs.mean_array` gives, on every device of the mesh.
      params: {layer: {'kernel', 'bias'}}, float32, sharded over the mesh.
    """

    architecture: Architecture
    mesh: Mesh
    normalization: Normalization
    size: int
    mean: jax.Array
    params: Any

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.architecture.name})"


def view_probabilities(
    architecture: Architecture,
    mesh: Mesh,
    normalization: Normalization,
    params: Any,
    image: jax.Array,
    mean: jax.Array,
    view: tuple[Any, Any, Any],
) -> jax.Array:
    """Return softmax probabilities (B, classes) of one view (top, left, flip) of images (B, S, S, C)."""
    x = inputs.normalise(inputs.view(image, *view, architecture.crop), mean, normalization)
    logits = network.forward(architecture, mesh, params, x)[architecture.logits]
    return jnp.exp(log_softmax(logits))


@lru_cache(32)
def _compiled(architecture: Architecture, mesh: Mesh, normalization: Normalization) -> Callable[..., Any]:
    """Return `view_probabilities` of (params, image, mean, view), compiled once for all who ask."""
    return jax.jit(
        partial(view_probabilities, architecture, mesh, normalization),
        compiler_options=sharding.compiler_options(architecture, mesh),
    )


def predictor(
    architecture: Architecture,
    mesh: Mesh,
    normalization: Normalization,
    mean: jax.Array,
    size: int,
    views: int,
) -> Callable[[Any, jax.Array], jax.Array]:
    """Return a function of (params, images) to probabilities (B, classes), averaged over the views.

    One compiled program serves all views, as their offsets are an argument of it.

    Args:
      architecture: the net.
      mesh: on which parameters and images lie.
      normalization: as the net was trained with.
      mean: what `inputs.mean_array` gives, on the mesh.
      size: S, the side in pixels of the images, uint8 (B, S, S, C).
      views: 1, the centre, or 10.
    """
    one = _compiled(architecture, mesh, normalization)
    offsets = views_of(views, size, architecture.crop)
    in_turn = sharding.must_run_in_turn(mesh)

    def probabilities(params: Any, image: jax.Array) -> jax.Array:
        total = jnp.zeros(())
        for view in offsets:
            total = total + one(params, image, mean, view)
            if in_turn:
                jax.block_until_ready(total)
        return total / len(offsets)

    return probabilities
