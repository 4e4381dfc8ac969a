"""The figures draw the numbers that they are given, where and as they are."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from alexnet_jax import drawing
from alexnet_jax.report import figures, runs
from tests import fonts
from tests.report import made_up


def test_curves_draw_the_lines_of_the_files(tmp_path):
    all_runs = [runs.read(made_up.write_run(tmp_path / name)) for name in "ab"]
    figure = figures.curves(all_runs, ["a", "b"])
    loss, top1, _, learning_rate = figure.axes
    expected = [n / 2 for n in range(1, 11)], [2.0 / n for n in range(1, 11)]
    assert [tuple(map(list, line.get_data())) for line in loss.lines[:1]] == [expected]
    assert runs.learning_rate_drops(all_runs[0].metrics) == [(2.5, 0.01, 0.001)]
    dotted = [line.get_xdata()[0] for line in loss.lines if line.get_linestyle() == ":"]
    assert dotted == [2.5, 2.5]  # of both runs
    marks = [line.get_xdata()[0] for line in top1.lines if line.get_marker() == "D"]
    assert marks == pytest.approx([1.5 + 0.5 * 0.05 / 0.075] * 2)
    assert [list(line.get_ydata()) for line in top1.lines[1:2]] == [[0.95 / n for n in (1, 2, 3)]]
    assert learning_rate.get_yscale() == "log"
    assert len({line.get_color() for line in loss.lines}) == 2


@pytest.mark.parametrize("classes", [5, 6])
def test_the_top_5_error_has_a_panel_where_it_is_not_always_0(classes, tmp_path):
    few, many = ({"model.classes": number} for number in (3, classes))
    all_runs = [
        runs.read(made_up.write_finished_run(tmp_path / name, 1, 0.5, change))
        for name, change in (("a", few), ("b", many))
    ]
    titles = [panel.get_title() for panel in figures.curves(all_runs, ["a", "b"]).axes]
    assert titles == ["loss", "top-1 error", *(["top-5 error"] if classes == 6 else []), "learning rate"]


def test_kernels_are_drawn_where_and_as_they_are():
    """Tile (1, 2) of tower 1 of 20 channels is channel 32: 0 at middle grey, its largest number at an end."""
    kernels = np.random.default_rng(1).normal(size=(2, 5, 5, 3, 20)).astype(np.float32)
    figure = figures.kernels(kernels)
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ["tower 0: channels 0 to 19", "tower 1: channels 20 to 39"]
    drawn = figure.axes[1].images[0].get_array()
    top, left = 1 * (5 + 1), 2 * (5 + 1)  # rows of ten, a line of one pixel between
    tile, kernel = drawn[top : top + 5, left : left + 5], kernels[1, ..., 12]
    np.testing.assert_allclose(tile, (kernel / np.abs(kernel).max() + 1) / 2, rtol=1e-5)
    paper = figures.kernel_tiles(np.ones((2, 11, 11, 3, 48)))
    assert [tiles.shape for tiles in paper] == [(3 * 12 - 1, 16 * 12 - 1, 3)] * 2  # three rows of 16 a tower
    assert figures.kernels(np.ones((1, 3, 3, 1, 5))).axes[0].images[0].get_array().shape[2] == 3


def test_specialisation_against_pairs_counted():
    draw = np.random.default_rng(2)
    grey = draw.normal(size=(7, 7, 1, 12)).repeat(3, axis=2)
    colour = draw.normal(size=(7, 7, 3, 12))
    number, shares = figures.specialisation(np.stack([grey, colour]))
    assert number == 1.0
    assert shares[0] == pytest.approx(0, abs=1e-12)
    first, second = draw.normal(size=(2, 7, 7, 3, 12)) + 0.6 * grey
    number, shares = figures.specialisation(np.stack([first, second]))

    def colours(kernels):
        shares = []
        for one in np.moveaxis(kernels, -1, 0):
            mean = one.mean(axis=2, keepdims=True)
            shares.append(((one - mean) ** 2).sum() / (one**2).sum())
        return shares

    pairs = [a > b for a in colours(first) for b in colours(second)]
    share = sum(pairs) / len(pairs)
    assert number == pytest.approx(max(share, 1 - share))
    assert shares == pytest.approx([np.mean(colours(first)), np.mean(colours(second))])
    one = np.concatenate([first, second], axis=-1)[None]
    assert figures.specialisation(one)[0] == pytest.approx(number)
    assert figures.specialisation(np.ones((2, 3, 3, 1, 4))) is None


def test_bars_are_as_long_as_the_probabilities():
    given = made_up.report_data(tuple("abcdefghij")).guesses
    figure = figures.guesses(given)
    drawn = [panel for panel in figure.axes if panel.patches]
    assert len(drawn) == 8
    for panel, guess in zip(drawn, given, strict=True):
        assert [bar.get_width() for bar in panel.patches] == [value for _, value in guess.guesses]  # type: ignore[attr-defined]
        colours = {
            name: bar.get_facecolor() for bar, (name, _) in zip(panel.patches, guess.guesses, strict=True)
        }
        right = colours.pop(guess.image.label)
        assert right not in colours.values()
    images = [panel.images[0].get_array() for panel in figure.axes if panel.images]
    np.testing.assert_allclose(images[3], given[3].image.pixels / 255)


def test_files_stand_above_images_and_their_classes_below():
    """Of a long name its end, which tells one file from another; what is no letter is text."""
    guess = made_up.report_data(tuple("abcdefghij")).guesses[0]
    names = ("cat/1.jpg", "photographs/" * 9 + "two.jpg", "$x^ \u202e.png", "")
    given = [replace(guess, image=replace(guess.image, file=name)) for name in names]
    panels = [panel for panel in figures.guesses(given, with_files=True).axes if panel.images]
    above = [panel.get_title(loc="left") for panel in panels]
    assert above[1].startswith("…")
    assert above[1].endswith("graphs/two.jpg")
    assert [above[0], *above[2:]] == ["cat/1.jpg", "$x^ \\u202e.png", "(no name)"]
    assert [panel.get_title() for panel in panels] == [guess.image.label] * 4
    plain = figures.guesses(given)
    FigureCanvasAgg(plain).draw()
    for panel in (panel for panel in plain.axes if panel.images):
        assert not panel.get_title(loc="left")
        box = panel.title.get_window_extent()
        assert box.y1 <= panel.get_window_extent().y0  # under the image, as in the paper


@pytest.mark.parametrize("what", ["guesses", "neighbours", "confusion", "mistakes"])
def test_long_and_chinese_names_leave_images_their_size(what, tmp_path, monkeypatch):
    fonts.only(monkeypatch, fonts.blocks(tmp_path / "blocks.ttf"))

    def drawn(names):
        data = made_up.report_data(names)
        if what == "mistakes":
            return figures.guesses(data.confusions.mistakes, with_files=True)
        given = {"guesses": data.guesses, "neighbours": data.neighbours, "confusion": data.confusions}
        return getattr(figures, what)(given[what])

    widths = []
    for end in ("", "W" * 300, fonts.CHINESE * 30):
        figure = drawn(tuple(f"{number}{end}" for number in range(10)))
        figure.set_dpi(drawing.DPI)
        for text in figure.findobj(Text):
            text.set_fontfamily(["DejaVu Sans", "Blocks"])
        fonts.check_apart(figure)
        widths.append([panel.get_window_extent().width for panel in figure.axes if panel.images])
    assert widths[1] == pytest.approx(widths[0], rel=0.25 if what == "confusion" else 0.03)
    assert widths[2] == pytest.approx(widths[0], rel=0.25 if what == "confusion" else 0.03)


def test_neighbours_and_patches_stand_in_order():
    given = made_up.report_data(tuple("abcdefghij"))
    images = [
        panel.images[0].get_array() for panel in figures.neighbours(given.neighbours).axes if panel.images
    ]
    expected = [p.pixels for row in given.neighbours for p in (row.image, *(near for near, _ in row.nearest))]
    np.testing.assert_allclose(images, np.stack(expected) / 255)
    upper, lower = [panel for panel in figures.excites(given.channels[:1], False).axes if panel.images]
    assert upper.get_title() == "channel 1"
    patch = given.channels[0].patches[4]  # the middle one of three by three, of 6 by 7 in a square of 7
    size = patch.pixels.shape[0]
    np.testing.assert_allclose(upper.images[0].get_array()[8 : 8 + size, 8:15], patch.pixels / 255)
    limit = np.quantile(np.abs(patch.projection), figures.CONTRAST)
    shown = np.clip(patch.projection / limit, -1, 1)
    np.testing.assert_allclose(2 * lower.images[0].get_array()[8 : 8 + size, 8:15] - 1, shown, atol=1e-6)


def test_the_matrix_is_drawn_in_shares():
    confusions = made_up.report_data(tuple("abcdef")).confusions
    drawn = figures.confusion(confusions).axes[0].images[0].get_array()
    expected = [[x / sum(row) for x in row] for row in confusions.matrix.tolist()]
    np.testing.assert_allclose(drawn, expected)


def test_a_learning_rate_that_falls_all_the_time_is_not_marked(tmp_path):
    """A mark for each of 20,000 falls took minutes to draw; that of the polynomial schedule has no steps."""
    workdir = made_up.write_finished_run(tmp_path / "a", 1, 0.3)
    config = json.loads((workdir / "config.json").read_text())
    counts = []
    for falls, kind in ((3, "steps"), (2000, "steps"), (3, "polynomial")):
        config["config"]["schedule"]["kind"] = kind
        (workdir / "config.json").write_text(json.dumps(config))
        lines = [{"step": n, "epoch": float(n), "learning_rate": 1 / (n + 1)} for n in range(falls + 1)]
        (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        drawn = figures.curves([runs.read(workdir)], ["a"])
        counts.append(sum(len(panel.texts) for panel in drawn.axes))
    assert counts == [3, 0, 0]
