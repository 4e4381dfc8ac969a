"""The paper's figure 1 on CIFAR-10: a four-layer net with ReLU or tanh, without any regularisation.

  python -m alexnet_jax.main prepare --config=configs/cifar10.py --source=cifar10.tar.xz
  python -m alexnet_jax.main --config=configs/cifar10_figure_1.py --workdir=runs/relu
  python -m alexnet_jax.main --config=configs/cifar10_figure_1.py --workdir=runs/tanh \\
    --config.model.activation=tanh --config.schedule.learning_rate=0.016 --config.train.epochs=47
  python -m alexnet_jax.main report --results --workdir=runs/relu --workdir=runs/tanh

The paper names neither the net nor the learning rates; it chose each "to make training as fast as
possible". This is cuda-convnet's net of three convolutions and one fully connected layer. The learning rates
are those that gave the least training error after three epochs, of 0.0005, 0.001, and so on by doubling;
with ReLU 0.002 and 0.004 gave the same, and the greater of them was taken.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "cifar10_19")
    config.optimizer.weight_decay = 0.0
    config.optimizer.per_layer = ConfigDict()
    config.schedule.kind = "constant"
    config.schedule.steps = ()
    config.schedule.learning_rate = 0.004
    config.train.epochs = 12.0
    return config
