"""Numpy's files: a header or an archive that promises much takes no memory."""

import zipfile

import numpy as np

from alexnet_jax.interop.formats import weights
from tests.interop.helpers import unreadable


def test_headers_and_archives_that_promise_much(tmp_path, monkeypatch):
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d,)}"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", (header % 10**13).ljust(127) + b"\n")
    unreadable(tmp_path / "a.npz", "a.npz")
    monkeypatch.setattr(weights, "MAX_BYTES", 2**20)
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(2**20, np.float32))
    assert (tmp_path / "bomb.npz").stat().st_size < 2**14
    unreadable(tmp_path / "bomb.npz", "it unpacks to 4,194,4")
