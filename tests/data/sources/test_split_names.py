"""Names of folders, by a table written by hand."""

import pytest

from alexnet_jax.data.sources.split_names import doubtful_split, exact_split, is_fold


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Train", "TRAINING", "training_set", "trainset")),
        *((name, "validation") for name in ("val", "Valid", "validation", "dev", "val-set", "ValidSet")),
        *((name, "test") for name in ("test", "testing", "Test_Set", "test.sets")),
        *((name, "") for name in ("tests", "trains", "bullet_train", "set", "subset", "", "cat")),
    ],
)
def test_exact_names(name: str, split: str) -> None:
    assert exact_split(name) == split


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("seg_train", "train"),
        ("train2017", "train"),
        ("images-val", "validation"),
        ("my test set", "test"),
        ("train_val", ""),
        ("restrain", ""),
        ("dog", ""),
    ],
)
def test_words_in_names(name: str, split: str) -> None:
    assert doubtful_split(name) == split


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("fold0", "Fold_10", "k-fold 3", "split_1", "cv5")),
        *((name, False) for name in ("1", "folded", "class1", "fold")),
    ],
)
def test_folds(name: str, expected: bool) -> None:
    assert is_fold(name) == expected
