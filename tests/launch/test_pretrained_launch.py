"""What makes the nets that come along: its table and the cards, and wrong uses."""

import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_jax.workdir import pretrained
from tests.commands.helpers import parse

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "pretrained.py"


def test_the_cards_are_of_its_table() -> None:
    nets = runpy.run_path(str(SCRIPT))["NETS"]
    assert list(nets) == list(pretrained.cards())
    for name, (title, config, data, changes) in nets.items():
        card = pretrained.cards()[name]
        assert (card["title"], card["config"], card["data"]) == (title, f"configs/{config}.py", data)
        typed = shlex.split(card["command"])
        flags = [f"--config=configs/{config}.py", *(f"--config.{change}" for change in changes)]
        assert typed == ["python", "-m", "alexnet_jax.main", *flags, "--config.seed=1"]
        assert parse(["train", *typed[3:]]).config.seed == 1


@pytest.mark.parametrize("arguments", [[], ["folder", "nothing"], ["folder", "--seeds=1"], ["--seeds=3"]])
def test_wrong_uses(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("type launch/pretrained.py FOLDER")
