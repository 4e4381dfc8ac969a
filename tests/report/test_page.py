"""The report's page and figures: they show the numbers they are given, and hostile ones as text."""

import base64
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.errors import UsageError
from alexnet_jax.inference.findings import PARTS, Findings
from alexnet_jax.report import figures, page, runs
from tests.browser import chromium
from tests.report import made_up


class Parsed(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page full of hostile names: its workdir."""
    folder = tmp_path_factory.mktemp("hostile")
    workdir = made_up.write_run(folder / "<img src=x onerror=alert(1)> & \u202e$x^$")
    other = made_up.write_run(folder / ("y" * 200))
    page.write([runs.read(workdir), runs.read(other)], made_up.findings())
    return workdir


def test_hostile_names_are_text(written):
    text = (written / "report" / "index.html").read_text()
    parsed = Parsed(text)
    assert "script" not in parsed.tags
    assert not [row for row in parsed.attributes if row[1].startswith("on")]
    addresses = [value for _, name, value in parsed.attributes if name in ("src", "href")]
    assert len(addresses) >= 8
    assert all(value.startswith("data:") for value in addresses)
    shown = "".join(parsed.texts)
    assert made_up.HOSTILE[0] in shown
    assert "{{ 7 * 7 }}" in shown
    assert "x" * 5000 not in text
    assert "(no name)" in shown
    assert not set("\u202e\x00\x1b") & set(text)
    assert len(text.encode()) < page.LARGEST
    for path in (written / "report" / "figures").iterdir():
        if path.suffix == ".svg":
            root = ElementTree.parse(path).getroot()
            assert not [node for node in root.iter() if node.tag.endswith("script")]
        else:
            Image.open(path).verify()


def test_the_files_are_whole(written):
    names = {path.stem for path in (written / "report" / "figures").iterdir()}
    assert names == {
        *("curves", "kernels", "guesses", "neighbours", "confusion", "mistakes"),
        *("excites_conv1", "excites_conv2"),
    }
    numbers = json.loads((written / "report" / "report.json").read_text())
    matrix = made_up.findings().confusions.matrix
    assert numbers["centre_top1_error"] == pytest.approx(1 - np.diag(matrix).sum() / matrix.sum())
    assert numbers["step"] == 1000


def test_pictures_in_the_page_are_the_figures(written):
    text = (written / "report" / "index.html").read_text()
    found = re.findall(r"data:image/(?:png|webp);base64,([A-Za-z0-9+/=]+)", text)
    sizes = sorted(Image.open(io.BytesIO(base64.b64decode(data))).size for data in found)
    assert sizes == sorted(Image.open(path).size for path in (written / "report" / "figures").glob("*.png"))


def test_the_glance_says_what_the_files_say(tmp_path):
    run = runs.read(made_up.write_run(tmp_path / "run", tuple("abcdefghij"), hostile=False))
    rows = {
        what: (here, there) for what, here, there in page.at_a_glance(run, made_up.findings(tuple("abc")))
    }
    assert rows["error, ten views"][0] == "top-1 30.00% (9 pictures of 'a')"
    assert rows["error, centre view"][1] == "top-1 26.00% (cuda-convnet)"
    assert rows["epochs"][0] == "3 of 12"
    # 0.9 / 3 = 0.3 at epoch 1.5, 0.9 / 4 = 0.225 at epoch 2
    assert rows["epochs to 25 % training error"][0] == f"{1.5 + 0.5 * 0.05 / 0.075:.3g}"
    assert rows["training images/s (median)"][0] == "106"
    seconds = sum(100 * 128 / (100 + n) for n in range(1, 11))
    assert rows["time in training steps"][0] == f"{seconds / 60:.3g} min"
    metrics = tmp_path / "run" / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    for line in lines:
        if "perf/images_per_second" in line:
            line["perf/images_per_second"] /= 100
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    slow = page.at_a_glance(runs.read(tmp_path / "run"), made_up.findings(tuple("abc")))
    here = next(here for what, here, _ in slow if what == "time in training steps")
    days = 100 * seconds / 86400
    assert here.endswith(f" h: {days / 6:.2g} to {days / 5:.2g} of the paper's")


def test_curves_draw_the_lines_of_the_files(tmp_path):
    all_runs = [runs.read(made_up.write_run(tmp_path / name)) for name in "ab"]
    figure = figures.curves(all_runs, ["a", "b"])
    loss, top1, _, rate = figure.axes
    expected = [n / 2 for n in range(1, 11)], [2.0 / n for n in range(1, 11)]
    assert [tuple(map(list, line.get_data())) for line in loss.lines[:1]] == [expected]
    assert runs.drops(all_runs[0].metrics) == [(2.5, 0.01, 0.001)]
    dotted = [line.get_xdata()[0] for line in loss.lines if line.get_linestyle() == ":"]
    assert dotted == [2.5, 2.5]  # of both runs
    marks = [line.get_xdata()[0] for line in top1.lines if line.get_marker() == "D"]
    assert marks == pytest.approx([1.5 + 0.5 * 0.05 / 0.075] * 2)
    assert [list(line.get_ydata()) for line in top1.lines[1:2]] == [[0.95 / n for n in (1, 2, 3)]]
    assert rate.get_yscale() == "log"
    assert len({line.get_color() for line in loss.lines}) == 2


def test_an_error_that_is_never_reached():
    lines = [{"step": n, "epoch": float(n), "train/top1_error": 0.9} for n in range(4)]
    assert runs.epochs_to(lines, 0.25) is None
    assert runs.epochs_to([], 0.25) is None
    assert runs.epochs_to([{"epoch": 2.0, "train/top1_error": 0.25}], 0.25) == 2.0


def test_kernels_are_drawn_where_and_as_they_are():
    """Tile (1, 2) of tower 1 of 10 maps is map 18: 0 at middle grey, its largest number at an end."""
    kernels = np.random.default_rng(1).normal(size=(2, 5, 5, 3, 20)).astype(np.float32)
    figure = figures.kernels(kernels)
    assert len(figure.axes) == 2
    drawn = figure.axes[1].images[0].get_array()
    top, left = 1 * (5 + 1), 2 * (5 + 1)  # rows of eight, a line of one pixel between
    tile, kernel = drawn[top : top + 5, left : left + 5], kernels[1, ..., 10]
    np.testing.assert_allclose(tile, (kernel / np.abs(kernel).max() + 1) / 2, rtol=1e-5)
    assert figures.kernels(np.ones((1, 3, 3, 1, 5))).axes[0].images[0].get_array().shape[2] == 3


def test_specialisation_against_pairs_counted():
    draw = np.random.default_rng(2)
    grey = draw.normal(size=(7, 7, 1, 12)).repeat(3, axis=2)
    colour = draw.normal(size=(7, 7, 3, 12))
    number, shares = figures.specialisation(np.stack([grey, colour]))
    assert number == 1.0
    assert shares[0] == pytest.approx(0, abs=1e-12)
    first, second = draw.normal(size=(2, 7, 7, 3, 12)) + 0.6 * grey
    number, shares = figures.specialisation(np.stack([first, second]))

    def colours(kernels):
        found = []
        for one in np.moveaxis(kernels, -1, 0):
            mean = one.mean(axis=2, keepdims=True)
            found.append(((one - mean) ** 2).sum() / (one**2).sum())
        return found

    pairs = [a > b for a in colours(first) for b in colours(second)]
    share = sum(pairs) / len(pairs)
    assert number == pytest.approx(max(share, 1 - share))
    assert shares == pytest.approx([np.mean(colours(first)), np.mean(colours(second))])
    one = np.concatenate([first, second], axis=-1)[None]
    assert figures.specialisation(one)[0] == pytest.approx(number)
    assert figures.specialisation(np.ones((2, 3, 3, 1, 4))) is None


def test_bars_are_as_long_as_the_probabilities():
    given = made_up.findings(tuple("abcdefghij")).guesses
    figure = figures.guesses(given)
    drawn = [place for place in figure.axes if place.patches]
    assert len(drawn) == 8
    for place, guess in zip(drawn, given, strict=True):
        assert [bar.get_width() for bar in place.patches] == [value for _, value in guess.guesses]
        colours = {
            name: bar.get_facecolor() for bar, (name, _) in zip(place.patches, guess.guesses, strict=True)
        }
        right = colours.pop(guess.picture.label)
        assert right not in colours.values()
    pictures = [place.images[0].get_array() for place in figure.axes if place.images]
    np.testing.assert_allclose(pictures[3], given[3].picture.image / 255)


def test_neighbours_and_patches_stand_in_order():
    given = made_up.findings(tuple("abcdefghij"))
    pictures = [
        place.images[0].get_array() for place in figures.neighbours(given.neighbours).axes if place.images
    ]
    expected = [
        p.image for row in given.neighbours for p in (row.picture, *(near for near, _ in row.nearest))
    ]
    np.testing.assert_allclose(pictures, np.stack(expected) / 255)
    upper, lower = [place for place in figures.excites(given.maps[:1]).axes if place.images]
    patch = given.maps[0].patches[4]  # the middle one of three by three, of 6 by 7 in a square of 7
    size = patch.pixels.shape[0]
    np.testing.assert_allclose(upper.images[0].get_array()[8 : 8 + size, 8:15], patch.pixels / 255)
    limit = np.quantile(np.abs(patch.projection), figures.CONTRAST)
    shown = np.clip(patch.projection / limit, -1, 1)
    np.testing.assert_allclose(2 * lower.images[0].get_array()[8 : 8 + size, 8:15] - 1, shown, atol=1e-6)


def test_the_matrix_and_its_classes():
    found = made_up.findings(tuple("abcdef")).confusions
    drawn = figures.confusion(found).axes[0].images[0].get_array()
    expected = [[x / sum(row) for x in row] for row in found.matrix.tolist()]
    np.testing.assert_allclose(drawn, expected)
    rows = page.class_rows(found)
    right = {name: float(share.rstrip("%")) / 100 for name, share, _, _ in rows}
    for name, row, place in zip("abcdef", found.matrix.tolist(), range(6), strict=True):
        assert right[name] == pytest.approx(row[place] / sum(row), abs=6e-4)
        others = [count if column != place else -1 for column, count in enumerate(row)]
        assert (
            next(line[3] for line in rows if line[0] == name)
            == f"{'abcdef'[others.index(max(others))]} ({max(others)})"
        )
    assert [right[line[0]] for line in rows] == sorted(right.values())


def test_a_page_of_a_run_that_has_only_begun(tmp_path):
    workdir = made_up.write_run(tmp_path / "run")
    for name in ("metrics.jsonl", "evaluation.json"):
        (workdir / name).unlink()
    findings = Findings(missing=dict.fromkeys(PARTS, "no complete checkpoint <yet>"))
    lines = page.write([runs.read(workdir)], findings)
    text = (workdir / "report" / "index.html").read_text()
    assert "Not on this page" in text
    assert "no complete checkpoint &lt;yet&gt;" in text
    assert any("curves: " in line for line in lines)
    assert sum("no complete checkpoint" in line for line in lines) == 1


def test_wrong_uses(tmp_path):
    with pytest.raises(UsageError, match="not the workdir of a run"):
        page.check([tmp_path])
    workdir = made_up.write_run(tmp_path / "run")
    (workdir / "report").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        page.check([workdir])


@pytest.mark.slow
def test_a_browser_opens_it_alone(written):
    """No error, no message, no request beside the file itself, nothing wider than the window."""
    path = written / "report" / "index.html"
    with chromium() as browser:
        for width in (1440, 360):
            browser.open(path, width)
            assert browser.console() == []
            assert browser.requests() == [path.absolute().as_uri()]
            assert browser.run("return document.title").startswith("<img src=x onerror=alert(1)> &")
            assert browser.run("return document.documentElement.scrollWidth") <= width
            loaded = "return [...document.images].every(image => image.complete && image.naturalWidth > 0)"
            assert browser.run(loaded)
