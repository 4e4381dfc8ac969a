"""Values of layers: every layer against numpy and torch, towers, other tools' names, what is refused."""

import dataclasses

import numpy as np
import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import activations
from alexnet_jax.model import architectures
from configs import imagenet, imagenet_torchvision, mnist
from tests.inference.helpers import by_hand, layers_by_hand, random_run
from tests.model.helpers import assert_close


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return random_run(tmp_path_factory.mktemp("run"))


def test_every_layer_against_numpy(trained):
    images = np.random.default_rng(1).integers(0, 256, (5, 72, 72, 3), dtype=np.uint8)
    layers = activations.layer_names(trained.architecture)
    assert layers[0] == "conv1"
    assert layers[-2:] == ("fc8", "prob")
    values = activations.activations(trained, images, layers, 4)
    expected = by_hand(trained, images)
    assert list(values) == list(layers)
    assert set(values) == set(expected)
    assert_close(values, expected, 1e-5)
    for name in ("relu1", "relu5", "relu7"):
        assert 0.05 < (expected[name] > 0).mean() < 0.95  # there is something to see


def test_batches_of_any_size_give_the_same(trained):
    """Five images at once, and in batches of two."""
    images = np.random.default_rng(6).integers(0, 256, (5, 72, 72, 3), dtype=np.uint8)
    expected = {"relu5": by_hand(trained, images)["relu5"]}
    for batch_size in (2, 100):
        assert_close(activations.activations(trained, images, ["relu5"], batch_size), expected, 1e-5)


@pytest.mark.parametrize("kind", ["crop", "rgb", "none"])
def test_every_kind_of_mean(kind, tmp_path):
    """Of whole images and of ready crops, which are taken for the centre's."""
    run = random_run(tmp_path, mean=kind)
    images = np.random.default_rng(5).integers(0, 256, (2, 72, 72, 3), dtype=np.uint8)
    mean = np.asarray(run.mean, np.float64)
    assert mean.shape == ((72, 72, 3) if kind == "crop" else (3,))
    cut = images[:, 4:68, 4:68]
    x = (cut - (mean[4:68, 4:68] if kind == "crop" else mean)) / 60
    expected = {"fc7": layers_by_hand(run.params, x)["fc7"]}
    assert_close(activations.activations(run, images, ["fc7"], 4), expected, 1e-5)
    assert_close(activations.activations(run, cut, ["fc7"], 4), expected, 1e-5)


def test_shapes_are_the_paper_s():
    """Figure 2 of the paper: 55, 27 and 13 positions a side, 96 to 384 channels in two towers."""
    paper = architectures.build(imagenet.get_config().model, 224, 3)
    asked = [
        "conv1",
        "conv1/1",
        "norm1",
        "pool1",
        "relu2/0",
        "conv3",
        "conv4/0",
        "pool5",
        "fc6/1",
        "fc8",
        "prob",
    ]
    assert list(activations.shapes_of(paper, asked).values()) == [
        *((55, 55, 96), (55, 55, 48), (55, 55, 96), (27, 27, 96), (27, 27, 128)),
        *((13, 13, 384), (13, 13, 192), (6, 6, 256), (2048,), (1000,), (1000,)),
    ]
    assert activations.embedding_layer(paper) == "relu7"  # section 6.1
    assert activations.in_words(paper, "relu7") == "fc7 after its ReLU (relu7)"
    assert [activations.in_words(paper, layer) for layer in ("fc7", "pool5")] == ["fc7", "pool5"]
    assert activations.value_dtype(paper) == np.float32
    assert activations.value_dtype(dataclasses.replace(paper, compute_dtype="bfloat16")) == np.float32
    assert activations.value_dtype(dataclasses.replace(paper, compute_dtype="float64")) == np.float64


def test_towers_on_devices_of_their_own(tmp_path):
    run = random_run(tmp_path, data=2, model=2)
    images = np.random.default_rng(1).integers(0, 256, (5, 72, 72, 3), dtype=np.uint8)
    values = activations.activations(run, images, ["conv4", "conv4/1", "fc7", "prob"], 4)
    expected = by_hand(run, images)
    expected["conv4/1"] = expected["conv4"][..., 12:]
    assert_close(values, {name: expected[name] for name in values}, 1e-5)


def test_towers_other_names_and_cut_images(trained):
    images = np.random.default_rng(2).integers(0, 256, (3, 72, 72, 3), dtype=np.uint8)
    whole = activations.activations(trained, images, ["conv1", "relu4", "fc7", "relu6"], 4)
    asked = [
        "conv1/0",
        "conv1/1",
        "relu4/1",
        "fc7/0",
        "features.9",
        "features.9/0",
        "classifier.2",
    ]
    values = activations.activations(trained, images, asked, 4)
    assert list(values) == asked
    assert values["conv1/0"].shape == (3, 15, 15, 3)
    np.testing.assert_array_equal(
        np.concatenate([values["conv1/0"], values["conv1/1"]], axis=-1), whole["conv1"]
    )
    np.testing.assert_array_equal(values["relu4/1"], whole["relu4"][..., 12:])
    np.testing.assert_array_equal(values["fc7/0"], whole["fc7"][:, :128])
    np.testing.assert_array_equal(values["features.9"], whole["relu4"])
    np.testing.assert_array_equal(values["features.9/0"], whole["relu4"][..., :12])
    np.testing.assert_array_equal(values["classifier.2"], whole["relu6"])
    cut = activations.activations(trained, images[:, 4:68, 4:68], ["fc7"], 4)
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
    assert set(expected) == {*activations.OTHER_NAMES, "avgpool"}
    values = activations.activations(run, images, list(expected), 4)
    assert_close(values, expected, 1e-5)


def test_average_pooling_is_known_where_it_changes_nothing(trained):
    model = imagenet.get_config().model
    for crop, shape in ((224, (6, 6, 256)), (227, (6, 6, 256))):
        paper = architectures.build(model, crop, 3)
        assert activations.shapes_of(paper, ["avgpool", "classifier.0"]) == {
            "avgpool": shape,
            "classifier.0": shape,
        }
    with pytest.raises(UsageError, match=r"'classifier.0' \(avgpool\) is not a layer"):
        activations.shapes_of(trained.architecture, ["classifier.0"])  # 1 x 1


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
    values = activations.activations(cut, images, ["relu5", "features.12"], 4)
    assert_close(values["features.12"], by_hand(trained, images)["pool5"], 1e-5)
    assert activations.layer_names(cut.architecture)[-1] == "pool5"
    assert activations.embedding_layer(cut.architecture) == "pool5"
    assert activations.embedding_layer(trained.architecture) == "relu7"
    with pytest.raises(UsageError, match="'prob' is not a layer of this net"):
        activations.activations(cut, images, ["prob"], 4)


@pytest.mark.parametrize(("crop", "layer"), [(224, "pool5"), (288, "avgpool")])
def test_an_average_of_nothing_is_passed_over(crop, layer):
    """torchvision's average of 6 x 6 positions changes nothing where pool5 has as many."""
    whole = architectures.build(imagenet_torchvision.get_config().model, crop, 3)
    assert activations.in_words(whole, activations.embedding_layer(whole)) == "fc7 after its ReLU (relu7)"
    end = [row.name for row in whole.layers].index("avgpool") + 1
    assert activations.embedding_layer(dataclasses.replace(whole, layers=whole.layers[:end])) == layer


@pytest.mark.parametrize(("kind", "word"), [("relu", "ReLU (relu1)"), ("sigmoid", "sigmoid")])
def test_the_layer_before_an_activation_is_named(kind, word):
    """A sigmoid is called relu1 by its place alone: in words it is no ReLU."""
    config = mnist.get_config()
    config.model.activation = kind
    net = architectures.build(config.model, 28, 1)
    layer = activations.embedding_layer(net)
    assert activations.in_words(net, layer) == f"fc1 after its {word}"


def test_arrays_of_another_shape_are_refused(trained):
    for images in (
        np.zeros((1, 72, 72, 3)),
        np.zeros((1, 70, 70, 3), np.uint8),
        np.zeros((72, 72, 3), np.uint8),
    ):
        with pytest.raises(UsageError, match=r"\(N, 72, 72, 3\) or \(N, 64, 64, 3\)"):
            activations.activations(trained, images, ["fc7"], 4)
    none = activations.activations(trained, np.zeros((0, 72, 72, 3), np.uint8), ["fc7"], 4)
    assert none["fc7"].shape == (0, 256)


def test_the_normalisation_of_a_probe_stands_for_nothing():
    """Nor does torchvision's average pooling at 224: a probe of a probe's weights reads the same values."""
    probed = architectures.create("torchvision", {"classes": 4, "probe": "avgpool"})
    assert activations.embedding_layer(probed) == "pool5"
