"""Other nets are refused, and what a file says of itself is not trusted."""

import json
from pathlib import Path

import numpy as np
import pytest

from alexnet_jax.inference import lpips
from alexnet_jax.interop import convert, formats
from alexnet_jax.interop.formats import npy
from alexnet_jax.interop.layout import MEAN
from alexnet_jax.workdir import trained
from tests.interop import makers
from tests.interop.helpers import changed, converted, own_run, refused, without

TV, CAFFE = makers.torchvision(), makers.caffe()


def test_caffenet_is_known_by_the_order_of_its_layers(tmp_path):
    (tmp_path / "a.caffemodel").write_bytes(makers.caffemodel(makers.caffe(), makers.CAFFENET))
    loaded, _ = converted(tmp_path / "a.caffemodel", tmp_path / "run")
    assert loaded.architecture.name == "caffenet"


def test_a_head_under_another_name(tmp_path):
    net = makers.caffe(classes=20)
    net["fc8_flickr"] = net.pop("fc8")
    order = [*makers.CAFFE[:-2], "fc8_flickr"]
    (tmp_path / "a.caffemodel").write_bytes(makers.caffemodel(net, order))
    loaded, printed = converted(tmp_path / "a.caffemodel", tmp_path / "run")
    assert "its last layer is called fc8_flickr" in printed
    np.testing.assert_array_equal(loaded.params["fc8"]["bias"], net["fc8_flickr"][1])


def test_grey_images_and_a_thousand_classes(tmp_path, monkeypatch):
    net = makers.torchvision(classes=1000, channels=1)
    loaded, _ = converted(makers.write(tmp_path / "a.pth", net, monkeypatch), tmp_path / "run")
    assert loaded.config.data.channels == 1
    assert loaded.class_names[:2] == ("n01440764", "n01443537")
    assert sorted(set(loaded.class_names)) == list(loaded.class_names)
    assert len(loaded.class_names) == 1000
    np.testing.assert_allclose(loaded.mean, [0.449 * 255], rtol=1e-6)


def test_a_mean_image_of_caffe(tmp_path, monkeypatch):
    path = makers.write(tmp_path / "a.caffemodel", makers.caffe(), monkeypatch)
    bgr = np.random.default_rng(0).random((3, 256, 256)).astype(np.float32)
    np.save(tmp_path / "mean.npy", bgr)
    loaded, _ = converted(path, tmp_path / "run", mean=tmp_path / "mean.npy")
    assert loaded.normalization.mean == "crop"
    np.testing.assert_array_equal(loaded.mean, bgr[::-1].transpose(1, 2, 0))
    np.save(tmp_path / "mean.npy", bgr[:, :100])
    refused(path, "has the shape (100, 256, 3)", mean=tmp_path / "mean.npy")


@pytest.mark.parametrize(
    ("name", "net", "words"),
    [
        ("a.pth", without(TV, "conv1"), "it has no features.0.weight of a convolution, but classifier.1"),
        ("a.pth", without(TV, "conv3"), "it has features.8.weight and no features.6.weight"),
        ("a.npz", without(TV, "fc7"), "it has fc8/kernel and no fc7/kernel"),
        ("a.caffemodel", without(CAFFE, "conv4"), "it has conv5.0 and no conv4.0"),
        ("a.npy", without(CAFFE, "conv1"), "it has no conv1.0 of a convolution"),
        (
            "a.safetensors",
            changed(TV, "conv2", 0, np.zeros((12, 4, 3, 3))),
            "features.3.weight has the shape (12, 4, 3, 3), and torchvision needs (12, 4, 5, 5)",
        ),
        ("a.pth", changed(TV, "fc7", 1, np.zeros(7)), "classifier.4.bias has the shape (7,)"),
        (
            "a.pth",
            changed(TV, "fc6", 0, np.zeros((256, 400))),
            "classifier.1.weight has the shape (256, 400)",
        ),
        ("a.pth", changed(TV, "conv1", 0, np.zeros((4, 2, 11, 11))), "one channel or three"),
        ("a.pth", changed(TV, "conv1", 0, np.zeros((5, 3, 11, 11))), "features.0.bias has the shape (4,)"),
        (
            "a.pth",
            changed(TV, "conv5", 1, np.full(16, np.nan)),
            "features.10.bias holds values that are not fin",
        ),
        ("a.npz", CAFFE, "it has two towers and does not say of which net"),
        ("a.pth", CAFFE, "has the shape (16, 3, 5, 5), and torchvision needs (18, 6, 5, 5)"),
        (
            "a.caffemodel",
            changed(CAFFE, "conv2", 0, np.zeros((16, 6, 5, 5))),
            "conv2.0 has the shape (16, 6, 5, 5)",
        ),
    ],
)
def test_what_is_not_an_alexnet(name, net, words, tmp_path, monkeypatch):
    refused(makers.write(tmp_path / name, net, monkeypatch), words)


def test_other_nets_by_their_names(tmp_path):
    draw = np.random.default_rng(0)

    def vgg():
        for number, (inputs, outputs) in zip((0, 2, 5), ((3, 64), (64, 64), (64, 128)), strict=True):
            yield f"features.{number}.weight", draw.random((outputs, inputs, 3, 3))
            yield f"features.{number}.bias", draw.random(outputs)

    makers.write_safetensors(tmp_path / "vgg.safetensors", dict(vgg()))
    refused(tmp_path / "vgg.safetensors", "features.2.bias, which torchvision has not: it is of another net")
    resnet = {"conv1.weight": draw.random((64, 3, 7, 7)), "bn1.weight": draw.random(64)}
    makers.write_safetensors(tmp_path / "resnet.safetensors", resnet)
    refused(
        tmp_path / "resnet.safetensors", "it has no features.0.weight of a convolution, but bn1.weight, conv1"
    )
    net = {"conv1": [draw.random((96, 3, 11, 11)), draw.random(96)], "fire2": [draw.random((4, 4, 1, 1))] * 2}
    (tmp_path / "a.caffemodel").write_bytes(makers.caffemodel(net, list(net)))
    refused(tmp_path / "a.caffemodel", "it has fire2.0, which caffe has not")
    np.savez(tmp_path / "empty.npz", x=np.zeros(3))
    refused(tmp_path / "empty.npz", "it has no conv1/kernel of a convolution, but x: it is not of an AlexNet")
    np.savez(
        tmp_path / "whole.npz", **{"conv1/kernel": np.zeros((11, 11, 3, 4), int), "conv1/bias": np.zeros(4)}
    )
    refused(tmp_path / "whole.npz", "conv1/kernel holds whole numbers")


def test_what_a_file_says_of_itself_is_not_trusted(tmp_path):
    folder = own_run(tmp_path / "ours", 1)
    convert.to_file(folder, tmp_path / "net.npz", "last")
    weights = formats.read(tmp_path / "net.npz")
    note = json.loads(weights.note)
    wrong = [
        "not json",
        "[" * 100_000,
        "{}",
        json.dumps(note | {"config": 3}),
        json.dumps(note | {"config": note["config"] | {"speed": 1}}),
        json.dumps(note | {"statistics": {}}),
        json.dumps(note | {"statistics": note["statistics"] | {"rgb_mean": [float("nan")] * 3}}),
        json.dumps(note | {"statistics": note["statistics"] | {"eigenvectors": [1.0]}}),
        json.dumps(note | {"config": note["config"] | {"data": note["config"]["data"] | {"size": 10**9}}}),
        json.dumps(note | {"config": note["config"] | {"model": note["config"]["model"] | {"width": 0.5}}}),
        json.dumps(note | {"class_names": 5}),
        json.dumps(note | {"class_names": ["a"] * 11}),
    ]
    for text in wrong:
        npy.write_npz(tmp_path / "wrong.npz", weights.arrays, text)
        refused(tmp_path / "wrong.npz", "wrong.npz: ")
    npy.write_npz(tmp_path / "wrong.npz", {MEAN: weights.arrays[MEAN]}, weights.note)
    refused(tmp_path / "wrong.npz", "it has no conv1/kernel: it is not of alexnet_2012")


WIDTHS = (4, 12, 24, 16, 16)  # of makers.torchvision()
HEADS = {
    f"lin{n}.model.1.weight": np.random.default_rng(n).random((1, width, 1, 1), np.float32)
    for n, width in enumerate(WIDTHS)
}


def test_heads_of_lpips_from_their_own_file(tmp_path, monkeypatch):
    path = makers.write(tmp_path / "net.pth", makers.torchvision(), monkeypatch)
    makers.write_pth(tmp_path / "alex.pth", HEADS, monkeypatch)
    _, printed = converted(path, tmp_path / "run", lpips_heads=tmp_path / "alex.pth")
    assert printed.count("with the heads of LPIPS, for compare") == 1
    for head, given in zip(lpips.load_heads(tmp_path / "run"), HEADS.values(), strict=True):
        np.testing.assert_array_equal(head, given.ravel())
    assert len(lpips.load(trained.load(tmp_path / "run", trained.read_config(tmp_path / "run"))).heads) == 5
    refused(tmp_path / "alex.pth", "the heads of LPIPS alone: convert a net, and give this file as --lpips")
    refused(path, "has no lin0.model.1.weight to lin4.model.1.weight", lpips_heads=path)
    makers.write_pth(
        tmp_path / "wide.pth", {k: np.ones((1, 64, 1, 1), np.float32) for k in HEADS}, monkeypatch
    )
    words = (
        "has heads for 64, 64, 64, 64, 64 channels, and the net, torchvision on 3-channel images, has 4, 12,"
    )
    refused(path, words, lpips_heads=tmp_path / "wide.pth")
    caffe = makers.write(tmp_path / "a.caffemodel", makers.caffe(), monkeypatch)
    refused(caffe, "LPIPS is of torchvision's AlexNet", lpips_heads=tmp_path / "alex.pth")


def test_a_saved_lpips_module(tmp_path, monkeypatch):
    """Its trunk in slices, its scaling and its heads, each twice, as LPIPS.state_dict() has them."""
    net = makers.torchvision()
    saved = {"scaling_layer.shift": np.zeros((1, 3, 1, 1), np.float32)}
    saved["scaling_layer.scale"] = np.ones((1, 3, 1, 1), np.float32)
    for number, position in enumerate((0, 3, 6, 8, 10), start=1):
        for name, array in zip(("weight", "bias"), net[f"conv{number}"], strict=True):
            saved[f"net.slice{number}.{position}.{name}"] = array
    saved |= HEADS | {name.replace("lin", "lins.", 1): head for name, head in HEADS.items()}
    makers.write_pth(tmp_path / "a.pth", saved, monkeypatch)
    loaded, printed = converted(tmp_path / "a.pth", tmp_path / "run")
    assert "with the heads of LPIPS, for compare" in printed
    for number in range(1, 6):
        kernel = np.asarray(loaded.params[f"conv{number}"]["kernel"])[0]
        np.testing.assert_array_equal(kernel, net[f"conv{number}"][0].transpose(2, 3, 1, 0))
    for head, given in zip(lpips.load(loaded).heads, HEADS.values(), strict=True):
        np.testing.assert_array_equal(head, given.ravel())


@pytest.fixture(scope="module")
def lpips_package(torchvision):
    """PyTorch, and the package itself, which imports torchvision."""
    return pytest.importorskip("torch"), pytest.importorskip("lpips", reason="lpips is not installed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["its heads", "the whole module"])
def test_lpips_as_its_package_computes_it(form, lpips_package, tmp_path):
    """20 pairs, the package's own alex.pth, its trunk with random weights: nothing is fetched."""
    torch, package = lpips_package
    torch.manual_seed(0)
    theirs = package.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    heads = Path(package.__file__).parent / "weights/v0.1/alex.pth"
    if form == "its heads":
        trunk = {
            f"features.{name.partition('.')[2]}": value for name, value in theirs.net.state_dict().items()
        }
        torch.save(trunk, tmp_path / "net.pth")
        converted(tmp_path / "net.pth", tmp_path / "run", lpips_heads=heads)
    else:
        torch.save(theirs.state_dict(), tmp_path / "net.pth")
        converted(tmp_path / "net.pth", tmp_path / "run")
    ours = lpips.load(trained.load(tmp_path / "run", trained.read_config(tmp_path / "run")))
    draw = np.random.default_rng(1)
    coarse = draw.uniform(-1, 1, (2, 20, 8, 8, 3)).astype(np.float32)
    first, second = coarse.repeat(9, axis=2).repeat(9, axis=3)
    share = np.linspace(0.01, 1, 20, dtype=np.float32)[:, None, None, None]
    second = first + share * (second - first)
    with torch.no_grad():
        pair = (torch.from_numpy(np.moveaxis(x, 3, 1).copy()) for x in (first, second))
        expected = theirs(*pair).numpy().ravel()
    assert expected.min() > 0
    np.testing.assert_allclose(lpips.distance(ours, first, second), expected, rtol=1e-5, atol=0)
