"""The page of results says what the rows say, and nothing that a row could smuggle in."""

import json
import re
import statistics
from pathlib import Path
from xml.etree import ElementTree

import pytest

from alexnet_jax.errors import RunFailure, UsageError
from alexnet_jax.report import claims, results, results_page, runs
from configs import cifar10_alexnet, cifar10_figure_1
from tests.report.made_up import write_finished_run

COLUMNS = {8, 9}  # of the claims, and of all runs


def tables(text):
    """The cells of the page's lines of tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def line_of(text, start):
    """The cells of the only line that begins so."""
    [row] = [cells for cells in tables(text) if cells[0].startswith(start)]
    return row


def number_of(row):
    """The number of a claim, which leads to its command."""
    number = re.fullmatch(r"\[(\d+)\]\(#claim-(\d+)\)", row[6])
    assert number[1] == number[2]
    return number[1]


def section(text, heading):
    return text.partition(f"\n{heading}\n")[2].partition("\n#")[0]


@pytest.fixture
def page(tmp_path):
    """Record runs, and return the page's text."""
    folder, page = tmp_path / "docs" / "results", tmp_path / "docs" / "RESULTS.md"

    def write(workdirs):
        results.record(workdirs, folder)
        results_page.write(folder, page)
        return page.read_text()

    return write


def test_a_claim_beside_what_its_runs_gave(tmp_path, page):
    errors = {1: 0.255, 2: 0.262, 3: 0.271}
    workdirs = [write_finished_run(tmp_path / f"run{seed}", seed, error) for seed, error in errors.items()]
    text = page(workdirs)
    row = line_of(text, 'Test error of cuda-convnet\'s "26 %" net')
    mean, reach = (100 * x for x in (statistics.mean(errors.values()), statistics.stdev(errors.values())))
    reach *= 4.3027 / 3**0.5  # Student's t of two degrees of freedom
    number = number_of(row)
    assert row == [
        'Test error of cuda-convnet\'s "26 %" net on CIFAR-10',
        "26 % (cuda-convnet)",
        f"{mean:.2f} % ({mean - reach:.2f} to {mean + reach:.2f})",
        "3",
        "**reproduced**",
        "12,800 images, 3 epochs",
        f"[{number}](#claim-{number})",
        "0.2",
    ]
    how = section(text, f"### Claim {number}")
    assert "a processor, 2 cores; python 3.11.1, jax 0.10.2; seeds 1, 2, 3; errors over 10,000 images" in how
    assert "\npython -m alexnet_jax.main --config=configs/cifar10.py --config.seed=SEED\n" in how
    other = line_of(text, 'Test error of cuda-convnet\'s "19 %" net')
    assert other[2:6] == ["", "", "not run", ""]
    assert (
        "Not run.\n\n```\npython -m alexnet_jax.main --config=configs/cifar10_19.py --config.seed=SEED"
        in text
    )
    published = sum(claim.rule in ("near", "more", "less") for claim in claims.CLAIMS)
    aims = sum(claim.rule == "at most" for claim in claims.CLAIMS)
    others = len(claims.CLAIMS) - published - aims
    assert (
        f"Of {published} published claims: 1 reproduced, 0 contradicts, 0 not shown, {published - 1} not"
        in text
    )
    assert (
        f"Of {aims} aims of this project: 0 reached, 0 missed, 0 not shown, {aims} not run. The {others}"
        in text
    )
    for rule in claims.RULE.splitlines():
        assert rule in text
    assert page(workdirs[:1]) == text  # the same row again


def test_further_seeds_and_arms_need_no_code(tmp_path, page):
    """A difference appears once both of its sides have runs, and is judged once they have two seeds."""
    base = [
        write_finished_run(tmp_path / f"base{n}", n, 0.30 + n / 1000, None, cifar10_alexnet)
        for n in (1, 2, 3)
    ]
    start = "Pools that do not overlap"
    change = {"model.pool_size": 2, "schedule.learning_rate": 0.005}
    arm = [
        write_finished_run(tmp_path / f"arm{n}", n, 0.32 + n / 1000, change, cifar10_alexnet) for n in (1, 2)
    ]
    assert line_of(page(base), start)[4] == "not run"
    assert line_of(page(arm[:1]), start)[2:5] == ["+1.90 points", "1, 3", "**not shown**"]
    text = page(arm)
    row = line_of(text, start)
    assert row[3:5] == ["2, 3", "**reproduced**"]
    assert row[2].startswith("+1.95 points (+")
    assert re.search(r"seeds 1, 2; errors .*seeds 1, 2, 3; errors", text, re.DOTALL)
    how = section(text, f"### Claim {number_of(row)}")
    assert "Learning rates tried" not in how
    assert "--config.model.pool_size=2 --config.schedule.learning_rate=0.005 --config.seed=SEED\n" in how
    drawn = (tmp_path / "docs" / "results" / "ablations.svg").read_text()
    assert "pools that do not overlap: +1.95 (+" in drawn
    assert "no dropout: not run." in drawn


def test_what_one_run_showed_is_named(tmp_path, page):
    first = write_finished_run(tmp_path / "a", 1, 0.26)
    narrow = write_finished_run(tmp_path / "b", 1, 0.5, {"model.width": 0.5})
    search = write_finished_run(tmp_path / "c", 1, 0.5, {"schedule.learning_rate": 0.1})
    (search / "evaluation.json").unlink()
    held_out = write_finished_run(
        tmp_path / "h", 1, 0.4, {"schedule.learning_rate": 0.2, "data.test_split": "train[90%:]"}
    )
    evaluation = held_out / "evaluation.json"
    evaluation.write_text(evaluation.read_text().replace('"test"', '"train[90%:]"'))
    text = page([first, narrow, search, held_out])
    number = number_of(line_of(text, 'Test error of cuda-convnet\'s "26 %" net'))
    alone = section(text, "## Seen in one run only")
    assert f"Claims with one run on a side: [{number}](#claim-{number})." in alone
    assert "Experiments with one run: 4 of 4." in alone
    with_error, _, without = alone.partition("Without one")
    assert with_error.count("- `") == 2
    assert "- `cifar10 schedule.learning_rate=0.1`" in without
    name = '`cifar10 data.test_split="train[90%:]" schedule.learning_rate=0.2`'
    assert f"- {name}" in without
    assert line_of(text, name)[3] == "40.00 %, one view, held-out training images"
    text = page([write_finished_run(tmp_path / "d", 2, 0.27)])
    alone = section(text, "## Seen in one run only")
    assert "Claims with" not in alone
    assert "Experiments with one run: 3 of 4." in alone
    assert "- `cifar10`" not in alone
    again = write_finished_run(tmp_path / "e", 2, 0.5, {"schedule.learning_rate": 0.1})
    (again / "evaluation.json").unlink()
    (tmp_path / "docs" / "results" / "cifar10.jsonl").unlink()
    both = [write_finished_run(tmp_path / f"f{seed}", seed, 0.5, {"model.width": 0.5}) for seed in (1, 2)]
    text = page([search, again, *both])
    assert "Seen in one run only" not in text


def test_all_runs_stand_below(tmp_path, page):
    workdirs = [write_finished_run(tmp_path / f"{seed}", seed, 0.25 + seed / 100) for seed in (1, 2, 3)]
    rows = tables(page(workdirs))
    row = next(cells for cells in rows if cells[0] == "`cifar10`")
    assert row[1:] == [
        "3",
        "12,800 images, 3 epochs",
        "27.00 % (26.00 to 28.00), one view",
        "20.00 % (20.00 to 20.00)",
        "2.75",
        "1.14",
        "3.2 min",
        "[rows](results/cifar10.jsonl)",
    ]
    evaluation = workdirs[2] / "evaluation.json"
    evaluation.write_text(json.dumps(json.loads(evaluation.read_text()) | {"mean_class_error": 0.29}))
    row = next(cells for cells in tables(page(workdirs)) if cells[0] == "`cifar10`")
    assert row[3] == "27.00 % (26.00 to 28.00), one view; mean over classes 29.00 %"
    metrics = workdirs[2] / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:2]))  # up to 40 %
    below = json.dumps({"step": 100, "epoch": 1.0, "train/top1_error": 0.2, "train/loss": 0.5})
    (workdirs[1] / "metrics.jsonl").write_text(below)
    row = next(cells for cells in tables(page(workdirs)) if cells[0] == "`cifar10`")
    assert row[5:7] == ["2.75 (1 of 3), before epoch 1", "1.14 (2 of 3), before epoch 1"]
    for workdir in workdirs:
        (workdir / "metrics.jsonl").write_text(
            json.dumps({"step": 1, "epoch": 1.0, "train/top1_error": 0.9, "train/loss": 2.3})
        )
    row = next(cells for cells in tables(page(workdirs)) if cells[0] == "`cifar10`")
    assert row[5:7] == ["", "never"]
    config = workdirs[1] / "config.json"
    config.write_text(config.read_text().replace("a processor", "another processor"))
    [row] = [cells for cells in tables(page(workdirs)) if cells[0] == "`cifar10`"]
    assert row[1] == "4"  # seed 2 on both machines


def test_figure_1_is_of_the_best_learning_rates(tmp_path):
    rows = []
    for activation, learning_rate, epochs in [
        ("relu", 0.001, 2.0),
        ("relu", 0.002, 1.5),
        ("relu", 0.002, 1.7),
        ("tanh", 0.001, 9.0),
        ("tanh", 0.002, 8.0),
        ("tanh", 0.008, None),
    ]:
        change = {"model.activation": activation, "schedule.learning_rate": learning_rate}
        change["train.epochs"] = 5.0 if activation == "relu" else 20.0  # as long as each needs
        run = write_finished_run(tmp_path / str(len(rows)), len(rows), 0.3, change, cifar10_figure_1)
        row = results.row_of(runs.read(run))
        del row["values"]["epochs_to_25_percent"]
        row["values"] |= {} if epochs is None else {"epochs_to_25_percent": epochs}
        rows.append(row)
    text, figures = results_page.make(rows, Path("results"))
    row = line_of(text, "ReLU comes to 25 %")
    assert row[2:5] == [f"{8 / (1.5 * 1.7) ** 0.5:.1f} times", "1, 2", "**not shown**"]
    how = section(text, f"### Claim {number_of(row)}")
    assert "any length: 0.001, 0.002, 0.008; of what it is compared with: 0.001, 0.002." in how
    assert "--config.schedule.learning_rate=0.002 --config.train.epochs=20.0 --config.seed=SEED" in how
    drawn = figures["figure_1.svg"]
    assert "ReLU: 1.6 epochs (1.5 to 1.7), n 2. tanh: 8.0 epochs, n 1." in drawn
    assert drawn.count("<polyline") == 3
    assert "(results/figure_1.svg)" in text
    text, figures = results_page.make(rows[:3], Path("results"))
    assert line_of(text, "ReLU comes to 25 %")[4] == "not run"
    assert not figures
    assert ".svg" not in text
    for row in rows:  # all were there before their first line of the log
        row["before"] = {"epochs_to_25_percent": row["values"].pop("epochs_to_25_percent", 1.0)}
    assert "figure_1.svg" not in results_page.make(rows, Path("results"))[1]


def test_the_page_in_the_repository_is_what_its_files_give():
    root = Path(__file__).parents[2]
    folder = root / results.FOLDER
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        pytest.skip("no results are recorded")
    rows = [row for path in files for row in results.read_rows(path)]
    text, figures = results_page.make(rows, Path("results"))
    assert (root / results_page.PAGE).read_text() == text
    assert {path.name: path.read_text() for path in folder.glob("*.svg")} == figures
    for figure in figures.values():
        svg = ElementTree.fromstring(figure)
        assert svg.get("role") == "img"
        assert [each.tag.rpartition("}")[2] for each in svg[:2]] == ["title", "desc"]
        assert all(each.text for each in svg[:2])
    assert {len(cells) for cells in tables(text)} == COLUMNS
    for number in range(1, len(claims.CLAIMS) + 1):
        assert f"| [{number}](#claim-{number}) |" in text
        assert text.count(f"\n### Claim {number}\n") == 1


def test_hostile_rows(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    row = results.row_of(runs.read(write_finished_run(tmp_path / "a", 7, 0.255)))
    row |= {"hardware": "<script>alert(1)</script> | x `y`\u202e", "command": "a\n```\n<b> --config.seed=1"}
    other = row | {"experiment": "a | `b`\n# c", "config": "x](y) <b>"}
    (folder / "x.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (row, other)))
    results_page.write(folder, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    fenced = text.split("```")
    assert len(fenced) % 2 == 1
    assert not re.search(r"(?<!\\)<", "".join(fenced[::2]))
    assert "\n# c" not in text
    assert "\u202e" not in text
    assert "[rows](results/x%5D%28y%29%20%3Cb%3E.jsonl)" in text
    assert {len(cells) for cells in tables(text)} == COLUMNS
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
