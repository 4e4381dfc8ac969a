"""Pickles are data: nothing in them is run, and none makes a reader take memory."""

import os
import pickle
import zipfile

import numpy as np
import pytest

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
    (tmp_path / "b.pth").write_bytes(legacy + data)
    np.save(tmp_path / "c.npy", np.array({"conv1": [value]}, dtype=object), allow_pickle=True)
    for name in ("a.pth", "b.pth", "c.npy"):
        unreadable(tmp_path / name, "system'")
    np.savez(tmp_path / "d.npz", **{"conv1/kernel": np.array([trap], dtype=object)})
    unreadable(tmp_path / "d.npz", "object, not of numbers")
    assert not (tmp_path / "executed").exists()


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
