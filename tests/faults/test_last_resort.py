"""Runs that hang, each in another part of its work, and get a signal: the last resort ends them."""

import re
from pathlib import Path

import pytest

from tests.faults import last_resort

pytestmark = pytest.mark.slow

STALLED = 4.0  # seconds, instead of the program's own, with which tests.faults.last_resort measures


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("part", last_resort.PARTS)
def test_a_run_that_hangs_ends_at_a_signal(
    part: str, digits_folder: str, cache: Path, tmp_path: Path
) -> None:
    ended = last_resort.hang(part, digits_folder, tmp_path, cache, STALLED)
    assert ended.code == 143, ended.text
    assert "SIGTERM: saving, then stopping; once more stops at once" in ended.text
    assert ended.text.endswith(f"\nalexnet_jax: SIGTERM: no progress for {STALLED:.0f} s: ended here\n")


def test_a_process_whose_peer_hangs_ends_at_a_signal(digits_folder: str, cache: Path, tmp_path: Path) -> None:
    ended = last_resort.stop_one_of_two(digits_folder, tmp_path, cache, STALLED, stopped=0)
    assert ended.code == 143, ended.text
    # JAX may have noticed before: it waits for the other's heartbeat for as long.
    why = r"SIGTERM: no progress for \d+ s: ended here|another process of this run has died"
    assert re.match(rf"alexnet_jax: process 1: ({why})", ended.line), ended.text
