"""cuda-convnet's '19 %' net on CIFAR-10: the 26 % net without its hidden fully connected layer.

  python -m alexnet_jax.main prepare --config=configs/cifar10.py --source=cifar10.tar.xz
  python -m alexnet_jax.main --config=configs/cifar10_19.py

Weight decay by its layer-params-19pct.cfg; the length is this project's choice, after the 18 % net's.
Without decay it is the net of configs/cifar10_figure_1.py.
Published: 19 % test error. Here, from a JPEG copy of the images: 20.28 %, one seed (docs/RESULTS.md).
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "cifar10")
    config.model.architecture = "cifar10_19"
    config.optimizer.per_layer = ConfigDict({"fc4": {"kernel_weight_decay": 3.0}})
    config.schedule.steps = ((120, 1e-4), (130, 1e-5))
    config.train.epochs = 140.0
    return config
