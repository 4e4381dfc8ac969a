"""Numpy's files, against numpy; and those that promise what they do not hold."""

import io
import re
import tracemalloc
import zipfile

import numpy as np
import pytest

from alexnet_jax import arrays
from tests.faults.structures import pieces

F4 = "'<f4'"


def saved(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def read(data):
    return arrays.read_npy(io.BytesIO(data), len(data))


@pytest.mark.parametrize(
    "dtype", ["<f2", "<f4", ">f4", "<f8", "|u1", "|i1", "<i2", "<u4", "<i8", ">u8", "|b1"]
)
@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 0), (0,), (2, 3, 4, 5)])
def test_arrays_as_numpy_writes_them(dtype, shape, tmp_path):
    array = (np.random.default_rng(0).random(shape) * 100).astype(dtype)
    for written in (array, np.array(array, order="F")):
        np.testing.assert_array_equal(read(saved(written)), array, strict=True)
        (tmp_path / "a.npy").write_bytes(saved(written))
        if array.size:
            mapped = arrays.map_npy(tmp_path / "a.npy")
            np.testing.assert_array_equal(mapped, np.load(tmp_path / "a.npy", mmap_mode="r"))
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **{"x/y": array, "z": np.arange(3)})
        found = arrays.load_npz(tmp_path / "a.npz", 2**20)
        assert list(found) == ["x/y", "z"]
        np.testing.assert_array_equal(found["x/y"], array, strict=True)
    assert list(arrays.load_npz(tmp_path / "a.npz", 2**20, ["z"])) == ["z"]


def test_older_headers():
    for version in (1, 2):
        head = pieces.header(F4, "(2L, 3L)", version=version)  # as Python 2 wrote it
        assert read(head + bytes(24)).shape == (2, 3)


WRONG = [
    (pieces.header("'|O'", ()), "of object, not of numbers"),
    (pieces.header("'<U4'", (1,)) + bytes(16), "not of numbers"),
    (pieces.header("'<M8[ns]'", (1,)) + bytes(8), "not of numbers"),
    (pieces.header("[('a', '<f4', (100000000,))]", (0,)), "not that of a plain array"),
    (pieces.header("[('a', " * 90 + F4 + ")]" * 90, (1,)), "not that of a plain array"),
    (pieces.header(F4, "(" * 3000 + ")" * 3000), "not that of a plain array"),
    (pieces.header(F4, "(1, (2,))"), "not that of a plain array"),
    (pieces.header(F4, "(-1,)"), "not that of a plain array"),
    (pieces.header(F4, "(" + "9" * 5000 + ",)"), "a shape that no array can have"),
    (pieces.header(F4, "(1LL,)") + bytes(4), "a shape that no array can have"),
    (pieces.header(F4, [1] * 33) + bytes(4), "a shape that no array can have"),
    (pieces.header(F4, (10**13,)) + bytes(4), "and 4 bytes"),
    (pieces.header(F4, (2**62, 2**62)), "and 0 bytes"),
    (pieces.header(F4, (1,)) + bytes(5), "and 5 bytes"),
    (pieces.header(F4, (1,), version=4) + bytes(4), "not a .npy file"),
    (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(99), "header in it has 2,147,483,647 bytes"),
    (b"\x93NUMPY", "not a .npy file"),
]


@pytest.mark.parametrize(("data", "words"), WRONG, ids=range(len(WRONG)))
def test_headers_that_lie(data, words, tmp_path):
    with pytest.raises(arrays.BadFile, match=re.escape(words)):
        read(data)
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(arrays.BadFile, match=re.escape(words)):
        arrays.map_npy(tmp_path / "a.npy")
    with pytest.raises(arrays.BadFile, match=re.escape(words)):
        arrays.read_npz(pieces.zipped([pieces.Member("a.npy", data)]), 2**20)


def archive(method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as one:
        one.writestr("a.npy", saved(np.zeros(9)))
    return file.getvalue()


HEAD = pieces.header(F4, (2**26,))
MEMBER = pieces.Member("a.npy", saved(np.zeros(9)))
ARCHIVES = [
    ([pieces.zeros("a.npy", HEAD, 2**28)], "it unpacks to 268,435,584 bytes"),
    ([pieces.Member(f"{n}", MEMBER.raw, size=2**25, at=0) for n in range(3)], "unpacks to 100,663,296 bytes"),
    ([MEMBER, pieces.Member("a", MEMBER.raw)], "it has a twice"),
    ([MEMBER] * 10_001, "more than 10,000 arrays"),
    ([pieces.Member("b.npy", MEMBER.raw)], "it has no a"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "words"), ARCHIVES, ids=range(len(ARCHIVES)))
def test_archives_that_promise_much(members, words):
    with pytest.raises(arrays.BadFile, match=re.escape(words)):
        arrays.read_npz(pieces.zipped(members), 2**31, ["a"])


def test_archives_of_other_kinds():
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(arrays.BadFile, match="compressed as numpy does not write it"):
            arrays.read_npz(archive(method), 2**20)
    with pytest.raises(arrays.BadFile, match=r"not an .npz file"):
        arrays.read_npz(b"\x80\x04K\x01.", 2**20)
    with pytest.raises(arrays.BadFile, match="it unpacks to 200 bytes"):
        arrays.read_npz(archive(zipfile.ZIP_STORED), 100)


def test_no_more_is_inflated_than_an_archive_says():
    """A stream of 64 MiB under a size of 160 bytes."""
    data = pieces.zipped([pieces.zeros("a.npy", pieces.header(F4, (8,)), 2**26, stated=160)])
    tracemalloc.start()
    try:
        with pytest.raises(Exception, match="Bad CRC-32"):
            arrays.read_npz(data, 2**31)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_net_of_which_nine_tenths_were_set_to_0(monkeypatch):
    """It compresses well, and is read."""
    monkeypatch.setattr(arrays, "SMALL_BYTES", 0)
    draw = np.random.default_rng(0)
    kernel = draw.normal(size=(512, 512)).astype(np.float32) * (draw.random((512, 512)) < 0.1)
    file = io.BytesIO()
    np.savez_compressed(file, kernel=kernel)
    assert kernel.nbytes > 5 * len(file.getvalue())
    np.testing.assert_array_equal(arrays.read_npz(file.getvalue(), 2**31)["kernel"], kernel)
