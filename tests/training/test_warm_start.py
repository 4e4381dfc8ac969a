"""Runs that start from the layers of another net, and nets from which none can start."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError
from alexnet_jax.model import architectures, sharding
from alexnet_jax.model.specs import Architecture
from alexnet_jax.training import loop
from alexnet_jax.training.warm_start import Initial, open_initial, resolve_probe
from alexnet_jax.workdir import trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.fixtures.make_old_run import state as read_state
from tests.helpers import STEPS, STOP, epochs, forget_provenance, saved_params, small_digits
from tests.model.helpers import random_params

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")


def opened(config: ConfigDict, source: Path, **changes: Any) -> tuple[Initial, Architecture]:
    """The net in `source` for a run of `config` with other values, which are given as model__classes=5."""
    config = config.copy_and_resolve_references()
    config.train.init_from = str(source)
    for key, value in changes.items():
        section, leaf = key.split("__")
        config[section][leaf] = value
    architecture = architectures.build(config.model, config.data.crop, config.data.channels)
    return open_initial(config, architecture), architecture


def refusal(config: ConfigDict, source: Path, **changes: Any) -> str:
    with pytest.raises(UsageError) as error:
        opened(config, source, **changes)
    return str(error.value)


def test_it_is_what_the_files_of_the_other_net_hold(small_run: Path, digits_config: ConfigDict) -> None:
    initial, _ = opened(digits_config, small_run, model__classes=5)
    assert initial.step == STEPS
    assert initial.layers == (*CONVOLUTIONS, "fc6", "fc7")
    assert initial.new == ("fc8",)  # also where the number of classes is the same: they are others
    assert opened(digits_config, small_run)[0].new == ("fc8",)
    with np.load(small_run / "statistics.npz") as statistics:
        np.testing.assert_array_equal(initial.statistics.mean, statistics["mean"])


@pytest.mark.parametrize(("data", "model"), [(1, 1), (2, 2)])
def test_its_layers_replace_those_that_were_drawn(
    data: int, model: int, small_run: Path, digits_config: ConfigDict
) -> None:
    initial, architecture = opened(digits_config, small_run, model__classes=5)
    mesh = sharding.make_mesh(data, model, 2, 4)
    drawn = jax.device_put(random_params(architecture), sharding.param_shardings(architecture, mesh))
    params = initial.params(drawn, architecture, mesh)
    saved = read_state(small_run, STEPS)
    assert params.keys() == drawn.keys()
    for layer, leaves in params.items():
        for leaf, value in leaves.items():
            expected = drawn[layer][leaf] if layer == "fc8" else saved[f"params/{layer}/{leaf}"]
            np.testing.assert_array_equal(value, expected)
            assert value.sharding == drawn[layer][leaf].sharding


def test_layers_that_the_other_net_does_not_have_are_drawn(
    small_run: Path, digits_config: ConfigDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = Checkpoints(small_run).shapes(STEPS)
    monkeypatch.setattr(
        Checkpoints,
        "shapes",
        lambda self, step: {name: shape for name, shape in shapes.items() if "/conv4/" not in name},
    )
    initial, _ = opened(digits_config, small_run)
    assert initial.layers == ("conv1", "conv2", "conv3", "conv5", "fc6", "fc7")
    assert initial.new == ("conv4", "fc8")


def test_the_best_checkpoint_is_taken(small_run: Path, digits_config: ConfigDict, tmp_path: Path) -> None:
    workdir = shutil.copytree(small_run, tmp_path / "copy")
    forget_provenance(workdir)  # which says at which step it was saved
    later = shutil.copytree(workdir / "checkpoints" / "12", workdir / "checkpoints" / "13")
    assert opened(digits_config, workdir)[0].step == 12  # the earlier one of equals
    shutil.rmtree(workdir / "checkpoints" / "12")
    assert opened(digits_config, workdir)[0].step == 13
    (later / "manifest.json").unlink()
    assert "holds no complete checkpoint: train first" in refusal(digits_config, workdir)


def test_what_a_run_cannot_start_from(small_run: Path, tmp_path: Path, digits_config: ConfigDict) -> None:
    assert f"config.train.init_from={str(tmp_path)!r} is not the workdir of a trained net" in refusal(
        digits_config, tmp_path
    )
    for key, value, theirs in (("mean", "none", "'centre'"), ("input_std", (2.0,), r"(1.0,)")):
        words = f"config.data.{key}={value!r}, but the net in {small_run} was trained with {theirs}: use that"
        assert refusal(digits_config, small_run, **{f"data__{key}": value}) == words
    assert "config.data.channels=3, but the net in" in refusal(digits_config, small_run, data__channels=3)
    words = refusal(digits_config, small_run, model__width=0.125)
    assert re.search(
        r"conv1 of the net in .* is \(2, 11, 11, 1, 3\), here \(2, 11, 11, 1, 6\): use its", words
    )
    assert "has a mean image of 72 x 72: use that size" in refusal(digits_config, small_run, data__size=80)
    digits_config.model = ConfigDict(
        {
            "architecture": "fully_connected",
            "classes": 10,
            "hidden": (15,),
            "activation": "relu",
            "compute_dtype": "float32",
        }
    )
    assert "has no layer that fully_connected has" in refusal(digits_config, small_run)


def test_images_that_are_read_otherwise_are_said(small_run: Path, digits_config: ConfigDict) -> None:
    assert opened(digits_config, small_run)[0].notices == ()
    found, _ = opened(digits_config, small_run, data__resize="squash", data__resize_filter="bilinear")
    assert found.notices == (
        f"config.data.resize='squash'; the net in {small_run} read images with 'cut'",
        f"config.data.resize_filter='bilinear'; the net in {small_run} read images with 'bicubic'",
    )


def test_a_corrupt_net_is_refused(small_run: Path, tmp_path: Path, digits_config: ConfigDict) -> None:
    corrupt = shutil.copytree(small_run, tmp_path / "corrupt")
    file = next(p for p in (corrupt / "checkpoints").rglob("*") if p.is_file() and p.parent.name == "d")
    file.write_bytes(file.read_bytes()[:-1])
    words = f"checkpoint 12 of config.train.init_from is damaged: {file} is not as it was written"
    assert refusal(digits_config, corrupt) == words


def test_a_mean_of_colours_fits_images_of_any_size(
    small_run: Path, tmp_path: Path, digits_config: ConfigDict
) -> None:
    workdir = shutil.copytree(small_run, tmp_path / "copy")
    forget_provenance(workdir)
    tree = json.loads((workdir / "config.json").read_text())
    tree["config"]["data"]["mean"] = "rgb"
    (workdir / "config.json").write_text(json.dumps(tree))
    digits_config.data.mean, digits_config.data.size = "rgb", 80
    assert opened(digits_config, workdir)[0].layers == (*CONVOLUTIONS, "fc6", "fc7")
    digits_config.data.size = 128
    words = refusal(digits_config, workdir, data__crop=128)
    assert words.startswith(f"fc6 of the net in {workdir} is (2, 16, 128), here (2, 144, 128): ")
    assert words.endswith("use its config.model and its config.data.crop=64")


def test_a_run_starts_from_the_layers_of_another(
    small_run: Path, tmp_path: Path, digits_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(small_run, tmp_path / "other")
    config = small_digits(digits_folder)
    config.train.init_from, config.seed = str(other), 7
    config.optimizer.per_layer = ConfigDict({"conv1": {"frozen_from": 0.0}, "fc6": {"frozen_from": 0.0}})
    config.model.classes = 0
    config.train.epochs = epochs(STOP)
    workdir = tmp_path / "run"
    assert loop.train(config, workdir) == 0
    assert "conv5, fc6, fc7; initialised at random: fc8" in capsys.readouterr().err
    given, mine = saved_params(small_run, STEPS), saved_params(workdir, STOP)
    for layer in ("conv1", "fc6"):
        jax.tree.map(np.testing.assert_array_equal, mine[layer], given[layer])
    for layer in ("conv2", "fc7"):  # trained on from there: near, and not the same
        change = np.abs(mine[layer]["kernel"] - given[layer]["kernel"]).max()
        assert 0 < change < 0.1 * np.abs(given[layer]["kernel"]).max()
    assert trained.read_config(workdir).model.classes == 10
    assert (workdir / "statistics.npz").read_bytes() == (other / "statistics.npz").read_bytes()
    shutil.rmtree(other)  # resumed it needs the other run no more
    config.train.epochs = epochs(STEPS)
    assert loop.train(config, workdir) == 0
    captured = capsys.readouterr().err
    assert f"resumes at step {STOP} of {STEPS}" in captured
    assert "initialised at random" not in captured


def test_the_deepest_layer_is_that_of_the_weights(
    small_run: Path, digits_config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits_config.model.probe = "deepest"
    monkeypatch.setenv("HOME", str(small_run.parent))
    digits_config.train.init_from = f"~/{small_run.name}"
    assert resolve_probe(digits_config, None).model.probe == "relu7"
    shutil.copytree(small_run, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    saved = json.loads(path.read_text())
    saved["config"]["model"]["probe"] = "pool2"
    path.write_text(json.dumps(saved))
    digits_config.train.init_from = str(tmp_path / "gone")  # what is resumed does not need it
    assert resolve_probe(digits_config, tmp_path / "run").model.probe == "pool2"
    with pytest.raises(UsageError, match="is not the workdir of a trained net"):
        resolve_probe(digits_config, tmp_path / "new")
