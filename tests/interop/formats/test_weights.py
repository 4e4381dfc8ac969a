"""One net in the files that training scripts leave: found by content, whatever the name, and what is told."""

import argparse
import datetime
import zipfile
from pathlib import Path

import numpy as np
import pytest

from alexnet_jax.interop import formats
from tests.interop import makers
from tests.interop.helpers import converted, unreadable

STATE = makers.state_dict(makers.SMALL)


def prefixed(prefix, state=STATE):
    return {f"{prefix}{name}": array for name, array in state.items()}


# What is saved, and what is told of it.
FORMS = {
    "plain.pth": (STATE, []),
    "with_args.pth": (
        {"model": STATE, "epoch": 3, "args": argparse.Namespace(model="alexnet", lr=0.01)},
        [
            "taken: the tensors under model",
            "left out: epoch, args",
            "objects that were not made: argparse.Namespace",
        ],
    ),
    "compiled.pth": (prefixed("_orig_mod."), ["taken: names without _orig_mod."]),
    "lightning.ckpt": (
        {"state_dict": prefixed("model."), "hyper_parameters": {"lr": 0.1}},
        ["taken: the tensors under state_dict, names without model.", "left out: hyper_parameters"],
    ),
    "net_key.pth": ({"net": STATE, "acc": 41.0}, ["taken: the tensors under net", "left out: acc"]),
    "renamed.bin": (STATE, []),
    "wrapped_twice.pt": (prefixed("module._orig_mod."), ["taken: names without module. and _orig_mod."]),
    "averaged.pth": (
        {"model_ema": {name: array + 1 for name, array in STATE.items()}, "model": STATE},
        ["taken: the tensors under model", "left out: model_ema"],
    ),
    "average_alone.pth": (
        {"model": {"other.weight": np.zeros(3, np.float32)}, "ema": {"module": STATE, "decay": 0.9}},
        ["taken: the tensors under ema.module", "left out: model, ema.decay"],
    ),
    "backbone.pt": (
        {"state_dict": prefixed("model.backbone.")},
        ["taken: the tensors under state_dict, names without model.backbone."],
    ),
    "unusual_name": ({"alexnet": STATE}, ["taken: the tensors under alexnet"]),
    "no_ending": (STATE, []),
    "wrong.safetensors": (STATE, []),
    "wrong.npz": (STATE, []),
    "objects.pth.tar": (
        {
            "state_dict": STATE,
            "optimizer": {
                "state": {0: {"momentum_buffer": STATE["classifier.6.bias"]}},
                "param_groups": [{}],
            },
            "path": Path("runs/best.pth"),
            "best": np.float64(56.5),
            "when": datetime.datetime(2020, 1, 2),
            "seen": {1, 2},
            "random": np.random.RandomState(0).get_state(),
        },
        [
            "taken: the tensors under state_dict",
            "left out: optimizer, path, best, when, seen, random",
            "objects that were not made: ",
        ],
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("write", [makers.write_pth, makers.write_legacy_pth])
def test_the_net_is_found(name, write, tmp_path, monkeypatch):
    saved, told = FORMS[name]
    write(tmp_path / name, saved, monkeypatch)
    check(tmp_path / name, STATE, told)


def check(path, state, told):
    weights = formats.read(path)
    assert weights.layout == "torch"
    assert weights.arrays.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(weights.arrays[key], array, strict=True)
    assert len(weights.notices) == len(told), weights.notices
    for line, words in zip(weights.notices, told, strict=True):
        assert line.startswith(words)
        assert line == words or words.endswith(": ")


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_net_is_found_in_files_of_pytorch(name, zipped, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def tensors(value):
        if isinstance(value, np.ndarray):
            return torch.from_numpy(value.copy())
        if isinstance(value, dict):
            return {key: tensors(inner) for key, inner in value.items()}
        return value

    saved, told = FORMS[name]
    torch.save(tensors(saved), tmp_path / name, _use_new_zipfile_serialization=zipped)
    check(tmp_path / name, STATE, told)


def test_what_was_taken_is_printed(tmp_path, monkeypatch):
    net = makers.torchvision()
    saved = {"model": prefixed("module.", makers.state_dict(net)), "args": argparse.Namespace(lr=1)}
    makers.write_pth(tmp_path / "a", saved, monkeypatch)
    loaded, printed = converted(tmp_path / "a", tmp_path / "run")
    for line in (
        "taken: the tensors under model, names without module.",
        "left out: args",
        "objects that were not made: argparse.Namespace",
    ):
        assert line in printed.splitlines()
    np.testing.assert_array_equal(loaded.params["fc8"]["bias"], net["fc8"][1])


@pytest.mark.parametrize("name", ["a.safetensors", "a.caffemodel", "a.old.caffemodel", "a.npy", "a.npz"])
@pytest.mark.parametrize("ending", ["", ".bin", ".pth", ".onnx"])
def test_the_content_says_what_a_file_is(name, ending, tmp_path, monkeypatch):
    path = makers.write_small(tmp_path / name, monkeypatch)
    expected = formats.read(path)
    if "caffemodel" in name and ending in (".bin", ".pth"):
        return  # nothing at its beginning says what it is, and the ending another thing
    found = formats.read(path.rename(tmp_path / f"b{ending}"))
    assert (found.layout, found.arrays.keys()) == (expected.layout, expected.arrays.keys())


def test_prefixes_in_safetensors(tmp_path):
    makers.write_safetensors(tmp_path / "a.safetensors", prefixed("model.net."))
    check(tmp_path / "a.safetensors", STATE, ["taken: names without model.net."])
    mixed = prefixed("model.") | {"head.weight": np.zeros(3, np.float32)}
    makers.write_safetensors(tmp_path / "b.safetensors", mixed)
    assert formats.read(tmp_path / "b.safetensors").arrays.keys() == mixed.keys()


def test_names_that_become_one(tmp_path, monkeypatch):
    twice = {"module.features.0.weight": STATE["features.0.weight"]} | STATE
    makers.write_pth(tmp_path / "a.pth", twice, monkeypatch)
    unreadable(tmp_path / "a.pth", "it has features.0.weight twice")


def test_a_checkpoint_that_holds_itself(tmp_path):
    items = [b"X" + len(name).to_bytes(4, "little") + name + b"h\x00" for name in (b"model", b"net", b"x")]
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00(" + b"".join(items) + b"u.")
    unreadable(tmp_path / "a.pth", "it holds no tensors: in PyTorch, save model.state_dict()")
