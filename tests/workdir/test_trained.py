"""Trained nets loaded from workdirs, on any devices; what makes one another than the run's own."""

import json
import shutil

import jax
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from alexnet_jax.config import resolve
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import evaluate
from alexnet_jax.workdir import trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.fixtures.make_old_run import state as read_state
from tests.helpers import forget_provenance


@pytest.fixture
def workdir(small_run, tmp_path):
    """A copy of the small run."""
    return shutil.copytree(small_run, tmp_path / "copy")


def rewrite(workdir, change):
    """Change what config.json says, in a run whose checkpoints do not record what they were made with."""
    forget_provenance(workdir)
    tree = json.loads((workdir / "config.json").read_text())
    change(tree)
    (workdir / "config.json").write_text(json.dumps(tree))


def changed_config(workdir, changes):
    return resolve.replace(trained.read_config(workdir), changes)


def test_it_is_what_the_files_hold(small_run):
    config = trained.read_config(small_run)
    assert isinstance(config, FrozenConfigDict)
    saved = json.loads((small_run / "config.json").read_text())
    assert json.loads(json.dumps(config.to_dict())) == saved["config"]
    net = trained.load(small_run, config, "last")
    assert (net.step, net.size, net.workdir) == (12, 72, small_run)
    assert net.class_names == tuple(saved["class_names"]) == tuple("0123456789")
    restored = {
        f"params/{layer}/{part}": np.asarray(leaf)
        for layer, leaves in net.params.items()
        for part, leaf in leaves.items()
    }
    expected = {name: leaf for name, leaf in read_state(small_run, 12).items() if name.startswith("params/")}
    assert restored.keys() == expected.keys()
    for name, leaf in expected.items():
        np.testing.assert_array_equal(restored[name], leaf)


def test_a_checkpoint_without_a_manifest_is_passed_over_and_reported(workdir, capsys):
    """Nobody knows whether it was the last or the best, and the answer says so."""
    config = trained.read_config(workdir)
    shutil.copytree(workdir / "checkpoints" / "12", workdir / "checkpoints" / "14")
    (workdir / "checkpoints" / "14" / "manifest.json").unlink()
    for which in ("best", "last"):
        net = trained.load(workdir, config, which)
        assert (net.step, net.incomplete) == (12, ("14",))
        line = "/checkpoints/14 has no manifest.json: not used; it is being saved, or damaged\n"
        assert capsys.readouterr().err == f"{workdir}{line}"
        assert evaluate.evaluate([net], "", 1)["incomplete"] == [f"{workdir}/checkpoints/14"]
        capsys.readouterr()
    assert trained.load(workdir, config, "12").incomplete == ()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["centre", "crop", "rgb", "none"])
def test_the_mean_is_that_of_the_run_s_data(kind, small_run):
    with np.load(small_run / "statistics.npz") as statistics:
        mean, rgb_mean = statistics["mean"], statistics["rgb_mean"]
    expected = {"centre": mean[4:68, 4:68], "crop": mean, "rgb": rgb_mean, "none": np.zeros(1)}[kind]
    net = trained.load(small_run, changed_config(small_run, {"data.mean": kind, "data.input_std": (60.0,)}))
    assert (net.normalization.mean, net.normalization.input_std) == (kind, (60.0,))
    np.testing.assert_array_equal(np.asarray(net.mean), expected.astype(np.float32))


def test_a_checkpoint_of_two_devices_answers_the_same_on_others(workdir):
    answers = []
    for data, model in ((1, 2), (1, 1), (2, 2)):
        config = changed_config(workdir, {"mesh.data": data, "mesh.model": model})
        answers.append(evaluate.evaluate([trained.load(workdir, config, "best")], "", 10))
    for answer in answers[1:]:
        assert answer["top1_error"] == answers[0]["top1_error"]
        assert answer["examples"] == 297
        assert answer["loss"] == pytest.approx(answers[0]["loss"], rel=1e-5)


# Of the config and of four devices: what the config asks for, or the largest that fits, its towers apart.
@pytest.mark.parametrize(
    ("asked", "batch_size", "shape"),
    [
        ((1, 2), 100, (1, 2)),
        ((1, 1), 100, (1, 1)),
        ((4, 1), 100, (4, 1)),
        ((8, 2), 100, (2, 2)),
        ((8, 1), 100, (4, 1)),
        ((0, 0), 100, (2, 2)),
        ((3, 1), 100, (3, 1)),  # the last rows of a batch are padding
        ((0, 1), 7, (1, 1)),
    ],
)
def test_the_mesh_is_what_the_devices_allow(asked, batch_size, shape, small_run):
    mesh = dict(zip(("mesh.data", "mesh.model"), asked, strict=True))
    net = trained.load(small_run, changed_config(small_run, mesh | {"evaluate.batch_size": batch_size}))
    assert (net.mesh.shape["data"], net.mesh.shape["model"]) == shape
    kernel = net.params["fc6"]["kernel"]
    assert {shard.data.shape[0] for shard in kernel.addressable_shards} == {2 // shape[1]}


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({}, {}),
        ({"mesh.data": 2, "mesh.model": 1, "data.dir": "/elsewhere", "data.threads": 1}, {}),
        ({"evaluate.batch_size": 7, "evaluate.views": 1, "train.epochs": 9.0, "checkpoint.keep": 7}, {}),
        ({"data.mean": "none", "mesh.data": 2}, {"config.data.mean": "none"}),
        ({"data.input_std": (60.0,)}, {"config.data.input_std": (60.0,)}),
        ({"data.test_split": "train", "data.name": "others"}, None),
        ({"model.activation": "tanh", "model.lrn": False}, None),
        ({"seed": 3}, {"config.seed": 3}),
    ],
)
def test_what_makes_it_another_net(changes, changed, small_run):
    """What says only how an answer is computed does not; all else does, with the value that was used."""
    net = trained.load(small_run, changed_config(small_run, changes))
    expected = {f"config.{key}": value for key, value in changes.items()} if changed is None else changed
    assert net.changed() == expected


def test_another_checkpoint_is_another_net(workdir):
    checkpoints = Checkpoints(workdir, keep=9)
    params = jax.device_get(trained.load(workdir, trained.read_config(workdir)).params)
    best = checkpoints.metadata(12)["validation_top1_error"]
    for step, error in ((20, 0.0), (30, best)):
        checkpoints.save(step, {"params": params}, {"validation_top1_error": error})
    checkpoints.close()
    changed = {
        which: trained.load(workdir, trained.read_config(workdir), which).changed()
        for which in ("best", "last", "12", "20")
    }
    assert changed == {"best": {}, "20": {}, "12": {"checkpoint": 12}, "last": {"checkpoint": 30}}


def test_weights_that_end_early(workdir):
    rewrite(workdir, lambda tree: tree.update(weights_reach="pool5"))
    net = trained.load(workdir, trained.read_config(workdir))
    assert net.architecture.layers[-1].name == "pool5"
    assert set(net.params) == {"conv1", "conv2", "conv3", "conv4", "conv5"}
    with pytest.raises(UsageError, match=f"the weights in {workdir} reach pool5 only, and classes need"):
        net.predictor(1)
    rewrite(workdir, lambda tree: tree.update(weights_reach="pool7"))
    with pytest.raises(UsageError, match=r"config.json: weights_reach='pool7' is not a layer of this net"):
        trained.load(workdir, trained.read_config(workdir))


def test_what_cannot_be_loaded(workdir, tmp_path):
    config = trained.read_config(workdir)
    with pytest.raises(UsageError, match="is not the workdir of a run"):
        trained.read_config(tmp_path)
    with pytest.raises(UsageError, match=r"--checkpoint=7: .* holds 12"):
        trained.load(workdir, config, "7")
    with pytest.raises(UsageError, match=r"fc8/bias is \(10,\), and this config needs \(12,\)"):
        trained.load(workdir, changed_config(workdir, {"model.classes": 12}))
    with pytest.raises(UsageError, match=r"has 10 class names, config.model.classes=9"):
        trained.load(workdir, changed_config(workdir, {"model.classes": 9}))
    with pytest.raises(UsageError, match=r"config\.model\.towers"):
        trained.load(workdir, changed_config(workdir, {"model.towers": 3}))
    for key in ("class_names", "statistics"):
        kept = (workdir / "config.json").read_text()
        rewrite(workdir, lambda tree, key=key: tree.pop(key))
        with pytest.raises(UsageError, match=f"config.json lacks '{key}': it is not of a whole run"):
            trained.load(workdir, config)
        (workdir / "config.json").write_text(kept)
    largest = max(
        (path for path in (workdir / "checkpoints/12/state").rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 16
    largest.write_bytes(content)
    with pytest.raises(RunFailure, match=f"checkpoint 12 is damaged: {largest} is not as it was written"):
        trained.load(workdir, config)


def test_the_first_member_says_how_all_are_evaluated(small_run, workdir):
    """Where the data lies, the batch and the mesh; what a net is, it says itself."""
    rewrite(workdir, lambda tree: tree["config"]["data"].update(mean="rgb", dir="/nowhere"))
    first = changed_config(small_run, {"mesh.data": 2, "evaluate.batch_size": 50, "data.input_std": (2.0,)})
    nets = trained.load_members([small_run, workdir], first, "best")
    assert [net.workdir for net in nets] == [small_run, workdir]
    assert [net.normalization.mean for net in nets] == ["centre", "rgb"]
    assert [net.normalization.input_std for net in nets] == [(2.0,), (1.0,)]
    assert {net.config.data.dir for net in nets} == {first.data.dir}
    assert {net.config.evaluate.batch_size for net in nets} == {50}
    assert {tuple(net.mesh.shape.values()) for net in nets} == {(2, 2)}


def test_members_must_read_the_same_images_and_know_the_same_classes(small_run, workdir):
    config = trained.read_config(small_run)
    rewrite(workdir, lambda tree: tree["class_names"].reverse())
    assert trained.load_members([small_run, workdir], config, "best")[1].class_names[0] == "9"  # their order
    rewrite(workdir, lambda tree: tree["class_names"].__setitem__(0, "nine"))
    words = f"^{workdir} knows other classes than {small_run}: only the former has nine, only the latter 9$"
    with pytest.raises(UsageError, match=words):
        trained.load_members([small_run, workdir], config, "best")
    for key, value in {"size": 80, "name": "others", "channels": 3, "format": "jpeg"}.items():
        kept = (workdir / "config.json").read_text()
        rewrite(workdir, lambda tree, key=key, value=value: tree["config"]["data"].update({key: value}))
        with pytest.raises(UsageError, match=f"{workdir} has config.data.{key}={value!r}, {small_run} "):
            trained.load_members([small_run, workdir], config, "best")
        (workdir / "config.json").write_text(kept)
