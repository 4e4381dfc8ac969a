"""What is said about few or uneven training images, by sets made by hand."""

from types import SimpleNamespace
from typing import Any

import pytest

from alexnet_jax.training import small_data
from alexnet_jax.training.stored_values import Plan


def setup(counts: dict[str, int], steps: int = 1000, at_once: bool = False) -> Any:
    """Return what `notices` reads of a run whose classes have so many training images."""
    labels = [label for label, count in enumerate(counts.values()) for _ in range(count)]
    reading = SimpleNamespace(read=lambda index: (b"", labels[index], "x.jpg"))
    records = type(
        "Records", (), {"__len__": lambda self: len(labels), "read": lambda self, i: reading.read(i)}
    )
    return SimpleNamespace(
        config=SimpleNamespace(data=SimpleNamespace(train_split="train")),
        total_steps=steps,
        fits_at_once=at_once,
        train_images=len(labels),
        dataset=SimpleNamespace(class_names=tuple(counts), records=lambda split: records()),
        architecture=SimpleNamespace(
            layers=[SimpleNamespace(name=name) for name in ("conv1", "norm", "linear")]
        ),
    )


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"ant": 30, "bee": 30}, None),
        ({"ant": 5, "bee": 50}, None),  # ten to one
        ({"ant": 0, "bee": 6}, "fewer than 5 training images: ant 0; "),
        ({"ant": 4, "bee": 6}, "fewer than 5 training images: ant 4; "),
        ({"ant": 0, "bee": 3, "cow": 9}, "fewer than 5 training images: ant 0, bee 3; "),
        ({"ant": 5, "bee": 51}, "uneven classes: bee has 51 training images, ant 5; "),
    ],
)
def test_classes(counts, words):
    lines = small_data.notices(setup(counts), None)
    assert len(lines) == (words is not None), lines
    assert words is None or lines[0].startswith(words)


@pytest.mark.parametrize(
    ("steps", "at_once", "said"), [(99, False, True), (100, False, False), (1, True, False)]
)
def test_few_updates(steps, at_once, said):
    lines = small_data.notices(setup({"ant": 30, "bee": 30}, steps, at_once), None)
    assert bool(lines) == said
    assert not said or "the run makes 99 updates" in lines[0]


@pytest.mark.parametrize(
    ("layer", "images", "at_once", "said"),
    [
        ("norm", 20, False, True),
        ("norm", 31, False, False),
        ("norm", 20, True, False),
        ("conv1", 20, False, False),
    ],
)
def test_a_linear_probe_is_named_where_it_trains_the_same_layer(layer, images, at_once, said):
    plan = Plan(layer, 1, 2 * images, 0, 0, 0)
    lines = small_data.notices(setup({"ant": images, "bee": images}, at_once=at_once), plan)
    assert lines == [] if not said else f"with {images} images a class --config=linear_probe" in lines[0]


def test_names_of_somebody_elses_stay_in_one_line():
    (line,) = small_data.notices(setup({"a\nb": 1, "bee": 6}), None)
    assert "\n" not in line
