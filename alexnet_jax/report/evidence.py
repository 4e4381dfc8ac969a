"""Find the recorded runs that speak about a claim, and what they say."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from alexnet_jax.report import claims, results

Row = Mapping[str, Any]
Rows = Sequence[Row]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Finding:
    """What runs say about a claim.

    Attributes:
      claim: the claim.
      sides: the runs of its arm and, where there is one, of its base; () where either has none.
      mean: in the claim's unit, None without runs.
      interval: of 95 %, None where a side has one run or no spread.
    """

    claim: claims.Claim
    sides: tuple[Rows, ...] = ()
    mean: float | None = None
    interval: Interval | None = None

    @property
    def verdict(self) -> str:
        """Return the verdict by `claims.RULE`."""
        return claims.verdict(self.claim, self.mean, self.interval)


def find(claim: claims.Claim, rows: Rows) -> Finding:
    """Return what the rows of all experiments say about a claim."""
    sides = _sides(claim, rows)
    if not sides:
        return Finding(claim)
    scale = 100 if claim.value.endswith("error") else 1
    values = [{row["seed"]: scale * float(row["values"][claim.value]) for row in side} for side in sides]
    if len(sides) == 1:
        return Finding(claim, sides, *_of_one(list(values[0].values())))
    arm, base = values
    if claim.arm == claim.base:  # the same runs, each evaluated in both ways
        return Finding(claim, sides, *_of_one([arm[seed] - base[seed] for seed in arm]))
    if claim.factor:
        logs = [[math.log(value) for value in side.values()] for side in values]
        mean, interval = _of_two(*logs)
        ends = (math.exp(interval[0]), math.exp(interval[1])) if interval else None
        return Finding(claim, sides, math.exp(mean), ends)
    return Finding(claim, sides, *_of_two(list(arm.values()), list(base.values())))


def words(experiment: str) -> list[str]:
    """Return an experiment's config and its 'key=value', each without the quotes of a shell."""
    try:
        return shlex.split(experiment)
    except ValueError:  # an open quote, which no recorded run has
        return experiment.split()


def learning_rates(claim: claims.Claim, rows: Rows) -> list[tuple[str, ...]]:
    """Return of each side the learning rates that were tried; '' is the config's own.

    A search may be of any length, and is judged on held-out training images.
    """
    free = (*claims.RATE, *claims.LENGTH, "data.test_split")
    tried = []
    for experiment in filter(None, (claim.arm, claim.base)):
        rates = set()
        for row in rows:
            rest = _rest(experiment, row, free)
            if rest is not None:
                rates |= {word for word in rest if word.startswith("schedule.learning_rate=")} or {""}
        tried.append(tuple(sorted(rate.partition("=")[2] for rate in rates)))
    return tried


def _sides(claim: claims.Claim, rows: Rows) -> tuple[Rows, ...]:
    """Return the runs of the arm and of the base, () where one has none.

    Of what the claim leaves open, both share what is `alike`: the longest training with two seeds a side, or
    with one where no other is. Of what is each side's `own`, that with the lowest mean counts.
    """
    experiments = [claim.arm, claim.base] if claim.base else [claim.arm]
    views = (claim.views[0], claim.views[-1])
    found = [_settings(claim, *each, rows) for each in zip(experiments, views, strict=False)]
    shared = sorted(set.intersection(*({*side} for side in found)))
    candidates = [tuple(side[setting] for side in found) for setting in shared]
    if claim.arm == claim.base:
        candidates = [_with_the_same_seeds(sides) for sides in candidates]
        candidates = [sides for sides in candidates if sides[0]]
    return max(candidates, key=_weight, default=())


def _settings(
    claim: claims.Claim, experiment: str, views: int | None, rows: Rows
) -> dict[tuple[str, ...], Rows]:
    """Return an experiment's runs by what `alike` leaves open, each at its best of what is its own."""
    groups: dict[tuple[str, ...], dict[tuple[str, ...], list[Row]]] = {}
    for row in rows:
        rest = _rest(experiment, row, (*claim.alike, *claim.own))
        if rest is None or claim.value not in row["values"] or views not in (results.views(row), None):
            continue
        setting = tuple(word for word in rest if word.startswith(_starts(claim.alike)))
        own = tuple(word for word in rest if word not in setting)
        group = groups.setdefault(setting, {}).setdefault(own, [])
        if row["seed"] not in [each["seed"] for each in group]:  # on two kinds of hardware
            group.append(row)
    best_by = claim.value if claim.value.startswith("epochs_to") else "top1_error"

    def rank(group: Rows) -> tuple[bool, float]:
        values = [float(row["values"].get(best_by, math.inf)) for row in group]
        return len(group) < 2, statistics.mean(values)

    return {setting: min(own.values(), key=rank) for setting, own in groups.items()}


def _rest(experiment: str, row: Row, free: Sequence[str]) -> tuple[str, ...] | None:
    """Return in what a row's experiment differs, None where it does in more than the keys that are free."""
    (config, *named), (of_row, *own) = words(experiment), words(row["experiment"]) or [""]
    rest = tuple(word for word in own if word not in named)
    others = not all(word.startswith(_starts(free)) for word in rest)
    return None if others or config != of_row or not {*named} <= {*own} else rest


def _starts(keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{key}=" for key in keys)


def _weight(sides: tuple[Rows, ...]) -> tuple[bool, float]:
    """Return whether each side has two seeds, and how many images the shorter training saw."""
    seen = [float(row.get("images") or 0) * float(row.get("epochs") or 0) for side in sides for row in side]
    return min(map(len, sides)) > 1, min(seen)


def _with_the_same_seeds(sides: tuple[Rows, ...]) -> tuple[Rows, ...]:
    seeds = set.intersection(*({row["seed"] for row in side} for side in sides))
    return tuple([row for row in side if row["seed"] in seeds] for side in sides)


def _of_one(values: Sequence[float]) -> tuple[float, Interval | None]:
    """Return the mean and Student's 95 % interval."""
    mean = statistics.mean(values)
    if len({*values}) < 2:  # without a spread there is no interval
        return mean, None
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, (mean - reach, mean + reach)


def _of_two(arm: Sequence[float], base: Sequence[float]) -> tuple[float, Interval | None]:
    """Return the difference of the means and Welch's 95 % interval."""
    difference = statistics.mean(arm) - statistics.mean(base)
    if min(len(arm), len(base)) < 2 or len({*arm}) == len({*base}) == 1:
        return difference, None
    low, high = stats.ttest_ind(arm, base, equal_var=False).confidence_interval(0.95)
    return difference, (float(low), float(high))
