"""Files of others: read to the bit, and harmless when they are damaged or hostile."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.interop import formats
from tests.interop import makers

NET = {name: [kernel[:4, :2].copy(), bias[:4]] for name, (kernel, bias) in makers.caffe().items()}
NAMES = ["a.pth", "a.old.pth", "a.safetensors", "a.caffemodel", "a.old.caffemodel", "a.npy", "a.npz"]


def small(path, monkeypatch):
    """A file of a few thousand bytes."""
    if path.suffix in (".npy", ".npz"):
        net = {name: arrays for name, arrays in NET.items() if name != "fc6"}
        return makers.write(path, net, monkeypatch)
    return makers.write(path, NET, monkeypatch)


def plain(kernel):
    return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T


@pytest.mark.parametrize("name", NAMES)
def test_readers_give_what_was_written(name, tmp_path, monkeypatch):
    found = formats.read(small(tmp_path / name, monkeypatch))
    if name.endswith((".pth", ".safetensors")):
        assert found.layout == "torch"
        expected = makers.state_dict(NET)
    elif name.endswith(".caffemodel"):
        assert found.layout == "caffe"
        assert found.layers == makers.CAFFE
        expected = {f"{layer}.{n}": array for layer, pair in NET.items() for n, array in enumerate(pair)}
    else:
        net = {layer: (plain(kernel), bias) for layer, (kernel, bias) in NET.items() if layer != "fc6"}
        tensorflow = name.endswith(".npy")
        assert found.layout == ("caffe_tensorflow" if tensorflow else "plain")
        leaves = (".0", ".1") if tensorflow else ("/kernel", "/bias")
        expected = {
            layer + leaf: array
            for layer, pair in net.items()
            for leaf, array in zip(leaves, pair, strict=True)
        }
    assert found.arrays.keys() == expected.keys()
    for key, array in expected.items():
        assert found.arrays[key].dtype == np.float32
        np.testing.assert_array_equal(found.arrays[key], array, strict=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoints_of_training_scripts(legacy, tmp_path, monkeypatch):
    tensors = {f"module.{name}": array for name, array in makers.state_dict(NET).items()}
    tensors["features.module.0.weight"] = tensors.pop("module.features.0.weight")
    transposed = np.arange(12, dtype=np.float32).reshape(3, 4).T
    checkpoint = {
        "epoch": 90,
        "arch": "alexnet",
        "best_acc1": 56.5,
        "state_dict": tensors,
        "optimizer": {"state": {0: {"momentum_buffer": transposed}}, "param_groups": [{"lr": 0.01}]},
    }
    write = makers.write_legacy_pth if legacy else makers.write_pth
    write(tmp_path / "a.pth.tar", checkpoint, monkeypatch)
    found = formats.read(tmp_path / "a.pth.tar").arrays
    assert found.keys() == makers.state_dict(NET).keys()
    np.testing.assert_array_equal(found["features.0.weight"], NET["conv1"][0])


@pytest.mark.parametrize("form", ["data", "old", "double", "raw"])
def test_blobs_of_caffe(form, tmp_path):
    net = {"conv1": NET["conv1"]}
    (tmp_path / "a.caffemodel").write_bytes(makers.caffemodel(net, form=form))
    found = formats.read(tmp_path / "a.caffemodel").arrays
    np.testing.assert_array_equal(found["conv1.0"], NET["conv1"][0])
    np.testing.assert_array_equal(found["conv1.1"], NET["conv1"][1])


def test_means_of_caffe(tmp_path):
    bgr = np.random.default_rng(0).random((3, 5, 5)).astype(np.float32)
    message = makers.BlobProto()
    makers.fill(message, bgr, "old")
    (tmp_path / "mean.binaryproto").write_bytes(message.SerializeToString())
    np.save(tmp_path / "mean.npy", bgr.astype(np.float64))
    np.save(tmp_path / "one.npy", bgr.mean(axis=(1, 2)))
    for name in ("mean.binaryproto", "mean.npy"):
        mean = formats.read_mean(tmp_path / name)
        assert mean.shape == (5, 5, 3)
        np.testing.assert_array_equal(mean[1, 2], bgr[::-1, 1, 2])
    np.testing.assert_allclose(formats.read_mean(tmp_path / "one.npy"), bgr.mean(axis=(1, 2))[::-1])
    np.save(tmp_path / "flat.npy", np.zeros((2, 2)))
    with pytest.raises(UsageError, match="not a finite mean"):
        formats.read_mean(tmp_path / "flat.npy")


def test_what_we_write_is_what_we_read(tmp_path):
    arrays = {"a/b": np.arange(6, dtype=np.float32).reshape(2, 3), "c": np.float32([np.pi])}
    note = json.dumps({"class_names": ["ä", "日本"]})
    for write, name in ((formats.write_npz, "a.npz"), (formats.write_safetensors, "a.safetensors")):
        write(tmp_path / name, arrays, note)
        found = formats.read(tmp_path / name)
        assert found.note == note
        assert found.arrays.keys() == arrays.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(found.arrays[key], array, strict=True)


@pytest.mark.slow
def test_our_safetensors_by_the_library(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="the safetensors package is not installed")
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.float32([1])}
    formats.write_safetensors(tmp_path / "a.safetensors", arrays, "note")
    found = library.load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["x"], arrays["x"])
    halves = {"h": np.float16([1.5, -2]), "d": np.float64([[np.e]])}
    library.save_file(halves, tmp_path / "b.safetensors", metadata={"format": "pt"})
    for key, array in formats.read(tmp_path / "b.safetensors").arrays.items():
        np.testing.assert_array_equal(array, halves[key], strict=True)


def refused(path, words):
    with pytest.raises(UsageError) as error:
        formats.read(path)
    assert words in str(error.value), error.value
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("place", ["first", "inside", "last"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_in_a_pickle_is_run(place, protocol, tmp_path):
    trap = Hostile(tmp_path / "executed")
    value = {"first": trap, "inside": {"state_dict": {"a": [1, trap]}}, "last": [{}, trap]}[place]
    data = pickle.dumps(value, protocol)
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", data)
    legacy = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    (tmp_path / "b.pth").write_bytes(legacy + data)
    np.save(tmp_path / "c.npy", np.array({"conv1": [value]}, dtype=object), allow_pickle=True)
    for name in ("a.pth", "b.pth", "c.npy"):
        refused(tmp_path / name, "system'")
    np.savez(tmp_path / "d.npz", **{"conv1/kernel": np.array([trap], dtype=object)})
    refused(tmp_path / "d.npz", "object, not of numbers")
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
        b"\x80\x02]r\xff\xff\xff\x7fj\xff\xff\xff\x7f.",  # a memo of two thousand million places
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
    refused(tmp_path / "a.pth", "a.pth")


def tensor_file(path, count=4, offset=0, size=(2, 2), stride=(2, 1), key="0", kind="FloatStorage", have=16):
    """A .pth of one tensor whose numbers need not fit together."""

    class Persistent(str):
        pass

    def dump(value):
        return pickle.dumps(value, 2)[2:-1]

    identity = b"(X\x07\x00\x00\x00storagectorch\n" + kind.encode() + b"\n"
    identity += dump(key) + dump("cpu") + dump(count) + b"tQ"
    body = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + identity
    body += dump(offset) + dump(size) + dump(stride) + b"\x89}tRs."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", body)
        archive.writestr("archive/data/0", b"\x00" * have)
    return path


def test_tensors_that_reach_out_of_their_storage(tmp_path):
    assert formats.read(tensor_file(tmp_path / "right.pth")).arrays["w"].shape == (2, 2)
    for number, wrong in enumerate(
        [
            {"offset": 1},
            {"offset": -1},
            {"size": (2, 3), "stride": (3, 1)},
            {"size": (10**9, 10**9), "stride": (0, 0)},
            {"size": (2, -2)},
            {"stride": (2, -1)},
            {"stride": (2,)},
            {"size": (2, "2")},
            {"stride": (10**30, 1)},
            {"count": 5},
            {"count": -4},
            {"have": 12},
            {"kind": "QInt8Storage"},
            {"key": "../../etc/passwd"},
            {"size": 4},
        ]
    ):
        refused(tensor_file(tmp_path / f"{number}.pth", **wrong), f"{number}.pth")


def test_wrong_suffixes_and_places(tmp_path):
    refused(tmp_path / "a.onnx", "should end in .pth or .pt or")
    refused(tmp_path / "a.pth", "does not exist")
    (tmp_path / "b.pth").mkdir()
    refused(tmp_path / "b.pth", "is not a file")
    for name in NAMES:
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path / name, name)
        (tmp_path / name).write_text("<html><body>404 Not Found</body></html>\n" * 9)
        refused(tmp_path / name, name)


def test_no_file_makes_us_take_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + b'{"a":1}' + b"\x00" * 99)
    refused(path, "its header should have 1,152,921,504,606,846,976 bytes, and the file has 114")
    for row in (
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        {"dtype": "F32", "shape": [2**40, 0], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},  # bytes that nobody uses
        [],
    ):
        text = json.dumps({"a": row}).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + b"\x00" * 8)
        refused(path, "a.safetensors")
    path.write_bytes(struct.pack("<Q", 200_000) + b"[" * 200_000)
    refused(path, "damaged")

    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d,)}"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", (header % 10**13).ljust(127) + b"\n")
    refused(tmp_path / "a.npz", "a.npz")

    monkeypatch.setattr(formats, "LARGEST", 2**20)
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(2**20, np.float32))
    assert (tmp_path / "bomb.npz").stat().st_size < 2**14
    refused(tmp_path / "bomb.npz", "it unpacks to 4,194,4")
    (tmp_path / "long.npz").write_bytes(b"\x00" * (2**20 + 1))
    refused(tmp_path / "long.npz", "no AlexNet is as large")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." + b"\x00" * 2**22)
    refused(tmp_path / "bomb.pth", "compressed")

    for message in (
        b"\xa2\x06\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xa2\x06\x05\x3a",
        b"\xff" * 20,
        b"\x07",
    ):
        (tmp_path / "a.caffemodel").write_bytes(message)
        refused(tmp_path / "a.caffemodel", "a.caffemodel")
    blob = makers.NetParameter()
    layer = blob.layer.add(name="conv1").blobs.add()
    layer.shape.dim.extend([2**40, 2**20])
    layer.data.extend([1.0])
    (tmp_path / "a.caffemodel").write_bytes(blob.SerializeToString())
    refused(tmp_path / "a.caffemodel", "has the shape (1099511627776, 1048576) and 1 numbers")
    old = makers.NetParameter()
    old.layers.add().layer.name = "conv1"
    (tmp_path / "a.caffemodel").write_bytes(old.SerializeToString())
    refused(tmp_path / "a.caffemodel", "upgrade_net_proto_binary")


def mutated(data, draw):
    """`data` with a few bits, bytes, pieces or its end changed."""
    data = bytearray(data)
    for _ in range(draw.integers(1, 4)):
        # Half of the changes hit the ends, where the structure of most formats is.
        edge = min(len(data), 600)
        place = int(
            draw.choice([draw.integers(edge), len(data) - 1 - draw.integers(edge), draw.integers(len(data))])
        )
        match draw.integers(6):
            case 0:
                data[place] ^= 1 << draw.integers(8)
            case 1:
                data[place] = draw.choice([0, 1, 127, 128, 255])
            case 2:
                data[place : place + 8] = draw.choice([b"\xff" * 8, b"\x00" * 8, b"\xff" * 7 + b"\x7f"])
            case 3:
                del data[place:]
            case 4:
                del data[place : place + draw.integers(1, 50)]
            case 5:
                other = draw.integers(len(data))
                data[place:place] = data[other : other + draw.integers(1, 50)]
        if not data:
            return b""
    return bytes(data)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pickletools, of odd escapes
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files(name, tmp_path, monkeypatch):
    """300 damages of each format: an answer or one line, and no memory beyond the file's size."""
    whole = small(tmp_path / name, monkeypatch).read_bytes()
    draw = np.random.default_rng(5)
    path, refusals = tmp_path / f"damaged.{name}", []
    formats.read(tmp_path / name)
    tracemalloc.start()
    try:
        for _ in range(300):
            path.write_bytes(mutated(whole, draw))
            try:
                formats.read(path)
            except UsageError as error:
                refusals.append(str(error))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(refusals) > 60
    assert all(len(words) < 1000 and len(words.splitlines()) == 1 for words in refusals)
    assert peak < 20 * len(whole) + 2**22


def test_an_archive_whose_parts_lie_over_each_other(tmp_path, monkeypatch):
    makers.write_pth(tmp_path / "a.pth", {"w": np.zeros(4096, np.float32)}, monkeypatch)
    data = (tmp_path / "a.pth").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        count = len(archive.infolist())
        start = archive.start_dir
    directory, end = data[start:-22], data[-22:]
    directory *= 40
    end = end[:8] + struct.pack("<HHI", 40 * count, 40 * count, len(directory)) + end[16:]
    (tmp_path / "a.pth").write_bytes(data[:start] + directory + end)
    refused(tmp_path / "a.pth", "a.pth")
