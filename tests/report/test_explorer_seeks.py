"""What a channel looks for in the explorer: the report's patches, the net's projections, and the gallery."""

import base64
import io
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from alexnet_jax.data.records import open_dataset
from alexnet_jax.inference import deconvnet, explorer_data, patches, report_data
from alexnet_jax.report.explorer import sheets
from alexnet_jax.workdir import trained
from configs import digits
from tests.inference.helpers import random_net
from tests.report.explorer_page import NETS, Page, random_run, write_page
from tests.report.test_explorer_access import SMALL_TARGETS, axe

MOST = 24  # images that are looked at
EDGE = 4  # the net reads the middle 64 x 64 of 72 x 72 pixels
# Of the paper's convolutions: stride, padding; the first two are followed by a pool of 3 x 3, stride 2.
CONVOLUTIONS = {"conv1": (4, (0, 3)), "conv2": (1, (2, 2)), "conv3": (1, (1, 1))}


@pytest.fixture(scope="module")
def net(digits_folder, tmp_path_factory):
    """The paper's net without normalisation, narrow and with random weights, on prepared digits."""
    config = digits.get_config()
    config.data.dir = digits_folder
    config.evaluate.batch_size = 8
    config.mesh.data = config.mesh.model = 1
    table = {"architecture": "alexnet_2012", "compute_dtype": "float32", "classes": 10}
    config.model = ConfigDict(table | NETS["alexnet_2012"] | {"lrn": False})
    return random_net(tmp_path_factory.mktemp("run"), config, tuple("0123456789"))


@pytest.fixture(scope="module")
def sought(net):
    found = explorer_data.sought_patches(net, MOST)
    return replace(found, channels=list(found.channels))


@pytest.fixture(scope="module")
def packed(sought):
    """What the page holds, all sheets without loss."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sheets, "MAX_LOSSLESS_BYTES", 10**9)
        return sheets.pack(sought)


def tiles(sheet, count):
    """The tiles of a sheet of the page, uint8 (count, tile, tile, 3)."""
    file = base64.b64decode(sheet["uri"].partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    tile, across = sheet["tile"], sheet["across"]
    corners = [(tile * (i // across), tile * (i % across)) for i in range(count)]
    return np.stack([pixels[top : top + tile, left : left + tile] for top, left in corners])


def test_the_nine_patches_are_the_report_s(net, sought, tmp_path, monkeypatch):
    monkeypatch.setattr(report_data.trained, "load", lambda *arguments: net)
    monkeypatch.setattr(trained.TrainedNet, "changed", lambda net: {})
    report = report_data.find(tmp_path, net.config, "best", MOST)
    assert report.looked_at == sought.looked_at == MOST
    assert len(report.channels) >= 12
    explored = {(one.layer, one.channel): one for one in sought.channels}
    assert {layer for layer, _ in explored} == set(deconvnet.convolutions(net.architecture))
    for one in report.channels:
        here = explored[one.layer, one.channel]
        assert here.tower == one.tower
        assert len(here.patches) == len(one.patches) == patches.PATCHES
        for mine, theirs in zip(here.patches, one.patches, strict=True):
            assert (mine.value, mine.image, mine.box) == (theirs.value, theirs.image, theirs.box)
            np.testing.assert_array_equal(mine.pixels, theirs.pixels)
            np.testing.assert_allclose(mine.projection, theirs.projection, atol=1e-5)


@jax.custom_vjp
def deconvnet_relu(x):
    """A ReLU whose way back is a ReLU of the signal, wherever the values were."""
    return jnp.maximum(x, 0)


deconvnet_relu.defvjp(lambda x: (jnp.maximum(x, 0), None), lambda _, signal: (jnp.maximum(signal, 0),))


def values_of(net, layer, x):
    """A convolution's values before its ReLU, by lax alone; towers are groups of channels."""
    for name, (stride, pad) in CONVOLUTIONS.items():
        kernel = jnp.concatenate(list(np.asarray(net.params[name]["kernel"])), axis=-1)
        groups = x.shape[-1] // kernel.shape[2]
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            (pad, pad),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        ) + np.asarray(net.params[name]["bias"]).reshape(-1)
        if name == layer:
            return x
        x = deconvnet_relu(x)
        if name in ("conv1", "conv2"):
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
    raise AssertionError(layer)


@pytest.mark.parametrize("layer", CONVOLUTIONS)
def test_values_and_projections_by_vjp(layer, net, sought, packed):
    """Of three channels all patches, and their tiles in the page's sheet."""
    channels = [one for one in sought.channels if one.layer == layer]
    described = packed["layers"][layer]
    count, side = described["count"], described["side"]
    sheet = tiles(described["sheets"]["projections"], count * len(channels))
    for number in (0, len(channels) // 2, len(channels) - 1):
        for rank, patch in enumerate(channels[number].patches):
            whole = sought.images[patch.image].astype(np.float32)[None, EDGE:-EDGE, EDGE:-EDGE]
            x = jnp.asarray((whole - np.asarray(net.mean)) / np.asarray(net.normalization.input_std))
            values, back = jax.vjp(lambda x: values_of(net, layer, x), x)
            at = (0, patch.row, patch.column, number)
            assert patch.value == pytest.approx(float(values[at]), rel=1e-4)
            assert patch.value == pytest.approx(float(values[0, ..., number].max()), rel=1e-4)
            [projection] = back(jnp.zeros_like(values).at[at].set(values[at]))
            top, left, bottom, right = patch.box
            inside = np.asarray(projection)[0, top:bottom, left:right]
            most = np.abs(inside).max()
            np.testing.assert_allclose(patch.projection, inside, atol=1e-4 * most)
            scale = np.quantile(np.abs(inside), 0.995) or most
            wanted = 255 * np.clip(0.5 + inside / (2 * scale), 0, 1)
            drawn = sheet[number * count + rank][: bottom - top, : right - left]
            if side <= sheets.MAX_TILE:
                assert np.abs(drawn.astype(float) - wanted).max() <= 1.5
            said = described["numbers"][number * count + rank]
            assert said[0] == pytest.approx(patch.value, rel=1e-6)
            assert said[2:] == [patch.row, patch.column, *patch.box]
            assert list(sought.images)[said[1]] == patch.image


def test_the_images_are_those_of_the_records(net, sought, packed):
    dataset = open_dataset(net.config.data)
    records = dataset.records(net.config.data.train_split)
    shown = tiles(packed["images"], len(sought.images))
    assert len(packed["classes"]) == len(sought.images) <= MOST
    for pixels, name, number in zip(shown, packed["classes"], sought.images, strict=True):
        image, label, _ = records.read(number)
        np.testing.assert_array_equal(pixels[..., :1], np.frombuffer(image, np.uint8).reshape(72, 72, 1))
        assert name == dataset.class_names[label]


def test_a_page_of_large_images_holds_their_patches_alone(sought, monkeypatch):
    """Its size is bounded: tiles as small as it takes, with loss, and no whole images."""
    monkeypatch.setattr(sheets, "MAX_IMAGES_BYTES", 100)
    monkeypatch.setattr(sheets, "MAX_LOSSLESS_BYTES", 100)
    monkeypatch.setattr(sheets, "MAX_TILE", 8)
    whole = sheets.pack(sought)
    assert whole["images"] is None
    for layer, described in whole["layers"].items():
        channels = [one for one in sought.channels if one.layer == layer]
        sheet = tiles(described["sheets"]["patches"], 9 * len(channels))
        assert described["sheets"]["patches"]["tile"] == min(8, described["side"])
        patch = channels[1].patches[2]
        height, width = (max(1, round(8 * length / described["side"])) for length in patch.pixels.shape[:2])
        drawn = sheet[9 + 2][:height, :width]
        assert drawn.mean() == pytest.approx(patch.pixels.mean(), abs=4)


def test_without_the_run_s_images_it_says_so():
    data = explorer_data.explorer_data(random_run("cifar10_26"))
    assert data.sought is None
    assert "nowhere" in data.missing
    assert (
        explorer_data.explorer_data(random_run("fully_connected")).missing == "this net has no convolutions"
    )


# In the browser.


@pytest.fixture(scope="module")
def path(net, sought, tmp_path_factory):
    page = tmp_path_factory.mktemp("explorer") / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explorer_data, "sought_patches", lambda net: sought)
        write_page(net, page)
    return page


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1440])
def test_a_channel_s_patches_and_a_kernel(width, browser, path, net, sought):
    page = Page(browser, path, width, "#lang=en&lesson=net&layer=conv3&channel=12")
    page.wait("return explorer.net.sought.drawn > 0")
    assert page.text("seeks-title") == "What channel 12 of conv3 looks for"
    assert f"among {MOST} training images" in page.text("seeks-about")
    one = next(one for one in sought.channels if (one.layer, one.channel) == ("conv3", 12))
    boxes = page.driver.find_elements(By.CSS_SELECTOR, "#seeks-patches button")
    assert len(boxes) == 9
    for box, patch in zip(boxes, one.patches, strict=True):
        assert all(canvas.size["width"] >= 24 for canvas in box.find_elements(By.TAG_NAME, "canvas"))
        value = float(box.text.split()[0].replace("\u2212", "-"))
        assert value == pytest.approx(patch.value, rel=6e-3)
        assert f"row {patch.row}, column {patch.column}" in box.accessible_name
    assert page.run("return document.documentElement.scrollWidth") <= width

    # A patch leads to its image and position, where the page computes the value that it says.
    patch = one.patches[4]
    before = page.run("return explorer.net.runs")
    page.run("arguments[0].click()", boxes[4])
    page.wait(f"return explorer.net.runs > {before}")
    state = page.run("const n = explorer.net; return [n.layer, n.map, n.row, n.column, n.tower]")
    layers = page.run("return explorer.net.net.layers")
    number = next(i for i, layer in enumerate(layers) if layer["name"] == "conv3")
    assert state == [number, 12, patch.row, patch.column, 1]
    cut = page.array("explorer.net.cut", np.uint8).reshape(64, 64, 1)
    np.testing.assert_array_equal(cut, sought.images[patch.image][EDGE:-EDGE, EDGE:-EDGE])
    value = page.values("conv3").reshape(layers[number]["output"])[patch.row, patch.column, 12]
    assert value == pytest.approx(patch.value, rel=1e-4)
    page.wait("return document.querySelectorAll('#seeks-patches [aria-pressed=true]').length === 1")

    # A kernel of the gallery leads to its channel, and to where that is largest on this image.
    page.run("document.getElementById('gallery').scrollIntoView({ behavior: 'instant' })")
    page.wait("return document.querySelectorAll('#gallery-kernels button').length === 6")
    kernels = page.driver.find_elements(By.CSS_SELECTOR, "#gallery-kernels button")
    assert kernels[4].accessible_name == "kernel of channel 4, tower 1"
    drawn = page.run("return explorer.net.sought.drawn")
    page.run("arguments[0].click()", kernels[4])
    plane = page.values("conv1").reshape(layers[0]["output"])[..., 4]
    row, column = map(int, np.unravel_index(plane.argmax(), plane.shape))
    assert page.run("const n = explorer.net; return [n.layer, n.map, n.row, n.column]") == [0, 4, row, column]
    assert kernels[4].get_attribute("aria-pressed") == "true"
    assert f"Channel 4 at row {row}, column {column}" in page.text("gallery-words")
    page.wait(f"return explorer.net.sought.drawn > {drawn}")
    assert page.text("seeks-title") == "What channel 4 of conv1 looks for"
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "#seeks-patches li")) == 9
    shown = page.array(
        """(() => { const { width, height } = document.querySelectorAll("#gallery-kernels canvas")[4];
        const context = document.querySelectorAll("#gallery-kernels canvas")[4].getContext("2d");
        return context.getImageData(0, 0, width, height).data; })()""",
        np.uint8,
    ).reshape(11, 11, 4)
    kernel = np.asarray(net.params["conv1"]["kernel"])[1, :, :, 0, 1]  # the second tower's second
    wanted = 255 * (0.5 + kernel / (2 * np.abs(kernel).max()))
    assert np.abs(shown[..., 0] - wanted).max() <= 1

    # By key: from kernel to kernel, and from position to position, which the lesson above follows.
    page.run("arguments[0].focus()", kernels[4])
    kernels[4].send_keys(Keys.ARROW_LEFT)
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.run("return explorer.net.map") == 3
    canvas = page.driver.find_element(By.ID, "gallery-map")
    row, column = page.run("return [explorer.net.row, explorer.net.column]")
    canvas.send_keys(Keys.ARROW_UP if row else Keys.ARROW_DOWN)
    assert page.run("return explorer.net.row") == (row - 1 if row else 1)
    assert f"row {row - 1 if row else 1}, column {column}" in page.text("words")

    page.run(axe())
    found = page.driver.execute_async_script(
        """const done = arguments[arguments.length - 1];
        axe.run("#net").then(({ violations }) => done(violations.map(
          ({ id, nodes }) => [id, nodes[0].html])));"""
    )
    assert found == []
    assert page.run(SMALL_TARGETS) == []
    page.click("language")
    page.wait("return document.getElementById('seeks-title').textContent === 'conv1 的通道 3 在找什么'")
    assert page.run("return document.documentElement.scrollWidth") <= width
    page.quiet()


@pytest.mark.slow
def test_a_page_without_patches(browser, tmp_path):
    """It says so; the gallery is there where the first layer has kernels to be seen."""
    write_page(random_run("cifar10_26"), tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html", address="#lang=en&lesson=net&layer=relu2&channel=3")
    assert page.text("seeks-title") == "What channel 3 of conv2 looks for"
    assert "not at hand" in page.text("seeks-about")
    assert not page.driver.find_element(By.ID, "seeks-patches").is_displayed()
    page.run("document.getElementById('gallery').scrollIntoView({ behavior: 'instant' })")
    page.wait("return document.querySelectorAll('#gallery-kernels button').length === 16")
    page.quiet()
    write_page(random_run("fully_connected", channels=1), tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html")
    for name in ("gallery", "seeks"):
        assert not page.driver.find_element(By.ID, name).is_displayed()
    page.quiet()
