"""The experiments: each is found again by the row that its run leaves, and nothing is run twice."""

import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alexnet_jax.report import results
from tests.commands.helpers import parse

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "launch" / "experiments.py"))


def all_experiments() -> list[Any]:
    return [experiment for group in SCRIPT["GROUPS"].values() for experiment in group()]


@pytest.mark.parametrize("experiment", all_experiments(), ids=lambda experiment: str(experiment.name))
def test_a_run_is_recorded_under_the_name_by_which_it_is_looked_for(experiment: Any) -> None:
    keys = [f"--config.{key}={value}" for key, value in experiment.keys.items()]
    typed = ["train", f"--config=configs/{experiment.config}.py", *keys, f"--config.seed={experiment.seed}"]
    config = parse(typed).config
    base, changes = results.nearest_config(config)
    words = [base, *(f"{key}={value}" for key, value in changes.items())]
    assert frozenset(words) == experiment.words


def test_an_unknown_group_is_named() -> None:
    command = [sys.executable, ROOT / "launch" / "experiments.py", "folder", "--only=nets,nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    groups = ", ".join(SCRIPT["GROUPS"])
    assert done.stderr.splitlines()[-1].endswith(f"--only=nothing: there are {groups}")


def test_folders_differ() -> None:
    names = [experiment.name for experiment in all_experiments()]
    assert len(set(names)) == len(names)


def test_a_recorded_run_is_found() -> None:
    row = results.read_rows(results.FOLDER / "cifar10_figure_1.jsonl")[0]
    keys = dict(word.split("=", 1) for word in shlex.split(row["experiment"])[1:])
    experiment = SCRIPT["Experiment"]
    assert experiment(row["config"], keys, row["seed"]).rows() == [row]
    assert experiment(row["config"], keys, row["seed"]).done
    assert not experiment(row["config"], keys, row["seed"], views=(10, row["evaluation"]["views"])).done
    assert not experiment(row["config"], keys, 10**6).done


def test_an_arm_runs_at_the_rate_that_its_search_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = {"0.005": 0.3, "0.02": 0.1}

    def rows(experiment: Any) -> list[dict[str, Any]]:
        if "data.test_split" not in experiment.keys:
            return []
        error = errors.get(experiment.keys.get("schedule.learning_rate", ""), 0.2)
        return [{"values": {"top1_error": error}}]

    monkeypatch.setattr(SCRIPT["Experiment"], "rows", rows)
    arms = list(SCRIPT["ablations"]())
    assert len(arms) == len(SCRIPT["ARMS"]) * (len(SCRIPT["RATES"]) + len(SCRIPT["SEEDS"]))
    chosen = [experiment for experiment in arms if "data.test_split" not in experiment.keys]
    assert {experiment.keys["schedule.learning_rate"] for experiment in chosen} == {"0.02"}
    assert [experiment.seed for experiment in chosen[:3]] == [1, 2, 3]
