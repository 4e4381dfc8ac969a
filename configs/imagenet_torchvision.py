"""torchvision's AlexNet (Krizhevsky 2014, "One weird trick") with the recipe of PyTorch's ImageNet example.

  python -m alexnet_jax.main prepare --config=configs/imagenet_torchvision.py --source=DIR
  python -m alexnet_jax.main --config=configs/imagenet_torchvision.py

Expected, by its authors: 56.522 % top-1 and 79.066 % top-5 accuracy on the validation set with the centre
view, which has the pixels of its documented transforms (docs/preprocessing.md). Not run by this project. Two
differences stay: its crops for training were of random size and shape, here they are 224 x 224 of 256 x 256;
and the learning rate stands inside the velocity, as in the paper, which acts at its drops. The popular
teaching variant, one channel and ten classes, is this net with --config.data.channels=1
--config.data.input_std=(127.5,) --config.model.classes=10 on a dataset of such images.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "imagenet")
    config.data.batch_size = 256
    config.data.lighting = 0.0
    config.data.mean = "rgb"
    config.data.resize_filter = "bilinear"
    config.data.resize_rounding = "torchvision"
    config.data.input_std = (0.229 * 255, 0.224 * 255, 0.225 * 255)

    config.model = ConfigDict()
    config.model.architecture = "torchvision"
    config.model.classes = 1000
    config.model.width = 1.0
    config.model.dropout = 0.5
    config.model.compute_dtype = "float32"

    config.optimizer.weight_decay = 0.0001
    config.optimizer.bias_weight_decay = 0.0001

    config.schedule.kind = "steps"
    config.schedule.steps = ((30, 0.001), (60, 0.0001))

    config.train.epochs = 90.0
    return config
