"""Every number finds its position: by hand, and against PyTorch's own operators.

Against PyTorch the conversion runs in a process of its own in which PyTorch and Caffe cannot be imported.
"""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from alexnet_jax.config import resolve
from alexnet_jax.errors import UsageError
from alexnet_jax.interop import convert, formats, layout
from alexnet_jax.interop.formats.weights import Weights
from alexnet_jax.model import architectures, inputs, network
from alexnet_jax.workdir import trained
from configs import imagenet
from tests.interop import makers
from tests.interop.helpers import converted, own_run, random_params
from tests.model.helpers import TABLES, assert_close

TORCHVISION_FILES = ["a.pth", "a.old.pth", "a.safetensors", "a.npz"]
CAFFE_FILES = ["a.caffemodel", "a.old.caffemodel", "a.npy"]
ROOT = Path(__file__).parents[2]
ALONE = """
import sys
for name in ("torch", "torchvision", "caffe", "safetensors"):
    sys.modules[name] = None  # importing it fails
from alexnet_jax import main
main.entry()
"""


@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_every_weight_of_torchvision_finds_its_position(name, tmp_path, monkeypatch):
    net = makers.torchvision()
    path = makers.write(tmp_path / name, net, monkeypatch)
    if name.endswith(".npz"):  # ours is RGB and (rows, columns, channels) already
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
def test_every_weight_of_caffe_finds_its_position(name, tmp_path, monkeypatch):
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
    arrays = layout.to_arrays(architecture, params, "plain")
    back = layout.from_arrays(architecture, Weights("plain", arrays))
    jax.tree.map(np.testing.assert_array_equal, back, params)
    if set(params) != set(makers.TORCH_NAMES):
        with pytest.raises(UsageError, match="torchvision's AlexNet has no"):
            layout.to_arrays(architecture, params, "torch")
        return
    arrays = layout.to_arrays(architecture, params, "torch")
    assert arrays.keys() == makers.state_dict(makers.torchvision()).keys()
    back = layout.from_arrays(architecture, Weights("torch", arrays))
    jax.tree.map(np.testing.assert_array_equal, back, params)


def convert_alone(source, output):
    """Run the verb without what it does not need; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, "convert", str(source), f"--output={output}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(folder, model=1):
    config = resolve.replace(trained.read_config(folder), {"mesh.data": 1, "mesh.model": model})
    return trained.load(folder, config, "best")


def layer_values(loaded, images, wanted):
    """Values of layers for the centre of whole uint8 images, through the run's own normalisation."""
    crop = loaded.architecture.crop
    edge = (images.shape[1] - crop) // 2

    @jax.jit
    def forward(params, image):
        x = inputs.normalise(inputs.view(image, edge, edge, False, crop), loaded.mean, loaded.normalization)
        return network.forward(loaded.architecture, loaded.mesh, params, x, None, wanted)

    return jax.device_get(forward(loaded.params, jnp.asarray(images)))


def as_state_dict(arrays):
    """PyTorch's names and layout for the features in our own .npz, by PyTorch."""
    import torch

    tensors = {}
    for layer in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        kernel = torch.from_numpy(arrays[f"{layer}/kernel"]).permute(3, 2, 0, 1).contiguous()
        tensors[f"{makers.TORCH_NAMES[layer]}.weight"] = kernel
        tensors[f"{makers.TORCH_NAMES[layer]}.bias"] = torch.from_numpy(arrays[f"{layer}/bias"])
    return tensors


@pytest.mark.slow
@pytest.mark.parametrize("name", ["given.npz", "a.pth", "old.pth", "a.safetensors", "a.npz"])
def test_trained_features_on_the_golden_crops(name, real_data, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    given = real_data / "torchvision_alexnet_features.npz"
    source = tmp_path / name
    with np.load(given) as file:
        arrays = {key: file[key] for key in file.files if not key.startswith("lpips")}
    tensors = as_state_dict(arrays)
    if name == "given.npz":
        source = given
    elif name.endswith(".pth"):
        torch.save(tensors, source, _use_new_zipfile_serialization=name != "old.pth")
    elif name.endswith(".npz"):
        np.savez_compressed(source, **arrays)
    else:
        library = pytest.importorskip("safetensors.torch", reason="the safetensors package is not installed")
        library.save_file(tensors, source)
    printed = convert_alone(source, tmp_path / "run")
    assert "2,469,696 parameters" in printed
    assert "partial: the weights reach avgpool" in printed
    loaded = load(tmp_path / "run")
    golden = np.load(real_data / "torchvision_alexnet_golden.npz")
    wanted = ("relu1", "relu2", "relu3", "relu4", "relu5", "pool5", "avgpool")
    found = layer_values(loaded, golden["images_uint8_NxHxWxC"], wanted)
    expected = {
        "pool5": golden["pool5_NxHxWxC"],
        "avgpool": golden["pool5_NxHxWxC"],
        "first relu1": golden["conv1_relu_first_image_HxWxC"],
        "first relu5": golden["conv5_relu_first_image_HxWxC"],
    }
    for number in range(1, 6):
        expected[f"mean relu{number}"] = golden[f"conv{number}_relu_mean_NxC"]
    for key, values in expected.items():
        ours = found[key.split()[-1]]
        ours = ours.mean(axis=(1, 2)) if key.startswith("mean") else ours[0] if "first" in key else ours
        assert_close(ours, values, 1e-4, key)


def torchvision_alexnet(classes):
    """torchvision.models.alexnet, written out: the package is not needed for it."""
    import torch

    nn = torch.nn
    net = nn.Module()
    net.features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    net.avgpool = nn.AdaptiveAvgPool2d((6, 6))
    net.classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(256 * 36, 4096), nn.ReLU(),
        nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, classes),
    )  # fmt: skip
    net.forward = lambda x: net.classifier(torch.flatten(net.avgpool(net.features(x)), 1))
    torch.manual_seed(0)
    for layer in (*net.features, *net.classifier):  # so that logits say something about the image
        if hasattr(layer, "weight"):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, 0, 0.1)
    return net.eval()


def two_images(seed=0):
    """Two whole images with structure at all scales."""
    draw = np.random.default_rng(seed)
    values = sum(
        np.kron(draw.normal(0, 25, (2, 256 // s, 256 // s, 3)), np.ones((1, s, s, 1))) for s in (1, 4, 16, 64)
    )
    return np.clip(values + 115, 0, 255).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("saved_as", ["zip", "legacy", "checkpoint"])
def test_a_whole_torchvision_net(saved_as, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = torchvision_alexnet(1000)
    state, source = net.state_dict(), tmp_path / "alexnet.pth"
    if saved_as == "checkpoint":
        parallel = {name.replace("features.", "features.module."): value for name, value in state.items()}
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 6])
        torch.save(
            {
                "epoch": 90,
                "arch": "alexnet",
                "state_dict": parallel,
                "best_acc1": torch.tensor(56.5),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
            },
            source,
        )
    else:
        torch.save(state, source, _use_new_zipfile_serialization=saved_as == "zip")
    printed = convert_alone(source, tmp_path / "run")
    assert "61,100,840 parameters" in printed
    loaded = load(tmp_path / "run")
    assert loaded.class_names[0] == "n01440764"
    images = two_images()
    x = torch.from_numpy(images[:, 16:240, 16:240]).permute(0, 3, 1, 2).double() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean.double()[:, None, None]) / std.double()[:, None, None]
    with torch.no_grad():
        logits = net.double()(x)
    assert_close(layer_values(loaded, images, ("fc8",))["fc8"], logits.numpy(), 1e-4)
    assert_close(loaded.predictor(1)(images), torch.softmax(logits, 1).numpy(), 1e-3)


def caffe_logits(net, x, pool_first):
    """bvlc_alexnet (or CaffeNet, with `pool_first`) with PyTorch's grouped convolutions, on BGR."""
    import torch

    functional = torch.nn.functional
    net = {name: [torch.from_numpy(array).double() for array in pair] for name, pair in net.items()}

    def conv(x, name, groups=1, **others):
        return functional.relu(functional.conv2d(x, *net[name], groups=groups, **others))

    def pool(x):
        return functional.max_pool2d(x, 3, 2, ceil_mode=True)

    def norm(x):
        return functional.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)

    def norm_and_pool(x):
        return norm(pool(x)) if pool_first else pool(norm(x))

    x = norm_and_pool(conv(x, "conv1", stride=4))
    x = norm_and_pool(conv(x, "conv2", 2, padding=2))
    x = conv(x, "conv3", padding=1)
    x = conv(x, "conv4", 2, padding=1)
    x = torch.flatten(pool(conv(x, "conv5", 2, padding=1)), 1)
    for name in ("fc6", "fc7"):
        x = functional.relu(functional.linear(x, *net[name]))
    return functional.linear(x, *net["fc8"]).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["data", "old", "caffenet", "npy"])
def test_a_whole_caffe_net(kind, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = makers.caffe(1.0, 1000)
    net["conv1"][0] /= 40  # its input is some 40 grey levels large
    source = tmp_path / "net.caffemodel"
    if kind == "npy":
        source = tmp_path / "bvlc_alexnet.npy"
        makers.write_npy_dictionary(source, net)
    elif kind == "caffenet":
        source.write_bytes(makers.caffemodel(net, makers.CAFFENET))
    else:
        source.write_bytes(makers.caffemodel(net, encoding=kind))
    printed = convert_alone(source, tmp_path / "run")
    assert "60,965,224 parameters" in printed
    images = two_images()
    bgr = torch.from_numpy(images[:, 14:241, 14:241, ::-1].copy()).permute(0, 3, 1, 2).double()
    bgr -= torch.tensor([104.00699, 116.66877, 122.67892]).double()[:, None, None]
    logits = caffe_logits(net, bgr, kind == "caffenet")
    for model in (1, 2) if kind == "data" else (1,):
        loaded = load(tmp_path / "run", model)
        assert loaded.architecture.name == ("caffenet" if kind == "caffenet" else "caffe")
        assert_close(layer_values(loaded, images, ("fc8",))["fc8"], logits, 1e-4, kind)


@pytest.mark.slow
def test_ours_to_a_torch_module_and_back_bit_for_bit(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = torchvision_alexnet(10)
    torch.save(net.state_dict(), tmp_path / "first.pth")
    convert_alone(tmp_path / "first.pth", tmp_path / "ours")
    convert.to_file(tmp_path / "ours", tmp_path / "ours.safetensors", "best")
    other = torchvision_alexnet(10)
    for value in other.state_dict().values():
        value.zero_()
    arrays = formats.read(tmp_path / "ours.safetensors").arrays
    other.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
    torch.save(other.state_dict(), tmp_path / "second.pth")
    convert_alone(tmp_path / "second.pth", tmp_path / "back")
    for name, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    first, second = load(tmp_path / "ours"), load(tmp_path / "back")
    for a, b in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params), strict=True):
        np.testing.assert_array_equal(np.asarray(a).view(np.uint32), np.asarray(b).view(np.uint32))


@pytest.mark.slow
def test_two_towers_as_groups_of_pytorch(tmp_path):
    """The paper's net in a file of torchvision's names: conv2, conv4 and conv5 with two groups."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    folder = own_run(tmp_path / "ours", 1, lrn=False, dropout=0.0)
    convert.to_file(folder, tmp_path / "ours.safetensors", "best")
    arrays = formats.read(tmp_path / "ours.safetensors").arrays
    net = {name: torch.from_numpy(array.copy()).double() for name, array in arrays.items()}
    loaded = load(folder)
    images = two_images()[:, :72, :72]
    functional = torch.nn.functional
    x = torch.from_numpy(images[:, 4:68, 4:68] - np.asarray(loaded.mean, np.float64)).permute(0, 3, 1, 2)
    for index, groups, padding in (
        (0, 1, (0, 3)),
        (3, 2, (2, 2)),
        (6, 1, (1, 1)),
        (8, 2, (1, 1)),
        (10, 2, (1, 1)),
    ):
        x = functional.pad(x, (*padding, *padding))
        weight, bias = net[f"features.{index}.weight"], net[f"features.{index}.bias"]
        x = functional.relu(functional.conv2d(x, weight, bias, stride=4 if index == 0 else 1, groups=groups))
        x = functional.max_pool2d(x, 3, 2) if index in (0, 3, 10) else x
    x = torch.flatten(x, 1)
    for index in (1, 4, 6):
        x = functional.linear(x, net[f"classifier.{index}.weight"], net[f"classifier.{index}.bias"])
        x = functional.relu(x) if index < 6 else x
    assert_close(layer_values(loaded, images, ("fc8",))["fc8"], x.numpy(), 1e-4)
