"""The verb `evaluate`: errors by hand, ensembles, and what is never the run's own result."""

import json
import shutil

import jax
import numpy as np
import pytest

from alexnet_jax.config import resolve
from alexnet_jax.data import pipeline, records
from alexnet_jax.errors import UsageError
from alexnet_jax.inference import evaluate
from alexnet_jax.model import architectures, sharding
from alexnet_jax.workdir import trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.inference.helpers import random_params

TOWERS = (2, 2, 1)


def write_member(small_run, workdir, seed, towers):
    """A copy of the small run with other weights, perhaps of a net of one tower."""
    shutil.copytree(small_run, workdir, ignore=shutil.ignore_patterns("checkpoints"))
    saved = json.loads((workdir / "config.json").read_text())
    saved["config"]["model"]["towers"] = saved["config"]["mesh"]["model"] = towers
    (workdir / "config.json").write_text(json.dumps(saved))
    config = trained.read_config(workdir)
    net = architectures.build(config.model, config.data.crop, config.data.channels)
    params = random_params(net, np.random.default_rng(seed))
    params["conv1"]["kernel"] /= 8  # images go from 0 to 255
    for name in ("fc6", "fc7", "fc8"):  # what all images have in common counts nothing, or all were one class
        params[name]["kernel"] -= params[name]["kernel"].mean(axis=-2, keepdims=True)
        params[name]["bias"][:] = 0
    checkpoints = Checkpoints(workdir)
    checkpoints.save(12, {"params": params}, {"validation_top1_error": 0.5})
    checkpoints.close()


@pytest.fixture(scope="module")
def workdirs(small_run, tmp_path_factory):
    """Two nets of two towers, and one of one, which needs another mesh."""
    made = [tmp_path_factory.mktemp("members") / f"run{number}" for number in range(3)]
    for seed, (workdir, towers) in enumerate(zip(made, TOWERS, strict=True)):
        write_member(small_run, workdir, seed, towers)
    return made


def by_hand(probabilities, labels):
    """(loss, top-1 error, top-5 error) of float64 (N, classes)."""
    own = probabilities[np.arange(len(labels)), labels]
    above = (probabilities > own[:, None]).sum(axis=1)
    return -np.log(own).mean(), (above >= 1).mean(), (above >= 5).mean()


@pytest.mark.parametrize("count", [2, 3])
def test_an_ensemble_averages_the_probabilities(workdirs, count):
    nets = trained.load_members(workdirs[:count], trained.read_config(workdirs[0]), "best")
    assert {member.mesh.shape["model"] for member in nets} == {2 if count == 2 else 1}
    answer = evaluate.evaluate(nets, "test", 1)
    dataset = records.open_dataset(nets[0].config.data)
    each, labels = [[] for _ in nets], []
    for host in pipeline.evaluation_batches(dataset, "test", nets[0].config.data, 100, rows=(0, 100)):
        real = host["weight"] > 0
        labels.append(host["label"][real])
        image = sharding.to_device({"image": host["image"]}, nets[0].mesh)["image"]
        for probabilities, member in zip(each, nets, strict=True):
            probabilities.append(np.asarray(member.predictor(1)(image), np.float64)[real])
    labels, each = np.concatenate(labels), [np.concatenate(probabilities) for probabilities in each]
    assert answer["examples"] == len(labels) == 297
    expected = [by_hand(p, labels) for p in [*each, np.mean(each, axis=0)]]
    assert len({round(errors[0], 2) for errors in expected}) == count + 1  # all differ
    assert len(np.unique(np.mean(each, axis=0).argmax(axis=1))) > 3  # not one class for all
    for probabilities, numbers in zip([*answer["members"], answer], expected, strict=True):
        errors = (probabilities["loss"], probabilities["top1_error"], probabilities["top5_error"])
        np.testing.assert_allclose(errors, numbers, rtol=1e-5)
    assert evaluate.save(answer, workdirs[0]) == ""
    assert [m["checkpoint"] for m in answer["members"]] == answer["checkpoints"]
    assert answer["checkpoints"] == [f"{workdir}/checkpoints/12" for workdir in workdirs[:count]]
    assert json.loads((workdirs[0] / "ensemble.json").read_text()) == answer
    assert not list(workdirs[0].glob("evaluation*.json"))
    guess = np.mean(each, axis=0).argmax(axis=1)
    wrong = {str(c): (guess[labels == c] != c).mean() for c in range(10)}
    assert {name: row["top1_error"] for name, row in answer["classes"].items()} == pytest.approx(wrong)
    assert sum(row["examples"] for row in answer["classes"].values()) == 297
    assert answer["mean_class_error"] == pytest.approx(np.mean(list(wrong.values())))
    assert len(evaluate.as_text(answer).splitlines()) == count + 10 + 1


@pytest.fixture(scope="module")
def evaluated(small_run, tmp_path_factory):
    """A copy of the small run with a second, worse checkpoint, and with its own evaluation; the answer."""
    workdir = shutil.copytree(small_run, tmp_path_factory.mktemp("runs") / "evaluated")
    checkpoints, net = Checkpoints(workdir, keep=9), trained.load(workdir, trained.read_config(workdir))
    zeros = jax.tree.map(np.zeros_like, jax.device_get(net.params))
    checkpoints.save(20, {"params": zeros}, {"validation_top1_error": 1.0})
    checkpoints.close()
    answer = evaluate.evaluate([net], "", 10)
    assert evaluate.save(answer, workdir) == ""
    return workdir, answer


def ask(workdir, changes=None, which="best", split="", views=10):
    """Do what `evaluate` does with these flags; return the answer and the line for the user."""
    config = resolve.replace(trained.read_config(workdir), changes or {})
    answer = evaluate.evaluate(trained.load_members([workdir], config, which), split, views)
    return answer, evaluate.save(answer, workdir)


def test_the_run_s_own_result(evaluated):
    workdir, answer = evaluated
    assert json.loads((workdir / "evaluation.json").read_text()) == answer
    assert list(answer) == [
        *("dataset", "split", "views", "examples", "loss", "top1_error", "top5_error", "mean_class_error"),
        *("classes", "checkpoints", "changed", "seconds", "sha256"),
    ]
    assert (answer["dataset"], answer["split"], answer["views"]) == ("digits_72", "test", 10)
    assert (answer["checkpoints"], answer["changed"]) == ([f"{workdir}/checkpoints/12"], {})


OTHERS = {
    "a key of the input": ({"changes": {"data.mean": "none"}}, {"config.data.mean": "none"}),
    "a key of the net": ({"changes": {"model.lrn": False}}, {"config.model.lrn": False}),
    "a checkpoint": ({"which": "20"}, {"checkpoint": 20}),
    "the last checkpoint": ({"which": "last"}, {"checkpoint": 20}),
    "a split": ({"split": "train[:50]"}, {"split": "train[:50]"}),
    "the config's split": (
        {"changes": {"data.test_split": "test[:50]"}},
        {"config.data.test_split": "test[:50]", "split": "test[:50]"},
    ),
    "views": ({"views": 1}, {"views": 1}),
    "all": (
        {"changes": {"data.mean": "rgb"}, "which": "20", "split": "test[:20]", "views": 1},
        {"config.data.mean": "rgb", "checkpoint": 20, "split": "test[:20]", "views": 1},
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_answer_leaves_the_run_s_own_as_it_is(what, evaluated):
    workdir, own = evaluated
    asked, changed = OTHERS[what]
    before = (workdir / "evaluation.json").read_bytes()
    answer, line = ask(workdir, **asked)
    assert answer["changed"] == changed
    assert (answer["loss"], answer["examples"]) != (own["loss"], own["examples"])  # it is another one
    assert (workdir / "evaluation.json").read_bytes() == before
    assert json.loads((workdir / "evaluation_other.json").read_text()) == answer
    assert line.startswith("not the run's own result, since ")
    assert "written to evaluation_other.json, and evaluation.json stays as it is" in line
    for key, value in changed.items():  # type: ignore[attr-defined]
        assert f"{key}={value}" in line


def test_how_it_is_computed_changes_nothing(evaluated, tmp_path):
    """Another mesh, batch, number of threads and copy of the data: the run's own result, to rounding."""
    workdir, own = evaluated
    copy = shutil.copytree(trained.read_config(workdir).data.dir, tmp_path / "data")
    changes = {"mesh.data": 2, "mesh.model": 1, "evaluate.batch_size": 64, "data.threads": 1}
    others = (workdir / "evaluation_other.json").exists()
    for asked in (
        {"changes": changes | {"data.dir": str(copy)}},
        {"which": "12", "split": "test"},  # by their names
        {"changes": {"evaluate.views": 1, "train.epochs": 99.0, "checkpoint.keep": 1}},
    ):
        (workdir / "evaluation.json").unlink()
        answer, line = ask(workdir, **asked)
        assert (answer["changed"], line) == ({}, "")
        assert json.loads((workdir / "evaluation.json").read_text()) == answer
        assert {key: answer[key] for key in ("examples", "top1_error", "classes", "checkpoints")} == {
            key: own[key] for key in ("examples", "top1_error", "classes", "checkpoints")
        }
        assert answer["loss"] == pytest.approx(own["loss"], rel=1e-5)
    assert (workdir / "evaluation_other.json").exists() == others


def test_classes_without_an_image_are_left_out(evaluated):
    workdir, _ = evaluated
    dataset = records.open_dataset(trained.read_config(workdir).data)
    first = dataset.records("test").read(0)[1]
    answer, _ = ask(workdir, split="test[:1]", views=1)
    assert {name: row["examples"] for name, row in answer["classes"].items()} == {str(first): 1}
    assert answer["mean_class_error"] == answer["top1_error"]


def test_the_classes_with_most_errors_are_shown_first():
    classes = {f"c{n:02}": {"examples": 4, "top1_error": n / 12} for n in range(12)}
    answer = {"views": 1, "dataset": "d", "split": "test", "examples": 48, "loss": 1.5, "top1_error": 0.25}
    answer |= {"top5_error": 0.125, "mean_class_error": 0.5, "classes": classes, "changed": {}}
    lines = evaluate.as_text(answer).splitlines()
    assert [line.split()[-1] for line in lines[:10]] == [f"c{n:02}" for n in range(11, 1, -1)]
    assert lines[0] == "  8.3% right of 4  c11"
    assert lines[10] == "  (and 2 classes with fewer errors; --json has all)"
    assert len(lines) == 12
    assert lines[11] == (
        "d test, 48 images, the centre view: top-1 error 25.00%, top-5 error 12.50%, loss 1.5000, "
        "mean over classes 50.00%"
    )


def test_what_cannot_be_evaluated(evaluated):
    workdir, _ = evaluated
    with pytest.raises(UsageError, match="split 'nothing' of "):
        ask(workdir, split="nothing")
    with pytest.raises(UsageError, match="is not prepared"):
        ask(workdir, changes={"data.dir": str(workdir)})
