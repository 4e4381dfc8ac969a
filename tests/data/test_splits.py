"""The choice of splits by a table written by hand."""

import pytest
from ml_collections import ConfigDict, FrozenConfigDict

from alexnet_jax.data.splits import HELD_OUT, Splits, check_classes, choose_splits
from alexnet_jax.errors import UsageError


@pytest.mark.parametrize(
    ("given", "there", "want"),
    [
        (("train", "validation", "validation"), "train validation", ("train", "validation", "validation")),
        (("train", "validation", "validation"), "train", ("train[:90%]", "train[90%:]", "train[90%:]")),
        (("train", "validation", "validation"), "test train", ("train[:90%]", "train[90%:]", "test")),
        (("train", "", "test"), "train", ("train[:90%]", "", "train[90%:]")),
        (("train", "", "test"), "train validation", ("train", "", "validation")),
        (("train", "", "test"), "test train", ("train", "", "test")),
        (("train[:80%]", "train[80%:]", "test"), "train", ("train[:80%]", "train[80%:]", "train[80%:]")),
        (("train[:80%]", "validation", "test"), "test train", ("train[:80%]", "validation", "test")),
        (("train[:80%]", "", "test"), "train", ("train[:80%]", "", "test")),
        (("train", "test[:50%]+val", "test"), "test train", ("train[:90%]", "train[90%:]", "test")),
        (
            ("train", "test[:50%] + test[80%:]", "test"),
            "test train",
            ("train", "test[:50%] + test[80%:]", "test"),
        ),
    ],
)
def test_splits_that_a_source_does_not_have(
    given: tuple[str, str, str], there: str, want: tuple[str, str, str]
) -> None:
    keys = dict(zip(("train_split", "validation_split", "test_split"), given, strict=True))
    for data in (ConfigDict(keys), FrozenConfigDict(keys)):
        chosen = choose_splits(data, there.split())
        assert (chosen.train, chosen.validation, chosen.test) == want
        assert bool(chosen.notice) == (given != want)
        assert not chosen.notice or all(repr(split) in chosen.notice for split in want if split)
        assert data.to_dict() == keys  # it is not changed


def test_the_notice() -> None:
    data = ConfigDict({"train_split": "train", "validation_split": "validation", "test_split": "test"})
    notice = "'train[:90%]' trains, 'train[90%:]' validates, 'test' tests"
    assert choose_splits(data, ["test", "train"]) == Splits(*HELD_OUT, "test", notice)
    data.validation_split = ""
    notice = "'train[:90%]' trains, nothing validates, 'train[90%:]' tests"
    assert choose_splits(data, ["train"]) == Splits(HELD_OUT[0], "", HELD_OUT[1], notice)


def test_more_classes_than_the_net_has_are_refused() -> None:
    check_classes(7, 10, "/data/birds")
    check_classes(10, 10, "/data/birds")
    with pytest.raises(UsageError) as caught:
        check_classes(11, 10, "/data/birds")
    assert str(caught.value) == ("/data/birds has 11 classes and the net 10: set --config.model.classes=11")
