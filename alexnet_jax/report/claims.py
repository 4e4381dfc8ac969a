"""What the paper, the 2012 source and cuda-convnet claim that recorded runs can speak about.

A line of `CLAIMS` is a line of the first table of the page of results. It names the runs that speak about a
claim by their experiment, as `results.row_of` writes it; one without runs stands on the page as not run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# Keys of an experiment in which runs may differ from what a claim names.
RATE = ("schedule.kind", "schedule.learning_rate", "schedule.steps")
LENGTH = ("data.train_split", "train.epochs")

REPRODUCED, NOT_SHOWN, CONTRADICTS = "reproduced", "not shown", "contradicts"
NOT_RUN, NO_CLAIM = "not run", "no claim"
REACHED, MISSED = "reached", "missed"  # an aim of this project
RULE = """\
- A *figure* is reproduced where our mean is within 0.5 points of the published one (from one run, too, as the
  published ones are), or where our interval holds the published one and reaches no further than 1 point to
  either side. The runs contradict it where the whole interval is further away than 0.5 points.
- A *factor* likewise, with 1 for 0.5 points, but not from one run.
- A *difference* is reproduced where the whole interval lies on the published side of 0, and contradicted
  where it lies on the other. Its size is not judged, for our nets and images are smaller.
- A *published difference of 0* has no side: it is judged as a figure, though not from one run.
- An *aim* of this project is reached where the mean of two runs or more is no more than it, and missed where
  the whole interval is more.
- All else is *not shown*: an interval that holds both signs, or one run where an interval is needed.

Intervals are of 95 %, by Student's t from the spread over seeds: Welch's for differences, of the logarithms
for factors, of the differences of each run where one run is measured in two ways."""


@dataclass(frozen=True)
class Claim:
    """One published statement and the runs that speak about it.

    Attributes:
      words: the statement, in plain words.
      said: what was published, in words.
      source: where it was published.
      rule: 'near' the published figure, 'at most' it, 'more' or 'less' than the base; 'none' where nobody
        published the like.
      arm: the experiment, with no more words than each of its runs has.
      base: the experiment with which it is compared; '' where the arm's own value is the figure.
      published: the figure or the difference: percent or points for errors, else as the value is; None where
        nobody gave a number.
      value: which of a row's values.
      factor: whether the arm's value is divided by the base's; else it is the arm's less the base's.
      views: with how many an image is evaluated; the base's own are the last. None: any number.
      alike: keys of an experiment that the claim leaves open and that both sides share: of those that were
        run the longest with two seeds and more counts.
      own: keys that each side may have its own best of.
      setting: how our runs differ from the published ones, in words.
      figure: the name of the figure that shows it.
      short: its name there.
    """

    words: str
    said: str
    source: str
    rule: str
    arm: str
    base: str = ""
    published: float | None = None
    value: str = "top1_error"
    factor: bool = False
    views: tuple[int | None, ...] = (1,)
    alike: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    setting: str = ""
    figure: str = ""
    short: str = ""

    @property
    def margin(self) -> float:
        """Return how far a figure may be from the published one."""
        return 1.0 if self.factor else 0.5

    @property
    def unit(self) -> str:
        """Return the unit of the figure or the difference."""
        if self.factor:
            return "times"
        if not self.value.endswith("error"):
            return ""
        return "points" if self.base else "%"


def verdict(claim: Claim, mean: float | None, interval: tuple[float, float] | None) -> str:
    """Return what runs with this mean and this 95 % interval (None: one run) say about a claim, by `RULE`."""
    if mean is None:
        return NOT_RUN
    if claim.rule == "none":
        return NO_CLAIM
    low, high = interval or (-float("inf"), float("inf"))
    if claim.rule in ("more", "less"):
        sign = 1 if claim.rule == "more" else -1
        least, most = sorted((sign * low, sign * high))
        return REPRODUCED if least > 0 else CONTRADICTS if most < 0 else NOT_SHOWN
    if not interval and (claim.base or claim.rule == "at most"):
        return NOT_SHOWN
    assert claim.published is not None
    published, margin = claim.published, claim.margin
    if claim.rule == "at most":
        return REACHED if mean <= published else MISSED if low > published else NOT_SHOWN
    narrow = max(high - mean, mean - low) <= 2 * margin
    if abs(mean - published) <= margin or (narrow and low <= published <= high):
        return REPRODUCED
    outside = low > published + margin or high < published - margin
    return CONTRADICTS if outside else NOT_SHOWN


def _net(name: str, config: str, error: float, views: int = 1, where: str = "cuda-convnet") -> Claim:
    """Return the claim that names one of cuda-convnet's nets by its error."""
    return Claim(
        f"Test error of cuda-convnet's {name} net on CIFAR-10",
        f"{error:g} %",
        where,
        "near",
        config,
        published=error,
        views=(views,),
        figure="nets",
        short=f"{name} net",
    )


_SMALL = "quarter width, on CIFAR-10"


def _ablation(
    words: str,
    short: str,
    change: str,
    published: float | None,
    source: str,
    setting: str = _SMALL,
) -> Claim:
    """Return the claim that a change of the paper's net makes it worse."""
    return Claim(
        words,
        "more error" if published is None else f"{published:+g} points",
        source,
        "more",
        f"cifar10_alexnet {change}",
        "cifar10_alexnet",
        published,
        alike=LENGTH,
        own=RATE,
        setting=setting,
        figure="ablations",
        short=short,
    )


_CALTECH = (
    "imagenet data.batch_size=32 data.exif_rotation=True data.name=caltech data.test_split=test "
    "data.validation_split= model.classes=101 model.width=0.125 schedule.kind=steps "
    'schedule.steps="((30, 0.001),)" train.epochs=40.0'
)
_NARROW_11 = 'cifar10_11 model.width=0.25 schedule.steps="((26, 0.0001), (28, 1e-05))" train.epochs=30.0'

CLAIMS = (
    Claim(
        "Top-1 error of the paper's net on ILSVRC-2012, ten views",
        "40.7 %",
        "paper, table 2",
        "near",
        "imagenet",
        published=40.7,
        views=(10,),
    ),
    _net('"26 %"', "cifar10", 26.0),
    _net('"19 %"', "cifar10_19", 19.0),
    _net('"18 %"', "cifar10_18", 18.0),
    _net('"14 %"', "cifar10_14", 14.2, 10),
    _net('"13 %"', "cifar10_13", 13.0, 10),
    _net('"11 %"', "cifar10_11", 11.0, 10, "cuda-convnet; paper, 3.3"),
    Claim(
        "ReLU comes to 25 % training error in a sixth of the epochs that tanh needs",
        "6 times",
        "paper, figure 1",
        "near",
        "cifar10_figure_1 model.activation=tanh",
        "cifar10_figure_1",
        6.0,
        value="epochs_to_25_percent",
        factor=True,
        views=(None,),
        own=(*RATE, "train.epochs"),
        figure="figure_1",
    ),
    Claim(
        "The 18 % net, the 19 % net with normalisation, has a lower error",
        "-1 point",
        "cuda-convnet",
        "less",
        "cifar10_18",
        "cifar10_19",
        -1.0,
    ),
    Claim(
        "With images compressed once more, as JPEG, the error of the 19 % net",
        "not published",
        "",
        "none",
        "cifar10_19 data.format=jpeg data.name=cifar10_60 data.quality=60",
        "cifar10_19",
        setting="quality 60, on the JPEG copy of the images that all our runs have",
    ),
    Claim(
        "Without response normalisation the 11 % net has a higher error",
        "+2 points",
        "paper, 3.3",
        "more",
        _NARROW_11.replace("model.width", "model.lrn=False model.width"),
        _NARROW_11,
        2.0,
        views=(10,),
        setting="quarter width, 30 of 520 epochs",
        figure="ablations",
        short="no normalisation, 11 % net",
    ),
    Claim(
        "At twice the length, the error of the net with which the ablations are compared",
        "not published",
        "",
        "none",
        "cifar10_alexnet data.train_split=train train.epochs=60.0",
        "cifar10_alexnet data.train_split=train train.epochs=30.0",
        own=RATE,
        setting=_SMALL,
    ),
    _ablation(
        "Without response normalisation the paper's net has a higher error",
        "no normalisation, paper's net",
        "model.lrn=False",
        1.4,
        "paper, 3.3; 2012 source, log of net 148",
    ),
    replace(
        _ablation(
            "With a division by 2^0.75 in the place of response normalisation, where channels do not compete",
            "division by a constant",
            'model.lrn_constants="(2.0, 0.0, 0.75)"',
            None,
            "",
        ),
        said="not published",
        rule="none",
    ),
    _ablation(
        "Pools that do not overlap raise the error",
        "pools that do not overlap",
        "model.pool_size=2",
        0.4,
        "paper, 3.4; 2012 source, log of net 147",
    ),
    _ablation(
        "One tower with half the channels in the middle has a higher error than two",
        "one tower, half the channels",
        'model.features="(48, 128, 192, 192, 256)" model.towers=1',
        1.7,
        "paper, 3.2; 2012 source, log of net 145-half",
    ),
    replace(
        _ablation(
            "One tower with all the channels, so with more connections than two have",
            "one tower, all channels",
            "model.towers=1",
            None,
            "",
        ),
        said="not published",
        rule="none",
    ),
    _ablation(
        "Towers that meet in the last layer alone raise the error",
        "towers apart to the last layer",
        'model.communicate_at="()"',
        1.2,
        "2012 source, log of net 150",
        setting=f"{_SMALL}, without the source's wider layers that make up for it",
    ),
    _ablation(
        "Without dropout the net overfits substantially",
        "no dropout",
        "model.dropout=0.0",
        None,
        "paper, 4.2",
    ),
    _ablation(
        "Without random crops and reflections the net overfits substantially",
        "no crops, no reflections",
        "data.flip=False data.random_crop=False",
        None,
        "paper, 4.1",
    ),
    Claim(
        "With tanh instead of ReLU the net learns more slowly",
        "more training error",
        "paper, 3.1",
        "more",
        "cifar10_alexnet model.activation=tanh",
        "cifar10_alexnet",
        value="train_top1_error",
        alike=LENGTH,
        own=RATE,
        setting=_SMALL,
    ),
    Claim(
        "Of the two towers one specialises in colour, in every run",
        "more than chance",
        "paper, 6.1 and figure 3",
        "more",
        "cifar10_alexnet",
        "cifar10_alexnet model.towers=1",
        value="specialisation",
        alike=LENGTH,
        own=RATE,
        setting=f"{_SMALL}; two towers less the halves of one, which is chance",
    ),
    Claim(
        "One view has a higher error than the mean of ten",
        "+1.5 points",
        "paper, 6; 2012 source, log of net 145",
        "more",
        _CALTECH,
        _CALTECH,
        1.5,
        views=(1, 10),
        setting="eighth width, on Caltech-101",
    ),
    Claim(
        "Weights of ImageNet give a lower error on Caltech-101 (mean over classes) than a net from scratch",
        "-40 points",
        "Zeiler and Fergus 2014",
        "less",
        "finetune data.batch_size=128 data.name=caltech data.resize_filter=bicubic "
        "data.resize_rounding=nearest model.classes=101 model.probe= schedule.kind=steps "
        'schedule.learning_rate=0.02 schedule.steps="((7, 0.002), (9, 0.0002))" '
        "train.init_from=runs/run_tv",
        "imagenet_torchvision data.batch_size=16 data.exif_rotation=True data.name=caltech "
        "data.resize_filter=bicubic data.resize_rounding=nearest data.test_split=test "
        "data.validation_split= model.classes=101 optimizer.bias_weight_decay=0.0 "
        'schedule.steps="((8, 0.001), (9, 0.0001))" train.epochs=10.0',
        -40.0,
        value="mean_class_error",
        setting="torchvision's net; ten epochs are too short from scratch, so the size says little",
    ),
    Claim(
        "LARS trains with batches of 1,024 as well as batches of 128 do",
        "0 points",
        "You, Gitman and Ginsburg 2017, AlexNet to 8K",
        "near",
        "cifar10_large_batch",
        _NARROW_11,
        0.0,
        views=(10,),
        setting="11 % net, quarter width, on CIFAR-10",
    ),
    *(
        Claim(
            f"Test error on MNIST of {words}",
            f"at most {error:g} %",
            "this project's aim",
            "at most",
            config,
            published=error,
        )
        for words, config, error in (
            ("784-15-10 sigmoid units", "mnist", 6.0),
            ("784-30-10 sigmoid units", "mnist_30", 5.0),
            ("784-100-10 sigmoid units, improved", "mnist_improved", 2.0),
            ("the 26 % net's convolutions", "mnist_convolutional", 1.0),
        )
    ),
)
