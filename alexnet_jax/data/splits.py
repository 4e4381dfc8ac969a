"""Which splits of a dataset train, validate and test, and whether its classes fit the net."""

from dataclasses import dataclass

from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError

HELD_OUT = ("train[:90%]", "train[90%:]")  # where a source has no split to select by, or to test on


@dataclass(frozen=True)
class Splits:
    """Splits that a dataset has, as TFDS writes them.

    Attributes:
      train: what trains.
      validation: what selects a checkpoint and drives the schedule; '' for none.
      test: what is evaluated when no split is named.
      notice: one clause for the user on what was chosen; '' where all is as the config says.
    """

    train: str
    validation: str
    test: str
    notice: str


def choose_splits(data: ConfigDict, available: list[str]) -> Splits:
    """Return the splits of `config.data`, those that the dataset lacks replaced by some that it has.

    Where validation is missing the last tenth of train is held out; the test split is then, in this order,
    `test`, `validation`, what validates, or the tenth. A train split that the config cuts itself stays.

    Args:
      data: `config.data`, for its three splits; it is not changed.
      available: names of the dataset's splits.
    """

    def missing(split: str) -> bool:
        return any(part.split("[")[0].strip() not in available for part in split.split("+")) and split != ""

    configured = train, validation, test = data.train_split, data.validation_split, data.test_split
    if missing(validation) and train == "train":
        train, validation = HELD_OUT
    if missing(test):
        named = [split for split in ("test", "validation") if split in available]
        if named or validation:
            test = (named or [validation])[0]
        elif train == "train":
            train, test = HELD_OUT
    notice = ""
    if configured != (train, validation, test):
        validates = f"{validation!r} validates" if validation else "nothing validates"
        notice = f"{train!r} trains, {validates}, {test!r} tests"
    return Splits(train, validation, test, notice)


def check_classes(present: int, classes: int, where: str) -> None:
    """Raise UsageError when the data at `where` has more classes, `present`, than the net; fewer may be."""
    if present > classes:
        raise UsageError(
            f"{where} has {present} classes and the net {classes}: set --config.model.classes={present}"
        )
