"""The sheet of `similar`: images in their order with class, score and file, whatever they are called."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data import image_files
from alexnet_jax.data.images import Preprocessing, resize_center_crop
from alexnet_jax.inference import sheet, similar
from tests import fonts
from tests.inference.helpers import axes_of_figures, random_run, write_images

HOW = Preprocessing(72, 3)


@pytest.fixture
def photos(tmp_path):
    write_images(tmp_path / "photos" / "a", 5, seed=1)
    write_images(tmp_path / "photos" / "b", 4, seed=2)
    return tmp_path / "photos"


@pytest.fixture
def trained(tmp_path):
    return random_run(tmp_path / "run")


def square_of(path):
    """What a net of images of 72 pixels sees of a file."""
    return resize_center_crop(Path(path).read_bytes(), HOW)


def texts(panel):
    return [text.get_text() for text in panel.texts]


def test_the_image_asked_with_then_its_neighbours(trained, photos, tmp_path):
    """Hostile names are text, what is gone is left blank."""
    strange = photos / "$x^ <b> \u202e.png"
    paths = image_files.list_folder(photos)
    paths[0].rename(strange)
    answer = similar.similar(trained, photos, strange, "", 20)
    paths[8].unlink()
    with axes_of_figures() as axes:
        sheet.draw(answer, HOW, tmp_path / "sheet.png")
    assert len(axes) == 12  # nine images, six in a row
    assert (axes[0].get_title(), texts(axes[0])) == ("asked", ["$x^ <b> \\u202e.png"])
    np.testing.assert_array_equal(axes[0].images[0].get_array(), square_of(strange))
    for panel, result in zip(axes[1:], answer["results"], strict=False):
        name = str(Path(result["file"]).relative_to(photos))
        assert texts(panel) == [f"{result['distance']:.3g}", name]
        assert panel.get_title() == result["likeliest"]
        if Path(result["file"]) == paths[8]:
            assert not panel.images
        else:
            np.testing.assert_array_equal(panel.images[0].get_array(), square_of(result["file"]))
    assert not any(panel.images for panel in axes[9:])
    assert axes[0].figure.get_suptitle().startswith("9 images in ")
    with Image.open(tmp_path / "sheet.png") as drawn:
        assert drawn.size[0] > drawn.size[1] > 200


def test_images_of_a_class_with_bars(trained, photos, tmp_path):
    """A bar is as long as the probability; a class that is not the one asked for is red."""
    answer = similar.similar(trained, photos, None, "class 1", 9)
    with axes_of_figures() as axes:
        sheet.draw(answer, HOW, tmp_path / "sheet.svg")
    colours = set()
    for panel, result in zip(axes, answer["results"], strict=False):
        assert [bar.get_width() for bar in panel.patches] == [1, result["probability"]]
        assert texts(panel)[0] == f"{result['probability']:.1%}"
        assert (panel.title.get_color() == "black") == (result["likeliest"] == "class 1")
        colours.add(panel.title.get_color())
    assert colours
    assert axes[0].figure.get_suptitle().endswith("the likeliest class 1")
    assert (tmp_path / "sheet.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("asked", ["image", "label"])
def test_long_and_chinese_names(trained, photos, tmp_path, monkeypatch, capfd, asked):
    fonts.only(monkeypatch, fonts.blocks(tmp_path / "blocks.ttf"))
    answer = similar.similar(trained, photos, None, "class 1", 9)
    name = fonts.CHINESE[:5] + "-" + "W" * 300
    answer["results"] = [row | {"likeliest": name} for row in answer["results"]]
    answer["label"] = name
    if asked == "image":
        del answer["label"]
        answer["results"] = [
            {"file": row["file"], "likeliest": name, "distance": 0.5} for row in answer["results"]
        ]
        answer |= {"query": answer["results"][0]["file"], "compared_by": "fc7", "distance": "cosine"}
    capfd.readouterr()  # of the index
    with axes_of_figures() as axes, warnings.catch_warnings():
        warnings.simplefilter("error")
        sheet.draw(answer, HOW, tmp_path / "sheet.png")
        sheet.draw(answer, HOW, tmp_path / "sheet.svg")
    fonts.check_apart(axes[0].figure)
    assert min(panel.get_window_extent().width for panel in axes[:9]) > 120  # of 200 pixels a column
    text = (tmp_path / "sheet.svg").read_text()
    assert text.count(f"<title>{name}</title>") == 9
    assert capfd.readouterr() == ("", "")
