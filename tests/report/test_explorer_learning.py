"""The explorer's lesson on learning: its steps are JAX's gradients, and it learns."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from alexnet_jax.data.sources.detect import open_source
from tests.report.explorer_page import LEARNT, Page, close, random_run, write_page


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    write_page(random_run("fully_connected", channels=1), path)
    return path


@pytest.fixture
def page(browser, written):
    opened = Page(browser, written)
    yield opened
    opened.quiet()


def slopes(net, images, targets, unit):
    """JAX's gradient of the mean cross-entropy."""

    def loss(net):
        hidden = unit(images @ net["hidden"].T + net["hiddenBias"])
        logits = hidden @ net["output"].T + net["outputBias"]
        return -jax.nn.log_softmax(logits)[jnp.arange(len(targets)), targets].mean()

    with jax.enable_x64(True):
        found = jax.grad(loss)({part: jnp.asarray(value, jnp.float64) for part, value in net.items()})
    return {part: np.asarray(value) for part, value in found.items()}


def moved(before, after, rate):
    return {part: (before[part] - after[part]) / rate for part in LEARNT}


@pytest.mark.slow
def test_the_small_net_s_steps_are_jax_s_and_it_learns(page):
    examples = page.run("return explorer.learning.small.examples")
    for number in range(20):
        before = page.learnt("small.net")
        turn = examples[number % 2]
        page.click("learn-controls-oneStep")
        found = moved(before, page.learnt("small.net"), 0.2)
        wanted = slopes(before, np.asarray([turn["x"]], float), np.asarray([turn["target"]]), jax.nn.relu)
        for part in LEARNT:
            close(found[part], wanted[part])
    assert page.text("learn-words").startswith("It was shown a 0.")
    outputs = page.run("return [...document.querySelectorAll('#learn-bars .name')].map((e) => e.textContent)")
    assert float(outputs[0].split("→ ")[1].split(",")[0]) > 0.9
    assert not page.driver.find_element(By.ID, "learn-dead").is_displayed()
    start = page.learnt("small.net")
    page.click("learn-controls-startAgain")
    assert page.run("return explorer.learning.small.steps") == 0
    assert np.abs(page.learnt("small.net")["hidden"] - start["hidden"]).max() > 0.01


@pytest.mark.slow
def test_a_unit_that_dies_is_named(page):
    page.run(
        """const rate = document.getElementById("learn-rate");
        rate.value = 1;
        rate.dispatchEvent(new Event("input"));"""
    )
    for _ in range(6):
        page.click("learn-controls-oneStep")
    net = page.learnt("small.net")
    examples = page.run("return explorer.learning.small.examples")
    sums = np.asarray([net["hidden"] @ np.asarray(e["x"]) + net["hiddenBias"] for e in examples])
    dead = [unit for unit in range(2) if (sums[:, unit] <= 0).all()]
    assert dead == [0, 1]
    said = page.text("learn-dead")
    assert all(f"Unit {unit} is dead" in said for unit in dead)
    page.click("learn-controls-oneStep")
    np.testing.assert_array_equal(page.learnt("small.net")["hidden"], net["hidden"])
    page.click("learn-controls-startAgain")
    assert not page.driver.find_element(By.ID, "learn-dead").is_displayed()


@pytest.mark.slow
def test_the_digit_net_s_steps_are_jax_s(page):
    """A batch of ten, then one digit that was drawn."""
    before = page.learnt("digits.net")
    assert before["hidden"].shape == (15, 784)
    assert before["hidden"].std() == pytest.approx(1 / 28, rel=0.03)
    for number in range(4):
        if number == 3:
            page.run(
                "const seven = [{ x: 0.2, y: 0.2 }, { x: 0.8, y: 0.2 }, { x: 0.4, y: 0.9 }];"
                "explorer.learning.digits.take([seven]);"
            )
            page.run(
                """const target = document.getElementById("digit-target");
                target.value = "7";
                target.dispatchEvent(new Event("change"));"""
            )
        before = page.learnt("digits.net")
        page.click("digit-step" if number == 3 else "digit-controls-oneStep")
        images, targets = page.run(
            """const { examples } = explorer.learning.digits.last;
            return [examples.map(({ x }) => [...x]), examples.map(({ target }) => target)];"""
        )
        assert sorted(targets) == ([7] if number == 3 else list(range(10)))
        found = moved(before, page.learnt("digits.net"), 0.5)
        wanted = slopes(before, np.asarray(images), np.asarray(targets), jax.nn.sigmoid)
        for part in LEARNT:
            close(found[part], wanted[part])
        chain = page.run(
            """const { row, column, unit, own, slope, weight, now } = explorer.learning.digits.chain;
            return { row, column, unit, own, slope, weight, now };"""
        )
        pixel = 28 * chain["row"] + chain["column"]
        assert chain["slope"] == pytest.approx(wanted["hidden"][chain["unit"], pixel], rel=1e-4, abs=1e-12)
        first = slopes(before, np.asarray(images[:1]), np.asarray(targets[:1]), jax.nn.sigmoid)
        assert chain["own"] == pytest.approx(first["hidden"][chain["unit"], pixel], rel=1e-4, abs=1e-12)
        assert chain["now"] == pytest.approx(chain["weight"] - 0.5 * chain["slope"])


@pytest.mark.slow
def test_it_learns_to_read_and_the_images_form(page):
    assert page.run("return explorer.learning.digits.right") < 40  # of a hundred, by chance ten
    drawn = "return document.querySelector('#digit-units canvas').toDataURL()"
    before = page.run(drawn)
    page.click("digit-controls-hundredSteps")
    page.wait("return explorer.learning.digits.steps === 100")
    page.click("digit-controls-run")
    page.wait("return explorer.learning.digits.steps >= 600")
    page.click("digit-controls-run")
    steps = page.run("return explorer.learning.digits.steps")
    right = page.run("return explorer.learning.digits.right")
    assert right >= 80
    assert f"Steps: {steps}." in page.text("digit-count")
    assert f"it knows {right}." in page.text("digit-count")
    assert page.run(drawn) != before
    example = ["A training example, until you draw", "What it answers to the example"]
    assert [page.text(name) for name in ("digit-seen-name", "digit-bars-title")] == example
    page.run("explorer.learning.digits.take([[{ x: 0.5, y: 0.1 }, { x: 0.5, y: 0.9 }]])")
    assert page.text("digit-words").startswith("It says 1")
    assert page.text("digit-seen-name").startswith("As the net sees it")
    page.click("digit-clear")
    assert page.run("return explorer.learning.digits.strokes.length") == 0
    assert [page.text(name) for name in ("digit-seen-name", "digit-bars-title")] == example


@pytest.mark.slow
def test_one_draws_with_the_mouse(page):
    """Pointer events leave a line, and the net sees it in the middle of its image."""
    page.run(
        """const pad = document.getElementById("digit-pad");
        const box = pad.getBoundingClientRect();
        pad.setPointerCapture = () => {};
        const send = (kind, x, y) => pad.dispatchEvent(new PointerEvent(kind, {
          pointerId: 1, clientX: box.left + x * box.width, clientY: box.top + y * box.height }));
        send("pointerdown", 0.1, 0.1);
        for (let i = 0; i <= 10; i++) send("pointermove", 0.1, 0.1 + 0.03 * i);
        send("pointerup", 0.1, 0.4);"""
    )
    image = np.asarray(page.run("return [...explorer.learning.digits.current.x]")).reshape(28, 28)
    rows = np.nonzero(image)[0]
    assert (rows.min(), rows.max()) == (4, 23)  # 20 of 28 pixels, however small it was drawn
    assert abs((image.sum(0) * np.arange(28)).sum() / image.sum() - 13.5) <= 0.5
    assert page.run("return explorer.learning.digits.current.drawn")


@pytest.mark.slow
def test_digits_are_enlarged_as_jax_enlarges_them(page):
    """The first example against scikit-learn's own file, scaled bilinearly and moved to its ink's centre."""
    files = [
        (entry.label, image) for entry, image in open_source("digits").images() if entry.split == "train"
    ]
    for label in (0, 7):
        file = next(image for name, image in files if name == str(label))
        small = np.asarray(Image.open(io.BytesIO(file)), np.float64) / 255
        digit = np.asarray(jax.image.resize(jnp.asarray(small), (20, 20), "linear", antialias=False))
        found = page.run(f"return [...explorer.learning.digits.seen[{label}].x]")
        image = np.asarray(found).reshape(28, 28)
        centre = [(digit.sum(1 - axis) * np.arange(20)).sum() / digit.sum() for axis in (0, 1)]
        top, left = [min(max(int(np.floor(13.5 - at + 0.5)), 0), 8) for at in centre]
        # Grey levels of a file are whole: 16 levels of 255.
        np.testing.assert_allclose(image[top : top + 20, left : left + 20], digit, atol=0.002)
        assert np.count_nonzero(image) == np.count_nonzero(image[top : top + 20, left : left + 20])


@pytest.mark.slow
def test_without_digits_the_page_says_so(browser, tmp_path, monkeypatch):
    from alexnet_jax.inference import explorer_data

    monkeypatch.setattr(explorer_data, "lesson_digits", lambda: None)
    write_page(random_run("fully_connected"), tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html")
    assert "scikit-learn" in page.text("digits-missing")
    assert not page.driver.find_element(By.ID, "digits-lesson").is_displayed()
    page.click("language")
    page.quiet()
