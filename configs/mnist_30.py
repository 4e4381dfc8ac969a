"""The small net that reads digits with twice the hidden units: 784-30-10, 23,860 parameters.

python -m alexnet_jax.main prepare --config=configs/mnist.py --source=FOLDER_WITH_THE_IDX_FILES
python -m alexnet_jax.main --config=configs/mnist_30.py
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "mnist")
    config.model.hidden = (30,)
    return config
