"""The released 2012 source's net 145 and its recipe on ILSVRC-2012 (layers/layer-params-145.cfg).

  python -m alexnet_jax.main prepare --config=configs/imagenet.py --source=DIR
  python -m alexnet_jax.main --config=configs/imagenet_2012_source.py

Expected, by its authors' log: 40.66 / 18.21 % top-1 / top-5 error on the validation set with ten views at
epoch 91, and 40.25 / 17.99 % at epoch 135, after the learning rate was pushed up again;
--config.train.epochs=91 leaves that out. Not run by this project.

The nets that its authors compared it with take the same recipe: --config.model.architecture= one of
source_132, source_145_half, source_146 (a sixth convolution), source_147, source_148, source_150.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "imagenet")
    config.data.lighting_divisor = 1.1
    config.data.lighting_off = ((67, 91), (124, 135))
    config.data.crop_sharing = 32

    config.model = ConfigDict()
    config.model.architecture = "alexnet_2012_source"
    config.model.classes = 1000
    config.model.width = 1.0
    config.model.dropout = 0.5
    config.model.compute_dtype = "float32"

    config.optimizer.bias_weight_decay = 0.0
    # conv1 is slowed at 67 and stops at 72; the log has it frozen to the end.
    config.optimizer.per_layer = ConfigDict({"conv1": {"kernel_steps": ((67, 1e-5),), "frozen_from": 72.0}})

    config.schedule.kind = "steps"
    config.schedule.steps = ((25, 1e-3), (51, 1e-4), (79, 1e-5), (91, 1e-3), (107, 1e-4), (124, 1e-5))
    config.schedule.bias_steps = ((0, 0.02),)  # the drops were the weights' alone

    config.train.epochs = 135.0
    return config
