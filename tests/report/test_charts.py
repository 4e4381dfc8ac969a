"""Charts say what they draw, where it lies, and the same to a screen reader."""

import re
from xml.etree import ElementTree

import pytest

from alexnet_jax.report import charts

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>"&]]>'


def named(text):
    """The parsed chart, its title and its description, as a screen reader finds them."""
    root = ElementTree.fromstring(text)
    assert (root.tag, root.get("role")) == (f"{SVG}svg", "img")
    title, description = (root.find(f".//*[@id='{name}']") for name in root.get("aria-labelledby").split())
    assert (title.tag, description.tag) == (f"{SVG}title", f"{SVG}desc")
    return root, title.text, description.text


def scale(root):
    """The position of a number on the axis below, from the labels of its ticks."""
    ticks = [
        (float(each.text), float(each.get("x")))
        for each in root.iter(f"{SVG}text")
        if re.fullmatch(r"-?[\d.]+", each.text)
    ]
    (low, left), (high, right) = min(ticks), max(ticks)
    return lambda value: left + (right - left) * (value - low) / (high - low)


def test_intervals_lie_where_their_numbers_are():
    bars = [
        charts.Bar("with an interval", "5 (3 to 7), n 3", 1.2, 5.0, (3.0, 7.0)),
        charts.Bar("one run", "-2, n 1", 1.4, -2.0, None),
        charts.Bar(HOSTILE, "not run", 0.4, None, None),
    ]
    root, title, description = named(charts.intervals(f"A title {HOSTILE}", "points", bars))
    assert title == f"A title {HOSTILE}"
    for words in ("points. with an interval: 5 (3 to 7), n 3; published 1.2.", f"{HOSTILE}: not run"):
        assert words in description
    at = scale(root)
    legend = 3  # its own marks come last
    dots = [(float(dot.get("cx")), dot.get("fill") != "#ffffff") for dot in root.iter(f"{SVG}circle")]
    assert dots[:2] == [(pytest.approx(at(5), abs=0.1), True), (pytest.approx(at(-2), abs=0.1), False)]
    assert len(dots) == 2 + 2
    diamonds = [float(re.match(r"M([\d.]+)", path.get("d"))[1]) for path in root.iter(f"{SVG}path")]
    assert diamonds[:legend] == [pytest.approx(at(value), abs=0.1) for value in (1.2, 1.4, 0.4)]
    wide = [line for line in root.iter(f"{SVG}line") if line.get("stroke-width") == "2.5"]
    assert [float(wide[0].get(key)) for key in ("x1", "x2")] == [
        pytest.approx(at(value), abs=0.1) for value in (3, 7)
    ]
    zero = [line for line in root.iter(f"{SVG}line") if line.get("stroke") == charts.GREY]
    assert [float(line.get("x1")) for line in zero] == [pytest.approx(at(0), abs=0.1)]


def test_curves_and_their_crossings():
    relu = charts.Curves(
        "ReLU", "3 epochs (2 to 4), n 2", [[(1, 0.6), (9, 0.1)], [(1, 0.5), (8, 0.1)]], [2, 4]
    )
    tanh = charts.Curves("tanh", "9.5 epochs, n 1", [[(1, 0.7), (10, 0.2)]], [9.5])
    root, title, description = named(charts.training("Figure 1", 0.25, [relu, tanh]))
    assert title == "Figure 1"
    assert "ReLU: 3 epochs (2 to 4), n 2. tanh: 9.5 epochs, n 1." in description
    at = scale(root)
    lines = [line.get("points").split() for line in root.iter(f"{SVG}polyline")]
    assert [len(points) for points in lines] == [2, 2, 2]
    assert [float(points[-1].split(",")[0]) for points in lines] == [
        pytest.approx(at(epoch), abs=0.1) for epoch in (9, 8, 10)
    ]
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.iter(f"{SVG}circle")]
    level = next(line for line in root.iter(f"{SVG}line") if line.get("stroke-dasharray") == "2 4")
    height = float(level.get("y1"))
    assert dots == [(pytest.approx(at(epoch), abs=0.1), height) for epoch in (3, 9.5)]
    ranges = [line for line in root.iter(f"{SVG}line") if line.get("stroke-width") == "5"]
    assert [[float(line.get(key)) for key in ("x1", "x2")] for line in ranges] == [
        [pytest.approx(at(epoch), abs=0.1) for epoch in ends] for ends in ((2, 4), (9.5, 9.5))
    ]
    percent = {each.text: float(each.get("y")) - 4 for each in root.iter(f"{SVG}text") if "%" in each.text}
    assert percent["20 %"] > height > percent["30 %"]


def test_one_number_has_an_axis_too():
    named(charts.intervals("A title", "percent", [charts.Bar("a net", "26 %", None, 26.0, None)]))
