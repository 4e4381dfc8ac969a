"""Features: every layer against numpy, both towers, files whole and in order, wrong names refused."""

import dataclasses
import os
import zipfile

import numpy as np
import pytest

from alexnet_jax.data import pictures
from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.inference import features
from alexnet_jax.model import architectures
from configs import imagenet
from tests.inference.helpers import random_run, write_pictures
from tests.model.helpers import assert_close
from tests.reference import numpy_layers as ref


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return random_run(tmp_path_factory.mktemp("run"))


def by_hand(run, images):
    """All layers of the paper's net in float64, from numpy: towers are groups, fc8 sums over them."""
    params = {
        name: {part: np.asarray(value, np.float64) for part, value in leaf.items()}
        for name, leaf in run.params.items()
    }
    edge = (72 - 64) // 2
    x = (images[:, edge : edge + 64, edge : edge + 64].astype(np.float64) - np.asarray(run.mean)) / 60
    found = {}

    def keep(name, value):
        found[name] = value
        return value

    def conv(x, name, groups, stride=1, padding=0):
        kernel = np.concatenate(params[name]["kernel"], axis=-1)
        bias = params[name]["bias"].reshape(-1)
        return keep(name, ref.conv(x, kernel, bias, stride=stride, padding=padding, groups=groups))

    def unit(x, name, part="relu"):
        return keep(f"relu{name}", ref.relu(x))

    x = unit(conv(x, "conv1", 1, 4, (0, 3)), 1)
    x = keep("norm1", ref.lrn(x, groups=2))
    x = keep("pool1", ref.max_pool(x))
    x = unit(conv(x, "conv2", 2, padding=2), 2)
    x = keep("norm2", ref.lrn(x, groups=2))
    x = keep("pool2", ref.max_pool(x))
    x = unit(conv(x, "conv3", 1, padding=1), 3)
    x = unit(conv(x, "conv4", 2, padding=1), 4)
    x = unit(conv(x, "conv5", 2, padding=1), 5)
    x = keep("pool5", ref.max_pool(x)).reshape(len(images), -1)
    for number in (6, 7):
        layer = params[f"fc{number}"]
        kernel = np.concatenate(layer["kernel"], axis=-1)
        x = unit(keep(f"fc{number}", ref.dense(x, kernel, layer["bias"].reshape(-1))), number)
        x = keep(f"drop{number}", ref.dropout(x, None))
    kernel = np.concatenate(params["fc8"]["kernel"], axis=0)
    keep("prob", ref.softmax(keep("fc8", ref.dense(x, kernel, params["fc8"]["bias"]))))
    return found


def test_every_layer_against_numpy(trained):
    images = np.random.default_rng(1).integers(0, 256, (5, 72, 72, 3), dtype=np.uint8)
    layers = features.names(trained.architecture)
    assert layers[0] == "conv1"
    assert layers[-2:] == ("fc8", "prob")
    found = features.activations(trained, images, layers)
    expected = by_hand(trained, images)
    assert list(found) == list(layers)
    assert set(found) == set(expected)
    assert_close(found, expected, 1e-5)
    for name in ("relu1", "relu5", "relu7"):
        assert 0.05 < (expected[name] > 0).mean() < 0.95  # there is something to see


def test_towers_on_devices_of_their_own(tmp_path):
    run = random_run(tmp_path, data=2, model=2)
    images = np.random.default_rng(1).integers(0, 256, (5, 72, 72, 3), dtype=np.uint8)
    found = features.activations(run, images, ["conv4", "conv4/1", "fc7", "prob"])
    expected = by_hand(run, images)
    expected["conv4/1"] = expected["conv4"][..., 12:]
    assert_close(found, {name: expected[name] for name in found}, 1e-5)


def test_towers_other_names_and_cut_pictures(trained):
    images = np.random.default_rng(2).integers(0, 256, (3, 72, 72, 3), dtype=np.uint8)
    whole = features.activations(trained, images, ["conv1", "relu4", "fc7", "relu6"])
    asked = [
        "conv1/0",
        "conv1/1",
        "relu4/1",
        "fc7/0",
        "features.9",
        "features.9/0",
        "classifier.2",
    ]
    found = features.activations(trained, images, asked)
    assert list(found) == asked
    assert found["conv1/0"].shape == (3, 15, 15, 3)
    np.testing.assert_array_equal(
        np.concatenate([found["conv1/0"], found["conv1/1"]], axis=-1), whole["conv1"]
    )
    np.testing.assert_array_equal(found["relu4/1"], whole["relu4"][..., 12:])
    np.testing.assert_array_equal(found["fc7/0"], whole["fc7"][:, :128])
    np.testing.assert_array_equal(found["features.9"], whole["relu4"])
    np.testing.assert_array_equal(found["features.9/0"], whole["relu4"][..., :12])
    np.testing.assert_array_equal(found["classifier.2"], whole["relu6"])
    cut = features.activations(trained, images[:, 4:68, 4:68], ["fc7"])
    np.testing.assert_array_equal(cut["fc7"], whole["fc7"])


@pytest.mark.slow
def test_torchvisions_names_are_its_modules(tmp_path):
    """Each module's value, taken by a hook, of torchvision's net built here from PyTorch's layers."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    run = random_run(tmp_path, architecture="torchvision")

    def loaded(module, name):
        kernel, bias = (torch.tensor(np.asarray(run.params[name][part])) for part in ("kernel", "bias"))
        if name == "fc6":  # from (H, W, C) to (C, H, W)
            kernel = kernel[0].reshape(6, 6, -1, kernel.shape[-1]).permute(2, 0, 1, 3).flatten(0, 2)[None]
        weight = kernel[0].permute(3, 2, 0, 1) if kernel.ndim == 5 else kernel[0].T
        module.weight.data, module.bias.data = weight.contiguous(), bias.reshape(-1)
        return module.double()

    def conv(number, seen, made, kernel, stride=1):
        pad = 2 if kernel > 3 else 1
        return loaded(nn.Conv2d(seen, made, kernel, stride, pad), f"conv{number}")

    def fc(number, seen, made):
        return loaded(nn.Linear(seen, made), f"fc{number}")

    pool = nn.MaxPool2d(3, 2)
    rectify = [conv(1, 3, 4, 11, 4), nn.ReLU(), pool, conv(2, 4, 12, 5), nn.ReLU(), nn.MaxPool2d(3, 2)]
    rectify += [conv(3, 12, 24, 3), nn.ReLU(), conv(4, 24, 16, 3), nn.ReLU(), conv(5, 16, 16, 3), nn.ReLU()]
    net = nn.ModuleDict({
        "features": nn.Sequential(*rectify, nn.MaxPool2d(3, 2)),
        "avgpool": nn.AdaptiveAvgPool2d(6),
        "classifier": nn.Sequential(
            nn.Dropout(), fc(6, 576, 256), nn.ReLU(), nn.Dropout(), fc(7, 256, 256), nn.ReLU(), fc(8, 256, 7)
        ),
    }).eval()  # fmt: skip
    expected = {}
    for name, module in net.named_modules():
        if name.count(".") == 1 or name == "avgpool":
            module.register_forward_hook(
                lambda module, given, value, name=name: expected.__setitem__(name, value.detach().numpy())
            )
    images = np.random.default_rng(4).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    x = torch.tensor((images.astype(np.float64) - np.asarray(run.mean)) / 60).permute(0, 3, 1, 2)
    net["classifier"](net["avgpool"](net["features"](x)).flatten(1))
    expected = {name: np.moveaxis(value, 1, -1) for name, value in expected.items()}
    expected["classifier.0"] = expected["avgpool"]  # the same values, before they are flattened
    assert set(expected) == {*features.OTHER_NAMES, "avgpool"}
    found = features.activations(run, images, list(expected))
    assert_close(found, expected, 1e-5)


def test_average_pooling_has_a_place_where_it_changes_nothing(trained):
    model = imagenet.get_config().model
    for crop, shape in ((224, (6, 6, 256)), (227, (6, 6, 256))):
        paper = architectures.build(model, crop, 3)
        assert features.shapes_of(paper, ["avgpool", "classifier.0"]) == {
            "avgpool": shape,
            "classifier.0": shape,
        }
    with pytest.raises(UsageError, match=r"'classifier.0' \(avgpool\) is not a layer"):
        features.shapes_of(trained.architecture, ["classifier.0"])  # 1 x 1


def test_files_in_order_and_left_out(trained, tmp_path):
    """Ten pictures, three of them bad, in batches of four: one batch loses two, the last is padded."""
    paths = write_pictures(tmp_path / "in", 10)
    for number in (1, 2, 9):
        paths[number].write_bytes(b"no picture")
    layers = ["relu5", "fc7/1", "prob"]
    answer = features.features(trained, paths, layers, str(tmp_path / "out.npz"))
    good = [path for number, path in enumerate(paths) if number not in (1, 2, 9)]
    images = np.stack([pictures.square(path.read_bytes(), 72, 3, True) for path in good])
    expected = by_hand(trained, images)
    with np.load(tmp_path / "out.npz") as found:
        assert list(found) == [*layers, "files"]
        assert found["files"].tolist() == [str(path) for path in good]
        assert found["relu5"].dtype == np.float32
        assert_close(found["relu5"], expected["relu5"], 1e-5)
        assert_close(found["fc7/1"], expected["fc7"][:, 128:], 1e-5)
        kept = {name: found[name] for name in layers}
    assert answer["files"] == 7
    assert answer["layers"] == {"relu5": (7, 3, 3, 16), "fc7/1": (7, 128), "prob": (7, 7)}
    assert [entry["file"] for entry in answer["left_out"]] == [str(paths[i]) for i in (1, 2, 9)]
    assert "3 of the files could not be read" in features.as_text(answer)

    features.features(trained, paths, layers, f"{tmp_path}/folder/")
    assert (tmp_path / "folder/files.txt").read_text().splitlines() == [str(path) for path in good]
    for name in layers:
        mapped = np.load(tmp_path / "folder" / f"{name}.npy", mmap_mode="r")
        np.testing.assert_array_equal(mapped, kept[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "in", "out.npz"]
    with zipfile.ZipFile(tmp_path / "out.npz") as archive:
        assert archive.testzip() is None


def test_a_strange_name_is_kept(trained, tmp_path):
    path = write_pictures(tmp_path, 1)[0]
    strange = path.rename(tmp_path / "a\nb <script> \u202e.png")
    unnameable = tmp_path / os.fsdecode(b"\xff.png")
    unnameable.write_bytes(strange.read_bytes())
    features.features(trained, [strange, unnameable], ["fc7"], str(tmp_path / "o.npz"))
    with np.load(tmp_path / "o.npz") as found:
        assert found["files"].tolist() == [str(strange), str(unnameable)]
    features.features(trained, [strange, unnameable], ["fc7"], f"{tmp_path}/o/")
    written = (tmp_path / "o/files.txt").read_bytes().splitlines()
    assert written == [os.fsencode(str(strange)).replace(b"\n", b"\\n"), os.fsencode(str(unnameable))]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], "--layers is missing: this net has conv1, relu1, norm1"),
        (["conv1", "fc9"], "'fc9' is not a layer of this net; it has conv1, relu1"),
        (["conv1/2"], "conv1 has the towers 0 and 1"),
        (["prob/0"], "prob has no towers"),
        (["fc8/0"], "fc8 has no towers"),
        (["conv1", "conv1"], "names a layer twice"),
        (["../x"], "is not a layer"),
        (["features.13"], "'features.13' is not a layer"),
    ],
)
def test_unknown_layers_are_refused(trained, tmp_path, layers, words):
    paths = write_pictures(tmp_path / "in", 1)
    with pytest.raises(UsageError) as error:
        features.features(trained, paths, layers, str(tmp_path / "o.npz"))
    assert words in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_net_that_ends_early(trained):
    """Weights that hold conv1 to conv5 alone: their table ends at pool5."""
    rows = trained.architecture.layers
    end = [row.name for row in rows].index("pool5") + 1
    cut = dataclasses.replace(
        trained,
        architecture=dataclasses.replace(trained.architecture, layers=rows[:end]),
        params={name: trained.params[name] for name in ("conv1", "conv2", "conv3", "conv4", "conv5")},
    )
    images = np.random.default_rng(3).integers(0, 256, (2, 72, 72, 3), dtype=np.uint8)
    found = features.activations(cut, images, ["relu5", "features.12"])
    assert_close(found["features.12"], by_hand(trained, images)["pool5"], 1e-5)
    assert features.names(cut.architecture)[-1] == "pool5"
    assert features.deepest(cut.architecture) == "pool5"
    assert features.deepest(trained.architecture) == "relu7"
    with pytest.raises(UsageError, match="'prob' is not a layer of this net"):
        features.activations(cut, images, ["prob"])


def test_outputs_that_cannot_be(trained, tmp_path, monkeypatch):
    paths = write_pictures(tmp_path / "in", 2)
    (tmp_path / "folder.npz").mkdir()
    for output, words in [
        ("", "features needs --output"),
        (f"{tmp_path}/x.csv", "the name of an .npz, or of a folder"),
        (f"{tmp_path}/nowhere/x.npz", "does not exist"),
        (f"{tmp_path}/folder.npz", "is a folder"),
        (f"{tmp_path}/in", "is there and not an empty folder"),
    ]:
        with pytest.raises(UsageError, match=words):
            features.features(trained, paths, ["fc7"], output)
    for path in paths:
        path.write_bytes(b"")
    for output in (f"{tmp_path}/x.npz", f"{tmp_path}/x/"):
        with pytest.raises(RunFailure, match="none of 2 pictures"):
            features.features(trained, paths, ["fc7"], output)
    usage = features.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: usage._replace(free=2 * 256 * 4 - 1))
    with pytest.raises(UsageError, match="2 pictures need"):
        features.features(trained, paths, ["fc7"], f"{tmp_path}/x.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.npz", "in"]


def test_arrays_of_another_form_are_refused(trained):
    for images in (
        np.zeros((1, 72, 72, 3)),
        np.zeros((1, 70, 70, 3), np.uint8),
        np.zeros((72, 72, 3), np.uint8),
    ):
        with pytest.raises(UsageError, match=r"uint8 \(N, 72, 72, 3\) or \(N, 64, 64, 3\)"):
            features.activations(trained, images, ["fc7"])
    none = features.activations(trained, np.zeros((0, 72, 72, 3), np.uint8), ["fc7"])
    assert none["fc7"].shape == (0, 256)
