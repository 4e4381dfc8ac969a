"""Images and drawings as parts of a page."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from alexnet_jax import drawing
from alexnet_jax.report import figures, inline
from alexnet_jax.report.words import both


def decoded(uri):
    kind, content = re.fullmatch(r"data:image/(\w+);base64,(.*)", uri).groups()
    return kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_image_is_kept_to_the_bit(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, channels), dtype=np.uint8)
    made = inline.image(pixels)
    assert (made.width, made.height) == (20, 30)
    kind, drawn = decoded(made.uri)
    assert kind == "png"
    np.testing.assert_array_equal(drawn, np.broadcast_to(pixels, (30, 20, 3)))
    np.testing.assert_array_equal(
        decoded(inline.image(np.broadcast_to(pixels, (30, 20, 3)) / 255).uri)[1], drawn
    )


def test_a_photograph_is_webp_and_near():
    rows, columns = np.mgrid[:224, :224]
    noise = np.random.default_rng(0).normal(0, 2, (224, 224, 3))
    pixels = (
        (np.stack([rows, columns, rows // 2 + columns // 2], axis=-1) + noise).clip(0, 255).astype(np.uint8)
    )
    kind, drawn = decoded(inline.image(pixels).uri)
    assert kind == "webp"
    assert np.abs(drawn.astype(int) - pixels).mean() < 4


@drawing.default_style()
def test_a_drawing_speaks_both_languages():
    """A name that is like a word of the drawing stays; no name is declared twice, no style is left."""
    figure = Figure()
    figures.say(figure.text(0.1, 0.1, ""), both("loss", '损失 <"&>'))
    drawing.fit(figure.text(0.5, 0.5, ""), "loss", 3)
    drawing.fit(figure.text(0.5, 0.8, ""), "<b>" + "x" * 300, 3)
    svg = drawing.encode(figure, "svg").decode()
    assert "损失" not in inline.without_chinese(svg)
    chart = inline.chart(svg)
    root = ElementTree.fromstring(chart.replace("xlink:", ""))
    groups = {
        group.get("lang"): [text.text for text in group.iter() if text.tag.endswith("text")]
        for group in root.iter()
        if group.get("lang")
    }
    assert groups == {"en": ["loss"], "zh": ['损失 <"&>']}
    assert [text.text for text in root.iter() if text.tag.endswith("text")].count("loss") == 2
    assert "<style" not in chart
    assert "<metadata" not in chart
    identities = [node.get("id") for node in root.iter() if node.get("id")]
    assert all(f"#{name}" in chart for name in identities)
    assert chart.startswith("<svg viewBox=")
