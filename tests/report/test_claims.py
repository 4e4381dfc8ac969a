"""The verdicts by hand, and claims whose commands can be typed."""

import dataclasses
import re
import shlex

import pytest
from absl import flags as absl_flags
from ml_collections import config_flags

from alexnet_jax.model import architectures
from alexnet_jax.report import claims, results, results_page

FIGURE = claims.Claim("words", "26 %", "source", "near", "cifar10", published=26.0)
AIM = dataclasses.replace(FIGURE, rule="at most", published=6.0)
MORE = dataclasses.replace(FIGURE, rule="more", base="cifar10_19", published=1.4)
LESS = dataclasses.replace(MORE, rule="less", published=-1.0)
FACTOR = dataclasses.replace(MORE, rule="near", published=6.0, factor=True)


@pytest.mark.parametrize(
    ("claim", "mean", "interval", "expected"),
    [
        (FIGURE, None, None, "not run"),
        (FIGURE, 26.4, None, "reproduced"),  # one run, within half a point
        (FIGURE, 26.6, None, "not shown"),
        (FIGURE, 26.25, (20.0, 32.5), "reproduced"),
        (FIGURE, 26.8, (25.9, 27.7), "reproduced"),  # the interval holds it, and is narrow
        (FIGURE, 26.8, (25.0, 28.6), "not shown"),  # it holds anything
        (FIGURE, 26.8, (26.4, 27.2), "not shown"),  # away from it, by less than the margin
        (FIGURE, 28.0, (26.6, 29.4), "contradicts"),
        (FIGURE, 24.0, (22.6, 25.4), "contradicts"),
        (AIM, 5.9, None, "not shown"),  # one run
        (AIM, 5.9, (5.5, 6.3), "reached"),
        (AIM, 6.1, (5.5, 6.7), "not shown"),
        (AIM, 6.5, (6.1, 6.9), "missed"),
        (MORE, 1.4, None, "not shown"),
        (MORE, 5.0, (0.1, 9.9), "reproduced"),  # the sign is judged, not the size
        (MORE, 1.4, (-0.1, 2.9), "not shown"),
        (MORE, -1.0, (-1.9, -0.1), "contradicts"),
        (LESS, -1.0, (-1.9, -0.1), "reproduced"),
        (LESS, 1.0, (0.1, 1.9), "contradicts"),
        (FACTOR, 6.2, None, "not shown"),
        (FACTOR, 6.9, (6.2, 7.6), "reproduced"),
        (FACTOR, 8.0, (7.1, 9.0), "contradicts"),
        (dataclasses.replace(MORE, rule="none"), 1.0, (0.5, 1.5), "no claim"),
    ],
)
def test_verdicts(claim, mean, interval, expected):
    assert claims.verdict(claim, mean, interval) == expected


def test_the_rule_on_the_page_names_the_margins():
    assert (FIGURE.margin, FACTOR.margin) == (0.5, 1.0)
    assert "within 0.5 points" in claims.RULE
    assert "no further than 1 point" in claims.RULE
    assert "with 1 for 0.5 points" in claims.RULE


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.words)
def test_a_claim_is_whole_and_its_command_makes_a_net(claim):
    assert claim.rule in ("near", "at most", "more", "less", "none")
    assert claim.published is not None or claim.rule not in ("near", "at most")
    if claim.base and claim.published:
        assert claim.factor or (claim.published > 0) == (claim.rule == "more")
    assert claim.figure in ("", *results_page.FIGURES)
    assert claim.source or claim.rule == "none"
    for number in re.findall(r"[+-]?\d+\.?\d*", claim.said):
        assert float(number) == claim.published
    for experiment in filter(None, (claim.arm, claim.base)):
        flags = shlex.split(results_page.command_of(experiment))
        assert flags[:3] == ["python", "-m", "alexnet_jax.main"]
        values = absl_flags.FlagValues()
        config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=flags)
        values([flags[2], *(flag.replace("=SEED", "=1") for flag in flags[3:])])
        config = values["config"].value
        assert results.nearest_config(config)[0] == experiment.split(" ")[0]
        architectures.build(config.model, config.data.crop, config.data.channels)
