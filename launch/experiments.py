r"""Runs the experiments of docs/RESULTS.md, one after the other, and records each as it ends.

  python launch/experiments.py FOLDER [--only=nets,ablations] [--hours=2.5]

FOLDER/data holds the prepared data, and FOLDER/runs the runs. What they train on is prepared once:

  export TFDS_DATA_DIR=FOLDER/data
  python -m alexnet_jax.main prepare --config=cifar10 --source=cifar10.tar.xz
  python -m alexnet_jax.main prepare --config=cifar10_alexnet --source=cifar10.tar.xz
  python -m alexnet_jax.main prepare --config=mnist --source=mnist
  python -m alexnet_jax.main prepare --config=imagenet --config.data.name=caltech \
    --config.data.exif_rotation=True --config.data.validation_split= --config.data.test_split=test \
    --config.schedule.kind=constant --source=caltech101_30.tar.xz
  python -m alexnet_jax.main prepare --config=cifar10 --config.data.name=cifar10_60 \
    --config.data.format=jpeg --config.data.quality=60 --source=cifar10.tar.xz

An experiment that has its rows in docs/results is passed over; one that was interrupted resumes. After
--hours none is begun, and the one that is under way is stopped in order: the same command continues it.
--list shows what there is and what is done. The seconds of a row mean something where the run had the machine
to itself; its errors do not depend on that.
"""

import argparse
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
STOPPED = 143  # a run's exit code after SIGTERM
SEEDS = (1, 2, 3)

# The ablations: CIFAR-10's 50,000 images, the net of configs/cifar10_alexnet.py. Each arm takes the rate that
# gives the least error on a held-out tenth after a third of the length: of RATES, and of further ones where
# that is one of their ends. Where another is within TIE of it, which 5,000 images do not tell apart, it runs
# at that one, too, and the better of the two counts.
EPOCHS, DROP = 30, 24
RATES = (0.005, 0.01, 0.02)
TIE = 0.0025
HELD_OUT = {"data.train_split": "train[:90%]", "data.test_split": "train[90%:]"}
ARMS: dict[str, dict[str, str]] = {
    "base": {},
    "no normalisation": {"model.lrn": "False"},
    "pools that do not overlap": {"model.pool_size": "2"},
    "one tower, the paper's control": {"model.towers": "1", "model.features": "(48, 128, 192, 192, 256)"},
    "one tower, equal width": {"model.towers": "1"},
    # What normalisation is without the competition of the maps: a division by 2^0.75.
    "division by a constant": {"model.lrn_constants": "(2.0, 0.0, 0.75)"},
    "no dropout": {"model.dropout": "0.0"},
    "no crops, no reflections": {"data.random_crop": "False", "data.flip": "False"},
    "towers that never meet": {"model.communicate_at": "()"},
    "tanh": {"model.activation": "tanh"},
}
# Photographs, at an eighth of the paper's width.
CALTECH = {
    "data.batch_size": "32",
    "data.exif_rotation": "True",
    "data.name": "caltech",
    "data.test_split": "test",
    "data.validation_split": "",
    "model.classes": "101",
    "model.width": "0.125",
    "schedule.kind": "steps",
    "schedule.steps": "((30, 0.001),)",
    "train.epochs": "40.0",
}
# CIFAR-10's images, compressed once more than they came.
COMPRESSED = {"data.format": "jpeg", "data.name": "cifar10_60", "data.quality": "60"}
TANH = {"model.activation": "tanh", "schedule.learning_rate": "0.016", "train.epochs": "47.0"}  # figure 1


@dataclass(frozen=True)
class Experiment:
    """Say what is run: a config, its keys and a seed, and with how many views it is evaluated.

    Attributes:
      views: an evaluation for each; none: one, as the config says.
    """

    config: str
    keys: Mapping[str, str] = field(default_factory=dict)
    seed: int = 1
    views: tuple[int, ...] = ()

    @property
    def words(self) -> frozenset[str]:
        """Return what its row's name consists of."""
        return frozenset([self.config, *(f"{key}={value}" for key, value in self.keys.items())])

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        changes = "".join(f" {key.split('.')[1]} {value}" for key, value in self.keys.items())
        return re.sub(r"[^\w.]+", "-", f"{self.config}{changes} seed {self.seed}")

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows that were recorded of it."""
        path = RESULTS / f"{self.config}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else ()
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        mine = (self.words, self.seed)
        return [row for row in rows if (frozenset(shlex.split(row["experiment"])), row["seed"]) == mine]

    @property
    def done(self) -> bool:
        """Return whether there is a row of each of its evaluations."""
        rows = self.rows()
        return bool(rows) and {*self.views} <= {row["evaluation"].get("views") for row in rows}


def nets() -> Iterator[Experiment]:
    """Give cuda-convnet's nets whole."""
    for seed in (2012, 1):
        yield Experiment("cifar10_18", seed=seed)
        yield Experiment("cifar10_19", seed=seed)
    yield Experiment("cifar10_14", seed=2012)


def compression() -> Iterator[Experiment]:
    """Give a net that has what a compression takes from the images taken once more."""
    yield Experiment("cifar10_19", COMPRESSED, seed=2012)


def ablations() -> Iterator[Experiment]:
    """Give each arm's search, then its runs at the rates it found; arms in the order of their worth."""
    for arm in ARMS.values():
        for rate in (yield from search(arm)):
            yield from whole(arm, rate)


def twice_as_long() -> Iterator[Experiment]:
    """Give the base and the net without normalisation at twice the length, each at the better of its rates.

    They tell whether the ablations are long enough, and whether the sign that differs from the paper's stays.
    """
    base = yield from twice(ARMS["base"])
    without = yield from twice(ARMS["no normalisation"])
    for both in zip(base, without, strict=False):
        yield from both


def twice(arm: dict[str, str]) -> Generator[Experiment, None, list[Experiment]]:
    """Give an arm's search and runs, and return those of twice the length; [] where some have no row yet."""
    errors = {}
    for rate in (yield from search(arm)):
        runs = whole(arm, rate)
        yield from runs
        errors[rate] = [row["values"]["top1_error"] for run in runs for row in run.rows()]
    if not errors or not all(errors.values()):
        return []
    return whole(arm, min(errors, key=lambda rate: statistics.mean(errors[rate])), times=2)


def whole(arm: dict[str, str], rate: float, times: int = 1) -> list[Experiment]:
    """Return an arm's runs on all images, `times` the length of the ablations."""
    keys = arm | rate_keys(rate, times * EPOCHS, times * DROP) | {"data.train_split": "train"}
    return [Experiment("cifar10_alexnet", keys, seed) for seed in SEEDS]


def search(arm: dict[str, str]) -> Generator[Experiment, None, list[float]]:
    """Give a run at each rate, and further ones while the best is the least or the greatest.

    Returns:
      The rate with the least error, then those within TIE of it; [] where one has no row.
    """
    errors: dict[float, float] = {}
    rates: Sequence[float] = RATES
    while rates:
        runs = {
            rate: Experiment("cifar10_alexnet", arm | rate_keys(rate, EPOCHS // 3, DROP // 3) | HELD_OUT)
            for rate in rates
        }
        yield from runs.values()
        errors |= {rate: run.rows()[0]["values"]["top1_error"] for rate, run in runs.items() if run.rows()}
        if not errors.keys() >= runs.keys():
            return []
        best = min(errors, key=lambda rate: errors[rate])
        rates = [best / 2] if best == min(errors) else [best * 2] if best == max(errors) else []
    return sorted((rate for rate in errors if errors[rate] <= errors[best] + TIE), key=errors.__getitem__)


def rate_keys(rate: float, epochs: int, drop: int) -> dict[str, str]:
    """Return the keys of a learning rate, divided by ten at the end, where the config says another."""
    keys = {"schedule.steps": f"(({drop}, {rate / 10}),)", "train.epochs": f"{epochs}.0"}
    return keys if rate == 0.01 else {"schedule.learning_rate": str(rate), **keys}


def figure_1() -> Iterator[Experiment]:
    """Give the two nets of figure 1 at the rates that were chosen."""
    for seed in SEEDS:
        yield Experiment("cifar10_figure_1", seed=seed)
        yield Experiment("cifar10_figure_1", TANH, seed)


def repeats() -> Iterator[Experiment]:
    """Give second and third seeds of what ran once."""
    for config in ("mnist", "mnist_30", "mnist_improved", "mnist_convolutional", "cifar10_large_batch"):
        yield from (Experiment(config, seed=seed) for seed in SEEDS)


def photographs() -> Iterator[Experiment]:
    """Give one view beside ten, of photographs."""
    yield from (Experiment("imagenet", CALTECH, seed, views=(10, 1)) for seed in SEEDS)


GROUPS = {
    each.__name__: each
    for each in (nets, compression, ablations, twice_as_long, figure_1, repeats, photographs)
}


class Runner:
    """Runs the program on an experiment's folder, and stops it in order at a time."""

    def __init__(self, folder: Path, deadline: float):
        self.folder, self.deadline = folder, deadline

    def call(self, *words: str) -> int:
        """Run the program; return its exit code, `STOPPED` where the time was up."""
        command = [sys.executable, "-m", "alexnet_jax.main", *words]
        print(shlex.join(command[1:]), flush=True)
        environment = os.environ | {"TFDS_DATA_DIR": str(self.folder / "data")}
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            return process.wait(max(self.deadline - time.monotonic(), 1))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.send_signal(signal.SIGTERM)
            process.wait()
            return STOPPED

    def run(self, experiment: Experiment) -> bool:
        """Train, evaluate and record an experiment; return whether it came to its end."""
        workdir = f"--workdir={self.folder / 'runs' / experiment.name}"
        keys = [f"--config.{key}={value}" for key, value in experiment.keys.items()]
        config = f"--config=configs/{experiment.config}.py"
        steps = [("train", config, workdir, *keys, f"--config.seed={experiment.seed}")]
        for views in experiment.views or (0,):
            with_views = [f"--views={views}"] if views else []
            steps.append(("evaluate", workdir, *with_views))
            steps.append(("report", "--results", workdir))
        for step in steps:
            code = self.call(*step)
            if code:
                print(f"{experiment.name}: {step[0]} ended with {code}", file=sys.stderr)
                return False
        return True


def main() -> None:
    """Run what has no row yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(GROUPS), help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--hours", type=float, default=float("inf"))
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    groups = arguments.only.split(",")
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"--only={','.join(sorted(unknown))}: there are {', '.join(GROUPS)}")
    runner = Runner(arguments.folder.resolve(), time.monotonic() + arguments.hours * 3600)
    for group in groups:
        for experiment in GROUPS[group]():
            if arguments.list:
                print(f"{'done' if experiment.done else 'open':5} {group:11} {experiment.name}")
            elif not experiment.done and (time.monotonic() > runner.deadline or not runner.run(experiment)):
                raise SystemExit(STOPPED)


if __name__ == "__main__":
    main()
