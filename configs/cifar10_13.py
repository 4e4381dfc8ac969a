"""cuda-convnet's '13 %' net on CIFAR-10: two convolutions, two locally connected layers, ten views.

  python -m alexnet_jax.main prepare --config=configs/cifar10.py --source=cifar10.tar.xz
  python -m alexnet_jax.main --config=configs/cifar10_13.py

24 x 24 crops and flips; 500 epochs at 0.001, 10 at 0.0001, 10 at 0.00001. Its authors gave the first
350 on four fifths of the data. Published: 13 % test error. Not run by this project yet.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "cifar10_14")
    config.model.architecture = "cifar10_13"
    config.optimizer.weight_decay = 0.0
    config.optimizer.per_layer = ConfigDict(
        {name: {"kernel_weight_decay": 0.004} for name in ("local3", "local4", "fc5")}
    )
    config.schedule.steps = ((500, 1e-4), (510, 1e-5))
    config.train.epochs = 520.0
    return config
