"""The explorer: what the page computes is what JAX computes, and all of it can be reached."""

import io
import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from alexnet_jax.config import resolve
from alexnet_jax.data.images import Preprocessing, resize_center_crop
from alexnet_jax.evaluation import activations
from alexnet_jax.inference import predict
from alexnet_jax.interop import convert
from alexnet_jax.model import network, shapes
from alexnet_jax.report import explorer
from alexnet_jax.workdir import trained as runs
from configs import imagenet_caffe, imagenet_torchvision
from tests.browser import chromium
from tests.report.explorer_page import HOSTILE, NETS, Page, close, random_run, shown_numbers, write_page

FRAMED = ("conv1", "norm1", "pool1", "conv2", "pool2", "conv3")  # layers whose frames are held against slopes


def smooth_image(size, channels, seed):
    """A smooth random image, uint8 (H, W, channels)."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (7, 7, 3), dtype=np.uint8))
    image = small.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image if channels == 3 else image.convert("L")).reshape(*size[::-1], channels)


def encoded(pixels, file_format, **options):
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, file_format, **options)
    return file.getvalue()


# What needs no browser.


def test_hostile_names_stay_text(tmp_path):
    write_page(random_run("fully_connected"), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("</script>") == 4  # the page's own four
    assert "<img src=x" not in page
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert tuple(json.loads(data[1])["net"]["classNames"]) == HOSTILE


def test_the_page_names_no_address(tmp_path):
    write_page(random_run("fully_connected"), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) <= {"http://www.w3.org/2000/svg"}


def test_every_text_is_in_both_languages():
    scripts = {path.name: path.read_text() for path in (explorer.HERE / "js").glob("*.js")}
    tables = {name: scripts.pop(name) for name in list(scripts) if re.search(r"(^|-)strings\.js$", name)}
    assert len(tables) == 7
    row = r'^  (\w+): \[\s*"((?:[^"\\]|\\.)*)",\s*"((?:[^"\\]|\\.)*)",?\s*\],$'
    rows = [found for table in tables.values() for found in re.findall(row, table, re.MULTILINE)]
    keys = [key for key, _, _ in rows]
    written = sum(len(re.findall(r"^  \w+: \[", table, re.MULTILINE)) for table in tables.values())
    assert len(keys) == len(set(keys)) == written
    for key, english, chinese in rows:
        assert english
        assert chinese
        assert set(re.findall(r"\{(\w+)\}", chinese)) <= set(re.findall(r"\{(\w+)\}", english)), key
        for word, its in (("channel", "通道"), ("feature map", "特征图")):
            assert (word in english.lower()) == (its in chinese), key
        others = re.sub("图片|特征图|小图|上图|看图|图 [0-9]", "", chinese)  # images and figures
        assert "图" not in others, key
    page = "".join(path.read_text() for path in explorer.HERE.glob("*.jinja"))
    asked = set(re.findall(r'data-t(?:-label)?="(\w+)"', page))
    for script in scripts.values():
        asked |= set(re.findall(r'\bt\("(\w+)"', script))
        asked |= {key for pair in re.findall(r'\bt\([^"()]*\? "(\w+)" : "(\w+)"', script) for key in pair}
    assert asked <= set(keys), asked - set(keys)
    everything = page + "".join(scripts.values())
    parts = ("about_", "tool_", "neuron_", "axis_", "column", "kind_")
    unused = [key for key in keys if not re.search(rf"\b{key}\b", everything) and not key.startswith(parts)]
    assert not unused


def test_two_lessons_may_use_one_name(tmp_path, monkeypatch):
    """Modules are functions of their own in the page; what one exports reaches those that import it."""
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "one.js").write_text("const NAME = 1;\nexport function one() {\n  return NAME;\n}\n")
    main = 'import { one } from "./one.js";\nconst NAME = 2;\nthrow new Error(`${one()} ${NAME}`);\n'
    (tmp_path / "js" / "main.js").write_text(main)
    monkeypatch.setattr(explorer, "HERE", tmp_path)
    text = explorer.bundle("main.js")
    assert "import" not in text
    assert "export" not in text
    with chromium() as browser:
        said = browser.run(f"try {{ {text} }} catch (error) {{ return error.message; }}")
    assert said == "1 2"


# In the browser.


def compare(page, run, count=2):
    """Every activation of the page, the probabilities too, against JAX's."""
    layers = list(activations.layer_names(run.architecture))
    size, channels = run.config.data.size, run.config.data.channels
    images = np.stack([smooth_image((size, size), channels, seed) for seed in range(count)])
    wanted = activations.activations(run, images, layers, 2)
    for number in range(count):
        page.drop(encoded(images[number], "PNG"), "image.png")
        assert set(page.run("return Object.keys(explorer.net.values)")) == set(layers)
        for name in layers:
            close(page.values(name).reshape(wanted[name][number].shape), wanted[name][number])


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_every_activation_is_jax_s(name, browser, tmp_path):
    grey = name == "fully_connected"
    run = random_run(name, mean="crop" if name == "caffe" else "centre", channels=1 if grey else 3)
    write_page(run, tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html")
    compare(page, run)
    page.quiet()


@pytest.mark.slow
def test_the_digits_net_whole(browser, tmp_path):
    """The quick start's table at its own width, with the mean of one colour."""
    run = random_run("alexnet_2012", mean="rgb", channels=1)
    net = write_page(run, tmp_path / "page.html")
    assert len(net.images) == 10
    page = Page(browser, tmp_path / "page.html")
    compare(page, run, count=3)


@pytest.mark.slow
def test_the_converted_convolutions(browser, real_data, tmp_path):
    """conv1 to conv5 with ImageNet's weights, at full width, on photographs."""
    recipes = {"torchvision": imagenet_torchvision.get_config(), "caffe": imagenet_caffe.get_config()}
    workdir = tmp_path / "run"
    convert.to_workdir(real_data / "torchvision_alexnet_features.npz", workdir, recipes)
    run = runs.load(workdir, runs.read_config(workdir), "best")
    net = write_page(run, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 15e6
    page = Page(browser, tmp_path / "page.html")
    layers = list(activations.layer_names(run.architecture))
    for number, (_, file) in enumerate(net.images):
        image = np.asarray(Image.open(io.BytesIO(file)))[None]
        wanted = activations.activations(run, image, layers, 1)
        page.run(f"document.querySelectorAll('#samples button')[{number}].click()")
        page.wait(f"return explorer.net.runs > {number + 1}")
        for name in layers:
            close(page.values(name).reshape(wanted[name][0].shape), wanted[name][0])
    page.quiet()


@pytest.mark.slow
@pytest.mark.parametrize("turning", [False, True])
def test_a_dropped_file_is_read_as_predict_reads_it(turning, browser, tmp_path):
    run = random_run("cifar10_26")
    run = replace(run, config=resolve.replace(run.config, {"data.exif_rotation": turning}))
    write_page(run, tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html")

    def predicted(file, views):
        (tmp_path / "file").write_bytes(file)
        [answer] = predict.predict(replace(run, class_names=()), [tmp_path / "file"], views)
        return {guess["label"]: guess["probability"] for guess in answer["top5"]}

    own = encoded(smooth_image((72, 72), 3, 5), "PNG")
    page.drop(own, "own.png")
    read = page.values("prob")
    for label, probability in predicted(own, 1).items():
        assert read[label] == pytest.approx(probability, rel=1e-4, abs=1e-7)
    page.click("ten")
    page.wait("return Boolean(explorer.net.ten)")
    ten = page.array("explorer.net.ten")
    for label, probability in predicted(own, 10).items():
        assert ten[label] == pytest.approx(probability, rel=1e-4, abs=1e-7)

    for seed, size in enumerate([(301, 200), (97, 150), (72, 90), (41, 60), (640, 480), (73, 73)]):
        pixels = smooth_image(size, 3, seed)
        lossless = encoded(pixels, "PNG")
        page.drop(lossless, "other.png")
        square = resize_center_crop(lossless, Preprocessing(72, 3, True))
        read = page.array("explorer.net.pixels", np.uint8).reshape(square.shape)
        np.testing.assert_array_equal(read, square)
        turned = Image.Exif()
        turned[0x0112] = 6 if seed % 2 else 1
        jpeg = encoded(pixels, "JPEG", quality=88, exif=turned.tobytes())
        page.drop(jpeg, "other.jpg")
        wanted, read = predicted(jpeg, 1), page.values("prob")
        assert int(read.argmax()) == next(iter(wanted))
        for label, probability in wanted.items():
            assert read[label] == pytest.approx(probability, abs=0.02)

    clear = Image.fromarray(
        np.dstack([smooth_image((72, 72), 3, 9), smooth_image((72, 72), 1, 10)[..., 0]]), "RGBA"
    )
    file = io.BytesIO()
    clear.save(file, "PNG")
    page.drop(file.getvalue(), "clear.png")
    square = resize_center_crop(file.getvalue(), Preprocessing(72, 3, True)).astype(int)
    read = page.array("explorer.net.pixels", np.uint8).reshape(square.shape).astype(int)
    assert np.abs(read - square).max() <= 2

    runs_before = page.run("return explorer.net.runs")
    page.run("return explorer.net.openFile(new File(['no'], 'no<b>.txt'))")
    page.wait("return document.getElementById('picture-error').textContent !== ''")
    assert "no<b>.txt" in page.text("picture-error")
    assert page.run("return explorer.net.runs") == runs_before
    page.quiet()


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [
        {"resize_filter": "bilinear", "resize_rounding": "torchvision"},
        {"resize": "squash", "resize_filter": "opencv_bilinear"},
        {"resize_filter": "opencv_bilinear"},
        {"resize": "squash"},
    ],
    ids=str,
)
def test_a_dropped_file_becomes_the_square_of_the_net_s_config(form, browser, tmp_path):
    run = random_run("cifar10_26")
    run = replace(run, config=resolve.replace(run.config, {f"data.{key}": form[key] for key in form}))
    write_page(run, tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html")
    for seed, size in enumerate([(301, 200), (97, 150), (41, 60), (73, 73), (640, 480)]):
        lossless = encoded(smooth_image(size, 3, seed), "PNG")
        page.drop(lossless, "image.png")
        square = resize_center_crop(lossless, Preprocessing(72, 3, **form))
        read = page.array("explorer.net.pixels", np.uint8).reshape(square.shape)
        np.testing.assert_array_equal(read, square)
    page.quiet()


@pytest.mark.slow
def test_moving_flipping_and_covering(browser, tmp_path):
    """A view of the page against the same view made by numpy, and the scan against one view of it."""
    run = random_run("alexnet_2012")
    write_page(run, tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html")
    pixels = smooth_image((72, 72), 3, 3)
    page.drop(encoded(pixels, "PNG"), "image.png")
    canvas = page.driver.find_element(By.ID, "picture")

    def press(*keys):
        for key in keys:
            before = page.run("return explorer.net.runs")
            canvas.send_keys(key)
            page.wait(f"return explorer.net.runs > {before}")

    grey = np.asarray(np.round(np.asarray(run.mean).mean((0, 1))), np.uint8)
    press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    before = page.run("return explorer.net.runs")
    page.click("flip")
    page.wait(f"return explorer.net.runs > {before}")
    cut = pixels[3:67, 2:66][:, ::-1].copy()
    np.testing.assert_array_equal(page.array("explorer.net.cut", np.uint8).reshape(64, 64, 3), cut)
    page.run("document.querySelector('[value=cover]').click()")
    page.wait("return Boolean(explorer.net.view.cover)")
    press(Keys.ARROW_LEFT)
    cover = page.run("return explorer.net.view.cover")
    cut[cover["top"] : cover["top"] + 16, cover["left"] : cover["left"] + 16] = grey
    np.testing.assert_array_equal(page.array("explorer.net.cut", np.uint8).reshape(64, 64, 3), cut)
    wanted = activations.activations(run, cut[None], ["fc8", "prob"], 1)  # of the crop's size: taken whole
    close(page.values("fc8"), wanted["fc8"][0])

    page.click("scan")
    page.wait("return Boolean(explorer.net.scan)")
    scanned = page.array("explorer.net.scan.result").reshape(9, 9)
    label = page.run("return explorer.net.scan.label")
    covered = np.repeat(pixels[None, 3:67, 2:66, :][:, :, ::-1], 2, axis=0).copy()
    covered[0, :16, :16] = grey
    covered[1, 48:, 24:40] = grey
    wanted = activations.activations(run, covered, ["prob"], 2)["prob"][:, label]
    np.testing.assert_allclose([scanned[0, 0], scanned[8, 4]], wanted, rtol=1e-4)
    assert "%" in page.text("scan-words")

    page.click("reset")
    page.wait("return !explorer.net.view.cover")
    for _ in range(60):
        canvas.send_keys(Keys.SHIFT, Keys.ARROW_LEFT)
    page.quiet()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet_2012", "cifar10_18"])
def test_the_sum_behind_a_value(name, browser, tmp_path):
    """Whatever cell the keys lead to: the sum ends in the cell's value, the frame is right."""
    run = random_run(name)
    write_page(run, tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html")
    data = run.config.data
    pixels, edge = smooth_image((data.size, data.size), 3, 3), (data.size - data.crop) // 2
    page.drop(encoded(pixels, "PNG"), "image.png")
    table = shapes.layer_shapes(run.architecture)
    mean = np.asarray(run.mean)

    def net(x, layer):
        return network.forward(run.architecture, run.mesh, run.params, x, wanted=(layer,))[layer]

    x = (
        pixels[None, edge : edge + data.crop, edge : edge + data.crop].astype(np.float32) - mean
    ) / np.asarray(run.normalization.input_std)
    for number, layer in enumerate(run.architecture.layers):
        buttons = page.driver.find_elements(By.CSS_SELECTOR, f'[data-layer="{number}"]')
        page.run("arguments[0].click()", buttons[-1])
        output = table[layer.name].output
        canvas = page.driver.find_element(By.ID, "map" if len(output) == 3 else "atlas")
        words = page.text("words")
        page.run("arguments[0].focus()", canvas)
        keys = [Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.ARROW_UP]
        key = next((k for k in keys if canvas.send_keys(k) or page.text("words") != words), None)
        assert key or output[0] == 1, layer.name
        state = page.run("const n = explorer.net; return { row: n.row, column: n.column, map: n.map }")
        position = (state["row"], state["column"], state["map"]) if len(output) == 3 else (state["map"],)
        value = page.values(layer.name).reshape(output)[position]
        sums = page.run("return [...document.querySelectorAll('#why .sum')].map((p) => p.textContent)")
        ends = [
            float(re.search(r"-?[\d.]+(e-?\d+)?$", end.replace("\u2212", "-").strip())[0]) for end in sums
        ]
        assert any(end == pytest.approx(float(value), rel=6e-3, abs=1e-9) for end in ends), (
            layer,
            sums,
        )
        if len(output) < 3:
            assert "whole image" in page.text("words")
            continue
        top, bottom, left, right = map(
            int, re.search(r"rows (\d+) to (\d+) and columns (\d+) to (\d+)", page.text("words")).groups()
        )
        if layer.name not in FRAMED:
            continue
        gradient = jax.jit(jax.grad(lambda x, at=position, of=layer.name: net(x, of)[(0, *at)]))
        slope = np.abs(gradient(jnp.asarray(x, jnp.float32)))
        rows, columns = np.nonzero(slope[0].sum((1, 2)))[0], np.nonzero(slope[0].sum((0, 2)))[0]
        if len(rows):
            assert top <= rows.min() <= rows.max() <= bottom
            assert left <= columns.min() <= columns.max() <= right
        if layer.name in ("conv1", "conv2") and name in ("torchvision", "cifar10_18"):
            assert (bottom - top) <= (rows.max() - rows.min()) + 8
        if layer.name == "conv1":
            assert (rows.min(), rows.max(), columns.min(), columns.max()) == (top, bottom, left, right)
    page.quiet()


@pytest.mark.slow
def test_the_small_lessons(browser, tmp_path):
    write_page(random_run("fully_connected"), tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html")
    assert "0.2 > 0" in page.text("neuron-sum")
    slider = page.driver.find_element(By.CSS_SELECTOR, "#neuron-sliders input")
    for _ in range(8):
        slider.send_keys(Keys.ARROW_LEFT)
    assert "\u22120.2 \u2264 0" in page.text("neuron-sum")
    assert "stop" in page.text("neuron-words")

    kernel = np.asarray([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    square = np.zeros((9, 9))
    square[2:7, 2:7] = 1
    canvas = page.driver.find_element(By.ID, "kernel-map")
    page.run("arguments[0].focus()", canvas)
    corner = [3, 1]
    for key, step in [(Keys.ARROW_DOWN, (1, 0)), (Keys.ARROW_LEFT, (0, -1)), (Keys.HOME, (0, 0))]:
        canvas.send_keys(key)
        corner = [corner[0] + step[0], corner[1] + step[1]]
        patch = square[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3]
        total = (patch * kernel).sum()
        assert page.text("kernel-sum").endswith(f"= {total:g}")
        assert f"Row {corner[0]}, column {corner[1]} of the feature map is {total:g}" in page.text(
            "kernel-words"
        )
    assert "9 \u2212 3 + 1 = 7" in page.text("kernel-size")
    page.run(  # at once, as the page may still be scrolling to the canvas
        """const box = arguments[0].getBoundingClientRect();
        const at = { clientX: box.left + (box.width * 6.5) / 7, clientY: box.top + (box.width * 0.5) / 7 };
        arguments[0].dispatchEvent(new PointerEvent("pointermove", at));""",
        canvas,
    )
    assert "Row 0, column 6" in page.text("kernel-words")
    page.run(
        """const select = document.getElementById("kernel-preset");
        select.value = "presetBlur";
        select.dispatchEvent(new Event("change"));"""
    )
    total = square[0:3, 6:9].sum() / 9
    assert float(page.text("kernel-sum").split("=")[-1]) == pytest.approx(total, rel=6e-3)
    page.quiet()


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_languages_widths_and_motion(width, scheme, browser, tmp_path):
    write_page(random_run("alexnet_2012"), tmp_path / "page.html")
    chosen = [("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce" if width == 360 else "")]
    chosen = [{"name": name, "value": value} for name, value in chosen]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": chosen})
    page = Page(browser, tmp_path / "page.html", width)
    assert page.run("return document.documentElement.classList.contains('still')") == (width == 360)
    for layer in range(len(page.run("return explorer.net.net.layers"))):
        page.run(f"document.querySelector('[data-layer=\"{layer}\"]').click()")
        assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run("return window.broken") is None
    page.click("language")
    assert page.run("return document.documentElement.lang") == "zh-CN"
    shown = page.run("return document.body.innerText")
    assert "一个神经元" in shown
    assert "undefined" not in shown
    latin = {"ReLU", "Sigmoid", "configs", "mnist", "scikit", "learn"}
    assert not set(re.findall(r"[A-Za-z]{4,}", page.text("learn") + page.text("kernel"))) - latin
    page.quiet()


def look(page, name, tower=0):
    number = [layer["name"] for layer in page.run("return explorer.net.net.layers")].index(name)
    page.run(f"""document.querySelector('[data-layer="{number}"][data-tower="{tower}"]').click()""")
    return number


@pytest.fixture(scope="module")
def two_towers(browser, tmp_path_factory):
    """The page of a net of two towers on colour images, with axes of lighting of its own; the net itself."""
    run = random_run("alexnet_2012")
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    statistics = replace(run.statistics, eigenvalues=np.asarray([9e4, 1e4, 400.0]), eigenvectors=axes)
    run = replace(run, statistics=statistics)
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    write_page(run, path)
    return Page(browser, path), run


@pytest.mark.slow
def test_the_mean_that_is_taken_off(two_towers):
    page, run = two_towers
    look(page, "conv1")
    row, column = map(int, re.search(r"row (\d+), column (\d+)", page.text("input-words")).groups())
    cut = page.array("explorer.net.cut", np.uint8).reshape(64, 64, 3)
    pixel, minus, rest, again, divisor, read = shown_numbers(page.text("input-sum"))
    assert pixel == cut[row, column, 0]
    assert minus == pytest.approx(-np.asarray(run.mean)[row, column, 0], rel=6e-3)
    assert rest == pytest.approx(again, rel=6e-3)
    assert pixel + minus == pytest.approx(rest)
    assert divisor == 60  # of red
    inputs = page.array("explorer.net.input").reshape(64, 64, 3)
    assert read == pytest.approx(inputs[row, column, 0], rel=6e-3)
    middle = page.run("const n = explorer.net; return [n.row, n.column]")
    assert [row, column] == [4 * at + 5 for at in middle]  # of an 11 x 11 kernel at stride 4
    drawn = "return document.getElementById(arguments[0]).toDataURL()"
    assert len({page.run(drawn, f"input-{name}") for name in ("cut", "mean", "rest")}) == 3
