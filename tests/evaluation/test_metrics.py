"""Loss and errors against sums by hand: ties, padding, numbers that are none, any grouping of batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax.evaluation import metrics

NAN, INF = float("nan"), float("inf")
score = jax.jit(metrics.score, static_argnames="by_class")


def by_hand(values, labels, weights):
    """(loss, top-1 errors, top-5 errors, images) of log probabilities, in 64 bits, one image at a time."""
    loss = first = fifth = 0.0
    for row, label, weight in zip(np.asarray(values, np.float64), labels, weights, strict=True):
        if weight:
            # Sorted from the largest; of equals the first class first, and what is no number before all.
            order = sorted(range(len(row)), key=lambda c: (not np.isnan(row[c]), -row[c], c))
            rank = order.index(label)
            loss -= row[label]
            first += rank >= 1
            fifth += rank >= 5
    return loss, first, fifth, sum(weights)


def numbers(sums):
    return [float(x) for x in (sums.loss, sums.top1_error, sums.top5_error, sums.count)]


def draw_scores(count, classes, seed=0):
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 3, (count, classes)).round(1)  # many are equal
    values = np.asarray(jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)))
    return values, draw.integers(0, classes, count), (draw.random(count) < 0.8).astype(np.float32)


@pytest.mark.parametrize(("count", "classes"), [(200, 10), (64, 3), (7, 1000), (5, 1)])
def test_sums_are_those_of_a_loop(count, classes):
    values, labels, weights = draw_scores(count, classes)
    sums = score(values, jnp.asarray(labels), weights)
    np.testing.assert_allclose(numbers(sums), by_hand(values, labels, weights), rtol=1e-5)
    assert sums.by_class is None
    table = np.asarray(score(values, jnp.asarray(labels), weights, by_class=True).by_class)
    for label in range(classes):
        of = [i for i in range(count) if labels[i] == label and weights[i]]
        wrong = sum(by_hand(values[[i]], [label], [1])[1] for i in of)
        assert table[:, label].tolist() == [len(of), wrong]


def test_equal_values_rank_in_order_of_class():
    """A net that says the same of all classes is right about class 0, and among the five of 0 to 4."""
    values, labels = np.full((7, 7), np.log(1 / 7), np.float32), jnp.arange(7)
    for label in range(7):
        sums = score(values[:1], labels[label : label + 1], jnp.ones(1))
        assert numbers(sums)[1:3] == [label >= 1, label >= 5]


@pytest.mark.parametrize(
    ("row", "top1", "top5"),
    [
        ([NAN, -9, -9, -9, -9, -9, -9], 1, 0),  # before label 1
        ([NAN, -9, NAN, NAN, NAN, NAN, -9], 1, 1),
        ([-1, NAN, -9, -9, -9, -9, -9], 1, 1),  # the label's own
        ([-INF, 0, -INF, -INF, -INF, -INF, -INF], 0, 0),
    ],
)
def test_what_is_no_number_is_an_error(row, top1, top5):
    sums = score(jnp.asarray([row], jnp.float32), jnp.asarray([1]), jnp.ones(1))
    assert numbers(sums)[1:3] == [top1, top5]


def test_padding_counts_nothing_even_where_its_loss_is_infinite():
    values = jnp.asarray([[np.log(0.25), np.log(0.75)], [-INF, 0.0], [NAN, NAN]], jnp.float32)
    sums = score(values, jnp.asarray([0, 0, 0]), jnp.asarray([1.0, 0.0, 0.0]), by_class=True)
    assert numbers(sums) == [pytest.approx(-np.log(0.25)), 1, 0, 1]
    assert np.asarray(sums.by_class).tolist() == [[1, 0], [1, 0]]


def test_probabilities_that_underflowed_have_a_finite_loss():
    probabilities = jnp.asarray([[0.0, 1.0], [0.5, 0.5]], jnp.float32)
    sums = metrics.score_probabilities(probabilities, jnp.asarray([0, 1]), jnp.ones(2))
    assert float(sums.loss) == pytest.approx(-np.log(np.finfo(np.float32).tiny) - np.log(0.5), rel=1e-6)
    assert numbers(sums)[1:] == [2, 0, 2]
    assert np.asarray(sums.by_class).tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("classes", "five"), [(1000, ", top-5 error 12.50%"), (6, ", top-5 error 12.50%"), (5, ""), (2, "")]
)
def test_the_top_5_error_is_not_said_where_it_is_always_0(classes, five):
    assert metrics.in_words(0.25, 0.125, classes) == f"top-1 error 25.00%{five}"


@pytest.mark.parametrize("parts", [1, 3, 50])
def test_averages_do_not_depend_on_the_batches(parts):
    """A last batch that is smaller weighs as much as its images."""
    values, labels, weights = draw_scores(50, 6, seed=3)
    weights[0] = 1
    each = [
        score(values[part], jnp.asarray(labels[part]), weights[part], by_class=True)
        for part in np.array_split(np.arange(50), parts)
    ]
    averages = metrics.average(each)
    loss, first, fifth, count = by_hand(values, labels, weights)
    expected = (loss / count, first / count, fifth / count, count)
    assert (averages.loss, averages.top1_error, averages.top5_error, averages.count) == pytest.approx(
        expected, rel=1e-6
    )
    assert [images for images, _ in averages.by_class] == np.bincount(
        labels[weights > 0], minlength=6
    ).tolist()
    assert sum(wrong for _, wrong in averages.by_class) == first
    assert metrics.average([score(values, jnp.asarray(labels), weights)]).by_class == ()


def test_sums_are_added_in_64_bits():
    """In 32 bits a million and a hundredth are a million, as often as it is added."""
    small, large = (metrics.Sums(*(jnp.float32(x) for x in (loss, 0, 0, 1))) for loss in (0.01, 1e6))
    averages = metrics.average([large, *[small] * 1000])
    assert averages.loss == pytest.approx((1e6 + 10) / 1001, rel=1e-9)


def test_log_softmax_in_32_bits_at_least():
    logits = np.asarray([[3.0, -2.0, 0.5], [500.0, -500.0, 0.0]])
    shifted = logits - logits.max(1, keepdims=True)
    expected = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        computed = metrics.log_softmax(jnp.asarray(logits, dtype))
        assert computed.dtype == jnp.float32
        np.testing.assert_allclose(computed, expected, rtol=1e-6)
    with jax.enable_x64(True):
        assert metrics.log_softmax(jnp.asarray(logits)).dtype == jnp.float64
