"""What torch.save writes (torch/serialization.py): tensors named by a pickle, and their numbers.

Since PyTorch 1.6 it is a zip archive with data.pkl and one file for each storage; before, a row of pickles
and then the storages. A tensor is a storage, an offset, a size and strides.
"""

import io
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from alexnet_jax.arrays import MAX_MEMBERS, BadFile
from alexnet_jax.interop.formats.weights import (
    DTYPES,
    MAX_ARRAYS,
    MAX_SHARING,
    Collector,
    Weights,
    said,
    shared_prefix,
)
from alexnet_jax.interop.unpickle import Name, as_dict, is_shape, is_short, unpickle

STORAGES = {storage: np.dtype(dtype) for storage, _, dtype in DTYPES}
# Under which names training scripts keep a net's tensors, in the order in which they are looked for: the net
# itself before its running average.
CONTAINERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params",
    "model_ema", "state_dict_ema", "ema_state_dict", "ema",
)  # fmt: skip
WRAPPERS = ("module", "_orig_mod")  # parts of names, of DataParallel and torch.compile, which may wrap a part
MAX_DEPTH = 3  # of containers in containers
FIRST = ("features.0.weight", "net.slice1.0.weight")  # of torchvision's AlexNet; of lpips.LPIPS around it
_Table = dict[str | int, Any]
_Path = tuple[str | int, ...]
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
        count: int = prod(self.size)
        if count == 0:
            return np.zeros(self.size, values.dtype)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if max(count - 1, last) >= len(values):
            raise BadFile(f"a tensor of {self.size} in it has only {len(values)} numbers")
        steps = [step * values.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.size, steps, writeable=False)


def _storage(identity: Any) -> _Storage:
    if type(identity) is tuple and 5 <= len(identity) <= 6:
        kind, dtype, key, _, count, *view = identity
        plain = is_short(kind) and kind == "storage" and type(dtype) is Name and is_shape((count,))
        if plain and is_short(key) and view in ([], [None]):
            return _Storage(str(key), STORAGES[dtype.text], count)
    if type(identity) is tuple and len(identity) == 4 and is_short(identity[0]) and identity[0] == "module":
        raise BadFile("it holds a whole module, and nothing in a file is run: save model.state_dict()")
    raise BadFile("its pickle mentions something that is not a storage of a tensor")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    if type(storage) is not _Storage:
        raise BadFile("its pickle makes a tensor of something that is not a storage")
    if not (is_shape(size) and is_shape(stride) and is_shape((offset,)) and len(size) == len(stride)):
        raise BadFile("a tensor in it has a size or strides that no tensor can have")
    return _Tensor(storage, offset, size, stride)


NAMES: dict[str, Callable[..., Any] | None] = {
    "collections.OrderedDict": as_dict,
    "collections.Counter": as_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    **dict.fromkeys(STORAGES),
}


def read(data: bytes) -> Weights:
    """Return the tensors of an AlexNet's state_dict, bare or inside a checkpoint; of another net's the first.

    Raises:
      BadFile: torch.save did not write it, or it holds no tensors.
      Exception: it is damaged; any kind, as damage leads anywhere.
    """
    skipped: set[str] = set()
    opened = _open_zip if data[:4] == b"PK\x03\x04" else _open_legacy
    root, content = opened(data, skipped)
    objects = sorted(skipped)
    tables = _tables(root)
    if not tables:
        held = f" but objects ({', '.join(objects[:3])}), and nothing in a file is run" if objects else ""
        raise BadFile(f"it holds no tensors{held}: in PyTorch, save model.state_dict()")
    chosen = next((path for path, table in tables.items() if _is_alexnet(table)), next(iter(tables)))
    names = _names(tables[chosen])
    prefix = shared_prefix(names)
    found = Collector(MAX_SHARING * len(data))
    for name, tensor in zip(names, _tensors(tables[chosen]).values(), strict=True):
        found.add(name.removeprefix(prefix), tensor.array(content(tensor.storage)))
    taken = [f"the tensors under {_joined(chosen)}"] if chosen else []
    dropped = [f"{w}." for w in WRAPPERS if any(w in str(name).split(".") for name in tables[chosen])]
    if prefix:
        dropped.append(prefix)
    if dropped:
        taken.append(f"names without {' and '.join(dropped)}")
    left = [_joined(path) for path in tables if path and path != chosen]
    left += [f"{len(_tensors(root))} tensors beside these"] if chosen and () in tables else []
    left += _beside(root, chosen, tables)
    notices = (*said("taken", taken), *said("left out", left), *said("objects that were not made", objects))
    return Weights("torch", found.arrays, notices=notices)


def _tables(root: Any) -> dict[_Path, _Table]:
    """Return every dictionary that holds tensors, by the names that lead to it, the likeliest first.

    Every name at the top is looked into, deeper ones of `CONTAINERS`, and what stands in two places once.
    """
    found: dict[_Path, _Table] = {}
    seen: set[int] = set()
    count = 0

    def visit(table: Any, path: _Path) -> None:
        nonlocal count
        if type(table) is not dict or id(table) in seen:
            return
        seen.add(id(table))
        tensors = len(_tensors(table))
        if tensors:
            found[path] = table
        count += tensors
        if count > MAX_ARRAYS:  # before their names are looked at
            raise BadFile(f"it has more than {MAX_ARRAYS:,} arrays")
        if len(path) < MAX_DEPTH:
            for name in [*CONTAINERS, *(() if path else table)]:
                visit(table.get(name), (*path, name))

    visit(root, ())
    return found


def _beside(root: _Table, chosen: _Path, tables: Collection[_Path]) -> list[str]:
    """Return what is no tensor along the way to the chosen ones and among them."""
    ways = {path[:depth] for path in tables for depth in range(len(path) + 1)}
    names, table = [], root
    for depth in range(len(chosen) + 1):
        here = [(*chosen[:depth], name) for name, value in table.items() if type(value) is not _Tensor]
        names += [_joined(path) for path in here if path not in ways]
        table = table[chosen[depth]] if depth < len(chosen) else table
    return names


def _tensors(table: _Table) -> dict[str | int, _Tensor]:
    return {name: value for name, value in table.items() if type(value) is _Tensor}


def _names(table: _Table) -> list[str]:
    """Return the names of its tensors without what DataParallel and torch.compile put anywhere into them."""
    return [".".join(part for part in str(n).split(".") if part not in WRAPPERS) for n in _tensors(table)]


def _is_alexnet(table: _Table) -> bool:
    names = _names(table)
    return any(shared_prefix(names) + first in names for first in FIRST)


def _joined(path: _Path) -> str:
    return ".".join(map(str, path))


Content = Callable[[_Storage], bytes | memoryview]


def _open_zip(data: bytes, skipped: set[str]) -> tuple[Any, Content]:
    if data.count(b"PK\x01\x02") > MAX_MEMBERS:  # before zipfile makes an object for each
        raise BadFile(f"it has more than {MAX_MEMBERS:,} parts")
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
    root = unpickle(io.BytesIO(archive.read(pickles[0])), NAMES, _storage, skipped)
    read: dict[str, bytes] = {}

    def content(storage: _Storage) -> bytes:
        if storage.key not in read:
            read[storage.key] = archive.read(f"{folder}data/{storage.key}")
        if len(read[storage.key]) != storage.count * storage.dtype.itemsize:
            raise BadFile(f"storage {storage.key} of {storage.count} numbers is not all there")
        return read[storage.key]

    return root, content


def _open_legacy(data: bytes, skipped: set[str]) -> tuple[Any, Content]:
    file = io.BytesIO(data)
    try:
        magic = unpickle(file, {})
    except Exception:
        magic = None
    if magic != LEGACY_MAGIC:
        raise BadFile("torch.save did not write it, or its end is missing")
    unpickle(file, {})  # the version of the protocol
    machine = unpickle(file, {})
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise BadFile("it was written on a machine of another byte order")
    met: dict[str, _Storage] = {}

    def storage(identity: Any) -> _Storage:
        found = _storage(identity)
        return met.setdefault(found.key, found)

    root = unpickle(file, NAMES, storage, skipped)
    keys = unpickle(file, {})
    if type(keys) is not list or not all(is_short(key) for key in keys):
        raise BadFile("it does not say which storages follow")
    rest, begins, position = memoryview(data), {}, file.tell()
    for key in keys:  # 8 bytes say how many numbers a storage has, and then they come
        count = int.from_bytes(rest[position : position + 8], "little")
        begins[key] = position + 8
        position += 8 + count * met[key].dtype.itemsize
        if count != met[key].count or position > len(data):
            raise BadFile(f"storage {key} of {count} numbers is not all there")

    def content(storage: _Storage) -> memoryview:
        begin = begins[storage.key]
        return rest[begin : begin + storage.count * storage.dtype.itemsize]

    return root, content
