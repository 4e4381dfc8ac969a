"""The paper's network and recipe on ILSVRC-2012 (Krizhevsky, Sutskever, Hinton 2012, sections 3 to 5).

  python -m alexnet_jax.main prepare --config=configs/imagenet.py --source=DIR
  python -m alexnet_jax.main --config=configs/imagenet.py

Expected: 40.7 % top-1 and 18.2 % top-5 error on the validation set with ten views (paper, table 2),
after about 90 epochs: 5 to 6 days on two GTX 580. Not run by this project.
Every key stands here, of config.model those of this net; the other configs name what they change.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 2012

    config.data = ConfigDict()
    config.data.name = "imagenet2012"
    config.data.dir = ""  # empty: $TFDS_DATA_DIR, else ~/tensorflow_datasets
    config.data.size = 256  # sides of a prepared image
    config.data.crop = 224  # sides of what the net sees
    config.data.channels = 3
    config.data.train_split = "train"
    config.data.validation_split = "validation"
    config.data.test_split = "validation"
    config.data.batch_size = 128
    config.data.random_crop = True  # section 4.1; False: the centre
    config.data.flip = True  # section 4.1
    config.data.lighting = 0.1  # standard deviation of alpha, section 4.1; 0: none
    # 'standard_deviation': alpha times the standard deviation along each axis, as the 2012 source does;
    # 'eigenvalue': alpha times the eigenvalue on the 0-1 scale, as Torch's and TensorFlow's ports do.
    config.data.lighting_form = "standard_deviation"
    config.data.lighting_divisor = 1.0  # the 2012 source: 1.1, while lighting is on
    config.data.lighting_off = ()  # pairs of epochs (from, to) without lighting
    config.data.crop_sharing = 1  # images that share a crop and a flip; the 2012 source: 32
    config.data.mean = "centre"  # 'centre' or 'crop' of the mean image, 'rgb', or 'none'
    config.data.input_std = (1.0,)  # grey levels that one unit of the input stands for, one or one a channel
    config.data.exif_rotation = False  # whether images are turned as their EXIF entry says
    config.data.white_level = (
        0.0  # which value is white in images of more than 8 bits; 0: as the file declares
    )
    config.data.resize = "cut"  # short side to size, and the centre; 'squash': both sides to size, as Caffe
    # With antialiasing 'bicubic' or 'bilinear'; without it 'opencv_bilinear', as Caffe.
    config.data.resize_filter = "bicubic"
    config.data.resize_rounding = "nearest"  # of the long side and of the centre's place, or 'torchvision'
    config.data.format = "jpeg"  # or 'raw'
    config.data.quality = 95
    config.data.max_rejected_share = 0.01  # of images that cannot be decoded; one is always left out; 0: none
    # 'auto': where all images have room, they are decoded once and lie on the devices; 'always', 'never'.
    config.data.resident = "auto"
    config.data.threads = 0  # of the input, and processes of prepare; 0: one for each core
    # Worker processes that read; 0: threads alone; -1: none on a CPU, else one for four cores.
    config.data.workers = -1

    config.model = ConfigDict()
    config.model.architecture = "alexnet_2012"
    config.model.classes = 1000  # 0: as many as the data has
    config.model.width = 1.0
    config.model.towers = 2
    config.model.communicate_at = ("conv3", "fc6", "fc7")  # layers that read both towers, figure 2
    config.model.without = ()  # middle layers left out, section 7
    config.model.activation = "relu"
    config.model.lrn = True
    config.model.lrn_constants = (2.0, 1e-4, 0.75)  # k, alpha and beta, section 3.3
    config.model.features = (96, 256, 384, 384, 256)  # of conv1 to conv5
    config.model.pool_size = 3  # with stride 2: overlapping, section 3.4
    config.model.dropout = 0.5  # fc6 and fc7, section 4.2
    config.model.compute_dtype = "float32"

    config.optimizer = ConfigDict()
    # Section 5; or 'lars', for large batches; 'lbfgs' fits the last layer at once (configs/linear_probe.py).
    config.optimizer.name = "momentum"
    config.optimizer.trust_coefficient = 0.001  # LARS
    config.optimizer.weight_decays = ()  # 'lbfgs': from which cross-validation chooses
    config.optimizer.folds = 5  # of the cross-validation
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 0.0005
    config.optimizer.bias_weight_decay = 0.0005  # the paper's formula has w for all; the 2012 source: 0
    config.optimizer.bias_rate_factor = 1.0  # the 2012 source: 2
    # {layer: {any of kernel_rate_factor, bias_rate_factor, kernel_weight_decay, bias_weight_decay;
    #   kernel_steps: as schedule.bias_steps, of this kernel; frozen_from: an epoch;
    #   trust_ratio: whether LARS scales the kernel's steps by its norm}}
    config.optimizer.per_layer = ConfigDict()

    config.schedule = ConfigDict()
    config.schedule.kind = "plateau"  # section 5; or 'steps', 'constant', 'polynomial'
    config.schedule.learning_rate = 0.01
    config.schedule.steps = ()  # kind 'steps': pairs (epoch, learning rate from there on)
    # Pairs (epoch, learning rate of the biases from there on), instead of what `kind` gives, which cannot be
    # 'plateau'; warm-up, batch_scaling and the factors of per_layer multiply it, and bias_rate_factor is 1.0.
    config.schedule.bias_steps = ()
    config.schedule.factor = 0.1  # kind 'plateau', and the five below
    config.schedule.patience = 5  # epochs
    config.schedule.patience_steps = 1000  # and as many steps: 5 epochs of ImageNet are 50,000
    config.schedule.min_delta = 0.001  # top-1 error, as a fraction
    config.schedule.divisions = 3  # the wait after the last one ends the run
    config.schedule.power = 2.0  # kind 'polynomial': falls with (1 - epoch / train.epochs) ** power
    config.schedule.warmup_epochs = 0.0  # in which the learning rate rises from 0
    # 'linear' or 'square_root': learning rates are for batches of base_batch_size; they grow with batch_size
    config.schedule.batch_scaling = "none"
    config.schedule.base_batch_size = 128

    config.train = ConfigDict()
    config.train.init_from = ""  # workdir or pretrained:NAME whose layers but the last this run starts from
    config.train.epochs = 100.0  # the only length; the plateau rule may end the run before
    config.train.min_steps = 0  # updates that the run makes at least: few images are seen in more epochs
    # Views of each image of which the values of frozen layers are computed once; 0: one where images are
    # neither cropped at random, flipped nor lit, else none, and each step computes all layers.
    config.train.stored_views = 0
    config.train.accumulate_steps = 1  # parts in which a batch is computed, where memory is short
    config.train.log_every_steps = 100
    config.train.evaluate_every_epochs = 1.0
    # Steps after which a loss still at ln(classes) is reported, as it is at the run's end; 0: never.
    config.train.flat_loss_steps = 2000
    config.train.deterministic = False  # on a GPU: the same bits at every run, slower

    config.evaluate = ConfigDict()
    config.evaluate.batch_size = 128
    config.evaluate.views = 10

    config.mesh = ConfigDict()
    config.mesh.data = 0  # 0: as many as the devices allow
    config.mesh.model = 0  # 0: 2, a tower a device, where there are two devices or more

    config.checkpoint = ConfigDict()
    config.checkpoint.every_epochs = 1.0
    config.checkpoint.keep = 3  # the last ones; the best by validation error is kept too
    return config
