"""An orderly stop: signals while Python is busy, the second one, and what the processes agree on."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alexnet_jax.training.stop import Stop

ROOT = Path(__file__).parents[2]
PROGRAM = """
import signal, sys, time
from alexnet_jax.training.stop import Stop
class Alone:
    def agreed_stop_signal(self, wanted):
        return wanted
with Stop(Alone()) as stop:
    print("ready", flush=True)
    while not stop.now():
        time.sleep(0.01)
    print("stops", stop.agreed, flush=True)
    time.sleep({seconds})
print("left", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, flush=True)
"""


def start(seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(seconds=seconds)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_and_the_handlers_are_put_back(number: signal.Signals) -> None:
    process = start(0)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == f"stops {int(number)}\nleft True\n"
    assert f"{number.name}: saving, then stopping; once more stops at once" in errors


def test_the_second_signal_ends_the_process_at_once() -> None:
    process = start(600)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == f"stops {int(signal.SIGTERM)}\n"
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 128 + signal.SIGINT
    assert time.monotonic() - started < 60
    process.communicate()


@pytest.mark.parametrize("again", ["stop.now()", "stop.count_as_progress(time.monotonic)"])
def test_a_stop_without_progress_ends_the_process(again: str) -> None:
    """While the loop asks, or a checkpoint grows, it does not."""
    script = PROGRAM.replace(
        "    time.sleep({seconds})",
        f"""
    for _ in range(25):
        {again}
        time.sleep(0.2)
    stop.count_as_progress(int)
    print("goes on", flush=True)
    time.sleep(600)
""",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", "from alexnet_jax import signals\nsignals.STALLED_SECONDS = 3.0\n" + script],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert out == f"stops {int(signal.SIGTERM)}\ngoes on\n"
    assert errors.endswith("alexnet_jax: SIGTERM: no progress for 3 s: ended here\n")


class Others:
    """Processes of which another got a signal: they agree on it two questions later."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def agreed_stop_signal(self, wanted: int) -> int:
        self.asked.append(wanted)
        return int(signal.SIGTERM) if len(self.asked) > 2 else 0


def test_it_stops_where_the_processes_agree() -> None:
    group = Others()
    stop = Stop(group)  # type: ignore[arg-type]
    assert [stop.now(), stop.now(), stop.now(), stop.now()] == [0, 0, signal.SIGTERM, signal.SIGTERM]
    assert group.asked == [0, 0, 0]  # once agreed, nobody is asked again
