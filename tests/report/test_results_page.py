"""The page of results says what the rows say, and nothing that a row could smuggle in."""

import json
import re
import statistics
from pathlib import Path

import pytest

from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.report import results, results_page, runs
from configs import cifar10_19, imagenet
from tests.report.made_up import write_finished_run


def test_the_table_is_what_the_files_give(tmp_path):
    folder, page = tmp_path / "docs" / "results", tmp_path / "docs" / "RESULTS.md"
    errors = {1: 0.255, 2: 0.262, 3: 0.271}
    workdirs = [write_finished_run(tmp_path / f"run{seed}", seed, error) for seed, error in errors.items()]
    results.record(workdirs, folder)
    results.record(workdirs[:1], folder)  # again: the same row
    workdirs[1].joinpath("evaluation.json").write_text(
        json.dumps({"views": 1, "examples": 10_000, "top1_error": 0.268})
    )
    errors[2] = 0.268
    results.record(workdirs[1:2], folder)
    assert len(results.read_rows(folder / "cifar10.jsonl")) == 3
    other = write_finished_run(tmp_path / "narrow", 1, 0.5, {"train.epochs": 3.0})
    results.record([other], folder)
    results_page.write(folder, page)
    text = page.read_text()
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"
    ]
    row = next(line for line in cells if line[0] == "`cifar10`")
    mean, spread = statistics.mean(errors.values()), statistics.stdev(errors.values())
    assert row[1:4] == ["top-1 error, centre view", "3", f"{100 * mean:.2f}%"]
    assert row[4] == f"{100 * spread:.2f}% (25.50% to 27.10%)"
    assert row[5:] == ["26.00% (cuda-convnet)", "3.2 min"]
    alone = next(line for line in cells if line[0] == "`cifar10 train.epochs=3.0`")
    assert alone[2:5] == ["1", "50.00%", ""]
    reached = next(line for line in cells if line[1].startswith("epochs to 25 %"))
    assert reached[2:4] == ["3", "2.75"]
    assert "seeds 1, 2, 3; errors over 10,000 images" in text
    assert "a processor, 2 cores" in text
    assert "python 3.11.1, jax 0.10.2" in text
    assert "python -m alexnet_jax.main --config=configs/cifar10.py --config.seed=SEED" in text
    before = text
    results_page.write(folder, page)
    assert page.read_text() == before
    saved = workdirs[1] / "config.json"
    saved.write_text(saved.read_text().replace("a processor, 2 cores", "a processor, 1 core"))
    results.record(workdirs[1:2], folder)  # the same seed on fewer cores: the same result
    results_page.write(folder, page)
    assert row in [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.read_text().splitlines()]
    assert re.search("a processor, [12] cores? or a processor, [12] cores?;", page.read_text())
    metrics = workdirs[2] / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:2]))  # up to 40 %
    results.record(workdirs[2:], folder)
    results_page.write(folder, page)
    assert "| epochs to 25 % training error | 2 of 3 | 2.75 |" in page.read_text()
    assert "| epochs until the loss leaves ln(classes) | 3 | 1.14 |" in page.read_text()
    for workdir in workdirs:
        metrics = workdir / "metrics.jsonl"
        metrics.write_text(metrics.read_text().splitlines(keepends=True)[0])  # a loss of 2.3 alone
    results.record(workdirs, folder)
    results_page.write(folder, page)
    assert "| epochs until the loss leaves ln(classes) | 0 of 3 | never |" in page.read_text()


def test_what_a_change_did_with_its_interval(tmp_path):
    folder, page = tmp_path / "docs" / "results", tmp_path / "docs" / "RESULTS.md"
    base, no_lrn = [0.30, 0.31, 0.35], [0.33, 0.40, 0.38]
    narrow = {"model.width": 0.5, "model.communicate_at": ()}
    experiments = [
        (base, {"model.width": 0.5}),
        (no_lrn, {"model.width": 0.5, "model.lrn": False}),
        ([0.40, 0.41], narrow),
        ([0.45, 0.46], narrow | {"model.lrn": False}),  # by its nearest: the one without LRN, and `narrow`
        ([0.20], {"model.width": 0.5, "model.towers": 1}),  # one run shows nothing
    ]
    for number, (errors, change) in enumerate(experiments):
        workdirs = [
            write_finished_run(tmp_path / f"{number}_{seed}", seed, error, change, imagenet)
            for seed, error in enumerate(errors)
        ]
        results.record(workdirs, folder)
    results_page.write(folder, page)
    lines = page.read_text().partition("## What a change did")[2].partition("## How")[0].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "top-1 error" in line]
    changes = [(row[0], row[1]) for row in cells]
    width = "`imagenet model.width=0.5`"
    assert sorted(changes) == [
        ('`imagenet model.communicate_at="()" model.width=0.5`', "`model.lrn=False`"),
        ("`imagenet model.lrn=False model.width=0.5`", "`model.communicate_at=()`"),
        (width, "`model.communicate_at=()`"),
        (width, "`model.lrn=False`"),
    ]
    row = cells[changes.index((width, "`model.lrn=False`"))]
    # Welch's interval by hand: mean +- t * error, degrees of freedom after Welch and Satterthwaite.
    parts = [statistics.variance(errors) / 3 for errors in (base, no_lrn)]
    freedom = sum(parts) ** 2 / sum(part**2 / 2 for part in parts)
    assert 3.6 < freedom < 4
    mean = statistics.mean(no_lrn) - statistics.mean(base)
    low, high = re.fullmatch(r"\+5\.00 \((\S+) to (\S+)\)", row[4]).groups()
    assert mean == pytest.approx(0.05)
    assert float(low) + float(high) == pytest.approx(10.0, abs=0.011)
    times = (
        (float(high) - float(low)) / 200 / sum(parts) ** 0.5
    )  # Student's t at 97.5 %: 3.182 for 3, 2.776 for 4
    assert 2.776 < times < 3.182
    assert row[3] == "3, 3"
    assert row[5] == "no difference shown"
    assert row[6] == "+1.4 (2012 source, its log), +2 on CIFAR-10 (paper, 3.3)"
    clear = next(row for row in cells if "communicate_at" in row[0])
    assert clear[4].startswith("+5.00")
    assert clear[5] == "more"


def test_figure_1_is_of_the_best_learning_rates(tmp_path):
    rows = []
    for activation, learning_rate, epochs in [
        ("relu", 0.001, 2.0),
        ("relu", 0.002, 1.5),
        ("relu", 0.002, 1.7),
        ("tanh", 0.001, 9.0),
        ("tanh", 0.002, 8.0),
        ("tanh", 0.004, None),
    ]:
        change = {"model.activation": activation, "schedule.learning_rate": learning_rate}
        change["train.epochs"] = 5.0 if activation == "relu" else 20.0  # as long as each needs
        run = write_finished_run(tmp_path / str(len(rows)), len(rows), 0.3, change, cifar10_19)
        row = results.row_of(runs.read(run))
        if epochs is None:
            del row["values"]["epochs_to_25_percent"]
        else:
            row["values"]["epochs_to_25_percent"] = epochs
        rows.append(row)
    text = results_page.table(rows, Path("results"))
    line = next(line for line in text.splitlines() if line.startswith("Figure 1: "))
    assert line.startswith(
        "Figure 1: `cifar10_19 model.activation=tanh schedule.learning_rate=0.002 train.epochs=20.0` needs 5 "
    )
    assert "`cifar10_19 schedule.learning_rate=0.002 train.epochs=5.0`" in line
    assert "(8, n 1, and 1.6, n 2;" in line
    assert "Figure 1" not in results_page.table(rows[:3], Path("results"))

    folder = tmp_path / "docs" / "results"
    folder.mkdir(parents=True)
    (folder / "cifar10_19.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    results_page.write(folder, tmp_path / "docs" / "RESULTS.md")
    drawn = (folder / "figure_1.svg").read_text()
    assert "(results/figure_1.svg)" in (tmp_path / "docs" / "RESULTS.md").read_text()
    lines = re.findall(r'<path d="(M[^"]*)"[^>]*clip-path[^>]*stroke: (#\w+)', drawn)
    assert [path.count("L") for path, colour in lines if colour == "#1f6fb4"] == [2, 2]  # three points, n 2
    assert [path.count("L") for path, colour in lines if colour == "#d1640c"] == [2]
    results_page.write(folder, tmp_path / "docs" / "RESULTS.md")
    assert (folder / "figure_1.svg").read_text() == drawn


def test_the_page_in_the_repository_is_what_its_files_give():
    root = Path(__file__).parents[2]
    files = sorted((root / results.FOLDER).glob("*.jsonl"))
    if not files:
        pytest.skip("no results are recorded")
    rows = [row for path in files for row in results.read_rows(path)]
    assert (root / results_page.PAGE).read_text() == results_page.table(rows, Path("results"))


def test_hostile_rows(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    row = results.row_of(runs.read(write_finished_run(tmp_path / "a", 7, 0.255)))
    row |= {"hardware": "<script>alert(1)</script> | x `y`\u202e", "experiment": "a | `b`\n# c"}
    (folder / "x.jsonl").write_text(json.dumps(row) + "\n")
    results_page.write(folder, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    assert not re.search(r"(?<!\\)<", text)
    assert "\n# c" not in text
    assert "\u202e" not in text
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert widths == {8}
    for hostile, words in [("{", "line 2"), ('{"experiment": 1}', "has no config"), ("[]", "line 2")]:
        (folder / "x.jsonl").write_text(json.dumps(row) + "\n" + hostile + "\n")
        with pytest.raises(RunFailure, match=words):
            results_page.write(folder, tmp_path / "RESULTS.md")
    row["values"]["top1_error"] = float("nan")
    (folder / "x.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RunFailure, match="line 1, is not a recorded result: a value is not a number"):
        results_page.write(folder, tmp_path / "RESULTS.md")


def test_a_folder_without_rows(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="holds no results"):
            results_page.write(folder, tmp_path / "x.md")
