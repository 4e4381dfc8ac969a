"""ImageNet's names: against TFDS's list of synsets, what is known by hand, and torchvision's own list."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation import classes, imagenet_names
from alexnet_jax.inference import predict, similar

BY_HAND = {
    0: ("n01440764", "tench"),
    1: ("n01443537", "goldfish"),
    18: ("n01582220", "magpie"),
    134: ("n02012849", "crane bird"),
    207: ("n02099601", "golden retriever"),
    281: ("n02123045", "tabby"),
    517: ("n03126707", "crane"),
    638: ("n03710637", "maillot"),
    639: ("n03710721", "maillot tank suit"),
    999: ("n15075141", "toilet tissue"),
}


def test_the_table_is_whole_and_in_order():
    table = imagenet_names.table()
    labels = Path(tfds.core.tfds_path("datasets/imagenet2012/labels.txt")).read_text().split()
    assert list(table) == labels == sorted(labels)
    assert len(table) == len(set(table.values())) == 1000
    rows = list(table.items())
    assert {label: rows[label] for label in BY_HAND} == BY_HAND


@pytest.mark.slow
def test_the_names_are_torchvisions(torchvision):
    from torchvision.models import AlexNet_Weights

    assert list(imagenet_names.table().values()) == AlexNet_Weights.IMAGENET1K_V1.meta["categories"]


def test_names_and_ids():
    assert imagenet_names.readable("n01582220") == "magpie"
    assert imagenet_names.identity("Magpie ") == "n01582220"
    for other in ("n00000000", "cat", "", "n01582220 "):
        assert imagenet_names.readable(other) == other
    assert imagenet_names.identity("n01582220") == "n01582220"
    assert imagenet_names.identity("cat") == "cat"


def test_a_dog_and_a_jacket():
    """The only two names that differ in case alone."""
    assert imagenet_names.identity("Cardigan") == "n02113186"
    assert imagenet_names.identity("cardigan") == "n02963159"
    assert imagenet_names.identity("CARDIGAN") == "CARDIGAN"
    with pytest.raises(UsageError, match="--label=CARDIGAN could be Cardigan, cardigan"):
        similar.class_of(Net(), "CARDIGAN")


@pytest.mark.parametrize(
    ("ours", "net", "labels"),
    [
        (("Magpie", "tench"), tuple(imagenet_names.table()), (18, 0)),
        (("n01582220", "n01440764"), ("tench", "hen", "magpie"), (2, 0)),
        (("n03126707", "crane bird"), ("n02012849", "n03126707"), (1, 0)),
    ],
)
def test_ids_and_names_are_matched_by_the_table(ours, net, labels):
    match = classes.match(ours, "birds", net, len(net), "the net")
    assert match.labels == labels
    assert " by ImageNet's table " in match.notice


def test_a_class_that_stands_twice_is_refused():
    with pytest.raises(UsageError, match="birds has magpie and n01582220, and the net only n01582220"):
        classes.match(("magpie", "n01582220"), "birds", ("n01582220", "n01440764"), 2, "the net")


def test_predict_says_the_name_and_the_id():
    guesses = predict.top5(np.array([0.1, 0.7, 0.2]), ("n01440764", "n01582220", "my cat"))
    assert guesses[0] == {"label": 1, "name": "magpie", "probability": 0.7, "synset": "n01582220"}
    assert guesses[1] == {"label": 2, "name": "my cat", "probability": 0.2}


class Net:
    """As much of a trained net as `class_of` asks for."""

    class_names = tuple(imagenet_names.table())
    readable_names = tuple(imagenet_names.table().values())
    workdir = Path("runs/x")

    class architecture:
        has_classes = True


@pytest.mark.parametrize(
    ("label", "column"),
    [
        ("magpie", 18),
        ("MAGPIE", 18),
        ("n01582220", 18),
        ("crane", 517),
        ("crane bird", 134),
        ("tench", 0),
        ("Cardigan", 264),
    ],
)
def test_a_label_is_either(label, column):
    assert similar.class_of(Net(), label) == column


def test_a_label_that_is_neither_or_several():
    with pytest.raises(UsageError, match=r"--label=terrier could be .*Staffordshire"):
        similar.class_of(Net(), "terrier")
    with pytest.raises(UsageError, match="--label=blub is no class of this net; there are tench, goldfish"):
        similar.class_of(Net(), "blub")
