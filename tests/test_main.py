"""The program as a process: what it prints where, its exit codes, and signals at its start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.helpers import ROOT, alexnet


@pytest.mark.parametrize("module", ["alexnet_jax.main", "alexnet_jax"])
def test_a_wrong_use_is_one_line_and_code_2(module: str) -> None:
    for line, words in (
        ("train --config=configs/nothing.py", "--config=configs/nothing.py is not a config file"),
        ("prepare --config=configs/digits.py --source=nowhere", "--source=nowhere does not exist"),
    ):
        code, out, errors = alexnet(*line.split(), module=module)
        assert (code, out) == (2, "")
        assert errors.startswith(f"alexnet_jax: {words}")
        assert errors.count("\n") == 1
        assert "Traceback" in alexnet(*line.split(), "--debug", module=module)[2]


def test_main_is_short() -> None:
    lines = (ROOT / "alexnet_jax" / "main.py").read_text().splitlines()
    assert len(lines) <= 60


# Where what a handler raises is lost: callbacks, as jax's at each collection of garbage; bare excepts.
LOSSES = {
    "callback": """
    def handle(phase, info):
        gc.callbacks.remove(handle)
        hit()
    gc.callbacks.append(handle)
    gc.collect()
""",
    "except": """
    try:
        hit()
    except:
        pass
""",
}


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_signal_at_start_up_is_not_lost(loss: str, number: str, code: int) -> None:
    script = f"""
import gc, os, runpy, signal, time
from absl import app

def hit():
    os.kill(os.getpid(), signal.{number})
    sum(range(10))

def run(*arguments, **options):
{LOSSES[loss]}
    time.sleep(60)

app.run = run
runpy.run_module("alexnet_jax.main", run_name="__main__")
"""
    arguments = [sys.executable, "-c", script]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, timeout=50)
    assert done.returncode == code, done.stderr
    assert not done.stderr


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_amid_an_import_ends_the_program_at_once(number: str, code: int, tmp_path: Path) -> None:
    """By an exception jaxlib would end the process with std::terminate; numpy makes an ImportError of it."""
    (tmp_path / "slow.py").write_text(f"""
import os, signal
try:
    os.kill(os.getpid(), signal.{number})
    sum(range(10))
except BaseException as error:
    raise ImportError("initialising the extension") from error
""")
    script = """
import runpy
from absl import app

def run(*arguments, **options):
    import slow

app.run = run
runpy.run_module("alexnet_jax.main", run_name="__main__")
"""
    arguments = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}"}
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, timeout=50, env=environment)
    assert done.returncode == code
    assert done.stderr == "alexnet_jax: interrupted\n"


def test_an_ignored_signal_stays_ignored() -> None:
    """A shell without job control lets what it starts in the background ignore SIGINT."""
    script = """
import os, runpy, signal
from absl import app
from alexnet_jax.distributed import Group
from alexnet_jax.training.stop import Stop

def run(*arguments, **options):
    os.kill(os.getpid(), signal.SIGINT)
    with Stop(Group()) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert not stop.now()

signal.signal(signal.SIGINT, signal.SIG_IGN)
app.run = run
runpy.run_module("alexnet_jax.main", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=50)
    assert done.returncode == 0
