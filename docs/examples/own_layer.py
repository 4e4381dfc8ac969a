"""A kind of layer and an architecture of one's own: a frozen dataclass and a table.

python docs/examples/own_layer.py
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import alexnet_jax
from alexnet_jax.model.rows import Here, Layer, Shapes
from alexnet_jax.model.specs import Activation, Conv, Dense, Pool, Table


@dataclass(frozen=True)
class Maxout(Layer):
    """The largest of each `pieces` neighbouring channels (Goodfellow et al., 2013)."""

    pieces: int

    def shapes(self, read: tuple[int, ...], towers: int) -> Shapes:
        """Return the shapes of the layer that reads (H, W, C)."""
        return Shapes((*read[:-1], read[-1] // self.pieces))

    def apply(self, x: jax.Array, weights: None, here: Here) -> jax.Array:
        """Return (B, H, W, C / pieces)."""
        return jnp.max(x.reshape(*x.shape[:-1], -1, self.pieces), axis=-1)


# Two towers, which meet at conv2: 'both' reads all channels, 'own' those of its tower.
TABLE = Table(
    (
        Conv("conv1", 16, kernel=5, std=0.1, bias=0.0, reads="both", pad=(2, 2)),
        Maxout("maxout1", pieces=2),
        Pool("pool1", "max", size=3, stride=2),
        Conv("conv2", 16, kernel=3, std=0.1, bias=0.0, reads="both"),
        Activation("relu2", "relu"),
        Dense("fc3", 10, std=0.1, bias=0.0, reads="sum"),
    ),
    towers=2,
)
model = alexnet_jax.create(TABLE, crop=32, channels=3)
variables = model.init(jax.random.key(0))
logits = model.apply(variables, jnp.zeros((4, 32, 32, 3)))

if __name__ == "__main__":
    print({name: layer["kernel"].shape for name, layer in variables["params"].items()}, logits.shape)
