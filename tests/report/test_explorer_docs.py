"""The explorer in docs/: what the program writes today, whole, small, and of nobody's machine."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.report import explorer
from alexnet_jax.workdir import pretrained

PAGE = Path(__file__).parents[2] / "docs" / "explorer.html"
MAX_BYTES = 4_000_000
REMAKE = (
    "python -m alexnet_jax.main report --explore --workdir=pretrained:cifar10 --output=docs/explorer.html"
)


@pytest.fixture(scope="module")
def text():
    return PAGE.read_text(encoding="utf-8")


def part(text, name):
    """The content of the script called `name`."""
    return re.search(rf'<script [^>]*id="{name}">(.*?)</script>', text, re.DOTALL)[1]


@pytest.fixture(scope="module")
def data(text):
    return json.loads(part(text, "data"))


def test_it_is_small(text):
    assert PAGE.stat().st_size <= MAX_BYTES
    assert len(text) > 500_000  # its net is in it


def test_it_is_what_the_program_writes_today(text, data):
    """Its net and images, in today's page, style and scripts, are the file."""
    assert explorer.render(data, part(text, "numbers")) == text, f"the explorer has changed: type {REMAKE}"


class References(HTMLParser):
    """All that a page's elements refer to."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        names = {"src", "href", "srcset", "action", "data", "poster"}
        self.found += [value for name, value in attributes if name in names]


def test_it_asks_for_nothing(text):
    assert all(each.startswith(("#", "data:")) or each == "index.html" for each in References(text).found)
    assert re.search(r'<a id="report" href="index.html" hidden', text)  # it has no report beside it
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert not re.search(r"url\(|@import", style)


def test_no_path_of_a_machine_is_in_it(text, data):
    without_scripts = re.sub(r"<(script|style)[ >].*?</\1>", "", text, flags=re.DOTALL)
    for words in (json.dumps(data | {"pictures": []}), without_scripts):
        assert not re.search(r"(?<![<\w])/(home|root|tmp|work|usr|Users|mnt|var)\b|[A-Z]:\\", words)


def test_its_images_are_cifar_10_s(data):
    """One of each class, called as the net calls it, whole; scikit-learn's photographs are not among them."""
    names = [each["name"] for each in data["pictures"]]
    assert names == data["net"]["classNames"] == sorted(set(names))
    assert len(names) == 10
    for each in data["pictures"]:
        assert Image.open(io.BytesIO(base64.b64decode(each["png"]))).size == (32, 32)


def test_its_weights_are_those_that_come_along(text, data):
    numbers = np.frombuffer(base64.b64decode(part(text, "numbers")), "<f4")
    # A safetensors file: the length of a header in JSON, the header, the numbers.
    file = (pretrained.FOLDER / "cifar10.safetensors").read_bytes()
    start = 8 + int.from_bytes(file[:8], "little")
    weights = json.loads(file[8:start])
    weights.pop("__metadata__", None)
    ours = {name: place for name, place in data["places"].items() if name != "mean"}
    assert set(ours) == set(weights) - {"statistics.mean"}
    for name, place in ours.items():
        first, behind = weights[name]["data_offsets"]
        dtype = {"F32": "<f4", "F16": "<f2"}[weights[name]["dtype"]]
        wanted = np.frombuffer(file[start + first : start + behind], dtype).astype(np.float32)
        np.testing.assert_array_equal(numbers[place["at"] : place["at"] + wanted.size], wanted)
