"""The smallest net that reads digits: 784-15-10 sigmoid units on MNIST, plain gradient descent.

  python -m alexnet_jax.main prepare --config=configs/mnist.py --source=FOLDER_WITH_THE_IDX_FILES
  python -m alexnet_jax.main --config=configs/mnist.py

11,935 parameters. One twelfth of the training images is held out.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "imagenet")
    config.data.name = "mnist"
    config.data.size = 28
    config.data.crop = 28
    config.data.channels = 1
    config.data.train_split = "train[:55000]"
    config.data.validation_split = "train[55000:]"
    config.data.test_split = "test"
    config.data.batch_size = 10
    config.data.random_crop = False
    config.data.flip = False
    config.data.lighting = 0.0
    config.data.mean = "none"
    config.data.input_std = (255.0,)
    config.data.format = "raw"

    config.model = ConfigDict()
    config.model.architecture = "fully_connected"
    config.model.classes = 10
    config.model.hidden = (15,)
    config.model.activation = "sigmoid"
    config.model.compute_dtype = "float32"

    config.optimizer.momentum = 0.0
    config.optimizer.weight_decay = 0.0
    config.optimizer.bias_weight_decay = 0.0

    config.schedule.kind = "constant"
    config.schedule.learning_rate = 0.5

    config.train.epochs = 10.0
    config.train.log_every_steps = 500
    config.evaluate.batch_size = 1000
    config.evaluate.views = 1
    return config
