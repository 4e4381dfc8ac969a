"""The verb `evaluate`: errors by hand, ensembles, other data, and what is never the run's own result."""

import csv
import errno
import hashlib
import json
import os
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from alexnet_jax.config import resolve
from alexnet_jax.data import pipeline, prepare, records, tfds_layout
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import evaluate, predict
from alexnet_jax.model import architectures, sharding
from alexnet_jax.workdir import trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.commands.helpers import call
from tests.fixtures.make_old_run import FOLDER
from tests.helpers import forget_provenance
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
    shown = sum(row["examples"] > 1 for row in answer["confusions"][:5])
    assert len(evaluate.as_text(answer, 10).splitlines()) == count + 10 + (1 + shown) + (1 + 5) + 1


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
        *("classes", "confusions", "mistakes", "checkpoints", "changed", "seconds", "sha256"),
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


def test_another_dataset_of_the_same_name_is_said(evaluated, tmp_path):
    """A run keeps the digest of its dataset; one of an earlier version has none."""
    workdir, own = evaluated
    saved = trained.read_config(workdir)
    folder = tfds_layout.dataset_folder(saved.data)
    other = shutil.copytree(folder, tmp_path / "data" / folder.relative_to(folder.parents[1]))
    answer, line = ask(workdir, {"data.dir": str(tmp_path / "data")})
    assert (answer["changed"], line) == ({}, "")  # a copy
    info = json.loads((other / "dataset_info.json").read_text())
    info["splits"][0]["numBytes"] = str(int(info["splits"][0]["numBytes"]) + 1)
    (other / "dataset_info.json").write_text(json.dumps(info))
    answer, line = ask(workdir, {"data.dir": str(tmp_path / "data")})
    assert answer["changed"] == {"dataset": "digits_72"}
    assert "not the run's own result, since dataset=digits_72" in line
    assert answer["loss"] == own["loss"]


def test_images_that_selected_the_checkpoint_are_said_to_have(evaluated):
    workdir, own = evaluated
    words = "these images also selected the checkpoint"
    assert words not in evaluate.as_text(own, 10)
    validation = trained.read_config(workdir).data.validation_split
    answer, _ = ask(workdir, split=validation)
    assert answer["selected"] is True
    assert words in evaluate.as_text(answer, 10).splitlines()[-1]


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
    assert answer["unseen"] == [str(digit) for digit in range(10) if digit != first]
    names = ", ".join(answer["unseen"][:5])
    line = f"no image of {names} and 4 more: the mean is over 1 of 10 classes"
    assert evaluate.as_text(answer, 10).splitlines()[-1] == line
    few = evaluate.as_text(answer | {"unseen": ["panda"]}, 10).splitlines()[-1]
    assert few == "no image of panda: the mean is over 1 of 2 classes"


@pytest.mark.parametrize(("outputs", "five"), [(6, "top-5 error 12.50%, "), (5, ""), (2, "")])
def test_the_classes_with_most_errors_are_shown_first(outputs, five):
    classes = {f"c{n:02}": {"examples": 4, "top1_error": n / 12} for n in range(12)}
    answer = {"views": 1, "dataset": "d", "split": "test", "examples": 48, "loss": 1.5, "top1_error": 0.25}
    answer |= {"top5_error": 0.125, "mean_class_error": 0.5, "classes": classes, "changed": {}}
    answer |= {"confusions": [], "mistakes": []}
    member = {"checkpoint": "a", "loss": 2.5, "top1_error": 0.5, "top5_error": 0.125}
    (first, *_) = evaluate.as_text(answer | {"members": [member]}, outputs).splitlines()
    assert first == f"top-1 error 50.00%, {five}loss 2.5000  a"
    lines = evaluate.as_text(answer, outputs).splitlines()
    assert [line.split()[-1] for line in lines[:10]] == [f"c{n:02}" for n in range(11, 1, -1)]
    assert lines[0] == "  8.3% right of 4  c11"
    assert lines[10] == "  (and 2 classes with fewer errors; --json has all)"
    assert len(lines) == 12
    assert lines[11] == (
        f"d test, 48 images, the centre view: top-1 error 25.00%, {five}loss 1.5000, mean over classes 50.00%"
    )


WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def old_run(tmp_path_factory):
    """A copy of a run with 28 % error, whose classes are '0' to '9'."""
    return shutil.copytree(FOLDER / "workdir", tmp_path_factory.mktemp("old") / "run")


def write_digits(folder, name_of, every=12):
    """Some of scikit-learn's digits as PNG files in folders `name_of(label)`; none where that is ''."""
    digits = load_digits()
    for index in range(0, len(digits.images), every):
        name = name_of(int(digits.target[index]))
        if name:
            path = folder / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.uint8(np.minimum(digits.images[index] * 16, 255))).save(path)
    return folder


def predicted(workdir, source, class_of=str, views=10):
    """{file: (class, the five guesses)} of a folder, as the verb `predict` answers."""
    net = trained.load(workdir, trained.read_config(workdir))
    paths = sorted(source.rglob("*.png"))
    return {
        path.relative_to(source).as_posix(): (class_of(path.parent.name), answer["top5"])
        for path, answer in zip(paths, predict.predict(net, paths, views), strict=True)
    }


def error_of(answers, first=1):
    """The share of images whose class is not among the first guesses."""
    wrong = [name not in [guess["name"] for guess in five[:first]] for name, five in answers.values()]
    return sum(wrong) / len(wrong)


def run_evaluate(capsys, *arguments):
    """The exit code, what was printed, and the lines for the user."""
    capsys.readouterr()
    code = call(["evaluate", *map(str, arguments)])
    return code, *capsys.readouterr()


SOURCES = {  # folder of a digit's label, and the net's name of that folder
    "some classes": (lambda label: str(label) if label in (3, 7, 9) else "", str),
    "another case and white space": (lambda label: f" {label}" if label % 2 else str(label), str.strip),
    "words": (lambda label: WORDS[label], lambda word: str(WORDS.index(word))),
    "several names for one": (lambda label: WORDS[label] if label < 2 else "", lambda word: "0"),
}


@pytest.mark.parametrize("what", SOURCES)
def test_a_source_is_evaluated_by_the_names_of_its_classes(what, old_run, tmp_path, capsys):
    """The errors are those of what `predict` says of the same files."""
    name_of, class_of = SOURCES[what]
    source, csv_file = write_digits(tmp_path / "photos", name_of), tmp_path / "all.csv"
    rows = [f"{word}\t{class_of(word)}\n" for word in WORDS if (source / word).is_dir()]
    (tmp_path / "map").write_text("".join(rows))
    arguments = [f"--workdir={old_run}", f"--source={source}", f"--predictions={csv_file}", "--json"]
    before = (old_run / "evaluation.json").read_bytes()
    if rows:
        code, out, err = run_evaluate(capsys, *arguments)
        assert (code, out) == (2, "")
        assert f"{source} has classes that the net in {old_run} does not know, " in err.splitlines()[-1]
        assert "it knows 0, 1, 2, 3, 4 and 5 more: --class_map=FILE" in err.splitlines()[-1]
        assert not csv_file.exists()
        arguments.append(f"--class_map={tmp_path / 'map'}")
    code, out, err = run_evaluate(capsys, *arguments)
    assert code == 0, err
    answer, expected = json.loads(out), predicted(old_run, source, class_of)
    assert answer["top1_error"] == pytest.approx(error_of(expected))
    assert answer["top5_error"] == pytest.approx(error_of(expected, 5))
    assert 0 < answer["top1_error"] < (0.6 if what != "several names for one" else 1)
    assert (answer["dataset"], answer["examples"]) == ("photos", len(expected))
    folders = sorted(path.name for path in source.iterdir())
    assert answer["class_map"] == {folder: class_of(folder) for folder in folders}
    assert answer["changed"]["source"] == str(source)
    assert answer["changed"]["classes"].startswith(f"{len(set(map(class_of, folders)))} of 10, matched by ")
    assert set(answer["classes"]) == set(map(class_of, folders))
    assert len([line for line in err.splitlines() if "matched " in line and line.startswith("photos ")]) == 1
    assert (old_run / "evaluation.json").read_bytes() == before
    assert json.loads((old_run / "evaluation_other.json").read_text()) == answer
    check_rows(csv_file, expected)


def check_rows(csv_file, expected):
    """Check a file of predictions against what `predict` says: a row an image, in the order of the split."""
    rows = list(csv.DictReader(csv_file.open(newline="")))
    assert sorted(row["file"] for row in rows) == sorted(expected)
    for folder in {name.partition("/")[0] for name in expected}:  # those of a class in the order of the hash
        found = [row["file"] for row in rows if row["file"].startswith(f"{folder}/")]
        assert found == sorted(found, key=lambda name: hashlib.sha256(name.encode()).digest())
    for row in rows:
        name, five = expected[row["file"]]
        assert row["class"] == name
        assert [row[f"guess_{n}"] for n in range(1, 6)] == [guess["name"] for guess in five]
        values = [float(row[f"probability_{n}"]) for n in range(1, 6)]
        np.testing.assert_allclose(values, [guess["probability"] for guess in five], rtol=1e-4)
    assert list(rows[0]) == [
        "file",
        "class",
        *(f"{w}_{n}" for n in range(1, 6) for w in ("guess", "probability")),
    ]


def test_a_source_gives_what_its_prepared_dataset_gives(evaluated, tmp_path, capsys):
    """The digits themselves, and a folder with splits, by either way; ten views."""
    workdir, own = evaluated
    answer = json.loads(run_evaluate(capsys, f"--workdir={workdir}", "--source=digits", "--json")[1])
    same = ("split", "examples", "loss", "top1_error", "top5_error", "classes", "checkpoints")
    assert {key: answer[key] for key in same} == {key: own[key] for key in same}
    assert (answer["changed"], "class_map" in answer) == ({"source": "digits"}, False)
    source = write_digits(tmp_path / "photos" / "train", str, 20)
    write_digits(tmp_path / "photos" / "val", str, 7)
    config = resolve.replace(
        trained.read_config(workdir),
        {"data.dir": str(tmp_path / "data"), "data.name": "photos", "data.test_split": "validation"},
    )
    prepare.prepare(config, str(source.parent))
    net = trained.load(workdir, config)
    prepared = evaluate.evaluate([net], "", 10, predictions=tmp_path / "prepared.csv")
    direct = evaluate.evaluate([net], "", 10, source=str(source.parent), predictions=tmp_path / "direct.csv")
    assert direct["split"] == prepared["split"] == "validation"
    assert {key: direct[key] for key in same} == {key: prepared[key] for key in same}
    assert (tmp_path / "direct.csv").read_bytes() == (tmp_path / "prepared.csv").read_bytes()
    assert prepared["changed"]["config.data.name"] == "photos"  # and so is not the run's own result


def rename_classes(workdir, change):
    """Give the classes of a run's net other names; earlier versions recorded nothing of them."""
    forget_provenance(workdir)
    saved = json.loads((workdir / "config.json").read_text())
    saved["class_names"] = change(saved["class_names"])
    (workdir / "config.json").write_text(json.dumps(saved))


def test_a_prepared_dataset_in_another_order(evaluated, tmp_path, capsys):
    """A net whose classes have the names in reverse: what was a four is a five for it."""
    workdir = shutil.copytree(evaluated[0], tmp_path / "run")
    rename_classes(workdir, lambda names: names[::-1])
    (workdir / "evaluation.json").unlink()
    code, out, err = run_evaluate(capsys, f"--workdir={workdir}", "--views=1", "--json")
    answer = json.loads(out)
    net = trained.load(workdir, trained.read_config(workdir))
    records_of = records.open_dataset(net.config.data).records("test")
    images, labels = zip(*(records_of.image(index) for index in range(len(records_of))), strict=True)
    guesses = np.concatenate(
        [np.asarray(net.predictor(1)(np.stack(images)[i : i + 99])).argmax(1) for i in range(0, 297, 99)]
    )
    assert answer["top1_error"] == pytest.approx(
        np.mean([9 - g != y for g, y in zip(guesses, labels, strict=True)])
    )
    assert answer["classes"]["0"]["examples"] == labels.count(0)
    assert (code, answer["class_map"]) == (0, {name: name for name in "0123456789"})
    assert (
        f"digits_72 has all 10 classes of the net in {workdir}, matched by name 0, 1, 2, 3, 4 and 5 more"
        in err
    )
    assert not (workdir / "evaluation.json").exists()  # the run was not trained on such data
    rename_classes(workdir, lambda names: ["nine", *names[1:]])
    code, out, err = run_evaluate(capsys, f"--workdir={workdir}", "--views=1")
    assert (code, out) == (2, "")
    assert f"digits_72 has classes that the net in {workdir} does not know, 9; it knows nine, 8, 7" in err


def test_a_dataset_without_a_train_split(evaluated, tmp_path):
    """As ImageNet's validation set alone: the net has statistics of its own."""
    workdir, own = evaluated
    data = shutil.copytree(trained.read_config(workdir).data.dir, tmp_path / "data")
    folder = data / "digits_72" / "1.0.0"
    for path in folder.glob("*-train.*"):
        path.unlink()
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"] = [split for split in info["splits"] if split["name"] == "test"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    answer, _ = ask(workdir, {"data.dir": str(data)})
    assert (answer["loss"], answer["classes"]) == (own["loss"], own["classes"])


def test_members_may_have_their_classes_in_another_order(workdirs, tmp_path, capsys):
    """A member whose outputs, and names, stand in reverse changes nothing."""
    turned = shutil.copytree(workdirs[1], tmp_path / "turned")
    net = trained.load(turned, trained.read_config(turned))
    params = jax.device_get(net.params)
    params["fc8"] = {name: np.ascontiguousarray(leaf[..., ::-1]) for name, leaf in params["fc8"].items()}
    shutil.rmtree(turned / "checkpoints")
    checkpoints = Checkpoints(turned)
    checkpoints.save(12, {"params": params}, {"validation_top1_error": 0.5})
    checkpoints.close()
    rename_classes(turned, lambda names: names[::-1])
    answers = []
    for second in (workdirs[1], turned):
        config = trained.read_config(workdirs[0])
        nets = trained.load_members([workdirs[0], second], config, "best")
        answers.append(evaluate.evaluate(nets, "test", 10, predictions=tmp_path / f"{second.name}.csv"))
    for one, other in zip(*([answer, *answer["members"]] for answer in answers), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["top1_error"] == pytest.approx(other["top1_error"])
    assert answers[0]["classes"] == answers[1]["classes"]
    first, second = (
        [row["guess_1"] for row in csv.DictReader((tmp_path / name).open(newline=""))]
        for name in ("turned.csv", f"{workdirs[1].name}.csv")
    )
    assert first == second
    assert len(set(first)) > 3
    assert (
        f"{turned} has the classes of {workdirs[0]} in another order: matched by name"
        in capsys.readouterr().err
    )


def test_predictions_of_an_ensemble_with_ten_views(workdirs, tmp_path):
    nets = trained.load_members(workdirs[:2], trained.read_config(workdirs[0]), "best")
    answer = evaluate.evaluate(nets, "test[:60]", 10, predictions=tmp_path / "all.csv")
    rows = list(csv.DictReader((tmp_path / "all.csv").open(newline="")))
    records_of = records.open_dataset(nets[0].config.data).records("test[:60]")
    images = np.stack([records_of.image(index)[0] for index in range(60)])
    mean = np.mean([np.asarray(net.predictor(10)(images), np.float64) for net in nets], axis=0)
    for index, (row, values) in enumerate(zip(rows, mean, strict=True)):
        assert row["file"] == records_of.read(index)[2]
        assert row["class"] == row["file"].split("/")[0]
        order = np.argsort(-values)[:5]
        assert [row[f"guess_{n}"] for n in range(1, 6)] == list(map(str, order))
        shown = [float(row[f"probability_{n}"]) for n in range(1, 6)]
        np.testing.assert_allclose(shown, values[order], rtol=1e-4)
    wrong = np.mean([row["guess_1"] != row["class"] for row in rows])
    assert wrong == pytest.approx(answer["top1_error"])


def test_predictions_are_written_whole_or_not_at_all(evaluated, tmp_path, monkeypatch):
    net, path = trained.load(evaluated[0], trained.read_config(evaluated[0])), tmp_path / "all.csv"
    read = records.Records.read

    def fail(self, index):
        if index == 120:
            raise RunFailure("record 120 is damaged")
        return read(self, index)

    monkeypatch.setattr(records.Records, "read", fail)
    with pytest.raises(RunFailure, match="record 120 is damaged"):
        evaluate.evaluate([net], "", 1, predictions=path)
    assert list(tmp_path.iterdir()) == []


def test_where_predictions_cannot_be_written(evaluated, tmp_path, capsys):
    for name, words in (("none/a.csv", "the folder "), ("", "is a folder: name a file")):
        code, out, err = run_evaluate(capsys, f"--workdir={evaluated[0]}", f"--predictions={tmp_path / name}")
        assert (code, out) == (2, "")
        assert f"--predictions={tmp_path / name}" in err
        assert words in err


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_workdir_that_cannot_be_written(form, evaluated, capsys, monkeypatch):
    """As a workdir of somebody else's: the answer is printed, and a line says where it is not."""

    def refuse(path, text):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(evaluate.files, "write_text", refuse)
    code, out, err = run_evaluate(capsys, f"--workdir={evaluated[0]}", "--views=10", *form)
    line = f"{evaluated[0]}/evaluation.json cannot be written: Read-only file system; the answer is printed"
    assert code == 0
    assert line in (err if form else out)
    assert not form or json.loads(out)["top1_error"] == evaluated[1]["top1_error"]


def test_what_cannot_be_evaluated(evaluated):
    workdir, _ = evaluated
    with pytest.raises(UsageError, match="split 'nothing' of "):
        ask(workdir, split="nothing")
    with pytest.raises(UsageError, match="is not prepared"):
        ask(workdir, changes={"data.dir": str(workdir)})
