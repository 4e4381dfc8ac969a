"""What a run prints before its first step."""

from types import SimpleNamespace

import numpy as np
import pytest
from jax.sharding import Mesh
from ml_collections import ConfigDict

from alexnet_jax.training.banner import banner, process_lines
from alexnet_jax.training.feed import Plans
from alexnet_jax.training.setup import prepare_run


def mesh_of(processes: list[list[int]]) -> Mesh:
    """A mesh whose devices, numbered row by row, belong to these processes."""
    devices = np.empty((len(processes), len(processes[0])), object)
    number = 0
    for row, columns in enumerate(processes):
        for column, process in enumerate(columns):
            devices[row, column] = SimpleNamespace(id=number, process_index=process)
            number += 1
    return SimpleNamespace(devices=devices, shape={"data": len(processes), "model": len(processes[0])})  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("processes", "lines"),
    [
        (
            [[0, 1]],  # a tower a process
            [
                "  process 0: device 0; tower 0; images 0 to 7 of each batch",
                "  process 1: device 1; tower 1; images 0 to 7 of each batch",
            ],
        ),
        (
            [[0, 0], [1, 1]],  # a replica a process
            [
                "  process 0: device 0, 1; tower 0, 1; images 0 to 3 of each batch",
                "  process 1: device 2, 3; tower 0, 1; images 4 to 7 of each batch",
            ],
        ),
        (
            [[0], [0], [1], [1]],  # both towers on each device
            [
                "  process 0: device 0, 1; tower 0, 1; images 0 to 3 of each batch",
                "  process 1: device 2, 3; tower 0, 1; images 4 to 7 of each batch",
            ],
        ),
    ],
)
def test_which_process_holds_what(processes: list[list[int]], lines: list[str]) -> None:
    assert process_lines(mesh_of(processes), 2, 8) == ["processes: 2", *lines]


FEW_UPDATES = (
    "the run makes 12 updates, which is little: --config.train.min_steps=1000 makes it longer, by as many "
    "epochs as that takes"
)


def test_many_processes_are_cut_short() -> None:
    lines = process_lines(mesh_of([[process] for process in range(100)]), 1, 200)
    assert len(lines) == 66
    assert lines[0] == "processes: 100"
    assert lines[64] == "  process 63: device 63; tower 0; images 126 to 127 of each batch"
    assert lines[65] == "  and 36 more in the same way"


NOTHING = Plans(None, None)


def test_the_lines_of_a_run(digits_config: ConfigDict) -> None:
    lines = banner(prepare_run(digits_config), "runs/x", 1, None, NOTHING).splitlines()
    # 32 images of 1,350, 12 steps
    assert lines[1].startswith("mesh: 1 x 2 of ")
    assert lines[1].endswith(" (a tower a device); 2 devices stay unused")
    assert lines[2].endswith("digits_72/1.0.0, 1,350 images in 'train[:90%]'")
    assert lines[3] == "run: 0.284444 epochs = 12 steps of 32, learning rate 0.015"
    assert lines[4:] == ["workdir: runs/x", FEW_UPDATES]


def test_layers_that_nothing_ever_taught_are_said(digits_config: ConfigDict) -> None:
    digits_config.optimizer.per_layer = ConfigDict(
        {"conv1": {"frozen_from": 0.0}, "fc6": {"frozen_from": 0.2}}
    )
    text = banner(prepare_run(digits_config), "runs/x", 1, None, NOTHING)
    assert "drawn at random and never trained: conv1; config.train.init_from gives" in text
    digits_config.train.init_from = "resumed"  # what was taken from it was said when the run began
    assert "never trained" not in banner(prepare_run(digits_config), "runs/x", 1, None, NOTHING)


@pytest.mark.parametrize(("steps", "said"), [(11, False), (12, True)])  # of twelve that the run has
def test_a_patience_longer_than_the_run_is_said(digits_config: ConfigDict, steps: int, said: bool) -> None:
    digits_config.schedule.kind, digits_config.schedule.patience_steps = "plateau", steps
    lines = banner(prepare_run(digits_config), "runs/x", 1, None, NOTHING).splitlines()
    line = "the run ends before the plateau rule can divide the learning rate: it waits for "
    assert lines[5:-1] == [f"{line}config.schedule.patience_steps=12"] * said


def test_what_may_surprise_is_said(digits_config: ConfigDict) -> None:
    digits_config.model.classes = 12
    digits_config.data.validation_split = ""
    digits_config.schedule.kind, digits_config.schedule.steps = "steps", ((50.0, 0.001),)
    initial = SimpleNamespace(layers=("conv1", "conv2"), new=("fc8",), notices=("it differs",))
    lines = banner(prepare_run(digits_config), "runs/x", 1, initial, NOTHING).splitlines()  # type: ignore[arg-type]
    assert lines[5:] == [
        "from : conv1, conv2; initialised at random: fc8",
        "it differs",
        "no validation split: nothing is selected, the last checkpoint is the result",
        "the run ends before the learning rate becomes 0.001 at epoch 50",
        FEW_UPDATES,
        "the data has 10 classes, the net 12",
    ]
