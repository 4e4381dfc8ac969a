"""Trains in several processes on this machine and watches them: where one dies, all end.

  python launch/local.py --processes=4 --config=configs/imagenet.py [what else alexnet_jax.main train takes]

One process drives all GPUs of a machine by itself (`python -m alexnet_jax.main --config=...`) and is the
plain choice there. Several are for trying a cluster's way on one machine, and where one process cannot feed
all GPUs: each gets its equal share of those that nvidia-smi lists (of CUDA_VISIBLE_DEVICES, where it is set).
On a CPU, XLA_FLAGS=--xla_force_host_platform_device_count=2 gives each process two simulated devices.

DRY_RUN=1 prints what would start. Exit code: 0; 1 when a process failed or was killed; 2 for a wrong use;
130 and 143 after an orderly stop of all of them by SIGINT or SIGTERM, which are passed on.
"""

import ctypes
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

GRACE_SECONDS = 45  # in which the others end by themselves after the death of one, before they are killed
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux: the processes do not outlive this one


def main(arguments: list[str]) -> int:
    """Run the processes; return the exit code."""
    flag = next((a for a in arguments if a.startswith("--processes=")), "")
    number = flag.partition("=")[2]
    rest = [a for a in arguments if a != flag]
    if not number.isdecimal() or int(number) < 1 or not any("--config" in a for a in rest):
        print(
            "launch/local.py: type launch/local.py --processes=N --config=configs/X.py [...]", file=sys.stderr
        )
        return 2
    count = int(number)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    shares = gpu_shares(count)
    if shares is None:
        print(f"launch/local.py: the GPUs do not divide by --processes={count}", file=sys.stderr)
        return 2
    commands = []
    for process in range(count):
        own = {"CUDA_VISIBLE_DEVICES": shares[process]} if shares else {}
        spec = [f"--coordinator=localhost:{port}", f"--processes={count}", f"--process={process}"]
        commands.append((own, [sys.executable, "-m", "alexnet_jax.main", *rest, *spec]))
    if os.environ.get("DRY_RUN"):
        for own, command in commands:
            print("would start:", *[f"{k}={v}" for k, v in own.items()], shlex.join(command))
        return 0
    return watch(commands)


def gpu_shares(count: int) -> list[str] | None:
    """Return CUDA_VISIBLE_DEVICES of each process; empty without GPUs, None where they do not divide."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name for name in visible.split(",") if name]
    if not names and shutil.which("nvidia-smi"):
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True
        )
        names = listed.stdout.split() if listed.returncode == 0 else []
    if not names:
        return []
    share = len(names) // count
    return (
        None if len(names) % count else [",".join(names[i * share : i * share + share]) for i in range(count)]
    )


def watch(commands: list[tuple[dict[str, str], list[str]]]) -> int:
    """Start the commands and end them all when one ends badly; return the exit code."""
    running = start(commands)

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in running:
            if process.poll() is None:
                process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    failed = wait(running)
    if failed is None:
        failed = next((process.returncode for process in running if process.returncode), 0)
    return failed if failed in (0, 2, 130, 143) else 1


def start(commands: list[tuple[dict[str, str], list[str]]]) -> list[subprocess.Popen[bytes]]:
    """Start the commands, each with its own variables; they end when this process dies."""
    parent = os.getpid()

    def follow_the_parent() -> None:
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    # Sessions of their own: a terminal's Ctrl-C reaches them once, from here.
    return [
        subprocess.Popen(
            command, env={**os.environ, **own}, start_new_session=True, preexec_fn=follow_the_parent
        )
        for own, command in commands
    ]


def wait(running: list[subprocess.Popen[bytes]]) -> int | None:
    """Wait for the processes; return the exit code of the first that failed, None where none did."""
    deadline = failed = None
    while any(process.poll() is None for process in running):
        for number, process in enumerate(running):
            code = process.poll()
            if failed is None and code not in (None, 0, 130, 143):
                failed, deadline = code, time.monotonic() + GRACE_SECONDS
                print(f"launch/local.py: process {number} {ending(code)}; ending the others", file=sys.stderr)
        if deadline is not None and time.monotonic() > deadline:
            for process in running:
                process.kill()
            deadline = None
        time.sleep(0.2)
    return failed


def ending(code: int | None) -> str:
    """Return how a process with this return code ended, in words."""
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
