"""Progress: plain lines by a clock that the test turns, a bar on a pseudo-terminal, and what is printable."""

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable

import pytest

from alexnet_jax.progress import SECONDS_BETWEEN_LINES, Progress, printable, printable_json


class Clock:
    """A clock instead of `time.monotonic`, which the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Return a function that gives the lines on standard error since its last call; it is no terminal."""

    def lines() -> list[str]:
        text = capsys.readouterr().err
        assert text == "" or text.endswith("\n")
        return text.splitlines()

    return lines


def test_a_line_at_most_every_fifteen_seconds_and_one_at_the_end(
    clock: Clock, printed: Callable[[], list[str]]
) -> None:
    assert SECONDS_BETWEEN_LINES == 15
    with Progress("evaluate", 1000, "images") as progress:
        assert printed() == []
        clock.wait(10)
        progress.update(100)
        clock.wait(5)
        progress.update(50)
        assert printed() == []  # fifteen seconds, and not more
        clock.wait(5)
        progress.update(150)  # 300 in 20 s: 15 a second; 200 in the 10 s after the first, and 700 to go
        assert printed() == ["evaluate: 300/1000 images, 15/s, 35 s to go"]
        clock.wait(14)
        progress.update(300)
        assert printed() == []
        clock.wait(6)
        progress.update(200, "loss 1.5")  # 800 in 40 s, 700 in the last 30
        assert printed() == ["evaluate: 800/1000 images, 20/s, 9 s to go, loss 1.5"]
        clock.wait(10)
        progress.update(200)
        assert printed() == []
    assert printed() == ["evaluate: 1000/1000 images, 20/s"]


def test_the_rate_is_that_of_this_process_and_the_count_that_of_all_work(
    clock: Clock, printed: Callable[[], list[str]]
) -> None:
    with Progress("train", 500, "steps", initial=400) as progress:
        clock.wait(20)
        progress.update(40)  # in 20 s; the 400 before took their time elsewhere
        assert printed() == [
            "train: 440/500 steps, 2.00/s"
        ]  # what the first ones took says nothing of the rest
        clock.wait(20)
        progress.update(20)  # 1 a second, and 40 to go
        assert printed() == ["train: 460/500 steps, 1.50/s, 40 s to go"]
        progress.update(40)
    assert printed() == ["train: 500/500 steps, 2.50/s"]


@pytest.mark.parametrize(
    ("items", "seconds", "rate"),
    [(1, 100, "0.01"), (99, 10, "9.90"), (995, 100, "9.95"), (100, 10, "10"), (12_345, 10, "1234")],
)
def test_a_slow_rate_has_decimals(
    clock: Clock, printed: Callable[[], list[str]], items: int, seconds: float, rate: str
) -> None:
    with Progress("prepare", items, "images") as progress:
        progress.update(items)
        clock.wait(seconds)
    assert printed() == [f"prepare: {items}/{items} images, {rate}/s"]


def test_without_a_total_there_is_no_time_to_go_until_one_is_known(
    clock: Clock, printed: Callable[[], list[str]]
) -> None:
    with Progress("index", None, "files") as progress:
        clock.wait(16)
        progress.update(32)
        assert printed() == ["index: 32 files, 2.00/s"]
        progress.expect(64)
        clock.wait(16)
        progress.update(8)
        assert printed() == ["index: 40/64 files, 1.25/s, 48 s to go"]  # 8 in the last 16 s


def test_nothing_done_has_no_time_to_go(clock: Clock, printed: Callable[[], list[str]]) -> None:
    with Progress("train", 10, "steps", initial=3) as progress:
        clock.wait(16)
        progress.update(0)
    assert printed() == ["train: 3/10 steps, 0.00/s"]  # not again at the end
    with Progress("train", 10, "steps", initial=10):
        pass  # no time has passed
    assert printed() == ["train: 10/10 steps, 0.00/s"]


def fail() -> None:
    with Progress("train", 10, "steps") as progress:
        progress.update(1)
        raise ValueError("here")


def test_work_that_failed_has_no_line_at_the_end(clock: Clock, printed: Callable[[], list[str]]) -> None:
    with pytest.raises(ValueError, match="here"):
        fail()
    assert printed() == []


def test_say_prints_a_line_of_its_own(clock: Clock, printed: Callable[[], list[str]]) -> None:
    with Progress("train", 10, "steps") as progress:
        progress.say("epoch 1: error 50 %")
        assert printed() == ["epoch 1: error 50 %"]


def test_what_is_not_shown_is_silent(clock: Clock, printed: Callable[[], list[str]]) -> None:
    with Progress("train", 10, "steps", shown=False) as progress:
        clock.wait(100)
        progress.update(5, "note")
        progress.expect(20)
        progress.say("epoch 1")
    assert printed() == []
    assert progress.done == 5


def on_a_terminal(work: Callable[[], None]) -> str:
    """What a terminal of 100 columns gets of `work`, whose standard error it is."""
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    got: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while text := os.read(ours, 65536):
                got.append(text)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with os.fdopen(terminal, "w") as file, contextlib.redirect_stderr(file):
        work()
    reader.join(10)
    os.close(ours)
    return b"".join(got).decode()


def test_on_a_terminal_there_is_a_bar() -> None:
    def work() -> None:
        with Progress("train", 200, "steps", initial=100) as progress:
            time.sleep(0.2)  # tqdm draws at most ten times a second
            progress.update(50, "loss 1.234")
            progress.say("epoch 1: error 50 %")
            progress.expect(300)
            time.sleep(0.2)
            progress.update(75, "loss 1.001")
        print("after", file=sys.stderr)

    text, after, end = on_a_terminal(work).rpartition("\r\nafter\r\n")  # the bar keeps a line of its own
    assert after
    assert end == ""
    drawn = [part for part in re.split(r"[\r\n]", text) if part.strip(" \x1b[A")]
    assert drawn[0].startswith("train:  50%|")
    assert "100/200" in drawn[0]
    said = drawn.index("epoch 1: error 50 %")  # a line of its own, with nothing of the bar in it
    assert "150/200" in drawn[said + 1]  # the bar is drawn again below it
    assert "loss 1.234" in drawn[said + 1]
    assert drawn[-1].startswith("train:  75%|")
    assert "225/300" in drawn[-1]
    assert re.search(r"\[\d\d:\d\d<\d\d:\d\d, +[\d.]+ steps/s, loss 1\.001\]", drawn[-1])
    assert max(map(len, drawn)) <= 100
    assert "train: 225/300 steps" not in text  # no plain line with the bar


def test_a_terminal_of_a_process_that_is_not_shown_stays_empty() -> None:
    def work() -> None:
        with Progress("train", 200, "steps", shown=False) as progress:
            progress.update(200)
            progress.say("epoch 1")

    assert on_a_terminal(work) == ""


def test_the_bar_of_work_that_failed_is_closed() -> None:
    def work() -> None:
        with contextlib.suppress(ValueError):
            fail()

    text = on_a_terminal(work)
    assert "train: " in text
    assert text.endswith("\n")  # what is printed next, such as the error, begins on a line of its own


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 100 %", "plain text, 100 %"),
        ("Wörter 言葉 ✓", "Wörter 言葉 ✓"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("one\r\ntwo\ttab", r"one\r\ntwo\ttab"),
        ("\u202egpj.exe", r"\u202egpj.exe"),  # right to left
        ("\u2066x\u2069\u200b", r"\u2066x\u2069\u200b"),
        ("\x7f\x85\x9b", r"\x7f\x85\x9b"),
        ("\udcff.jpg", r"\udcff.jpg"),  # a byte that is no UTF-8 in a file's name
        ("\U000e0041", r"\U000e0041"),  # an invisible tag
        ("", ""),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert shown.isprintable()


def test_json_for_a_terminal_is_json_and_printable():
    value = {"file": 'a\x1b[2J\x9b\u202e\x7f\udcff\n"\\.jpg', "name": "Käfer 甲虫"}
    text = printable_json(value, 1)
    assert json.loads(text) == value
    assert "Käfer 甲虫" in text
    assert all(c.isprintable() for line in text.split("\n") for c in line)
