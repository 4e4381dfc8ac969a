"""Which folders are splits, by their names."""

import re

_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
READ = "train/, val/ and test/"  # the names that are read, in short
_SET = re.compile(r"[ _.-]?sets?$")
_FOLD = re.compile(r"(k?-?folds?|cv|splits?|partitions?)[ _.-]?\d+", re.IGNORECASE)
_APART = re.compile(r"[ _.\-\d]+")


def exact_split(name: str) -> str:
    """Return the split that a folder's name is: train, validation or test; '' where it is none.

    Those are train, training; val, valid, validation, dev; test, testing; with 'set' behind it, in any case.
    """
    return _WORDS.get(_SET.sub("", name.strip().lower()), "")


def doubtful_split(name: str) -> str:
    """Return the split that a word in a folder's name is, as in seg_train or test2017; '' without one."""
    words = [word for word in _APART.split(_SET.sub("", name.strip().lower())) if word]
    found = {_WORDS[word] for word in words if word in _WORDS}
    return found.pop() if len(found) == 1 else ""


def is_fold(name: str) -> bool:
    """Return whether a folder is a fold of a cross-validation, as fold0 and split_1 are."""
    return _FOLD.fullmatch(name.strip()) is not None
