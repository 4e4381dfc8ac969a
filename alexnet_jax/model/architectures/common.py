"""What the tables share: widths, optional rows, and checks of their arguments."""

from dataclasses import dataclass

from alexnet_jax.errors import UsageError
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Activation, Architecture, Layer


@dataclass(frozen=True)
class Scale:
    """A net's width as a share of the published one's, over its towers."""

    width: float
    towers: int

    def features(self, published: int) -> int:
        """Return how many channels or units a layer has that is `published` wide at full width.

        Raises:
          UsageError: they do not divide over the towers.
        """
        scaled = round(published * self.width)
        require(
            scaled >= self.towers and scaled % self.towers == 0,
            f"config.model.width={self.width} gives {scaled} of {published} features, not a multiple of "
            f"{self.towers} towers",
        )
        return scaled

    def std(self, published: float) -> float:
        """Return an initial standard deviation that lets a narrow net's signals start as large."""
        return published / float(self.width**0.5)

    def fc6_std(self, published: float, rows: tuple[Layer, ...], crop: int, channels: int) -> float:
        """Return `std` for the fully connected layer over `rows`, which was made for 6 x 6 positions."""
        table = layer_shapes(Architecture("this net", crop, channels, 0, self.towers, rows))
        return self.std(published) * 6 / table[rows[-1].name].output[0]


def present(*layers: Layer | None) -> tuple[Layer, ...]:
    """Return the rows without those that an argument left out."""
    return tuple(layer for layer in layers if layer is not None)


def relu(number: int) -> Layer:
    """Return the row of the ReLU behind the layer with weights of this number."""
    return Activation(f"relu{number}", "relu")


def conv1_overrun(crop: int) -> int:
    """Return by how many pixels conv1's last window (11 x 11, stride 4) runs over the edge: 3 for 224."""
    return -(crop - 11) % 4


def require(holds: bool, otherwise: str) -> None:
    """Raise UsageError with the message `otherwise` unless `holds`."""
    if not holds:
        raise UsageError(otherwise)
