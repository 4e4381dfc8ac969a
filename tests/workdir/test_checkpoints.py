"""Checkpoints: what is kept, what is corrupt, what is restored where; read by Orbax and hashlib alone."""

import hashlib
import json
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.model import sharding
from alexnet_jax.workdir import checkpoints as module
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.fixtures.make_old_run import state as read_state

KERNEL = np.arange(48, dtype=np.float32).reshape(2, 4, 6)


def tree(factor=1.0):
    return {"params": {"conv1": {"kernel": jnp.asarray(factor * KERNEL), "bias": jnp.full((2, 3), factor)}}}


def saved(workdir, errors, keep=9):
    """Save checkpoints 1, 2, ... with these validation errors; parameters are multiples of the step."""
    checkpoints = Checkpoints(workdir, keep)
    for step, error in enumerate(errors, 1):
        checkpoints.save(step, tree(step), {"epoch": step / 2, "validation_top1_error": error})
    checkpoints.close()
    return checkpoints


def test_a_file_that_may_not_grow_is_named_as_the_reason(tmp_path):
    """As with ulimit -f; TensorStore says it amid much else."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpoints = Checkpoints(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        checkpoints.save(1, tree(), {"epoch": 1})
        with pytest.raises(RunFailure, match=r"a checkpoint cannot be written: File too large$"):
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    checkpoints.close()
    assert checkpoints.steps() == []


def target(mesh, shape=KERNEL.shape, name="kernel"):
    """A part of what is saved, its towers sharded over `model`."""
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, P("model")))
    return {"params": {"conv1": {name: leaf}}}


def manifest_of(workdir, step):
    return workdir / "checkpoints" / str(step) / "manifest.json"


def rewrite(path, change):
    """Change what a manifest says, as it is written."""
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest, indent=1))


def test_the_values_are_those_of_the_moment_of_saving(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), tree(3)
    checkpoints.save(7, state, {"epoch": 1.5})
    jax.tree.map(lambda leaf: leaf.delete(), state)  # the next step overwrites them
    checkpoints.wait()
    saved = read_state(tmp_path, 7)
    np.testing.assert_array_equal(saved["params/conv1/kernel"], 3 * KERNEL)
    np.testing.assert_array_equal(saved["params/conv1/bias"], np.full((2, 3), 3))
    assert checkpoints.shapes(7) == {"params/conv1/kernel": (2, 4, 6), "params/conv1/bias": (2, 3)}
    checkpoints.save(7, tree(4), {"epoch": 2.0})  # over the one that is there
    checkpoints.close()
    np.testing.assert_array_equal(read_state(tmp_path, 7)["params/conv1/kernel"], 4 * KERNEL)
    assert checkpoints.metadata(7) == {"epoch": 2.0}


def test_the_manifest_lists_every_file(tmp_path):
    saved(tmp_path, [0.25])
    folder = tmp_path / "checkpoints" / "1"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest) == ["progress", "progress_sha256", "files"]
    assert manifest["progress"] == {"epoch": 0.5, "validation_top1_error": 0.25}
    text = json.dumps(manifest["progress"], sort_keys=True)
    assert manifest["progress_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert manifest["files"] == {
        path.relative_to(folder).as_posix(): [
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        ]
        for path in paths
    }


# The errors of checkpoints 1 to 5: the earliest of the best, and the last ones, stay.
@pytest.mark.parametrize(
    ("errors", "keep", "best", "left"),
    [
        ((0.5, 0.3, 0.4, 0.3, None), 1, 2, [2, 5]),
        ((0.5, 0.3, 0.4, 0.3, None), 2, 2, [2, 4, 5]),
        ((0.5, 0.4, 0.3, 0.2, 0.1), 1, 5, [5]),
        ((0.1, 0.2, 0.3, 0.4, 0.5), 3, 1, [1, 3, 4, 5]),
        ((None, None, None, None, None), 2, None, [4, 5]),
        ((0.0, None, None, None, None), 1, 1, [1, 5]),
    ],
)
def test_what_is_kept(errors, keep, best, left, tmp_path):
    checkpoints = saved(tmp_path, errors, keep)
    assert checkpoints.steps() == left
    assert checkpoints.best() == best
    assert checkpoints.resolve_step("best") == (best or 5)
    assert checkpoints.resolve_step("last") == 5
    assert checkpoints.resolve_step(str(left[0])) == left[0]
    assert checkpoints.interrupted() == []


def test_steps_are_ordered_by_number(tmp_path):
    whole = saved(tmp_path, [0.5]).folder
    for name in ("10", "9", "100"):
        shutil.copytree(whole / "1", whole / name)
    assert Checkpoints(tmp_path).steps() == [1, 9, 10, 100]


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="/checkpoints holds no complete checkpoint: train first"):
        Checkpoints(tmp_path).resolve_step("best")
    checkpoints = saved(tmp_path, [0.5, 0.4])
    for which in ("3", "first", "-1", "1.0", ""):
        with pytest.raises(
            UsageError, match=rf"--checkpoint={which}: .*/checkpoints holds 1, 2; or say last"
        ):
            checkpoints.resolve_step(which)


def test_an_interrupted_save_is_cleaned_away(small_run, tmp_path):
    shutil.copytree(small_run / "checkpoints", tmp_path / "checkpoints")
    folder = tmp_path / "checkpoints"
    (folder / "13" / "state").mkdir(parents=True)
    (folder / "12" / ".manifest.json.a1.partial").write_text("half a manifest")
    (folder / "notes").mkdir()
    checkpoints = Checkpoints(tmp_path)
    assert (checkpoints.steps(), checkpoints.interrupted()) == ([12], ["13"])
    assert checkpoints.clean() == ["13"]
    assert sorted(path.name for path in folder.iterdir()) == ["12", "notes"]
    assert sorted(path.name for path in (folder / "12").iterdir()) == ["manifest.json", "state"]
    assert checkpoints.find_corruption(12) is None


def test_what_is_not_named_as_a_checkpoint_is_none(tmp_path):
    """A file under the name of a step is in the way of a run, and of nobody else."""
    checkpoints = saved(tmp_path, [0.5])
    for name in ("007", "٣"):
        shutil.copytree(checkpoints.folder / "1", checkpoints.folder / name)
    assert (checkpoints.steps(), checkpoints.interrupted(), checkpoints.clean()) == ([1], [], [])
    (checkpoints.folder / "99999").write_text("a file")
    assert (checkpoints.steps(), checkpoints.interrupted()) == ([1], [])
    assert checkpoints.resolve_step("last") == 1
    with pytest.raises(UsageError, match=r"checkpoints/99999 is a file where the folder of a checkpoint"):
        checkpoints.clean()
    assert (checkpoints.folder / "99999").read_text() == "a file"


def test_half_removed_it_counts_as_interrupted(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, [0.5, 0.4])

    def killed(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.remove(2)
    assert (checkpoints.steps(), checkpoints.interrupted()) == ([1], ["2"])
    checkpoints.remove(1)
    assert (checkpoints.steps(), checkpoints.clean()) == ([], ["2"])


def test_metadata_are_replaced(tmp_path):
    checkpoints = saved(tmp_path, [None, 0.4])
    before = read_state(tmp_path, 1)
    checkpoints.update_metadata(1, {"epoch": 0.5, "validation_top1_error": 0.125})
    assert checkpoints.metadata(1) == {"epoch": 0.5, "validation_top1_error": 0.125}
    assert checkpoints.best() == 1
    assert checkpoints.find_corruption(1) is None
    for name, value in read_state(tmp_path, 1).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_flipped_bit_is_found_in_every_file(tmp_path):
    checkpoints = saved(tmp_path, [0.5])
    files = [path for path in checkpoints.folder.rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) >= 5
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert str(path) in checkpoints.find_corruption(1)
        path.write_bytes(whole[:-1])
        assert str(path) in checkpoints.find_corruption(1)
        path.write_bytes(whole)
    assert checkpoints.find_corruption(1) is None
    (checkpoints.folder / "1" / "state" / "_METADATA").unlink()
    assert checkpoints.find_corruption(1).endswith("/1/state/_METADATA is missing")


def test_a_manifest_that_was_edited_is_found(tmp_path):
    """Also where it is still JSON: a better error, another checksum, another layout."""
    checkpoints, path = saved(tmp_path, [0.5]), manifest_of(tmp_path, 1)
    whole = path.read_text()
    words = f"{path} is not as it was written"
    rewrite(path, lambda manifest: manifest["progress"].update(validation_top1_error=0.1))
    assert checkpoints.find_corruption(1) == words
    path.write_text(whole.replace("\n", ""))
    assert checkpoints.find_corruption(1) == words
    path.write_text(whole)
    rewrite(path, lambda manifest: manifest["files"]["state/_METADATA"].__setitem__(1, "0" * 64))
    assert checkpoints.find_corruption(1).endswith("/1/state/_METADATA is not as it was written")
    for text in ("", "[]", "{}", whole[:-2], "\u00ff"):
        path.write_text(text, encoding="latin-1")
        assert str(path) in checkpoints.find_corruption(1)
        assert checkpoints.best() is None


def test_only_what_is_as_it_was_written_is_restored(tmp_path):
    checkpoints = saved(tmp_path, [0.5])
    wanted = target(sharding.make_mesh(1, 2, 2, 4))
    restored = checkpoints.verified_restore(1, wanted)
    np.testing.assert_array_equal(restored["params"]["conv1"]["kernel"], KERNEL)
    rewrite(manifest_of(tmp_path, 1), lambda manifest: manifest["progress"].update(epoch=9.0))
    with pytest.raises(RunFailure, match=r"checkpoint 1 is damaged: .* choose another with --checkpoint"):
        checkpoints.verified_restore(1, wanted)


@pytest.mark.parametrize(("data", "model"), [(1, 1), (1, 2), (2, 2)])
def test_it_is_restored_on_any_devices(data, model, tmp_path):
    """Each device holds the towers that its position on the model axis names; the bias is not read."""
    checkpoints = saved(tmp_path, [0.5, 0.4])
    mesh = sharding.make_mesh(data, model, 2, 4)
    restored = checkpoints.restore(2, target(mesh))
    assert jax.tree.structure(restored) == jax.tree.structure(target(mesh))
    kernel = restored["params"]["conv1"]["kernel"]
    share = 2 // model
    for shard in kernel.addressable_shards:
        [(_, column)] = np.argwhere(mesh.devices == shard.device)
        np.testing.assert_array_equal(shard.data, 2 * KERNEL[column * share : (column + 1) * share])
    assert {shard.device for shard in kernel.addressable_shards} == set(mesh.devices.flat)


def test_what_cannot_be_restored(tmp_path):
    checkpoints, mesh = saved(tmp_path, [0.5]), sharding.make_mesh(1, 1, 2, 4)
    with pytest.raises(UsageError, match=r"/1/state holds no params/conv1/scale: it is of another net"):
        checkpoints.restore(1, target(mesh, name="scale"))
    with pytest.raises(UsageError, match=r"kernel is \(2, 4, 6\), and this config needs \(2, 4, 7\)"):
        checkpoints.restore(1, target(mesh, shape=(2, 4, 7)))
    (checkpoints.folder / "1" / "state" / "_METADATA").write_text("{")
    for ask in (lambda: checkpoints.restore(1, target(mesh)), lambda: checkpoints.shapes(1)):
        with pytest.raises(UsageError, match=r"/1/state cannot be read: ") as error:
            ask()
        assert "\n" not in str(error.value)


def test_a_disk_that_is_full_is_reported_once(tmp_path, monkeypatch):
    """The save fails in its thread; who waits hears of it, and what was written is no checkpoint."""
    checkpoints = saved(tmp_path, [0.5])

    def full(path, text):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.files, "write_text", full)
        checkpoints = Checkpoints(tmp_path)
        checkpoints.save(2, tree(2), {"epoch": 1.0})
        with pytest.raises(RunFailure, match="a checkpoint cannot be written: No space left on device"):
            checkpoints.wait()
        checkpoints.wait()
        checkpoints.save(2, tree(2), {"epoch": 1.0})
        with pytest.raises(RunFailure, match="No space left on device"):
            checkpoints.close()
    assert (checkpoints.steps(), checkpoints.interrupted()) == ([1], ["2"])


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == checkpoints.clean() == []
    with pytest.raises(RunFailure, match=f"the checkpoint {tmp_path}/checkpoints/3 cannot be written: "):
        checkpoints.save(3, tree(), {})
    checkpoints.close()


@pytest.mark.parametrize("kind", ["jax.Array", "np.ndarray"])
def test_chunks_larger_than_their_array_are_refused(kind, tmp_path):
    """TensorStore would allocate the whole chunk, which is a few KB on disk where it holds zeros."""
    import tensorstore

    saved(tmp_path, [0.25])
    folder = tmp_path / "checkpoints" / "1" / "state"
    path = folder / "_METADATA"
    path.write_text(path.read_text().replace("jax.Array", kind))
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{folder}/"}).result()
    key = "params.conv1.kernel/.zarray"
    metadata = json.loads(store.read(key).result().value)
    assert metadata["chunks"] == metadata["shape"] == [2, 4, 6]
    store.write(key, json.dumps(metadata | {"chunks": [2, 4, 2**29]}).encode()).result()
    store.write("params.conv1.kernel/0.0.0", bytes(100)).result()
    mesh = sharding.make_mesh(1, 1, 2, 1, jax.devices()[:1])
    with pytest.raises(
        UsageError, match=r"conv1.kernel has the shape \(2, 4, 6\) and chunks of \(2, 4, 5368"
    ):
        Checkpoints(tmp_path).restore(1, target(mesh))


@pytest.mark.parametrize("error", ["low", 10**400, [], {}])
def test_an_error_that_is_no_number_is_not_the_best(error, tmp_path):
    """Of somebody who wrote a checksum that agrees with it."""
    checkpoints = saved(tmp_path, [0.5, 0.25])
    checkpoints.update_metadata(2, {"epoch": 1.0, "validation_top1_error": error})
    assert checkpoints.best() == 1


def test_arrays_of_many_times_the_size_of_their_files_are_not_restored(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, [0.5])
    checkpoints.restore(1, target(sharding.make_mesh(1, 1, 2, 4)))
    monkeypatch.setattr(module, "SMALL_BYTES", 0)
    monkeypatch.setattr(module, "MAX_RATIO", 0)
    with pytest.raises(UsageError, match=r"/1/state has [\d,]+ bytes and unpacks to 192"):
        checkpoints.restore(1, target(sharding.make_mesh(1, 1, 2, 4)))


def test_a_list_of_very_many_arrays_is_not_read(tmp_path):
    checkpoints = saved(tmp_path, [0.5])
    path = tmp_path / "checkpoints" / "1" / "state" / "_METADATA"
    path.write_text(path.read_text() + " " * 2**20)
    with pytest.raises(UsageError, match="_METADATA is larger than"):
        checkpoints.shapes(1)


def test_the_size_grows_while_a_checkpoint_is_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.size() == 0
    saved(tmp_path, [0.5])
    files = [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]
    before = checkpoints.size()
    assert before >= sum(path.stat().st_size for path in files)
    with files[0].open("ab") as file:
        file.write(b"more")
    assert checkpoints.size() == before + 4


def test_a_workdir_whose_name_is_no_utf8_is_refused(tmp_path):
    with pytest.raises(UsageError, match="this name must be UTF-8"):
        Checkpoints(tmp_path / "a\udcff")
