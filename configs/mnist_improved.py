"""The small net as it is popularly improved: 784-100-10, weight decay, more epochs, a falling learning rate.

  python -m alexnet_jax.main prepare --config=configs/mnist.py --source=FOLDER_WITH_THE_IDX_FILES
  python -m alexnet_jax.main --config=configs/mnist_improved.py

79,510 parameters.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "mnist")
    config.model.hidden = (100,)
    config.optimizer.weight_decay = 1e-4  # of the kernels alone
    config.schedule.kind = "steps"
    config.schedule.steps = ((20, 0.05),)
    config.train.epochs = 25.0
    return config
