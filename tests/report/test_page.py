"""The report's page: it shows the numbers that it is given, and hostile names as text."""

import base64
import io
import json
import re
import shlex
import warnings
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from alexnet_jax import program
from alexnet_jax.errors import UsageError
from alexnet_jax.inference.report_data import PARTS, ReportData
from alexnet_jax.report import glance, page, runs, tables
from tests import fonts
from tests.browser import chromium
from tests.commands.helpers import parse
from tests.report import made_up

# The least contrast of a text with what it stands on (WCAG 2), over all texts that are not in a drawing.
PALEST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const rgb = (colour) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = (colour) => {
  const [r, g, b] = rgb(colour).map((x) => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
let least = 21;
for (const element of document.querySelectorAll("body *:not(svg *, script)")) {
  if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
  const bar = element.closest(".bar")?.querySelector("i");
  let ground = bar || element;
  while (rgb(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const [low, high] = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor]
    .map(light).sort((a, b) => a - b);
  least = Math.min(least, (high + 0.05) / (low + 0.05));
}
return least;
"""


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


def as_row(cells):
    """A pattern of a table's row: what is not the same in Chinese stands in both languages."""

    def say(cell):
        chinese = getattr(cell, "chinese", cell)
        return cell if chinese == cell else f'<span lang="en">{cell}</span><span lang="zh">{chinese}</span>'

    return "".join(rf"<td [^>]*><bdi>{re.escape(say(cell))}</bdi></td>" for cell in cells)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page full of hostile names: its workdir."""
    folder = tmp_path_factory.mktemp("hostile")
    workdir = made_up.write_run(folder / "<img src=x onerror=alert(1)> & \u202e$x^$")
    other = made_up.write_run(folder / ("y" * 200))
    page.write([runs.read(workdir), runs.read(other)], made_up.report_data())
    return workdir


def test_hostile_names_are_text(written):
    text = (written / "report" / "index.html").read_text()
    parsed = Parsed(text)
    assert parsed.tags.count("script") == 1  # the page's own
    assert not [row for row in parsed.attributes if row[1].startswith("on")]
    addresses = [value for tag, name, value in parsed.attributes if tag == "img" and name == "src"]
    assert len(addresses) >= 8 + 12 + 5 * 7
    assert all(value.startswith("data:") for value in addresses)
    links = [value for tag, name, value in parsed.attributes if tag == "a" and name == "href"]
    figures = {f"figures/{path.name}" for path in (written / "report" / "figures").iterdir()}
    assert {value for value in links if value[0] != "#"} == {*figures, "explorer.html"}
    shown = "".join(parsed.texts)
    assert made_up.HOSTILE[0] in shown
    assert "{{ 7 * 7 }}" in shown
    assert "x" * 5000 not in text
    assert "(no name)" in shown
    assert not set("\u202e\x00\x1b") & set(text)
    assert len(text.encode()) < page.MAX_PAGE_BYTES
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
    matrix = made_up.report_data().confusions.matrix
    assert numbers["centre_top1_error"] == pytest.approx(1 - np.diag(matrix).sum() / matrix.sum())
    assert (numbers["step"], numbers["changed"]) == (1000, {})


def test_images_in_the_page_are_those_given(written):
    """Small ones to the bit, in the order of the parts: guesses, then rows of neighbours, then mistakes."""
    text = (written / "report" / "index.html").read_text()
    encoded = re.findall(r'<img src="data:image/png;base64,([A-Za-z0-9+/=]+)"', text)
    drawn = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in encoded]
    given = made_up.report_data()
    expected = [guess.image for guess in given.guesses]
    for row in given.neighbours:
        expected += [row.image, *(image for image, _ in row.nearest)]
    expected += [guess.image for guess in given.confusions.mistakes]
    photographs = [pixels for pixels in drawn if pixels.shape == (32, 32, 3)]
    np.testing.assert_array_equal(photographs, [image.pixels for image in expected])


def test_the_glance_says_what_the_files_say(tmp_path):
    run = runs.read(made_up.write_run(tmp_path / "run", tuple("abcdefghij"), hostile=False))
    rows = {
        what: (here, there)
        for what, here, there in glance.at_a_glance(run, made_up.report_data(tuple("abc")))
    }
    assert rows["error, ten views"][0] == "top-1 30.00% (9 images of 'a')"
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
    slow = glance.at_a_glance(runs.read(tmp_path / "run"), made_up.report_data(tuple("abc")))
    here = next(here for what, here, _ in slow if what == "time in training steps")
    days = 100 * seconds / 86400
    assert here.endswith(f" h: {days / 6:.2g} to {days / 5:.2g} of the paper's")


def test_a_page_of_another_net_says_so(tmp_path):
    """The error that `evaluate` found is not that net's; the matrix is."""
    run = runs.read(made_up.write_run(tmp_path / "run", tuple("abcdefghij"), hostile=False))
    data = replace(made_up.report_data(tuple("abc")), guesses=(), neighbours=(), channels=())
    data.changed = {"config.data.mean": "<none>", "checkpoint": 1000}
    page.write([run], data)
    written = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert written["changed"] == data.changed
    text = (tmp_path / "run" / "report" / "index.html").read_text()
    assert (
        "checkpoint at step 1,000; not the run&#39;s own net and data, since config.data.mean=&lt;none&gt;"
        in text
    )
    rows = {what: here for what, here, _ in glance.at_a_glance(run, data)}
    assert "error, ten views" not in rows
    matrix = data.confusions.matrix
    assert rows["error, centre view"].startswith(f"top-1 {1 - np.trace(matrix) / matrix.sum():.2%}, top-5 10")


def test_mistakes_carry_the_names_of_their_files(tmp_path):
    run = runs.read(made_up.write_run(tmp_path / "run", tuple("abcdefghij"), hostile=False))
    data = replace(made_up.report_data(tuple("abc")), neighbours=(), channels=())
    page.write([run], data)
    text = (tmp_path / "run" / "report" / "index.html").read_text()
    for mistake in data.confusions.mistakes:
        name, probability = mistake.guesses[0]
        cells = (mistake.image.file, mistake.image.label, name, f"{probability:.1%}")
        assert re.search(as_row(cells), text)


def test_errors_by_class_and_confusions_are_on_the_page(tmp_path):
    """As tests/report/test_tables.py has them; what is beyond the first rows is folded."""
    run = runs.read(made_up.write_run(tmp_path / "run", tuple("abcdefghij"), hostile=False))
    names = tuple(f"n{number:02}" for number in range(30))
    data = replace(made_up.report_data(names), guesses=(), neighbours=(), channels=())
    page.write([run], data)
    text = (tmp_path / "run" / "report" / "index.html").read_text()
    before, after = text.split("10 more classes, with fewer errors")
    errors = tables.by_class(data.confusions)
    for rows, part in ((errors.rows, before), (errors.folded, after)):
        for row in rows:
            assert re.search(as_row(row), part)
    for row in tables.taken_for(data.confusions).rows:
        assert re.search(as_row(row), after)
    assert re.findall('<h2 [^>]*><span lang="en">(.*?)</span>', text) == [
        *("The run at a glance", "Training", "First-layer kernels", "Errors by class", "Surest mistakes"),
        "What to type next",
    ]


def test_what_to_type_next(tmp_path, monkeypatch):
    """Each command is one that the program takes, the workdir's name quoted."""
    monkeypatch.setattr(program, "next_command", lambda: "alexnet-jax")
    workdir = made_up.write_run(tmp_path / "my run; <b>", tuple("abcdefghij"), hostile=False)
    run, data = runs.read(workdir), made_up.report_data(tuple("abc"))
    commands = glance.next_commands(run, data)
    for _, command in commands[:-1]:
        start, *arguments = shlex.split(command)
        request = parse(arguments)
        assert (start, request.workdir) == ("alexnet-jax", workdir)
    verbs = [shlex.split(command)[1] for _, command in commands[:-1]]
    assert verbs == ["predict", "evaluate", "evaluate", "similar", "report"]
    assert "12 epochs" in commands[-1][0]
    assert commands[-1][1] == "--config.train.epochs=24"
    page.write([run], replace(data, guesses=(), neighbours=(), channels=()))
    shown = "".join(Parsed((workdir / "report" / "index.html").read_text()).texts)
    assert all(f"{words}{words.chinese}:：\n{command}" in shown for words, command in commands)
    for kind in ("plateau", "polynomial"):  # more epochs change nothing, or are refused
        run.config.schedule.kind = kind
        assert glance.next_commands(run, data) == commands[:-1]
    part = glance.next_commands(run, replace(data, knows_classes=False))
    assert [shlex.split(command)[1] for _, command in part] == ["similar"]
    assert glance.next_commands(run, ReportData()) == []


def test_a_page_of_a_run_that_has_only_begun(tmp_path):
    workdir = made_up.write_run(tmp_path / "run")
    for name in ("metrics.jsonl", "evaluation.json"):
        (workdir / name).unlink()
    data = ReportData(missing=dict.fromkeys(PARTS, "no complete checkpoint <yet>"))
    lines = page.write([runs.read(workdir)], data)
    text = (workdir / "report" / "index.html").read_text()
    assert "Not on this page" in text
    assert "metrics.jsonl 里没有任何一行" in text
    assert "no complete checkpoint &lt;yet&gt;" in text
    assert any("curves: " in line for line in lines)
    assert sum("no complete checkpoint" in line for line in lines) == 1
    assert set(PARTS) == set(page.PART_TITLES) - {"curves"}
    assert all(title in text for title in page.PART_TITLES.values())


def test_wrong_uses(tmp_path):
    with pytest.raises(UsageError, match="not the workdir of a run"):
        page.check([tmp_path])
    workdir = made_up.write_run(tmp_path / "run")
    (workdir / "report").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        page.check([workdir])


def write_long_names(tmp_path, monkeypatch):
    """A page whose classes are called in Chinese, at length; its workdir and the longest name."""
    fonts.only(monkeypatch, fonts.blocks(tmp_path / "blocks.ttf"))
    names = tuple(f"{fonts.CHINESE[:4]} {number} " + "W" * 150 for number in range(7))
    workdir = made_up.write_run(tmp_path / "run", names, hostile=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = page.write([runs.read(workdir)], made_up.report_data(names))
    assert len(lines) == 1  # nothing is missing, no letter either
    return workdir, names[0]


def test_long_and_chinese_names(tmp_path, monkeypatch, capfd):
    """They are text in the page and in the SVG files, whole where the pointer rests."""
    workdir, name = write_long_names(tmp_path, monkeypatch)
    folder = workdir / "report"
    assert f'title="{name}"' in (folder / "index.html").read_text()
    for figure in ("guesses", "neighbours", "confusion", "mistakes"):
        svg = (folder / "figures" / f"{figure}.svg").read_text()
        assert f"<title>{name}</title>" in svg
        assert f">{fonts.CHINESE[:4]} 0" in svg
    assert capfd.readouterr() == ("", "")


def test_both_languages(tmp_path):
    """Each text that a reader sees stands in both."""
    workdir = made_up.write_run(tmp_path / "run", tuple("abcdefghij"), hostile=False)
    data = made_up.report_data(tuple("abcdefghij"))
    page.write([runs.read(workdir)], data)
    path = workdir / "report" / "index.html"
    text = path.read_text()
    assert text.count('<span lang="en"') == text.count('<span lang="zh"') > 50
    for chinese in ("训练", "第一层的卷积核", "猜测与最近的图片", "各类的错误", "学习率", "看点："):
        assert chinese in text


def test_a_net_of_one_tower_knows_no_towers(tmp_path):
    workdir = made_up.write_run(tmp_path / "run", tuple("abcdefghij"), hostile=False)
    data = made_up.report_data(tuple("abcdefghij"))
    channels = tuple(replace(one, tower=0) for one in data.channels)
    one = replace(data, towers=1, kernels=data.kernels[:1], channels=channels)
    config = json.loads((workdir / "config.json").read_text())
    config["converted_from"] = "weights.npz"
    (workdir / "config.json").write_text(json.dumps(config))
    (workdir / "metrics.jsonl").unlink()
    page.write([runs.read(workdir)], replace(one, step=0))
    text = (workdir / "report" / "index.html").read_text()
    shown = "".join(Parsed(text[text.index("<body>") :]).texts).replace(str(tmp_path), "")
    assert "tower" not in shown
    assert "塔" not in shown
    assert "converted weights" in shown
    assert "step 0" not in shown


@pytest.mark.slow
def test_a_browser_opens_it_alone(written):
    """No error, no message, no request but for the file itself, nothing wider than the window."""
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


@pytest.mark.slow
def test_a_reader_s_language_light_and_paper(tmp_path, monkeypatch):
    """The address keeps the language; no text is drawn out of its place, none is too pale to be read."""
    workdir, _ = write_long_names(tmp_path, monkeypatch)
    path = workdir / "report" / "index.html"
    seen = "return document.querySelector('#training').innerText"
    with chromium() as browser:
        browser.open(path, 360)
        browser.driver.get(path.absolute().as_uri() + "#lang=zh&part=confusion")
        assert browser.run(seen) == "训练"
        assert browser.run("return document.documentElement.lang") == "zh-CN"
        assert browser.run("return scrollY") > 1000
        assert browser.run("return document.querySelector('.chart').innerText").count("学习率") == 2
        browser.run("document.getElementById('language').click()")
        assert browser.run("return location.hash") == "#lang=en&part=confusion"
        assert browser.run(seen) == "Training"
        browser.run("document.querySelector('nav a[href=\"#channels\"]').click()")
        assert browser.run("return location.hash") == "#lang=en&part=channels"
        for width in (360, 1440):
            browser.resize(width)
            assert browser.run("return document.documentElement.scrollWidth") <= width
        for scheme in ("light", "dark"):
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            assert browser.run(PALEST) >= 4.5, scheme
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert browser.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
        assert browser.console() == []
