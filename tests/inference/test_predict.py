"""The verb `predict`: five guesses by hand, files that are no images, and the figure."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data import image_files
from alexnet_jax.data.images import Preprocessing, resize_center_crop
from alexnet_jax.errors import UsageError
from alexnet_jax.evaluation.classes import output_names
from alexnet_jax.inference import predict
from alexnet_jax.workdir import trained
from tests import fonts
from tests.inference.helpers import axes_of_figures, by_hand, random_run, write_images


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return random_run(tmp_path_factory.mktemp("run"))


def test_the_five_likeliest_in_order(net, tmp_path):
    """Six images in batches of four; the second batch is padded, and one file is no image."""
    paths = write_images(tmp_path, 6)
    paths[1].write_bytes(b"no image")
    answers = predict.predict(net, paths, 1)
    assert [answer["file"] for answer in answers] == [str(path) for path in paths]
    formats = "AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"
    assert answers[1] == {
        "file": str(paths[1]),
        "error": f"not an image in one of the formats {formats}",
    }
    good = [number for number in range(6) if number != 1]
    images = np.stack([resize_center_crop(paths[n].read_bytes(), Preprocessing(72, 3, True)) for n in good])
    for number, row in zip(good, by_hand(net, images)["prob"], strict=True):
        order = sorted(range(7), key=lambda label, row=row: -row[label])[:5]
        guesses = answers[number]["top5"]
        assert [guess["label"] for guess in guesses] == order
        assert [guess["name"] for guess in guesses] == [f"class {label}" for label in order]
        np.testing.assert_allclose([g["probability"] for g in guesses], row[order], rtol=1e-5)
    json.dumps(answers)
    text = predict.as_text(answers).splitlines()
    assert text[6:8] == [str(paths[1]), f"  cannot be read: not an image in one of the formats {formats}"]
    assert text[0] == str(paths[0])
    likeliest = answers[0]["top5"][0]
    assert text[1] == f"  {likeliest['probability']:7.2%}  {likeliest['name']}"


def test_ten_views_are_the_predictor_s(net, tmp_path):
    paths = write_images(tmp_path, 1)
    image = resize_center_crop(paths[0].read_bytes(), Preprocessing(72, 3, True))
    expected = np.asarray(net.predictor(10)(image[None].repeat(4, 0)))[0]
    for answers, differ in ((predict.predict(net, paths, 10), False), (predict.predict(net, paths, 1), True)):
        probabilities = np.zeros(7)
        for guess in answers[0]["top5"]:
            probabilities[guess["label"]] = guess["probability"]
        assert (np.abs(probabilities[probabilities > 0] - expected[probabilities > 0]).max() > 1e-4) == differ


def test_fewer_classes_equal_values_and_outputs_without_a_name():
    names = output_names(("a", "b", "c"), 7)
    five = predict.top5(np.asarray([0.1, 0.1, 0.2, 0.1, 0.1, 0.2, 0.2]), names)
    assert [guess["label"] for guess in five] == [2, 5, 6, 0, 1]  # of equals the first class first
    assert [guess["name"] for guess in five] == ["c", "class 5", "class 6", "a", "b"]
    assert [guess["probability"] for guess in predict.top5(np.asarray([0.25, 0.75]), ("a", "b"))] == [
        0.75,
        0.25,
    ]


def test_a_run_s_net_predicts_a_user_s_file(small_run, tmp_path):
    from alexnet_jax.data.sources import detect

    (tmp_path / "a.png").write_bytes(next(detect.open_source("digits").images())[1])
    (tmp_path / "b.png").write_bytes(b"not an image")
    files = image_files.find_images([str(tmp_path)], "predict")
    good, bad = predict.predict(trained.load(small_run, trained.read_config(small_run)), files, 1)
    assert (good["file"], len(good["top5"])) == (str(tmp_path / "a.png"), 5)
    assert "error" in bad


def test_the_figure_shows_images_above_their_guesses(tmp_path):
    """As the net sees them: turned as their EXIF entries say, and cut; bars as long as the probabilities."""
    pixels = np.zeros((30, 60, 3), np.uint8)
    pixels[:, :30] = (200, 0, 0)
    turned = Image.fromarray(np.rot90(pixels).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    turned.save(tmp_path / "$x^ <b> \u202e.png", exif=exif)
    guesses = [{"label": n, "name": f"$n_{n} \x1b[31m", "probability": 0.5 / (n + 1)} for n in range(5)]
    answers = [{"file": str(tmp_path / "$x^ <b> \u202e.png"), "top5": guesses}]
    answers += [{"file": str(tmp_path / "gone.png"), "top5": guesses[:2]}, {"file": "x", "error": "none"}]
    for name in ("figure.png", "figure.svg"):
        with axes_of_figures() as axes:
            predict.draw(answers, Preprocessing(30, 3, True), tmp_path / name)
        assert len(axes) == 4  # two images above two rows of bars
        np.testing.assert_array_equal(axes[0].images[0].get_array(), pixels[:, 15:45])
        assert axes[0].get_title() == "$x^ <b> \\u202e.png"
        assert not axes[1].images
        assert axes[1].get_title() == "gone.png"
        for bars, expected in ((axes[2], guesses), (axes[3], guesses[:2])):
            lengths = [bar.get_width() for bar in bars.patches]
            assert lengths == [guess["probability"] for guess in expected]
            assert [bar.get_y() + 0.4 for bar in bars.patches] == pytest.approx(range(len(expected)))
            assert bars.get_ylim()[0] > bars.get_ylim()[1]  # the likeliest on top
            assert [text.get_text() for text in bars.texts[:2]] == ["$n_0 \\x1b[31m", "50.0%"]
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.size[0] > 400


def test_a_figure_of_24_images_at_most(tmp_path):
    files = write_images(tmp_path, 1) * 30
    guesses = [{"label": 0, "name": "a", "probability": 1.0}]
    answers = [{"file": str(path), "top5": guesses} for path in files]
    with axes_of_figures() as axes:
        predict.draw(answers, Preprocessing(24, 3), tmp_path / "figure.png")
    assert len(axes) == 2 * 24
    predict.draw([{"file": "x", "error": "none"}], Preprocessing(24, 3), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_long_and_chinese_names_in_the_figure(tmp_path, monkeypatch, capfd):
    """They keep to their own column, the images keep their size, and nothing is written to the terminal."""
    fonts.only(monkeypatch, fonts.blocks(tmp_path / "blocks.ttf"))
    sizes = []
    for name in ("dog", fonts.CHINESE[:5] + "-" + "W" * 300):
        files = [tmp_path / f"{number} {name}"[:120] for number in range(4)]
        for path in files:
            Image.new("RGB", (24, 24), (200, 0, 0)).save(path, "PNG")
        guesses = [{"label": n, "name": name, "probability": 0.9 / (n + 1)} for n in range(5)]
        answers = [{"file": str(path), "top5": guesses} for path in files]
        with axes_of_figures() as axes, warnings.catch_warnings():
            warnings.simplefilter("error")
            predict.draw(answers, Preprocessing(24, 3), tmp_path / "figure.png")
            predict.draw(answers, Preprocessing(24, 3), tmp_path / "figure.svg")
        with Image.open(tmp_path / "figure.png") as figure:
            pixels = np.asarray(figure.convert("RGB")).astype(int)
        red = (pixels == (200, 0, 0)).all(axis=-1)
        sizes.append((pixels.shape, red.any(axis=0).sum(), red.any(axis=1).sum()))
        fonts.check_apart(axes[0].figure)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1:] == pytest.approx(sizes[0][1:], rel=0.03)
    text = (tmp_path / "figure.svg").read_text()
    assert text.count(fonts.CHINESE[:5]) >= 20
    assert f"<title>{name}</title>" in text
    assert capfd.readouterr() == ("", "")


def test_figures_that_cannot_be_written(tmp_path):
    with pytest.raises(
        UsageError, match=r"--output=.*figure.jpeg: the name of a figure ends in .png or .svg"
    ):
        predict.check_figure(tmp_path / "figure.jpeg")
    with pytest.raises(UsageError, match=r"the folder .*/nowhere does not exist"):
        predict.check_figure(tmp_path / "nowhere" / "figure.png")
    predict.check_figure(tmp_path / "figure.SVG")
