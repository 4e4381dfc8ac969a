"""The page's tables of errors, against counts made from a list of guesses."""

from collections import Counter

import numpy as np

from alexnet_jax.inference.report_data import Confusions, Guess, LabelledImage
from alexnet_jax.report import tables

# (class, taken for)
GUESSES = [
    *[("cat", "cat")] * 7,
    *[("cat", "dog")] * 3,
    *[("dog", "dog")] * 2,
    *[("dog", "cat")] * 1,
    *[("dog", "hen")] * 1,
    *[("hen", "hen")] * 5,
    *[("cow", "class 5")] * 2,
    *[("pig", "hen")] * 1,
]
NAMES = ("cat", "dog", "hen", "cow", "pig")
OUTPUTS = (*NAMES, "class 5")  # the net has one more than the data has classes


def confusions(guesses=GUESSES, names=NAMES, outputs=OUTPUTS, mistakes=()):
    counted = Counter(guesses)
    matrix = np.asarray([[counted[name, taken] for taken in outputs] for name in names])
    return Confusions(names, matrix, 0.0, mistakes, "test", len(guesses))


def test_errors_by_class_have_counts_and_the_worst_is_first():
    table = tables.by_class(confusions())
    assert table.rows == [
        ("cow", "2 of 2", "100.0%", "class 5 (2)"),
        ("pig", "1 of 1", "100.0%", "hen (1)"),
        ("dog", "2 of 4", "50.0%", "cat (1)"),
        ("cat", "3 of 10", "30.0%", "dog (3)"),
        ("hen", "0 of 5", "0.0%", ""),
    ]
    assert table.folded == []


def test_a_class_without_an_image_has_no_error():
    assert [row[0] for row in tables.by_class(confusions(GUESSES[:10])).rows] == ["cat"]


def test_what_is_beyond_the_first_rows_is_folded():
    names = tuple(f"n{number:02}" for number in range(23))
    guesses = [(name, name) for name in names[:3]] + [(name, "n00") for name in names[3:]]
    table = tables.by_class(confusions(guesses, names, names))
    assert [row[0] for row in table.rows] == list(names[3:])
    assert [row[0] for row in table.folded] == list(names[:3])


def test_confusions_that_came_more_than_once():
    assert tables.taken_for(confusions()).rows == [
        ("cat", "dog", "3 of 10"),
        ("cow", "class 5", "2 of 2"),
    ]
    assert tables.taken_for(confusions(GUESSES[:7])).rows == []


def test_mistakes_carry_their_files():
    """Names that would leave the table, or turn it, are text."""
    pixels = np.zeros((2, 2, 3), np.uint8)
    mistakes = (
        Guess(LabelledImage(pixels, "cat", "a/1.jpg"), (("dog", 0.875), ("cat", 0.125))),
        Guess(LabelledImage(pixels, "hen", "x" * 300 + "\u202e"), (("cow", 0.5),)),
    )
    first, second = tables.surest_mistakes(confusions(mistakes=mistakes)).rows
    assert first == ("a/1.jpg", "cat", "dog", "87.5%")
    assert len(second[0]) == tables.MAX_NAME_LENGTH
    assert tables.cell("\x1b[31m") == "\\x1b[31m"
    assert tables.cell("") == ""
