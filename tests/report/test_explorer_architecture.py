"""The explorer's lesson on the architecture: its table is the net's own, its figure is to scale."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from alexnet_jax.interop import convert
from alexnet_jax.model import architectures
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Conv, Dense, Local, Pool, Weighted, WithinChannelLRN
from alexnet_jax.workdir import trained
from configs import imagenet_caffe, imagenet_torchvision
from tests.inference.helpers import random_net
from tests.report.explorer_page import Page, random_run, write_page

NETS = ("alexnet_2012", "caffe", "torchvision, probed", "cifar10_26", "cifar10_11", "fully_connected")
# By hand: channels at a sixteenth of the paper's, images of 64 x 64 x 3, 7 classes. Parameters are
# kernels + biases, neurons outputs, multiply-accumulates kernels times positions.
BY_HAND = {
    "conv1": (11 * 11 * 3 * 6 + 6, 15 * 15 * 6, 11 * 11 * 3 * 6 * 15 * 15),
    "conv2": (5 * 5 * 3 * 16 + 16, 7 * 7 * 16, 5 * 5 * 3 * 16 * 7 * 7),
    "conv3": (3 * 3 * 16 * 24 + 24, 3 * 3 * 24, 3 * 3 * 16 * 24 * 3 * 3),
    "conv4": (3 * 3 * 12 * 24 + 24, 3 * 3 * 24, 3 * 3 * 12 * 24 * 3 * 3),
    "conv5": (3 * 3 * 12 * 16 + 16, 3 * 3 * 16, 3 * 3 * 12 * 16 * 3 * 3),
    "fc6": (16 * 256 + 256, 256, 16 * 256),
    "fc7": (256 * 256 + 256, 256, 256 * 256),
    "fc8": (256 * 7 + 7, 7, 256 * 7),
}
SUMS_BY_HAND = ["83,183", "3,229", "690,258"]
CELLS = """
const text = (cell) => cell.textContent;
return [...document.querySelectorAll("#layer-table tr")].map((row) => [...row.children].map(text));
"""
# The front of each box of the figure, {width, height}, in the order of the flow.
FRONTS = """
return [...document.querySelectorAll("#architecture-figure .front")].map((each) => {
  const { width, height } = each.getBBox();
  return [width, height];
});
"""


def page_of(browser, tmp_path, name, width=1440, address="#lang=en", **change):
    run = random_run(name, channels=1 if name == "fully_connected" else 3)
    write_page(replace(run, **change), tmp_path / "page.html")
    return run, Page(browser, tmp_path / "page.html", width, address)


def texts(page, selector):
    return page.run(
        "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)", selector
    )


def expected_row(layer, shape):
    """The cells from the kernel on, from the table's row and `layer_shapes`."""
    kernel = stride = pad = ""
    if isinstance(layer, Conv | Local):
        kernel = "×".join(map(str, (layer.kernel, layer.kernel, shape.kernel[-2])))
        before, after = (layer.pad, layer.pad) if isinstance(layer, Local) else layer.pad
        stride = "1" if isinstance(layer, Local) else str(layer.stride)
        pad = str(before) if before == after else f"{before} + {after}"
    elif isinstance(layer, Dense):
        towers = shape.kernel[0] if layer.reads == "sum" else 1  # all give their part of a sum
        kernel = f"{towers * shape.kernel[1]:,} inputs"
    elif isinstance(layer, Pool):
        kernel, stride = f"{layer.size}×{layer.size}", str(layer.stride)
    elif isinstance(layer, WithinChannelLRN):
        kernel = f"{layer.size}×{layer.size}"
    counts = ("", "", "")
    if isinstance(layer, Weighted):
        counts = (shape.parameters, int(np.prod(shape.output)), shape.multiply_accumulates)
        counts = tuple(f"{count:,}" for count in counts)
    return [kernel, stride, pad, "×".join(map(str, shape.output)), *counts]


def check_table(page, architecture):
    """Every cell but the names against `layer_shapes`; returns the cells of the sums."""
    table = layer_shapes(architecture)
    head, picture, *rows, sums = page.run(CELLS)
    assert head[2:] == [
        *("kernel or window", "stride", "pad", "output"),
        *("parameters", "neurons", "multiply-accumulates"),
    ]
    assert picture[5] == f"{architecture.crop}×{architecture.crop}×{architecture.channels}"
    assert len(rows) == len(architecture.layers)
    for row, layer in zip(rows, architecture.layers, strict=True):
        assert row[2:] == expected_row(layer, table[layer.name]), layer.name
        if isinstance(layer, Weighted):
            assert row[0] == layer.name
    weighted = [shape for shape in table.values() if shape.kernel]
    assert sums[6:] == [
        f"{sum(shape.parameters for shape in weighted):,}",
        f"{sum(int(np.prod(shape.output)) for shape in weighted):,}",
        f"{sum(shape.multiply_accumulates for shape in weighted):,}",
    ]
    return sums[6:]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_the_table_is_the_net_s(name, browser, tmp_path):
    run, page = page_of(browser, tmp_path, name)
    sums = check_table(page, run.architecture)
    explained = page.text("table-columns") + page.text("table-counts")
    for word in page.run(CELLS)[0][2:]:  # every head of a column but the layer and what it does
        assert word in explained.lower(), word
    if name == "alexnet_2012":
        cells = {row[0]: row for row in page.run(CELLS)}
        for layer, counts in BY_HAND.items():
            assert cells[layer][6:] == [f"{count:,}" for count in counts]
        assert sums == SUMS_BY_HAND
        assert [f"{sum(each):,}" for each in zip(*BY_HAND.values(), strict=True)] == SUMS_BY_HAND
        assert cells["conv1"][2:6] == ["11×11×3", "4", "0 + 3", "15×15×6"]
        assert cells["fc8"][2] == "256 inputs"
    page.quiet()


@pytest.mark.slow
def test_a_large_net_has_its_whole_table(browser, real_data, tmp_path):
    """The page holds the convolutions alone; the sum is what torchvision's documentation says."""
    recipes = {"torchvision": imagenet_torchvision.get_config(), "caffe": imagenet_caffe.get_config()}
    workdir = tmp_path / "run"
    convert.to_workdir(real_data / "torchvision_alexnet_features.npz", workdir, recipes)
    run = trained.load(workdir, trained.read_config(workdir), "best")
    write_page(run, tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html", address="#lang=en")
    whole = architectures.build(run.config.model, 224, 3)
    assert check_table(page, whole)[0] == "61,100,840"
    buttons = texts(page, "#layer-table button")
    assert buttons[-1] == "avgpool"
    assert "fc8" not in buttons
    assert "no buttons" in page.text("table-text")
    page.quiet()


@pytest.mark.slow
def test_the_paper_s_net(browser, tmp_path):
    """At full width: 60 million parameters and 650,000 neurons by the paper's own count."""
    config = random_run("alexnet_2012").config.copy_and_resolve_references()
    config.data.size, config.data.crop = 256, 224
    config.model.width, config.model.classes = 1.0, 1000
    run = random_net(tmp_path, config, ())
    write_page(run, tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html", address="#lang=en")
    assert check_table(page, run.architecture) == ["60,965,224", "659,272", "724,406,816"]
    sizes = [row[5] for row in page.run(CELLS) if row[6] and row[5]]
    assert sizes == [
        *("output", "55×55×96", "27×27×256", "13×13×384", "13×13×384", "13×13×256"),
        *("4096", "4096", "1000"),
    ]
    fields = [int(text.split()[1]) for text in texts(page, "#fields-images figcaption")]
    assert fields == [11, 51, 99, 131, 163]
    page.quiet()


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("name", ["alexnet_2012", "cifar10_26", "cifar10_11", "fully_connected"])
def test_the_figure_is_to_scale(name, width, browser, tmp_path):
    run, page = page_of(browser, tmp_path, name, width)
    architecture, table = run.architecture, layer_shapes(run.architecture)
    boxes = [(architecture.crop, architecture.channels)]
    bars = []
    for layer in architecture.layers:
        if not isinstance(layer, Weighted):
            continue
        towers = 1 if layer.reads == "sum" else architecture.towers
        output = table[layer.name].output
        if len(output) == 3:
            boxes += towers * [(output[0], output[2] // towers)]
        else:
            bars += towers * [output[0] // towers]
    flow = page.run("return document.getElementById('architecture-figure').dataset.flow")
    fronts = [front if flow == "right" else front[::-1] for front in page.run(FRONTS)]
    assert len(fronts) == len(boxes) + len(bars)
    for (thick, high), (side, channels) in zip(fronts, boxes, strict=False):
        assert high / fronts[0][1] == pytest.approx(side / boxes[0][0], rel=1e-3)
        assert thick / fronts[0][0] == pytest.approx(channels / boxes[0][1], rel=1e-3)
    for (_, high), units in zip(fronts[len(boxes) :], bars, strict=True):
        assert high / fronts[len(boxes)][1] == pytest.approx(units / bars[0], rel=1e-3)
    lines = page.run("return document.querySelectorAll('#architecture-figure .across').length")
    # conv3, fc6 and fc7 each cross both ways, two lines a way.
    assert lines == (12 if architecture.towers == 2 else 0)
    assert page.run("return document.documentElement.scrollWidth") <= width
    drawn = page.run(
        """const box = document.getElementById("architecture-figure").getBoundingClientRect();
        return [...document.querySelectorAll("#architecture-figure *")].every((each) => {
          const { left, right, top, bottom } = each.getBoundingClientRect();
          const inside = left >= box.left - 1 && right <= box.right + 1;
          return inside && top >= box.top - 1 && bottom <= box.bottom + 1;
        });"""
    )
    assert drawn
    page.click("language")
    assert page.run("return document.documentElement.scrollWidth") <= width
    page.quiet()


@pytest.mark.slow
def test_the_figure_marks_what_a_value_reads(browser, tmp_path):
    """Conv1 reads 11 of 64 rows; conv2 5 of pool1, which are (5 - 1) x 2 + 3 = 11 of conv1's 15."""
    _, page = page_of(browser, tmp_path, "alexnet_2012")
    high = page.run(
        """const high = (name) => [...document.querySelectorAll(`#architecture-figure .${name}`)].map(
          (each) => each.getBBox().height);
        return [high("window"), high("front")];"""
    )
    slanted = 1.3  # columns rise by 0.3 of their length
    windows, fronts = high
    assert windows[0] / fronts[0] == pytest.approx(11 * slanted / 64, rel=1e-3)
    assert windows[1] / fronts[1] == pytest.approx(11 * slanted / 15, rel=1e-3)
    assert len(windows) == 1 + 5 * 2
    assert texts(page, "#architecture-figure text")[-2:] == ["tower 0", "tower 1"]
    page.quiet()


@pytest.mark.slow
def test_what_the_convolutions_see_grows(browser, tmp_path):
    """At 64 pixels conv1 sees 11, conv2 11 of its rows, so 11 + 10 x 4 = 51, the others all 64."""
    _, page = page_of(browser, tmp_path, "alexnet_2012")
    said = texts(page, "#fields-images figcaption")
    sizes = [11, 51, 64, 64, 64]
    assert said == [
        f"conv{n}: {size} × {size} pixels, {100 * (size / 64) ** 2:.1f} % of the image"
        for n, size in enumerate(sizes, 1)
    ]
    # What is outside is darker than in the image that sees all.
    light = page.run(
        """return [...document.querySelectorAll("#fields-images canvas")].map((canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return data.reduce((sum, x) => sum + x, 0);
        });"""
    )
    assert all(less < more for less, more in pairwise(light[:3]))
    page.quiet()


@pytest.mark.slow
def test_what_they_see_follows_the_image(browser, tmp_path):
    """Another image, chosen where the fields are out of sight, is there when one comes to them."""
    _, page = page_of(browser, tmp_path, "alexnet_2012")
    drawn = "document.querySelector('#fields-images canvas').toDataURL()"
    page.run(f"window.scrollTo(0, 0); window.earlier = {drawn}")
    page.run("document.querySelectorAll('#samples button')[1].click()")
    page.wait("return explorer.net.image === 1 && explorer.net.runs > 1")
    page.run("document.getElementById('fields').scrollIntoView({ behavior: 'instant' })")
    page.wait(f"return {drawn} !== window.earlier")
    page.quiet()


@pytest.mark.slow
def test_a_net_without_convolutions_draws_none(browser, tmp_path):
    _, page = page_of(browser, tmp_path, "fully_connected")
    assert page.run("return document.getElementById('fields').hidden")
    assert "tower" not in page.text("architecture-text")
    page.quiet()
