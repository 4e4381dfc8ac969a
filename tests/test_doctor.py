"""`doctor`: the table of nets against arithmetic by hand, and whether a run could start."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from alexnet_jax import doctor
from alexnet_jax.data import pipeline
from alexnet_jax.inference import run
from alexnet_jax.model import architectures, inputs, sharding
from alexnet_jax.training import loop, optimizer, step
from tests.helpers import epochs
from tests.reference import arithmetic

BY_HAND = [
    arithmetic.ALEXNET_2012,
    arithmetic.ALEXNET_2012_SOURCE,
    arithmetic.ALEXNET_2012_SOURCE_CONV4,
    arithmetic.SOURCE_145_HALF,
    arithmetic.source_146(1000),
    arithmetic.SOURCE_147,
    arithmetic.SOURCE_148,
    arithmetic.SOURCE_150,
    arithmetic.CAFFE,
    arithmetic.CAFFENET,
    arithmetic.TORCHVISION,
    arithmetic.TORCHVISION_GREY_10,
    arithmetic.CIFAR10_26,
    arithmetic.CIFAR10_19,
    arithmetic.CIFAR10_14,
    arithmetic.CIFAR10_18,
    arithmetic.CIFAR10_13,
    arithmetic.CIFAR10_11,
    arithmetic.FULLY_CONNECTED_784_15_10,
]


def test_the_table_of_nets():
    lines = doctor.architectures_table().splitlines()[1:]
    assert {net.architecture for net in doctor.NETS} == set(architectures.TABLES)
    for line, net, expected in zip(lines, doctor.NETS, BY_HAND, strict=False):
        name, pictures, parameters, operations, neurons, *outputs = line.split()
        assert name == net.architecture
        assert pictures.startswith(f"{net.crop}x{net.crop}x")
        assert int(parameters.replace(",", "")) == expected.parameters
        assert float(operations.replace(",", "")) == pytest.approx(
            expected.multiply_accumulates / 1e6, abs=0.005
        )
        assert int(neurons.replace(",", "")) == expected.neurons
        assert outputs == ["x".join(map(str, row.output)) for row in expected.rows]
    assert len(doctor.NETS) == len(BY_HAND)


def test_what_would_stop_a_run(digits_config, tmp_path):
    text, healthy = doctor.report(digits_config)
    assert healthy
    assert "this run can start: alexnet_2012 on a mesh of 1 x 2" in text
    digits_config.data.dir = str(tmp_path)
    text, healthy = doctor.report(digits_config)
    assert not healthy
    assert "is not prepared" in text


def problems(text):
    return [line for line in text.splitlines() if line.startswith("this run cannot start: ")]


def test_memory_is_of_the_size_that_xla_says(digits_config):
    """XLA's own count for the compiled step, within a factor of two and a half."""
    dataset, architecture, mesh = loop.prepare_run(digits_config)
    rules = optimizer.layer_rules(architecture, digits_config.optimizer, digits_config.schedule)
    form = inputs.InputForm(digits_config.data.mean, digits_config.data.input_std)
    program = step.Program(architecture, mesh, form, optimizer.momentum(rules, 0.9), 0)
    state = step.init_state(program, sharding.init_params(architecture, 0, mesh))
    mean = inputs.mean_array(form, dataset.statistics.mean, dataset.statistics.rgb_mean, architecture.crop)
    batches = pipeline.training_batches(dataset, digits_config, first_batch=0, last_batch=1, rows=(0, 32))
    batch = step.to_device(next(iter(batches)), mesh)
    batches.close()
    rates = optimizer.learning_rates(rules, digits_config, optimizer.Memory(), 0.0)
    compiled = step.compiled_train_step(program, state).lower(state, batch, mean, rates).compile()
    told = compiled.memory_analysis()
    expected = told.argument_size_in_bytes + told.temp_size_in_bytes
    assert 0.4 * expected < doctor.memory_needed(digits_config, architecture, mesh) < 2.5 * expected


def test_what_it_tells_beforehand(digits_config, tmp_path, monkeypatch):
    text, healthy = doctor.report(digits_config, tmp_path / "run")
    assert healthy
    assert not (tmp_path / "run").exists()
    assert "data: 1,350 pictures in 'train[:90%]'" in text
    assert "memory: about 0.0" in text
    assert "disk: checkpoints need about 0.0" in text

    digits_config.data.batch_size, digits_config.model.width = 1350, 16.0
    text, healthy = doctor.report(digits_config, tmp_path / "run")
    assert not healthy
    assert "that a device has free: set a smaller config.data.batch_size, or more devices" in text
    digits_config.data.batch_size, digits_config.model.width = 32, 0.0625

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**10))
    text, healthy = doctor.report(digits_config, tmp_path / "run")
    assert not healthy
    assert len(problems(text)) == 1
    assert "make room, or set a smaller config.checkpoint.keep" in text
    monkeypatch.undo()

    (tmp_path / "file").write_text("")
    text, healthy = doctor.report(digits_config, tmp_path / "file" / "run")
    assert problems(text) == [f"this run cannot start: the workdir {tmp_path}/file/run cannot be written"]

    with loop._lock(tmp_path / "used"):
        text, healthy = doctor.report(digits_config, tmp_path / "used")
    assert problems(text) == [f"this run cannot start: another run is using {tmp_path}/used"]

    monkeypatch.setattr(doctor.time, "time", lambda: 0.0)
    assert "the clock says Thu Jan  1" in problems(doctor.report(None)[0])[0]
    monkeypatch.undo()
    monkeypatch.setattr(doctor, "_requirements", lambda: ["jax>=0.1,<0.2", "nonesuch>=1"])
    text, healthy = doctor.report(None)
    assert "versions that were not tested: jax" in text
    assert "the package nonesuch is missing" in text
    assert not healthy


def test_the_state_of_a_run(digits_config, tmp_path):
    workdir = tmp_path / "run"
    digits_config.checkpoint.every_epochs, digits_config.checkpoint.keep = epochs(4), 9
    assert loop.train(digits_config, workdir) == 0
    text, healthy = doctor.report(run.read_config(workdir), workdir)
    assert healthy
    assert f"{workdir}: logged as far as step 12, epoch 0.284444" in text
    assert "checkpoint 4: whole, epoch 0.0948148" in text
    assert "checkpoint 12: whole, epoch 0.284444, validation top-1 error" in text
    assert text.count("(the best)") == 1
    file = next(p for p in (workdir / "checkpoints/12").rglob("*") if p.is_file() and p.parent.name == "d")
    file.write_bytes(file.read_bytes()[:-1])
    (workdir / "checkpoints/16").mkdir()
    text, healthy = doctor.report(run.read_config(workdir), workdir)
    assert healthy  # the run goes on from step 8
    assert f"checkpoint 12: damaged: {file} is not as it was written" in text
    assert "checkpoint 16: an interrupted save" in text
    for path in (workdir / "checkpoints").glob("*/manifest.json"):
        path.write_text("{}")
    text, healthy = doctor.report(run.read_config(workdir), workdir)
    assert not healthy
    assert "is whole: remove it to start anew" in problems(text)[0]


def test_the_readme_shows_this_table():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert doctor.architectures_table() in readme
