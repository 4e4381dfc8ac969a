"""The first table and the commands; tests/report/test_page.py has them on the page."""

from dataclasses import replace

import numpy as np
import pytest

from alexnet_jax.inference.report_data import Confusions
from alexnet_jax.report import glance, runs
from tests.report import made_up


def test_every_text_of_the_table_is_in_chinese_too(tmp_path):
    run = runs.read(made_up.write_run(tmp_path / "run", tuple("abcdefghij"), hostile=False))
    rows = glance.at_a_glance(run, made_up.report_data(tuple("abc")))
    assert all(what.chinese != what for what, _, _ in rows)
    table = {what: (here.chinese, there.chinese) for what, here, there in rows}
    assert table["model"][0] == "cifar10_26，2 个塔，123,456 个参数"
    assert table["error, ten views"][0] == "top-1 30.00%（'a' 的 9 张图片）"
    assert table["device"][1] == "论文：两块 GTX 580"
    commands = glance.next_commands(run, made_up.report_data(tuple("abc")))
    assert all(words.chinese != words for words, _ in commands)


def test_the_share_off_the_diagonal():
    confusions = Confusions(("a", "b"), np.array([[3, 1], [2, 4]]), 0.0, (), "test", 12)
    assert glance.top1_error(confusions) == pytest.approx(0.3)
    assert glance.over_images(confusions) == "10 of 12 images of 'test'"


@pytest.mark.parametrize(("classes", "five"), [(6, True), (5, False)])
def test_the_top_5_error_is_not_said_where_it_is_always_0(classes, five, tmp_path):
    run = runs.read(made_up.write_finished_run(tmp_path / "run", 1, 0.5, {"model.classes": classes}))
    confusions = Confusions(("a", "b"), np.array([[3, 1], [2, 4]]), 0.25, (), "test", 10)
    data = replace(made_up.report_data(tuple("abc")), confusions=confusions, changed={})
    for one, ours in ((run, ", top-5 2.00%"), (replace(run, evaluation={}), ", top-5 25.00%")):
        table = {what: here for what, here, _ in glance.at_a_glance(one, data)}
        assert (ours in table["error, centre view"]) == five
        assert "top-1 " in table["error, centre view"]


def test_weights_by_where_they_come_from(tmp_path):
    run = runs.read(made_up.write_run(tmp_path / "run", tuple("abc"), hostile=False))
    data = made_up.report_data(tuple("abc"))
    assert glance.subtitle(run, data) == "checkpoint at step 1,000"
    (tmp_path / "run" / "metrics.jsonl").unlink()
    bare = runs.read(tmp_path / "run")
    assert glance.subtitle(bare, data) == "weights without a training log"
    bare.metadata["converted_from"] = "x.pth"
    assert glance.subtitle(bare, data) == "converted weights"
