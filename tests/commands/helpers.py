"""The program, in a process of its own or in this one."""

import os
import subprocess
import sys
from pathlib import Path

from absl import flags

from alexnet_jax import main
from alexnet_jax.commands.command import Request

ROOT = Path(__file__).parents[2]


def alexnet(*arguments: str, module: str = "alexnet_jax.main", cwd: Path = ROOT) -> tuple[int, str, str]:
    """Run the program; return exit code, standard output and standard error."""
    environment = os.environ | {"TFDS_DATA_DIR": "/nowhere", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def reset_flags() -> None:
    """Forget what was parsed, and the config's keys, so that another command line can be read."""
    for name in [name for name in flags.FLAGS if name.split(".")[0] == "config"]:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()


def parse(arguments: list[str]) -> Request:
    """Read a command line as the program does, in this process, as often as wanted."""
    reset_flags()
    return main.parse(["alexnet", *arguments])


def call(arguments: list[str]) -> int | str | None:
    """Do what the program does, in this process; return the exit code."""
    try:
        return main.main(parse(arguments))
    except SystemExit as error:
        return error.code
