"""The layers that a run never trains: saved once, needed and verified with each checkpoint.

What lies on disk is read by Orbax, json and hashlib alone.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from tests.fixtures.make_old_run import arrays
from tests.fixtures.make_old_run import state as read_state

FROZEN = np.random.default_rng(1).standard_normal((2, 128, 256)).astype(np.float32)  # 256 KiB
TRAINED = np.arange(12, dtype=np.float32).reshape(2, 6)
ONCE = "the layers that were never trained lie there, once for all checkpoints: put back the folder frozen of"


def frozen(factor: float = 1.0) -> dict[str, Any]:
    return {"conv1": {"kernel": jnp.asarray(factor * FROZEN)}}


def trained(step: int) -> dict[str, Any]:
    return {"params": {"fc8": {"kernel": jnp.asarray(step * TRAINED)}}, "step": jnp.int32(step)}


def save(workdir: Path, *steps: int, keep: int = 9, factor: float = 1.0) -> Checkpoints:
    """Save checkpoints as one process of a new run; what is trained is a multiple of the step."""
    checkpoints = Checkpoints(workdir, keep)
    for step in steps:
        metadata = {"epoch": step / 2, "validation_top1_error": None}
        checkpoints.save(step, trained(step), metadata, frozen=frozen(factor))
    checkpoints.close()
    return checkpoints


def target(**layers: np.ndarray) -> dict[str, Any]:
    """All of these layers, their towers on two devices."""
    where = NamedSharding(sharding.make_mesh(1, 2, 2, 4), P("model"))
    return {
        "params": {
            name: {"kernel": jax.ShapeDtypeStruct(x.shape, jnp.float32, sharding=where)}
            for name, x in layers.items()
        }
    }


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_three_checkpoints_hold_the_frozen_bytes_once(tmp_path: Path) -> None:
    save(tmp_path, 1)
    first = files(tmp_path / "frozen")
    checkpoints = Checkpoints(tmp_path, 9)
    checkpoints.restore(1, target(conv1=FROZEN))  # as a run that resumes
    for step in (2, 3):
        checkpoints.save(step, trained(step), {"epoch": 0.0}, frozen=frozen())
    checkpoints.close()
    assert files(tmp_path / "frozen") == first
    size = sum(map(len, files(tmp_path).values()))
    assert 0.8 * FROZEN.nbytes < size < 1.5 * FROZEN.nbytes
    assert read_state(tmp_path, 3).keys() == {"params/fc8/kernel", "step"}
    found = arrays(tmp_path / "frozen" / "state")
    assert found.keys() == {"params/conv1/kernel"}
    np.testing.assert_array_equal(found["params/conv1/kernel"], FROZEN)
    text = (tmp_path / "frozen" / "manifest.json").read_bytes()
    for step in (1, 2, 3):
        listed = json.loads((tmp_path / "checkpoints" / str(step) / "manifest.json").read_text())["files"]
        assert listed["../../frozen/manifest.json"] == [len(text), hashlib.sha256(text).hexdigest()]
        assert checkpoints.find_corruption(step) is None


def test_both_parts_are_restored_as_one(tmp_path: Path) -> None:
    checkpoints = save(tmp_path, 1, 2)
    assert checkpoints.shapes(2) == {
        "params/conv1/kernel": FROZEN.shape,
        "params/fc8/kernel": TRAINED.shape,
        "step": (),
    }
    for wanted in ({"conv1": FROZEN, "fc8": 2 * TRAINED}, {"conv1": FROZEN}, {"fc8": 2 * TRAINED}):
        restored = checkpoints.verified_restore(2, target(**wanted))["params"]
        assert restored.keys() == wanted.keys()
        for layer, value in wanted.items():
            np.testing.assert_array_equal(restored[layer]["kernel"], value)
            shards = restored[layer]["kernel"].addressable_shards
            assert [shard.data.shape[0] for shard in shards] == [1, 1]
    with pytest.raises(UsageError, match="/2/state holds no params/conv2/kernel: it is of another net"):
        checkpoints.restore(2, target(conv2=FROZEN))
    with pytest.raises(UsageError, match=r"params/conv1/kernel is \(2, 128, 256\), and this config needs"):
        checkpoints.restore(2, target(conv1=FROZEN[:, 1:]))


def test_no_removal_of_a_checkpoint_removes_it(tmp_path: Path) -> None:
    checkpoints = save(tmp_path, 1, 2, 3, keep=1)
    assert checkpoints.steps() == [3]
    checkpoints.update_metadata(3, {"epoch": 9.0})
    assert checkpoints.clean() == []
    np.testing.assert_array_equal(
        checkpoints.verified_restore(3, target(conv1=FROZEN))["params"]["conv1"]["kernel"], FROZEN
    )


def test_damage_of_any_file_is_named_by_each_checkpoint(tmp_path: Path) -> None:
    checkpoints = save(tmp_path, 1, 2)
    part = tmp_path / "frozen"
    paths = [path for path in part.rglob("*") if path.is_file() and path.stat().st_size]
    assert len(paths) >= 5
    for path in paths:
        whole = path.read_bytes()
        for changed in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-1], None):
            if changed is None:
                path.unlink()
            else:
                path.write_bytes(changed)
            for step in (1, 2):
                words = str(checkpoints.find_corruption(step))
                assert words.startswith(str(path))
                assert f"; {ONCE}" in words
                assert "\n" not in words
        path.write_bytes(whole)
    assert checkpoints.find_corruption(1) is checkpoints.find_frozen_corruption(1) is None


def test_a_missing_or_another_one_is_named(tmp_path: Path) -> None:
    checkpoints = save(tmp_path / "run", 1)
    save(tmp_path / "other", 1, factor=2.0)
    shutil.move(tmp_path / "run" / "frozen", tmp_path / "away")
    words = f"{tmp_path}/run/frozen is missing; {ONCE} this run"
    assert checkpoints.find_corruption(1) == words
    with pytest.raises(RunFailure) as error:
        checkpoints.verified_restore(1, target(fc8=TRAINED))
    assert str(error.value) == f"checkpoint 1 cannot be used: {words}"
    shutil.copytree(tmp_path / "other" / "frozen", tmp_path / "run" / "frozen")
    assert checkpoints.find_corruption(1) == f"{tmp_path}/run/frozen is of another run; {ONCE} this run"
    shutil.rmtree(tmp_path / "run" / "frozen")
    shutil.move(tmp_path / "away", tmp_path / "run" / "frozen")
    assert checkpoints.find_corruption(1) is None
    (tmp_path / "run" / "checkpoints" / "1" / "manifest.json").write_text("{}")  # says of no frozen part
    assert checkpoints.find_frozen_corruption(1) is None
    assert "manifest.json cannot be read" in str(checkpoints.find_corruption(1))


def test_a_checkpoint_that_holds_all_needs_none(tmp_path: Path) -> None:
    """Those of before; what lies in the folder is not theirs."""
    save(tmp_path, 1, factor=2.0)
    checkpoints = Checkpoints(tmp_path, 9)
    state = {"params": frozen() | trained(2)["params"]}
    checkpoints.save(2, state, {"epoch": 1.0})
    checkpoints.close()
    shutil.rmtree(tmp_path / "frozen")
    restored = checkpoints.verified_restore(2, target(conv1=FROZEN, fc8=TRAINED))
    np.testing.assert_array_equal(restored["params"]["conv1"]["kernel"], FROZEN)


class Killed(BaseException):
    pass


def _nth(number: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """Call `call`, and die in the call of this number, before it did anything."""
    calls = iter(range(number))

    def counted(*args: Any, **kwargs: Any) -> Any:
        if next(calls, None) is None:
            raise Killed
        return call(*args, **kwargs)

    return counted


# Of the first save of a run, which writes the frozen part and then the checkpoint.
@pytest.mark.parametrize(
    ("where", "number"),
    [("mkdir", 0), ("save", 0), ("mkdir", 1), ("save", 1), ("write", 0), ("write", 1), ("remove", 0)],
)
@pytest.mark.parametrize("left", ["nothing", "another run's"])
def test_a_save_that_ends_at_any_moment_is_made_again(
    where: str, number: int, left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if left != "nothing":  # whose checkpoints were removed, to start anew
        save(tmp_path, 1, factor=2.0)
        shutil.rmtree(tmp_path / "checkpoints")
    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        if where == "mkdir":
            patch.setattr(Path, "mkdir", _nth(number, Path.mkdir))
        elif where == "save":
            patch.setattr(checkpoints._orbax, "save", _nth(number, checkpoints._orbax.save))
        elif where == "write":
            patch.setattr(module.manifest, "write", _nth(number, module.manifest.write))
        else:
            patch.setattr(checkpoints, "_remove_old", _nth(0, checkpoints._remove_old))
        with contextlib.suppress(Killed, RunFailure):
            checkpoints.save(1, trained(1), {"epoch": 0.5}, frozen=frozen())
            checkpoints.wait()
            pytest.fail("it did not die")
    checkpoints._orbax.wait_until_finished()
    again = Checkpoints(tmp_path)
    again.clean()
    if where == "remove":
        assert again.steps() == [1]
        again.restore(1, target(conv1=FROZEN))
    else:
        assert again.steps() == []
    again.save(2, trained(2), {"epoch": 1.0}, frozen=frozen())
    again.close()
    for step in again.steps():
        restored = again.verified_restore(step, target(conv1=FROZEN, fc8=TRAINED))
        np.testing.assert_array_equal(restored["params"]["conv1"]["kernel"], FROZEN)
        np.testing.assert_array_equal(restored["params"]["fc8"]["kernel"], step * TRAINED)
    assert again.steps()[-1] == 2
