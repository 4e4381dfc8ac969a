"""Files of weights, read and written without the programs that they come from.

Each reader gives numpy arrays by the names that stand in the file and changes nothing about them; what they
mean is `convert`'s matter. Files come from strangers: every length is checked against what is there, nothing
in a file is run, and a small file cannot make a reader take much memory (an .npz: `LARGEST` at most).
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from alexnet_jax.errors import UsageError
from alexnet_jax.files import whole_file
from alexnet_jax.interop.unpickle import BadFile, Name, as_dict, unpickle
from alexnet_jax.progress import printable

LARGEST = 2**31  # bytes of a file, and of what it unpacks to: eight times the paper's net
NOTE = "alexnet_jax"  # the name under which our own files say what their arrays are of


@dataclass(frozen=True)
class Weights:
    """What a file holds.

    Attributes:
      layout: whose names, order of axes and order of channels: 'torch', 'caffe' (.caffemodel),
        'caffe_tensorflow' (the .npy dictionary) or 'plain' (.npz).
      arrays: by the file's own names; Caffe's first and second blob of a layer are 'conv1.0' and 'conv1.1'.
      note: in our own files the JSON that `convert` wrote, else ''.
      layers: in a .caffemodel the names of all layers, in its order.
    """

    layout: str
    arrays: dict[str, np.ndarray]
    note: str = ""
    layers: tuple[str, ...] = ()


def read(path: Path) -> Weights:
    """Reads a file by its suffix, one of `READERS`.

    Raises:
      UsageError: another suffix, no such file, or not what the suffix promises; one line.
    """
    return _read(path, READERS)


def read_mean(path: Path) -> np.ndarray:
    """Caffe's mean of its training pictures as float32 RGB: (H, W, C), or (C,) for one value a channel.

    Args:
      path: a `.binaryproto` or an `.npy` (C, H, W) or (C,), BGR as Caffe has it.

    Raises:
      UsageError: as `read`.
    """
    mean = _read(path, {".binaryproto": _binaryproto, ".npy": _npy}).astype(np.float32)
    mean = mean[0] if mean.ndim == 4 and mean.shape[0] == 1 else mean
    if mean.ndim not in (1, 3) or mean.shape[0] not in (1, 3) or not np.isfinite(mean).all():
        raise UsageError(f"{path} holds an array {mean.shape}, not a finite mean (C, H, W) or (C,)")
    return np.ascontiguousarray(np.moveaxis(mean[::-1], 0, -1))


def _read(path: Path, readers: Mapping[str, Callable[[bytes], Any]]) -> Any:
    suffix = next((s for s in readers if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise UsageError(f"{path}: its name should end in {' or '.join(readers)}")
    try:
        if not path.is_file():
            raise UsageError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path} has {path.stat().st_size:,} bytes: no AlexNet is as large as that")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return readers[suffix](data)
    except BadFile as error:
        raise UsageError(f"{path}: {printable(str(error))[:300]}") from None
    except Exception as error:  # damage leads a parser anywhere
        words = printable(str(error) or type(error).__name__)[:120]
        raise UsageError(f"{path} is damaged, or is not a {suffix} file: {words}") from error


# PyTorch. torch/serialization.py: a zip with data.pkl and one file a storage; before 1.6 a row of pickles
# and then the storages. A tensor is a storage, an offset, a size and strides.

STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self, content: bytes | memoryview) -> np.ndarray:
        values = np.frombuffer(content, self.storage.dtype)
        sizes = (*self.size, *self.stride, self.offset)
        if len(self.size) != len(self.stride) or not all(type(n) is int and n >= 0 for n in sizes):
            raise BadFile(f"a tensor in it has the size {self.size} and the strides {self.stride}")
        count: int = prod(self.size)
        if count == 0:
            return np.zeros(self.size, values.dtype)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if max(count - 1, last) >= len(values):
            raise BadFile(f"a tensor of {self.size} in it has only {len(values)} numbers")
        steps = [step * values.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.size, steps, writeable=False)


def _storage(identity: Any) -> _Storage:
    kind, dtype, key, _, count = identity[:5]
    view = identity[5] if len(identity) > 5 else None
    if kind != "storage" or view is not None or type(dtype) is not Name or type(count) is not int:
        raise BadFile("its pickle mentions something that is not a storage of a tensor")
    return _Storage(str(key), np.dtype(STORAGES[dtype.text.removeprefix("torch.")]), count)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    if type(storage) is not _Storage or type(size) is not tuple or type(stride) is not tuple:
        raise BadFile("its pickle makes a tensor of something that is not a storage")
    return _Tensor(storage, offset, size, stride)


TORCH_NAMES: dict[str, Callable[..., Any] | None] = {
    "collections.OrderedDict": as_dict,
    "collections.Counter": as_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    **{f"torch.{name}": None for name in STORAGES},
}


def _torch(data: bytes) -> Weights:
    """The tensors of a state_dict, bare or in a checkpoint under a name that PyTorch's examples use."""
    root, content = _torch_zip(data) if data[:4] == b"PK\x03\x04" else _torch_legacy(data)
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(root, dict) and isinstance(root.get(name), dict):
            root = root[name]
    if not isinstance(root, dict):
        raise BadFile("it holds no state_dict")
    return Weights(
        "torch",
        {
            ".".join(part for part in str(name).split(".") if part != "module"):  # DataParallel puts it there
            value.array(content(value.storage))
            for name, value in root.items()
            if isinstance(value, _Tensor)
        },
    )


Content = Callable[[_Storage], bytes | memoryview]


def _torch_zip(data: bytes) -> tuple[Any, Content]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise BadFile("it is a zip archive, and not one that torch.save wrote")
    folder = pickles[0].removesuffix("data.pkl")
    if any(name.startswith(f"{folder}code/") for name in archive.namelist()):
        raise BadFile("it is a TorchScript program, and nothing in a file is run: save model.state_dict()")
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise BadFile("parts of it are compressed, which torch.save does not do")
    if sum(info.file_size for info in archive.infolist()) > len(data):
        raise BadFile("its parts lie over each other")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise BadFile("it was written on a machine of another byte order")
    root = unpickle(io.BytesIO(archive.read(pickles[0])), TORCH_NAMES, _storage)
    read: dict[str, bytes] = {}

    def content(storage: _Storage) -> bytes:
        if storage.key not in read:
            read[storage.key] = archive.read(f"{folder}data/{storage.key}")
        if len(read[storage.key]) != storage.count * storage.dtype.itemsize:
            raise BadFile(f"storage {storage.key} of {storage.count} numbers is not all there")
        return read[storage.key]

    return root, content


def _torch_legacy(data: bytes) -> tuple[Any, Content]:
    file = io.BytesIO(data)
    try:
        magic = unpickle(file, {})
    except Exception:
        magic = None
    if magic != LEGACY_MAGIC:
        raise BadFile("torch.save did not write it, or its end is missing")
    unpickle(file, {})  # the version of the protocol
    if unpickle(file, {}).get("little_endian") is not True:
        raise BadFile("it was written on a machine of another byte order")
    met: dict[str, _Storage] = {}

    def storage(identity: Any) -> _Storage:
        found = _storage(identity)
        return met.setdefault(found.key, found)

    root = unpickle(file, TORCH_NAMES, storage)
    keys = unpickle(file, {})
    rest, begins, place = memoryview(data), {}, file.tell()
    for key in keys:  # 8 bytes say how many numbers a storage has, and then they come
        count = int.from_bytes(rest[place : place + 8], "little")
        begins[key] = place + 8
        place += 8 + count * met[key].dtype.itemsize
        if count != met[key].count or place > len(data):
            raise BadFile(f"storage {key} of {count} numbers is not all there")

    def content(storage: _Storage) -> memoryview:
        begin = begins[storage.key]
        return rest[begin : begin + storage.count * storage.dtype.itemsize]

    return root, content


# safetensors (its README): the length of a header in 8 bytes, a JSON header, the bytes of the tensors.

SAFETENSORS = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
LARGEST_HEADER = 10**7  # bytes; an AlexNet's has some thousand, with class names perhaps a hundred thousand


def _safetensors(data: bytes) -> Weights:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, LARGEST_HEADER):
        raise BadFile(f"its header should have {length:,} bytes, and the file has {len(data):,}")
    header = json.loads(data[8 : 8 + length])
    body = memoryview(data)[8 + length :]
    if not isinstance(header, dict):
        raise BadFile("its header is not a table of tensors")
    metadata = header.pop("__metadata__", {})
    arrays, end = {}, 0
    for name, row in header.items():
        dtype = np.dtype(SAFETENSORS[row["dtype"]])
        shape, (first, last) = tuple(row["shape"]), row["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*shape, first, last)) or last > len(body):
            raise BadFile(f"{name[:80]} should lie at {first} to {last} of {len(body)} bytes")
        if last - first != prod(shape) * dtype.itemsize:
            raise BadFile(f"{name[:80]} has {last - first} bytes for the shape {shape}")
        arrays[name] = np.frombuffer(body[first:last], dtype).reshape(shape)
        end = max(end, last)
    if end != len(body):
        raise BadFile(f"it has {len(body) - end} bytes that belong to no tensor")
    return Weights("torch", arrays, str(metadata.get(NOTE, "")))


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], note: str) -> None:
    """Writes float32 arrays, whole or not at all; `read` gives them and the note back."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", NOTE: note}}
    place = 0
    for name, array in arrays.items():
        offsets = [place, place + array.size * 4]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": offsets}
        place = offsets[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8
    with whole_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, "<f4").data)


# numpy. An .npz is a zip of .npy files; the .npy of caffe-tensorflow is a pickled {layer: {..} or [W, b]}.


def _npz(data: bytes) -> Weights:
    archive = zipfile.ZipFile(io.BytesIO(data))
    size = sum(info.file_size for info in archive.infolist())
    if size > LARGEST:
        raise BadFile(f"it unpacks to {size:,} bytes: no AlexNet is as large as that")
    arrays, note = {}, ""
    for info in archive.infolist():
        array = _npy(archive.read(info))
        if info.filename == f"{NOTE}.npy":
            note = array.tobytes().decode()
        else:
            arrays[info.filename.removesuffix(".npy")] = array
    return Weights("plain", arrays, note)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray], note: str) -> None:
    """Writes arrays, whole or not at all; `read` gives them and the note back."""
    with whole_file(path) as file:
        np.savez(file, **{**arrays, NOTE: np.frombuffer(note.encode(), np.uint8)})  # type: ignore[arg-type]


def _npy_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(file)]
    return read_header(file)


def _npy(data: bytes) -> np.ndarray:
    """An array of numbers; numpy's own reader allocates what a header asks for before it looks further."""
    file = io.BytesIO(data)
    shape, fortran, dtype = _npy_header(file)
    if dtype.kind not in "fiub":
        raise BadFile(f"an array in it is of {dtype}, not of numbers")
    values = np.frombuffer(memoryview(data)[file.tell() :], dtype)
    return values.reshape(shape, order="F" if fortran else "C")


class _PickledDtype:
    def __init__(self, code: Any, *_: Any):
        self.dtype = np.dtype({"f2": "<f2", "f4": "<f4", "f8": "<f8", "O8": "O", "O": "O"}[code])

    def build(self, state: Any) -> None:
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


class _PickledArray:
    value: Any = None

    def __init__(self, *_: Any):
        pass

    def build(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if dtype.dtype == np.dtype("O"):
            self.value = content
            return
        raw = content.encode("latin-1") if isinstance(content, str) else content
        self.value = np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _encode(text: str, encoding: str) -> bytes:
    return text.encode("latin-1")  # how Python 3 writes bytes in an old pickle


NUMPY_NAMES: dict[str, Callable[..., Any] | None] = {
    "numpy.ndarray": None,
    "numpy.dtype": _PickledDtype,
    "numpy.core.multiarray._reconstruct": _PickledArray,
    "numpy._core.multiarray._reconstruct": _PickledArray,
    "_codecs.encode": _encode,
}


def _npy_dictionary(data: bytes) -> Weights:
    file = io.BytesIO(data)
    shape, _, dtype = _npy_header(file)
    if dtype != np.dtype("O") or shape != ():
        raise BadFile("it holds an array, and no dictionary {layer: [weights, biases]}")
    root = unpickle(file, NUMPY_NAMES)
    (table,) = root.value if isinstance(root, _PickledArray) else (None,)
    if not isinstance(table, dict):
        raise BadFile("it holds no dictionary {layer: [weights, biases]}")
    arrays = {}
    for layer, blobs in table.items():
        blobs = list(blobs.values()) if isinstance(blobs, dict) else blobs
        for number, blob in enumerate(blobs):
            if not isinstance(blob, _PickledArray) or not isinstance(blob.value, np.ndarray):
                raise BadFile(f"{layer[:80]} in it is not a list [weights, biases] of arrays")
            arrays[f"{layer}.{number}"] = blob.value
    return Weights("caffe_tensorflow", arrays)


# Caffe: protocol buffers. The numbers of the fields are those of src/caffe/proto/caffe.proto, and for
# raw_data of NVIDIA's branch.

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_DIMENSIONS = 32
RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise BadFile("it has a number of more than 64 bits: it is not a protocol buffer")


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a message; bytes are views of it."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind, value = tag & 7, 0
        if kind == VARINT:
            value, place = _varint(message, place)
            yield tag >> 3, value
            continue
        if kind == BYTES:
            length, place = _varint(message, place)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise BadFile("it has a field of an unknown kind: it is not a protocol buffer")
        if length > len(message) - place:
            raise BadFile(
                f"a field of {length:,} bytes in it has only {len(message) - place:,}: it is cut off"
            )
        yield tag >> 3, message[place : place + length]
        place += length


def _blob(message: memoryview) -> np.ndarray:
    """A BlobProto: numbers in data, double_data or raw_data; a shape, or the older four numbers."""
    old, shape, raw_type, values = [0, 0, 0, 0], None, 1, np.zeros(0, "<f4")
    for number, value in _fields(message):
        if number in (1, 2, 3, 4) and isinstance(value, int):
            old[number - 1] = value
        elif number == 5:
            values = np.frombuffer(value, "<f4")
        elif number == 7:
            shape = _shape(value)
        elif number == 8:
            values = np.frombuffer(value, "<f8")
        elif number == 10:
            raw_type = value
        elif number == 12:
            values = np.frombuffer(value, RAW_TYPES[raw_type])
    if shape is None:  # (1, 1, outputs, inputs) and (1, 1, 1, outputs) for matrices and biases
        shape = old
        while len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
    if prod(shape) != len(values):
        raise BadFile(f"a blob in it has the shape {tuple(shape)} and {len(values)} numbers")
    return values.reshape(shape)


def _shape(message: Any) -> list[int]:
    dimensions: list[int] = []
    for number, value in _fields(message):
        if number == 1 and isinstance(value, int):
            dimensions.append(value)
        elif number == 1:
            place = 0
            while place < len(value) and len(dimensions) < MOST_DIMENSIONS:
                dimension, place = _varint(value, place)
                dimensions.append(dimension)
    return dimensions


def _caffemodel(data: bytes) -> Weights:
    """A NetParameter with `layer` (100) or, before 2014, `layers` (2)."""
    arrays: dict[str, np.ndarray] = {}
    names: list[str] = []
    for number, layer in _fields(memoryview(data)):
        if number not in (2, 100):
            continue
        name_field, blob_field = (1, 7) if number == 100 else (4, 6)
        name, blobs = "", []
        for inner, value in _fields(layer):
            if inner == name_field:
                name = bytes(value).decode()
            elif inner == blob_field:
                blobs.append(_blob(value))
            elif inner == 1:
                raise BadFile("its layers are of 2013's form: upgrade it with upgrade_net_proto_binary first")
        names.append(name)
        arrays.update({f"{name}.{place}": blob for place, blob in enumerate(blobs)})
    if not names:
        raise BadFile("it holds no layers")
    return Weights("caffe", arrays, layers=tuple(names))


def _binaryproto(data: bytes) -> np.ndarray:
    return _blob(memoryview(data))


READERS: dict[str, Callable[[bytes], Weights]] = {
    ".pth": _torch,
    ".pt": _torch,
    ".pth.tar": _torch,
    ".safetensors": _safetensors,
    ".caffemodel": _caffemodel,
    ".npy": _npy_dictionary,
    ".npz": _npz,
}
