"""What all tests share: four simulated devices, and where the real data lies."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = "cpu"
# One program is compiled once, however many tests, workers and sessions of tests run it.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled")
)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
# Under a shell that runs the tests in the background the programs they start would ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from ml_collections import ConfigDict

from configs import digits
from tests.helpers import small_digits

# Tests that need the machine for themselves: they kill at chosen moments, count seconds or memory, or start
# processes that wait for each other. All others may run side by side.
ALONE = (
    "faults/test_last_resort.py",
    "faults/test_prepare_kills.py",
    "faults/test_run_faults.py",
    "launch/test_train_launch.py",
    "test_runtime.py",
    "test_signals.py",
    "training/test_processes.py",
)
# The longest of the others, which begin first: one that began last would leave all cores but one idle.
LONG = (
    "faults/test_hostile.py",
    "test_real_data.py",
    "test_package.py",
    "test_docs_notebook.py",
    "report/test_explorer.py",
    "training/test_loop.py",
    "inference/test_evaluate.py",
    "model/test_sharding.py",
)


def _name(path: Path) -> str:
    return path.relative_to(Path(__file__).parent).as_posix()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Read only the files of `ALONE` where the others' tests would be left out."""
    if config.option.markexpr.endswith(" and alone") and collection_path.name.startswith("test_"):
        return True if collection_path.suffix == ".py" and _name(collection_path) not in ALONE else None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `ALONE`, and put those of `LONG` first."""
    for item in items:
        if _name(item.path) in ALONE:
            item.add_marker(pytest.mark.alone)
    items.sort(key=lambda item: LONG.index(_name(item.path)) if _name(item.path) in LONG else len(LONG))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that $ALEXNET_DATA names, with CIFAR-10 and photographs."""
    folder = os.environ.get("ALEXNET_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data: ALEXNET_DATA names no folder")
    return Path(folder).absolute()


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """The package; its wheel may be built for another PyTorch, whose operators are then declared first."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # it is there
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    yield pytest.importorskip("torchvision")
    del library


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


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, digits_folder: str) -> Path:
    """A finished run of 12 steps on a 1x2 mesh; tests copy it before they change it."""
    from alexnet_jax.training import loop

    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert loop.train(small_digits(digits_folder), workdir) == 0
    return workdir
