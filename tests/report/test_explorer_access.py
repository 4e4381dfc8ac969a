"""The explorer for everybody: by key and finger, read aloud, on a phone, by address, in either theme."""

import base64
import importlib.resources
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.report.explorer_page import Page, random_run, write_page

# The controls whose finger's target is smaller than 24 pixels either way: [name, width, height].
SMALL_TARGETS = """
const found = [];
for (const element of document.querySelectorAll("a, button, input, select, summary")) {
  const boxes = [element, element.closest("label") || element].map((each) => each.getBoundingClientRect());
  const width = Math.max(...boxes.map((box) => box.width));
  const height = Math.max(...boxes.map((box) => box.height));
  if (!element.checkVisibility() || !width) continue;
  if (width < 24 || height < 24) found.push([element.outerHTML.slice(0, 90), width, height]);
}
return found;
"""
# The least contrast of text and ground among the painted cells, by WCAG's own formula.
CELL_CONTRAST = """
const light = (text) => {
  const parts = text.match(/[\\d.]+/g).map((x) => x / 255);
  const [r, g, b] = parts.map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
return Math.min(...[...document.querySelectorAll("td[style], #learn-picture button")].map((cell) => {
  const { color, backgroundColor } = getComputedStyle(cell);
  const [low, high] = [light(color), light(backgroundColor)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}));
"""


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """A function that opens the page of a net, which is written once."""
    written = {}

    def page(name="alexnet_2012", width=1440, address="", **change):
        key = (name, *change)
        if key not in written:
            written[key] = tmp_path_factory.mktemp("explorer") / "page.html"
            run = random_run(name, channels=1 if name == "fully_connected" else 3)
            write_page(replace(run, **change), written[key])
        return Page(browser, written[key], width, address)

    return page


def axe():
    package = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    return (importlib.resources.files(package) / "axe.min.js").read_text()


def look(page, layer, tower=0):
    page.run(f"""document.querySelector('[data-layer="{layer}"][data-tower="{tower}"]').click()""")


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(width, scheme, browser, opened):
    """axe-core's rules, WCAG's target size, and the contrast of painted cells, which axe does not see."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    page = opened(width=width)
    page.run("for (const details of document.querySelectorAll('details')) details.open = true")
    page.run(axe())
    for layer in (0, 2, 3):
        look(page, layer)
        found = page.driver.execute_async_script(
            """const done = arguments[arguments.length - 1];
            axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => done(violations.map(
              ({ id, impact, nodes }) => [impact, id, nodes.map(({ html }) => html.slice(0, 200))])));"""
        )
        assert found == []
        assert page.run(SMALL_TARGETS) == []
        assert page.run(CELL_CONTRAST) >= 4.5
    page.quiet()


@pytest.mark.slow
def test_every_control_has_a_name_of_its_own(browser, opened):
    page = opened()

    def names(selector):
        elements = page.driver.find_elements(By.CSS_SELECTOR, selector)
        return [element.accessible_name for element in elements]

    kernel = names("#kernel-numbers input")
    assert len(set(kernel)) == 9
    assert kernel[5] == "kernel, row 1, column 2"
    figure = names("#figure button")
    assert len(set(figure)) == len(figure)
    assert figure[0] == "conv1, tower 0"
    assert names("#tools") == ["What dragging does"]
    assert all(names("canvas[role]:not([hidden])"))
    units = names("#digit-units button")
    assert len(set(units)) == 15


@pytest.mark.slow
def test_what_is_painted_by_key_is_said(browser, opened):
    page = opened()
    canvas = page.driver.find_element(By.ID, "kernel-picture")
    said = page.driver.find_element(By.ID, "kernel-painted")
    assert said.get_attribute("role") == "status"
    canvas.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    assert said.text == "Pixel in row 1, column 1: 0"
    canvas.send_keys(Keys.ENTER)
    assert said.text == "Pixel in row 1, column 1: 0.5"
    canvas.send_keys(Keys.SPACE)
    assert said.text == "Pixel in row 1, column 1: 1"


@pytest.mark.slow
def test_on_a_phone(browser, opened):
    """Image and map in one window, a layer's detail in view, a swipe that scrolls, a stepper."""
    page = opened(width=360)
    browser.resize(360, 800)

    def box(name):
        return page.run(
            """const box = document.getElementById(arguments[0]).getBoundingClientRect();
            return [box.top, box.bottom, box.left, box.right];""",
            name,
        )

    page.run("document.documentElement.classList.add('still')")
    page.run("document.getElementById('kernel-picture').scrollIntoView({ block: 'start' })")
    for name in ("kernel-picture", "kernel-map"):
        top, bottom, left, right = box(name)
        assert -1 <= top < bottom <= 800
        assert 0 <= left < right <= 360
    page.run("window.scrollTo(0, 0)")
    look(page, 4)
    for name in ("detail-title", "map", "sees"):
        top, bottom, left, right = box(name)
        assert -1 <= top < bottom <= 800, name
        assert 0 <= left < right <= 360
    words = page.text("words")
    steppers = page.driver.find_elements(By.CSS_SELECTOR, "#map-side .stepper button")
    assert len(steppers) == 4
    page.run("arguments[0].click()", steppers[2])
    assert page.text("words") != words

    browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def touch(kind, *points):
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    state = """const { view, map, row, column } = explorer.net;
      return [view, map, row, column, document.getElementById("kernel-shape").value];"""
    before = page.run(state)
    for name in ("picture", "kernel-picture", "map", "atlas"):
        page.run(f"document.getElementById('{name}').scrollIntoView({{ block: 'center' }})")
        start = page.run("return scrollY")
        top, bottom, left, right = box(name)
        for step in range(21):
            point = {"x": (left + right) / 2, "y": (top + bottom) / 2 - 10 * step}
            touch("touchMove" if step else "touchStart", point)
        touch("touchEnd")
        page.wait(f"return scrollY > {start} + 100")
        assert page.run(state) == before, name
    browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert page.run("return getComputedStyle(document.getElementById('flip')).touchAction") == "manipulation"
    page.quiet()


@pytest.mark.slow
def test_an_address_leads_back(browser, opened):
    page = opened(address="#lang=zh&lesson=net&layer=conv3&channel=12&image=1")
    state = "const n = explorer.net; return [n.net.layers[n.layer].name, n.map, n.image, n.tower]"
    assert page.run(state) == ["conv3", 12, 1, 1]  # 24 channels, 12 a tower
    assert page.run("return document.documentElement.lang") == "zh-CN"
    assert abs(page.run("return document.getElementById('net').getBoundingClientRect().top")) < 20
    look(page, 4)
    page.click("language")
    page.wait("return location.hash.includes('layer=conv2') && location.hash.includes('lang=en')")
    kept = page.run("return location.hash")
    assert "image=1" in kept
    page = opened(address=kept)
    assert page.run(state)[0] == "conv2"
    page.run("location.hash = '#lesson=learn&layer=fc8&channel=5'")
    page.wait("return explorer.net.map === 5")
    assert page.run(state)[0] == "fc8"
    for wrong in ("#layer=nothing&channel=99999&image=77&lesson=no&lang=xx", "#layer=fc8&channel=-1", "#%%%"):
        page = opened(address=wrong)
    page.quiet()


@pytest.mark.slow
def test_one_tower_and_sigmoid_are_called_what_they_are(browser, opened):
    page = opened("fully_connected", step=0)
    assert "tower" not in page.text("layers-text").lower()
    assert "step 0" not in page.text("net-about")
    assert "trained elsewhere" in page.text("net-about")
    look(page, 1)
    assert "each small square is one unit" in page.text("layers-text")
    assert page.text("atlas-title") == "15 units, each a square: choose one"
    assert page.text("detail-title") == "sigmoid1"
    assert page.text("detail-name").endswith("relu1.")
    assert "relu" not in page.text("figure")


@pytest.mark.slow
def test_towers_and_channels_are_counted_from_0(browser, opened):
    """As in `features`' arrays and `conv1/0`: the value named on the page is the array's at that index."""
    page = opened()
    shape = page.run("return explorer.net.net.layers[0].output")
    look(page, 0, 1)
    assert page.text("detail-title") == "conv1 \u00b7 tower 1"
    found = re.match(r"conv1, channel (\d+), row (\d+), column (\d+): (\S+)\. ", page.text("words"))
    channel, row, column = map(int, found.groups()[:3])
    assert channel == shape[2] // 2  # the second tower's first
    value = page.values("conv1").reshape(shape)[row, column, channel]
    assert float(found[4].replace("\u2212", "-")) == pytest.approx(value, rel=6e-3)


@pytest.mark.slow
def test_sums_add_up_to_what_they_show(browser, opened):
    page = opened()
    canvas = page.driver.find_element(By.ID, "map")
    for layer in (0, 4, 8):
        look(page, layer)
        for _ in range(6):
            canvas.send_keys(Keys.ARROW_RIGHT)
            line = page.run("return document.querySelector('#why .sum').textContent").replace("\u2212", "-")
            left, right = re.sub(r"\((?![-\d])[^)]*\)", "", line).split("=")
            terms = [round(float(term.strip(" ()")) * 1e9) for term in left.split(" + ")]
            assert sum(terms) == pytest.approx(round(float(right) * 1e9), abs=len(terms)), line
    page.quiet()


@pytest.mark.slow
def test_the_right_answer_is_said(browser, tmp_path):
    run = random_run("fully_connected", channels=1)
    classes = tuple("0123456")
    write_page(replace(run, class_names=classes), tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html")
    for number in range(3):
        before = page.run("return explorer.net.runs")
        page.run(f"document.querySelectorAll('#samples button')[{number}].click()")
        page.wait(f"return explorer.net.runs > {before}")
        right = int(page.values("prob").argmax()) == number
        assert f"\u2068{number}\u2069" in page.text("truth")
        assert ("It is right" in page.text("truth")) == right
    file = io.BytesIO()
    Image.fromarray(np.zeros((72, 72), np.uint8)).save(file, "PNG")
    page.drop(file.getvalue(), "own.png")
    assert page.text("truth") == ""


@pytest.mark.slow
def test_a_dropped_address_and_a_large_file(browser, opened):
    page = opened("fully_connected")
    page.run(
        """const dataTransfer = new DataTransfer();
        dataTransfer.setData("text/uri-list", "https://example.org/cat.jpg");
        const options = { dataTransfer, bubbles: true, cancelable: true };
        document.body.dispatchEvent(new DragEvent("drop", options));"""
    )
    assert "Save the image first" in page.text("picture-error")
    # What is shown while the worker reads: at once, and gone when the net has run.
    file = io.BytesIO()
    Image.fromarray(np.zeros((3000, 4000), np.uint8)).save(file, "PNG")
    said = page.driver.execute_async_script(
        """const done = arguments[arguments.length - 1];
        const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
        const read = explorer.net.openFile(new File([bytes], "large.png"));
        const during = document.getElementById("picture-progress").textContent;
        read.then(() => done([during, document.getElementById("picture-progress").textContent,
          document.getElementById("picture-error").textContent]));""",
        base64.b64encode(file.getvalue()).decode(),
    )
    assert said == ["Reading large.png \u2026", "", ""]
    page.quiet()


@pytest.mark.slow
def test_reset_resets(browser, opened):
    page = opened()
    state = "const { view, tool, coverSide, masks } = explorer.net; return [view, tool, coverSide, masks]"
    before = page.run(state)
    page.run("document.querySelector('[value=cover]').click()")
    page.run(
        """const size = document.getElementById("cover-size");
        size.value = 7;
        size.dispatchEvent(new Event("input"));"""
    )
    page.click("flip")
    page.run("explorer.net.masks = { drop6: new Uint8Array(9) }")
    assert page.run(state) != before
    page.click("reset")
    assert page.run(state) == before
    assert page.run("return document.getElementById('cover-size').value") == str(before[2])
    assert page.run("return document.getElementById('flip').getAttribute('aria-pressed')") == "false"


@pytest.mark.slow
def test_the_scan_of_a_saturated_answer_shows_where(browser, tmp_path):
    """With logits a hundred times as large every probability is 1, and the leads still differ."""
    run = random_run("alexnet_2012")
    params = dict(run.params)
    params["fc8"] = {part: value * 100 for part, value in params["fc8"].items()}
    write_page(replace(run, params=params), tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html")
    page.click("scan")
    page.wait("return Boolean(explorer.net.scan)")
    assert page.run("return Math.min(...explorer.net.scan.result)") > 0.99
    margins = page.array("explorer.net.scan.margins", np.float64)
    assert np.ptp(margins) > 0.1
    assert "stays sure" in page.text("scan-words")
    # The image lies under it: more than the few colours of a map.
    colours = page.run(
        """const canvas = document.getElementById("scan-map");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;"""
    )
    assert colours > 200
