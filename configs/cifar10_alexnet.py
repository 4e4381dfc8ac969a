"""The paper's network and recipe, shrunk for two cores: a quarter of its width, CIFAR-10 at 64 pixels.

  python -m alexnet_jax.main prepare --config=configs/cifar10_alexnet.py --source=cifar10.tar.xz
  python -m alexnet_jax.main --config=configs/cifar10_alexnet.py

For the paper's ablations and the specialisation of its towers, whose keys and results stand in
docs/RESULTS.md: minutes a run. Images are enlarged to 72 pixels, so that conv1's windows of 11 are 5 of
CIFAR-10's own; feature maps have sides of 15, 7, 3, 3, 3 and, after pool5, 1. 20,000 of the 50,000 training
images are 64 parameters an image, where the paper has 50. Nothing is selected: the last checkpoint is the
result.
Expected: 35.3 % test error from the centre view (3 seeds), in 5 minutes of steps on one idle core.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "imagenet")
    config.data.name = "cifar10"
    config.data.size = 72
    config.data.crop = 64
    config.data.train_split = "train[:40%]"
    config.data.validation_split = ""
    config.data.test_split = "test"
    config.data.format = "raw"

    config.model.classes = 10
    config.model.width = 0.25

    config.schedule.kind = "steps"
    config.schedule.steps = ((16, 0.001),)

    config.train.epochs = 20.0
    config.evaluate.batch_size = 500
    config.evaluate.views = 1
    return config
