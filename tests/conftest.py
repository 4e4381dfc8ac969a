"""What all tests share: four simulated devices, and where the real data lies."""

import os
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "allow")

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that $ALEXNET_DATA names, with CIFAR-10 and photographs."""
    folder = os.environ.get("ALEXNET_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data: ALEXNET_DATA names no folder")
    return Path(folder).absolute()
