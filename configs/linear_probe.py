"""A linear layer on the features of a trained net, fitted at once: multinomial logistic regression.

  python -m alexnet_jax.main convert torchvision --output=runs/torchvision
  python -m alexnet_jax.main --config=configs/linear_probe.py --source=photos/ --workdir=runs/photos_probe

photos/ holds a folder for each class. All images of the training split are fitted, by L-BFGS; how strongly
the layer is held small is chosen by cross-validation on them, whose error is printed. The images of a folder
test/ are for `evaluate`; without one a tenth is held out for it. Any layer can be read:
--config.model.probe=conv3; 'deepest' is the last before the classes that the weights hold. Another net's
weights: config.train.init_from, and its architecture, crop, mean and input_std.
"""

from ml_collections import ConfigDict

from alexnet_jax.config import find


def get_config() -> ConfigDict:
    config = find.base(__file__, "finetune")
    config.optimizer.name = "lbfgs"
    config.optimizer.per_layer = ConfigDict()
    config.optimizer.weight_decay = 0.0
    # For inputs of length 1; for N images scikit-learn's C is 1 / (weight decay * N).
    config.optimizer.weight_decays = (
        0.01,
        0.003,
        0.001,
        0.0003,
        0.0001,
        0.00003,
        0.00001,
        0.000003,
        0.000001,
    )
    config.schedule.kind = "constant"
    config.train.epochs = 1.0
    config.train.min_steps = 1
    return config
