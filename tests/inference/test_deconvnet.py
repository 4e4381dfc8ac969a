"""The deconvnet against the same in plain numpy, and receptive fields against what pixels can reach."""

import dataclasses

import jax
import numpy as np
import pytest

from alexnet_jax.evaluation import activations
from alexnet_jax.inference import deconvnet
from alexnet_jax.model import architectures
from alexnet_jax.model.specs import Conv
from configs import digits, imagenet, imagenet_torchvision
from tests.inference.helpers import random_net, random_run
from tests.reference import numpy_layers as oracle

# The paper's table as this test reads it: layer, stride, pad, towers that see their own channels, what
# follows.
PAPER = (
    ("conv1", 4, (0, 3), 1, ("lrn", "pool")),
    ("conv2", 1, 2, 2, ("lrn", "pool")),
    ("conv3", 1, 1, 1, ()),
    ("conv4", 1, 1, 2, ()),
    ("conv5", 1, 1, 2, ()),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return random_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def images():
    draw = np.random.default_rng(3)
    coarse = draw.integers(0, 256, (3, 12, 12, 3), dtype=np.uint8)
    return coarse.repeat(6, axis=1).repeat(6, axis=2)


def whole(kernel_TxKxKxIxO):
    """Join the towers of a kernel: (kh, kw, channels read, all channels)."""
    return np.concatenate(list(np.asarray(kernel_TxKxKxIxO, np.float64)), axis=-1)


def normalised(run, images):
    edge = (72 - 64) // 2
    return (images[:, edge:-edge, edge:-edge].astype(np.float64) - np.asarray(run.mean, np.float64)) / 60.0


def up(run, x, layer):
    """Return what each step read, and the values of `layer` before its ReLU."""
    seen = []
    for name, stride, pad, groups, after in PAPER:
        kernel = whole(run.params[name]["kernel"])
        seen.append(("conv", x, (kernel, stride, pad, groups)))
        x = oracle.conv(
            x, kernel, np.ravel(run.params[name]["bias"]), stride=stride, padding=pad, groups=groups
        )
        if name == layer:
            return seen, x
        seen.append(("relu", x, None))
        x = np.maximum(x, 0)
        if "lrn" in after:
            x = oracle.lrn(x, size=5, alpha=1e-4, beta=0.75, k=2.0, groups=2)
            seen.append(("pool", x, None))
            x = oracle.max_pool(x, size=3, stride=2)
    raise AssertionError(layer)


def unpooled(read, signal):
    """Each value of `signal` where the maximum of its window is in `read`, one window at a time."""
    unpooled_values = np.zeros_like(read)
    for b, i, j, c in np.argwhere(signal != 0):
        window = read[b, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3, c]
        y, x = np.unravel_index(window.argmax(), window.shape)
        unpooled_values[b, 2 * i + y, 2 * j + x, c] += signal[b, i, j, c]
    return unpooled_values


def filtered_back(read, signal, kernel, stride, pad, groups):
    """Each value of `signal` times its filter, laid down where the filter read, one value at a time."""
    low, high = (pad, pad) if isinstance(pad, int) else pad
    filtered = np.pad(np.zeros_like(read), ((0, 0), (low, high), (low, high), (0, 0)))
    side, seen, made = kernel.shape[0], kernel.shape[2], kernel.shape[3] // groups
    for b, i, j, o in np.argwhere(signal != 0):
        first = seen * (o // made) if groups > 1 else 0
        window = (b, slice(i * stride, i * stride + side), slice(j * stride, j * stride + side))
        filtered[(*window, slice(first, first + seen))] += signal[b, i, j, o] * kernel[..., o]
    return filtered[:, low : filtered.shape[1] - high, low : filtered.shape[2] - high]


def projected(run, images, layer, channels, rows, columns):
    seen, values = up(run, normalised(run, images), layer)
    signal = np.zeros_like(values)
    for b, at in enumerate(zip(rows, columns, channels, strict=True)):
        signal[(b, *at)] = values[(b, *at)]
    for kind, read, arguments in reversed(seen):
        if kind == "conv":
            signal = filtered_back(read, signal, *arguments)
        elif kind == "relu":
            signal = np.maximum(signal, 0)
        else:
            signal = unpooled(read, signal)
    return signal


@pytest.mark.parametrize("layer", ["conv2", "conv5"])
def test_projections_equal_plain_numpy(trained, images, layer):
    values, rows, columns = deconvnet.strongest(trained, images, (layer,))[layer]
    channels = np.asarray([0, values.shape[1] // 2, values.shape[1] - 1])
    rows, columns = rows[np.arange(3), channels], columns[np.arange(3), channels]
    projections = deconvnet.projections(trained, images, layer, channels, rows, columns)
    expected = projected(trained, images, layer, channels, rows, columns)
    assert projections.shape == (3, 64, 64, 3)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(projections, expected, atol=1e-4 * np.abs(expected).max())
    for image, row, column in zip(projections, rows, columns, strict=True):
        top, left, bottom, right = deconvnet.receptive_field(
            trained.architecture, layer, int(row), int(column)
        )
        outside = np.ones((64, 64), bool)
        outside[top:bottom, left:right] = False
        assert not image[outside].any()


def test_strongest_is_the_largest_and_its_position(trained, images):
    layers = deconvnet.convolutions(trained.architecture)
    assert layers == ("conv1", "conv2", "conv3", "conv4", "conv5")
    by_layer = deconvnet.strongest(trained, images, layers)
    values = activations.activations(trained, images, layers, 4)
    for layer in layers:
        largest, rows, columns = by_layer[layer]
        for b, m in np.ndindex(largest.shape):
            plane = values[layer][b, :, :, m]
            assert np.unravel_index(plane.argmax(), plane.shape) == (rows[b, m], columns[b, m])
            np.testing.assert_allclose(largest[b, m], plane.max(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["conv1", "conv3", "conv5"])
def test_projections_of_imagenet_s_features_equal_torch(layer, real_data, tmp_path):
    """torch's pooling gives the switches, its transposed convolutions the way back."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    functional = torch.nn.functional
    with np.load(real_data / "torchvision_alexnet_features.npz") as file:
        arrays = {name: file[name] for name in file.files if name.startswith("conv")}
    images = np.load(real_data / "torchvision_alexnet_golden.npz")["images_uint8_NxHxWxC"]
    mean, std = (torch.tensor(v).double() for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = ((torch.from_numpy(images).double() / 255 - mean) / std).permute(0, 3, 1, 2)
    seen = []
    for number in range(1, int(layer[-1]) + 1):
        kernel = torch.from_numpy(arrays[f"conv{number}/kernel"]).double().permute(3, 2, 0, 1)
        bias = torch.from_numpy(arrays[f"conv{number}/bias"]).double()
        stride, pad = (4, 2) if number == 1 else (1, 2 if number == 2 else 1)
        seen.append(("conv", kernel, stride, pad, x.shape))
        x = functional.conv2d(x, kernel, bias, stride, pad)
        if f"conv{number}" == layer:
            break
        seen.append(("relu",))
        x = functional.relu(x)
        if number in (1, 2):
            shape = x.shape
            x, switches = functional.max_pool2d(x, 3, 2, return_indices=True)
            seen.append(("pool", switches, shape))
    net = imagenet_features(arrays, tmp_path)
    largest, rows, columns = deconvnet.strongest(net, images, (layer,))[layer]
    each, channels = np.arange(len(images)), np.asarray([3, 17, 40, 63])
    flat = x.flatten(2).max(dim=2).values.numpy()
    np.testing.assert_allclose(largest, flat, atol=1e-4 * np.abs(flat).max())
    rows, columns = rows[each, channels], columns[each, channels]
    signal = torch.zeros_like(x)
    signal[each, channels, rows, columns] = x[each, channels, rows, columns]
    for kind, *rest in reversed(seen):
        if kind == "conv":
            kernel, stride, pad, shape = rest
            over = shape[2] - ((signal.shape[2] - 1) * stride - 2 * pad + kernel.shape[2])
            signal = functional.conv_transpose2d(
                signal, kernel, stride=stride, padding=pad, output_padding=over
            )
        elif kind == "relu":
            signal = functional.relu(signal)
        else:
            switches, shape = rest  # overlapping windows may share a maximum: their values add
            back = torch.zeros(shape).double().flatten(2)
            signal = back.scatter_add(2, switches.flatten(2), signal.flatten(2)).reshape(shape)
    expected = signal.permute(0, 2, 3, 1).numpy()
    projections = deconvnet.projections(net, images, layer, channels, rows, columns)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(projections, expected, atol=1e-4 * np.abs(expected).max())


def imagenet_features(arrays, workdir):
    """torchvision's net with trained convolutions, as far as pool5; the images are of its own side, 224."""
    config = imagenet_torchvision.get_config()
    config.data.size = config.data.crop
    config.mesh.data = config.mesh.model = 1
    net = architectures.build(config.model, config.data.crop, 3)
    config.model.width = 0.0625  # of the weights that are replaced
    end = [row.name for row in net.layers].index("pool5") + 1
    params = {
        f"conv{n}": {part: arrays[f"conv{n}/{part}"][None] for part in ("kernel", "bias")}
        for n in range(1, 6)
    }
    whole = random_net(workdir, config, ())
    return dataclasses.replace(
        whole,
        architecture=dataclasses.replace(net, layers=net.layers[:end]),
        mean=np.asarray([0.485, 0.456, 0.406], np.float32) * 255,
        params=params,
    )


def test_receptive_fields_are_the_known_ones():
    """11, 51, 99, 131 and 163 pixels, as published for this geometry; stride 4, then 8, then 16."""
    config = imagenet.get_config()
    net = architectures.build(config.model, 224, 3)
    sides = {"conv1": (11, 27, 4), "conv2": (51, 13, 8), "conv3": (99, 6, 16), "conv5": (163, 6, 16)}
    for layer, (side, middle, stride) in sides.items():
        top, left, bottom, right = deconvnet.receptive_field(net, layer, middle, middle)
        assert (bottom - top, right - left) == (side, side), layer
        later = deconvnet.receptive_field(net, layer, middle, middle + 1)
        assert later[1] - left == stride
    assert deconvnet.receptive_field(net, "conv1", 54, 0) == (216, 0, 224, 11)  # three pixels of padding


@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv3", "conv4", "conv5"])
def test_receptive_fields_are_what_pixels_reach(layer):
    """A row of light in a dark image is seen through kernels of ones exactly where the box says."""
    config = digits.get_config()
    net = architectures.build(config.model, 64, 1)
    lit = np.eye(64)[:, :, None, None] * np.ones((1, 1, 64, 1))  # image r has its row r lit
    x = lit
    for name, stride, pad, _, after in PAPER:
        side = next(row for row in net.layers if isinstance(row, Conv) and row.name == name).kernel
        x = oracle.conv(x, np.ones((side, side, 1, 1)), np.zeros(1), stride=stride, padding=pad)
        if name == layer:
            break
        if after:
            x = oracle.max_pool(x, size=3, stride=2)
    for row in range(x.shape[1]):
        reached = np.flatnonzero(x[:, row, 0, 0] > 0)
        box = deconvnet.receptive_field(net, layer, row, row)
        assert (box[0], box[2]) == (reached[0], reached[-1] + 1)
        assert (box[1], box[3]) == (box[0], box[2])


def test_normalisation_within_a_channel_and_other_pools_count():
    config = digits.get_config()
    config.model = {"architecture": "cifar10_18", "classes": 10, "width": 1.0, "activation": "relu"}
    config.model.compute_dtype = "float32"
    net = architectures.build(config.model, 32, 3)
    # conv1 5, pool1 3/2, norm1 3, conv2 5: back from 1: 5, 7, 15, 19
    top, _, bottom, _ = deconvnet.receptive_field(net, "conv2", 8, 8)
    assert bottom - top == 19


def test_channels_are_spread_over_both_towers_and_alive(trained):
    alive = np.ones(16, bool)
    alive[[0, 1, 2, 3]] = False
    chosen = deconvnet.channels_to_show(trained.architecture, "conv2", alive, 4)
    assert len(chosen) == 4
    assert all(alive[number] for number in chosen)
    assert [number // 8 for number in chosen] == [0, 0, 1, 1]
    assert deconvnet.channels_to_show(trained.architecture, "conv2", np.zeros(16, bool), 4) == []


def test_two_devices_say_the_same(trained, images, tmp_path):
    apart = random_run(tmp_path, data=1, model=2)
    one, two = (
        deconvnet.projections(run, images, "conv5", np.asarray([0, 5, 15]), *np.ones((2, 3), int))
        for run in (trained, apart)
    )
    np.testing.assert_array_equal(one, two)


def test_a_tanh_is_passed(trained, images):
    rows = tuple(
        dataclasses.replace(row, kind="tanh") if getattr(row, "kind", "") == "relu" else row
        for row in trained.architecture.layers
    )
    run = dataclasses.replace(trained, architecture=dataclasses.replace(trained.architecture, layers=rows))
    projections = deconvnet.projections(run, images, "conv2", np.asarray([0, 1, 2]), *np.ones((2, 3), int))
    assert np.isfinite(projections).all()
    assert (jax.device_get(projections) < 0).any()
