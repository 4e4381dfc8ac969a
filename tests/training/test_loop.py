"""Runs on real digits: stopped and taken up again, carried to other devices, and refused."""

import gc
import json
import math
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax import config as configuration
from alexnet_jax.data import pipeline
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import evaluate, predict, reading, run
from alexnet_jax.model import sharding
from alexnet_jax.training import loop
from alexnet_jax.training.checkpoint import Checkpoints
from tests.helpers import STEPS, STOP, epochs, small_digits
from tests.model.helpers import assert_close


def saved(workdir, step):
    """The arrays of a checkpoint, on the host."""
    config = run.read_config(workdir)
    loaded = run.load(workdir, config, str(step))
    return jax.device_get(loaded.params)


def lines(workdir, tag):
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if tag in line]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, digits_folder):
    """A run of 12 steps on a 1x2 mesh."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    config = small_digits(digits_folder)
    assert loop.train(config, workdir) == 0
    return workdir


def test_a_run_leaves_what_it_promises(undisturbed):
    losses = lines(undisturbed, "train/loss")
    assert [line["step"] for line in losses] == [4, 8, 12]
    assert all(math.isfinite(line["train/loss"]) and line["learning_rate"] == 0.01 for line in losses)
    validation = lines(undisturbed, "val/top1_error")
    assert [line["step"] for line in validation] == [12]
    assert 0 <= validation[0]["val/top5_error"] <= validation[0]["val/top1_error"] <= 1
    config, beside = configuration.load(undisturbed / "config.json")
    assert beside["class_names"] == [str(digit) for digit in range(10)]
    assert config.model.width == 0.0625
    assert any((undisturbed / "tensorboard").iterdir())
    assert Checkpoints(undisturbed / "checkpoints").steps() == [12]


def test_a_stopped_run_goes_on_bit_for_bit(undisturbed, tmp_path, digits_folder):
    config = small_digits(digits_folder)
    config.train.epochs = epochs(STOP)
    assert loop.train(config, tmp_path) == 0
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.steps() == [STOP]
    config.train.epochs = epochs(STEPS)
    assert loop.train(config, tmp_path) == 0
    jax.tree.map(np.testing.assert_array_equal, saved(tmp_path, STEPS), saved(undisturbed, STEPS))


def test_processes_that_read_change_nothing_and_leave_no_shared_memory(undisturbed, tmp_path, digits_folder):
    before = set(Path("/dev/shm").iterdir())
    config = small_digits(digits_folder)
    config.data.workers = 2
    gc.disable()  # or chance would let go of it
    try:
        assert loop.train(config, tmp_path) == 0
        for _ in range(30):  # a thread takes it away
            left = set(Path("/dev/shm").glob("psm_*")) - before
            if not left:
                break
            time.sleep(0.1)
        assert not left
    finally:
        gc.enable()
    jax.tree.map(np.testing.assert_array_equal, saved(tmp_path, STEPS), saved(undisturbed, STEPS))


def test_a_layer_freezes_in_the_middle_of_a_run_also_when_it_was_stopped(tmp_path, digits_folder):
    config = small_digits(digits_folder)
    frozen_from = {"conv1": {"kernel_steps": ((epochs(2), 1e-3),), "frozen_from": epochs(4)}}
    config.optimizer.per_layer = ConfigDict(frozen_from)
    config.checkpoint.every_epochs, config.checkpoint.keep = epochs(1), STEPS
    assert loop.train(config, tmp_path / "whole") == 0
    for length in (3, STOP, STEPS):
        config.train.epochs = epochs(length)
        assert loop.train(config, tmp_path / "stopped") == 0
    whole = {step: saved(tmp_path / "whole", step) for step in (3, 4, STOP, STEPS)}
    jax.tree.map(np.testing.assert_array_equal, saved(tmp_path / "stopped", STEPS), whole[STEPS])
    for leaf in ("kernel", "bias"):
        assert (whole[4]["conv1"][leaf] != whole[3]["conv1"][leaf]).any()
        np.testing.assert_array_equal(whole[STEPS]["conv1"][leaf], whole[4]["conv1"][leaf])
    assert (whole[STEPS]["conv2"]["kernel"] != whole[STOP]["conv2"]["kernel"]).any()


def test_a_run_starts_from_the_layers_of_another(undisturbed, tmp_path, digits_folder, capsys):
    config = small_digits(digits_folder)
    config.train.init_from, config.seed = str(undisturbed), 7
    config.optimizer.per_layer = ConfigDict({"conv1": {"frozen_from": 0.0}, "fc6": {"frozen_from": 0.0}})
    config.model.classes = 0
    config.train.epochs = epochs(STOP)
    assert loop.train(config, tmp_path) == 0
    assert "conv1, conv2, conv3, conv4, conv5, fc6, fc7; drawn anew: fc8" in capsys.readouterr().err
    given, mine = saved(undisturbed, STEPS), saved(tmp_path, STOP)
    for layer in ("conv1", "fc6"):
        jax.tree.map(np.testing.assert_array_equal, mine[layer], given[layer])
    for layer in ("conv2", "fc7"):  # trained on from there: near, and not the same
        change = np.abs(mine[layer]["kernel"] - given[layer]["kernel"]).max()
        assert 0 < change < 0.1 * np.abs(given[layer]["kernel"]).max()
    assert run.read_config(tmp_path).model.classes == 10
    shutil.copytree(tmp_path, tmp_path / "whole")
    # Taken up again it needs the other run no more.
    config.train.epochs, config.train.init_from = epochs(STEPS), str(undisturbed)
    assert loop.train(config, tmp_path) == 0


def test_what_a_run_cannot_start_from(undisturbed, tmp_path, digits_config):
    def message(**changes):
        given = digits_config.copy_and_resolve_references()
        given.train.init_from = changes.pop("init_from", str(undisturbed))
        for key, value in changes.items():
            section, leaf = key.split("__")
            given[section][leaf] = value
        with pytest.raises(UsageError) as error:
            loop.check_run(given)
        return str(error.value)

    assert "is not the workdir of a trained net" in message(init_from=str(tmp_path))
    assert "config.data.mean='none'" in message(data__mean="none")
    assert "conv1 of the net in" in message(model__width=0.125)
    assert "has a mean picture of 72 x 72" in message(data__size=80)
    damaged = tmp_path / "damaged"
    shutil.copytree(undisturbed, damaged)
    file = next(p for p in (damaged / "checkpoints").rglob("*") if p.is_file() and p.parent.name == "d")
    file.write_bytes(file.read_bytes()[:-1])
    assert "is damaged" in message(init_from=str(damaged))


def test_the_next_batch_is_the_one_that_would_have_come(digits_config):
    dataset = pipeline.open_dataset(digits_config.data)
    options = {"rows": (0, 32), "last_batch": 8}
    whole = list(pipeline.training_batches(dataset, digits_config, first_batch=0, **options))
    after = list(pipeline.training_batches(dataset, digits_config, first_batch=5, **options))
    assert len(after) == 3
    for found, expected in zip(after, whole[5:], strict=True):
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)


def test_a_checkpoint_of_two_devices_answers_the_same_on_others(undisturbed, tmp_path):
    workdir = tmp_path / "copy"
    shutil.copytree(undisturbed, workdir)
    answers = []
    for data, model in ((1, 2), (1, 1), (2, 2)):
        config = run.read_config(workdir)
        config.mesh.data, config.mesh.model = data, model
        answers.append(evaluate.evaluate([run.load(workdir, config, "best")], "", 10))
    for answer in answers[1:]:
        assert answer["top1_error"] == answers[0]["top1_error"]
        assert answer["examples"] == 297
        assert answer["loss"] == pytest.approx(answers[0]["loss"], rel=1e-5)


def test_ten_views_are_the_mean_of_their_softmax(undisturbed, digits_config):
    dataset = pipeline.open_dataset(digits_config.data)
    config = run.read_config(undisturbed)
    loaded = run.load(undisturbed, config, "last")
    batch = next(iter(pipeline.evaluation_batches(dataset, "test", config, rows=(0, 4))))
    mean = np.load(undisturbed / "statistics.npz")["mean"][4:68, 4:68]
    expected = np.zeros((4, 10))
    net, mesh = loaded.architecture, loaded.mesh
    logits_of = jax.jit(lambda x: sharding.forward(net, mesh, loaded.params, x)["fc8"])
    for top, left in ((0, 0), (0, 8), (8, 0), (8, 8), (4, 4)):
        for mirrored in (False, True):
            crop = batch["image"][:, top : top + 64, left : left + 64].astype(np.float32)
            crop = crop[:, :, ::-1] if mirrored else crop
            logits = np.asarray(logits_of(crop - mean), np.float64)
            softmax = np.exp(logits - logits.max(1, keepdims=True))
            expected += softmax / softmax.sum(1, keepdims=True) / 10
    assert_close(loaded.predictor(10)(batch["image"]), expected, 1e-5)


def test_predict_goes_on_past_a_picture_that_is_none(undisturbed, tmp_path):
    from alexnet_jax.data import sources

    (tmp_path / "a.png").write_bytes(next(sources.open_source("digits").pictures()).data)
    (tmp_path / "b.png").write_bytes(b"not a picture")
    files = reading.find([str(tmp_path)], "predict")
    loaded = run.load(undisturbed, run.read_config(undisturbed), "best")
    good, bad = predict.predict(loaded, files, 1)
    assert bad["file"].endswith("b.png")
    assert bad["error"] == "not a picture in one of the formats BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"
    assert len(good["top5"]) == 5
    probabilities = [guess["probability"] for guess in good["top5"]]
    assert probabilities == sorted(probabilities, reverse=True)
    predict.draw([good, bad], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_a_workdir_is_one_run(undisturbed, digits_folder):
    config = small_digits(digits_folder)
    config.schedule.learning_rate = 0.02
    with pytest.raises(UsageError, match=r"config.schedule.learning_rate=0.01, not 0.02"):
        loop.train(config, undisturbed)


def test_two_runs_on_one_workdir_are_refused(undisturbed):
    with (
        loop._lock(undisturbed),
        pytest.raises(UsageError, match="another run is using"),
        loop._lock(undisturbed),
    ):
        pass


def test_a_damaged_checkpoint_is_not_used(undisturbed, tmp_path, digits_folder, capfd):
    workdir = tmp_path / "copy"
    shutil.copytree(undisturbed, workdir)
    config = small_digits(digits_folder)
    config.train.epochs = epochs(STEPS + 2)
    assert loop.train(config, workdir) == 0
    checkpoints = Checkpoints(workdir / "checkpoints")
    assert checkpoints.steps() == [12, 14]
    written = [path for path in (workdir / "checkpoints/14/state").rglob("*") if path.is_file()]
    victim = max(written, key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    assert "is not as it was written" in checkpoints.damage(14)
    with pytest.raises(RunFailure, match="checkpoint 14 is damaged"):
        run.load(workdir, config, "14")
    before = saved(workdir, 12)
    assert loop.train(config, workdir) == 0
    errors = capfd.readouterr().err
    assert "checkpoint 14 is damaged and not used" in errors
    assert "goes on from step 12 of 14" in errors
    jax.tree.map(np.testing.assert_array_equal, saved(workdir, 12), before)
    assert checkpoints.damage(14) is None


def test_an_interrupted_save_is_cleaned_away(undisturbed, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(undisturbed / "checkpoints", folder)
    (folder / "13" / "state").mkdir(parents=True)
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps() == [12]
    assert checkpoints.clean() == ["13"]
    assert not (folder / "13").exists()


def test_a_number_that_is_not_finite_stops_the_run(digits_config, tmp_path):
    digits_config.schedule.learning_rate = 1e30
    with pytest.raises(RunFailure, match=r"step \d+: the loss or the parameters are not finite"):
        loop.train(digits_config, tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").steps() == []


@pytest.mark.parametrize("architecture", ["alexnet_2012", "alexnet_2012_source"])
def test_a_loss_that_stands_still_is_reported(digits_config, tmp_path, capfd, architecture):
    if architecture != digits_config.model.architecture:
        kept = ("classes", "width", "dropout", "compute_dtype")
        model = {key: digits_config.model[key] for key in kept}
        digits_config.model = ConfigDict(model | {"architecture": architecture})
    digits_config.schedule.learning_rate = 1e-9
    digits_config.train.flat_loss_steps = 8
    loop.train(digits_config, tmp_path)
    errors = capfd.readouterr().err
    assert "the loss stands still: 2." in errors
    assert "ln(10) = 2.303" in errors
    assert ("configs/imagenet_2012_source.py" in errors) == (architecture == "alexnet_2012")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model.classes": 9}, "has 10 classes and the net 9"),
        ({"data.batch_size": 1400}, "config.data.batch_size=1400 is more than the 1350 pictures"),
        ({"mesh.data": 4, "mesh.model": 2}, "4 x 2 = 8 devices and there are 4"),
        ({"mesh.data": 3, "mesh.model": 1}, "does not divide over config.mesh.data=3"),
        ({"data.train_split": "rain"}, "split 'rain'"),
        ({"data.name": "nothing"}, "is not prepared; type: python -m alexnet_jax.main prepare"),
        ({"data.format": "jpeg"}, "was prepared with format='raw'"),
        ({"model.towers": 1, "mesh.model": 2}, "this net has 1 tower"),
        ({"data.workers": 10**8}, "config.data.workers=100000000: their batches need"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(digits_config, tmp_path, change, words):
    for key, value in change.items():
        section, name = key.split(".")
        digits_config[section][name] = value
    with pytest.raises(UsageError, match=words.replace("(", r"\(").replace(")", r"\)")):
        loop.train(digits_config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_what_predict_cannot_take_is_refused(undisturbed, tmp_path):
    with pytest.raises(UsageError, match="holds no pictures"):
        reading.find([str(tmp_path)], "predict")
    with pytest.raises(UsageError, match="does not exist"):
        reading.find([str(tmp_path / "nothing.jpg")], "predict")
    with pytest.raises(UsageError, match=r"ends in .png or .svg"):
        predict.check_figure(tmp_path / "figure.jpeg")
    config = run.read_config(undisturbed)
    config.model.classes = 12
    with pytest.raises(UsageError, match=r"fc8/bias is \(10,\), and this config needs \(12,\)"):
        run.load(undisturbed, config, "last")
    with pytest.raises(UsageError, match=r"--checkpoint=7: .* holds 12"):
        run.load(undisturbed, run.read_config(undisturbed), "7")


def test_the_plateau_rule_counts_in_whole_intervals(digits_config, tmp_path, monkeypatch):
    """An evaluation falls on the first step after its epoch; what the rule sees is the epoch itself."""
    seen = []

    def remember(schedule, memory, epoch, error):
        seen.append(epoch)
        return memory

    monkeypatch.setattr(loop.optimizer, "remember", remember)
    digits_config.train.evaluate_every_epochs = 0.1  # 4.2 steps
    assert loop.train(digits_config, tmp_path) == 0
    assert [line["step"] for line in lines(tmp_path, "val/loss")] == [5, 9, 12]
    assert seen == pytest.approx([0.1, 0.2, 0.2])


@pytest.mark.parametrize(
    ("given", "there", "want"),
    [
        (("train", "validation", "validation"), "train validation", ("train", "validation", "validation")),
        (("train", "validation", "validation"), "train", ("train[:90%]", "train[90%:]", "train[90%:]")),
        (("train", "validation", "validation"), "test train", ("train[:90%]", "train[90%:]", "test")),
        (("train", "", "test"), "train", ("train[:90%]", "", "train[90%:]")),
        (("train", "", "test"), "train validation", ("train", "", "validation")),
        (("train[:80%]", "train[80%:]", "test"), "train", ("train[:80%]", "train[80%:]", "train[80%:]")),
        (("train[:80%]", "validation", "test"), "test train", ("train[:80%]", "validation", "test")),
        (("train", "test[:50%]+val", "test"), "test train", ("train[:90%]", "train[90%:]", "test")),
    ],
)
def test_splits_that_a_source_does_not_have(given, there, want):
    config = small_digits("")
    config.data.train_split, config.data.validation_split, config.data.test_split = given
    told = loop.choose_splits(config.data, there.split())
    assert (config.data.train_split, config.data.validation_split, config.data.test_split) == want
    assert bool(told) == (given != want)
    assert not told or all(repr(split) in told for split in want if split)


def test_the_tenth_held_out_is_said_and_saved(tmp_path, digits_folder, capsys):
    config = small_digits(digits_folder)
    config.data.train_split, config.data.validation_split = "train", "validation"
    config.train.epochs = epochs(1)
    config.train.log_every_steps = 1
    assert loop.train(config, tmp_path) == 0
    line = "digits_72 has test and train: 'train[:90%]' trains, 'train[90%:]' validates, 'test' tests\n"
    assert line in capsys.readouterr().err
    data = run.read_config(tmp_path).data
    assert (data.train_split, data.validation_split, data.test_split) == (
        "train[:90%]",
        "train[90%:]",
        "test",
    )
    assert lines(tmp_path, "val/top1_error")
    config.data.train_split, config.data.validation_split = "train", "validation"
    assert loop.train(config, tmp_path) == 0  # the same words are the same run
