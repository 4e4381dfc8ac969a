"""Images and drawings as text, for a page that asks for nothing else."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from PIL import Image

from alexnet_jax.report.figures import CHINESE

MAX_PNG_BYTES = 20_000  # of an image: a photograph is smaller as WebP, a small image is kept exactly


@dataclass(frozen=True)
class InlineImage:
    """Hold an image as an address (`data:`), and its size in pixels."""

    uri: str
    width: int
    height: int


def image(pixels: np.ndarray) -> InlineImage:
    """Return an image as text.

    Args:
      pixels: uint8 (H, W, 1 or 3), or float (H, W, 3) from 0 to 1.
    """
    if pixels.dtype != np.uint8:
        pixels = np.round(255 * pixels).astype(np.uint8)
    drawn = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    content, kind = _encoded(drawn, "png", optimize=True), "png"
    if len(content) > MAX_PNG_BYTES:
        content, kind = _encoded(drawn.convert("RGB"), "webp", quality=88), "webp"
    return InlineImage(f"data:image/{kind};base64,{base64.b64encode(content).decode()}", *drawn.size)


def _encoded(drawn: Image.Image, kind: str, **how: bool | int) -> bytes:
    file = io.BytesIO()
    drawn.save(file, kind, **how)
    return file.getvalue()


def without_chinese(svg: str) -> str:
    """Return an SVG of `drawing.encode` in English alone."""
    return re.sub(rf" id=([\"']){CHINESE}.*?\1", "", svg)


def chart(svg: str) -> Markup:
    """Return an SVG of `drawing.encode` as a part of a page, its words in both languages.

    The page's own style must say what the SVG's says, which no page's policy allows: joins round, caps butt.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(rf"<g id=([\"']){CHINESE}(.*?)\1>(.*?)</g>", _in_both, svg, flags=re.DOTALL)
    svg = re.sub(
        r' id="([^"]+)"', lambda found: found[0] if f"#{found[1]}" in svg else "", svg
    )  # two drawings have the same names
    return Markup(re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg, count=1))


def _in_both(found: re.Match[str]) -> str:
    _, chinese, english = found.groups()
    translated = re.sub(r">[^<>]+</text>", lambda _: f">{chinese}</text>", english)
    return f'<g lang="en">{english}</g><g lang="zh">{translated}</g>'
