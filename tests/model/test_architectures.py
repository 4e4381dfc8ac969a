"""The table of networks and what `build` refuses."""

import pytest
from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError
from alexnet_jax.model import architectures
from alexnet_jax.model.shapes import layer_shapes
from configs import imagenet
from tests.model.helpers import TABLES, paper


def test_every_table_is_tested():
    assert {"alexnet_2012", *TABLES} == set(architectures.TABLES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"width": 0.001}, "config.model.width=0.001"),
        ({"width": True}, "config.model.width=True: it must be a number above 0"),
        ({"width": float("inf")}, "config.model.width=inf: it must be a number above 0, at most 8"),
        ({"width": float("nan")}, "config.model.width=nan: it must be a number above 0, at most 8"),
        ({"width": 8.1}, "config.model.width=8.1: it must be a number above 0, at most 8"),
        ({"classes": 10**9}, "config.model.classes=1000000000: it must be a whole number from 2 to 100000"),
        ({"pool_size": 10**9}, "config.model.pool_size=1000000000: it must be a whole number from 1 to 32"),
        ({"communicate_at": ("conv3",) * 10**5}, "config.model.communicate_at=.*: it must be a tuple"),
        ({"communicate_at": ({},)}, "config.model.communicate_at=.*: it must be a tuple of layer names"),
        ({"architecture": ("x",)}, "config.model.architecture=.*: there are alexnet_2012"),
        ({"architecture": "x" * 10**6}, "config.model.architecture='x.*: there are alexnet_2012"),
        ({"towers": 3}, "config.model.towers=3: it must be 1 or 2"),
        ({"pool_size": 4}, "config.model.pool_size=4"),
        ({"features": (96, 256)}, r"config.model.features=\(96, 256\): it must have five numbers"),
        ({"features": (96, 256, 384, 384, 0)}, "it must be a tuple of whole numbers from 1 to 65536"),
        ({"communicate_at": ("conv9",)}, "config.model.communicate_at"),
        ({"without": ("conv1",)}, "config.model.without"),
        ({"activation": "gelu"}, "config.model.activation='gelu'"),
        ({"lrn": 1}, "config.model.lrn=1: it must be True or False"),
        (
            {"lrn_constants": (2.0, 1e-4)},
            r"config.model.lrn_constants=\(2.0, 0.0001\): it must be k above 0,",
        ),
        (
            {"lrn_constants": (0.0, 1e-4, 0.75)},
            "it must be k above 0, alpha and beta, numbers from 0 to 1,000,000",
        ),
        ({"lrn_constants": (2.0, float("inf"), 0.75)}, "numbers from 0 to 1,000,000"),
        ({"dropout": 1.0}, "config.model.dropout=1.0"),
        ({"classes": 1}, "config.model.classes=1"),
        ({"colour": 1}, "config.model.colour is not an argument of alexnet_2012"),
        ({"architecture": "vgg"}, "config.model.architecture='vgg'"),
        ({"compute_dtype": "int8"}, "config.model.compute_dtype='int8'"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    model = ConfigDict({**imagenet.get_config().model, **arguments})
    with pytest.raises(UsageError, match=words):
        architectures.build(model, 224, 3)


@pytest.mark.parametrize("hidden", [(0,), (1.5,), (True,), ("15",), (10**9,), (15,) * 33])
def test_hidden_units_are_whole_numbers(hidden):
    model = {"architecture": "fully_connected", "classes": 10, "activation": "relu"}
    with pytest.raises(
        UsageError, match=r"config.model.hidden=.*: it must be a tuple of at most 32 whole numbers"
    ):
        architectures.build(ConfigDict({**model, "hidden": hidden, "compute_dtype": "float32"}), 8, 1)


@pytest.mark.parametrize("key", ["width", "compute_dtype"])
def test_a_missing_argument_is_named(key):
    model = imagenet.get_config().model
    with model.unlocked():
        del model[key]
    with pytest.raises(UsageError, match=rf"config.model.{key} is missing: alexnet_2012 takes activation, "):
        architectures.build(model, 224, 3)


def test_what_an_architecture_says_of_itself():
    net = paper(96, classes=7, compute_dtype="bfloat16")
    assert (net.name, net.crop, net.channels, net.classes) == ("alexnet_2012", 96, 3, 7)
    assert (net.towers, net.compute_dtype) == (2, "bfloat16")


def test_classes_that_the_data_will_say():
    net = paper(classes=0)
    assert net.classes == 2
    assert layer_shapes(net)["fc8"].output == (2,)


@pytest.mark.parametrize(
    ("name", "probe", "read", "kernel"),
    [
        ("torchvision", "deepest", "relu7", (1, 4096, 7)),
        ("torchvision", "avgpool", "avgpool", (1, 9216, 7)),
        ("alexnet_2012", "conv4", "conv4", (2, 13 * 13 * 192, 7)),
        ("cifar10_26", "deepest", "relu4", (1, 64, 7)),
    ],
)
def test_a_probe_reads_a_layer_and_gives_the_classes(name, probe, read, kernel):
    net = architectures.create(name, {"classes": 7, "probe": probe})
    whole = architectures.create(name, {"classes": 7})
    names = [row.name for row in net.layers]
    assert names[-3:] == [read, "rmsnorm", "linear"]
    assert net.layers[:-2] == whole.layers[: len(names) - 2]
    assert layer_shapes(net)["linear"].kernel == kernel
    assert (net.logits, net.has_classes) == ("linear", True)


@pytest.mark.parametrize("probe", ["fc8", "conv9", "conv1\n"])
def test_a_probe_of_no_layer_is_refused(probe):
    with pytest.raises(
        UsageError, match=r"probe=.* is not a layer before the classes: conv1, relu1, "
    ) as error:
        architectures.create("torchvision", {"probe": probe})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("probe", ["deepest", "fc1"])
def test_a_net_of_one_layer_has_none_to_probe(probe):
    with pytest.raises(UsageError, match=f"probe='{probe}' is not a layer before the classes: there is none"):
        architectures.create("fully_connected", {"hidden": (), "probe": probe})
