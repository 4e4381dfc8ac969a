"""Caffe's AlexNet and its recipe on ILSVRC-2012 (models/bvlc_alexnet; CaffeNet by one key).

  python -m alexnet_jax.main prepare --config=configs/imagenet_caffe.py --source=DIR
  python -m alexnet_jax.main --config=configs/imagenet_caffe.py
  python -m alexnet_jax.main --config=configs/imagenet_caffe.py --config.model.architecture=caffenet

Expected, by its authors: 57.1 % top-1 and 80.2 % top-5 accuracy on the validation set with the centre view
(CaffeNet 57.4 and 80.4). Not run by this project. Images are squashed to 256 x 256 as Caffe's
convert_imageset does it (docs/preprocessing.md). A difference stays: its colours stood as blue, green, red,
which only matters to converted weights.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def epochs(iterations: int) -> float:
    """Caffe's iterations of 256 images in epochs of ILSVRC-2012."""
    return iterations * 256 / 1_281_167


def get_config() -> ConfigDict:
    config = find.base(__file__, "imagenet")
    config.data.crop = 227
    config.data.batch_size = 256
    config.data.lighting = 0.0
    config.data.mean = "crop"
    config.data.resize = "squash"
    config.data.resize_filter = "opencv_bilinear"

    config.model = ConfigDict()
    config.model.architecture = "caffe"
    config.model.classes = 1000
    config.model.width = 1.0
    config.model.dropout = 0.5
    config.model.compute_dtype = "float32"

    config.optimizer.bias_rate_factor = 2.0
    config.optimizer.bias_weight_decay = 0.0

    config.schedule.kind = "steps"
    config.schedule.steps = tuple((epochs(100_000 * i), 0.01 / 10**i) for i in (1, 2, 3, 4))

    config.train.epochs = epochs(450_000)
    return config
