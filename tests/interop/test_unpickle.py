"""Pickles are data: nothing in them is run, and none makes a reader take memory."""

import collections
import datetime
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from alexnet_jax.arrays import BadFile
from alexnet_jax.interop.unpickle import SKIPPED, unpickle
from tests.interop.helpers import unreadable


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("position", ["first", "inside", "last"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_in_a_pickle_is_run(position, protocol, tmp_path):
    trap = Hostile(tmp_path / "executed")
    value = {"first": trap, "inside": {"state_dict": {"a": [1, trap]}}, "last": [{}, trap]}[position]
    data = pickle.dumps(value, protocol)
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", data)
    legacy = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    (tmp_path / "b.pth").write_bytes(legacy + data + pickle.dumps([], 2))
    np.save(tmp_path / "c.npy", np.array({"conv1": [value]}, dtype=object), allow_pickle=True)
    for name in ("a.pth", "b.pth"):
        unreadable(tmp_path / name, "it holds no tensors but objects")
        unreadable(tmp_path / name, "system), and nothing in a file is run")
    unreadable(tmp_path / "c.npy", "system'")
    np.savez(tmp_path / "d.npz", **{"conv1/kernel": np.array([trap], dtype=object)})
    unreadable(tmp_path / "d.npz", "object, not of numbers")
    assert not (tmp_path / "executed").exists()


class Thing:
    """An object whose class the reader does not know, with a state."""

    def __init__(self, **values):
        self.__dict__.update(values)


class NewThing(Thing):
    def __getnewargs_ex__(self):
        return (), {"a": 1}

    def __new__(cls, **_):
        return super().__new__(cls)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_objects_beside_tensors_are_passed_over(protocol, tmp_path):
    """Sets, subclasses of containers and objects: none is made, and what is plain stays."""
    trap = Hostile(tmp_path / "executed")
    objects = {
        "thing": Thing(a=1, b=[Thing()]),
        "new": NewThing(a=2),
        "path": Path("/tmp"),
        "date": datetime.datetime(2020, 1, 2),
        "scalar": np.float64(2),
        "array": np.arange(3),
        "set": {1, 2},
        "frozen": frozenset([1]),
        "default": collections.defaultdict(list, a=[1]),
        "deque": collections.deque([1, 2]),
        "nested": [(trap, {"x": trap})],
    }
    data = pickle.dumps({**objects, "plain": [1, "two"]}, protocol)
    skipped: set[str] = set()
    value = unpickle(io.BytesIO(data), {}, None, skipped)
    assert value.keys() == {*objects, "plain"}
    assert value["plain"] == [1, "two"]
    for name in objects.keys() - {"nested"}:
        assert value[name] is SKIPPED, name
    assert value["nested"] == [(SKIPPED, {"x": SKIPPED})]
    assert any(name.endswith("system") for name in skipped)
    assert not (tmp_path / "executed").exists()
    with pytest.raises(BadFile, match="nothing in a file is run"):
        unpickle(io.BytesIO(data), {})


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (b"}cx\ny\nK\x01s.", "has a key that is not a short text"),
        (b"cx\ny\nQ.", "mentions a storage"),
        (b"cknown\nf\n(cx\ny\nK\x01tR.", "it calls known.f with an object"),
        (b"cknown\nf\n)\x81.", "makes an object of what is no class"),
        (b"cknown\nf\n)}\x92.", "makes an object of what is no class"),
        (b"](K\x01\x90.", "_Skipped was expected"),
        (b"cx\ny\n" + b"0cx\ny\n" * 100_001 + b".", "more than 200,000 instructions"),
    ],
    ids=range(7),
)
def test_where_an_object_may_not_stand(pickled, words):
    def called(*_):
        raise AssertionError("called")

    with pytest.raises(BadFile, match=words):
        unpickle(io.BytesIO(b"\x80\x04" + pickled), {"known.f": called}, None, set())


@pytest.mark.parametrize(
    "pickled",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x04pass\x85R.",
        b"(S'x'\nios\nsystem\n.",  # INST
        b"\x80\x02cos\nsystem\n.",
        b"\x80\x02ctorch\nFloatStorage\n)R.",  # allowed as a word alone
        b"\x80\x02ctorch\nFloatStorage\n)\x81.",  # NEWOBJ
        b"\x82\x01.",  # EXT1
        b"\x80\x02" + b")" + b"\x85" * 300_000 + b".",  # nested deeper than the stack
        b"\x80\x02}(" + b")" + b"\x85" * 300_000 + b"K\x01u.",  # and as a key
        b"\x80\x02]r\xff\xff\xff\x7fj\xff\xff\xff\x7f.",  # a memo of two thousand million entries
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes that are not there
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x02}}R.",
        b"\x80\x02](" + b"]" * 1_100_000 + b"e.",  # more than weights need
        b".",
        b"",
    ],
    ids=range(16),
)
def test_pickles_of_other_kinds(pickled, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    unreadable(tmp_path / "a.pth", "a.pth")
