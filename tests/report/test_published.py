"""What was published belongs to one net and one kind of data."""

from alexnet_jax.report import published
from configs import cifar10_19, cifar10_figure_1, imagenet


def test_published_is_of_the_same_net_and_data():
    config = imagenet.get_config()
    assert [row.top1_error for row in published.find(config, 10)] == [0.407]
    config.model.lrn = False
    assert published.find(config) == ()
    assert [row.top1_error for row in published.find(cifar10_19.get_config())] == [0.19]
    assert published.find(cifar10_figure_1.get_config()) == ()  # the 19 % net without weight decay
