"""A workdir of foreign weights is used like any other, and a workdir becomes a file and back."""

import json
import os
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from alexnet_jax.config import resolve
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import lpips
from alexnet_jax.interop import convert, formats
from alexnet_jax.model import network
from alexnet_jax.training import loop
from alexnet_jax.workdir import trained
from tests.commands.helpers import alexnet
from tests.interop import makers
from tests.interop.helpers import RECIPES, converted, own_run, refused, without
from tests.model.helpers import assert_close

TV = makers.torchvision()


def test_class_names_of_a_file(tmp_path, monkeypatch):
    path = makers.write(tmp_path / "a.pth", makers.torchvision(), monkeypatch)
    names = tmp_path / "names.txt"
    names.write_text("apple\nbanana\ncoconut, fresh\ndate\nélderberry\n")
    loaded, _ = converted(path, tmp_path / "run", class_names=names)
    assert loaded.class_names == ("apple", "banana", "coconut, fresh", "date", "élderberry")
    names.write_text("apple\n")
    refused(path, "names.txt has 1 names, and the net 5 classes", class_names=names)
    refused(path, "nowhere.txt cannot be read", class_names=tmp_path / "nowhere.txt")


def test_partial_weights(tmp_path, monkeypatch):
    net = {name: arrays for name, arrays in makers.caffe().items() if name.startswith("conv")}
    path = makers.write(tmp_path / "a.caffemodel", net, monkeypatch)
    loaded, printed = converted(path, tmp_path / "run")
    assert "partial: the weights reach pool5, without fc6, fc7, fc8" in printed
    assert json.loads((tmp_path / "run" / "config.json").read_text())["weights_reach"] == "pool5"
    assert loaded.architecture.logits == "pool5"
    with pytest.raises(UsageError, match="reach pool5 only, and classes need the layers after it"):
        loaded.predictor(1)
    # On two devices a tower each, on one both: the same values.
    x = np.random.default_rng(0).normal(0, 50, (2, 227, 227, 3)).astype(np.float32)
    values = []
    for model in (1, 2):
        config = resolve.replace(trained.read_config(tmp_path / "run"), {"mesh.data": 1, "mesh.model": model})
        loaded = trained.load(tmp_path / "run", config, "last")
        forward = jax.jit(
            partial(network.forward, loaded.architecture, loaded.mesh, wanted=("relu4", "pool5"))
        )
        values.append(forward(loaded.params, x))
    assert values[0]["pool5"].shape == (2, 6, 6, 16)
    assert_close(values[1], values[0], 1e-5)


def test_partial_weights_up_to_fc7(tmp_path, monkeypatch):
    net = makers.torchvision()
    del net["fc8"]
    loaded, _ = converted(makers.write(tmp_path / "a.npz", net, monkeypatch), tmp_path / "run")
    assert loaded.architecture.logits == "relu7"
    names = tmp_path / "names.txt"
    names.write_text("\n".join(map(str, range(1000))))
    converted(tmp_path / "a.npz", tmp_path / "named", class_names=names)


def test_outputs_that_cannot_be(tmp_path, monkeypatch):
    path = makers.write(tmp_path / "a.pth", TV, monkeypatch)
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        convert.to_workdir(path, tmp_path / "there", RECIPES)
    with pytest.raises(UsageError, match=r"a.pth/run: .*/a.pth is a file"):
        convert.to_workdir(path, path / "run", RECIPES)
    converted(path, tmp_path / "run")
    for output, words in (
        ("x.pth", "name a file that ends in"),
        ("no/x.npz", "does not exist"),
        ("run", "name a file that ends in"),
    ):
        with pytest.raises(UsageError, match=words):
            convert.to_file(tmp_path / "run", tmp_path / output, "best")
    with pytest.raises(UsageError, match="not the workdir of a run"):
        convert.to_file(tmp_path / "there", tmp_path / "x.npz", "best")


def test_the_folders_around_a_new_workdir_are_made(tmp_path, monkeypatch):
    """The first command of docs/own_images.md is typed where no folder runs/ is."""
    path = makers.write(tmp_path / "a.pth", TV, monkeypatch)
    convert.to_workdir(path, tmp_path / "runs" / "mine", RECIPES)
    assert (tmp_path / "runs" / "mine" / "config.json").is_file()


def test_a_failure_while_the_workdir_is_written_leaves_nothing(tmp_path, monkeypatch):
    path = makers.write(tmp_path / "a.pth", TV, monkeypatch)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Statistics, "save", full)
    with pytest.raises(RunFailure, match="No space left"):
        convert.to_workdir(path, tmp_path / "run", RECIPES)
    assert os.listdir(tmp_path) == ["a.pth"]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("mean", ["centre", "rgb"])
def test_ours_to_a_file_and_back_bit_for_bit(suffix, mean, tmp_path):
    folder = own_run(tmp_path / "ours", 2, mean)
    convert.to_file(folder, tmp_path / f"net{suffix}", "best")
    back, _ = converted(tmp_path / f"net{suffix}", tmp_path / "back")
    ours = trained.load(folder, trained.read_config(folder), "best")
    assert jax.tree.structure(ours.params) == jax.tree.structure(back.params)
    for a, b in zip(jax.tree.leaves(ours.params), jax.tree.leaves(back.params), strict=True):
        np.testing.assert_array_equal(np.asarray(a).view(np.uint32), np.asarray(b).view(np.uint32))
    assert back.config.to_dict() == ours.config.to_dict()
    assert back.class_names == ours.class_names
    np.testing.assert_array_equal(np.asarray(back.mean), np.asarray(ours.mean))
    first, second = (Statistics.load(tmp_path / name / "statistics.npz") for name in ("ours", "back"))
    for field in ("rgb_mean", "rgb_covariance", "eigenvalues", "eigenvectors", "count"):
        np.testing.assert_array_equal(getattr(second, field), getattr(first, field))
    if mean == "rgb":
        names = set(formats.read(tmp_path / f"net{suffix}").arrays)
        assert suffix == ".npz" or names == set(makers.state_dict(TV))


def test_heads_of_lpips_go_along(tmp_path):
    channels = (4, 12, 24, 16, 16)
    heads = {
        f"lpips/lin{n}": np.full((1, count, 1, 1), n + 1, np.float32) for n, count in enumerate(channels)
    }
    makers.write_npz(tmp_path / "a.npz", TV, **heads, other=np.zeros(2))
    _, printed = converted(tmp_path / "a.npz", tmp_path / "run")
    assert "not read: other" in printed
    lines = convert.to_file(tmp_path / "run", tmp_path / "b.safetensors", "best")
    assert lines[1:] == ["without the heads of LPIPS, which a .npz holds too"]
    assert len(convert.to_file(tmp_path / "run", tmp_path / "b.npz", "best")) == 1
    converted(tmp_path / "b.npz", tmp_path / "back")
    for number, head in enumerate(lpips.load_heads(tmp_path / "back")):
        np.testing.assert_array_equal(head, np.full(channels[number], number + 1, np.float32))
    net = trained.load(tmp_path / "back", trained.read_config(tmp_path / "back"))
    assert len(lpips.heads_of(net)) == 5
    lpips.save_heads(
        tmp_path / "back", {name[6:]: head * (1 + (name[-1] == "3")) for name, head in heads.items()}
    )
    for use in (lpips.load, lpips.heads_of):
        with pytest.raises(UsageError, match=r"/lpips.npz is not what checkpoint 0 was made with: put back"):
            use(net)
    with pytest.raises(UsageError, match=r"/lpips.npz is not what checkpoint 0 was made with: put back"):
        convert.to_file(tmp_path / "back", tmp_path / "c.npz", "best")


def test_a_converted_workdir_is_whole_or_refused(tmp_path, monkeypatch, capsys):
    converted(makers.write(tmp_path / "a.pth", TV, monkeypatch), tmp_path / "run")
    run = (tmp_path / "run").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    trained.load(run, trained.read_config(run))
    assert capsys.readouterr().err == ""
    given = Statistics.load(run / "statistics.npz")
    replace(given, rgb_mean=given.rgb_mean + 1).save(run / "statistics.npz")
    with pytest.raises(UsageError, match=r"/statistics.npz is not what checkpoint 0 was made with: put back"):
        trained.load(run, trained.read_config(run))


def test_training_does_not_resume_in_converted_weights(tmp_path, monkeypatch, digits_config):
    converted(makers.write(tmp_path / "a.pth", TV, monkeypatch), tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(UsageError, match="holds converted weights, not a run: use another --workdir"):
        loop.train(digits_config, tmp_path / "run")
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_the_verb(tmp_path, monkeypatch):
    path = makers.write(tmp_path / "a.pth", without(TV, "fc6", "fc7", "fc8"), monkeypatch)
    code, out, errors = alexnet("convert", str(path), f"--output={tmp_path / 'run'}")
    assert code == 0, errors
    assert "partial: the weights reach avgpool" in out
    for arguments, words in (
        (("convert", str(path)), "type convert FILE --output=DIR"),
        (("export", f"--workdir={tmp_path / 'run'}", f"--output={tmp_path / 'x'}"), "reach avgpool only"),
    ):
        code, out, errors = alexnet(*arguments)
        assert code == 2, (arguments, errors)
        assert out == ""
        messages = [line for line in errors.splitlines() if line.startswith("alexnet_jax:")]
        assert len(messages) == 1
        assert words in messages[0]
    assert not (tmp_path / "x").exists()
