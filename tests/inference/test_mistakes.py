"""The wrong guesses of an evaluation, against those that a file of predictions has."""

import csv
from collections import Counter

import numpy as np
import pytest

from alexnet_jax.inference import evaluate, mistakes
from alexnet_jax.workdir import trained


@pytest.fixture
def net(small_run):
    return trained.load(small_run, trained.read_config(small_run))


def test_confusions_and_mistakes_are_those_of_the_predictions(net, tmp_path, monkeypatch):
    monkeypatch.setattr(mistakes, "MOST", 7)
    answer = evaluate.evaluate([net], "test", 1, predictions=tmp_path / "all.csv")
    rows = list(csv.DictReader((tmp_path / "all.csv").open(newline="")))
    wrong = [row for row in rows if row["class"] != row["guess_1"]]
    assert len(wrong) > 7
    counted = Counter((row["class"], row["guess_1"]) for row in wrong)
    found = {(row["class"], row["guess"]): row["examples"] for row in answer["confusions"]}
    assert sorted(found.values(), reverse=True) == list(found.values())
    assert len(found) == min(7, len(counted))
    assert found.items() <= counted.items()
    assert min(found.values()) >= max(
        (count for pair, count in counted.items() if pair not in found), default=0
    )
    surest = sorted((float(row["probability_1"]) for row in wrong), reverse=True)[:7]
    np.testing.assert_allclose([row["probability"] for row in answer["mistakes"]], surest, rtol=1e-4)
    by_file = {row["file"]: row for row in wrong}
    for row in answer["mistakes"]:
        assert (row["class"], row["guess"]) == (
            by_file[row["file"]]["class"],
            by_file[row["file"]]["guess_1"],
        )


def test_what_a_person_reads(net):
    answer = evaluate.evaluate([net], "test", 1)
    text = evaluate.as_text(answer, 10).splitlines()
    first = answer["confusions"][0]
    of = answer["classes"][first["class"]]["examples"]
    assert f"  {first['class']} for {first['guess']}: {first['examples']} of {of}" in text
    worst = answer["mistakes"][0]
    assert any(
        line.startswith(f"  {worst['file']}: {worst['class']}, taken for {worst['guess']} (") for line in text
    )
    assert text[-1].startswith("digits_72 test")
