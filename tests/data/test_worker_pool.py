"""Work shared by real processes: results, progress, errors, and that none is left behind."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alexnet_jax.data import memory, worker_pool
from alexnet_jax.data.worker_pool import run_in_processes
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.progress import Progress

Report = Callable[[int], None]


def square(number: int, report_progress: Report) -> int:
    report_progress(number)
    return number**2


def wait_for(path: Path | None, report_progress: Report) -> tuple[Path | None, int]:
    while path is not None and not path.exists():
        time.sleep(0.01)
    return path, os.getpid()


def fail_at_three(number: int, report_progress: Report) -> int:
    if number == 3:
        raise UsageError("three is refused")
    return number


def die_at_three(number: int, report_progress: Report) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def blocked_signals(number: int, report_progress: Report) -> set[int]:
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, set())}


def report_for_ever(path: Path, report_progress: Report) -> None:
    path.write_text(str(os.getpid()))
    while True:
        report_progress(1)
        time.sleep(0.05)


def silent() -> Progress:
    return Progress("a test", None, "items", shown=False)


def children() -> list[int]:
    """The spawned processes of this one, without multiprocessing's tracker."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in listed if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_one_process_keeps_the_order() -> None:
    progress = silent()
    results = list(run_in_processes(iter(range(20)), square, 1, progress))
    assert results == [number**2 for number in range(20)]
    assert progress.done == sum(range(20))
    assert not children()


def test_each_task_is_done_once() -> None:
    results = list(run_in_processes(iter(range(50)), square, 3, silent()))
    assert sorted(results) == [number**2 for number in range(50)]


def test_results_come_as_they_are_done(tmp_path: Path) -> None:
    """A slow task does not keep back the quick ones, which the other process does."""
    gate = tmp_path / "gate"
    results = run_in_processes(iter([gate, None, None, None]), wait_for, 2, silent())
    quick = [next(results) for _ in range(3)]
    gate.touch()
    (slow,) = results
    assert [path for path, _ in quick] == [None, None, None]
    assert slow[0] == gate
    assert {pid for _, pid in quick} != {slow[1]}


def test_no_tasks() -> None:
    assert list(run_in_processes(iter(()), square, 2, silent())) == []
    assert not children()


def test_tasks_are_taken_when_they_are_wanted() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    for done, _ in enumerate(run_in_processes(tasks(), square, 2, silent()), 1):
        assert len(taken) <= done + 6  # two at work, two waiting for each, and the one just asked for


def test_what_a_task_raises_is_raised() -> None:
    with pytest.raises(UsageError, match="three is refused"):
        list(run_in_processes(iter(range(10)), fail_at_three, 2, silent()))
    assert not children()


def test_a_process_that_dies() -> None:
    with pytest.raises(RunFailure, match=r"a process ended with exit code -9 .* the same command resumes"):
        list(run_in_processes(iter(range(10)), die_at_three, 2, silent()))
    assert not children()


def test_an_error_of_the_tasks_ends_the_processes() -> None:
    def tasks() -> Iterator[int]:
        yield 1
        raise UsageError("the archive is damaged")

    with pytest.raises(UsageError, match="the archive is damaged"):
        list(run_in_processes(tasks(), square, 2, silent()))
    assert not children()


def test_closed_early_it_ends_the_processes() -> None:
    results = run_in_processes(iter(range(1000)), square, 2, silent())
    next(results)
    assert len(children()) == 2
    results.close()  # type: ignore[attr-defined]
    assert not children()


def test_a_process_that_is_stopped_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hears SIGTERM when it continues, which may be never."""
    monkeypatch.setattr(worker_pool, "END_SECONDS", 0.5)
    results = run_in_processes(iter(range(1000)), square, 2, silent())
    next(results)
    stopped = children()[0]
    os.kill(stopped, signal.SIGSTOP)
    while Path(f"/proc/{stopped}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)  # SIGTERM may not overtake it
    rescue = threading.Timer(60, os.kill, (stopped, signal.SIGCONT))
    rescue.start()
    started = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    rescue.cancel()
    assert time.monotonic() - started < 50
    assert not children()


def test_ctrl_c_is_for_the_first_process_alone() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    (blocked,) = run_in_processes(iter([0]), blocked_signals, 1, silent())
    assert signal.SIGINT in blocked
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before
    assert signal.SIGINT not in before


def test_processes_end_when_the_first_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.data import test_worker_pool as test\n"
        "if __name__ == '__main__':\n"
        "    tasks = iter([Path(sys.argv[1])])\n"
        "    list(test.run_in_processes(tasks, test.report_for_ever, 1, test.silent()))\n"
    )
    (tmp_path / "first.py").write_text(code)
    path = tmp_path / "pid"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    first = subprocess.Popen([sys.executable, str(tmp_path / "first.py"), str(path)], env=environment)
    until = time.monotonic() + 30
    while not (path.exists() and path.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    pid = int(path.read_text())
    assert alive(pid)
    first.kill()
    first.wait()
    until = time.monotonic() + 10
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(pid)


def test_where_processes_cannot_be_started_it_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their semaphores lie in /dev/shm, which a container may have as read-only."""

    def refused(context: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(memory, "MemoryBudget", refused)
    with pytest.raises(RunFailure, match="semaphores, which /dev/shm refuses: Read-only file system"):
        list(run_in_processes(iter([1]), square, 1, silent()))
    assert children() == []
