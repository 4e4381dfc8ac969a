"""What torch.save writes: read to the bit, and refused where it holds more than tensors."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from alexnet_jax.interop import formats
from tests.interop import makers
from tests.interop.helpers import unreadable


@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoints_of_training_scripts(legacy, tmp_path, monkeypatch):
    tensors = {f"module.{name}": array for name, array in makers.state_dict(makers.SMALL).items()}
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
    arrays = formats.read(tmp_path / "a.pth.tar").arrays
    assert arrays.keys() == makers.state_dict(makers.SMALL).keys()
    np.testing.assert_array_equal(arrays["features.0.weight"], makers.SMALL["conv1"][0])


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
        unreadable(tensor_file(tmp_path / f"{number}.pth", **wrong), f"{number}.pth")


def test_a_compressed_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." + b"\x00" * 2**22)
    unreadable(tmp_path / "bomb.pth", "compressed")


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
    unreadable(tmp_path / "a.pth", "a.pth")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_pytorch_writes_otherwise(tmp_path):
    """Half precision, parameters, views and transposed tensors; a pickled module and a script are refused."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    small = torch.nn.Sequential(torch.nn.Linear(3, 2))
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    values = {
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "parameter": torch.nn.Parameter(base),
        "transposed": base.T,
        "part": base[1:3, ::2],
        "empty": base[:0],
        "number": torch.tensor(5),
        "double": base.double(),
        "bool": base > 3,
    }
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save(values, path, _use_new_zipfile_serialization=zipped)
        arrays = formats.read(path).arrays
        assert arrays.keys() == values.keys()
        for name, value in values.items():
            expected = value.detach().float().numpy()
            np.testing.assert_array_equal(arrays[name].astype(np.float32), expected, err_msg=name)
    for number, write in enumerate(
        (
            lambda path: torch.save(small, path),
            lambda path: torch.save(small, path, _use_new_zipfile_serialization=False),
            lambda path: torch.jit.script(small).save(str(path)),
        )
    ):
        path = tmp_path / f"module{number}.pth"
        write(path)
        with pytest.raises(Exception, match=r"nothing in a file is run|holds no state_dict"):
            formats.read(path)


@pytest.mark.slow
def test_a_corrupt_pth_of_pytorch_is_noticed(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.save({"features.0.weight": torch.zeros(4, 3, 11, 11)}, tmp_path / "a.pth")
    data = bytearray((tmp_path / "a.pth").read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        start = next(info for info in archive.infolist() if info.filename.endswith("data/0")).header_offset
    data[start + 1000] ^= 1
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(Exception, match="Bad CRC-32"):
        formats.read(tmp_path / "a.pth")
