"""The page's tables of errors: by class, what is taken for what, and the surest mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alexnet_jax.drawing import shorten
from alexnet_jax.report.words import Words, both

if TYPE_CHECKING:
    from alexnet_jax.inference.report_data import Confusions

MAX_ROWS_SHOWN = 20  # of the classes; the rest is there to be unfolded
MAX_PAIRS_SHOWN = 10  # of classes
MAX_NAME_LENGTH = 200
CLASS, TAKEN_FOR = both("class", "类别"), both("taken for", "被认作")

Rows = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Table:
    """Hold a table of the page.

    Attributes:
      title, head, rows: its title, the cells of its head, its rows.
      numbers: which of its columns are numbers, not names.
      folded: rows that a click unfolds.
    """

    title: Words
    head: tuple[Words, ...]
    rows: Rows
    numbers: tuple[int, ...]
    folded: Rows = ()


def by_class(confusions: Confusions) -> Table:
    """Return the errors of each class that has an image, those with the highest error first."""
    images = confusions.matrix.sum(axis=1)
    others = _off_diagonal(confusions)
    wrong, names = others.sum(axis=1), _names(confusions)
    rows = []
    for label in np.argsort(-wrong / np.maximum(images, 1), kind="stable"):
        if images[label]:
            taken = others[label].argmax()
            other = f"{names[taken]} ({others[label, taken]:,})" if wrong[label] else ""
            error = f"{wrong[label] / images[label]:.1%}"
            rows.append((names[label], _of(wrong[label], images[label]), error, other))
    head = (CLASS, both("wrong", "错误"), both("error", "错误率"), both("most often taken for", "最常被认作"))
    return Table(
        both("Error by class", "各类错误率"), head, rows[:MAX_ROWS_SHOWN], (1, 2), rows[MAX_ROWS_SHOWN:]
    )


def taken_for(confusions: Confusions) -> Table:
    """Return which class was taken for which other one more than once, the most frequent first."""
    others, names, images = _off_diagonal(confusions), _names(confusions), confusions.matrix.sum(axis=1)
    order = np.argsort(-others, axis=None, kind="stable")[:MAX_PAIRS_SHOWN]
    rows = [
        (names[label], names[taken], _of(others[label, taken], images[label]))
        for label, taken in zip(*np.unravel_index(order, others.shape), strict=True)
        if others[label, taken] > 1
    ]
    head = (CLASS, TAKEN_FOR, both("images", "图片"))
    return Table(both("Taken for another class most often", "最常认错的类别"), head, rows, (2,))


def surest_mistakes(confusions: Confusions) -> Table:
    """Return the file, the class and the guess of each mistake that is drawn."""
    rows = []
    for mistake in confusions.mistakes:
        name, probability = mistake.guesses[0]
        texts = (mistake.image.file, mistake.image.label, name)
        rows.append((*(cell(text) for text in texts), f"{probability:.1%}"))
    head = (both("file", "文件"), CLASS, TAKEN_FOR, both("probability", "概率"))
    return Table(both("Their files", "它们的文件"), head, rows, (3,))


def cell(text: object) -> Words:
    """Return a text for the page: without control and direction characters, and not endless."""
    words = text if isinstance(text, Words) else Words(str(text))
    return Words(*(shorten(one, MAX_NAME_LENGTH) if one else "" for one in (str(words), words.chinese)))


def named(text: str) -> str:
    """Return a name for the page: as `cell` does, and '(no name)' for an empty one."""
    return shorten(text, MAX_NAME_LENGTH)


def _of(count: int, whole: int) -> Words:
    return both("{count:,} of {whole:,}", "{count:,} / {whole:,}", count=count, whole=whole)


def _off_diagonal(confusions: Confusions) -> np.ndarray:
    others = confusions.matrix.copy()
    np.fill_diagonal(others, 0)
    return others


def _names(confusions: Confusions) -> list[str]:
    """Return the names of the net's outputs; those beyond the classes of the data have numbers."""
    outputs = range(len(confusions.names), confusions.matrix.shape[1])
    return [shorten(name, MAX_NAME_LENGTH) for name in (*confusions.names, *(f"class {n}" for n in outputs))]
