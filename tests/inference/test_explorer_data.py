"""What the explorer is given of a net: its table, its numbers, and images of the run or at hand."""

import io
import json
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax.config import resolve
from alexnet_jax.data.records import open_dataset
from alexnet_jax.errors import UsageError
from alexnet_jax.inference import explorer_data
from alexnet_jax.model import architectures
from alexnet_jax.workdir import trained
from configs import digits, imagenet_torchvision, mnist
from tests.fixtures.make_old_run import state as read_state
from tests.helpers import forget_provenance
from tests.inference.helpers import random_net, random_run


def decoded(images):
    return [(name, np.asarray(Image.open(io.BytesIO(file)))) for name, file in images]


def test_a_run_s_net(small_run):
    """Its numbers as Orbax reads them, its layers in order, and what it reads."""
    net = trained.load(small_run, trained.read_config(small_run))
    explored = explorer_data.explorer_data(net)
    params = {
        name.removeprefix("params/"): leaf
        for name, leaf in read_state(small_run, 12).items()
        if name.startswith("params/")
    }
    assert explored.arrays.keys() == params.keys() | {"mean"}
    for name, leaf in params.items():
        np.testing.assert_array_equal(explored.arrays[name], leaf)
    with np.load(small_run / "statistics.npz") as statistics:
        np.testing.assert_array_equal(
            explored.arrays["mean"], statistics["mean"][4:68, 4:68].astype(np.float32)
        )
    assert {array.dtype for array in explored.arrays.values()} == {np.dtype(np.float32)}
    table = json.loads(json.dumps(explored.net))  # as the page reads it
    kinds = {"conv": 5, "activation": 7, "lrn": 2, "pool": 3, "dropout": 2, "dense": 3}
    counted = [layer["kind"] for layer in table["layers"]]
    assert {kind: counted.count(kind) for kind in counted} == kinds
    assert [layer["name"] for layer in table["layers"]][:4] == ["conv1", "relu1", "norm1", "pool1"]
    outputs = {layer["name"]: layer["output"] for layer in table["layers"]}
    assert outputs["conv1"] == [15, 15, 6]  # 64 pixels, stride 4, three of padding at the end; 96 / 16
    assert outputs["fc8"] == [10]
    conv1 = table["layers"][0]
    assert conv1["macs"] == 15 * 15 * 6 * 11 * 11  # of one channel
    assert table["parameters"] == table["allParameters"] == sum(leaf.size for leaf in params.values())
    shown = ("name", "crop", "size", "channels", "classes", "towers", "hasClasses", "step")
    assert [table[key] for key in shown] == ["alexnet_2012", 64, 72, 1, 10, 2, True, 12]
    assert table["classNames"] == list("0123456789")
    assert table["input"] == {"form": "centre", "std": [1.0]}
    assert table["tenViews"][4] == [4, 4, False]
    assert len(table["tenViews"]) == 10


def test_images_of_the_run_one_of_each_class(small_run):
    """The first of each digit among the first hundred of the test split, as they are prepared."""
    net = trained.load(small_run, trained.read_config(small_run))
    shown = decoded(explorer_data.explorer_data(net).images)
    assert [name for name, _ in shown] == list("0123456789")
    records = open_dataset(net.config.data).records("test")
    for name, image in shown:
        first = next(index for index in range(100) if records.read(index)[1] == int(name))
        np.testing.assert_array_equal(image, np.frombuffer(records.read(first)[0], np.uint8).reshape(72, 72))


def test_more_of_a_class_where_there_are_few(small_run, tmp_path):
    """The images keep the names that the data gives them, whatever the net calls its classes."""
    workdir = shutil.copytree(small_run, tmp_path / "run")
    forget_provenance(workdir)
    saved = json.loads((workdir / "config.json").read_text())
    saved["class_names"] = ["zero", "one", "two"]
    (workdir / "config.json").write_text(json.dumps(saved))
    config = resolve.replace(
        trained.read_config(workdir), {"evaluate.batch_size": 4, "data.test_split": "test[:15]"}
    )
    net = trained.load(workdir, config)
    records = open_dataset(config.data).records("test[:15]")
    labels = [records.read(index)[1] for index in range(4)]
    firsts = [labels.index(label) for label in sorted(set(labels))]
    order = firsts + [index for index in range(4) if index not in firsts]
    names = [str(labels[index]) for index in order]
    assert [name for name, _ in explorer_data.explorer_data(net).images] == names


@pytest.mark.parametrize("channels", [1, 3])
def test_without_the_data_there_are_images_at_hand(channels, tmp_path):
    """scikit-learn's digits for a grey net, its two photographs for one of three channels."""
    config = digits.get_config()
    config.data.channels, config.data.dir = channels, str(tmp_path)
    config.mesh.data, config.mesh.model, config.model.width = 1, 1, 0.0625
    shown = decoded(explorer_data.explorer_data(random_net(tmp_path, config, ("a",))).images)
    assert [name for name, _ in shown] == (list("0123456789") if channels == 1 else ["china", "flower"])
    assert {image.shape for _, image in shown} == {(72, 72) if channels == 1 else (72, 72, 3)}
    assert all(np.ptp(image) > 100 for _, image in shown)


def test_rows_have_one_word_for_one_thing(tmp_path):
    """`kind` is the layer's; what a layer calls its own kind is `how`; a local layer has a stride, too."""
    config = digits.get_config()
    config.data.size, config.data.crop, config.data.channels, config.data.dir = 32, 24, 3, str(tmp_path)
    config.mesh.data = config.mesh.model = 1
    arguments = {"width": 1.0, "activation": "tanh", "lrn": True, "classes": 7}
    config.model = ConfigDict({"architecture": "cifar10_11", "compute_dtype": "float32", **arguments})
    rows = {
        row["name"]: row
        for row in explorer_data.explorer_data(random_net(tmp_path, config, ())).net["layers"]
    }
    assert (rows["relu1"]["kind"], rows["relu1"]["how"]) == ("activation", "tanh")
    assert (rows["pool1"]["kind"], rows["pool1"]["how"]) == ("pool", "max")
    assert (rows["local3"]["kind"], rows["local3"]["pad"], rows["local3"]["stride"]) == ("local", (1, 1), 1)
    config.model.architecture = "cifar10_18"
    del config.model["lrn"]
    rows = explorer_data.explorer_data(random_net(tmp_path, config, ())).net["layers"]
    assert [row["kind"] for row in rows if row["name"].startswith("norm")] == ["sameMapLrn", "sameMapLrn"]


def test_a_net_too_large_gives_its_convolutional_part():
    torchvision = architectures.build(imagenet_torchvision.get_config().model, 224, 3)
    part = explorer_data.convolutional_part(torchvision)
    assert [layer.name for layer in part.layers][-2:] == ["pool5", "avgpool"]
    assert part.layers == torchvision.layers[: len(part.layers)]
    assert not part.has_classes
    small = architectures.build(digits.get_config().model, 64, 1)
    assert explorer_data.convolutional_part(small) == small
    model = mnist.get_config().model
    model.hidden = (5000,)
    with pytest.raises(UsageError, match="fully_connected has no convolutions, and is too large for a page"):
        explorer_data.convolutional_part(architectures.build(model, 28, 1))


def test_the_page_of_a_part_says_how_large_the_whole_is(tmp_path, monkeypatch):
    net = random_run(tmp_path)
    sizes = {name: sum(x.size for x in leaves.values()) for name, leaves in net.params.items()}
    monkeypatch.setattr(explorer_data, "MAX_INLINE_PARAMS", sum(sizes.values()) - 1)
    explored = explorer_data.explorer_data(net)
    assert explored.net["layers"][-1]["name"] == "pool5"
    assert not explored.net["hasClasses"]
    assert explored.net["parameters"] == sum(sizes[f"conv{n}"] for n in range(1, 6))
    assert explored.net["allParameters"] == sum(sizes.values())
    rows = explored.net["layers"] + explored.net["rest"]
    assert [row["name"] for row in rows] == [layer.name for layer in net.architecture.layers]
    assert {row["name"]: row["parameters"] for row in rows if row["parameters"]} == sizes
    assert {name.split("/")[0] for name in explored.arrays} == {"mean", *(f"conv{n}" for n in range(1, 6))}


def test_the_lesson_s_digits():
    """As many of each class, of either split, in scikit-learn's own 17 levels; none without scikit-learn."""
    from sklearn.datasets import load_digits

    found = explorer_data.lesson_digits()
    labels = np.asarray(list(found["labels"])).reshape(-1, 10)
    assert (labels == np.asarray(list("0123456789"))).all()
    assert found["seen"] == 300
    levels = np.frombuffer(found["levels"].encode(), np.uint8).reshape(400, 8, 8) - ord("a")
    images, targets = load_digits(return_X_y=True)
    known = {tuple(image.astype(int)): target for image, target in zip(images, targets, strict=True)}
    for image, label in zip(levels, found["labels"], strict=True):
        assert known[tuple(image.reshape(-1))] == int(label)
    assert len({image.tobytes() for image in levels}) == 400


def test_without_scikit_learn_there_is_no_digit(monkeypatch):
    def missing(name):
        raise UsageError("not installed")

    monkeypatch.setattr(explorer_data, "open_source", missing)
    assert explorer_data.lesson_digits() is None
