"""Ensembles: the errors of averaged probabilities, and each member's own."""

import json

import numpy as np
import pytest

from alexnet_jax.data import pipeline
from alexnet_jax.errors import UsageError
from alexnet_jax.inference import evaluate, run
from alexnet_jax.training import loop, step


@pytest.fixture(scope="module")
def workdirs(digits_folder, tmp_path_factory):
    """Three short runs: two nets of two towers, and one of one, which needs another mesh."""
    from tests.helpers import small_digits

    made = []
    for seed, towers in ((1, 2), (2, 2), (3, 1)):
        config = small_digits(digits_folder)
        config.seed, config.model.towers = seed, towers
        config.mesh.model = towers
        made.append(tmp_path_factory.mktemp(f"run{seed}"))
        assert loop.train(config, made[-1]) == 0
    return made


def by_hand(probabilities, labels):
    """(loss, top-1 error, top-5 error) of float64 (N, classes)."""
    own = probabilities[np.arange(len(labels)), labels]
    above = (probabilities > own[:, None]).sum(axis=1)
    return -np.log(own).mean(), (above >= 1).mean(), (above >= 5).mean()


@pytest.mark.parametrize("count", [2, 3])
def test_an_ensemble_averages_the_probabilities(workdirs, count):
    runs = run.load_members(workdirs[:count], run.read_config(workdirs[0]), "best")
    assert {member.mesh.shape["model"] for member in runs} == {2 if count == 2 else 1}
    answer = evaluate.evaluate(runs, "test", 1)
    dataset = pipeline.open_dataset(runs[0].config.data)
    each, labels = [[] for _ in runs], []
    for host in pipeline.evaluation_batches(dataset, "test", runs[0].config, rows=(0, 100)):
        real = host["weight"] > 0
        labels.append(host["label"][real])
        image = step.to_device({"image": host["image"]}, runs[0].mesh)["image"]
        for place, member in zip(each, runs, strict=True):
            place.append(np.asarray(member.predictor(1)(image), np.float64)[real])
    labels, each = np.concatenate(labels), [np.concatenate(place) for place in each]
    assert answer["examples"] == len(labels) == 297
    expected = [by_hand(p, labels) for p in [*each, np.mean(each, axis=0)]]
    for found, numbers in zip([*answer["members"], answer], expected, strict=True):
        errors = (found["loss"], found["top1_error"], found["top5_error"])
        np.testing.assert_allclose(errors, numbers, rtol=1e-5)
    assert [m["checkpoint"] for m in answer["members"]] == answer["checkpoints"]
    assert json.loads((workdirs[0] / "ensemble.json").read_text()) == answer
    guess = np.mean(each, axis=0).argmax(axis=1)
    wrong = {str(c): (guess[labels == c] != c).mean() for c in range(10)}
    assert {name: row["top1_error"] for name, row in answer["classes"].items()} == pytest.approx(wrong)
    assert sum(row["examples"] for row in answer["classes"].values()) == 297
    assert answer["mean_class_error"] == pytest.approx(np.mean(list(wrong.values())))
    assert len(evaluate.as_text(answer).splitlines()) == count + 10 + 1


def test_members_must_read_the_same_pictures(workdirs, tmp_path):
    saved = json.loads((workdirs[1] / "config.json").read_text())
    saved["config"]["data"]["size"] = 80
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(UsageError, match=r"config.data.size=80, .* 72"):
        run.load_members([workdirs[0], tmp_path], run.read_config(workdirs[0]), "best")
