"""What the comparisons with PyTorch share."""

from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def torch_nets() -> ModuleType:
    """The nets in PyTorch; skips where it is not installed."""
    return pytest.importorskip("tests.reference.torch_nets", reason="PyTorch is not installed")
