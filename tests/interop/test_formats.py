"""Files of others: read to the bit, and harmless when they are corrupt or hostile."""

import json
import tracemalloc

import numpy as np
import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.interop import formats
from alexnet_jax.interop.formats import npy, safetensors, weights
from tests.interop import makers
from tests.interop.helpers import unreadable

NAMES = ["a.pth", "a.old.pth", "a.safetensors", "a.caffemodel", "a.old.caffemodel", "a.npy", "a.npz"]


def plain(kernel):
    return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T


@pytest.mark.parametrize("name", NAMES)
def test_readers_give_what_was_written(name, tmp_path, monkeypatch):
    weights = formats.read(makers.write_small(tmp_path / name, monkeypatch))
    if name.endswith((".pth", ".safetensors")):
        assert weights.layout == "torch"
        expected = makers.state_dict(makers.SMALL)
    elif name.endswith(".caffemodel"):
        assert weights.layout == "caffe"
        assert weights.layers == makers.CAFFE
        expected = {
            f"{layer}.{n}": array for layer, pair in makers.SMALL.items() for n, array in enumerate(pair)
        }
    else:
        net = {
            layer: (plain(kernel), bias) for layer, (kernel, bias) in makers.SMALL.items() if layer != "fc6"
        }
        tensorflow = name.endswith(".npy")
        assert weights.layout == ("caffe_tensorflow" if tensorflow else "plain")
        leaves = (".0", ".1") if tensorflow else ("/kernel", "/bias")
        expected = {
            layer + leaf: array
            for layer, pair in net.items()
            for leaf, array in zip(leaves, pair, strict=True)
        }
    assert weights.arrays.keys() == expected.keys()
    for key, array in expected.items():
        assert weights.arrays[key].dtype == np.float32
        np.testing.assert_array_equal(weights.arrays[key], array, strict=True)


def test_what_we_write_is_what_we_read(tmp_path):
    arrays = {"a/b": np.arange(6, dtype=np.float32).reshape(2, 3), "c": np.float32([np.pi])}
    note = json.dumps({"class_names": ["ä", "日本"]})
    for write, name in ((npy.write_npz, "a.npz"), (safetensors.write, "a.safetensors")):
        write(tmp_path / name, arrays, note)
        weights = formats.read(tmp_path / name)
        assert weights.note == note
        assert weights.arrays.keys() == arrays.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(weights.arrays[key], array, strict=True)


@pytest.mark.parametrize("length", [0x80, 0x280, 0x1080], ids=hex)
def test_a_header_whose_length_begins_as_a_pickle_does(length, tmp_path):
    """The first byte of 0x80 is that of a pickle, 0x02 after it the number of its protocol."""
    header = {"conv1.bias": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode().ljust(length)
    path = tmp_path / "net.bin"
    path.write_bytes(length.to_bytes(8, "little") + text + np.float32(2.5).tobytes())
    assert formats.read(path).arrays["conv1.bias"] == 2.5


def test_wrong_suffixes_and_paths(tmp_path):
    unreadable(tmp_path / "a.onnx", "does not exist")
    (tmp_path / "a.onnx").write_bytes(b"\x08\x09\x12\x07pytorch")
    unreadable(tmp_path / "a.onnx", "shows neither by its content nor by its ending what it is")
    unreadable(tmp_path / "a.pth", "does not exist")
    (tmp_path / "b.pth").mkdir()
    unreadable(tmp_path / "b.pth", "is not a file")
    for name in NAMES:
        (tmp_path / name).write_bytes(b"")
        unreadable(tmp_path / name, name)
        (tmp_path / name).write_text("<html><body>404 Not Found</body></html>\n" * 9)
        unreadable(tmp_path / name, name)


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "MAX_BYTES", 2**20)
    (tmp_path / "long.npz").write_bytes(b"\x00" * (2**20 + 1))
    unreadable(tmp_path / "long.npz", "no AlexNet is as large")


def mutated(data, draw):
    """`data` with a few bits, bytes, pieces or its end changed."""
    data = bytearray(data)
    for _ in range(draw.integers(1, 4)):
        # Half of the changes hit the ends, where the structure of most formats is.
        edge = min(len(data), 600)
        position = int(
            draw.choice([draw.integers(edge), len(data) - 1 - draw.integers(edge), draw.integers(len(data))])
        )
        match draw.integers(6):
            case 0:
                data[position] ^= 1 << draw.integers(8)
            case 1:
                data[position] = draw.choice([0, 1, 127, 128, 255])
            case 2:
                data[position : position + 8] = draw.choice([b"\xff" * 8, b"\x00" * 8, b"\xff" * 7 + b"\x7f"])
            case 3:
                del data[position:]
            case 4:
                del data[position : position + draw.integers(1, 50)]
            case 5:
                other = draw.integers(len(data))
                data[position:position] = data[other : other + draw.integers(1, 50)]
        if not data:
            return b""
    return bytes(data)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pickletools, of odd escapes
@pytest.mark.parametrize("name", NAMES)
def test_corrupt_files(name, tmp_path, monkeypatch):
    """300 corruptions of each format: an answer or one line, and no memory beyond the file's size."""
    whole = makers.write_small(tmp_path / name, monkeypatch).read_bytes()
    draw = np.random.default_rng(5)
    path, refusals = tmp_path / f"corrupt.{name}", []
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
