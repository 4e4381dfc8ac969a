"""ImageNet-trained features for one's own images: torchvision's AlexNet with a new head.

  python -m alexnet_jax.main convert torchvision --output=runs/torchvision
  python -m alexnet_jax.main --config=configs/finetune.py --source=photos/ --workdir=runs/photos

photos/ holds a folder for each class; a tenth is held out to validate and test on, unless there are folders
train/, val/ and test/. Weights of the convolutions alone will do: the layers that are missing are drawn anew.
Another net's weights: config.train.init_from, and its architecture, crop, mean and input_std.

The convolutions stay as they are, and no gradient is computed for them. To let the last one learn slowly:
--config.optimizer.per_layer="{'conv5': {'kernel_rate_factor': 0.1, 'bias_rate_factor': 0.1}}". With fewer
than 128 images make data.batch_size smaller and the learning rates with it. Measured on
Caltech-101 with images scaled as the paper's, see docs/measurements.md.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "imagenet_torchvision")
    config.data.name = ""  # that of the source's folder
    config.data.test_split = "test"
    config.data.batch_size = 128
    config.data.exif_rotation = True
    # Under convolutions that stay as they are, crops and mirror images cost 1.5 to 1.9 points on Caltech-101
    # in each of three seeds (docs/measurements.md). Where convolutions are trained, turn them on.
    config.data.random_crop = False
    config.data.flip = False
    config.model.classes = 0

    config.train.init_from = "runs/torchvision"
    config.optimizer.bias_weight_decay = 0.0
    config.optimizer.per_layer = ConfigDict({f"conv{i}": {"frozen_from": 0.0} for i in (1, 2, 3, 4, 5)})
    config.schedule.learning_rate = 0.02
    config.schedule.steps = ((7, 0.002), (9, 0.0002))
    config.train.epochs = 10.0
    config.train.log_every_steps = 10
    config.train.flat_loss_steps = 500
    config.checkpoint.every_epochs = 5.0
    config.evaluate.batch_size = 64
    return config
