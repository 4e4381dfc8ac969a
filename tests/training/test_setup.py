"""What is refused before a run has a workdir, and what is resolved: splits, classes, steps, devices."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest
from ml_collections import ConfigDict, FrozenConfigDict

from alexnet_jax.data import workers
from alexnet_jax.errors import UsageError
from alexnet_jax.training import loop, setup
from alexnet_jax.workdir import trained
from tests.helpers import epochs, logged, small_digits


def test_workers_that_shared_memory_has_no_room_for_are_refused(
    digits_config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits_config.data.workers = 1024
    monkeypatch.setattr(workers, "SHM_BATCHES_PER_WORKER", 10**6)
    with pytest.raises(UsageError, match="workers=1024: their batches need"):
        loop.train(digits_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model.classes": 9}, "has 10 classes and the net 9"),
        ({"data.batch_size": 1400}, "config.data.batch_size=1400 is more than the 1350 images"),
        ({"mesh.data": 4, "mesh.model": 2}, "4 x 2 = 8 devices and there are 4"),
        ({"mesh.data": 3, "mesh.model": 1}, "does not divide over config.mesh.data=3"),
        ({"mesh.data": 4, "mesh.model": 1, "train.accumulate_steps": 16}, "a batch of 2 images does not"),
        ({"data.train_split": "rain"}, "split 'rain'"),
        ({"data.validation_split": "train[:0%]"}, "split 'train[:0%]' of"),
        ({"data.test_split": "test[:0]"}, "split 'test[:0]' of"),
        ({"data.name": "nothing"}, "is not prepared; type: python -m alexnet_jax.main prepare"),
        ({"data.format": "jpeg"}, "was prepared with format='raw'"),
        ({"data.crop": 80}, "config.data.crop=80 is larger than the prepared images"),
        ({"model.towers": 1, "mesh.model": 2}, "this net has 1 tower"),
        ({"model.architecture": "resnet"}, "config.model.architecture='resnet': there are"),
        ({"optimizer.per_layer": {"fc9": {}}}, "config.optimizer.per_layer.fc9: alexnet_2012 has weights in"),
        ({"train.init_from": "/nowhere"}, "config.train.init_from='/nowhere' is not the workdir"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(
    digits_config: ConfigDict, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    for key, value in change.items():
        section, name = key.split(".")
        digits_config[section][name] = ConfigDict(value) if isinstance(value, dict) else value
    with pytest.raises(UsageError, match=re.escape(words)):
        loop.train(digits_config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_what_needs_no_data_is_checked_without_it(digits_config: ConfigDict) -> None:
    digits_config.data.dir = "/nowhere"
    digits_config.mesh.data, digits_config.train.accumulate_steps = 0, 16
    config, architecture, mesh = setup.check_run(digits_config)
    assert isinstance(config, FrozenConfigDict)
    assert (architecture.name, architecture.towers, architecture.classes) == ("alexnet_2012", 2, 10)
    assert dict(mesh.shape) == {"data": 2, "model": 2}  # two images at a time, four devices
    with pytest.raises(UsageError, match=r"/nowhere/digits_72/1\.0\.0 is not prepared"):
        setup.prepare_run(digits_config)


def test_a_run_is_resolved_once_and_frozen(
    digits_config: ConfigDict, capsys: pytest.CaptureFixture[str]
) -> None:
    digits_config.model.classes = 0
    digits_config.train.epochs, digits_config.data.batch_size = 2.5, 100
    before = digits_config.to_dict()
    run = setup.prepare_run(digits_config)
    assert digits_config.to_dict() == before
    assert run.config.model.classes == run.architecture.classes == 10
    after = run.config.to_dict()
    after["model"]["classes"] = 0
    assert after == before  # nothing else was decided
    assert capsys.readouterr().err == ""
    with pytest.raises(AttributeError):
        run.config.model.classes = 9
    with pytest.raises(AttributeError):
        run.config.seed = 1
    assert run.dataset.class_names == tuple("0123456789")
    # nine tenths of scikit-learn's 1,500 first digits; 2.5 * 1350 / 100 = 33.75
    assert (run.train_images, run.total_steps) == (1350, 34)
    assert [run.epoch(step) for step in (0, 27, 34)] == [0, 2, pytest.approx(34 / 13.5)]
    assert run.mesh.devices.shape == (1, 2)


def test_more_classes_than_the_data_has_may_be_asked_for(digits_config: ConfigDict) -> None:
    digits_config.model.classes = 12
    assert setup.prepare_run(digits_config).architecture.classes == 12


def test_without_a_validation_split_none_is_asked_for(digits_config: ConfigDict) -> None:
    digits_config.data.validation_split = ""
    run = setup.prepare_run(digits_config)
    assert run.config.data.validation_split == ""


def test_the_first_process_alone_says_what_was_chosen(
    digits_config: ConfigDict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits_config.data.train_split, digits_config.data.validation_split = "train", "validation"
    for process, lines in ((0, 1), (1, 0)):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        setup.prepare_run(digits_config)
        assert capsys.readouterr().err.count("\n") == lines


def test_the_tenth_held_out_is_reported_and_saved(
    tmp_path: Path, digits_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_digits(digits_folder)
    config.data.train_split, config.data.validation_split = "train", "validation"
    config.train.epochs = epochs(1)
    config.train.log_every_steps = 1
    assert loop.train(config, tmp_path) == 0
    line = "digits_72 has test and train: 'train[:90%]' trains, 'train[90%:]' validates, 'test' tests\n"
    assert line in capsys.readouterr().err
    data = trained.read_config(tmp_path).data
    assert (data.train_split, data.validation_split, data.test_split) == (
        "train[:90%]",
        "train[90%:]",
        "test",
    )
    assert logged(tmp_path, "val/top1_error")
    assert (config.data.train_split, config.data.validation_split) == ("train", "validation")
    assert loop.train(config, tmp_path) == 0  # the same words are the same run


class OtherProcess:
    """A process that is not the first: it gets the answer of the first one."""

    is_primary = False

    def __init__(self, answer: Any):
        self.answer = answer

    def broadcast_from_primary(self, find: Callable[[], Any]) -> Any:
        return self.answer


def answer_of_the_first(run: setup.RunSetup) -> dict[str, Any]:
    """What the first process shares, as JSON carries it."""
    shared: dict[str, Any] = {}

    class First:
        def broadcast_from_primary(self, find: Callable[[], Any]) -> Any:
            shared.update(json.loads(json.dumps(find())))
            return find()

    setup.check_same_everywhere(run, First())  # type: ignore[arg-type]
    return shared


def test_every_process_has_the_same_config_and_data(digits_config: ConfigDict) -> None:
    run = setup.prepare_run(digits_config)
    first = answer_of_the_first(run)
    assert first["config.data.batch_size"] == 32
    assert first["the data digits"][0] == list("0123456789")
    assert first["the data digits"][1] == {"train": 1500, "test": 297}
    setup.check_same_everywhere(run, OtherProcess(first))  # type: ignore[arg-type]
    local = {"config.data.dir": "/data", "config.data.threads": 7, "config.data.workers": 9}
    setup.check_same_everywhere(run, OtherProcess(first | local))  # type: ignore[arg-type]
    for key, value, words in (
        ("config.data.batch_size", 64, "config.data.batch_size is not the same here .*: 32, not 64"),
        ("config.seed", 1, f"config.seed is not the same here .*: {digits_config.seed}, not 1"),
        ("config.data.input_std", [2.0], "config.data.input_std is not the same here"),
        ("config.new", 1, "config.new is not the same here as in the first process: None, not 1"),
        ("the data digits", [[], {}, ""], "the data digits is not the same here as in the first process$"),
    ):
        with pytest.raises(UsageError, match=words):
            setup.check_same_everywhere(run, OtherProcess(first | {key: value}))  # type: ignore[arg-type]


def test_the_mean_image_is_part_of_the_data(digits_config: ConfigDict) -> None:
    run = setup.prepare_run(digits_config)
    first = answer_of_the_first(run)
    mean = run.dataset.statistics.mean.copy()
    mean[0, 0, 0] += 1
    statistics = dataclasses.replace(run.dataset.statistics, mean=mean)
    run = dataclasses.replace(run, dataset=dataclasses.replace(run.dataset, statistics=statistics))
    with pytest.raises(UsageError, match="the data digits is not the same here"):
        setup.check_same_everywhere(run, OtherProcess(first))  # type: ignore[arg-type]
