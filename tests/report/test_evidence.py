"""Which runs speak about a claim, and their means and intervals against numpy and tables of Student's t."""

import math

import numpy as np
import pytest

from alexnet_jax.report import claims, evidence

DROPOUT = claims.Claim(
    "words",
    "more error",
    "paper",
    "more",
    "net model.dropout=0.0",
    "net",
    alike=claims.LENGTH,
    own=claims.RATE,
)
T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}  # of 97.5 %, from a table


def rows(experiment, errors, images=100, epochs=10.0, views=1, hardware="cpu, 2 cores", **values):
    """Rows of one experiment, seeds 1, 2, and so on."""
    return [
        {
            "experiment": experiment,
            "seed": seed,
            "hardware": hardware,
            "values": {"top1_error": error} | {name: each[seed - 1] for name, each in values.items()},
            "evaluation": {"views": views},
            "images": images,
            "epochs": epochs,
        }
        for seed, error in enumerate(errors, 1)
    ]


def test_a_figure_of_one_net():
    claim = claims.Claim("words", "26 %", "source", "near", "net", published=26.0)
    errors = [0.25, 0.26, 0.28]
    found = evidence.find(
        claim, [*rows("net", errors), *rows("net train.epochs=3.0", [0.9]), *rows("n", [1])]
    )
    assert found.mean == pytest.approx(100 * np.mean(errors))
    reach = T[2] * 100 * np.std(errors, ddof=1) / math.sqrt(3)
    assert found.interval == pytest.approx((found.mean - reach, found.mean + reach), rel=1e-3)
    assert evidence.find(claim, rows("net", [0.25])).interval is None
    assert evidence.find(claim, rows("net", [0.25, 0.25])).interval is None  # without a spread
    assert evidence.find(claim, rows("net", [0.25], views=10)).verdict == "not run"
    assert evidence.find(claim, []).verdict == "not run"
    twice = [*rows("net", errors), *rows("net", [0.5], hardware="gpu")]
    assert evidence.find(claim, twice).mean == pytest.approx(100 * np.mean(errors))  # a seed counts once


def test_a_difference_by_welch():
    base, arm = [0.30, 0.31, 0.35], [0.33, 0.40, 0.38]
    found = evidence.find(DROPOUT, [*rows("net", base), *rows("net model.dropout=0.0", arm)])
    assert found.mean == pytest.approx(5.0)
    parts = [np.var(errors, ddof=1) / 3 for errors in (base, arm)]
    freedom = sum(parts) ** 2 / sum(part**2 / 2 for part in parts)
    assert 3 < freedom < 4
    low, high = found.interval
    assert (low + high) / 2 == pytest.approx(5.0)
    assert T[4] < (high - low) / 200 / sum(parts) ** 0.5 < T[3]
    alone = evidence.find(DROPOUT, [*rows("net", base), *rows("net model.dropout=0.0", arm[:1])])
    assert (alone.interval, alone.verdict) == (None, "not shown")
    assert evidence.find(DROPOUT, rows("net", base)).sides == ()  # nothing to compare with


def test_the_longest_training_that_both_sides_share():
    short, long = "train.epochs=5.0", 'data.train_split="train[:90%]" train.epochs=50.0'
    other = "net model.lrn=False train.epochs=90.0"  # changes more than the claim leaves open
    recorded = [
        *rows("net", [0.5, 0.51]),
        *rows("net model.dropout=0.0", [0.6, 0.61]),
        *rows(f"net {short}", [0.7, 0.71], epochs=5.0),
        *rows(f"net model.dropout=0.0 {short}", [0.9, 0.91], epochs=5.0),
        *rows(f"net {long}", [0.2, 0.21], images=90, epochs=50.0),
        *rows(other, [0.1, 0.11], epochs=90.0),
        *rows(f"{other} model.dropout=0.0", [0.1, 0.11], epochs=90.0),
    ]
    assert evidence.find(DROPOUT, recorded).mean == pytest.approx(10)
    quoted = f'net data.train_split="train[:90%]" model.dropout=0.0 {long.split(" ")[1]}'
    one = rows(quoted, [0.23], images=90, epochs=50.0)
    assert evidence.find(DROPOUT, [*recorded, *one]).mean == pytest.approx(
        10
    )  # one run a side has no interval
    two = rows(quoted, [0.23, 0.24], images=90, epochs=50.0)
    found = evidence.find(DROPOUT, [*recorded, *two])
    assert found.mean == pytest.approx(3)
    assert [side[0]["epochs"] for side in found.sides] == [50, 50]
    unsaid = [{key: value for key, value in row.items() if key != "images"} for row in two]
    assert evidence.find(DROPOUT, [*recorded, *unsaid]).mean == pytest.approx(10)  # rows of before


def test_each_side_at_its_own_best_learning_rate():
    rate = "schedule.learning_rate"
    recorded = [
        *rows("net", [0.5, 0.52]),
        *rows(f"net {rate}=0.1", [0.4, 0.42]),
        *rows(f"net {rate}=0.2", [0.3]),  # one run
        *rows(f"net {rate}=0.3 train.epochs=3.0", [0.8], epochs=3.0),
        *rows("net model.dropout=0.0", [0.45, 0.47]),
        *rows(f'net model.dropout=0.0 {rate}=0.1 schedule.steps="((5, 0.01),)"', [0.6, 0.62]),
    ]
    found = evidence.find(DROPOUT, recorded)
    assert found.mean == pytest.approx(5)
    assert [side[0]["experiment"] for side in found.sides] == ["net model.dropout=0.0", f"net {rate}=0.1"]
    assert evidence.learning_rates(DROPOUT, recorded) == [("", "0.1"), ("", "0.1", "0.2", "0.3")]
    search = f'net data.test_split="train[90%:]" data.train_split="train[:90%]" {rate}=0.4 train.epochs=90.0'
    searched = [*recorded, *rows(search, [0.1, 0.1], epochs=90.0)]
    assert evidence.learning_rates(DROPOUT, searched)[1] == ("", "0.1", "0.2", "0.3", "0.4")
    assert evidence.find(DROPOUT, searched) == found  # what chose a rate is no evidence


def test_a_factor_of_epochs():
    claim = claims.Claim(
        *("words", "6 times", "paper", "near", "net model.activation=tanh", "net", 6.0),
        value="epochs_to_25_percent",
        factor=True,
        views=(None,),
        own=("schedule.learning_rate", "train.epochs"),
    )
    relu, tanh = [7.0, 8.0], [40.0, 50.0]
    fast = "net schedule.learning_rate=0.1"
    slow = "net model.activation=tanh train.epochs=60.0"
    recorded = [
        *rows("net", [0.2, 0.2], epochs_to_25_percent=[20.0, 21.0]),
        *rows(fast, [0.5, 0.5], epochs_to_25_percent=relu),
        *rows(slow, [0.1, 0.1], epochs_to_25_percent=tanh),
        *rows(f"{slow} schedule.learning_rate=0.5", [0.1]),  # it never came to it
    ]
    found = evidence.find(claim, recorded)
    assert found.mean == pytest.approx(math.sqrt(40 * 50 / (7 * 8)))
    assert found.interval[0] * found.interval[1] == pytest.approx(found.mean**2)
    assert [[row["experiment"] for row in side] for side in found.sides] == [[slow] * 2, [fast] * 2]


def test_one_run_evaluated_in_two_ways_is_a_pair():
    """The spread over seeds is far wider than that of the differences, which are 1, 1.1 and 1.2 points."""
    claim = claims.Claim("words", "+1.5", "paper", "more", "net", "net", 1.5, views=(1, 10))
    ten = [0.30, 0.40, 0.50]
    one = [0.31, 0.411, 0.512, 0.9]
    found = evidence.find(claim, [*rows("net", one), *rows("net", ten, views=10)])
    assert found.mean == pytest.approx(1.1)
    assert found.interval == pytest.approx((1.1 - T[2] * 0.1 / 3**0.5, 1.1 + T[2] * 0.1 / 3**0.5), rel=1e-3)
    assert found.verdict == "reproduced"
    assert evidence.find(claim, rows("net", one)).verdict == "not run"


def test_an_experiment_in_words():
    assert evidence.words('net data.split="train[:9%]" a=b') == ["net", "data.split=train[:9%]", "a=b"]
    assert evidence.words('net "a b') == ["net", '"a', "b"]
    strange = [*rows('net "a', [0.3]), *rows("", [0.3])]
    assert evidence.find(DROPOUT, strange).sides == ()
