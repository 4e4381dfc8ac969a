"""The check of a config, against a table by hand of what each key may hold."""

import math

import pytest
from ml_collections import ConfigDict

from alexnet_jax.config import compatibility, schema
from alexnet_jax.errors import UsageError
from configs import imagenet

TEXT = (("a path of at most 4096",), ("", "any text"), (1, None, "a" * 4097))
SPLIT = (("a TFDS split such as 'train[:90%]'",), ("train[:90%]",), ("", 1, None, "+train" * 1000))
FLAG = (("True or False",), (True, False), (1, 0, "True", None))
POSITIVE = (("a whole number from 1 to 1000000000",), (1, 10**6), (0, -1, 10**10, 1.0, "1", True))
BATCH = (("a whole number from 1 to 131072",), (1, 2**17), (0, -1, 2**17 + 1, 1.0, "1", True))
SIDE = (("a whole number from 1 to 4096",), (1, 4096), (0, -1, 4097, 10**9, 1.0, "1", True))
COUNT = (("a whole number from 0 to 1000000000",), (0, 5), (-1, 10**10, 0.0, False))
NOT_NEGATIVE = (
    ("a number from 0 to 1000000000",),
    (0, 0.0, 0.5, 3),
    (-0.1, 1e10, math.inf, math.nan, "0", True),
)
LENGTH = (("a number above 0",), (0.25, 1, 90.0), (0, 0.0, -1.0, 1e10, math.inf, math.nan, True))
PAIRS = (
    ("ascending",),
    ((), ((0, 0.1),), ((0.5, 0.1), (2, 0.01), (3, 0.1))),
    (
        ((2, 0.1), (1, 0.1)),
        ((1, 0.1), (1, 0.2)),
        ((-1, 0.1),),
        ((1, math.inf),),
        ((math.nan, 1),),
        tuple((number, 0.1) for number in range(1001)),
        ((1, -0.1),),
        ((1,),),
        (1, 2),
        ([1, 2],),
        "ab",
    ),
)

# {key: (words of the message, values that it may hold, values that it may not hold)}
KEYS = {
    "seed": (("a whole number from 0 to 4294967295",), (0, 2**32 - 1), (-1, 2**32, 1.0, True)),
    "data.name": (
        ("a name of lower-case letters",),
        ("cifar10", "a_b", ""),
        ("No-Name", "Name", "1a", 1, "a" * 101),
    ),
    "data.dir": TEXT,
    "data.size": SIDE,
    "data.crop": SIDE,
    "data.channels": (("1 or 3",), (3,), (0, 2, 4, 3.0)),
    "data.train_split": SPLIT,
    "data.validation_split": (
        ("a TFDS split, or '' for none",),
        ("train[90%:]",),
        (1, None, "+train" * 1000),
    ),
    "data.test_split": SPLIT,
    "data.batch_size": BATCH,
    "data.random_crop": FLAG,
    "data.flip": FLAG,
    "data.lighting": NOT_NEGATIVE,
    "data.lighting_form": (("'standard_deviation', 'eigenvalue'",), ("eigenvalue",), ("", "std", 1)),
    "data.lighting_divisor": LENGTH,
    "data.lighting_off": PAIRS,
    "data.crop_sharing": BATCH,
    "data.mean": (("'centre', 'crop', 'rgb', 'none'",), ("centre", "crop", "rgb", "none"), ("median", None)),
    "data.input_std": (
        ("one or three numbers above 0",),
        ((1.0,), (1, 2, 3)),
        ((), (1.0, 2.0), (0.0,), (math.inf,), ("1",), (1.0, -1.0, 1.0), 1.0, [1.0]),
    ),
    "data.exif_rotation": FLAG,
    "data.white_level": NOT_NEGATIVE,
    "data.resize": (("'cut', 'squash'",), ("cut", "squash"), ("crop", "", True)),
    "data.resize_filter": (
        ("'bicubic', 'bilinear', 'opencv_bilinear'",),
        ("bicubic", "bilinear", "opencv_bilinear"),
        ("linear", "lanczos", ""),
    ),
    "data.resize_rounding": (("'nearest', 'torchvision'",), ("nearest",), ("down", "", 1)),
    "data.format": (("'jpeg', 'raw'",), ("jpeg", "raw"), ("png", "")),
    "data.quality": (("a whole number from 1 to 100",), (1, 100), (0, 101, 95.0)),
    "data.max_rejected_share": (("a number from 0 to 1",), (0, 0.01, 1.0), (-0.1, 1.1, math.nan, "")),
    "data.resident": (("'auto', 'always', 'never'",), ("auto", "always", "never"), ("on", "", True)),
    "data.threads": (("a whole number from 0 to 1024",), (0, 1024), (-1, 1025, 0.0)),
    "data.workers": (("a whole number from -1 to 1024",), (-1, 0, 4), (-2, 1025, 1.0)),
    "optimizer.name": (("'momentum', 'lars'",), ("momentum", "lars"), ("adam", "")),
    "optimizer.trust_coefficient": LENGTH,
    "optimizer.momentum": (("a number from 0 to below 1",), (0, 0.0, 0.999), (1, 1.0, -0.1, math.nan)),
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.bias_weight_decay": NOT_NEGATIVE,
    "optimizer.bias_rate_factor": NOT_NEGATIVE,
    "schedule.kind": (("'constant', 'steps'",), ("constant", "polynomial"), ("cosine", "")),
    "schedule.learning_rate": LENGTH,
    "schedule.bias_steps": PAIRS,
    "schedule.factor": (("a number between 0 and 1",), (0.1, 0.5), (0, 1, 1.5, math.nan)),
    "schedule.patience": POSITIVE,
    "schedule.patience_steps": COUNT,
    "schedule.min_delta": NOT_NEGATIVE,
    "schedule.divisions": COUNT,
    "schedule.power": LENGTH,
    "schedule.warmup_epochs": NOT_NEGATIVE,
    "schedule.batch_scaling": (("'linear', 'square_root'",), ("none", "linear", "square_root"), ("root",)),
    "schedule.base_batch_size": BATCH,
    "train.init_from": TEXT,
    "train.epochs": LENGTH,
    "train.accumulate_steps": BATCH,
    "train.log_every_steps": POSITIVE,
    "train.evaluate_every_epochs": LENGTH,
    "train.flat_loss_steps": COUNT,
    "train.deterministic": FLAG,
    "train.stored_views": COUNT,
    "train.min_steps": COUNT,
    "optimizer.folds": (("from 2 to 100",), (2, 100), (1, 101, 2.0)),
    "evaluate.batch_size": BATCH,
    "evaluate.views": (("1 or 10",), (1, 10), (0, 5, 10.0)),
    "mesh.data": COUNT,
    "mesh.model": (("0, 1 or 2",), (0, 1, 2), (-1, 3)),
    "checkpoint.every_epochs": LENGTH,
    "checkpoint.keep": POSITIVE,
}
# So that one key can be changed alone: nothing divides a batch, no crop is larger than the image.
LARGE = {"data.size": 4096, "data.crop": 1, "data.batch_size": 2**17}


def changed(changes):
    config = imagenet.get_config()
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        part = config[section] if section else config
        if name in part:
            del part[name]  # else the new value would be cast to the old one's type
        part[name] = value
    return config


def complaint(config):
    with pytest.raises(UsageError) as error:
        schema.check(config)
    assert "\n" not in str(error.value)
    return str(error.value)


CASES = [(key, value, words) for key, (words, good, bad) in KEYS.items() for value in bad]


def test_the_table_has_every_key():
    """All but those of the model, which belong to the architecture, and three that other tests are about."""
    keys = {key for key in compatibility.flatten(imagenet.get_config()) if not key.startswith("model.")}
    assert keys - set(KEYS) == {"optimizer.per_layer", "optimizer.weight_decays", "schedule.steps"}
    assert set(KEYS) <= keys


@pytest.mark.parametrize("key", KEYS)
def test_what_a_key_may_hold(key):
    for value in KEYS[key][1]:
        other = {"train.accumulate_steps": 1, "data.crop_sharing": 1, "data.lighting": 0.1} | LARGE
        other |= {"schedule.kind": "constant"}  # for 'plateau' takes no pairs
        schema.check(changed(other | {key: value}))


@pytest.mark.parametrize(("key", "value", "words"), CASES, ids=str)
def test_what_a_key_may_not_hold(key, value, words):
    text = complaint(changed({key: value}))
    assert text.startswith(f"config.{key}={value!r}"[:200])
    assert ": it must be " in text
    assert len(text) < 500
    assert all(part in text for part in words)


@pytest.mark.parametrize("key", [*KEYS, "optimizer.per_layer", "schedule.steps", "model.architecture"])
def test_a_missing_key_is_named(key):
    config = imagenet.get_config()
    section, _, name = key.rpartition(".")
    del (config[section] if section else config)[name]
    if key == "model.architecture":
        assert complaint(config).startswith("config.model.architecture is missing: name a network")
    else:
        assert complaint(config) == f"config.{key} is missing; configs/imagenet.py shows it"


@pytest.mark.parametrize(
    "section", ["data", "optimizer", "schedule", "train", "evaluate", "mesh", "checkpoint"]
)
def test_sections_are_sections_and_unknown_keys_are_named(section):
    assert complaint(changed({section: 3})) == f"config.{section} is a section of keys, not 3"
    text = complaint(changed({f"{section}.speed": 1}))
    assert text.startswith(f"config.{section}.speed is not a known key; there are: ")
    assert all(name in text for name in imagenet.get_config()[section])


def test_an_unknown_section_is_named():
    assert complaint(changed({"colour": 1})).startswith(
        "config.colour is not a known key; there are: seed, data"
    )


def test_the_model_is_a_section_with_an_architecture_and_its_arguments():
    assert complaint(changed({"model": 3})).startswith("config.model.architecture is missing")
    assert complaint(changed({"model.classes": "3"})).startswith(
        "config.model.classes='3': it must be a whole"
    )
    schema.check(changed({"model": ConfigDict({"architecture": "of_my_own", "anything": 3})}))


RULES = {
    "kernel_rate_factor": NOT_NEGATIVE,
    "bias_rate_factor": NOT_NEGATIVE,
    "kernel_weight_decay": NOT_NEGATIVE,
    "bias_weight_decay": NOT_NEGATIVE,
    "kernel_steps": PAIRS,
    "frozen_from": NOT_NEGATIVE,
    "trust_ratio": FLAG,
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_of_a_layer(rule):
    """Each layer may have any of them."""
    words, good, bad = RULES[rule]
    for value in good:
        per_layer = ConfigDict({"conv1": {rule: value}})
        schema.check(changed({"optimizer.per_layer": per_layer, "schedule.kind": "constant"}))
    for value in bad:
        text = complaint(changed({"optimizer.per_layer": ConfigDict({"conv1": {rule: value}})}))
        assert text.startswith(f"config.optimizer.per_layer.conv1.{rule}={value!r}"[:200])
        assert words[0] in text


def test_rules_that_are_none():
    name = "config.optimizer.per_layer"
    rules = ConfigDict({"conv1": {"speed": 1.0}})
    assert complaint(changed({"optimizer.per_layer": rules})).startswith(
        f"{name}.conv1.speed is not a known key"
    )
    rules = ConfigDict({"conv1": 3})
    assert complaint(changed({"optimizer.per_layer": rules})).startswith(
        f"{name}.conv1=3: it must be {{key: value}}"
    )
    assert complaint(changed({"optimizer.per_layer": 3})) == f"{name}=3: it must be {{layer: {{key: value}}}}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.crop": 257}, "config.data.crop=257 is larger than the prepared images, config.data.size=256"),
        (
            {"data.resize": "squash", "data.resize_rounding": "torchvision"},
            "config.data.resize_rounding='torchvision' is of config.data.resize='cut'",
        ),
        (
            {"data.crop": 227, "data.resize_rounding": "torchvision"},
            "needs config.data.size=256 minus config.data.crop=227 to be a multiple of 4",
        ),
        ({"data.channels": 1}, "config.data.lighting needs three channels: set config.data.lighting=0.0"),
        ({"data.lighting": 0.0, "data.lighting_divisor": 1.1}, "acts only with lighting: set it to 1.0"),
        (
            {"data.channels": 1, "data.lighting": 0.0, "data.input_std": (1.0, 2.0, 3.0)},
            "config.data.input_std=(1.0, 2.0, 3.0) has 3 numbers for 1 channel(s)",
        ),
        (
            {"data.crop_sharing": 7},
            "config.data.batch_size=128 is not a multiple of config.data.crop_sharing=7",
        ),
        (
            {"train.accumulate_steps": 3},
            "config.data.batch_size=128 is not a multiple of config.train.accumulate_steps=3",
        ),
        (
            {"schedule.kind": "steps"},
            "config.schedule.kind='steps' with config.schedule.steps=(): 'steps' needs some",
        ),
        (
            {"schedule.kind": "constant", "schedule.steps": ((2, 0.1),)},
            "config.schedule.kind='constant' with config.schedule.steps=((2, 0.1),)",
        ),
        ({"schedule.steps": ((2, 0.1), (1, 0.1))}, "config.schedule.steps=((2, 0.1), (1, 0.1)): it must be"),
        ({"data.validation_split": ""}, "config.schedule.kind='plateau' needs config.data.validation_split"),
        (
            {"schedule.bias_steps": ((0, 0.02),)},
            "improving, and config.schedule.bias_steps gives some by epochs: use kind 'steps', or a rate",
        ),
        (
            {"optimizer.per_layer": ConfigDict({"conv1": {"kernel_steps": ((0, 0.01),)}})},
            "and config.optimizer.per_layer.conv1.kernel_steps gives some by epochs",
        ),
        (
            {
                "schedule.kind": "constant",
                "schedule.bias_steps": ((0, 0.02),),
                "optimizer.bias_rate_factor": 2.0,
            },
            "config.optimizer.bias_rate_factor=2.0 beside config.schedule.bias_steps=((0, 0.02),), which are",
        ),
    ],
    ids=str,
)
def test_configs_that_contradict_themselves(changes, words):
    assert words in complaint(changed(changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"data.crop": 256},
        {"data.resize_rounding": "torchvision"},
        {"data.size": 64, "data.crop": 64, "data.resize_rounding": "torchvision"},
        {"data.channels": 1, "data.lighting": 0.0, "data.input_std": (2.0,)},
        {"data.lighting_divisor": 1.1},
        {"data.crop_sharing": 32, "train.accumulate_steps": 64},
        {"schedule.kind": "steps", "schedule.steps": ((1, 0.1), (2, 0.1)), "data.validation_split": ""},
        {"schedule.kind": "constant", "data.validation_split": ""},
    ],
    ids=str,
)
def test_configs_that_do_not(changes):
    schema.check(changed(changes))


def lbfgs(**changes):
    at_once = {"optimizer.name": "lbfgs", "optimizer.weight_decays": (0.1,), "schedule.kind": "constant"}
    at_once |= {"model.probe": "pool5"}
    plain = {"data.random_crop": False, "data.flip": False, "data.lighting": 0.0}
    return changed(at_once | plain | changes)


def test_a_fit_at_once_needs_weight_decays_and_plain_images():
    schema.check(lbfgs())
    for changes, words in (
        ({"optimizer.weight_decays": ()}, "'lbfgs' chooses from some"),
        ({"optimizer.name": "momentum"}, "no other optimizer has any"),
        ({"optimizer.weight_decays": (0.1, -1.0)}, "numbers above 0"),
        ({"schedule.kind": "plateau"}, "config.schedule.kind='constant'"),
        ({"optimizer.per_layer": ConfigDict({"conv1": {"frozen_from": 0.0}})}, "per_layer"),
        ({"model.probe": ""}, "config.model.probe"),  # nothing would divide by the length that the fit has
        ({"data.flip": True}, "config.data.flip"),
        ({"data.random_crop": True}, "config.data.random_crop"),
        ({"data.lighting": 0.1}, "config.data.lighting"),
    ):
        assert words in complaint(lbfgs(**changes))
