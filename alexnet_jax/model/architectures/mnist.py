"""Fully connected nets, as they are used on MNIST."""

from alexnet_jax.model.specs import Activation, Dense, Layer, Table


def fully_connected(
    *,
    crop: int = 28,
    channels: int = 1,
    classes: int = 10,
    hidden: tuple[int, ...] = (15,),
    activation: str = "sigmoid",
) -> Table:
    """Return fully connected layers on the flat image, such as 784-15-10; activations are relu1, relu2, ...

    Initial standard deviations are 1 / sqrt(inputs), so that sigmoid units do not start saturated.

    Args:
      crop: the image's side in pixels.
      channels: the image's channels.
      classes: how many logits.
      hidden: units of each layer before the last.
      activation: 'relu', 'tanh' or 'sigmoid'.
    """
    rows: tuple[Layer, ...] = ()
    inputs = crop * crop * channels
    for number, units in enumerate(hidden, 1):
        rows += (Dense(f"fc{number}", units, inputs**-0.5, 0.0), Activation(f"relu{number}", activation))
        inputs = units
    return Table((*rows, Dense(f"fc{len(hidden) + 1}", classes, inputs**-0.5, 0.0, "sum")))
