"""One run at a time in a workdir: held by a process, and released by its death."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.workdir.lock import is_locked, lock

HOLD = """
import pathlib, sys, time
from alexnet_jax.workdir.lock import lock
with lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_holds_it_until_it_is_killed(tmp_path):
    workdir, root = tmp_path / "runs" / "one", Path(__file__).parents[2]
    command = [sys.executable, "-c", HOLD, str(workdir)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            assert is_locked(workdir)
            half = workdir / ".config.json.a1.partial"
            half.write_text("what the other process is writing")
            with pytest.raises(UsageError, match=f"another run is using {workdir}: wait"), lock(workdir):
                pass
            assert half.exists()
        finally:
            holder.kill()
    with lock(workdir):
        assert is_locked(workdir)
        assert not half.exists()  # nobody writes it any more
    assert not is_locked(workdir)


def test_it_is_released_by_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), lock(tmp_path):
        raise ZeroDivisionError
    with lock(tmp_path), pytest.raises(UsageError, match="another run is using"), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass


def test_a_file_system_without_locks_is_no_other_run(tmp_path, monkeypatch):
    """As NFS without its lock service: who is told of another run waits for nobody."""

    def refuse(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    words = f"{tmp_path} cannot be locked.*No locks available"
    with pytest.raises(UsageError, match=words), lock(tmp_path):
        pass


def test_asking_makes_nothing(tmp_path):
    assert not is_locked(tmp_path / "none")
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match=f"the workdir {workdir} cannot be written: "), lock(workdir):
            pass
