"""Configs small enough to be measured in a test."""

from typing import Any

from ml_collections import ConfigDict

from configs import digits


def tiny() -> Any:
    """Return a config with two fully connected layers, which is soon compiled."""
    config = digits.get_config()
    config.data.batch_size, config.data.crop = 4, 8
    config.model = ConfigDict(
        {"architecture": "fully_connected", "classes": 10, "hidden": (15,), "activation": "relu",
         "compute_dtype": "float32"}
    )  # fmt: skip
    config.mesh.data = config.mesh.model = 1
    return config


def small() -> Any:
    """Return the config of the paper's net, narrow."""
    config = digits.get_config()
    config.data.batch_size = 4
    config.model.width = 0.0625
    config.mesh.data = config.mesh.model = 1
    return config
