"""A short run of the measurement of similar, and its accuracy by hand."""

import dataclasses

import numpy as np

from alexnet_jax.benchmark import similar
from alexnet_jax.inference.similar import Index
from tests.inference.helpers import random_run, write_images


def test_measures_similar(tmp_path):
    for split, seed in (("train", 1), ("test", 2)):
        for label in "ab":
            write_images(tmp_path / "in" / split / label, 3, seed)
    rows = similar.measure(random_run(tmp_path / "run"), str(tmp_path / "in"), tmp_path, vectors=300, runs=1)
    names = [
        "similar.accuracy.euclidean",
        "similar.accuracy.cosine",
        "similar.index",
        "similar.ask",
        "similar.ask.synthetic",
    ]
    assert [row["name"] for row in rows] == names
    assert all(0 <= rows[0][side] <= 1 for side in ("median", "peer_median"))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_accuracy_is_the_mean_over_classes(tmp_path):
    def index(files, vectors):
        return Index(tmp_path, "relu7", tuple(files), np.asarray(vectors, np.float16)[:, None], None)

    known = index(["a/1", "b/1"], [0, 10])
    asked = index(["a/2", "a/3", "a/4", "b/2"], [1, 2, 9, 8])
    assert similar.accuracy(known, asked, "euclidean") == np.mean([2 / 3, 1])


def test_precision_counts_the_likeliest_of_each_class_that_has_enough(tmp_path):
    files = ("a/1", "a/2", "b/1", "b/2", "c/1")
    probabilities = np.asarray(
        [[0.9, 0.1, 0], [0.2, 0.5, 0.3], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0, 0, 1]], np.float32
    )
    index = Index(tmp_path, "relu7", files, np.zeros((5, 1), np.float16), probabilities)
    # a: 0.9 is right and 0.3 is b's; b: 0.8 and 0.6 are both right; c has one image, too few
    assert similar.precision(index, ("a", "b", "c"), first=2) == {"a": 0.5, "b": 1.0}
    assert similar.precision(dataclasses.replace(index, probabilities=None), ("a", "b", "c"), first=2) == {}
