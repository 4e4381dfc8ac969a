"""Signals before a run listens to them: the exit codes, and that none is lost on its way.

Each test is a process of its own, which sends itself a signal at a known instruction.
"""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from alexnet_jax import signals

ROOT = Path(__file__).parents[1]
BOTH = pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])

# As `main` does: what ends the program passes all its frames, and KeyboardInterrupt becomes an exit code.
PROGRAM = """
import gc, os, signal, sys, time
from alexnet_jax import signals

def hit():
    os.kill(os.getpid(), signal.{name})
    sum(range(10))  # Python runs its handlers between two instructions

{before}
signals.catch()
{after}
try:
{body}
except KeyboardInterrupt:
    sys.exit(130)
finally:
    signals.end()
"""


def run(
    body: str, name: str = "SIGTERM", before: str = "", after: str = "", path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `body` as the program's work, in a process of its own."""
    script = PROGRAM.format(name=name, before=before, after=after, body=textwrap.indent(body, "    "))
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | ({"PYTHONPATH": str(path)} if path else {}),
        capture_output=True,
        text=True,
        timeout=50,
    )


@BOTH
def test_a_signal_ends_the_program_by_an_exception(name: str, code: int, tmp_path: Path) -> None:
    """Half-written files are removed on the way."""
    done = run(
        f"""
from alexnet_jax.files import atomic_write
with atomic_write({str(tmp_path / "a")!r}) as file:
    file.write(b"half")
    hit()
    time.sleep(60)
""",
        name,
    )
    assert done.returncode == code
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_a_signal_amid_an_import_ends_the_program_at_once(name: str, code: int, tmp_path: Path) -> None:
    """Whatever the module that is being imported would make of an exception, and however deep it lies."""
    (tmp_path / "outer.py").write_text("from inner import nothing\n")
    (tmp_path / "inner.py").write_text("""
import __main__
try:
    __main__.hit()
except BaseException as error:
    raise ImportError("initialising the extension") from error
finally:
    print("too late")
""")
    done = run("import outer", name, path=tmp_path)
    assert done.returncode == code
    assert done.stderr == "alexnet_jax: interrupted\n"
    assert done.stdout == ""


def test_after_an_import_a_signal_is_an_exception_again(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("import __main__\ndef act():\n    __main__.hit()\n")
    done = run(
        """
import module
try:
    module.act()
finally:
    print("cleaned up")
""",
        path=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleaned up\n", "")


SWALLOWED = {
    "callback": """
def collected(phase, info):
    gc.callbacks.remove(collected)
    hit()
gc.callbacks.append(collected)
gc.collect()
""",
    "destructor": """
class Held:
    def __del__(self):
        hit()
Held()
""",
    "except": """
try:
    hit()
except BaseException:
    pass
""",
}


@BOTH
@pytest.mark.parametrize("where", SWALLOWED)
def test_a_signal_that_was_swallowed_comes_again(where: str, name: str, code: int) -> None:
    body = f"""
started = time.monotonic()
try:
{textwrap.indent(SWALLOWED[where], "    ")}
    time.sleep(60)
finally:
    print(0.3 <= time.monotonic() - started < 20)
"""
    done = run(body, name, after="signals.RESEND_SECONDS = 0.3")
    assert done.returncode == code
    assert done.stdout == "True\n"  # not at the first time
    assert done.stderr == ""  # no "Exception ignored in"


@BOTH
def test_it_comes_again_until_the_program_ends(name: str, code: int) -> None:
    done = run(
        """
for number in range(4):
    try:
        hit() if number == 0 else time.sleep(60)
    except BaseException as error:
        print(type(error).__name__)
time.sleep(60)
""",
        name,
        after="signals.RESEND_SECONDS = 0.5",
    )
    assert done.returncode == code
    assert done.stdout == {"SIGINT": "KeyboardInterrupt\n", "SIGTERM": "SystemExit\n"}[name] * 4


def test_it_comes_again_soon_enough_for_who_waits_and_late_enough_for_who_cleans_up() -> None:
    assert 1 <= signals.RESEND_SECONDS <= 5


def test_where_the_program_ends_it_comes_no_more() -> None:
    done = run(
        """
try:
    hit()
except SystemExit:
    signals.end()
time.sleep(1)
print("ended by itself")
""",
        after="signals.RESEND_SECONDS = 0.5",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended by itself\n", "")


def test_other_errors_in_a_callback_are_shown() -> None:
    done = run("""
class Held:
    def __del__(self):
        raise ValueError("in a destructor")
Held()
""")
    assert done.returncode == 0
    assert "Exception ignored in" in done.stderr
    assert "ValueError: in a destructor" in done.stderr


@BOTH
def test_an_ignored_signal_stays_ignored(name: str, code: int) -> None:
    """A shell without job control lets what it starts in the background ignore SIGINT."""
    other, other_code = {"SIGINT": ("SIGTERM", 143), "SIGTERM": ("SIGINT", 130)}[name]
    done = run(
        f"""
hit()
print([number.name for number in signals.not_ignored()], flush=True)
os.kill(os.getpid(), signal.{other})
time.sleep(60)
""",
        name,
        before=f"signal.signal(signal.{name}, signal.SIG_IGN)",
    )
    assert done.stdout == f"['{other}']\n"
    assert done.returncode == other_code


def test_not_ignored_names_both_by_default() -> None:
    assert signals.not_ignored() == [signal.SIGINT, signal.SIGTERM]


def test_before_catch_the_signals_are_pythons_own() -> None:
    """Importing the module changes nothing: only the program decides."""
    done = run("pass", "SIGTERM", before="hit()")
    assert done.returncode == -signal.SIGTERM
    done = run(
        "pass",
        before="assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
        "assert sys.unraisablehook is sys.__unraisablehook__",
    )
    assert done.returncode == 0


# The main thread locks a mutex twice: it is in C for ever, and no signal wakes it.
HUNG = """
import ctypes, threading
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
threading.Timer(0.3, os.kill, (os.getpid(), signal.{name})).start()
libc.pthread_mutex_lock(mutex)
"""
# Seconds of work in C, without Python's lock.
BUSY = """
import hashlib
started = time.monotonic()
try:
    hit()
except SystemExit:
    pass
while time.monotonic() < started + {seconds}:
    try:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**6)
    except BaseException:
        pass
print("worked")
"""
SHORT = "signals.STALLED_SECONDS, signals.BUSY_SECONDS = {stalled}, {busy}\nsignals.watch()"


@BOTH
def test_the_last_resort_ends_a_program_that_never_comes_back_to_python(name: str, code: int) -> None:
    done = run(HUNG.format(name=name), name, after=SHORT.format(stalled=1.0, busy=100.0))
    assert done.returncode == code
    assert done.stderr == f"\nalexnet_jax: {name}: no progress for 1 s: ended here\n"


def test_work_is_progress_for_a_while() -> None:
    body = BUSY.format(seconds=6)
    done = run(body, after=SHORT.format(stalled=3.0, busy=100.0))
    assert (done.returncode, done.stdout, done.stderr) == (0, "worked\n", "")
    done = run(body.replace("+ 6", "+ 400"), after=SHORT.format(stalled=2.0, busy=4.0))
    assert done.returncode == 143
    assert done.stderr == "\nalexnet_jax: SIGTERM: no progress for 4 s: ended here\n"


LISTENER = """
signals.STALLED_SECONDS, signals.BUSY_SECONDS, signals.TWICE_SECONDS = 1.0, 100.0, 0.1
listener = signals.Listener(lambda number, again: print(number, again, flush=True), "process 1: ")
"""


def test_what_is_told_and_what_is_measured_are_progress() -> None:
    done = run(
        """
signal.signal(signal.SIGTERM, lambda *_: None)
with listener:
    hit()
    for _ in range(30):
        time.sleep(0.1)
        listener.progress()
    started = time.monotonic()
    listener.measure = lambda: time.monotonic() - started < 3 and time.monotonic()
    time.sleep(2.5)
    print("still there", flush=True)
    time.sleep(60)
""",
        after=LISTENER,
    )
    assert done.returncode == 143
    assert done.stdout == "15 False\nstill there\n"
    assert done.stderr == "\nalexnet_jax: process 1: SIGTERM: no progress for 1 s: ended here\n"


def test_a_measure_that_fails_is_no_progress_and_stops_nothing() -> None:
    done = run(
        """
signal.signal(signal.SIGTERM, lambda *_: None)
def fail():
    raise OSError("the disk is gone")
with listener:
    listener.measure = fail
    hit()
    time.sleep(60)
""",
        after=LISTENER,
    )
    assert done.returncode == 143
    assert "Traceback" not in done.stderr


def test_a_measure_that_hangs_does_not_hold_the_last_resort_up() -> None:
    """As where a disk is gone: whoever asks it for the size of a file waits for ever."""
    done = run(
        """
signal.signal(signal.SIGTERM, lambda *_: None)
with listener:
    listener.measure = lambda: time.sleep(600)
    hit()
    time.sleep(60)
""",
        after=LISTENER,
    )
    assert done.returncode == 143


def test_each_signal_is_heard_and_the_end_of_a_listener_hands_the_last_resort_on() -> None:
    """What follows an orderly stop, such as the end of the interpreter, may hang, too."""
    done = run(
        """
before = signal.set_wakeup_fd(-1)
signal.set_wakeup_fd(before)
signal.signal(signal.SIGTERM, lambda *_: None)
with listener:
    hit()
    time.sleep(0.2)
    hit()
    time.sleep(0.2)
assert signal.set_wakeup_fd(before) == before
time.sleep(60)
""",
        after=LISTENER + "signals.watch()",
    )
    assert done.returncode == 143
    assert done.stdout == "15 False\n15 True\n"
    assert done.stderr == "\nalexnet_jax: SIGTERM: no progress for 1 s: ended here\n"


def test_a_signal_that_comes_twice_at_once_is_one() -> None:
    """`timeout` sends SIGTERM to its child and then to the group of both: saving must not end there."""
    done = run(
        """
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGINT, lambda *_: None)
with listener:
    hit()
    hit()
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)  # another
    time.sleep(0.8)
    hit()
    time.sleep(0.2)
""",
        after=LISTENER + "signals.TWICE_SECONDS = 1.0",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "15 False\n2 True\n15 True\n"


def test_the_time_in_which_the_whole_process_was_stopped_does_not_count() -> None:
    """After SIGSTOP and SIGCONT, or a pause of its container, an orderly stop goes on."""
    done = run(
        """
import subprocess
signal.signal(signal.SIGTERM, lambda *_: None)
later = ["bash", "-c", "echo ready; sleep 8; kill -CONT $PPID"]
with listener, subprocess.Popen(later, stdout=subprocess.PIPE) as child:
    child.stdout.readline()
    hit()
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1)
    print("still there", flush=True)
    time.sleep(60)
""",
        after=LISTENER + "signals.STALLED_SECONDS, signals.LATE_SECONDS = 6.0, 1.5",
    )
    assert done.returncode == 143
    assert done.stdout == "15 False\nstill there\n"


def test_the_exit_code_of_whoever_else_ends_the_process() -> None:
    done = run(
        """
signal.signal(signal.SIGINT, lambda *_: None)
print(signals.exit_code(otherwise=1))
with listener:
    hit()
    time.sleep(0.5)
print(signals.exit_code(otherwise=1))
""",
        "SIGINT",
        after=LISTENER,
    )
    assert done.stdout == "1\n2 False\n130\n"


def test_a_listener_in_somebody_elses_program_ends_nothing_after_its_block() -> None:
    done = run(
        """
signal.signal(signal.SIGTERM, lambda *_: None)
with listener:
    hit()
    time.sleep(0.2)
signals.watch()  # nobody has called `catch`
time.sleep(3)
print("still there")
""",
        before="signals.catch = lambda: None",
        after=LISTENER,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "15 False\nstill there\n", "")


def test_the_stated_times() -> None:
    """An orderly stop of a large net saves for seconds, and may wait for a compilation of minutes."""
    assert (signals.STALLED_SECONDS, signals.BUSY_SECONDS) == (30, 600)
