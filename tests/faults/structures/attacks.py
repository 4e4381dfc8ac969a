"""Small files that took all memory, never ended, or were taken for what they are not: one a kind."""

import bz2
import json
import lzma
import struct
import zlib
from collections.abc import Callable

from tests.faults.structures import pieces
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

MIB = 2**20
F4 = "'<f4'"


def pth(pickled: bytes, *storages: bytes) -> bytes:
    """What torch.save writes."""
    members = [Member("archive/data.pkl", pieces.pickled(pickled))]
    members += [Member(f"archive/data/{key}", content) for key, content in enumerate(storages)]
    return pieces.zipped(members)


def legacy(pickled: bytes, keys: bytes) -> bytes:
    """What torch.save wrote before PyTorch 1.6."""
    head = (integer(0x1950A86A20F9469CFC6C), integer(1001), table((text("little_endian"), b"\x88")))
    return b"".join(map(pieces.pickled, (*head, pickled, keys)))


def dictionary(pickled: bytes) -> bytes:
    """The .npy of a pickled object."""
    return pieces.header("'|O'", ()) + pieces.pickled(pickled)


def _storage(count: int = 4, key: bytes = text("0")) -> bytes:
    return pieces.storage(key, count)


def _tensor(size: bytes, stored: bytes | None = None) -> bytes:
    return table((text("w"), pieces.tensor(stored or _storage(), size, numbers((2, 1)))))


def _colliding_memo(count: int) -> bytes:
    """Values under numbers of which Python's hash is 0."""
    return b"]" + b"".join(b"p%d\n" % (n * (2**61 - 1)) for n in range(count))


def _array_of(dtype: bytes, content: bytes, shape: bytes = numbers((1,))) -> bytes:
    made = name("numpy.core.multiarray._reconstruct") + row(name("numpy.ndarray"), numbers((0,)), text("b"))
    return made + b"R" + row(integer(1), shape, dtype, b"\x89", content) + b"b"


def _dtype(code: bytes) -> bytes:
    return name("numpy.dtype") + row(code, b"K\x00", b"K\x01") + b"R"


def _zero_net() -> bytes:
    """A net of zeros, 2.6 times as wide as torchvision's: 1.7 GB."""
    from alexnet_jax.config import resolve
    from alexnet_jax.interop.layout import leaves
    from alexnet_jax.model import architectures
    from configs import imagenet_torchvision

    config = resolve.replace(imagenet_torchvision.get_config(), {"model.width": 168 / 64})
    net = architectures.build(config.model, config.data.crop, 3)
    members = []
    for leaf in leaves(net, "plain"):
        size = 4
        for side in leaf.file_shape:
            size *= side
        members.append(pieces.zeros(f"{leaf.key}.npy", pieces.header(F4, leaf.file_shape), size))
    return pieces.zipped(members)


def _packed(method: int, content: bytes, count: int) -> bytes:
    """An .npz of zeros in a form of compression that numpy does not write."""
    whole = content + bytes(count)
    if method == 12:
        raw = bz2.compress(whole, 9)
    else:
        properties = {"id": lzma.FILTER_LZMA1, "preset": 1}
        packer = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[properties])
        raw = struct.pack("<BBH", 9, 4, 5) + lzma._encode_filter_properties(properties)  # type: ignore[attr-defined]
        raw += packer.compress(whole) + packer.flush()
    return pieces.zipped([Member("conv1/kernel.npy", raw, method, len(content) + 64, zlib.crc32(whole))])


def _npz(*members: Member) -> Callable[[], bytes]:
    return lambda: pieces.zipped(members)


def _many_members() -> bytes:
    head = pieces.header(F4, (0,))
    return pieces.zipped([Member(f"{n}.npy", head) for n in range(60_000)])


def _layer(*fields: bytes) -> bytes:
    return pieces.field(100, b"".join(fields))


def safetensors(header: object, body: bytes) -> bytes:
    words = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(words)) + words + body


def _rows(count: int, size: int) -> bytes:
    row = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    return safetensors({f"t{n}": row for n in range(count)}, bytes(size))


def note(size: int) -> dict[str, object]:
    """What a file of ours says of its net, of images of `size` squared, a 64th as wide as torchvision's."""
    from alexnet_jax.config import io, resolve
    from configs import imagenet_torchvision

    changes = {"data.size": size, "model.width": 1 / 64, "model.classes": 5}
    config = resolve.replace(imagenet_torchvision.get_config(), changes)
    statistics: dict[str, object] = {"rgb_mean": [0] * 3, "rgb_covariance": [[0] * 3] * 3, "count": 1}
    statistics |= {"eigenvalues": [0] * 3, "eigenvectors": [[0] * 3] * 3}
    return {"config": io.to_json(config), "class_names": list("abcde"), "statistics": statistics}


def _note(size: int) -> bytes:
    words = json.dumps(note(size)).encode()
    kernel = pieces.header(F4, (11, 11, 3, 1)) + bytes(4 * 363)
    members = [
        Member("conv1/kernel.npy", kernel),
        Member("conv1/bias.npy", pieces.header(F4, (1,)) + bytes(4)),
    ]
    members.append(Member("alexnet_jax.npy", pieces.header("'|u1'", (len(words),)) + words))
    return pieces.zipped(members)


def _mean_of(side: int) -> bytes:
    """Statistics whose mean image is of zeros, and large."""
    small = {
        "rgb_mean": (3,),
        "rgb_covariance": (3, 3),
        "eigenvalues": (3,),
        "eigenvectors": (3, 3),
        "count": (),
    }
    members = []
    for title, shape in small.items():
        size = 8 * (3 if len(shape) == 1 else 9 if shape else 1)
        members.append(Member(f"{title}.npy", pieces.header("'<i8'", shape) + bytes(size)))
    mean = pieces.zeros("mean.npy", pieces.header(F4, (side, side, 3)), side * side * 12)
    return pieces.zipped([mean, *members])


def _heads(count: int) -> bytes:
    head = pieces.header(F4, (count,))
    return pieces.zipped([pieces.zeros(f"lin{n}.npy", head, 4 * count) for n in range(5)])


PAIR = numbers((2, 2))
LONG = "x" * 10**6
ATTACKS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a tensor's size is a nested tuple": (
        "weights a.pth",
        lambda: pth(_tensor(nested()), bytes(16)),
    ),
    "a storage's key is a nested tuple": (
        "weights a.pth",
        lambda: pth(_tensor(PAIR, _storage(key=nested())), bytes(16)),
    ),
    "a storage's kind is a nested tuple": (
        "weights a.pth",
        lambda: pth(table((text("w"), row(nested(), nested(), nested(), nested(), nested()) + b"Q"))),
    ),
    "objects made with the same nested tuple, 20,000 times": (
        "weights a.pth",
        lambda: pth(
            nested() + put(5) + b"0](" + pieces.object_of("os.system", get(5), get(5)) * 20_000 + b"e"
        ),
    ),
    "60,000 tensors under names of many prefixes, of a net that is none": (
        "weights a.pth",
        lambda: pth(
            pieces.tensor(_storage(), PAIR, PAIR)
            + put(5)
            + b"0}("
            + b"".join(text("net." * 200 + str(n)) + get(5) for n in range(60_000))
            + b"u",
            bytes(16),
        ),
    ),
    "containers that hold one another under every name": (
        "weights a.pth",
        lambda: pth(
            b"".join(b"}" + put(n) + b"0" for n in range(900))
            + b"".join(
                get(n)
                + b"("
                + b"".join(text(t) + get((n * 7 + k) % 900) for k, t in enumerate(("model", "net", "ema")))
                + b"u0"
                for n in range(900)
            )
            + get(0)
        ),
    ),
    "a key of the storages at the end is a nested tuple": (
        "weights a.old.pth",
        lambda: legacy(b"}", b"](" + nested() + b"e"),
    ),
    "an array's dtype is a nested tuple": (
        "weights a.npy",
        lambda: dictionary(_array_of(_dtype(nested()), text("abcd"))),
    ),
    "an array's shape is a nested tuple": (
        "weights a.npy",
        lambda: dictionary(_array_of(_dtype(text("f4")), text("abcd"), nested())),
    ),
    "a dictionary copied 22,000 times": (
        "weights a.pth",
        lambda: pth(copied("collections.OrderedDict", items(4000), 22_000)),
    ),
    "a dictionary copied 22,000 times by Counter": (
        "weights a.pth",
        lambda: pth(copied("collections.Counter", items(4000), 22_000)),
    ),
    "a text encoded 20,000 times": (
        "weights a.npy",
        lambda: dictionary(copied("_codecs.encode", text(LONG[:200_000]), 20_000, text("latin1"))),
    ),
    "arrays of one text, decoded again and again": (
        "weights a.npy",
        lambda: dictionary(
            text(LONG[:200_000])
            + put(5)
            + b"0"
            + _dtype(text("f4"))
            + put(6)
            + b"0]("
            + _array_of(get(6), get(5), numbers((50_000,))) * 20_000
            + b"e"
        ),
    ),
    "a call with the same 100,000 arguments, 20,000 times": (
        "weights a.pth",
        lambda: pth(copied("torch._utils._rebuild_parameter", b"N" * 1, 100_000, *[b"N"] * 100_000)),
    ),
    "a memo whose numbers have one hash": (
        "weights a.pth",
        lambda: pth(_colliding_memo(60_000)),
    ),
    "keys of a dictionary that have one hash": (
        "weights a.pth",
        lambda: pth(b"}(" + b"".join(integer(n * (2**61 - 1)) + b"N" for n in range(60_000)) + b"u"),
    ),
    "a number of a million digits": (
        "weights a.pth",
        lambda: pth(_tensor(row(integer(10**999_999), integer(3))), bytes(16)),
    ),
    "a number with a million digits, in digits": (
        "weights a.pth",
        lambda: pth(b"L" + b"9" * 10**6 + b"L\n"),
    ),
    "10,000 tensors over one storage": (
        "weights a.pth",
        lambda: pth(
            _storage(MIB)
            + put(5)
            + b"0}("
            + b"".join(
                text(f"w{n}") + pieces.tensor(get(5), integer(MIB) + b"\x85", b"K\x01\x85")
                for n in range(10_000)
            )
            + b"u",
            bytes(4 * MIB),
        ),
    ),
    "a tensor of strides 0 larger than its storage": (
        "weights a.pth",
        lambda: pth(
            table((text("w"), pieces.tensor(_storage(), numbers((10**9,)), numbers((0,))))), bytes(16)
        ),
    ),
    "one dictionary of arrays under 3,000 layers": (
        "weights a.npy",
        lambda: dictionary(
            _array_of(_dtype(text("f4")), text("abcd"))
            + put(5)
            + b"0}("
            + b"".join(integer(n) + get(5) for n in range(3000))
            + b"u"
            + put(7)
            + b"0"
            + name("numpy.core.multiarray._reconstruct")
            + row(name("numpy.ndarray"), numbers((0,)), text("b"))
            + b"R"
            + row(
                integer(1),
                b")",
                _dtype(text("O8")),
                b"\x89",
                b"](}(" + b"".join(integer(n) + get(7) for n in range(3000)) + b"ue",
            )
            + b"b"
        ),
    ),
    "a net of zeros, 1.7 GB in 2 MB": ("weights a.npz", _zero_net),
    "an array that inflates to more than its archive says": (
        "weights a.npz",
        _npz(pieces.zeros("conv1/kernel.npy", pieces.header(F4, (8,)), 2**31 - MIB, stated=160)),
    ),
    "an array in bzip2 that inflates to more than its archive says": (
        "weights a.npz",
        lambda: _packed(12, pieces.header(F4, (16,)), 2**24),
    ),
    "an array in LZMA that inflates to more than its archive says": (
        "weights a.npz",
        lambda: _packed(14, pieces.header(F4, (16,)), 2**26),
    ),
    "a note of 500 MB of empty lists": (
        "weights a.npz",
        _npz(
            pieces.zeros(
                "alexnet_jax.npy", pieces.header("'|u1'", (480_000_001,)) + b"[", 480_000_000, None, b"[],"
            )
        ),
    ),
    "60,000 arrays in one archive": ("weights a.npz", _many_members),
    "images of 4,096 squared in a note": ("weights a.npz", lambda: _note(4096)),
    "a nested dtype in a header": (
        "mean .npy",
        lambda: pieces.header("[('a', " * 90 + "'<f4'" + ", (2,))]" * 90, (1,)) + bytes(64),
    ),
    "a structured dtype in a header": (
        "mean .npy",
        lambda: pieces.header("[('a', '<f4', (100000000,))]", (0,)),
    ),
    "a layer's name of a megabyte, of 30,000 blobs": (
        "weights a.caffemodel",
        lambda: _layer(pieces.field(1, LONG.encode()), pieces.field(7, b"") * 30_000),
    ),
    "100,000 dimensions, one field each": (
        "mean .binaryproto",
        lambda: pieces.field(7, pieces.field(1, 2**63 - 1) * 100_000),
    ),
    "3 million empty fields": ("weights a.caffemodel", lambda: pieces.field(3, b"") * 3_000_000),
    "5,000 tensors over the same bytes": ("weights a.safetensors", lambda: _rows(5000, 100_000)),
    "two tensors over the same bytes": ("weights a.safetensors", lambda: _rows(2, 100)),
    "one name for two tensors": (
        "weights a.safetensors",
        lambda: safetensors(
            b'{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]},'
            b'"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}',
            bytes(9),
        ),
    ),
    "a header of lists in lists": ("weights a.safetensors", lambda: safetensors(b"[" * 10**6, b"")),
    "a header of 9 MB of empty lists": (
        "weights a.safetensors",
        lambda: safetensors(b'{"a":[' + b"[]," * 3_000_000 + b"0]}", b""),
    ),
    "a name of 9 million characters that cannot be printed": (
        "weights a.safetensors",
        lambda: safetensors(
            b'{"' + b"\xc2\x80" * 4_500_000 + b'":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}', bytes(9)
        ),
    ),
    "a mean image of 9,000 squared zeros": ("statistics.npz", lambda: _mean_of(9000)),
    "heads of 500 million zeros": ("lpips.npz", lambda: _heads(10**8)),
    "a split whose name is 100,000 letters and an exclamation mark": (
        "records dataset_info.json",
        lambda: json.dumps(
            {"name": "toy_16", "fileFormat": "array_record", "splits": [{"name": "a" * 10**5 + "!"}]}
        ).encode(),
    ),
}
