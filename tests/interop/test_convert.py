"""Weights find their places, a workdir of them is used like any other, and other nets are refused."""

import json
import os
from functools import partial

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax import config as configuration
from alexnet_jax.data.statistics import Statistics
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import lpips, run
from alexnet_jax.interop import convert, formats
from alexnet_jax.model import architectures, sharding
from alexnet_jax.training import loop
from alexnet_jax.training.checkpoint import Checkpoints
from configs import imagenet, imagenet_caffe, imagenet_torchvision
from tests.interop import makers
from tests.model.helpers import TABLES, assert_close
from tests.test_main import alexnet

RECIPES = {"torchvision": imagenet_torchvision.get_config(), "caffe": imagenet_caffe.get_config()}
TORCHVISION_FILES = ["a.pth", "a.old.pth", "a.safetensors", "a.npz"]
CAFFE_FILES = ["a.caffemodel", "a.old.caffemodel", "a.npy"]


def converted(path, output, **others):
    """The run that a file becomes, and what was said."""
    said = convert.to_workdir(path, output, RECIPES, **others)
    return run.load(output, run.read_config(output), "best"), "\n".join(said)


def refused(path, words, **others):
    """The file is refused in one line, and nothing is left."""
    output = path.parent / "refused"
    with pytest.raises(UsageError) as error:
        convert.to_workdir(path, output, RECIPES, **others)
    assert words in str(error.value), error.value
    assert "\n" not in str(error.value)
    assert not [name for name in os.listdir(path.parent) if "refused" in name]


@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_every_weight_of_torchvision_finds_its_place(name, tmp_path, monkeypatch):
    net = makers.torchvision()
    path = makers.write(tmp_path / name, net, monkeypatch)
    if name.endswith(".npz"):  # ours is RGB and (rows, columns, maps) already
        assert formats.read(path).layout == "plain"
    loaded, _ = converted(path, tmp_path / "run")
    params = jax.device_get(loaded.params)
    assert list(params) == list(net)
    draw = np.random.default_rng(1)
    for layer, (kernel, bias) in net.items():
        np.testing.assert_array_equal(params[layer]["bias"].ravel(), bias)
        for _ in range(50):
            if kernel.ndim == 4:
                o, c, i, j = (draw.integers(n) for n in kernel.shape)
                assert params[layer]["kernel"][0, i, j, c, o] == kernel[o, c, i, j]
            elif layer == "fc6":
                o, c, i, j = draw.integers(len(kernel)), draw.integers(16), draw.integers(6), draw.integers(6)
                assert params[layer]["kernel"][0, (i * 6 + j) * 16 + c, o] == kernel[o, (c * 6 + i) * 6 + j]
            else:
                o, c = (draw.integers(n) for n in kernel.shape)
                assert params[layer]["kernel"][0, c, o] == kernel[o, c]
    config = loaded.config
    assert (config.data.crop, config.data.channels, config.model.classes) == (224, 3, 5)
    np.testing.assert_allclose(loaded.mean, [0.485 * 255, 0.456 * 255, 0.406 * 255], rtol=1e-6)
    np.testing.assert_allclose(config.data.input_std, [0.229 * 255, 0.224 * 255, 0.225 * 255])
    assert loaded.class_names == ("class 0", "class 1", "class 2", "class 3", "class 4")
    assert loaded.step == 0


@pytest.mark.parametrize("name", CAFFE_FILES)
def test_every_weight_of_caffe_finds_its_place(name, tmp_path, monkeypatch):
    net = makers.caffe()
    loaded, _ = converted(makers.write(tmp_path / name, net, monkeypatch), tmp_path / "run")
    params = jax.device_get(loaded.params)
    draw = np.random.default_rng(1)
    for layer, (kernel, bias) in net.items():
        np.testing.assert_array_equal(params[layer]["bias"].ravel(), bias)
        half = len(kernel) // 2
        for _ in range(50):
            if kernel.ndim == 4:
                o, c, i, j = (draw.integers(n) for n in kernel.shape)
                ours = params[layer]["kernel"][o // half, i, j, 2 - c if layer == "conv1" else c, o % half]
                assert ours == kernel[o, c, i, j]
            elif layer == "fc6":
                o, c, i, j = draw.integers(len(kernel)), draw.integers(16), draw.integers(6), draw.integers(6)
                ours = params[layer]["kernel"][o // half, (i * 6 + j) * 16 + c, o % half]
                assert ours == kernel[o, (c * 6 + i) * 6 + j]
            elif layer == "fc7":
                o, c = (draw.integers(n) for n in kernel.shape)
                assert params[layer]["kernel"][o // half, c, o % half] == kernel[o, c]
            else:
                o, c = (draw.integers(n) for n in kernel.shape)
                assert params[layer]["kernel"][c // 128, c % 128, o] == kernel[o, c]
    assert loaded.architecture.name == "caffe"
    assert loaded.config.data.crop == 227
    assert loaded.config.data.input_std == (1.0,)
    np.testing.assert_allclose(loaded.mean, [122.67892, 116.66877, 104.00699], rtol=1e-6)


def test_caffenet_is_known_by_the_order_of_its_layers(tmp_path):
    (tmp_path / "a.caffemodel").write_bytes(makers.caffemodel(makers.caffe(), makers.CAFFENET))
    loaded, _ = converted(tmp_path / "a.caffemodel", tmp_path / "run")
    assert loaded.architecture.name == "caffenet"


def test_a_head_under_another_name(tmp_path):
    net = makers.caffe(classes=20)
    net["fc8_flickr"] = net.pop("fc8")
    order = [*makers.CAFFE[:-2], "fc8_flickr"]
    (tmp_path / "a.caffemodel").write_bytes(makers.caffemodel(net, order))
    loaded, said = converted(tmp_path / "a.caffemodel", tmp_path / "run")
    assert "its last layer is called fc8_flickr" in said
    np.testing.assert_array_equal(loaded.params["fc8"]["bias"], net["fc8_flickr"][1])


def test_grey_pictures_and_a_thousand_classes(tmp_path, monkeypatch):
    net = makers.torchvision(classes=1000, channels=1)
    loaded, _ = converted(makers.write(tmp_path / "a.pth", net, monkeypatch), tmp_path / "run")
    assert loaded.config.data.channels == 1
    assert loaded.class_names[:2] == ("n01440764", "n01443537")
    assert sorted(set(loaded.class_names)) == list(loaded.class_names)
    assert len(loaded.class_names) == 1000
    np.testing.assert_allclose(loaded.mean, [0.449 * 255], rtol=1e-6)


def test_class_names_of_a_file(tmp_path, monkeypatch):
    path = makers.write(tmp_path / "a.pth", makers.torchvision(), monkeypatch)
    names = tmp_path / "names.txt"
    names.write_text("apple\nbanana\ncoconut, fresh\ndate\nélderberry\n")
    loaded, _ = converted(path, tmp_path / "run", class_names=names)
    assert loaded.class_names == ("apple", "banana", "coconut, fresh", "date", "élderberry")
    names.write_text("apple\n")
    refused(path, "names.txt has 1 names, and the net 5 classes", class_names=names)
    refused(path, "nowhere.txt cannot be read", class_names=tmp_path / "nowhere.txt")


def test_a_mean_picture_of_caffe(tmp_path, monkeypatch):
    path = makers.write(tmp_path / "a.caffemodel", makers.caffe(), monkeypatch)
    bgr = np.random.default_rng(0).random((3, 256, 256)).astype(np.float32)
    np.save(tmp_path / "mean.npy", bgr)
    loaded, _ = converted(path, tmp_path / "run", mean=tmp_path / "mean.npy")
    assert loaded.form.mean == "crop"
    np.testing.assert_array_equal(loaded.mean, bgr[::-1].transpose(1, 2, 0))
    np.save(tmp_path / "mean.npy", bgr[:, :100])
    refused(path, "has the shape (100, 256, 3)", mean=tmp_path / "mean.npy")


def test_partial_weights(tmp_path, monkeypatch, capsys):
    net = {name: arrays for name, arrays in makers.caffe().items() if name.startswith("conv")}
    path = makers.write(tmp_path / "a.caffemodel", net, monkeypatch)
    loaded, said = converted(path, tmp_path / "run")
    assert "partial: the weights reach pool5, without fc6, fc7, fc8" in said
    assert json.loads((tmp_path / "run" / "config.json").read_text())["weights_reach"] == "pool5"
    assert loaded.architecture.logits == "pool5"
    with pytest.raises(UsageError, match="reach pool5 only, and classes need the layers after it"):
        loaded.predictor(1)
    # On two devices a tower each, on one both: the same values.
    x = np.random.default_rng(0).normal(0, 50, (2, 227, 227, 3)).astype(np.float32)
    values = []
    for model in (1, 2):
        config = run.read_config(tmp_path / "run")
        config.mesh.data, config.mesh.model = 1, model
        loaded = run.load(tmp_path / "run", config, "last")
        forward = jax.jit(
            partial(sharding.forward, loaded.architecture, loaded.mesh, wanted=("relu4", "pool5"))
        )
        values.append(forward(loaded.params, x))
    assert values[0]["pool5"].shape == (2, 6, 6, 16)
    assert_close(values[1], values[0], 1e-5)


def test_partial_weights_up_to_fc7(tmp_path, monkeypatch):
    net = makers.torchvision()
    del net["fc8"]
    loaded, _ = converted(makers.write(tmp_path / "a.npz", net, monkeypatch), tmp_path / "run")
    assert loaded.architecture.logits == "relu7"
    names = tmp_path / "names.txt"
    names.write_text("\n".join(map(str, range(1000))))
    converted(tmp_path / "a.npz", tmp_path / "named", class_names=names)


def without(net, *names):
    return {name: arrays for name, arrays in net.items() if name not in names}


def changed(net, layer, number, array):
    net = dict(net)
    net[layer] = list(net[layer])
    net[layer][number] = np.asarray(array, np.float32)
    return net


TV, CAFFE = makers.torchvision(), makers.caffe()


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


def test_outputs_that_cannot_be(tmp_path, monkeypatch):
    path = makers.write(tmp_path / "a.pth", TV, monkeypatch)
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        convert.to_workdir(path, tmp_path / "there", RECIPES)
    with pytest.raises(UsageError, match="where: the folder"):
        convert.to_workdir(path, tmp_path / "no" / "where", RECIPES)
    converted(path, tmp_path / "run")
    for output, words in (
        ("x.pth", "becomes a file"),
        ("no/x.npz", "does not exist"),
        ("run", "becomes a file"),
    ):
        with pytest.raises(UsageError, match=words):
            convert.to_file(tmp_path / "run", tmp_path / output, "best")
    with pytest.raises(UsageError, match="not the workdir of a run"):
        convert.to_file(tmp_path / "there", tmp_path / "x.npz", "best")


def test_a_failure_while_the_workdir_is_written_leaves_nothing(tmp_path, monkeypatch):
    path = makers.write(tmp_path / "a.pth", TV, monkeypatch)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Statistics, "save", full)
    with pytest.raises(RunFailure, match="No space left"):
        convert.to_workdir(path, tmp_path / "run", RECIPES)
    assert os.listdir(tmp_path) == ["a.pth"]


def random_params(architecture, seed):
    draw = np.random.default_rng(seed)
    return {
        layer: {
            "kernel": draw.normal(0, np.prod(shape.kernel[1:-1]) ** -0.5, shape.kernel).astype(np.float32),
            "bias": draw.normal(0, 0.1, shape.bias).astype(np.float32),
        }
        for layer, shape in architectures.shapes(architecture).items()
        if shape.kernel
    }


def own_run(folder, mesh_model, mean="centre", **arguments):
    """A workdir with random weights of the paper's net, as training leaves it."""
    config = imagenet.get_config()
    config.data.size, config.data.crop, config.data.mean = 72, 64, mean
    config.model.update({"width": 0.0625, "classes": 10} | arguments)
    config.mesh.data, config.mesh.model = 1, mesh_model
    architecture = architectures.build(config.model, 64, 3)
    mesh = sharding.make_mesh(1, mesh_model, architecture.towers, 1)
    params = random_params(architecture, 3)
    params = jax.device_put(params, sharding.param_shardings(architecture, mesh))
    folder.mkdir()
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(7, {"params": params}, {"validation_top1_error": 0.5})
    checkpoints.close()
    draw = np.random.default_rng(0)
    mean_picture = draw.normal(110, 30, (72, 72, 3)).astype(np.float32)
    covariance = np.cov(draw.normal(0, 30, (3, 50)))
    values, vectors = np.linalg.eigh(covariance)
    rgb_mean = mean_picture.mean((0, 1), np.float64)
    Statistics(mean_picture, rgb_mean, covariance, values, vectors, 50).save(folder / "statistics.npz")
    names = [f"thing {number}" for number in range(10)]
    configuration.save(folder / "config.json", config, class_names=names, statistics="statistics.npz")
    return folder


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("mean", ["centre", "rgb"])
def test_ours_to_a_file_and_back_bit_for_bit(suffix, mean, tmp_path):
    folder = own_run(tmp_path / "ours", 2, mean)
    convert.to_file(folder, tmp_path / f"net{suffix}", "best")
    back, _ = converted(tmp_path / f"net{suffix}", tmp_path / "back")
    ours = run.load(folder, run.read_config(folder), "best")
    assert jax.tree.structure(ours.params) == jax.tree.structure(back.params)
    for a, b in zip(jax.tree.leaves(ours.params), jax.tree.leaves(back.params), strict=True):
        np.testing.assert_array_equal(np.asarray(a).view(np.uint32), np.asarray(b).view(np.uint32))
    assert back.config.to_dict() == ours.config.to_dict()
    assert back.class_names == ours.class_names
    np.testing.assert_array_equal(np.asarray(back.mean), np.asarray(ours.mean))
    first, second = (Statistics.load(tmp_path / name / "statistics.npz") for name in ("ours", "back"))
    for field in ("rgb_mean", "rgb_covariance", "eigenvalues", "eigenvectors", "count"):
        np.testing.assert_array_equal(getattr(second, field), getattr(first, field))
    if mean == "rgb":
        names = set(formats.read(tmp_path / f"net{suffix}").arrays)
        assert suffix == ".npz" or names == set(makers.state_dict(TV))


@pytest.mark.parametrize("name", ["alexnet_2012", *TABLES])
def test_every_net_there_and_back(name):
    if name == "alexnet_2012":
        model = imagenet.get_config().model
        model.update({"width": 0.125, "classes": 10, "communicate_at": ()})
        architecture = architectures.build(model, 64, 3)
    else:
        arguments, crop = TABLES[name]
        model = ConfigDict({"architecture": name, "compute_dtype": "float32", **arguments})
        architecture = architectures.build(model, crop, 3)
    params = random_params(architecture, 0)
    arrays = convert.to_arrays(architecture, params, "plain")
    back = convert.from_arrays(architecture, formats.Weights("plain", arrays))
    jax.tree.map(np.testing.assert_array_equal, back, params)
    if set(params) != set(TV):
        with pytest.raises(UsageError, match="torchvision's AlexNet has no"):
            convert.to_arrays(architecture, params, "torch")
        return
    arrays = convert.to_arrays(architecture, params, "torch")
    assert arrays.keys() == makers.state_dict(TV).keys()
    back = convert.from_arrays(architecture, formats.Weights("torch", arrays))
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_what_a_file_says_of_itself_is_not_trusted(tmp_path):
    folder = own_run(tmp_path / "ours", 1)
    convert.to_file(folder, tmp_path / "net.npz", "last")
    found = formats.read(tmp_path / "net.npz")
    note = json.loads(found.note)
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
        formats.write_npz(tmp_path / "wrong.npz", found.arrays, text)
        refused(tmp_path / "wrong.npz", "wrong.npz: ")
    formats.write_npz(tmp_path / "wrong.npz", {convert.MEAN: found.arrays[convert.MEAN]}, found.note)
    refused(tmp_path / "wrong.npz", "it has no conv1/kernel: it is not of alexnet_2012")


def test_heads_of_lpips_go_along(tmp_path):
    maps = (4, 12, 24, 16, 16)
    heads = {f"lpips/lin{n}": np.full((1, count, 1, 1), n + 1, np.float32) for n, count in enumerate(maps)}
    makers.write_npz(tmp_path / "a.npz", TV, **heads, other=np.zeros(2))
    _, said = converted(tmp_path / "a.npz", tmp_path / "run")
    assert "passed over: other" in said
    convert.to_file(tmp_path / "run", tmp_path / "b.npz", "best")
    converted(tmp_path / "b.npz", tmp_path / "back")
    for number, head in enumerate(lpips.load_heads(tmp_path / "back")):
        np.testing.assert_array_equal(head, np.full(maps[number], number + 1, np.float32))


def test_training_does_not_go_on_in_converted_weights(tmp_path, monkeypatch, digits_config):
    converted(makers.write(tmp_path / "a.pth", TV, monkeypatch), tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(UsageError, match="holds converted weights, not a run: use another --workdir"):
        loop.train(digits_config, tmp_path / "run")
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_the_verb(tmp_path, monkeypatch):
    path = makers.write(tmp_path / "a.pth", without(TV, "fc6", "fc7", "fc8"), monkeypatch)
    code, out, errors = alexnet("convert", str(path), f"--output={tmp_path / 'run'}")
    assert code == 0, errors
    assert "partial: the weights reach avgpool" in out
    for arguments, words in (
        (("convert", str(path)), "type convert FILE --output=DIR"),
        (("export", f"--workdir={tmp_path / 'run'}", f"--output={tmp_path / 'x'}"), "reach avgpool only"),
    ):
        code, out, errors = alexnet(*arguments)
        assert code == 2, (arguments, errors)
        assert out == ""
        told = [line for line in errors.splitlines() if line.startswith("alexnet_jax:")]
        assert len(told) == 1
        assert words in told[0]
    assert not (tmp_path / "x").exists()
