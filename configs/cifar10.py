"""cuda-convnet's '26 %' net on CIFAR-10 (its layers-80sec.cfg and layer-params-80sec.cfg).

  python -m alexnet_jax.main prepare --config=configs/cifar10.py --source=cifar10.tar.xz
  python -m alexnet_jax.main --config=configs/cifar10.py

Three convolutions and two fully connected layers, the whole 32 x 32 image, no augmentation, all 50,000
training images, so that nothing is selected: the last checkpoint is the result. Published: 26 % test
error after 80 seconds on a GTX 580.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "imagenet")
    config.data.name = "cifar10"
    config.data.size = 32
    config.data.crop = 32
    config.data.validation_split = ""
    config.data.test_split = "test"
    config.data.random_crop = False
    config.data.flip = False
    config.data.lighting = 0.0
    config.data.format = "raw"

    config.model = ConfigDict()
    config.model.architecture = "cifar10_26"
    config.model.classes = 10
    config.model.width = 1.0
    config.model.activation = "relu"
    config.model.compute_dtype = "float32"

    config.optimizer.weight_decay = 0.004
    config.optimizer.bias_weight_decay = 0.0
    config.optimizer.bias_rate_factor = 2.0
    config.optimizer.per_layer = ConfigDict(
        {"fc4": {"kernel_weight_decay": 0.03}, "fc5": {"kernel_weight_decay": 0.03}}
    )

    config.schedule.kind = "steps"
    config.schedule.learning_rate = 0.001
    config.schedule.steps = ((9, 0.0001),)

    config.train.epochs = 12.0
    config.train.flat_loss_steps = 2000
    config.evaluate.batch_size = 500
    config.evaluate.views = 1
    return config
