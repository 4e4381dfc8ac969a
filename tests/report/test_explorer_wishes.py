"""What people ask of a page on AlexNet, each wish driven in a browser as a person would drive it.

The popular explanations of the paper (CNN Explainer, TensorFlow Playground, 3Blue1Brown's digits, the paper's
own figures) made readers wish for these. Each test does what a person does, with a mouse in a window of 1440
pixels and with a finger on a phone of 360, and holds what is then to be seen against numpy and JAX on the
net's own numbers.

wish                          | where              | test
------------------------------|--------------------|-----------------------------
a convolution under a pointer | explorer, lesson 2 | test_a_kernel_over_an_image
the same inside a trained net | explorer, lesson 4 | test_a_convolution_of_the_net
one neuron with its sigmoid   | explorer, lesson 1 | test_one_neuron_and_its_sigmoid
784-15-10 and backpropagation | explorer, lesson 5 | test_a_drawn_digit_and_one_step
96 kernels, as in figure 3    | report, kernels    | test_ninety_six_kernels
nine patches for a channel    | report, channels   | test_nine_patches
kernels and patches to choose | explorer, lesson 4 | test_explorer_seeks.test_a_channel_s_patches_and_a_kernel
a heat map of what decides    | explorer, lesson 4 | test_the_heat_map
eight images with five bars   | report, guesses    | test_eight_images_with_five_bars
find my beach                 | similar, its sheet | test_find_my_beach
the table of layers           | explorer, lesson 3 | test_the_table_of_layers
pooling, overlapping and not  | explorer, lesson 4 | test_pooling
dropout                       | explorer, lesson 4 | test_dropout
lighting                      | explorer, lesson 4 | test_lighting
local response normalisation  | explorer, lesson 4 | test_normalisation
softmax                       | explorer, lesson 4 | test_softmax
"""

import base64
import importlib
import inspect
import io
import re
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from alexnet_jax.config import io as config_io
from alexnet_jax.data.images import Preprocessing, resize_center_crop
from alexnet_jax.data.records import open_dataset
from alexnet_jax.inference import report_data, sheet, similar
from alexnet_jax.report import page as report_page
from alexnet_jax.report import runs as run_files
from alexnet_jax.workdir.trained import TrainedNet
from tests.helpers import small_digits
from tests.inference import helpers
from tests.inference.helpers import layers_by_hand, random_net, write_images
from tests.report.explorer_page import Page, close, random_run, shown_numbers, write_page
from tests.report.reader import HEIGHTS, WIDTHS, Reader

ROUNDED = 6e-3  # of a number of three digits
LOOKED_AT = 40  # images of a split, for the report
NAMES = tuple(f"animal {number}" for number in range(7))
NUMBERS = """
const number = (text) => Number(text.replace("\\u2212", "-"));
const cells = (table) => [...table.querySelectorAll("td")].map((cell) => number(cell.textContent));
return [...document.querySelectorAll(arguments[0])].map(cells);
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A net of two towers with axes of lighting of its own; its page, its first image, its values by hand."""
    run = replace(random_run("alexnet_2012"), class_names=NAMES)
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    statistics = replace(run.statistics, eigenvalues=np.asarray([9e4, 1e4, 400.0]), eigenvectors=axes)
    run = replace(run, statistics=statistics)
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    image = Image.open(io.BytesIO(write_page(run, path).images[0][1]))
    cut = np.asarray(image)[4:68, 4:68]  # of 72 x 72, the 64 x 64 in the middle
    values = {name: value[0] for name, value in by_hand(run, cut[None]).items()}
    return run, path, cut, values


def by_hand(run, cuts):
    """All layers for images that are cut out already, by numpy."""
    x = cuts.astype(np.float64) - np.asarray(run.mean, np.float64)
    return layers_by_hand(run.params, x / np.asarray(run.normalization.input_std, np.float64))


@pytest.fixture(scope="module", params=WIDTHS)
def opened(request, browser, net):
    """The explorer of the net before a person who has chosen its first image."""
    reader = Reader(browser, request.param)
    page = Page(browser, net[1], request.param, "#lang=en", HEIGHTS[request.param])
    before = page.run("return explorer.net.runs")
    reader.press("#samples button")
    page.wait(f"return explorer.net.runs > {before}")
    return page, reader


@pytest.fixture
def explorer(opened):
    """The same, one wish at a time: nothing may be wider than the window, nothing wrong in the console."""
    yield opened
    page, reader = opened
    assert page.run("return document.documentElement.scrollWidth") <= reader.width
    page.quiet()


def look(page, reader, layer, tower=0):
    """Choose a layer in the figure of the net; return its row of the net's table."""
    names = page.run("return explorer.net.net.layers.map((layer) => layer.name)")
    reader.press(f'#figure [data-layer="{names.index(layer)}"][data-tower="{tower}"]')
    assert reader.reads("#detail-title").startswith(layer)


def position(page):
    """Where the person looks: row, column, channel."""
    return page.run("const n = explorer.net; return [n.row, n.column, n.map]")


# Convolution.


@pytest.mark.slow
def test_a_kernel_over_an_image(explorer):
    page, reader = explorer
    reader.choose("#kernel-shape", "shapeCross")
    image = np.zeros((9, 9))
    image[4] = image[:, 4] = 1
    for _ in range(2):  # from 0 to 0.5, then to 1
        reader.press("#kernel-picture", 0.5 / 9, 0.5 / 9)
    reader.press("#kernel-picture", 8.5 / 9, 8.5 / 9)
    image[0, 0], image[8, 8] = 1, 0.5
    reader.choose("#kernel-preset", "presetOutline")
    kernel = np.full((3, 3), -1.0)
    kernel[1, 1] = 8
    reader.write("#kernel-numbers input:nth-child(6)", "2.5")
    kernel[1, 2] = 2.5
    reader.write("#kernel-bias", "-0.5")
    sums = jax.lax.conv(jnp.asarray(image[None, None]), jnp.asarray(kernel[None, None]), (1, 1), "VALID")
    sums = np.asarray(sums)[0, 0] - 0.5
    assert "9 - 3 + 1 = 7" in reader.reads("#kernel-size")
    assert sums.shape == (7, 7)
    assert sums.min() < 0 < sums.max()
    for row, column in [(0, 0), (3, 3), (6, 6), np.unravel_index(sums.argmin(), sums.shape)]:
        reader.cell("#kernel-map", row, column, 7, 7)
        patch = image[row : row + 3, column : column + 3]
        total = sums[row, column]
        # Patch, kernel, products; where they go on, the sum and what ReLU makes of it.
        wanted = (patch, kernel, patch * kernel, total, max(0, total))
        tables = page.run(NUMBERS, "#kernel-working table")
        assert len(tables) in (3, 5)
        for table, numbers in zip(tables, wanted, strict=False):
            np.testing.assert_allclose(table, np.ravel(numbers), atol=1e-12)
        numbers = shown_numbers(reader.reads("#kernel-sum").rpartition("=")[2])
        assert numbers == [max(0, total)]
        words = reader.reads("#kernel-words")
        assert f"Row {row}, column {column} of the feature map is {max(0, total):g}." in words
    assert total < 0  # the last: without ReLU it is said as it is
    reader.press("#kernel-relu")
    assert shown_numbers(reader.reads("#kernel-sum"))[-1] == total
    reader.press("#kernel-relu")


@pytest.mark.slow
def test_a_convolution_of_the_net(explorer, net):
    """The size, the patch, the kernel and the sum behind the value that the person points at."""
    page, reader = explorer
    run, _, _, values = net
    look(page, reader, "conv2", 1)
    size = values["conv2"].shape[0]
    before = values["pool1"].shape[0]
    assert f"({before} + 2 + 2 - 5) / 1 + 1 = {size}" in reader.reads("#detail-about")
    assert before + 2 + 2 - 5 + 1 == size
    reader.cell("#map", 3, 2, size, size)
    row, column, channel = position(page)
    assert (row, column) == (3, 2)
    assert shown_numbers(reader.reads("#why .sum"))[-1] == pytest.approx(
        values["conv2"][row, column, channel], rel=ROUNDED
    )
    # The second tower reads the second half of pool1 alone.
    made, seen = values["conv2"].shape[2] // 2, values["pool1"].shape[2] // 2
    kernel = np.asarray(run.params["conv2"]["kernel"], np.float64)[1, ..., channel - made]
    padded = np.pad(values["pool1"][..., seen:], ((2, 2), (2, 2), (0, 0)))
    patch = padded[row : row + 5, column : column + 5]
    products = patch * kernel
    heaviest = int(np.abs(products.sum((0, 1))).argmax())
    tables = page.run(NUMBERS, "#why table")
    for table, wanted in zip(tables, (patch, kernel, products), strict=True):
        np.testing.assert_allclose(table, wanted[..., heaviest].reshape(-1), rtol=0.06)


@pytest.mark.slow
def test_normalisation(explorer, net):
    page, reader = explorer
    look(page, reader, "norm1", 1)
    values = net[3]
    size = values["norm1"].shape[0]
    # Where no channel of the tower, 3 to 5, is 0.
    at = np.unravel_index(values["relu1"][..., 3:].min(-1).argmax(), (size, size))
    assert values["relu1"][at][3:].min() > 0
    reader.cell("#map", *map(int, at), size, size)
    row, column, channel = position(page)
    assert (row, column) == at
    # Of five channels around it those that are there and in its tower.
    first = max(3, channel - 2)
    neighbours = values["relu1"][row, column, first : min(6, channel + 3)]
    [table] = page.run(NUMBERS, "#why table")
    np.testing.assert_allclose(table, neighbours, rtol=0.06, atol=1e-9)
    squares = (neighbours**2).sum()
    assert shown_numbers(reader.reads("#why .sum"))[-1] == pytest.approx(squares, rel=ROUNDED)
    wanted = values["relu1"][row, column, channel] / (2 + 1e-4 * squares) ** 0.75
    last = page.run("return [...document.querySelectorAll('#why .sum')].pop().innerText")
    assert shown_numbers(last)[-1] == pytest.approx(wanted, rel=ROUNDED)


@pytest.mark.slow
def test_pooling(explorer, net):
    """The window's nine numbers, the largest, and how many windows of either kind would hold it."""
    page, reader = explorer
    look(page, reader, "pool1")
    values = net[3]["norm1"]
    size = net[3]["pool1"].shape[0]
    for cell in [(2, 3), (5, 1)]:
        reader.cell("#map", *cell, size, size)
        row, column, channel = position(page)
        assert (row, column) == cell
        window = values[2 * row : 2 * row + 3, 2 * column : 2 * column + 3, channel]
        [table] = page.run(NUMBERS, "#why table")
        np.testing.assert_allclose(table, window.reshape(-1), rtol=ROUNDED, atol=1e-9)
        assert shown_numbers(reader.reads("#why .sum"))[-1] == pytest.approx(window.max(), rel=ROUNDED)
        top, left = np.unravel_index(window.argmax(), window.shape) + 2 * np.asarray([row, column])

        def windows(side, top=top, left=left):
            starts = [2 * n for n in range((len(values) - side) // 2 + 1)]
            return sum(0 <= top - r < side and 0 <= left - c < side for r in starts for c in starts)

        said = re.search(r"lies in (\d+) of them. .* would lie in (\d+)", reader.reads("#why")).groups()
        assert [int(number) for number in said] == [windows(3), windows(2)]


# Answers.


@pytest.mark.slow
def test_dropout(explorer, net):
    """One draw and the mean of a hundred change the answer as they do by numpy."""
    page, reader = explorer
    run, _, _, values = net
    look(page, reader, "drop7")
    reader.press("#mask")
    page.wait("return Boolean(explorer.net.drawn)")
    kernel = np.asarray(run.params["fc8"]["kernel"], np.float64).reshape(-1, 7)
    bias = np.asarray(run.params["fc8"]["bias"], np.float64)

    def answer(units):
        return np.asarray(jax.nn.softmax(jnp.asarray(units @ kernel + bias), axis=-1))

    mask = page.array("explorer.net.masks.drop7", np.uint8)
    assert 0.2 < mask.mean() < 0.8
    drawn, used = answer(values["relu7"] * mask), answer(values["relu7"] * 0.5)
    close(page.array("explorer.net.drawn"), drawn.astype(np.float32))
    assert f"keeps {mask.sum()} of {len(mask)} values" in reader.reads("#why")
    said = re.findall(r"(animal \d)\W+([\d.]+) %", reader.reads("#draws-words"))
    for (name, share), wanted in zip(said, (drawn, used), strict=True):
        assert name == NAMES[wanted.argmax()]
        assert float(share) == pytest.approx(100 * wanted.max(), abs=0.051)
    reader.press("#draws")
    page.wait("return Boolean(explorer.net.draws)")
    mean = page.array("explorer.net.draws.prob")
    assert mean.sum() == pytest.approx(1, abs=1e-5)
    draw = np.random.default_rng(0)
    second = np.asarray(run.params["fc7"]["kernel"], np.float64)  # (towers, inputs, units of a tower)
    second_bias = np.asarray(run.params["fc7"]["bias"], np.float64).reshape(-1)
    kept = values["relu6"] * draw.integers(0, 2, (400, *values["relu6"].shape))
    hidden = np.maximum(np.concatenate([kept @ tower for tower in second], axis=1) + second_bias, 0)
    many = answer(hidden * draw.integers(0, 2, hidden.shape))
    spread = np.std(many, 0) * np.sqrt(1 / 100 + 1 / 400)
    assert (np.abs(mean - np.mean(many, 0)) < 6 * spread + 1e-6).all()
    assert "of 100 draws" in reader.reads("#draws-words")
    reader.press("#mask")  # back to the net in use
    assert page.run("return Object.keys(explorer.net.masks)") == []


@pytest.mark.slow
def test_softmax(explorer, net):
    """The last layer opens on the winner, by name; its table leads from sums to the probabilities."""
    page, reader = explorer
    values = net[3]
    look(page, reader, "fc8", -1)
    logits, prob = values["fc8"], values["prob"]
    winner = int(prob.argmax())
    assert position(page)[2] == winner
    assert f"unit {winner}, \u2068{NAMES[winner]}\u2069" in reader.reads("#words")
    rows = page.run(
        """return [...document.querySelectorAll("#why table.moves tbody tr")].map(
          (row) => [...row.children].map((cell) => cell.textContent.replace(/\u2212/g, "-")));"""
    )
    assert len(rows) == 8
    powers = np.exp(logits - logits.max())
    for row, label in zip(rows, np.argsort(-logits), strict=False):
        assert NAMES[label] in row[0]
        assert float(row[1]) == pytest.approx(logits[label], rel=ROUNDED)
        assert float(row[3]) == pytest.approx(powers[label], rel=ROUNDED)
        assert float(row[5].split()[0]) == pytest.approx(100 * prob[label], abs=0.051)
    assert float(rows[-1][3]) == pytest.approx(powers.sum(), rel=ROUNDED)


@pytest.mark.slow
def test_the_heat_map(explorer, net):
    """A grey square goes over the image: first that position is told where the answer falls most."""
    page, reader = explorer
    run, _, cut, values = net
    reader.press("#scan")
    page.wait("return Boolean(explorer.net.scan)")
    grey = np.round(np.asarray(run.mean).mean((0, 1)))
    starts = np.rint(np.arange(9) * (64 - 16) / 8).astype(int)
    covered = np.repeat(cut[None], 81, axis=0)
    for number in range(81):
        top, left = starts[number // 9], starts[number % 9]
        covered[number, top : top + 16, left : left + 16] = grey
    winner = int(values["prob"].argmax())
    chances = 100 * by_hand(run, covered)["prob"][:, winner]

    def check(at):
        name, now, before = re.search(
            rf"position {at // 9}, {at % 9} of 0 to 8, \W*(.*?)\W* has ([\d.]+) % instead of ([\d.]+) %",
            reader.reads("#scan-words"),
        ).groups()
        assert name == NAMES[winner]
        assert float(now) == pytest.approx(chances[at], abs=0.051)
        assert float(before) == pytest.approx(100 * values["prob"][winner], abs=0.051)

    check(int(chances.argmin()))
    for row, column in [(0, 8), (5, 2)]:
        reader.cell("#scan-map", row, column, 9, 9)
        check(9 * row + column)


@pytest.mark.slow
def test_lighting(explorer, net):
    """Three sliders add p . (alpha * sqrt(lambda)), alpha in standard deviations of 0.1 (section 4.1)."""
    page, reader = explorer
    run, _, cut, _ = net
    alphas = []
    for axis, place in enumerate((0.75, 0.2, 0.6)):
        slider = f"#lighting-sliders label:nth-of-type({axis + 1}) input"
        reader.press(slider, place)
        alphas.append(float(reader.find(slider).get_attribute("value")))
    assert [np.sign(alpha) for alpha in alphas] == [1, -1, 1]
    wanted = run.statistics.eigenvectors @ (0.1 * np.asarray(alphas) * np.asarray([300, 100, 20]))
    assert shown_numbers(reader.reads("#lighting-words")) == pytest.approx(wanted, rel=ROUNDED)
    shown = page.run(
        """const canvas = document.getElementById("lighting-image");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const mean = (values) => values.reduce((a, b) => a + b) / values.length;
        return [0, 1, 2].map((c) => mean(data.filter((_, i) => i % 4 === c)));"""
    )
    np.testing.assert_allclose(shown, np.clip(cut + wanted, 0, 255).mean((0, 1)), atol=2)
    reader.press("#lighting-none")
    assert shown_numbers(reader.reads("#lighting-words")) == [0, 0, 0]


# The other lessons.


@pytest.mark.slow
def test_one_neuron_and_its_sigmoid(explorer):
    page, reader = explorer
    values = []
    for number, place in enumerate((0.9, 0.85, 0.15, 0.7, 0.35, 0.3, 0.3), start=1):
        slider = f"#neuron-sliders label:nth-of-type({number}) input"
        reader.press(slider, place)
        values.append(float(reader.find(slider).get_attribute("value")))
    lights, weights, bias = np.asarray(values[:3]), np.asarray(values[3:6]), values[6]
    assert (lights > 0).all()
    total = lights @ weights + bias
    assert shown_numbers(reader.reads("#neuron-sum"))[-2:] == pytest.approx([total, 0], rel=ROUNDED, abs=5e-4)
    assert (">" in reader.reads("#neuron-sum")) == (total > 0)
    fires = 1 / (1 + np.exp(-total))
    said = shown_numbers(reader.reads("#neuron-words"))
    assert said[-1] == pytest.approx(fires, rel=ROUNDED)
    assert said[-2] == pytest.approx(max(0, total), rel=ROUNDED)
    point = page.run("return +document.querySelector('#neuron-curve .point').getAttribute('cy')")
    axis = page.run("return document.querySelector('#neuron-curve .axis').getAttribute('d')")
    top, bottom = 14, float(re.search(r"M\S+ ([\d.]+)H", axis)[1])
    assert (bottom - point) / (bottom - top) * 1.5 == pytest.approx(fires, rel=1e-3)


@pytest.mark.slow
def test_a_drawn_digit_and_one_step(explorer):
    """A hundred steps of learning, a seven drawn by hand, and one step on it: the chain rule in numbers."""
    page, reader = explorer
    reader.press("#digit-controls-hundredSteps")
    page.wait("return explorer.learning.digits.steps >= 100 && !document.hidden")
    stroke = (
        np.linspace([0.2, 0.2], [0.8, 0.2], 6).tolist() + np.linspace([0.76, 0.28], [0.4, 0.9], 8).tolist()
    )
    reader.stroke("#digit-pad", [tuple(place) for place in stroke])
    reader.choose("#digit-target", "7")
    net = page.learnt("digits.net")
    assert (net["hidden"].shape, net["output"].shape) == ((15, 784), (10, 15))
    image = np.asarray(page.run("return [...explorer.learning.digits.current.x]"))
    assert np.count_nonzero(image) > 20
    reader.press("#digit-units button:nth-child(4)")
    reader.press("#digit-step")
    [row, column, unit, target] = page.run(
        "return ['row', 'column', 'unit', 'target'].map((key) => explorer.learning.digits.chain[key])"
    )
    assert (unit, target) == (3, 7)
    pixel = 28 * row + column

    def loss(net, image):
        hidden = jax.nn.sigmoid(net["hidden"] @ image + net["hiddenBias"])
        return -jax.nn.log_softmax(net["output"] @ hidden + net["outputBias"])[7]

    with jax.enable_x64(True):
        slopes = jax.grad(loss)(net, image)
    after = page.learnt("digits.net")
    for part, slope in slopes.items():
        close((net[part] - after[part]) / 0.5, np.asarray(slope))
    # On the page: pixel x slope of the sigmoid x what the ten errors ask of the unit = slope of the weight.
    hidden = jax.nn.sigmoid(net["hidden"] @ image + net["hiddenBias"])
    errors = np.asarray(jax.nn.softmax(net["output"] @ hidden + net["outputBias"])) - np.eye(10)[7]
    factors = [image[pixel], hidden[3] * (1 - hidden[3]), errors @ net["output"][:, 3]]
    chips = shown_numbers(
        "; ".join(
            page.run("return [...document.querySelectorAll('#chain-sum b')].map((chip) => chip.innerText)")
        )
    )
    assert chips == pytest.approx([*map(float, factors), float(slopes["hidden"][3, pixel])], rel=ROUNDED)
    assert np.prod(factors) == pytest.approx(float(slopes["hidden"][3, pixel]), rel=1e-5)
    guesses = np.asarray(
        jax.nn.softmax(
            after["output"] @ jax.nn.sigmoid(after["hidden"] @ image + after["hiddenBias"])
            + after["outputBias"]
        )
    )
    bars = page.run(
        "return [...document.querySelectorAll('#digit-bars .name')].map((name) => name.textContent)"
    )
    for number, (bar, guess) in enumerate(zip(bars, guesses, strict=True)):
        assert shown_numbers(bar) == pytest.approx([number, 100 * guess], abs=0.051)
    assert reader.reads("#digit-words").startswith(f"It says {guesses.argmax()}")


@pytest.mark.slow
def test_the_table_of_layers(explorer, net):
    """Each row counts what the parameters and the values count, and leads to its layer."""
    page, reader = explorer
    run, _, _, values = net
    rows = page.run(
        """return [...document.querySelectorAll("#layer-table tr")].map(
          (row) => [...row.children].map((cell) => cell.textContent));"""
    )
    rows = {row[0]: row for row in rows}
    names = page.run("return explorer.net.net.layers.map((layer) => layer.name)")
    for name, leaf in run.params.items():
        kernel, neurons = np.asarray(leaf["kernel"]), values[name].size
        positions = neurons // values[name].shape[-1]
        counts = (sum(np.size(part) for part in leaf.values()), neurons, kernel.size * positions)
        assert rows[name][5:] == ["×".join(map(str, values[name].shape)), *(f"{count:,}" for count in counts)]
    for index, name in enumerate(names):
        reader.press(f'[data-jumps="{index}"]')
        assert reader.reads("#detail-title").startswith(name)
        top = page.run("return document.getElementById('detail-title').getBoundingClientRect().top")
        assert 0 <= top < page.run("return innerHeight")
        marked = page.run("return document.querySelector('#layer-table [aria-current=true]').textContent")
        assert marked == name


# The report.


@pytest.fixture(scope="module")
def reported(digits_folder, tmp_path_factory):
    """The report of a random net on digits; for its first kernels stand 96 as large as the paper's.

    Returns the net, the page and those kernels.
    """
    workdir = tmp_path_factory.mktemp("report") / "run"
    workdir.mkdir()
    config = small_digits(digits_folder)
    config.mesh.model = 1
    net = random_net(workdir, config, tuple("0123456789"))
    config_io.save(workdir / "config.json", config, class_names=list(net.class_names))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_data.trained, "load", lambda *arguments: net)
        patch.setattr(TrainedNet, "changed", lambda net: {})
        data = report_data.find(workdir, config, "best", LOOKED_AT)
    assert data.missing == {}
    # Few grey levels: the page keeps small images to the bit.
    data.kernels = np.random.default_rng(0).integers(-8, 9, (2, 11, 11, 3, 48)).astype(np.float32)
    report_page.write([run_files.read(workdir)], data)
    return net, workdir / "report" / "index.html", data.kernels


@pytest.fixture(params=WIDTHS)
def report(request, browser, reported):
    """The report before a person; a function that gives the images of a selector as they are shown."""
    browser.console()
    browser.open(reported[1], request.param, HEIGHTS[request.param])

    def images(selector):
        shown = browser.run(
            """return [...document.querySelectorAll(arguments[0])].map((image) => {
              const { left, right, width } = image.getBoundingClientRect();
              return [image.src, left, right, width];
            });""",
            selector,
        )
        for _, left, right, width in shown:
            assert 0 <= left < right <= request.param
            assert width >= 60
        return [
            np.asarray(Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2])))) for src, *_ in shown
        ]

    yield browser, images
    assert browser.run("return document.documentElement.scrollWidth") <= request.param
    assert browser.console() == []


@pytest.mark.slow
def test_ninety_six_kernels(report, reported):
    """Figure 3 as in the paper: 48 of a tower in three rows of 16, each scaled by itself, 0 grey."""
    _, images = report
    shown = images("#kernels + div .kernels img")
    assert [image.shape for image in shown] == [(3 * 12 - 1, 16 * 12 - 1, 3)] * 2
    for tower, image in enumerate(shown):
        for channel in range(48):
            kernel = reported[2][tower, ..., channel]
            top, left = 12 * (channel // 16), 12 * (channel % 16)
            wanted = np.rint(255 * (0.5 + kernel / (2 * np.abs(kernel).max())))
            assert np.abs(image[top : top + 11, left : left + 11] - wanted).max() <= 1


@pytest.mark.slow
def test_eight_images_with_five_bars(report, reported):
    browser, images = report
    run = reported[0]
    pixels = np.stack(images("#figure4 + div figure:first-child .guesses img"))
    assert pixels.shape == (8, 64, 64)
    prob = by_hand(run, pixels[..., None])["prob"]
    shown = browser.run(
        """const say = (bar) => [bar.querySelector(".name").innerText, bar.querySelector("span").innerText,
          bar.querySelector("i").offsetWidth / bar.offsetWidth];
        const each = document.querySelectorAll("#figure4 + div figure:first-child .guesses > div");
        return [...each].map((one) => [...one.querySelectorAll(".bar")].map(say));"""
    )
    assert [len(bars) for bars in shown] == [5] * 8
    for bars, row in zip(shown, prob, strict=True):
        likeliest = np.argsort(-row)[:5]
        for (name, share, width), label in zip(bars, likeliest, strict=True):
            assert name == run.class_names[label]
            assert float(share.rstrip("%")) == pytest.approx(100 * row[label], abs=0.051)
            assert width == pytest.approx(row[label], abs=0.02)


@pytest.mark.slow
def test_nine_patches(report, reported):
    """For a channel of conv1: the parts of nine images where numpy's convolution is largest."""
    browser, images = report
    run = reported[0]
    titles = browser.run(
        """const figure = [...document.querySelectorAll("#channels + div figure")].find(
          (one) => one.querySelector("h3").textContent.startsWith("conv1"));
        figure.id = "of-conv1";
        return [...figure.querySelectorAll(".channels > div > p span[lang=en]")].map((p) => p.textContent);"""
    )
    assert titles
    shown = images("#of-conv1 .channels img")
    assert len(shown) == 2 * len(titles)
    dataset = open_dataset(run.config.data)
    records = dataset.records(run.config.data.train_split)
    looked_at = [(2 * n + 1) * len(records) // (2 * LOOKED_AT) for n in range(LOOKED_AT)]
    whole = np.stack([np.frombuffer(records.read(n)[0], np.uint8).reshape(72, 72, 1) for n in looked_at])
    cuts = whole[:, 4:68, 4:68]
    values = by_hand(run, cuts)["conv1"]
    exact = 0
    for title, patches in zip(titles, shown[::2], strict=True):
        channel = int(re.match(r"channel (\d+)", title)[1])
        plane = values[..., channel]
        strongest = np.argsort(-plane.max((1, 2)))[:9]
        assert patches.shape[:2] == (3 * 12 - 1, 3 * 12 - 1)
        for place, number in enumerate(strongest):
            row, column = np.unravel_index(plane[number].argmax(), plane[number].shape)
            part = cuts[number, 4 * row : 4 * row + 11, 4 * column : 4 * column + 11]
            if part.shape == (11, 11, 1):  # at the edge a patch is smaller
                top, left = 12 * (place // 3), 12 * (place % 3)
                found = patches[top : top + 11, left : left + 11].reshape(11, 11, -1)
                assert (found == part).all()
                exact += 1
    assert exact >= 9
    for projected in shown[1::2]:  # what in each patch does it: not all grey
        assert np.ptp(projected.astype(int)) > 100


# The sheet of `similar`.


@pytest.fixture(scope="module")
def beach(tmp_path_factory):
    """A folder of images, a sheet of those that a net thinks likeliest a class, and the chances by numpy."""
    folder = tmp_path_factory.mktemp("similar")
    net = helpers.random_run(folder / "run")
    files = write_images(folder / "photos", 10, seed=1)
    answer = similar.similar(net, folder / "photos", None, "class 1", 9)
    sheet.draw(answer, Preprocessing.of(net.config.data), folder / "beach.svg")
    how = Preprocessing(72, 3)
    cuts = np.stack([resize_center_crop(file.read_bytes(), how)[4:68, 4:68] for file in files])
    chances = by_hand(net, cuts)["prob"]
    return folder / "beach.svg", files, chances


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_find_my_beach(width, browser, beach):
    """The images in the order of the chance that they show the class; each with it, in words and as a bar."""
    path, files, chances = beach
    browser.console()
    browser.open(path, width)
    texts = browser.run("return [...document.querySelectorAll('text')].map((text) => text.textContent)")
    order = np.argsort(-chances[:, 1])[:9]
    names = [text for text in texts if text.endswith(".png")]
    assert names == [files[number].relative_to(files[0].parents[0]).as_posix() for number in order]
    shares = [text for text in texts if text.endswith("%")]
    assert shares == [f"{chances[number, 1]:.1%}" for number in order]
    bars = browser.run(
        """const lengths = (fill) => [...document.querySelectorAll(`path[style*="fill: ${fill}"]`)].map(
          (bar) => bar.getBBox().width);
        return [lengths(arguments[0]), lengths(arguments[1])];""",
        sheet.BAR,
        sheet.REST,
    )
    np.testing.assert_allclose(np.divide(*bars), chances[order, 1], atol=0.005)
    boxes = browser.run(
        "return [...document.querySelectorAll('image')].map((image) => image.getBoundingClientRect().width)"
    )
    assert len(boxes) == 9
    assert min(boxes) > 60
    assert browser.console() == []


def test_each_wish_has_its_test():
    """What the table names is there, and runs at both widths."""
    named = re.findall(r"\| ((?:test_\w+\.)?test_\w+)$", __doc__, re.MULTILINE)
    assert len(named) == len(set(named)) == __doc__.count("| test_") >= 15
    own = {name for name in globals() if name.startswith("test_")} - {"test_each_wish_has_its_test"}
    assert own <= set(named)
    for name in named:
        module, _, function = name.rpartition(".")
        test = getattr(
            importlib.import_module(f"tests.report.{module}") if module else sys.modules[__name__], function
        )
        marks = [mark.args for mark in test.pytestmark if mark.name == "parametrize"]
        taken = inspect.signature(test).parameters
        assert {"explorer", "report"} & set(taken) or (
            "width" in marks[0][0] and set(WIDTHS) == set(marks[0][1])
        )
