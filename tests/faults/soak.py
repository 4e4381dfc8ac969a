"""A soak: hours of digits runs that are killed, stopped, starved of disk, damaged and moved to other devices.

  python -m tests.faults.soak FOLDER --data=DIR --minutes=150

DIR holds the prepared digits. A piece, which is one call, is a row of docs/reliability/soak.jsonl, written
anew after each fault, so that little is lost where the piece is killed; `python -m tests.faults.page` makes
the page and the figure of all pieces. FOLDER holds the run that is being disturbed, which the next piece
resumes; where it is lost, or another machine made it, the next piece begins with a fresh run, and its row
says so. A piece ends after the fault in which its minutes are over, at SIGINT and SIGTERM, or at the first
check that fails: then its exit code is 1, and the run that failed stays; what was the matter is added to its
row by hand, as `cause`.
"""

import argparse
import contextlib
import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alexnet_jax import files, runtime
from alexnet_jax.workdir import manifest
from tests.faults import injections
from tests.faults.injections import INT, KILL, STEPS, TERM

ROWS = injections.ROOT / "docs" / "reliability" / "soak.jsonl"
SAMPLE_SECONDS, BIN_SECONDS = 1.0, 60.0  # of the samples of each minute the largest values are kept
DEVICES, DEVICES_FLAG = (1, 2, 4), "--xla_force_host_platform_device_count"
MOMENTS = (injections.starting_up, injections.stepping, injections.evaluating, injections.saving)


class Soak:
    """Hold the folder, the row of this piece, and the dice."""

    def __init__(self, folder: Path, data: str, minutes: float) -> None:
        machine = folder / "machine"  # on another one the bits are others
        if not machine.exists() or machine.read_text() != runtime.host():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            machine.write_text(runtime.host())
        self.folder, self.data, self.errors = folder, data, folder / "errors"
        self.most_seconds = minutes * 60
        self.process: subprocess.Popen[bytes] | None = None
        self.run, self.plan = folder / "run", folder / "round.json"
        self.before = injections.rows(ROWS)
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.started, self.dice = time.monotonic(), random.Random(when)
        self.faults: Counter[str] = Counter()
        self.row: dict[str, Any] = {
            "when": when,
            "commit": injections.commit(),
            "cores": len(os.sched_getaffinity(0)),
            **dict.fromkeys(("hours", "rounds", "restarts", "checks"), 0),
            "faults": {},
            "failed": [],
            "samples": [],  # hours, MiB of memory, open files, threads, MiB of disk
        }

    def seconds(self) -> float:
        """Return how long this piece has taken."""
        return time.monotonic() - self.started

    def over(self) -> bool:
        """Return whether the minutes of this piece are over."""
        return self.seconds() >= self.most_seconds

    def write(self) -> None:
        """Write the row of this piece as it is by now."""
        self.row |= {"hours": round(self.seconds() / 3600, 4), "faults": dict(self.faults)}
        ROWS.parent.mkdir(exist_ok=True)
        files.write_text(ROWS, "".join(json.dumps(row) + "\n" for row in (*self.before, self.row)))

    def sample(self, process: int) -> None:
        """Measure a process; keep the largest values of each minute."""
        values = measure(process, self.folder)
        if values is None:
            return
        samples, now = self.row["samples"], self.seconds() // BIN_SECONDS * BIN_SECONDS / 3600
        if samples and samples[-1][0] == round(now, 4):
            samples[-1][1:] = map(max, samples[-1][1:], values)
        else:
            samples.append([round(now, 4), *values])

    def start(self, workdir: Path, devices: int, wrapped: Callable[[list[str]], list[str]] = list) -> Any:
        """Start a run on simulated devices, all of which take part of each batch."""
        command = injections.command(self.data, workdir, f"--config.mesh.data={devices}")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))} | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{DEVICES_FLAG}={devices}",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }
        (self.folder / "cache").mkdir(exist_ok=True)
        self.row["restarts"] += 1
        with self.errors.open("wb") as file:
            self.process = subprocess.Popen(
                wrapped(command),
                cwd=injections.ROOT,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=file,
                process_group=0,
            )
        if wrapped is list:  # else bash comes before it
            threading.Thread(target=self._follow, args=(self.process,), daemon=True).start()
        return self.process

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """Measure a process until its end."""
        while process.returncode is None:
            self.sample(process.pid)
            time.sleep(SAMPLE_SECONDS)

    def end(self) -> None:
        """End what still runs, and write the row."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, KILL)
            self.process.wait()
        self.write()

    def signal(self, number: int, devices: int) -> None:
        """Send a signal at some moment of a run."""
        process = self.start(self.run, devices)
        self.dice.choice(MOMENTS)(process, self.run, self.errors)
        sent = injections.hit(process, number)
        self.check(process.wait() in ({-number, 128 + number} if sent else {0}) | {0}, f"signal {number}")

    def fill_the_disk(self, devices: int) -> bool:
        """Run on a disk that has room for part of a checkpoint more; return whether there was a run."""
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
            return False
        code = self.start(self.run, devices, wrapped).wait()
        text = self.errors.read_text()
        self.check(code in (0, 1), f"full disk: {text[-500:]}")
        self.check(
            code == 0 or text.splitlines()[-1].startswith("alexnet_jax: "), f"last line: {text[-500:]}"
        )
        return True

    def damage(self, devices: int) -> bool:
        """Flip a bit of the newest checkpoint where there is an older one; the next start must say so.

        Returns:
          Whether there was one.
        """
        steps = manifest.steps(self.run / "checkpoints")
        if len(steps) < 2:
            return False
        newest = self.run / "checkpoints" / str(steps[-1])
        found = [path for path in newest.rglob("*") if path.is_file() and path.stat().st_size]
        victim = self.dice.choice(sorted(found))
        content = bytearray(victim.read_bytes())
        content[self.dice.randrange(len(content))] ^= 1 << self.dice.randrange(8)
        victim.write_bytes(content)
        process = self.start(self.run, devices)
        injections.until_reported(process, self.errors, b"workdir: ", 3600)  # the machine may be busy
        injections.hit(process, KILL)
        process.wait()
        self.check(f"checkpoint {steps[-1]} is damaged and not used" in self.errors.read_text(), f"{victim}")
        return True

    def check(self, holds: bool, what: str) -> None:
        """Count that something was checked; end the soak where it does not hold."""
        self.row["checks"] += 1
        if not holds:
            self.row["failed"].append(what)
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
            self.check(self.start(folder, devices).wait() == 0, f"undisturbed run on {devices}")
            (folder / "done").touch()
        return folder

    def round(self) -> None:
        """Disturb one run until it ends, and compare it with the one that nothing disturbs."""
        if not self.plan.exists():
            shutil.rmtree(self.run, ignore_errors=True)
            now = self.dice.choice(DEVICES)
            self._plan(left=self.dice.randrange(2, 6), now=now, devices=[now])
        plan = json.loads(self.plan.read_text())
        left, now, devices = plan["left"], plan["now"], set(plan["devices"])
        for each in range(left, 0, -1):
            happened, fault = True, self.dice.choice(("kill", "term", "int", "disk", "damage", "devices"))
            if fault == "devices":
                now = self.dice.choice([count for count in DEVICES if count != now])
                devices.add(now)
            elif fault in ("disk", "damage"):
                happened = (self.fill_the_disk if fault == "disk" else self.damage)(now)
            else:
                self.signal({"kill": KILL, "term": TERM, "int": INT}[fault], now)
            self.whole()
            self.faults[fault] += happened
            self._plan(left=each - 1, now=now, devices=sorted(devices))
            self.write()
            if self.over():
                return
        self.check(self.start(self.run, now).wait() == 0, f"the end: {self.errors.read_text()[-500:]}")
        if len(devices) == 1:
            other = self.undisturbed(now)
            equal = injections.same(injections.state(self.run, STEPS), injections.state(other, STEPS))
            self.check(equal, "the same bits as undisturbed")
            same = injections.validations(self.run) == injections.validations(other)
            self.check(same, "the same validation lines as undisturbed")
        else:
            steps = [line["step"] for line in injections.validations(self.run)]
            self.check(steps == sorted(set(steps)) and steps[-1] == STEPS, "a validation line for each step")
        self.row["rounds"] += 1
        self.plan.unlink()
        self.write()

    def _plan(self, **values: Any) -> None:
        """Keep what is left of a round, for the piece that resumes it."""
        files.write_text(self.plan, json.dumps(values))


def measure(process: int, folder: Path) -> tuple[float, int, int, float] | None:
    """Return MiB of memory, open files, threads of a process, MiB of a run; None where it has ended."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
        status = dict(line.split(":", 1) for line in text.splitlines())
        opened = len(os.listdir(f"/proc/{process}/fd"))
        memory = int(status["VmRSS"].split()[0]) / 1024
    except (OSError, KeyError):
        return None
    return (
        round(memory, 1),
        opened,
        int(status["Threads"]),
        round(tree_size(folder / "run") / 2**20, 2),
    )


def tree_size(folder: Path) -> int:
    """Return the bytes of the files below a folder, some of which may be going."""
    size = 0
    for parent, _, names in os.walk(folder):  # a folder that has gone is none to it
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(parent, name)).st_size
    return size


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
    for number in (INT, TERM):  # under a shell that starts it in the background SIGINT would be ignored
        signal.signal(number, signal.default_int_handler)
    soak = Soak(flags.folder.absolute(), flags.data, flags.minutes)
    try:
        while not soak.over():
            soak.round()
    except KeyboardInterrupt:
        pass
    finally:
        soak.end()
        print(json.dumps({key: value for key, value in soak.row.items() if key != "samples"}))
    return bool(soak.row["failed"])


if __name__ == "__main__":
    sys.exit(main())
