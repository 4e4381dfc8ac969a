"""Small random AlexNets as the files of others, written by code that shares nothing with the product's.

Arrays are in PyTorch's order of axes: (outputs, inputs seen, rows, columns) and (outputs, inputs).
"""

import collections
import io
import json
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TORCH_NAMES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}


def weights(channels, groups, units, classes, colours=3, seed=0):
    """{layer: [kernel, bias]} with the channels of five convolutions; `groups` in conv2, conv4 and conv5."""
    draw = np.random.default_rng(seed)
    inputs = (colours, channels[0] // groups, channels[1], channels[2] // groups, channels[3] // groups)
    shapes = {
        f"conv{n}": (channels[n - 1], inputs[n - 1], side, side)
        for n, side in enumerate((11, 5, 3, 3, 3), start=1)
    }
    shapes |= {"fc6": (units, channels[4] * 36), "fc7": (units, units), "fc8": (classes, units)}
    return {
        name: [
            draw.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32),
            draw.normal(0, 0.1, shape[0]).astype(np.float32),
        ]
        for name, shape in shapes.items()
    }


def torchvision(width=0.0625, classes=5, channels=3, seed=0):
    """torchvision's AlexNet, a sixteenth as wide."""
    widths = [round(width * full) for full in (64, 192, 384, 256, 256)]
    return weights(widths, 1, round(width * 4096), classes, channels, seed)


def caffe(width=0.0625, classes=5, channels=3, seed=0):
    """Caffe's AlexNet, a sixteenth as wide."""
    widths = [round(width * full) for full in (96, 256, 384, 384, 256)]
    return weights(widths, 2, round(width * 4096), classes, channels, seed)


def state_dict(net):
    """A net by torchvision's names."""
    return {
        f"{TORCH_NAMES[layer]}.{name}": array
        for layer, arrays in net.items()
        for name, array in zip(("weight", "bias"), arrays, strict=True)
    }


def write_safetensors(path, arrays):
    header, body = {}, b""
    for name, array in arrays.items():
        raw = array.astype("<f4").tobytes()
        offsets = [len(body), len(body) + len(raw)]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": offsets}
        body += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


class _Array:
    """Stands for a tensor when it is pickled."""

    def __init__(self, key, array):
        self.key, self.array = key, array

    def __reduce__(self):
        steps = np.asarray(self.array.strides) // self.array.itemsize
        stride = tuple(int(step) for step in steps)
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (_Storage(self), 0, self.array.shape, stride, False, collections.OrderedDict())


class _Storage:
    def __init__(self, owner):
        self.owner = owner


def _pickled(value, monkeypatch, legacy=False):
    """The pickle that torch.save makes, by the standard pickler and modules that look like PyTorch's."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*arguments):
        raise AssertionError("called")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                if not isinstance(value, _Storage):
                    return None
                owner = value.owner
                identity = ("storage", torch.FloatStorage, owner.key, "cpu", owner.array.size)
                return (*identity, None) if legacy else identity

        file = io.BytesIO()
        Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def _as_tensors(value, keys):
    if isinstance(value, np.ndarray):
        keys[str(len(keys))] = value
        return _Array(str(len(keys) - 1), value)
    if isinstance(value, dict):
        return collections.OrderedDict((name, _as_tensors(inner, keys)) for name, inner in value.items())
    return value


def write_pth(path, value, monkeypatch):
    """What torch.save(value) has written since PyTorch 1.6."""
    keys: dict[str, np.ndarray] = {}
    data = _pickled(_as_tensors(value, keys), monkeypatch)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for key, array in keys.items():
            archive.writestr(f"archive/data/{key}", array.tobytes("A"))
        archive.writestr("archive/version", "3\n")


def write_legacy_pth(path, value, monkeypatch):
    """What torch.save(value) wrote before."""
    keys: dict[str, np.ndarray] = {}
    data = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    data += pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}, 2)
    data += _pickled(_as_tensors(value, keys), monkeypatch, legacy=True) + pickle.dumps(sorted(keys), 2)
    for key in sorted(keys):
        data += struct.pack("<q", keys[key].size) + keys[key].tobytes("A")
    path.write_bytes(data)


def _messages():
    """Classes for the messages of caffe.proto, as far as they are needed."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, label, kind, field_name in fields:
            one = made.field.add(name=field_name, number=number, label=label)
            if isinstance(kind, str):
                one.type, one.type_name = field.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                one.type = kind
            if label == field.LABEL_REPEATED and not isinstance(kind, str) and kind != field.TYPE_STRING:
                one.options.packed = True

    once, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    text, number, real = field.TYPE_STRING, field.TYPE_INT32, field.TYPE_FLOAT
    message("BlobShape", (1, many, field.TYPE_INT64, "dim"))
    message(
        "BlobProto",
        *((n, once, number, name) for n, name in enumerate(("num", "channels", "height", "width"), start=1)),
        (5, many, real, "data"),
        (6, many, real, "diff"),
        (7, once, "BlobShape", "shape"),
        (8, many, field.TYPE_DOUBLE, "double_data"),
        (10, once, number, "raw_data_type"),
        (12, once, field.TYPE_BYTES, "raw_data"),
    )
    message("V0LayerParameter", (1, once, text, "name"), (50, many, "BlobProto", "blobs"))
    message(
        "V1LayerParameter",
        (1, once, "V0LayerParameter", "layer"),
        (2, many, text, "bottom"),
        (4, once, text, "name"),
        (5, once, number, "type"),
        (6, many, "BlobProto", "blobs"),
        (7, many, real, "blobs_lr"),
    )
    message(
        "LayerParameter",
        (1, once, text, "name"),
        (2, once, text, "type"),
        (3, many, text, "bottom"),
        (7, many, "BlobProto", "blobs"),
    )
    message(
        "NetParameter",
        (1, once, text, "name"),
        (2, many, "V1LayerParameter", "layers"),
        (3, many, text, "input"),
        (4, many, number, "input_dim"),
        (100, many, "LayerParameter", "layer"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("NetParameter", "BlobProto")
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}")) for name in names]


NetParameter, BlobProto = _messages()
CAFFE = (
    *("data", "conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2"),
    *("conv3", "relu3", "conv4", "relu4", "conv5", "relu5", "pool5"),
    *("fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8", "loss"),
)
CAFFENET = ("data", "conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2", *CAFFE[9:])


def fill(blob, array, encoding="data"):
    """Writes an array into a BlobProto: 'data', 'old' (four numbers for a shape), 'double' or 'raw'."""
    if encoding == "old":
        shape = (1,) * (4 - array.ndim) + array.shape
        blob.num, blob.channels, blob.height, blob.width = shape
    else:
        blob.shape.dim.extend(array.shape)
    if encoding == "double":
        blob.double_data.extend(array.ravel().tolist())
    elif encoding == "raw":
        blob.raw_data_type, blob.raw_data = 1, array.astype("<f4").tobytes()
    else:
        blob.data.extend(array.ravel().tolist())


def caffemodel(net, order=CAFFE, encoding="data"):
    """A NetParameter of the layers in `order`; layers as before 2014 where `encoding` is 'old'."""
    message = NetParameter(name="AlexNet")
    for name in order:
        layer = message.layers.add(name=name) if encoding == "old" else message.layer.add(name=name)
        layer.bottom.append("data")
        for array in net.get(name, ()):
            fill(layer.blobs.add(), array, encoding)
    return message.SerializeToString()


def write_npy_dictionary(path, net):
    """What caffe-tensorflow writes: rows, columns, inputs, outputs; fc6 over (rows, columns, channels)."""
    table = {}
    for name, (kernel, bias) in net.items():
        turned = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel
        if name == "fc6":
            turned = kernel.reshape(len(kernel), -1, 6, 6).transpose(0, 2, 3, 1).reshape(len(kernel), -1)
        table[name] = [np.ascontiguousarray(turned if kernel.ndim == 4 else turned.T), bias]
    np.save(path, np.array(table, dtype=object), allow_pickle=True)


def write_npz(path, net, **others):
    """Our own .npz: RGB, rows, columns, inputs, outputs; fc6 over (rows, columns, channels)."""
    arrays = dict(others)
    for name, (kernel, bias) in net.items():
        turned = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T
        if name == "fc6":
            turned = kernel.reshape(len(kernel), -1, 6, 6).transpose(2, 3, 1, 0).reshape(-1, len(kernel))
        arrays[f"{name}/kernel"], arrays[f"{name}/bias"] = turned, bias
    np.savez(path, **arrays)


def write(path: Path, net, monkeypatch):
    """Any of the files by its suffix; '.old.' in the name for its older kind."""
    suffix, old = path.suffix, ".old." in path.name
    if suffix == ".pth":
        (write_legacy_pth if old else write_pth)(path, state_dict(net), monkeypatch)
    elif suffix == ".safetensors":
        write_safetensors(path, state_dict(net))
    elif suffix == ".caffemodel":
        path.write_bytes(caffemodel(net, encoding="old" if old else "data"))
    elif suffix == ".npy":
        write_npy_dictionary(path, net)
    else:
        write_npz(path, net)
    return path


SMALL = {name: [kernel[:4, :2].copy(), bias[:4]] for name, (kernel, bias) in caffe().items()}


def write_small(path: Path, monkeypatch):
    """A file of a few thousand bytes, of `SMALL`."""
    if path.suffix in (".npy", ".npz"):  # its fc6 has too few inputs to be turned
        return write(path, {name: arrays for name, arrays in SMALL.items() if name != "fc6"}, monkeypatch)
    return write(path, SMALL, monkeypatch)
