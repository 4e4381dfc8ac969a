"""What the parts of the page hold, and what their captions say."""

from dataclasses import replace

import pytest

from alexnet_jax.report import runs, sections
from tests.report import made_up

NAMES = tuple("abcdefghij")


@pytest.fixture
def run(tmp_path):
    return runs.read(made_up.write_run(tmp_path / "run", NAMES, hostile=False))


def test_parts_stand_in_order_with_what_there_is(run):
    data = made_up.report_data(NAMES)
    names = [section.name for section in sections.all_sections([run], ["run"], data)]
    assert names == ["training", "kernels", "figure4", "confusion", "mistakes", "channels"]
    bare = replace(data, kernels=None, guesses=(), confusions=None, channels=())
    [_, halves] = sections.all_sections([run], ["run"], bare)
    assert [figure.name for figure in halves.figures] == ["neighbours"]


def test_every_figure_says_what_to_notice_in_both_languages(run):
    for section in sections.all_sections([run], ["run"], made_up.report_data(NAMES)):
        assert section.title.chinese != section.title
        first = section.figures[0]
        assert first.caption
        assert first.caption.chinese != first.caption
        assert first.notice
        assert first.notice.chinese != first.notice


def test_bars_and_rows_are_those_of_the_data(run):
    data = made_up.report_data(NAMES)
    guesses, neighbours = sections.all_sections([run], ["run"], data)[2].figures
    for shown, given in zip(guesses.content, data.guesses, strict=True):
        right = [name for name, _, is_right in shown.bars if is_right]
        assert right == [name for name, _ in given.guesses if name == given.image.label]
        assert [share for _, share, _ in shown.bars] == [f"{value:.1%}" for _, value in given.guesses]
    for (asked, near), row in zip(neighbours.content, data.neighbours, strict=True):
        assert asked.label == row.image.label
        assert [one.is_right for one in near] == [one.label == asked.label for one, _ in row.nearest]
        assert [one.distance for one in near] == [f"{distance:.3g}" for _, distance in row.nearest]
    assert "add up" in sections.all_sections([run], ["run"], data)[3].figures[0].caption


def test_the_distance_and_the_layer_in_chinese(run):
    data = replace(made_up.report_data(NAMES), distance="cosine")
    caption = sections.all_sections([run], ["run"], data)[2].figures[1].caption.chinese
    assert "fc7 之后的 ReLU (relu7)" in caption
    assert "余弦距离" in caption
