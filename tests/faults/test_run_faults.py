"""Runs that are killed, stopped, starved of disk and doubled: real processes, real files."""

import functools
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from alexnet_jax import signals
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.faults import injections
from tests.faults.injections import INT, KILL, MOMENTS, STEPS, TERM, command, count, finish, hit, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(digits_folder: str, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(command(digits_folder, folder / "run"), folder / "errors", cache)
    assert finish(process) == 0, (folder / "errors").read_text()
    return folder / "run"


def is_undisturbed(workdir: Path, undisturbed: Path) -> bool:
    return injections.same(
        injections.state(workdir, STEPS), injections.state(undisturbed, STEPS)
    ) and injections.validations(workdir) == injections.validations(undisturbed)


def newest_step(workdir: Path) -> int:
    """Return the step of the newest complete checkpoint."""
    checkpoints = Checkpoints(workdir)
    try:
        return checkpoints.steps()[-1]
    finally:
        checkpoints.close()


def test_kills_do_not_change_the_result(
    digits_folder: str, cache: Path, undisturbed: Path, tmp_path: Path
) -> None:
    hits: Counter[str] = Counter()
    rounds, halves = count(1, 8), 0
    for number in range(rounds):
        workdir, errors = tmp_path / f"run{number}", tmp_path / "errors"
        for moment in MOMENTS:
            own = tmp_path / f"cache{number}" if moment is injections.compiling else cache
            process = start(command(digits_folder, workdir), errors, own)
            moment(process, workdir, errors)
            hits[moment.__name__] += hit(process, KILL)
            process.wait()
            left = injections.halves(workdir)
            halves += len(left)
            checkpoints = Checkpoints(workdir)
            newest = checkpoints.steps()
            assert not newest or checkpoints.find_corruption(newest[-1]) is None
            checkpoints.close()
        newest, left = Checkpoints(workdir).steps(), injections.halves(workdir)
        assert finish(start(command(digits_folder, workdir), errors, cache)) == 0, errors.read_text()
        text = errors.read_text()
        if newest:
            assert f"resumes at step {newest[-1]} of" in text or f"finished at step {newest[-1]}" in text
        for name in left:
            assert f"removed what an interrupted save left, checkpoints/{name}" in text
        assert injections.halves(workdir) == []
        assert not list(workdir.rglob(".*.partial"))
        assert is_undisturbed(workdir, undisturbed)
        shutil.rmtree(workdir)
    assert sum(hits.values()) >= 4 * rounds
    spread = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in hits.items())
    injections.record(
        f"SIGKILL of a training run ({spread})",
        sum(hits.values()),
        "the same command resumes from the newest complete checkpoint and ends bit for bit as undisturbed; "
        "half-written checkpoints are recognised and removed",
        f"{rounds} of {rounds} runs ended with the same bits in parameters, velocities and validation lines "
        f"after five kills each; {halves} half-written checkpoints removed",
    )


FROZEN = "--config.optimizer.per_layer={'conv1': {'frozen_from': 0.0}, 'fc6': {'frozen_from': 0.0}}"


def frozen_part_begun(workdir: Path) -> bool:
    return (workdir / "frozen").exists()


def frozen_part_complete(workdir: Path) -> bool:
    return (workdir / "frozen" / "manifest.json").exists()


def first_checkpoint_complete(workdir: Path) -> bool:
    return any((workdir / "checkpoints").glob("*/manifest.json"))


def test_kills_while_layers_that_are_never_trained_are_saved(
    digits_folder: str, cache: Path, tmp_path: Path
) -> None:
    """Before, while and after the frozen part is written, which is once in a run."""
    arguments = command(digits_folder, tmp_path / "undisturbed", FROZEN)
    assert finish(start(arguments, tmp_path / "errors", cache)) == 0
    hits = 0
    moments = (frozen_part_begun, frozen_part_complete, first_checkpoint_complete)
    rounds = count(1, 8)
    for number in range(rounds):
        workdir, errors = tmp_path / f"run{number}", tmp_path / "errors"
        for moment in moments:
            process = start(command(digits_folder, workdir, FROZEN), errors, cache)
            injections.wait_until(process, functools.partial(moment, workdir))
            time.sleep(number / 200)
            hits += hit(process, KILL)
            process.wait()
            for step in Checkpoints(workdir).steps():
                assert Checkpoints(workdir).find_corruption(step) is None
        assert finish(start(command(digits_folder, workdir, FROZEN), errors, cache)) == 0, errors.read_text()
        assert is_undisturbed(workdir, tmp_path / "undisturbed")
        parts = [injections.arrays(folder / "frozen") for folder in (workdir, tmp_path / "undisturbed")]
        assert injections.same(*parts)
        assert not list(workdir.rglob(".*.partial"))
        shutil.rmtree(workdir)
    assert hits == len(moments) * rounds
    injections.record(
        "SIGKILL of a run with frozen layers, before, while and after these are saved",
        hits,
        "no checkpoint without them; the same command ends bit for bit as undisturbed",
        f"{rounds} of {rounds} runs ended with the same bits, frozen layers included, after three kills each",
    )


WORKERS = ("--config.data.workers=2", "--config.data.resident=never")


def group_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the ids of the living processes in the process group of `process`."""
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(group) == process.pid and state != "Z":
            processes.append(int(folder.name))
    return processes


@pytest.mark.parametrize("number", [TERM, INT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_to_all_processes_of_a_run_stops_it_in_order(
    digits_folder: str, cache: Path, tmp_path: Path, number: int
) -> None:
    workdir, errors = tmp_path / "run", tmp_path / "errors"
    arguments = command(digits_folder, workdir, *WORKERS)
    process = start(arguments, errors, cache)
    injections.stepping(process, workdir, errors)
    assert len(group_of(process)) >= 3
    os.killpg(process.pid, number)
    assert finish(process) == 128 + number, errors.read_text()
    text = errors.read_text()
    assert f"stopped at step {newest_step(workdir)}" in text
    assert "Traceback" not in text, text
    assert "leaked" not in text, text
    checkpoints = Checkpoints(workdir)
    assert checkpoints.find_corruption(newest_step(workdir)) is None
    checkpoints.close()


def shared_memory_of(process: subprocess.Popen[bytes]) -> set[Path]:
    """Return the files of shared memory that the processes of a run hold; other tests may have others."""
    found = set()
    for number in group_of(process):
        lines = Path(f"/proc/{number}/maps").read_text().splitlines()
        found |= {Path(line.split(maxsplit=5)[5]) for line in lines if "/dev/shm/psm_" in line}
    return found


def test_worker_processes_end_with_the_run_that_was_killed(
    digits_folder: str, cache: Path, tmp_path: Path
) -> None:
    workdir, errors = tmp_path / "run", tmp_path / "errors"
    process = start(command(digits_folder, workdir, *WORKERS), errors, cache)
    injections.stepping(process, workdir, errors)
    assert len(group_of(process)) >= 3
    shared = shared_memory_of(process)
    assert shared
    assert hit(process, KILL)
    process.wait()
    until = time.monotonic() + 20
    while time.monotonic() < until and (group_of(process) or any(file.exists() for file in shared)):
        time.sleep(0.1)
    assert group_of(process) == []
    assert not [file for file in shared if file.exists()]


@pytest.mark.parametrize("number", [TERM, INT], ids=["SIGTERM", "SIGINT"])
def test_orderly_stops(
    digits_folder: str, cache: Path, undisturbed: Path, tmp_path: Path, number: int
) -> None:
    hits: Counter[str] = Counter()
    slowest, met = 0.0, []
    rounds, each = count(1, 4), 0
    # Where every change is tested the two signals share the moments; both meet the steps.
    moments = MOMENTS if injections.FULL else MOMENTS[:3] if number == TERM else MOMENTS[2:]
    while rounds:
        workdir, errors, stopped, ends = tmp_path / f"run{each}", tmp_path / "errors", 0, 0
        for moment in moments:
            own = tmp_path / f"cache{each}" if moment is injections.compiling else cache
            process = start(command(digits_folder, workdir), errors, own)
            moment(process, workdir, errors)
            sent = time.monotonic()
            if not hit(process, number):
                assert process.wait() == 0
                continue
            done = f'"step": {STEPS},' in injections.log(workdir)
            code = finish(process, 240)
            slowest = max(slowest, time.monotonic() - sent)
            text = errors.read_text()
            hits[moment.__name__] += 1
            met.append(f"{moment.__name__}: {code}, {text.splitlines()[-1:]}")
            assert "Traceback" not in text or moment is injections.starting_up, text
            if done and code in (0, -number):  # after the last step: the run is finished, not stopped
                stopped = newest_step(workdir)
                assert stopped == STEPS
                continue
            # Before Python itself has begun the signal ends the process as it ends any.
            assert code in ((128 + number, -number) if moment is injections.starting_up else (128 + number,))
            at = re.search(r"stopped at step (\d+);", text)
            if at:
                stopped = int(at[1])
                assert not stopped or newest_step(workdir) == stopped
                ends += 1
        assert finish(start(command(digits_folder, workdir), errors, cache)) == 0
        if stopped:
            words = "is finished at" if stopped == STEPS else "resumes at"
            assert f"{words} step {stopped} of" in errors.read_text()
        assert is_undisturbed(workdir, undisturbed)
        # A run may reach its end before a signal meets its loop: then another one is made.
        rounds, each = rounds - bool(ends), each + 1
        assert ends or each < 8, f"no signal met the loop: {met}"
    spread = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in hits.items())
    injections.record(
        f"{'SIGTERM' if number == TERM else 'SIGINT'} to a training run ({spread})",
        sum(hits.values()),
        f"a checkpoint of the very step, exit code {128 + number} (0 after the last step), resumption from "
        "there, bit for bit",
        f"all; the slowest took {slowest:.1f} s from the signal to the exit",
    )


def test_a_second_signal_stops_at_once(digits_folder: str, tmp_path: Path) -> None:
    times: list[float] = []
    # The first step takes so long that the second signal comes within it.
    slow = ("--config.model.width=1.0", "--config.data.batch_size=512")
    for number in range(20):
        if len(times) == count(1, 6):
            break
        workdir, errors = tmp_path / f"run{number}", tmp_path / "errors"
        process = start(command(digits_folder, workdir, *slow), errors, tmp_path / f"cache{number}")
        injections.until_reported(process, errors, b"workdir: ")
        time.sleep(0.1 * (number % 8))
        assert hit(process, TERM)
        injections.until_reported(process, errors, b"once more stops at once")
        time.sleep(signals.TWICE_SECONDS)
        sent = time.monotonic()
        again = hit(process, TERM)  # not where the first came before the first step, and has ended the run
        code = finish(process, 30)
        # Python itself, as it ends, lets a signal end the process as it ends any.
        assert code in (143, -TERM)
        times += [time.monotonic() - sent] if again and code == 143 else []
    assert len(times) == count(1, 6)
    assert max(times) < 5
    injections.record(
        "a second SIGTERM while the first is obeyed (compilation)",
        len(times),
        "the process ends at once, exit code 143",
        f"all; the slowest took {max(times):.2f} s",
    )


def test_two_runs_on_one_workdir(digits_folder: str, cache: Path, undisturbed: Path, tmp_path: Path) -> None:
    workdir, errors, other = tmp_path / "run", tmp_path / "errors", tmp_path / "other"
    first = start(command(digits_folder, workdir), errors, cache)
    tries = count(1, 5)
    try:
        injections.until_reported(first, errors, b"workdir: ")
        for _ in range(tries):
            hit(first, 19)  # SIGSTOP: it holds the workdir for as long as the second needs to start
            assert finish(start(command(digits_folder, workdir), other, cache)) == 2
            assert f"another run is using {workdir}" in other.read_text()
    finally:
        hit(first, 18)
    assert finish(first) == 0
    assert is_undisturbed(workdir, undisturbed)
    injections.record(
        "a second run on a workdir in use",
        tries,
        "the second is refused with exit code 2, the first is not disturbed",
        "all refused; the first ended bit for bit as undisturbed",
    )


def in_small_disk(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a mount namespace of its own, where it may mount a small disk."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: a small disk cannot be made")
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-c", script],
        cwd=injections.ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=_environment(tmp_path),
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("a small disk cannot be made here")
    return done


def _environment(tmp_path: Path) -> dict[str, str]:
    import os

    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    return kept | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path)}


def assert_ends_in_one_line(text: str, reason: str) -> None:
    """Check that the last line gives the reason, and that no library says anything of it."""
    *others, last = text.splitlines()
    assert re.fullmatch(
        rf"alexnet_jax: .* (cannot be written|cannot continue|cannot be read): {reason}", last
    ), text
    assert not [line for line in others if re.search(r"Traceback|Exception|Warning|alexnet_jax:|Errno", line)]
    assert reason not in "".join(others), text


def test_a_full_disk(digits_folder: str, undisturbed: Path, tmp_path: Path) -> None:
    """A disk that fills while the second, third, ... checkpoint is written."""
    one = sum(p.stat().st_size for p in (undisturbed / f"checkpoints/{STEPS}").rglob("*") if p.is_file())
    small = tmp_path / "small"
    small.mkdir()
    happened = []
    sizes = [int(one * factor) + 2**18 for factor in (1.5, 0.5, 1.1, 1.9, 1.3, 1.7)[: count(1, 6)]]
    for number, size in enumerate(sizes):
        run = " ".join(command(digits_folder, small / "run"))
        script = f"""
            mount -t tmpfs -o size={size} none {small} || exit 77
            {run} >/dev/null 2>{tmp_path}/errors
            echo "first: $?" >&2
            ls {small}/run/checkpoints/*/manifest.json >&2
            mount -o remount,size=200m {small}
            {run} >/dev/null || exit 1
            cp -r {small}/run {tmp_path}/filled{number}
        """
        done = in_small_disk(script, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "first: 1\n" in done.stderr, done.stderr
        assert_ends_in_one_line((tmp_path / "errors").read_text(), "No space left on device")
        kept = re.findall(r"checkpoints/(\d+)/manifest.json\n", done.stderr)
        if kept:
            assert f"resumes at step {kept[-1]} of" in done.stderr
        happened.append(kept[-1] if kept else "none")
        assert is_undisturbed(tmp_path / f"filled{number}", undisturbed)
    injections.record(
        "a full disk (tmpfs of 0.5 to 1.9 checkpoints) during training",
        len(sizes),
        "exit code 1 and one line, the last; the good checkpoint stays; with room the same command resumes "
        "bit for bit",
        f"all; checkpoint kept, by disk: {', '.join(happened)}",
    )


def test_too_few_files(digits_folder: str, cache: Path, undisturbed: Path, tmp_path: Path) -> None:
    """So few that the data cannot be read, or that no checkpoint can be written."""
    run, errors, ended = command(digits_folder, tmp_path / "run"), tmp_path / "errors", []
    numbers = (12, 9, 10, 11, 13, 14)[: count(1, 6)]
    for number in numbers:
        code = finish(start(["bash", "-c", f'ulimit -n {number}; exec "$@"', "bash", *run], errors, cache))
        assert code in (0, 1), errors.read_text()
        if code:
            assert_ends_in_one_line(errors.read_text(), "Too many open files")
            ended.append(number)
    assert ended
    assert finish(start(run, errors, cache)) == 0, errors.read_text()
    assert is_undisturbed(tmp_path / "run", undisturbed)
    injections.record(
        f"too few open files allowed during training ({min(numbers)} to {max(numbers)})",
        len(numbers),
        "exit code 1 and one line, the last; with more the same command resumes bit for bit",
        f"{len(ended)} ended so, {len(numbers) - len(ended)} to the end",
    )


def test_too_little_address_space(digits_folder: str, cache: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Where threads cannot be started, those that C++ has started are waited for in vain."""
    run, errors = command(digits_folder, tmp_path / "run"), tmp_path / "errors"
    sizes = (1_100_000, 1_050_000, 1_000_000, 1_150_000, 900_000)[: count(1, 5)]
    for size in sizes:
        code = finish(start(["bash", "-c", f'ulimit -v {size}; exec "$@"', "bash", *run], errors, cache))
        assert code == 1, errors.read_text()
        assert errors.read_text().splitlines()[-1].startswith("alexnet_jax: "), errors.read_text()
    assert finish(start(run, errors, cache)) == 0, errors.read_text()
    assert is_undisturbed(tmp_path / "run", undisturbed)
    injections.record(
        f"too little address space (ulimit -v of {min(sizes):,} to {max(sizes):,}) for a training run",
        len(sizes),
        "exit code 1 and a line; with more the same command trains bit for bit",
        "all",
    )


def test_a_read_only_workdir(digits_folder: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    run = " ".join(command(digits_folder, disk / "run"))
    script = f"""
        mount -t tmpfs -o size=9m none {disk} || exit 77
        mount -o remount,ro {disk} || exit 77
        {run} >/dev/null
        echo "first: $?" >&2
    """
    done = in_small_disk(script, tmp_path)
    assert "first: 2\n" in done.stderr, done.stderr
    assert f"the workdir {disk / 'run'} cannot be written: Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr
    injections.record(
        "a read-only workdir",
        1,
        "exit code 2 and one line, before anything is compiled",
        "as promised",
    )


def test_no_reader_unpickles() -> None:
    """`allow_pickle` stands nowhere with another value than False, and no module imports pickle."""
    for path in (injections.ROOT / "alexnet_jax").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"allow_pickle(?!=False)", text), path
        assert not re.search(
            r"^\s*(import|from) (pickle|cPickle|dill|joblib|shelve|marshal)\b", text, re.M
        ), path
        assert not re.search(r"(?<!\.)\b(eval|exec)\(", text), path
