"""The verb `report` as processes: the page of a run in a browser, its row of results, another checkpoint."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from alexnet_jax.workdir import trained
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.browser import chromium
from tests.commands.helpers import alexnet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workdir(small_run, tmp_path_factory):
    """A copy of the small run with a second, worse checkpoint, evaluated with ten views."""
    folder = shutil.copytree(small_run, tmp_path_factory.mktemp("runs") / "small")
    checkpoints, net = Checkpoints(folder, keep=9), trained.load(folder, trained.read_config(folder))
    params = jax.tree.map(lambda leaf: leaf * np.float32(0.5), jax.device_get(net.params))
    checkpoints.save(20, {"params": params}, {"validation_top1_error": 1.0})
    checkpoints.close()
    succeed("evaluate", f"--workdir={folder}", "--views=10")
    return folder


def succeed(*arguments, **others):
    """Run the program and return its standard output."""
    code, out, errors = alexnet(*arguments, **others)
    assert code == 0, errors
    return out


def recorded(workdir, folder):
    """The row that `report --results` writes, and the page."""
    assert "1 runs of 1 experiments" in succeed("report", "--results", f"--workdir={workdir}", cwd=folder)
    [row] = map(json.loads, (folder / "docs" / "results" / "digits.jsonl").read_text().splitlines())
    return row, (folder / "docs" / "RESULTS.md").read_text()


def test_report_and_results_of_a_run(workdir, tmp_path):
    other = shutil.copytree(
        workdir, tmp_path / "without a checkpoint", ignore=shutil.ignore_patterns("checkpoints")
    )
    out = succeed("report", f"--workdir={workdir}", f"--workdir={other}")
    assert "not on the page" not in out
    path = workdir / "report" / "index.html"
    assert path.stat().st_size < 15_000_000
    text = path.read_text()
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    assert f"top-1 {evaluation['top1_error']:.2%}" in text
    assert "without a checkpoint" in text
    names = {file.name for file in (workdir / "report" / "figures").iterdir()}
    assert {"curves.svg", "kernels.png", "excites_conv5.svg"} <= names
    assert len(names) == 2 * len(re.findall("<figure>", text)) == 22
    with chromium() as browser:
        browser.open(path, 360)
        assert (browser.console(), browser.requests()) == ([], [path.as_uri()])
        assert browser.run("return document.documentElement.scrollWidth") <= 360
    out = succeed("report", f"--workdir={other}")
    assert "what excites each layer: " in out
    assert "holds no complete checkpoint" in out
    row, page = recorded(workdir, tmp_path)
    whole, by_class = (f"{100 * evaluation[name]:.2f} %" for name in ("top1_error", "mean_class_error"))
    assert whole != by_class
    assert f"| {whole}, ten views; mean over classes {by_class} |" in page
    assert str(tmp_path) not in page
    assert row["hardware"] == json.loads((workdir / "config.json").read_text())["hardware"]
    assert row["values"]["top1_error"] == evaluation["top1_error"]


def test_another_checkpoint_is_said_and_not_recorded(workdir, tmp_path):
    """Its evaluation and its page leave what `report --results` records as it was."""
    own = (workdir / "evaluation.json").read_bytes()
    out = succeed("evaluate", f"--workdir={workdir}", "--checkpoint=last", "--config.data.mean=none")
    assert "not the run's own result, since config.data.mean=none, checkpoint=20: written to " in out
    assert (workdir / "evaluation.json").read_bytes() == own
    other = json.loads((workdir / "evaluation_other.json").read_text())
    assert other["loss"] != json.loads(own)["loss"]
    succeed("report", f"--workdir={workdir}", "--checkpoint=last")
    assert json.loads((workdir / "report" / "report.json").read_text())["changed"] == {"checkpoint": 20}
    text = Path(workdir / "report" / "index.html").read_text()
    assert "checkpoint at step 20; not the run&#39;s own net and data, since checkpoint=20" in text
    row, _ = recorded(workdir, tmp_path)
    assert row["values"]["top1_error"] == json.loads(own)["top1_error"]
    assert row["evaluation"] == {"split": "test", "views": 10, "examples": 297}
