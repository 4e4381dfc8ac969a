"""Some images of a split: evenly spread, and as the records have them."""

import numpy as np

from alexnet_jax.data.records import open_dataset
from alexnet_jax.inference import sample
from configs import digits
from tests.inference.helpers import random_net


def test_spread():
    assert sample.spread(3, 10).tolist() == [0, 1, 2]
    assert sample.spread(100, 4).tolist() == [12, 37, 62, 87]
    assert sample.spread(0, 4).tolist() == []


def test_images_come_in_the_order_asked_for(digits_folder, tmp_path):
    config = digits.get_config()
    config.data.dir = digits_folder
    config.evaluate.batch_size = 4
    config.mesh.data = config.mesh.model = 1
    config.model.width = 0.0625
    net = random_net(tmp_path, config, tuple("0123456789"))
    dataset = open_dataset(config.data)
    numbers = np.asarray([7, 0, 150, 7, 31, 2])
    images, labels = sample.whole_images(net, dataset, "test", numbers)
    records = dataset.records("test")
    for image, label, number in zip(images, labels, numbers, strict=True):
        pixels, wanted, _ = records.read(int(number))
        np.testing.assert_array_equal(image, np.frombuffer(pixels, np.uint8).reshape(72, 72, 1))
        assert label == wanted
