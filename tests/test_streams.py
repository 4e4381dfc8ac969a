"""Standard streams that are closed, full, narrow or read by nobody: the module, and the program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
START = """
import os, sys
from alexnet_jax import streams
streams.prepare()
from alexnet_jax.progress import Progress, print_json
"""
NARROW = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def shell(
    line: str, script: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which "$PYTHON" -c "$SCRIPT" runs a script after `prepare`."""
    given = {"PYTHON": sys.executable, "SCRIPT": START + script, **(environment or {})}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_"))}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=ROOT, env=kept | given, capture_output=True, timeout=300
    )


def in_script(
    script: str, redirect: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return shell(f'"$PYTHON" -c "$SCRIPT" {redirect}', script, environment)


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_leads_nowhere_and_no_file_takes_its_number(closed: str, tmp_path: Path) -> None:
    script = f"""
file = open({str(tmp_path / "file")!r}, "wb")
assert file.fileno() > 2
print("an answer")
print("a remark", file=sys.stderr)
with Progress("work", 2, "items") as progress:
    progress.update(2)
    progress.say("done")
os.write(1, b"of a library")
os.write(2, b"of a library")
file.write(b"whole")
sys.stdout.flush()
os.fsync(file.fileno())
"""
    done = in_script(script, closed)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert (b"an answer" in done.stdout) == (" >&-" not in f" {closed}")
    assert (b"a remark" in done.stderr) == ("2>&-" not in closed)


def test_where_the_reader_has_left_the_code_is_that_of_sigpipe_and_nothing_is_said() -> None:
    script = """
try:
    for _ in range(10**5):
        print("x" * 100)
except streams.Unwritable as error:
    sys.exit(error.exit_code)
"""
    done = shell('"$PYTHON" -c "$SCRIPT" | head -1', script)
    assert (done.returncode, done.stdout, done.stderr) == (141, b"x" * 100 + b"\n", b"")


def test_standard_output_that_is_full_is_reported_once() -> None:
    script = """
for _ in range(2):
    print("an answer")
    try:
        sys.stdout.flush()
    except streams.Unwritable as error:
        print(error.exit_code, error, file=sys.stderr)
"""
    done = in_script(script, ">/dev/full")
    assert done.returncode == 0
    assert done.stderr == b"1 standard output cannot be written: No space left on device\n"


def test_a_failure_keeps_its_code_where_what_was_answered_before_cannot_be_written() -> None:
    """Python would flush it as it ends, and make 120 of the code."""
    script = """
from alexnet_jax.commands import failure
from alexnet_jax.errors import UsageError
print("an answer")
sys.exit(failure.report(UsageError("the second file is damaged"), debug=False))
"""
    for redirect in (">/dev/full", "| true"):
        done = shell('"$PYTHON" -c "$SCRIPT" ' + redirect, script)
        assert done.returncode == 2, redirect
        assert done.stderr == b"alexnet_jax: the second file is damaged\n"


def test_work_goes_on_where_nobody_hears_how() -> None:
    script = """
for _ in range(2000):
    print("x" * 100, file=sys.stderr)
streams.say_at_once("at once")
print("an answer")
"""
    for redirect in ("2>/dev/full", "2> >(head -1 >/dev/null)"):
        done = in_script(script, redirect)
        assert (done.returncode, done.stdout) == (0, b"an answer\n"), redirect


def test_nothing_follows_the_last_line() -> None:
    """Not of what is torn down, nor of threads; of C what is written at once."""
    script = """
import threading, warnings

class Held:
    def __del__(self):
        raise ValueError("torn down")

async def never_awaited():
    pass

held, coroutine = Held(), never_awaited()
print("before", file=sys.stderr)
streams.say_last("the explanation")
del held, coroutine
warnings.warn("late")
threading.Thread(target=lambda: 1 / 0).start()
print("after", file=sys.stderr)
streams.say_at_once("at once")
"""
    done = in_script(script)
    assert (done.returncode, done.stderr) == (0, b"before\nthe explanation\nat once")


def test_threads_in_c_say_nothing_of_a_closed_event_loop() -> None:
    """As TensorStore's do where a save has failed on a full disk: by PyErr_WriteUnraisable, of no object."""
    pytest.importorskip("_testcapi", reason="this Python has no tests of its C functions")
    script = """
import _testcapi
for words in ("Event loop is closed", "something else"):
    _testcapi.write_unraisable_exc(RuntimeError(words), None, None)
"""
    done = in_script(script)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == b"RuntimeError: something else"
    assert b"closed" not in done.stderr


def test_say_at_once_does_not_wait_for_a_reader() -> None:
    """A pager that somebody has left open fills the pipe; who writes there then waits for ever."""
    script = """
reader, writer = os.pipe()
os.set_blocking(writer, False)
try:
    while os.write(writer, b"x" * 4096):
        pass
except BlockingIOError:
    os.set_blocking(writer, True)
os.dup2(writer, 2)
streams.say_at_once("nobody reads this")
print("an answer")
"""
    done = in_script(script)
    assert (done.returncode, done.stdout) == (0, b"an answer\n")


def test_a_pipe_that_somebody_else_set_not_to_block_gets_all() -> None:
    script = """
os.set_blocking(1, False)
for number in range(20_000):
    print(number)
"""
    done = shell('"$PYTHON" -c "$SCRIPT" | (sleep 0.5; cat)', script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split() == [str(number) for number in range(20_000)]


def test_what_a_narrow_stream_does_not_have_is_an_escape() -> None:
    script = r"print('K\xe4fer'); print('K\xe4fer', file=sys.stderr)"
    done = in_script(script, "", NARROW)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"K\\xe4fer\n", b"K\\xe4fer\n")


@pytest.mark.parametrize(
    "environment", [{}, NARROW, {"PYTHONIOENCODING": "latin-1"}], ids=["utf8", "c", "latin"]
)
def test_json_is_read_back_whatever_the_stream(environment: dict[str, str]) -> None:
    """A name that is no UTF-8 becomes the same bytes again; what is no number is null."""
    script = r"print_json({'file': 'K\xe4fer\udcff.jpg', 'name': '\u7532', 'loss': float('nan')}, 1)"
    done = in_script(script, "", environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.decode("utf-8" if not environment else "ascii"))
    assert os.fsencode(found["file"]) == "Käfer".encode() + b"\xff.jpg"
    assert (found["name"], found["loss"]) == ("甲", None)


PROGRAM = '"$PYTHON" -m alexnet_jax.main'


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_the_program_is_silent_where_its_reader_has_left(argument: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_jax.main", argument],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", ["--help", "doctor"])
def test_an_answer_that_cannot_be_written_is_one_line_and_code_1(arguments: str) -> None:
    done = shell(f"{PROGRAM} {arguments} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == b"alexnet_jax: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full"])
def test_the_code_is_right_where_nobody_hears_why(redirect: str) -> None:
    done = shell(f"{PROGRAM} predict {redirect}")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


@pytest.mark.slow
@pytest.mark.parametrize("redirect", ["2>&-", ">&- 2>&-"])
def test_a_run_trains_where_nobody_hears_it(redirect: str, tmp_path: Path) -> None:
    run = f"--workdir={tmp_path}/run --config.data.dir={tmp_path} --config.model.width=0.0625"
    done = shell(
        f"{PROGRAM} train --config=digits --source=digits --config.train.epochs=0.1 {run} {redirect}"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "utf-8:strict"}, NARROW], ids=["utf8", "c"])
def test_predictions_of_files_with_any_name_are_json(environment: dict[str, str], tmp_path: Path) -> None:
    names = [b"K\xe4fer.png", "Käfer.png".encode()]
    for name in names:
        Image.new("L", (8, 8)).save(os.fsencode(tmp_path) + b"/" + name, "PNG")
    predict = f"{PROGRAM} predict --workdir=pretrained:digits --json {tmp_path}"
    done = shell(predict, "", environment | {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert done.returncode == 0, done.stderr
    found = {os.fsencode(Path(answer["file"]).name) for answer in json.loads(done.stdout)}
    assert found == set(names)
