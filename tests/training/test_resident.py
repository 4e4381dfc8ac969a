"""Images on the devices train to the same bits as images from records, also where a run is interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.data import prepare
from alexnet_jax.errors import UsageError
from alexnet_jax.training import dispatch, loop, resident
from alexnet_jax.training.setup import prepare_run
from configs import imagenet, mnist
from tests.fixtures.make_old_run import arrays, lines
from tests.helpers import small_digits

ROOT = Path(__file__).parents[2]
IMAGES, BATCH = 44, 8  # 40 train, 4 validate; 5 steps an epoch


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    """A config of the paper's net at a small width on random images, with all that is drawn for them."""
    source, draw = tmp_path_factory.mktemp("colours"), np.random.default_rng(4)
    for number in range(IMAGES):
        folder = source / f"class_{number % 2}"
        folder.mkdir(exist_ok=True)
        pixels = draw.integers(0, 256, (72, 72, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    config = imagenet.get_config()
    config.data.update(name="colours", dir=str(source / "prepared"), size=72, crop=64, format="raw")
    config.data.update(train_split="train[:40]", validation_split="train[40:]", batch_size=BATCH)
    config.data.update(lighting_divisor=2.0, lighting_off=((1, 2),))
    config.model.update(classes=2, width=0.0625)
    config.schedule.update(kind="polynomial", warmup_epochs=0.5)
    config.train.update(epochs=2.0, log_every_steps=3, flat_loss_steps=0)
    config.train.evaluate_every_epochs, config.evaluate.batch_size = 0.7, 3
    prepare.prepare(config, str(source))
    return config


def ends_alike(config: ConfigDict, folder: Path) -> None:
    """Assert that a run leaves the same bits with its images on the devices and from records."""
    for how in ("never", "always"):
        config.data.resident = how
        assert loop.train(config, folder / how) == 0
    step = max(int(path.name) for path in (folder / "always" / "checkpoints").iterdir())
    streamed, kept = (
        arrays(folder / how / "checkpoints" / str(step) / "state") for how in ("never", "always")
    )
    assert streamed.keys() == kept.keys()
    for name in streamed:
        np.testing.assert_array_equal(kept[name], streamed[name], err_msg=name)
    assert lines(folder / "always") == lines(folder / "never")


@pytest.mark.parametrize(
    ("mesh", "mean"), [((1, 1), "centre"), ((1, 1), "crop"), ((1, 2), "crop"), ((2, 1), "centre")]
)
def test_two_epochs_are_the_same_bits(
    mesh: tuple[int, int], mean: str, colours: ConfigDict, tmp_path: Path
) -> None:
    config = colours.copy_and_resolve_references()
    (config.mesh.data, config.mesh.model), config.data.mean = mesh, mean
    ends_alike(config, tmp_path)


def test_also_where_a_dispatch_makes_several_updates_on_two_devices(
    colours: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "most_updates", lambda *_: 3)
    config = colours.copy_and_resolve_references()
    config.mesh.data, config.mesh.model = 1, 2
    ends_alike(config, tmp_path)


def dense(folder: str) -> ConfigDict:
    """Return a config of a net without convolutions on the digits, many updates a dispatch."""
    config = mnist.get_config()
    data = small_digits(folder).data
    config.data.update(name=data.name, dir=folder, size=72, crop=64, random_crop=True, flip=True)
    config.data.update(train_split=data.train_split, validation_split=data.validation_split)
    config.optimizer.momentum = 0.9
    config.schedule.learning_rate = 0.01
    config.train.update(epochs=2.0, flat_loss_steps=0, log_every_steps=50)
    return config


@pytest.mark.parametrize("data", [1, 2])
def test_the_bits_of_a_net_without_convolutions(data: int, digits_folder: str, tmp_path: Path) -> None:
    config = dense(digits_folder)
    config.mesh.data = data
    run = prepare_run(config.copy_and_resolve_references())
    assert dispatch.most_updates(run.architecture, run.mesh, 10) > 50
    ends_alike(config, tmp_path)


def test_any_division_into_dispatches_gives_the_same_bits(digits_folder: str, tmp_path: Path) -> None:
    config = dense(digits_folder)
    for name, epochs in (("parts", (0.3, 1.1, 2.0)), ("whole", (2.0,))):
        for config.train.epochs in epochs:
            assert loop.train(config, tmp_path / name) == 0
    parts, whole = (arrays(tmp_path / name / "checkpoints" / "270" / "state") for name in ("parts", "whole"))
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name], err_msg=name)


LAST = 2700  # steps of twenty epochs


def start(digits_folder: str, workdir: Path) -> "subprocess.Popen[str]":
    """Start a run of a net without convolutions in a process of its own."""
    flags = [
        *("--config=configs/mnist.py", f"--config.data.dir={digits_folder}", "--config.data.name=digits"),
        *("--config.data.size=72", "--config.data.crop=64", "--config.data.train_split=train[:90%]"),
        *("--config.data.validation_split=train[90%:]", "--config.data.random_crop=True"),
        *("--config.train.epochs=20.0", "--config.train.flat_loss_steps=0", "--config.data.flip=True"),
        *("--config.schedule.learning_rate=0.01", "--config.train.log_every_steps=20"),
    ]
    command = [sys.executable, "-m", "alexnet_jax.main", *flags, f"--workdir={workdir}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def whole(digits_folder: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The last state of a run that nothing interrupts."""
    workdir = tmp_path_factory.mktemp("whole")
    assert start(digits_folder, workdir).wait(300) == 0
    return arrays(workdir / "checkpoints" / str(LAST) / "state")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_within_a_dispatch_and_resumed(
    number: signal.Signals, whole: dict[str, np.ndarray], digits_folder: str, tmp_path: Path
) -> None:
    """The run is long enough that the signal comes while it trains, at whatever update."""
    stopped = start(digits_folder, tmp_path)
    log = tmp_path / "metrics.jsonl"
    while not log.exists() or log.read_text().count("val/loss") < 2:
        assert stopped.poll() is None
        time.sleep(0.01)
    began = time.monotonic()
    stopped.send_signal(number)
    code = stopped.wait(60)
    seconds = time.monotonic() - began
    if number == signal.SIGTERM:
        assert code == 143
        assert seconds < 10  # of which the checkpoint and the end of the process take most
    found = [path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdecimal()]
    assert max(map(int, found)) < LAST
    assert start(digits_folder, tmp_path).wait(300) == 0
    end = arrays(tmp_path / "checkpoints" / str(LAST) / "state")
    for name in whole:
        np.testing.assert_array_equal(end[name], whole[name], err_msg=name)


def test_when_images_lie_on_the_devices(digits_folder: str) -> None:
    config = small_digits(digits_folder)
    size = 72 * 72 * 1500  # 1,350 train, 150 validate

    def plan(room: int, **changes: Any) -> resident.ImagesPlan:
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict({name.replace("__", "."): x for name, x in changes.items()})
        return resident.plan_images(prepare_run(changed), room)

    assert plan(size, train__epochs=1.0).line() == "input: 1,500 images, 7.8 MB decoded, whole on each device"
    for room, changes, reason in (
        (size - 1, {"train__epochs": 1.0}, "a device has room for 7.8 MB"),
        (size, {"train__epochs": 0.9}, "the run reads less than an epoch"),
        (size, {"data__resident": "never", "train__epochs": 1.0}, "config.data.resident='never'"),
    ):
        found = plan(room, **changes)
        assert found.line() == f"input: read from records at each step (1,500 images, 7.8 MB: {reason})"
    assert not plan(size, data__resident="always", train__epochs=0.1).reason
    with pytest.raises(UsageError, match=r"config.data.resident='always': the images would take 0.0 GB"):
        plan(size - 1, data__resident="always")


def test_room_is_a_share_of_the_devices_memory() -> None:
    def mesh(platform: str, limit: int | None, count: int = 1) -> Any:
        stats = None if limit is None else {"bytes_limit": limit}
        device = SimpleNamespace(platform=platform, memory_stats=lambda: stats, process_index=0)
        return SimpleNamespace(devices=np.array([device] * count, object))

    assert resident.room(mesh("gpu", 80 * 10**9)) == 20 * 10**9
    assert resident.room(mesh("tpu", None)) == 4 * 2**30
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert resident.room(mesh("cpu", None)) == memory // 4
    assert resident.room(mesh("cpu", None, 2)) == memory // 8


def test_a_stop_while_images_are_read_gives_up(digits_folder: str) -> None:
    run = prepare_run(small_digits(digits_folder))
    plan = resident.ImagesPlan(1350, 150, 0)
    assert resident.load(run, plan, stopped=lambda: True, shown=False) is None
