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
    """Return each once, also where two groups begin with the same search."""
    each = [experiment for group in SCRIPT["GROUPS"].values() for experiment in group()]
    return list({(one.words, one.seed, one.views): one for one in each}.values())


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


def rate(experiment: Any) -> str:
    """The rate that is given; '' is the config's own, 0.01."""
    return str(experiment.keys.get("schedule.learning_rate", ""))


@pytest.mark.parametrize(
    ("errors", "searched", "best"),
    [
        ({"": 0.1}, ["0.005", "", "0.02"], [""]),
        ({"0.02": 0.1}, ["0.005", "", "0.02", "0.04"], ["0.02"]),
        ({"0.02": 0.15, "0.04": 0.14, "0.08": 0.13}, ["0.005", "", "0.02", "0.04", "0.08", "0.16"], ["0.08"]),
        ({"0.005": 0.15, "0.0025": 0.14}, ["0.005", "", "0.02", "0.0025", "0.00125"], ["0.0025"]),
        ({"": 0.1, "0.02": 0.102}, ["0.005", "", "0.02"], ["", "0.02"]),  # 0.2 points tell nothing
        ({"": 0.1, "0.02": 0.103}, ["0.005", "", "0.02"], [""]),
    ],
)
def test_an_arm_runs_at_the_rates_that_its_search_found(
    monkeypatch: pytest.MonkeyPatch, errors: dict[str, float], searched: list[str], best: list[str]
) -> None:
    def rows(experiment: Any) -> list[dict[str, Any]]:
        search = "data.test_split" in experiment.keys
        return [{"values": {"top1_error": errors.get(rate(experiment), 0.2)}}] if search else []

    monkeypatch.setattr(SCRIPT["Experiment"], "rows", rows)
    ran = list(SCRIPT["ablations"]())
    runs = len(best) * len(SCRIPT["SEEDS"])
    assert len(ran) == len(SCRIPT["ARMS"]) * (len(searched) + runs)
    first, chosen = ran[: len(searched)], ran[len(searched) : len(searched) + runs]
    assert [rate(experiment) for experiment in first] == searched
    assert [(rate(experiment), experiment.seed) for experiment in chosen] == [
        (one, n) for one in best for n in (1, 2, 3)
    ]


def test_twice_as_long_is_at_the_better_of_the_rates_that_a_search_could_not_tell_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched = {"": 0.1, "0.02": 0.101}
    whole = {"": 0.26, "0.02": 0.25}

    def rows(experiment: Any) -> list[dict[str, Any]]:
        errors = searched if "data.test_split" in experiment.keys else whole
        return [{"values": {"top1_error": errors.get(rate(experiment), 0.2)}}]

    monkeypatch.setattr(SCRIPT["Experiment"], "rows", rows)
    long = [each for each in SCRIPT["twice_as_long"]() if each.keys["train.epochs"] == "60.0"]
    assert [(each.keys.get("model.lrn", "True"), each.seed) for each in long] == [
        (lrn, seed) for seed in (1, 2, 3) for lrn in ("True", "False")
    ]
    assert {rate(each) for each in long} == {"0.02"}
    assert {each.keys["schedule.steps"] for each in long} == {"((48, 0.002),)"}
