"""Runs small enough for a test."""

from ml_collections import ConfigDict

from configs import digits

STEPS, STOP = 12, 5


def epochs(steps: int) -> float:
    """`steps` of the small run in epochs."""
    return steps * 32 / 1350


def small_digits(folder: str) -> ConfigDict:
    """The digits config on the data in `folder`, cut down to 12 steps on a 1x2 mesh."""
    config = digits.get_config()
    config.data.dir = folder
    config.data.batch_size = 32
    config.model.width = 0.0625
    config.train.epochs = epochs(STEPS)
    config.train.log_every_steps = 4
    config.schedule.kind, config.schedule.steps = "constant", ()
    config.mesh.data, config.mesh.model = 1, 2
    return config
