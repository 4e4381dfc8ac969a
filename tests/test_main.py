"""The command line: every wrong use is one line and exit code 2, before anything expensive starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_jax import config as configuration
from alexnet_jax.errors import UsageError
from configs import cifar10, digits, imagenet

ROOT = Path(__file__).parents[1]


def alexnet(*arguments, cwd=ROOT):
    """Runs the program; returns exit code, standard output and standard error."""
    environment = os.environ | {"TFDS_DATA_DIR": "/nowhere", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_jax.main", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "train needs --config=configs/X.py"),
        ("fly --config=configs/digits.py", "'fly' is not a verb"),
        ("train --config=configs/nothing.py", "configs/nothing.py"),
        ("train --config=configs/digits.py --config.data.colour=red", "colour"),
        ("train --config=configs/digits.py --config.train.epochs=many", "many"),
        ("train --config=configs/digits.py --config.data.crop=100", "config.data.crop=100 is larger"),
        ("train --config.data.crop=100 --config configs/digits.py", "config.data.crop=100 is larger"),
        ("train --config=configs/digits.py --nonsense", "nonsense"),
        ("train --config=configs/digits.py extra", "takes no argument 'extra'"),
        ("evaluate", "evaluate needs --workdir=DIR"),
        ("evaluate --workdir=nowhere", "nowhere is not the workdir of a run"),
        ("evaluate --config=configs/digits.py --views=3", "--views=3: it must be 1 or 10"),
        ("predict --config=configs/digits.py", "predict needs pictures"),
        ("features", "features needs --workdir=DIR"),
        ("report", "report needs --workdir=DIR"),
        ("report --workdir=nowhere", "nowhere is not the workdir of a run"),
        ("similar", "similar needs --workdir=DIR"),
        ("similar --config=configs/digits.py README.md", "similar needs --source=FOLDER"),
        ("similar --config=configs/digits.py --source=docs", "one picture, or --label=NAME"),
        ("compare", "compare needs --workdir=DIR"),
        ("compare --config=configs/digits.py README.md", "compare needs two pictures, and 1 were given"),
        ("features --config=configs/digits.py", "features needs pictures"),
        ("features --config=configs/digits.py README.md", "features needs --output=X.npz"),
        (
            "features --config=configs/digits.py README.md --output=x.csv",
            "the name of an .npz, or of a folder",
        ),
        ("benchmark fly --config=configs/digits.py", "type benchmark step"),
        (
            "benchmark step --config=configs/digits.py --peer=cuda",
            "--peer=cuda: benchmark step compares with torch",
        ),
        ("prepare --config=configs/digits.py", "--source is missing"),
        ("prepare --config=configs/digits.py --source=nowhere", "--source=nowhere does not exist"),
        ("--config=configs/imagenet.py", "is not prepared; type: python -m alexnet_jax.main prepare"),
    ],
)
def test_wrong_uses(arguments, words, tmp_path):
    flags = arguments.split()
    if "configs/imagenet.py" in arguments:
        flags.append(f"--workdir={tmp_path / 'run'}")
    code, out, errors = alexnet(*flags)
    told = [line for line in errors.splitlines() if line.startswith("alexnet_jax:")]
    assert code == 2, errors
    assert len(told) == 1, errors
    assert words in told[0]
    assert "Traceback" not in errors
    assert out == ""


def test_debug_shows_the_traceback():
    code, _, errors = alexnet("prepare", "--config=configs/digits.py", "--source=nowhere", "--debug")
    assert code == 2
    assert "Traceback" in errors


@pytest.mark.parametrize("module", [imagenet, digits, cifar10])
def test_every_config_is_right(module):
    configuration.check(module.get_config())
    assert configuration.from_json(configuration.to_json(module.get_config())).to_dict() == (
        module.get_config().to_dict()
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": -1}, "config.seed=-1"),
        ({"data.batch_size": 0}, "config.data.batch_size=0: it must be a whole number of at least 1"),
        ({"data.channels": 1}, "config.data.lighting needs three channels"),
        ({"data.crop_sharing": 7}, "is not a multiple of config.data.crop_sharing=7"),
        ({"data.mean": "median"}, "config.data.mean='median': it must be one of"),
        ({"data.input_std": (1.0, 2.0)}, "config.data.input_std"),
        ({"data.validation_split": ""}, "needs config.data.validation_split"),
        ({"schedule.kind": "steps"}, "config.schedule.kind='steps' with config.schedule.steps=()"),
        ({"schedule.kind": "steps", "schedule.steps": ((2, 0.1), (1, 0.1))}, "ascending"),
        ({"optimizer.per_layer": {"conv1": {"speed": 1.0}}}, "config.optimizer.per_layer.conv1.speed"),
        ({"optimizer.per_layer": {"conv1": {"frozen_from": -1}}}, "config.optimizer.per_layer.conv1.frozen"),
        ({"train.epochs": float("nan")}, "config.train.epochs"),
        ({"mesh.model": 3}, "config.mesh.model=3: it must be 0, 1 or 2"),
    ],
    ids=str,
)
def test_configs_that_contradict_themselves(change, words):
    config = imagenet.get_config()
    for key, value in change.items():
        section, _, name = key.rpartition(".")
        place = config[section] if section else config
        with place.ignore_type():
            place[name] = value
    with pytest.raises(UsageError) as error:
        configuration.check(config)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_unknown_keys_are_named():
    config = imagenet.get_config()
    del config.data["flip"]
    with pytest.raises(UsageError, match=r"config\.data\.flip is missing"):
        configuration.check(config)
    config = imagenet.get_config()
    config.train.speed = 1
    with pytest.raises(UsageError, match=r"config\.train\.speed is not a known key"):
        configuration.check(config)


def test_what_may_change_in_a_workdir_and_what_not():
    saved, given = imagenet.get_config(), imagenet.get_config()
    given.mesh.data, given.train.epochs, given.data.dir = 4, 5.0, "/elsewhere"
    configuration.check_same_run(saved, given, "runs/x")
    given.optimizer.momentum = 0.8
    with pytest.raises(UsageError, match=r"runs/x holds a run with config.optimizer.momentum=0.9, not 0.8"):
        configuration.check_same_run(saved, given, "runs/x")


# Where what a handler raises is lost: callbacks, as jax's at each collection of garbage; bare excepts.
LOSSES = {
    "callback": """
    def told(phase, info):
        gc.callbacks.remove(told)
        hit()
    gc.callbacks.append(told)
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
def test_a_signal_at_start_up_is_not_lost(loss, number, code):
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
def test_a_signal_amid_an_import_ends_the_program_at_once(number, code, tmp_path):
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


def test_an_ignored_signal_stays_ignored():
    """A shell without job control lets what it starts in the background ignore SIGINT."""
    script = """
import os, runpy, signal
from absl import app
from alexnet_jax.distributed import Group
from alexnet_jax.training.loop import Stop

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
