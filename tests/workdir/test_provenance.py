"""What lies beside a checkpoint and is not what made it: refused in one line, wherever a net is loaded."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from alexnet_jax import runtime
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import report_data
from alexnet_jax.report import runs
from alexnet_jax.training import loop
from alexnet_jax.workdir import manifest, provenance, trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.commands.helpers import call
from tests.helpers import STEPS, epochs, forget_provenance, small_digits


@pytest.fixture
def workdir(small_run, tmp_path):
    """A copy of the small run."""
    return shutil.copytree(small_run, tmp_path / "copy")


@pytest.fixture(scope="module")
def other_run(digits_folder, tmp_path_factory):
    """A run of the same shapes with another seed, of two steps."""
    config = small_digits(digits_folder)
    config.seed, config.train.epochs = 7, epochs(2)
    folder = tmp_path_factory.mktemp("other") / "run"
    assert loop.train(config, folder) == 0
    return folder


def edit_config(workdir, change):
    tree = json.loads((workdir / "config.json").read_text())
    change(tree)
    (workdir / "config.json").write_text(json.dumps(tree))


def swap_names(tree):
    names = tree["class_names"]
    names[0], names[1] = names[1], names[0]


def white_mean(workdir, other_run):
    given = Statistics.load(workdir / "statistics.npz")
    dataclasses.replace(given, mean=np.full_like(given.mean, 255)).save(workdir / "statistics.npz")


def copied(workdir, other_run):
    shutil.rmtree(workdir / "checkpoints" / "12")
    shutil.copytree(other_run / "checkpoints" / "2", workdir / "checkpoints" / "2")


def renamed(workdir, other_run):
    (workdir / "checkpoints" / "12").rename(workdir / "checkpoints" / "11")


EDITS = {
    "statistics": (white_mean, r"/statistics.npz is not what checkpoint 12 was made with: put back the file"),
    "class names": (
        lambda workdir, _: edit_config(workdir, swap_names),
        r"/config.json has class_names that are not what checkpoint 12 was made with: put back the file",
    ),
    "crop": (
        lambda workdir, _: edit_config(workdir, lambda tree: tree["config"]["data"].update(crop=66)),
        r"/config.json has config.data.crop=66, and checkpoint 12 was made with 64: put back the file",
    ),
    "mean": (
        lambda workdir, _: edit_config(workdir, lambda tree: tree["config"]["data"].update(mean="none")),
        r"/config.json has config.data.mean='none', and checkpoint 12 was made with 'centre': put back",
    ),
    "rate": (
        lambda workdir, _: edit_config(
            workdir, lambda tree: tree["config"]["schedule"].update(learning_rate=0.02)
        ),
        r"/config.json has config.schedule.learning_rate=0.02, and checkpoint 12 was made with 0.015: put",
    ),
    "reach": (
        lambda workdir, _: edit_config(workdir, lambda tree: tree.update(weights_reach="pool5")),
        r"/config.json has weights_reach that are not what checkpoint 12 was made with: put back the file",
    ),
    "copied": (
        copied,
        r"/config.json has config.seed=2012, and checkpoint 2 was made with 7: .*/2 if that is",
    ),
    "renamed": (renamed, r"/checkpoints/11 holds checkpoint 12: rename or remove the folder"),
}
edits = pytest.mark.parametrize(("edit", "words"), EDITS.values(), ids=EDITS)


@edits
def test_it_is_not_loaded(edit, words, workdir, other_run):
    trained.load(workdir, trained.read_config(workdir))
    edit(workdir, other_run)
    with pytest.raises(UsageError, match=words) as error:
        trained.load(workdir, trained.read_config(workdir))
    assert "\n" not in str(error.value)


@edits
def test_it_is_not_resumed(edit, words, workdir, other_run, digits_config):
    """Neither by the config that made the run nor by the one that lies there now; nothing is written."""
    edit(workdir, other_run)
    before = (workdir / "config.json").read_bytes()
    edited = trained.read_config(workdir)
    for config in (digits_config, edited):
        with pytest.raises(UsageError, match=words):
            loop.train(config, workdir)
        assert (workdir / "config.json").read_bytes() == before


@edits
def test_it_is_neither_reported_nor_recorded(edit, words, workdir, other_run):
    edit(workdir, other_run)
    with pytest.raises(UsageError, match=words):
        runs.read(workdir)
    found = report_data.find(workdir, trained.read_config(workdir), "best")
    assert found.step is None
    assert all(part in found.missing for part in report_data.PARTS)


@pytest.mark.parametrize(
    "verb", ["evaluate", "predict", "features", "similar", "export", "report", "convert"]
)
def test_every_verb_refuses(verb, workdir, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(runtime, "retain_malloc_heap", lambda: False)
    Image.new("L", (80, 80), 99).save(tmp_path / "image.png")
    white_mean(workdir, None)
    arguments = {
        "predict": [f"{tmp_path}/image.png"],
        "features": [f"{tmp_path}/image.png", f"--output={tmp_path}/out.npz"],
        "similar": [f"{tmp_path}/image.png", f"--source={tmp_path}"],
        "export": [f"--output={tmp_path}/net.bin"],
        "convert": [str(workdir), f"--output={tmp_path}/net.npz"],
    }.get(verb, [])
    given = [] if verb == "convert" else [f"--workdir={workdir}"]
    assert call([verb, *given, *arguments]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("alexnet_jax: ")]
    words = (
        f"alexnet_jax: {workdir}/statistics.npz is not what checkpoint 12 was made with: put back the file as"
        f" it was, or remove {workdir}/checkpoints/12 if that is of another run"
    )
    assert lines == [words]


def test_what_may_differ_does(workdir, tmp_path, capsys):
    """Keys that say only how it is run, another place, other bytes of the same statistics."""

    def change(tree):
        tree["config"]["evaluate"]["views"] = 1
        tree["config"]["mesh"]["model"] = 1
        tree["hardware"] = "another"

    edit_config(workdir, change)
    with np.load(workdir / "statistics.npz") as arrays:
        kept = dict(arrays)
    np.savez_compressed(workdir / "statistics.npz", **dict(reversed(kept.items())))
    moved = workdir.rename(tmp_path / "carried elsewhere")
    assert trained.load(moved, trained.read_config(moved)).step == STEPS
    runs.read(moved)
    assert capsys.readouterr().err == ""


def test_a_checkpoint_of_before_is_accepted_with_a_line(workdir, digits_config, capsys):
    forget_provenance(workdir)
    white_mean(workdir, None)
    line = (
        f"{workdir}/checkpoints/12 does not record what it was made with, as in earlier versions: "
        "config.json and statistics.npz are used as they are\n"
    )
    assert trained.load(workdir, trained.read_config(workdir)).step == STEPS
    assert capsys.readouterr().err == line
    runs.read(workdir)
    digits_config.train.epochs = epochs(STEPS + 1)
    assert loop.train(digits_config, workdir) == 0
    assert capsys.readouterr().err.count(line) == 1
    last = Checkpoints(workdir).steps()[-1]
    assert last > STEPS
    assert manifest.read(workdir / "checkpoints" / str(last))["provenance"]["step"] == last


def test_a_dataset_s_statistics_are_those_that_trained(workdir, digits_config, digits_folder, tmp_path):
    """Images are lit by its axes of colour."""
    folder = shutil.copytree(digits_folder, tmp_path / "data") / "digits_72" / "1.0.0"
    given = Statistics.load(folder / "statistics.npz")
    dataclasses.replace(given, eigenvalues=given.eigenvalues + 1).save(folder / "statistics.npz")
    digits_config.data.dir = str(tmp_path / "data")
    with pytest.raises(
        UsageError, match=f"^{folder}/statistics.npz is not what checkpoint 12 of {workdir} was"
    ):
        loop.train(digits_config, workdir)


def test_a_provenance_that_says_nonsense_is_refused(workdir):
    """As of somebody who wrote the checksums anew."""
    path = workdir / "checkpoints" / "12" / "manifest.json"
    whole = json.loads(path.read_text())
    config = whole["provenance"]["config"]
    for given in (
        5,
        [],
        {},
        whole["provenance"] | {"config": 5},
        whole["provenance"] | {"config": {"a": config}},
    ):
        digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()
        tree = {key: whole[key] for key in ("progress", "progress_sha256")}
        tree |= {"provenance": given, "provenance_sha256": digest, "files": whole["files"]}
        path.write_text(json.dumps(tree, indent=1))
        with pytest.raises((UsageError, RunFailure)) as error:
            trained.load(workdir, trained.read_config(workdir))
        assert "\n" not in str(error.value)


def test_the_digest_is_of_values():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    one = provenance.digest_of_arrays({"a": array, "b": 1})
    same = {"b": np.asarray(1), "a": np.asfortranarray(array).astype(">f4")}
    assert provenance.digest_of_arrays(same) == one
    for other in (
        {"a": array},
        {"a": array.T, "b": 1},
        {"a": array.astype(np.float64), "b": 1},
        {"a": np.nextafter(array, 9), "b": 1},
        {"b": array, "a": 1},
    ):
        assert provenance.digest_of_arrays(other) != one


def test_an_edited_error_does_not_make_another_the_best(workdir):
    checkpoints = Checkpoints(workdir, keep=9)
    params = trained.load(workdir, trained.read_config(workdir)).params
    record = json.loads((workdir / "checkpoints" / "12" / "manifest.json").read_text())["provenance"]
    checkpoints.save(20, {"params": params}, {"validation_top1_error": 0.0}, record | {"step": 20})
    checkpoints.close()
    assert trained.load(workdir, trained.read_config(workdir)).step == 20
    path = workdir / "checkpoints" / "20" / "manifest.json"
    tree = json.loads(path.read_text())
    tree["progress"]["validation_top1_error"] = 1.0
    path.write_text(json.dumps(tree, indent=1))
    words = (
        rf"which checkpoint is the best is not known: {path} is not as it was written; remove .*/20, or name"
    )
    with pytest.raises(RunFailure, match=words):
        trained.load(workdir, trained.read_config(workdir))
    assert checkpoints.best() == 12  # the run goes on with what it knows
    net = trained.load(workdir, trained.read_config(workdir), "12")
    assert net.changed() == {"checkpoint": 12}  # nobody knows whether it is the run's own


@pytest.mark.parametrize("file", ["/dev/zero", "../statistics.npz", "state/..", ".."])
def test_statistics_that_lie_elsewhere_are_not_read(file, workdir):
    shutil.copy(workdir / "statistics.npz", workdir.parent / "statistics.npz")
    edit_config(workdir, lambda tree: tree.update(statistics=file))
    with pytest.raises(UsageError, match="its statistics are no file in the same folder"):
        trained.load(workdir, trained.read_config(workdir))
