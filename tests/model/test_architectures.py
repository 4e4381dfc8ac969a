"""The tables against the paper's own numbers."""

import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.model import architectures
from alexnet_jax.model.architectures import shapes
from configs import cifar10, imagenet
from tests.model.helpers import paper

# Krizhevsky et al. 2012, section 3.5 and figure 2: (parameters, output).
PAPER = {
    "conv1": (34_944, (55, 55, 96)),
    "conv2": (307_456, (27, 27, 256)),
    "conv3": (885_120, (13, 13, 384)),
    "conv4": (663_936, (13, 13, 384)),
    "conv5": (442_624, (13, 13, 256)),
    "fc6": (37_752_832, (4096,)),
    "fc7": (16_781_312, (4096,)),
    "fc8": (4_097_000, (1000,)),
}


def test_the_papers_net_has_the_papers_parameters():
    table = shapes(paper(224, width=1.0, classes=1000))
    found = {name: (s.parameters, s.output) for name, s in table.items() if s.kernel}
    assert found == PAPER
    assert sum(s.parameters for s in table.values()) == 60_965_224
    assert table["conv1"].kernel == (2, 11, 11, 3, 48)


def test_the_layers_stand_in_the_papers_order():
    order = """conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5
        fc6 relu6 drop6 fc7 relu7 drop7 fc8"""
    assert " ".join(shapes(paper(224))) == " ".join(order.split())


def test_one_tower_reads_everything():
    table = shapes(paper(224, width=1.0, classes=1000, towers=1))
    assert sum(s.parameters for s in table.values()) == 62_378_344


def test_227_pixels_need_no_padding():
    whole, padded = paper(227).layers[0], paper(224).layers[0]
    assert (whole.pad, padded.pad) == ((0, 0), (0, 3))


def test_cifar10_net():
    config = cifar10.get_config()
    table = shapes(architectures.build(config.model, 32, 3))
    assert [table[f"pool{i}"].output for i in (1, 2, 3)] == [(16, 16, 32), (8, 8, 32), (4, 4, 64)]
    # by hand: 5*5*3*32+32, 5*5*32*32+32, 5*5*32*64+64, 1024*64+64, 64*10+10
    assert [s.parameters for s in table.values() if s.kernel] == [2432, 25632, 51264, 65600, 650]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"width": 0.001}, "config.model.width=0.001"),
        ({"pool_size": 4}, "config.model.pool_size=4"),
        ({"communicate_at": ("conv9",)}, "config.model.communicate_at"),
        ({"activation": "gelu"}, "config.model.activation='gelu'"),
        ({"dropout": 1.0}, "config.model.dropout=1.0"),
        ({"classes": 1}, "config.model.classes=1"),
        ({"colour": 1}, "config.model.colour is not an argument of alexnet_2012"),
        ({"architecture": "vgg"}, "config.model.architecture='vgg'"),
        ({"compute_dtype": "int8"}, "config.model.compute_dtype='int8'"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    model = imagenet.get_config().model
    with model.unlocked():
        model.update(arguments)
    with pytest.raises(UsageError, match=words):
        architectures.build(model, 224, 3)


def test_a_picture_too_small_is_refused():
    with pytest.raises(UsageError, match=r"config.data.crop=32 is too small .* pool"):
        paper(32)
