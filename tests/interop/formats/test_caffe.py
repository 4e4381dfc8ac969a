"""Caffe's protocol buffers, written by protobuf's own library."""

import numpy as np
import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.interop import formats
from tests.interop import makers
from tests.interop.helpers import unreadable


@pytest.mark.parametrize("encoding", ["data", "old", "double", "raw"])
def test_blobs(encoding, tmp_path):
    net = {"conv1": makers.SMALL["conv1"]}
    (tmp_path / "a.caffemodel").write_bytes(makers.caffemodel(net, encoding=encoding))
    arrays = formats.read(tmp_path / "a.caffemodel").arrays
    np.testing.assert_array_equal(arrays["conv1.0"], makers.SMALL["conv1"][0])
    np.testing.assert_array_equal(arrays["conv1.1"], makers.SMALL["conv1"][1])


def test_means(tmp_path):
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


def test_corrupt_messages_take_no_memory(tmp_path):
    path = tmp_path / "a.caffemodel"
    for message in (
        b"\xa2\x06\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xa2\x06\x05\x3a",
        b"\xff" * 20,
        b"\x07",
    ):
        path.write_bytes(message)
        unreadable(path, "a.caffemodel")
    blob = makers.NetParameter()
    layer = blob.layer.add(name="conv1").blobs.add()
    layer.shape.dim.extend([2**40, 2**20])
    layer.data.extend([1.0])
    path.write_bytes(blob.SerializeToString())
    unreadable(path, "has the shape (1099511627776, 1048576) and 1 numbers")


def test_layers_of_2013_are_refused(tmp_path):
    old = makers.NetParameter()
    old.layers.add().layer.name = "conv1"
    (tmp_path / "a.caffemodel").write_bytes(old.SerializeToString())
    unreadable(tmp_path / "a.caffemodel", "upgrade_net_proto_binary")
