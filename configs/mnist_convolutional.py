"""Convolutions on MNIST: cuda-convnet's '26 %' net and its recipe, on one channel of 28 x 28.

python -m alexnet_jax.main prepare --config=configs/mnist.py --source=FOLDER_WITH_THE_IDX_FILES
python -m alexnet_jax.main --config=configs/mnist_convolutional.py
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "cifar10")
    config.data = find.base(__file__, "mnist").data
    config.data.batch_size = 128
    config.data.mean = "centre"
    config.data.input_std = (1.0,)

    config.schedule.steps = ((6, 0.0001),)
    config.train.epochs = 8.0
    return config
