"""Corrupt checkpoints and records, numbers that are not finite, a net that is dead, names that attack."""

import json
import math
import random
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.config import io
from alexnet_jax.data import order
from alexnet_jax.data.images import Preprocessing
from alexnet_jax.data.records import open_dataset
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import predict
from alexnet_jax.training import loop
from alexnet_jax.workdir import trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.data import toy
from tests.faults.injections import count, record, same, state
from tests.helpers import STEPS, epochs, forget_provenance, small_digits

pytestmark = pytest.mark.slow
KINDS = ("a flipped bit", "a missing byte", "a byte more", "an empty file", "a missing file")


def corrupt(path: Path, kind: str, dice: random.Random) -> None:
    """Change a file in one of the ways of `KINDS`, at a random position."""
    data = bytearray(path.read_bytes())
    position = dice.randrange(max(len(data), 1))
    match kind:
        case "a flipped bit":
            data[position] ^= 1 << dice.randrange(8)
        case "a missing byte":
            del data[position]
        case "a byte more":
            data.insert(position, dice.randrange(256))
        case "an empty file":
            data.clear()
    path.write_bytes(data)
    if kind == "a missing file":
        path.unlink()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, digits_folder: str) -> Path:
    """A run with checkpoints of steps 4, 8 and 12."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert loop.train(with_checkpoints(digits_folder), workdir) == 0
    return workdir


def with_checkpoints(folder: str) -> ConfigDict:
    """Return the narrow digits config on one device, with a checkpoint every 4 steps, all kept."""
    config = small_digits(folder)
    config.mesh.model = 1
    config.checkpoint.every_epochs, config.checkpoint.keep = epochs(4), 9
    return config


def test_corrupted_checkpoints(finished: Path, tmp_path: Path, digits_folder: str, capfd) -> None:
    dice = random.Random(2012)
    injections = count(40, 500)
    detected = 0
    for number in range(injections):
        workdir = tmp_path / "run"
        shutil.copytree(finished, workdir)
        folder = workdir / "checkpoints" / str(STEPS)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        while not (victim := dice.choice(files)).stat().st_size:
            pass
        corrupt(victim, KINDS[number % len(KINDS)], dice)
        checkpoints = Checkpoints(workdir)
        if STEPS in checkpoints.steps():  # without a manifest it is an interrupted save, and not used
            assert "checkpoint" in str(checkpoints.find_corruption(STEPS))
        checkpoints.close()
        detected += 1
        shutil.rmtree(workdir)
    resumed = count(1, 5)
    for number in range(resumed):
        workdir = tmp_path / f"again{number}"
        shutil.copytree(finished, workdir)
        largest = max(
            (p for p in (workdir / f"checkpoints/{STEPS}/state").rglob("*") if p.is_file()),
            key=lambda p: p.stat().st_size,
        )
        corrupt(largest, KINDS[number], dice)
        assert loop.train(with_checkpoints(digits_folder), workdir) == 0
        errors = capfd.readouterr().err
        assert f"checkpoint {STEPS} is damaged and not used: {largest} is " in errors
        assert "resumes at step 8 of 12" in errors
        assert same(state(workdir, STEPS), state(finished, STEPS))
    record(
        f"a checkpoint's file corrupted ({', '.join(KINDS)})",
        injections + resumed,
        "detected and named; an older good checkpoint is used with a notice",
        f"{detected} of {injections} detected; {resumed} of {resumed} runs resumed from the checkpoint "
        "before and ended bit for bit as undisturbed",
    )


def test_no_good_checkpoint(finished: Path, tmp_path: Path, digits_folder: str) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    for path in (workdir / "checkpoints").glob("*/manifest.json"):
        path.write_text(path.read_text().replace("[", "[ ", 1)[:-3])
    with pytest.raises(RunFailure, match=r"no checkpoint in .* is whole: remove it to start anew"):
        loop.train(with_checkpoints(digits_folder), workdir)


@pytest.mark.parametrize("record_format", ["jpeg", "raw"])
def test_corrupted_records(record_format: str, tmp_path: Path) -> None:
    """What is read is either what was written or refused."""
    config = toy.config_for(tmp_path, record_format, 3)
    folder = toy.write_dataset(config)
    whole = [open_dataset(config.data).records("train").read(i) for i in range(toy.TRAIN)]
    dice, injections, detected, unharmed = random.Random(5), count(40, 500), 0, 0
    shards = sorted(folder.glob("*train*"))
    for number in range(injections):
        victim = dice.choice(shards)
        data = victim.read_bytes()
        corrupt(victim, KINDS[number % len(KINDS)], dice)
        try:
            records = open_dataset(config.data).records("train")
            read = [records.read(index) for index in range(len(records))]
        except (RunFailure, UsageError) as error:
            message = str(error)
            detected += len(message.splitlines()) == 1 and str(folder) in message
        else:
            assert read == whole  # it hit what no record needs
            unharmed += 1
        victim.write_bytes(data)
    assert detected + unharmed == injections
    record(
        f"a file of {record_format} records corrupted ({', '.join(KINDS)})",
        injections,
        "detected and named, never trained on",
        f"{detected} detected; {unharmed} hit padding: every record was read as it was written",
    )


def test_a_label_that_no_class_has(tmp_path: Path) -> None:
    """It would give a loss that is not a number, or, below 0, that of another class."""
    for number, label in enumerate((-1, toy.CLASSES, 2**40)):
        config = toy.config_for(tmp_path / str(number), "jpeg", 3)

        def change(split, index, example, label=label):
            if (split, index) == ("train", 3):
                example["label"] = label

        toy.write_dataset(config, change)
        with pytest.raises(RunFailure, match=f"record 3 of split 'train' .* it has the label {label}, and"):
            open_dataset(config.data).records("train").read(3)


@pytest.mark.parametrize("bad", [2, 5, 9, 10])
def test_numbers_that_are_not_finite(bad: int, digits_folder: str, tmp_path: Path) -> None:
    """The learning rate explodes at step `bad`: the parameters after it or the next loss are not finite."""
    config = with_checkpoints(digits_folder)
    config.schedule.kind, config.schedule.steps = "steps", ((epochs(bad) - 1e-6, 1e9),)
    with pytest.raises(RunFailure) as error:
        loop.train(config, tmp_path)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    step = int(message.removeprefix("step ").split(":")[0])
    assert bad <= step <= bad + 3
    dataset = open_dataset(config.data)
    records = dataset.records(config.data.train_split)
    _, indices = order.record_indices(len(records), config.seed, config.data.batch_size, step - 1)
    first = f"records {indices[0]} {records.read(int(indices[0]))[2]}, {indices[1]} "
    assert first in message
    lines = (tmp_path / "not_finite.txt").read_text().splitlines()
    assert [line for line in lines if line.startswith(f"step {step}: ")] == [
        f"step {step}: {index} {records.read(int(index))[2]}" for index in indices
    ]
    checkpoints = Checkpoints(tmp_path)
    kept = [number for number in (4, 8, 12) if number <= bad]
    assert checkpoints.steps() == kept
    for number in kept:
        assert checkpoints.find_corruption(number) is None
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state(tmp_path, number)["params"]))
    record(
        f"the learning rate becomes 1e9 at step {bad}",
        1,
        "the run stops before such a state is saved, naming step and records; the last good checkpoint "
        "remains",
        f"reported at step {step}; kept: {kept or 'none was written before'}",
    )


def test_a_dead_net_is_reported_in_words(finished: Path, tmp_path: Path, digits_folder: str, capfd) -> None:
    """fc6 never answers: its biases are far below 0. conv1 and the others do."""
    dead = tmp_path / "dead"
    shutil.copytree(finished, dead)
    loaded = trained.load(dead, trained.read_config(dead), "last")
    params = jax.tree.map(np.asarray, loaded.params)
    params["fc6"]["bias"] = np.full_like(params["fc6"]["bias"], -1e6)
    checkpoints = Checkpoints(dead, 1)
    metadata = checkpoints.metadata(STEPS)
    checkpoints.save(STEPS + 1, {"params": params}, metadata | {"validation_top1_error": 0.0})
    checkpoints.close()
    config = with_checkpoints(digits_folder)
    config.train.init_from, config.train.flat_loss_steps = str(dead), 8
    assert loop.train(config, tmp_path / "run") == 0
    errors = capfd.readouterr().err
    assert re.search("the net is dead: every value of relu6, relu7 is 0|every value of relu6 is 0", errors)
    assert "the loss stands still" in errors
    assert f"ln(10) = {math.log(10):.3f}" in errors
    record(
        "a dead net (biases of fc6 at -1e6)",
        1,
        "diagnosed in words: which layers are silent, and that the loss stands at ln(classes)",
        "as promised: relu6 named",
    )


ATTACKS = ("\x1b]0;owned\x07", "\x1b[2J\x1b[1;31mred", "<script>alert(1)</script>", "a\nb", "\u202egpj.exe")


def test_names_are_escaped(finished: Path, tmp_path: Path, capsys) -> None:
    """Class and file names that would steer a terminal are shown as escapes."""
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    tree = json.loads((workdir / "config.json").read_text())
    forget_provenance(workdir)
    tree["class_names"] = [*ATTACKS, *map(str, range(5))]
    (workdir / "config.json").write_text(json.dumps(tree))
    config, metadata = io.load(workdir / "config.json")
    loaded = trained.load(workdir, config, "last")
    folder = tmp_path / "images"
    folder.mkdir()
    files = []
    for number, name in enumerate(ATTACKS):
        path = folder / f"{name.replace('/', '_')}{number}.png"
        path.write_bytes(b"not an image")
        files.append(path)
    from PIL import Image

    good = folder / "\x1b[31m.png"
    Image.new("L", (72, 72), 9).save(good)
    answers = predict.predict(loaded, [*files, good], 1)
    text = predict.as_text(answers)
    for line in text.split("\n"):
        assert all(c.isprintable() for c in line), line
    assert metadata["class_names"][0] == ATTACKS[0]
    predict.draw(answers, Preprocessing.of(loaded.config.data), tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_bytes()
    assert b"\x1b" not in drawn
    assert b"<script>alert" not in drawn
