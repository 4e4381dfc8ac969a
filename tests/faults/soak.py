"""A soak: hours of digits runs that are killed, stopped, starved of disk, damaged and moved to other devices.

  python -m tests.faults.soak FOLDER --data=DIR --minutes=150

DIR holds the prepared digits. What happened and what was measured is appended to FOLDER/log.jsonl; the same
command continues there, with other dice, and draws FOLDER/soak.svg from all of it at its end. It stops at the
first check that fails, exit code 1, and leaves the run that failed.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alexnet_jax.workdir import manifest
from tests.faults import injections
from tests.faults.injections import INT, KILL, STEPS, TERM

SAMPLE_SECONDS = 1.0
DEVICES, DEVICES_FLAG = (1, 2, 4), "--xla_force_host_platform_device_count"
MOMENTS = (injections.starting_up, injections.stepping, injections.evaluating, injections.saving)
MEASURES = {"memory": "MiB", "open files": "", "threads": "", "disk": "MiB"}


class Soak:
    """Hold the folder, the log, and the dice."""

    def __init__(self, folder: Path, data: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.data, self.log = folder, data, folder / "log.jsonl"
        before = lines(self.log)
        self.before = before[-1]["seconds"] if before else 0.0  # seconds of earlier pieces
        self.started = time.monotonic()
        self.dice = random.Random(len(before))
        self.run, self.errors = folder / "run", folder / "errors"

    def write(self, kind: str, **values: Any) -> None:
        """Append a line to the log."""
        seconds = round(self.before + time.monotonic() - self.started, 1)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"seconds": seconds, "kind": kind, **values}) + "\n")

    def start(self, workdir: Path, devices: int, wrapped: Callable[[list[str]], list[str]] = list) -> Any:
        """Start a run on simulated devices, all of which take part of each batch."""
        command = injections.command(self.data, workdir, f"--config.mesh.data={devices}")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))} | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{DEVICES_FLAG}={devices}",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }
        (self.folder / "cache").mkdir(exist_ok=True)
        with self.errors.open("wb") as file:
            return subprocess.Popen(
                wrapped(command),
                cwd=injections.ROOT,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=file,
                process_group=0,
            )

    def wait(self, process: Any) -> int:
        """Wait for the end of a run and measure it meanwhile."""
        while process.poll() is None:
            if sample := measure(process.pid, self.folder):
                self.write("sample", **sample)
            time.sleep(SAMPLE_SECONDS)
        return int(process.returncode)

    def signal(self, number: int, devices: int) -> None:
        """Send a signal at some moment of a run."""
        process = self.start(self.run, devices)
        self.dice.choice(MOMENTS)(process, self.run, self.errors)
        sent = injections.hit(process, number)
        self.check(self.wait(process) in ({-number, 128 + number} if sent else {0}) | {0}, f"signal {number}")

    def fill_the_disk(self, devices: int) -> None:
        """Run on a disk that has room for part of a checkpoint more."""
        disk = self.folder / "disk"
        disk.mkdir(exist_ok=True)
        room = tree_size(self.run) // 1024 + self.dice.randrange(200, 2000)

        def wrapped(command: list[str]) -> list[str]:
            inside = " ".join(command).replace(str(self.run), f"{disk}/run")
            script = f"""
                mount -t tmpfs -o size={room}k none {disk} && cp -r {self.run} {disk}/run || exit 77
                {inside}
                code=$?
                mount -o remount,size=1g {disk}; rm -rf {self.run}; cp -r {disk}/run {self.run}
                exit $code
            """
            return ["unshare", "--map-root-user", "--mount", "bash", "-c", script]

        if not (self.run / "config.json").exists():
            return
        code = self.start(self.run, devices, wrapped).wait()  # not measured: bash comes before it
        text = self.errors.read_text()
        self.check(code in (0, 1), f"full disk: {text[-500:]}")
        self.check(
            code == 0 or text.splitlines()[-1].startswith("alexnet_jax: "), f"last line: {text[-500:]}"
        )

    def damage(self, devices: int) -> None:
        """Flip a bit of the newest checkpoint where there is an older one; the next start must say so."""
        steps = manifest.steps(self.run / "checkpoints")
        if len(steps) < 2:
            return
        newest = self.run / "checkpoints" / str(steps[-1])
        files = [path for path in newest.rglob("*") if path.is_file() and path.stat().st_size]
        victim = self.dice.choice(sorted(files))
        content = bytearray(victim.read_bytes())
        content[self.dice.randrange(len(content))] ^= 1 << self.dice.randrange(8)
        victim.write_bytes(content)
        process = self.start(self.run, devices)
        injections.until_reported(process, self.errors, b"workdir: ")
        injections.hit(process, KILL)
        self.wait(process)
        self.check(f"checkpoint {steps[-1]} is damaged and not used" in self.errors.read_text(), f"{victim}")

    def check(self, holds: bool, what: str) -> None:
        """Log that something was checked; end the soak where it does not hold."""
        self.write("check", what=what if not holds else what[:60], holds=holds)
        if not holds:
            sys.exit(f"the soak stops: {what}")

    def whole(self) -> None:
        """Check that the newest complete checkpoint is as it was written."""
        steps = manifest.steps(self.run / "checkpoints")
        if steps:
            corruption = manifest.find_corruption(self.run / "checkpoints" / str(steps[-1]))
            self.check(corruption is None, f"newest checkpoint: {corruption}")

    def undisturbed(self, devices: int) -> Path:
        """Return the run that nothing disturbs, made once for each number of devices."""
        folder = self.folder / f"undisturbed{devices}"
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            self.check(self.wait(self.start(folder, devices)) == 0, f"undisturbed run on {devices}")
            (folder / "done").touch()
        return folder

    def round(self) -> None:
        """Disturb one run until it ends, and compare it with the one that nothing disturbs."""
        shutil.rmtree(self.run, ignore_errors=True)
        devices = {self.dice.choice(DEVICES)}
        now = next(iter(devices))
        faults: Counter[str] = Counter()
        for _ in range(self.dice.randrange(2, 6)):
            fault = self.dice.choice(("kill", "term", "int", "disk", "damage", "devices"))
            faults[fault] += 1
            self.write("fault", what=fault, devices=now)
            if fault == "devices":
                now = self.dice.choice([count for count in DEVICES if count != now])
                devices.add(now)
            elif fault == "disk":
                self.fill_the_disk(now)
            elif fault == "damage":
                self.damage(now)
            else:
                self.signal({"kill": KILL, "term": TERM, "int": INT}[fault], now)
            self.whole()
        self.check(self.wait(self.start(self.run, now)) == 0, f"the end: {self.errors.read_text()[-500:]}")
        if len(devices) == 1:
            other = self.undisturbed(now)
            equal = injections.same(injections.state(self.run, STEPS), injections.state(other, STEPS))
            self.check(equal, "the same bits as undisturbed")
            same = injections.validations(self.run) == injections.validations(other)
            self.check(same, "the same validation lines as undisturbed")
        else:
            steps = [line["step"] for line in injections.validations(self.run)]
            self.check(steps == sorted(set(steps)) and steps[-1] == STEPS, "a validation line for each step")
        self.write("round", faults=dict(faults), devices=sorted(devices))


def measure(process: int, folder: Path) -> dict[str, float]:
    """Return memory (MiB), open files and threads of a process, and MiB of a run; {} where it has ended."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
        status = dict(line.split(":", 1) for line in text.splitlines())
        files = len(os.listdir(f"/proc/{process}/fd"))
        memory = int(status["VmRSS"].split()[0]) / 1024
    except (OSError, KeyError):
        return {}
    return {
        "memory": round(memory, 1),
        "open files": files,
        "threads": int(status["Threads"]),
        "disk": round(tree_size(folder / "run") / 2**20, 2),
    }


def tree_size(folder: Path) -> int:
    """Return the bytes of the files below a folder, some of which may be going."""
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.lstat().st_size
        except OSError:
            continue
    return size


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of the log."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def draw(folder: Path) -> None:
    """Draw what was measured over the hours of all pieces."""
    from matplotlib.figure import Figure

    samples = [line for line in lines(folder / "log.jsonl") if line["kind"] == "sample"]
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots(len(MEASURES), sharex=True)
    hours = [sample["seconds"] / 3600 for sample in samples]
    for axis, (name, unit) in zip(axes, MEASURES.items(), strict=True):
        axis.plot(hours, [sample[name] for sample in samples], ".", markersize=2)
        axis.set_ylabel(f"{name} ({unit})" if unit else name)
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("hours")
    figure.savefig(folder / "soak.svg")


def summary(folder: Path) -> str:
    """Return a line on all pieces: rounds, faults, checks, and the extremes of what was measured."""
    found = lines(folder / "log.jsonl")
    kinds = Counter(line["kind"] for line in found)
    faults = Counter(line["what"] for line in found if line["kind"] == "fault")
    samples = [line for line in found if line["kind"] == "sample"]
    most = ", ".join(
        f"{name} at most {max(s[name] for s in samples)} {unit}" for name, unit in MEASURES.items()
    )
    failed = sum(not line["holds"] for line in found if line["kind"] == "check")
    spread = ", ".join(f"{name} {number}" for name, number in sorted(faults.items()))
    return (
        f"{found[-1]['seconds'] / 3600:.2f} hours: {kinds['round']} rounds, {sum(faults.values())} faults "
        f"({spread}), {kinds['check']} checks, {failed} failed; {most}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--minutes", type=float, default=150)
    flags = parser.parse_args()
    # Here checkpoints are read alone, on as many devices as any was saved from.
    os.environ["JAX_PLATFORMS"], os.environ["XLA_FLAGS"] = "cpu", f"{DEVICES_FLAG}={max(DEVICES)}"
    soak = Soak(flags.folder.absolute(), flags.data)
    try:
        while time.monotonic() - soak.started < flags.minutes * 60:
            soak.round()
    finally:
        draw(soak.folder)
        print(summary(soak.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
