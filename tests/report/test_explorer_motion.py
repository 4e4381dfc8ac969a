"""The explorer's motion and width: what leads, slides and travels, what stops, what is in the right half."""

import numpy as np
import pytest
from scipy.signal import correlate2d
from selenium.webdriver.common.by import By

from tests.report.explorer_page import Page, random_run, write_page

WIDTHS = pytest.mark.parametrize("width", [360, 1440])
COLOURS = """
const canvas = document.getElementById(arguments[0]);
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
return new Set(new Uint32Array(data.buffer)).size;
"""
TRAVELLERS = "return [...document.querySelectorAll('.traveller')].map((each) => each.textContent)"
# The number of the position that the words speak of, in reading order.
PLACE = r"""
const place = () => {
  const [row, column] = document.getElementById("kernel-words").textContent.match(/\d+/g).map(Number);
  return 7 * row + column;
};
"""
# The colour at the corner of a cell of the feature map.
PIXEL = """
const canvas = document.getElementById("kernel-map"), side = canvas.width / 7;
const at = [arguments[1] * side + 3, arguments[0] * side + 3].map(Math.round);
const own = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
own.drawImage(canvas, ...at, 1, 1, 0, 0, 1, 1);
return [...own.getImageData(0, 0, 1, 1).data];
"""
# Pairs of a stepper's buttons that cover each other, and how many buttons it shows.
STEPPERS = """
return [...document.querySelectorAll(".stepper")].filter((each) => each.checkVisibility()).map((each) => {
  const boxes = [...each.children].map((button) => button.getBoundingClientRect());
  const covered = boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1));
  return [boxes.filter(({ width, height }) => width >= 24 && height >= 24).length, covered.length];
});
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    written = tmp_path_factory.mktemp("explorer") / "page.html"
    write_page(random_run("alexnet_2012"), written)
    return written


def motion(browser, wish="no-preference"):
    features = [{"name": "prefers-reduced-motion", "value": wish}]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def opened(browser, path, width, wish="no-preference"):
    motion(browser, wish)
    return Page(browser, path, width, "#lang=en")


@pytest.mark.slow
@WIDTHS
def test_the_photograph_leads(width, browser, path):
    """It, conv1's channels over it and the answer stand in the first window, and lead to the trained net."""
    page = opened(browser, path, width)
    top, bottom = page.run(
        """const { top, bottom } = document.getElementById("hero").getBoundingClientRect();
        return [top, bottom];"""
    )
    assert 0 <= top < bottom <= 800
    page.click("motion")  # what slides is at its end at once
    assert page.run(COLOURS, "hero-image") > 100
    assert page.run(COLOURS, "hero-maps") > 50
    winner = int(page.values("prob").argmax())
    name = page.run("return explorer.net.net.classNames[arguments[0]]", winner)
    assert name[:3] in page.text("hero-answer")
    assert page.text("hero-share") == f"{100 * page.values('prob')[winner]:.1f} %"
    assert page.run("return document.documentElement.scrollWidth") <= width
    page.click("hero")
    page.wait("return Math.abs(document.getElementById('net').getBoundingClientRect().top) < 20")
    page.quiet()


@pytest.mark.slow
def test_the_opening_of_a_net_without_convolutions(browser, tmp_path):
    write_page(random_run("fully_connected", channels=1), tmp_path / "page.html")
    page = opened(browser, tmp_path / "page.html", 1440)
    assert page.run(COLOURS, "hero-image") > 5
    assert "channels" not in page.text("hero-words")
    page.quiet()


@pytest.mark.slow
@WIDTHS
def test_a_kernel_slides_until_it_is_paused(width, browser, path):
    """From position to position, in reading order; what it has not come to is empty."""
    page = opened(browser, path, width)
    first_and_last = [page.run(PIXEL, *cell) for cell in ((0, 0), (6, 0))]
    assert len(set(map(tuple, first_and_last))) == 1  # a kernel of edges: 1 in both
    page.click("kernel-slide")
    assert page.text("kernel-slide") == "Pause"
    page.wait(f"{PLACE} return place() >= 2")
    page.click("kernel-slide")
    assert page.text("kernel-slide") == "Let the kernel slide"
    at = page.run(f"{PLACE} return place()")
    assert at < 42
    assert page.run(PIXEL, 0, 0) == first_and_last[0]
    assert page.run(PIXEL, 6, 0) != first_and_last[1]
    page.driver.execute_async_script("setTimeout(arguments[arguments.length - 1], 1200)")
    assert page.run(f"{PLACE} return place()") == at
    page.click("kernel-slide")  # it goes on where it was
    page.wait(f"{PLACE} return place() > {at}")
    page.click("motion")  # no motion: it stops
    at = page.run(f"{PLACE} return place()")
    page.driver.execute_async_script("setTimeout(arguments[arguments.length - 1], 1200)")
    assert page.run(f"{PLACE} return place()") == at
    page.quiet()


@pytest.mark.slow
@WIDTHS
def test_values_travel_into_the_feature_map(width, browser, path):
    page = opened(browser, path, width)
    page.run(
        "document.getElementById('kernel-travel').scrollIntoView({ behavior: 'instant', block: 'center' })"
    )
    page.run(
        """window.stages = [];
        new MutationObserver((changes) => {
          const added = changes.flatMap(({ addedNodes }) => [...addedNodes]);
          const travellers = added.filter(({ className }) => className === "traveller");
          if (travellers.length) stages.push(travellers.map(({ textContent }) => textContent));
        }).observe(document.body, { childList: true });"""
    )
    assert page.text("kernel-rests") == ""  # what stands there where nothing may move
    page.click("kernel-travel")
    page.wait("return document.getElementById('kernel-travel').textContent !== 'Stop'")
    stages = page.run("return stages")
    patch, kernel, products, sums, ends = page.run(
        """return [...document.querySelectorAll("#kernel-working table")].map(
          (table) => [...table.querySelectorAll("td")].map((cell) => cell.textContent));"""
    )
    pairs = [each for both in zip(patch, kernel, strict=True) for each in both]
    assert stages == [patch, pairs, products, sums, ends]
    assert page.run("return document.querySelectorAll('.traveller, .pending').length") == 0
    page.click("kernel-travel")
    assert page.run("return document.querySelectorAll('#kernel-working .pending').length") > 9
    page.click("kernel-travel")  # pressed again it stops
    assert page.run("return document.querySelectorAll('.traveller, .pending').length") == 0
    assert page.run("return document.documentElement.scrollWidth") <= width
    page.quiet()


@pytest.mark.slow
@WIDTHS
def test_the_values_behind_a_cell_of_the_net_travel(width, browser, path):
    page = opened(browser, path, width)
    for layer, travels in (("conv1", True), ("pool1", True), ("relu1", False), ("fc6", False)):
        number = [each["name"] for each in page.run("return explorer.net.net.layers")].index(layer)
        page.run(f"""document.querySelector('[data-layer="{number}"]').click()""")
        assert page.driver.find_element(By.ID, "net-travel").is_displayed() == travels, layer
        if travels:
            page.click("net-travel")
            assert page.run(TRAVELLERS)
            page.wait("return document.getElementById('net-travel').textContent !== 'Stop'")
            assert page.run(TRAVELLERS) == []
            page.click("net-travel")  # another cell ends what travels
            page.run("document.querySelector('#map-side .stepper [data-way=right]').click()")
            assert page.run(TRAVELLERS) == []
    page.quiet()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["reduce", "switch"])
def test_nothing_moves_where_it_is_not_wished(how, browser, path):
    page = opened(browser, path, 1440, "reduce" if how == "reduce" else "no-preference")
    if how == "switch":
        page.click("kernel-travel")
        page.click("motion")  # ends what is on its way
    for name in ("kernel-travel", "net-travel"):
        assert not page.driver.find_element(By.ID, name).is_displayed()
        page.click(name)
    assert "sum goes into the framed cell" in page.text("kernel-rests")  # the way of the values, in words
    for layer, words in (("conv1", "products of all channels"), ("pool1", "makes the window"), ("relu1", "")):
        number = [each["name"] for each in page.run("return explorer.net.net.layers")].index(layer)
        page.run(f"""document.querySelector('[data-layer="{number}"]').click()""")
        assert words in page.text("net-rests")
        assert bool(page.text("net-rests")) == bool(words)
    page.click("kernel-slide")
    page.run("document.querySelectorAll('#samples button')[1].click()")
    page.wait("return explorer.net.image === 1 && explorer.net.runs > 1")
    moving = (
        "return document.getAnimations().length + document.querySelectorAll('.traveller, .pending').length"
    )
    assert page.run(moving) == 0
    page.quiet()


@pytest.mark.slow
def test_the_kernel_over_the_photograph(browser, path):
    """What it makes of the image in grey, by SciPy."""
    page = opened(browser, path, 1440)
    cut = page.array("explorer.net.cut", np.uint8).reshape(64, 64, 3)
    kernel = np.asarray([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
    page.run(
        """const select = document.getElementById("kernel-preset");
        select.value = "presetSharpen";
        select.dispatchEvent(new Event("change"));
        const relu = document.getElementById("kernel-relu");
        if (relu.checked) relu.click();"""
    )
    found = page.array("explorer.net.photograph.found").reshape(62, 62)
    np.testing.assert_allclose(found, correlate2d(cut.mean(-1) / 255, kernel, "valid"), atol=1e-5)
    page.click("kernel-relu")
    found = page.array("explorer.net.photograph.found").reshape(62, 62)
    np.testing.assert_allclose(
        found, np.maximum(correlate2d(cut.mean(-1) / 255, kernel, "valid"), 0), atol=1e-5
    )
    page.quiet()


@pytest.mark.slow
def test_steppers_show_all_their_buttons_on_a_phone(browser, path):
    page = opened(browser, path, 360)
    assert page.run(STEPPERS) == [
        [5, 0],
        [4, 0],
        [4, 0],
        [4, 0],
        [4, 0],
    ]  # the painted image has one to paint


@pytest.mark.slow
def test_the_right_half_is_used(browser, path):
    """At 1440 pixels questions stand right of each lesson's text, and the figure of layers fits."""
    page = opened(browser, path, 1440)
    questions = page.run(
        """return [...document.querySelectorAll(".try")].map((each) => {
          const { left, top } = each.getBoundingClientRect();
          const text = each.previousElementSibling.getBoundingClientRect();
          return [each.open, left >= 720 && left >= text.right, Math.abs(top - text.top) < 20];
        });"""
    )
    assert questions == [[True, True, True]] * 6
    wide, room = page.run(
        "const f = document.getElementById('figure'); return [f.scrollWidth, f.clientWidth]"
    )
    assert wide <= room
    # A box of the figure is as large as its layers' maps.
    grey = page.run(
        """return Math.max(...[...document.querySelectorAll("#figure .tower")].map((box) => {
          const height = (each) => each.getBoundingClientRect().height;
          return height(box) / [...box.children].reduce((sum, each) => sum + height(each), 0);
        }));"""
    )
    assert grey < 1.5
    page.quiet()


@pytest.mark.slow
def test_the_figure_keeps_its_size_while_it_is_drawn(browser, path):
    """Boxes have their maps' size before these are drawn: nothing jumps when the language is changed."""
    page = opened(browser, path, 1440)
    size = "document.getElementById('figure').getBoundingClientRect().height"
    before = page.run(f"return {size}")
    during = page.run(f"document.getElementById('language').click(); return {size}")
    assert during == pytest.approx(before, abs=4)
