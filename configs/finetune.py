"""ImageNet-trained features for one's own images: torchvision's AlexNet with a new head.

  python -m alexnet_jax.main convert torchvision --output=runs/torchvision
  python -m alexnet_jax.main --config=configs/finetune.py --source=photos/ --workdir=runs/photos

photos/ holds a folder for each class. All images of the training split are trained on, and nothing is
selected; the images of a folder test/ are for `evaluate`, and without one a tenth is held out for it. Weights
of the convolutions alone will do: the head is a linear layer on the deepest layer that the weights hold.
Another net's weights: config.train.init_from, and its architecture, crop, mean and input_std.

The convolutions stay as they are: their values are computed once for each image. Layers between them and the
head, where the weights hold some, are trained with it. To let the last convolution learn slowly, too:
--config.optimizer.per_layer.conv5="{'kernel_rate_factor': 0.1, 'bias_rate_factor': 0.1}". What this gives
with few and with many images a class stands in docs/fine_tuning.md, beside configs/linear_probe.py.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "imagenet_torchvision")
    config.data.name = ""  # that of the source's folder
    config.data.validation_split = ""
    config.data.test_split = "test"
    config.data.batch_size = 32
    config.data.exif_rotation = True
    # Under convolutions that stay as they are, crops and flips cost 1.5 to 1.9 points on Caltech-101
    # in each of three seeds (docs/fine_tuning.md). Where convolutions are trained, turn them on.
    config.data.random_crop = False
    config.data.flip = False
    config.model.classes = 0
    config.model.probe = "deepest"

    config.train.init_from = "runs/torchvision"
    config.optimizer.bias_weight_decay = 0.0
    config.optimizer.per_layer = ConfigDict({f"conv{i}": {"frozen_from": 0.0} for i in (1, 2, 3, 4, 5)})
    # Measured with 5 to 100 images a class (docs/fine_tuning.md): batches of 32 at this learning rate,
    # falling to 0, for ten epochs or a thousand updates, whichever is more. A batch that is more than the
    # images is halved.
    config.schedule.kind = "polynomial"
    config.schedule.steps = ()
    config.schedule.power = 1.0
    config.schedule.learning_rate = 0.001
    config.train.epochs = 10.0
    config.train.min_steps = 1000
    config.train.log_every_steps = 100
    config.train.flat_loss_steps = 500
    config.checkpoint.every_epochs = 100.0
    config.checkpoint.keep = 1
    config.evaluate.batch_size = 64
    config.evaluate.views = 1  # as it is trained
    return config
