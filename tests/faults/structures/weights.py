"""Files of weights that follow their grammar and go wrong in it: pickles, zips, numpy, safetensors, Caffe."""

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.faults.structures import pieces
from tests.faults.structures.attacks import note
from tests.faults.structures.metadata import spoiled
from tests.faults.structures.pieces import (
    Member,
    copied,
    get,
    integer,
    items,
    name,
    nested,
    numbers,
    put,
    row,
    table,
    text,
)
from tests.interop import makers

Draw = np.random.Generator
Arrays = dict[str, np.ndarray]


def _pick(draw: Draw, values: Sequence[Any]) -> Any:
    return values[draw.integers(len(values))]


def _some(draw: Draw, share: float) -> bool:
    return bool(draw.random() < share)


_TORCH = makers.state_dict(makers.torchvision(1 / 64))
_CAFFE = makers.caffe(1 / 16)


def _plain() -> Arrays:
    """The small net of torchvision by our own names and order of axes."""
    net = makers.torchvision(1 / 64)
    arrays: Arrays = {}
    for layer, (kernel, bias) in net.items():
        arrays[f"{layer}/kernel"] = np.ascontiguousarray(
            kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T
        )
        arrays[f"{layer}/bias"] = bias
    return arrays


_PLAIN = _plain()

# Pickles


def _odd(draw: Draw) -> bytes:
    """A value that is nested, shared, huge, recursive or of another kind than what belongs there."""
    many = int(10 ** draw.uniform(0, 4.5))
    some = min(many, 3000)
    kinds: list[Callable[[], bytes]] = [
        lambda: nested(int(draw.integers(2, 90)), int(draw.integers(800, 900))),
        lambda: b")" + b"\x85" * many,
        lambda: integer(_pick(draw, [-1, 2**31, 2**62, 2**63, 2**64, 2**127, 256**many - 1])),
        lambda: text("x" * many),
        lambda: b"]" + put(700) + get(700) + b"a",
        lambda: b"}" + put(701) + text("state_dict") + get(701) + b"s",
        lambda: b"G" + struct.pack(">d", _pick(draw, [np.nan, np.inf, 1e300, 2.0])),
        lambda: _pick(draw, [b"N", b"\x88", b"}", b"]", b")", b"K\x00"]),
        lambda: numbers([_pick(draw, [0, 1, 2**40])] * many),
        lambda: b"]" + put(702) + b"(" + get(702) * many + b"e",
        lambda: name(_pick(draw, ["torch.FloatStorage", "collections.OrderedDict", "os.system"])),
        lambda: name("collections.OrderedDict") + _pick(draw, [b")", row(_odd(draw))]) + b"R",
        lambda: copied("collections.OrderedDict", items(some), some),
        lambda: b"](" + b"".join(b"Np%d\n" % (n * (2**61 - 1)) for n in range(some)) + b"e",
        lambda: b"}(" + b"".join(integer(n * (2**61 - 1)) + b"N" for n in range(some)) + b"u",
        lambda: pieces.storage(_odd(draw) if _some(draw, 0.3) else text("0"), many),
        lambda: table((_odd(draw), _odd(draw))),
        lambda: pieces.object_of("argparse.Namespace", _odd(draw), _odd(draw)),
        lambda: _pick(draw, [b"\x8f(", b"(", b"\x8f"]) + _odd(draw) + _pick(draw, [b"\x90", b"\x91"]),
    ]
    return kinds[draw.integers(len(kinds))]()


def _tensor(draw: Draw, key: str, array: np.ndarray, fault: bool, old: bool) -> bytes:
    """A tensor of a state_dict; with a fault one of its parts is odd."""
    strides = [step // array.itemsize for step in array.strides]
    size, stride, offset = numbers(array.shape), numbers(strides), b"K\x00"
    key_bytes, count = text(key), array.size
    kind = "torch.FloatStorage"
    if fault:
        many = int(10 ** draw.uniform(0, 10))
        match draw.integers(9):
            case 0:
                size = _odd(draw)
            case 1:
                stride = _odd(draw)
            case 2:
                offset = _odd(draw)
            case 3:
                key_bytes = _odd(draw)
            case 4:
                count = many
            case 5:
                kind = _pick(draw, ["torch.DoubleStorage", "torch.BoolStorage", "torch.QInt8Storage"])
            case 6:
                size, stride = numbers([many]), numbers([0])
            case 7:
                size, stride = numbers([many] * 9), numbers([0] * 9)
            case 8:
                key_bytes = text(str(draw.integers(4)))
    more = [b"N"] if old else []
    return pieces.tensor(pieces.storage(key_bytes, count, kind, *more), size, stride, offset)


def _state_dict(draw: Draw, fault: bool, old: bool) -> bytes:
    faulty = draw.integers(len(_TORCH)) if fault and _some(draw, 0.6) else -1
    entries = [
        (text(title), _tensor(draw, str(n), array, n == faulty, old))
        for n, (title, array) in enumerate(_TORCH.items())
    ]
    if fault and _some(draw, 0.4):
        place = draw.integers(len(entries))
        kind = draw.integers(4)
        if kind == 0:
            entries[place] = (_odd(draw), entries[place][1])
        elif kind == 1:
            entries[place] = (entries[place][0], _odd(draw))
        elif kind == 2:  # one tensor many times
            entries[place] = (entries[place][0], entries[place][1] + put(5))
            entries[place + 1 :] = [(text(f"w{n}"), get(5)) for n in range(int(10 ** draw.uniform(0, 4.2)))]
        else:
            entries += [(_odd(draw), _odd(draw)) for _ in range(draw.integers(1, 4))]
    value = table(*entries)
    for _ in range(draw.integers(3)):
        others = [(text(title), _odd(draw) if fault else b"K\x01") for title in ("epoch", "optimizer")]
        value = table(*others, (text("state_dict"), value))
    return value


def _storages() -> list[bytes]:
    return [array.tobytes() for array in _TORCH.values()]


def _broken_zip(draw: Draw, members: list[Member]) -> bytes:
    """The archive of `members` with one lie in its directory."""
    place = draw.integers(len(members))
    one = members[place]
    many = int(10 ** draw.uniform(0, 10)) % 2**32
    match draw.integers(8):
        case 0:
            members[place] = Member(one.name, one.raw, one.method, many)
        case 1:
            members[place] = Member(one.name, one.raw, one.method, at=int(draw.integers(2000)))
        case 2:
            members += [one] * int(10 ** draw.uniform(0, 3.5))
        case 3:
            return pieces.zipped(members, int(draw.integers(70_000)))
        case 4:
            stated = _pick(draw, [None, len(one.raw), many])
            members[place] = pieces.zeros(one.name, one.raw, int(10 ** draw.uniform(0, 8.3)), stated)
        case 5:
            members[place] = Member(one.name, one.raw, _pick(draw, [8, 9, 12, 14, 95]))
        case 6:
            members[place] = Member(_pick(draw, ["../x", "/x", "a" * 60_000, "", "\x1b[2J"]), one.raw)
        case 7:
            members += [Member(f"archive/data/{n}", b"") for n in range(int(10 ** draw.uniform(0, 4.2)))]
    return pieces.zipped(members)


def pth(draw: Draw) -> bytes:
    fault = _some(draw, 0.7)
    in_zip = fault and _some(draw, 0.4)
    value = pieces.pickled(_state_dict(draw, fault and not in_zip, False))
    members = [Member("archive/data.pkl", value)]
    members += [Member(f"archive/data/{n}", raw) for n, raw in enumerate(_storages())]
    return _broken_zip(draw, members) if in_zip else pieces.zipped(members)


def old_pth(draw: Draw) -> bytes:
    fault = _some(draw, 0.7)
    storages = _storages()
    keys = [text(str(n)) for n in range(len(storages))]
    head = [integer(0x1950A86A20F9469CFC6C), integer(1001), table((text("little_endian"), b"\x88"))]
    in_head = fault and _some(draw, 0.2)
    in_keys = fault and not in_head and _some(draw, 0.2)
    if in_head:
        head[draw.integers(3)] = _odd(draw)
    if in_keys:
        keys[draw.integers(len(keys))] = _odd(draw)
    value = _state_dict(draw, fault and not in_head and not in_keys, True)
    data = b"".join(map(pieces.pickled, (*head, value, b"](" + b"".join(keys) + b"e")))
    lies = fault and _some(draw, 0.2)
    for raw in storages:
        count = int(10 ** draw.uniform(0, 18)) if lies and _some(draw, 0.2) else len(raw) // 4
        data += struct.pack("<Q", count) + raw
    return data


def _pickled_array(draw: Draw, array: np.ndarray, fault: bool) -> bytes:
    code, shape, content = text("f4"), numbers(array.shape), b"B" + struct.pack("<I", array.nbytes)
    content += array.tobytes()
    if fault:
        match draw.integers(5):
            case 0:
                code = _odd(draw)
            case 1:
                shape = _odd(draw)
            case 2:
                content = _odd(draw)
            case 3:
                latin = text(array.tobytes().decode("latin-1"))
                content = name("_codecs.encode") + row(latin, text("latin1")) + b"R"
            case 4:
                latin = text("x" * int(10 ** draw.uniform(0, 5)))
                once = get(600) + get(601) + b"R0"
                times = int(10 ** draw.uniform(0, 4))
                content = name("_codecs.encode") + put(600) + b"0" + row(latin, text("latin1")) + put(601)
                content += b"0" + once * times + b"B\x00\x00\x00\x00"
    dtype = (
        name("numpy.dtype") + row(code, b"K\x00", b"K\x01") + b"R" + row(integer(3), text("<"), b"N") + b"b"
    )
    made = name("numpy.core.multiarray._reconstruct") + row(name("numpy.ndarray"), numbers((0,)), text("b"))
    return made + b"R" + row(integer(1), shape, dtype, b"\x89", content) + b"b"


def npy_dictionary(draw: Draw) -> bytes:
    fault = _some(draw, 0.7)
    entries, faulty = [], draw.integers(16) if fault and _some(draw, 0.6) else -1
    for n, (layer, (kernel, bias)) in enumerate(_CAFFE.items()):
        turned = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T
        pair = (np.ascontiguousarray(turned), bias)
        blobs = [_pickled_array(draw, array, 2 * n + m == faulty) for m, array in enumerate(pair)]
        entries.append((text(layer), b"](" + b"".join(blobs) + b"e"))
    if fault and _some(draw, 0.4):
        place = draw.integers(len(entries))
        match draw.integers(3):
            case 0:
                entries[place] = (_odd(draw), entries[place][1])
            case 1:
                entries[place] = (entries[place][0], _odd(draw))
            case 2:  # many layers of the same many blobs
                shared = b"](" + _pickled_array(draw, np.ones(1, np.float32), False) + put(500)
                shared += get(500) * int(10 ** draw.uniform(0, 3.5)) + b"e"
                entries[place] = (entries[place][0], shared + put(501))
                entries[place + 1 :] = [
                    (integer(n), get(501)) for n in range(int(10 ** draw.uniform(0, 3.5)))
                ]
    root = name("numpy.core.multiarray._reconstruct") + row(name("numpy.ndarray"), numbers((0,)), text("b"))
    dtype = name("numpy.dtype") + row(text("O8"), b"K\x00", b"K\x01") + b"R"
    value = root + b"R" + row(integer(1), b")", dtype, b"\x89", b"](" + table(*entries) + b"e") + b"b"
    head = _npy_header(draw, "'|O'", ()) if fault and _some(draw, 0.1) else pieces.header("'|O'", ())
    return head + pieces.pickled(value)


# Numpy


def _npy_header(draw: Draw, descr: str, shape: Sequence[int]) -> bytes:
    """A header with one part that does not belong there."""
    many = int(10 ** draw.uniform(0, 3))
    match draw.integers(9):
        case 0:
            descr = _pick(
                draw, ["'|O'", "'<f8'", "'>f4'", "'<U99999999'", "'|V9999999999'", "'<M8[ns]'", "''", "'f'"]
            )
        case 1:
            descr = "[('a', " * many + "'<f4'" + ")]" * many
        case 2:
            descr = f"[('a', '<f4', ({10**many % 10**19},))]"
        case 3:
            shape = [int(10 ** draw.uniform(0, 18)) for _ in range(draw.integers(1, 40))]
        case 4:
            return pieces.header(descr, "(" * many + ")" * many)
        case 5:
            return pieces.header(
                descr, _pick(draw, ["(-1,)", "(True,)", "(1.5,)", "None", "[3]", "(3", "(,)", "(2**9,)"])
            )
        case 6:
            return pieces.header(descr, shape, _pick(draw, ["True", "None", "1", "0 * [0] * 10**9"]))
        case 7:
            return pieces.header(descr, "(" + "9" * many + ",)")
        case 8:
            return pieces.header(descr, shape, version=_pick(draw, [0, 2, 3, 4, 255]))
    return pieces.header(descr, shape)


def _npy(draw: Draw, array: np.ndarray, fault: bool) -> bytes:
    head = pieces.header("'<f4'", array.shape)
    return (_npy_header(draw, "'<f4'", array.shape) if fault else head) + array.tobytes()


def npz(draw: Draw) -> bytes:
    fault = _some(draw, 0.7)
    in_zip = fault and _some(draw, 0.4)
    faulty = draw.integers(len(_PLAIN)) if fault and not in_zip and _some(draw, 0.7) else -1
    members = [
        Member(f"{title}.npy", _npy(draw, array, n == faulty))
        for n, (title, array) in enumerate(_PLAIN.items())
    ]
    if fault and not in_zip and faulty < 0:
        place = draw.integers(len(members))
        kind = draw.integers(5)
        count = int(10 ** draw.uniform(0, 8))
        if kind == 0:
            members.append(pieces.zeros("x.npy", pieces.header("'<f4'", (count,)), 4 * count))
        elif kind == 1:
            members[place] = pieces.zeros(members[place].name, pieces.header("'<f4'", (1, count)), 4 * count)
        else:
            tree = json.loads(json.dumps(note(256)))
            words = json.dumps(_odd_json(draw)) if _some(draw, 0.2) else spoiled(draw, tree)
            raw = words.encode("utf-8", "surrogatepass")
            members.append(Member("alexnet_jax.npy", pieces.header("'|u1'", (len(raw),)) + raw))
    return _broken_zip(draw, members) if in_zip else pieces.zipped(members)


def mean_npy(draw: Draw) -> bytes:
    fault = _some(draw, 0.6)
    shape = _pick(draw, [(3,), (3, 8, 8), (1, 3, 8, 8), (1, 4, 4)])
    return _npy(draw, np.ones(shape, np.float32), fault)


# Safetensors


def _odd_json(draw: Draw, depth: int = 0) -> Any:
    """A value of JSON that is nested, long, huge or of another kind than what belongs there."""
    many = int(10 ** draw.uniform(0, 3.5))
    match draw.integers(10):
        case 0:
            value: Any = 1
            for _ in range(min(many, 900)):
                value = [value] if _some(draw, 0.5) else {"a": value}
            return value
        case 1:
            return [_pick(draw, [0, 1, 2**40])] * many
        case 2:
            return "x" * many
        case 3:
            return _pick(draw, [-1, 1e300, float("inf"), float("nan"), 2**63, 10 ** min(many, 4000)])
        case 4:
            return _pick(draw, [None, True, {}, [], "", "F32"])
        case 5 if depth < 4:
            return {str(n): _odd_json(draw, depth + 1) for n in range(draw.integers(1, 5))}
        case 6:
            return [[]] * many
        case 7:
            return {"config": _odd_json(draw, 4), "class_names": ["x"] * many, "statistics": {}}
        case 8:
            return "\x1b[2J\u202e\x00" * many
    return [float(n) for n in draw.random(3)]


def safetensors(draw: Draw) -> bytes:
    fault = _some(draw, 0.7)
    header: dict[str, Any] = {}
    body = b""
    for title, array in _TORCH.items():
        raw = array.tobytes()
        header[title] = {"dtype": "F32", "shape": list(array.shape)}
        header[title]["data_offsets"] = [len(body), len(body) + len(raw)]
        body += raw
    many = int(10 ** draw.uniform(0, 4))
    words = b""
    if fault:
        title = _pick(draw, list(_TORCH))
        match draw.integers(9):
            case 0:
                header[title][_pick(draw, ["dtype", "shape", "data_offsets"])] = _odd_json(draw)
            case 1:
                header[title] = _odd_json(draw)
            case 2:  # over the bytes of another
                header[title] = dict(header[_pick(draw, list(_TORCH))])
            case 3:
                header |= {f"t{n}": header[title] for n in range(many)}
            case 4:
                header["__metadata__"] = _pick(
                    draw, [{"alexnet_jax": json.dumps(_odd_json(draw))}, _odd_json(draw)]
                )
            case 5:
                header |= {
                    f"t{n}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(many)
                }
            case 6:
                words = _pick(draw, [b"[", b'{"a":', b"{", b'"', b"1"]) * many
            case 7:
                first = json.dumps({title: header[title]}).encode()[1:-1]
                words = b"{" + (first + b",") * min(many, 100) + json.dumps(header).encode()[1:]
            case 8:
                header["x" * many * 10] = {"dtype": "U8", "shape": [many], "data_offsets": [0, many]}
    words = words or json.dumps(header).encode()
    length = int(10 ** draw.uniform(0, 19)) if fault and _some(draw, 0.1) else len(words)
    return struct.pack("<Q", length) + words + body


# Caffe


def _blob(draw: Draw, array: np.ndarray, fault: bool) -> bytes:
    shape = [pieces.field(1, side) for side in array.shape]
    values = pieces.field(5, array.tobytes())
    if not fault:
        return pieces.field(7, b"".join(shape)) + values
    many = int(10 ** draw.uniform(0, 4))
    match draw.integers(9):
        case 0:
            shape = [pieces.field(1, int(2 ** draw.uniform(0, 63)))] * many
        case 1:
            shape = [pieces.field(1, pieces.varint(2**63) * many)]
        case 2:
            values = values * min(many, 30)
        case 3:
            values = pieces.field(12, array.tobytes()) + pieces.field(10, _pick(draw, [1, 7, b"\x01"]))
        case 4:
            return pieces.field(7, b"") * many + values
        case 5:
            return b"".join(pieces.field(n, 2**63) for n in (1, 2, 3, 4)) + values
        case 6:
            return pieces.varint(5 << 3 | 2) + pieces.varint(int(2 ** draw.uniform(0, 64)) % 2**64) + b"1234"
        case 7:
            values = pieces.field(5, _pick(draw, [3, b"", b"123"]))
        case 8:
            return pieces.field(7, _messages(draw, 20)) + values
    return pieces.field(7, b"".join(shape)) + values


def _messages(draw: Draw, depth: int) -> bytes:
    """Messages in messages, each of a few fields."""
    found = b"".join(pieces.field(int(draw.integers(1, 120)), int(draw.integers(2**40))) for _ in range(3))
    for _ in range(draw.integers(1, depth + 1)):
        found = pieces.field(_pick(draw, [1, 2, 5, 6, 7, 100]), found) * int(draw.integers(1, 3))
        if len(found) > 10**5:
            break
    return found


def _odd_layer(draw: Draw, layer: bytes, name_field: int, blob_field: int) -> bytes:
    many = int(10 ** draw.uniform(0, 4.5))
    title, blobs = pieces.field(name_field, b"x" * many), pieces.field(blob_field, b"") * many
    return _pick(
        draw,
        [
            layer + title,
            layer + blobs,
            title + blobs,
            layer + pieces.field(3, b"") * many,
            layer + _messages(draw, 30),
            layer + pieces.field(name_field, _pick(draw, [b"\xff", b"conv1", b"", b"\x1b[2J"])),
            layer + pieces.field(_pick(draw, [name_field, blob_field]), 7),
        ],
    )


def caffemodel(old: bool) -> Callable[[Draw], bytes]:
    def write(draw: Draw) -> bytes:
        fault = _some(draw, 0.7)
        data = pieces.field(1, b"AlexNet")
        name_field, blob_field, layer_field = (4, 6, 2) if old else (1, 7, 100)
        faulty = _pick(draw, list(_CAFFE)) if fault else ""
        for title in makers.CAFFE:
            layer = pieces.field(name_field, title.encode())
            inner = faulty == title and _some(draw, 0.6)
            for array in _CAFFE.get(title, ()):
                layer += pieces.field(blob_field, _blob(draw, array, inner))
            if faulty == title and not inner:
                layer = _odd_layer(draw, layer, name_field, blob_field)
            data += pieces.field(layer_field, layer) * (
                int(draw.integers(9)) if fault and _some(draw, 0.02) else 1
            )
        return data

    return write


def mean_binaryproto(draw: Draw) -> bytes:
    fault = _some(draw, 0.6)
    array = np.ones(_pick(draw, [(3, 8, 8), (1, 3, 8, 8), (3,)]), np.float32)
    return _blob(draw, array, fault)


STRUCTURES: dict[str, Callable[[Draw], bytes]] = {
    "weights a.pth": pth,
    "weights a.old.pth": old_pth,
    "weights a.npy": npy_dictionary,
    "weights a.npz": npz,
    "weights a.safetensors": safetensors,
    "weights a.caffemodel": caffemodel(False),
    "weights a.old.caffemodel": caffemodel(True),
    "mean .npy": mean_npy,
    "mean .binaryproto": mean_binaryproto,
}
