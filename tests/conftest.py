"""What all tests share: four simulated devices, and where the real data lies."""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = "cpu"
# One program is compiled once in a session of tests, however many tests run it.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="alexnet_tests_")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
# Under a shell that runs the tests in the background the programs they start would ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import pytest
from ml_collections import ConfigDict

from configs import digits
from tests.helpers import small_digits


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that $ALEXNET_DATA names, with CIFAR-10 and photographs."""
    folder = os.environ.get("ALEXNET_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data: ALEXNET_DATA names no folder")
    return Path(folder).absolute()


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data folder with the digits prepared."""
    from alexnet_jax.data import prepare

    config = digits.get_config()
    config.data.dir = str(tmp_path_factory.mktemp("tfds"))
    prepare.prepare(config, "digits")
    return config.data.dir


@pytest.fixture
def digits_config(digits_folder: str) -> ConfigDict:
    """The digits config cut down to 12 steps on a 1x2 mesh."""
    return small_digits(digits_folder)
