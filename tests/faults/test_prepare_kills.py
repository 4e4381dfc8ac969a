"""A made-up ImageNet of real photographs and every awkward kind goes through `prepare` with kills."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data import made_up
from tests.faults.injections import count, record

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CLASSES, EACH = 20, 30


@pytest.fixture(scope="module")
def photographs(real_data: Path) -> list[bytes]:
    contents = []
    with tarfile.open(real_data / "caltech101_30.tar.xz", "r|*") as archive:
        for member in archive:
            if member.isreg() and member.name.endswith(".jpg"):
                file = archive.extractfile(member)
                assert file is not None
                contents.append(file.read())
            if len(contents) == CLASSES * EACH:
                break
    return contents


@pytest.fixture(scope="module")
def sources(photographs: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same images as ILSVRC's tars of tars, and as a compressed tar of class folders."""
    folder = tmp_path_factory.mktemp("imagenet")
    names, val = made_up.imagenet(CLASSES, EACH)
    train = dict(zip(names, photographs, strict=True))
    synset = next(iter(train)).split("/")[0]
    train |= {
        f"{synset}/{synset}_{name}": data for name, data in {**made_up.awkward(), **made_up.broken()}.items()
    }
    made_up.write_imagenet_tars(folder / "tars", train, val)
    packed = folder / "packed.tar.gz"
    files = {f"train/{n}": data for n, data in train.items()} | {f"val/{n}": data for n, data in val.items()}
    packed.write_bytes(made_up.tar_bytes(files, "w:gz"))
    return {"tars": folder / "tars", "packed": packed}


def start(source: Path, data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "alexnet_jax.main", "prepare", "--config=configs/imagenet.py"]
    command += [f"--source={source}", f"--config.data.dir={data}", "--config.data.format=raw"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def finish(source: Path, data: Path) -> float:
    started = time.monotonic()
    process = start(source, data)
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 0, errors
    return time.monotonic() - started


def content(data: Path, size: int = 256) -> dict[str, str]:
    folder = data / f"imagenet2012_{size}" / "1.0.0"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def alive(group: int) -> list[int]:
    """Return the processes of the session that `start` began."""
    processes = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == group and fields[0] != "Z":
            processes.append(int(path.parent.name))
    return processes


def stopped_while_it_writes(parent: int) -> int | None:
    """Find a worker process of `parent` that writes records, and stop it, so that it cannot end first."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    for child in map(int, children):
        try:
            if b"spawn_main" not in Path(f"/proc/{child}/cmdline").read_bytes():
                continue
            os.kill(child, signal.SIGSTOP)
            opened = [os.readlink(file) for file in Path(f"/proc/{child}/fd").iterdir()]
            if any(".partial/" in name for name in opened):
                return child
            os.kill(child, signal.SIGCONT)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


@pytest.mark.parametrize("name", ["tars", "packed"])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_kills_do_not_change_a_byte(
    sources: dict[str, Path], tmp_path: Path, name: str, sent: signal.Signals
) -> None:
    seconds = finish(sources[name], tmp_path / "whole")
    expected = content(tmp_path / "whole")
    data = tmp_path / "killed"
    dice = random.Random(name + sent.name)
    kills = 0
    for _ in range(count(2, 8)):
        process = start(sources[name], data)
        time.sleep(dice.uniform(0.3, 0.9) * seconds)
        if process.poll() is None:
            kills += 1
            if sent == signal.SIGKILL:
                process.kill()
            else:
                os.killpg(process.pid, sent)  # as a terminal does
        errors = process.communicate(timeout=60)[1]
        ready = (data / "imagenet2012_256" / "1.0.0").exists()  # it is visible only when it is whole
        if ready:
            assert content(data) == expected
        if sent == signal.SIGINT and process.returncode:
            # While Python itself ends, after all is done, the signal ends the process as it ends any.
            assert process.returncode == 130 or (ready and process.returncode == -sent), errors
            assert "Traceback" not in errors
        until = time.monotonic() + 20
        while time.monotonic() < until and alive(process.pid):
            time.sleep(0.1)
        assert not alive(process.pid)
    assert kills
    finish(sources[name], data)
    assert content(data) == expected
    assert not (data / "imagenet2012_256" / ".1.0.0.partial").exists()
    lines = (data / "imagenet2012_256" / "1.0.0" / "rejects.txt").read_text().splitlines()
    assert len(lines) == len(made_up.broken())
    record(
        f"{sent.name} to `prepare` ({'ImageNet tars' if name == 'tars' else 'a compressed tar'})",
        kills,
        "nothing half-made is visible, no process stays, the same command ends with the same bytes",
        f"as promised, {len(expected)} files compared by SHA-256",
    )


def test_a_worker_process_is_killed(sources: dict[str, Path], tmp_path: Path) -> None:
    """One line, exit code 1, and the same command resumes."""
    process = start(sources["tars"], tmp_path)
    victim = None
    until = time.monotonic() + 60
    while victim is None and time.monotonic() < until and process.poll() is None:
        victim = stopped_while_it_writes(process.pid)
        time.sleep(0.01)
    assert victim is not None, process.communicate(timeout=60)[1]
    os.kill(victim, signal.SIGKILL)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "a process ended with exit code -9" in errors
    assert "Traceback" not in errors
    finish(sources["tars"], tmp_path)
    record(
        "SIGKILL of one of `prepare`'s worker processes",
        1,
        "exit code 1 and one line; the same command resumes",
        "as promised",
    )


def test_a_full_disk(tmp_path: Path) -> None:
    """Noise needs more room than photographs do: it passes the check and fills the disk on the way."""
    noise = np.random.default_rng(0)
    for index in range(300):
        file = tmp_path / "source" / "ab"[index % 2] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (128, 128, 3), np.uint8)).save(file)
    small = tmp_path / "small"
    small.mkdir()
    command = f"{sys.executable} -m alexnet_jax.main prepare --config=configs/imagenet.py"
    command += f" --source={tmp_path}/source --config.data.size=128 --config.data.crop=128"
    command += " --config.data.quality=100 --config.data.dir="
    # A small disk needs a namespace of our own, which not every system gives.
    script = f"""
        mount -t tmpfs -o size=7m none {small} || exit 77
        {command}{small}
        echo "first: $?" >&2
        ls {small}/imagenet2012_128/1.0.0 >&2 && echo visible >&2
        mount -o remount,size=100m {small}
        {command}{small} || exit 1
        cp -r {small}/. {tmp_path}/filled
    """
    unshare = ["unshare", "--map-root-user", "--mount", "bash", "-c", script]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: a small disk cannot be made")
    done = subprocess.run(unshare, cwd=ROOT, capture_output=True, text=True, timeout=120)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("a small disk cannot be made here")
    assert done.returncode == 0, done.stderr
    assert "first: 1\n" in done.stderr
    assert "the disk is full; what is done stays" in done.stderr
    assert "Traceback" not in done.stderr
    assert "visible" not in done.stderr
    subprocess.run(f"{command}{tmp_path}/alone".split(), cwd=ROOT, check=True, capture_output=True)
    assert content(tmp_path / "filled", 128) == content(tmp_path / "alone", 128)
    record(
        "a full disk (tmpfs of 7 MB) during `prepare`",
        1,
        "exit code 1 and one line, nothing half-made is visible; with room the same command resumes",
        "as promised; the same bytes as on a large disk",
    )
