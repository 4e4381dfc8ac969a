"""What stands before JAX starts: the folder of compiled programs, and memory that stays."""

import os
import pwd
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from alexnet_jax import runtime
from alexnet_jax.config import resolve
from alexnet_jax.data import tfds_layout
from alexnet_jax.errors import RunFailure, UsageError
from configs import digits
from tests.helpers import small_digits

ROOT = Path(__file__).parents[1]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_folder_is_made_private_and_found_again(base: Path) -> None:
    before = os.umask(0)
    try:
        folder = runtime.compilation_cache()
    finally:
        os.umask(before)
    assert folder == str(base / "alexnet_jax")
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert runtime.compilation_cache() == folder


def test_without_xdg_it_lies_at_home(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert runtime.compilation_cache() == str(tmp_path / ".cache" / "alexnet_jax")


def test_without_a_home_it_is_a_line(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user is a number alone."""

    def nobody(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.delenv("HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(UsageError, match="no home folder for the cache: set HOME"):
        runtime.compilation_cache()
    data = digits.get_config().data
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    with pytest.raises(UsageError, match="this user has no home: set HOME or TFDS_DATA_DIR"):
        tfds_layout.dataset_folder(data)
    config = digits.get_config()
    config.data.dir = "~/data"
    with pytest.raises(UsageError, match=r"config\.data\.dir=~/data is nowhere"):
        resolve.absolute_paths(config)


def test_jax_own_variable_stands(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    assert runtime.compilation_cache() is None
    assert not base.exists()


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_may_write_is_refused(base: Path, mode: int) -> None:
    (base / "alexnet_jax").mkdir(parents=True)
    (base / "alexnet_jax").chmod(mode)
    with pytest.raises(UsageError, match="may be written by others: chmod 700"):
        runtime.compilation_cache()


def test_a_link_a_file_and_another_owner_are_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base.mkdir()
    (base / "target").mkdir()
    (base / "alexnet_jax").symlink_to(base / "target")
    with pytest.raises(UsageError, match="is not a folder"):
        runtime.compilation_cache()
    (base / "alexnet_jax").unlink()
    (base / "alexnet_jax").write_text("")
    with pytest.raises(UsageError, match="File exists"):
        runtime.compilation_cache()
    (base / "alexnet_jax").unlink()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UsageError, match="belongs to another user"):
        runtime.compilation_cache()


FAULTS = """
import resource, sys
if sys.argv[1] == "keep":
    from alexnet_jax import runtime
    assert runtime.retain_malloc_heap()
import jax, jax.numpy as jnp
f = jax.jit(lambda x: jnp.sort(jnp.sin(x) @ x.T, axis=0).sum())
x = jnp.ones((3000, 100))
assert f.lower(x).compile().memory_analysis().temp_size_in_bytes > 36e6
for _ in range(3):
    f(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
f(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_temporary_memory_is_faulted_in_once() -> None:
    def faults(word: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, word], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    if faults("plain") < 36e6 / 4096 / 2:
        pytest.skip("this C library keeps memory by itself")
    assert faults("keep") < 100


def train(workdir: Path, folder: str, cache: Path) -> subprocess.CompletedProcess[str]:
    config = small_digits(folder)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache)}
    given = [
        f"--config.data.dir={folder}",
        f"--config.data.batch_size={config.data.batch_size}",
        f"--config.model.width={config.model.width}",
        f"--config.train.epochs={config.train.epochs}",
        "--config.schedule.kind=constant",
        "--config.schedule.steps=()",
        f"--workdir={workdir}",
        "--profile=2",
    ]
    return subprocess.run(
        [sys.executable, "-m", "alexnet_jax.main", "train", "--config=configs/digits.py", *given],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_a_second_start_compiles_nothing_and_profile_traces_steps(digits_folder: str, tmp_path: Path) -> None:
    import jax

    cache = tmp_path / "cache"
    done = train(tmp_path / "first", digits_folder, cache)
    assert done.returncode == 0, done.stderr
    kept = {path.name for path in (cache / "alexnet_jax").iterdir() if path.name.endswith("-cache")}
    assert any(name.startswith("jit") for name in kept)
    done = train(tmp_path / "second", digits_folder, cache)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (cache / "alexnet_jax").iterdir() if path.name.endswith("-cache")} == kept
    # The trace of --profile=2 holds the training step twice.
    [trace] = (tmp_path / "second" / "profile").rglob("*.xplane.pb")
    profile = jax.profiler.ProfileData.from_file(str(trace))
    events = [event for plane in profile.planes for line in plane.lines for event in line.events]
    runs = {value for event in events for name, value in event.stats if name == "run_id"}
    assert len(runs) == 2


def test_threads_are_counted_and_end() -> None:
    before = threading.active_count()
    runtime.check_threads(50, "work")
    assert threading.active_count() == before


def test_too_few_threads_are_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RunFailure, match=r"work needs 5 threads, and only 3 can be started: allow"):
        runtime.check_threads(5, "work")
    assert not any(thread.is_alive() for thread in started)


def test_a_failed_program_does_not_wait_for_threads_that_wait_for_ever() -> None:
    program = """
import atexit, sys, threading
from alexnet_jax import runtime
from alexnet_jax.config import resolve
from alexnet_jax.data import tfds_layout
atexit.register(lambda: 1 / 0)
atexit.register(print, "cleaned up")
class Raising(threading.Thread):
    def join(self, timeout=None):
        raise OSError
Raising(target=threading.Event().wait, daemon={daemon}).start()
runtime.LEAVE_SECONDS = 0.1
runtime.leave(3)
print("returned")
sys.exit(4)
"""
    for daemon, code, printed in ((False, 3, "cleaned up\n"), (True, 4, "returned\ncleaned up\n")):
        done = subprocess.run(
            [sys.executable, "-c", program.format(daemon=daemon)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (code, printed), done.stderr
