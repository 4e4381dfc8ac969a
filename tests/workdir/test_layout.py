"""The names in a run's folder, those that runs of before and of today have, and what may not lie there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_jax import files
from alexnet_jax.errors import UnsafeFile
from alexnet_jax.report import page
from alexnet_jax.workdir import layout
from alexnet_jax.workdir.lock import lock
from tests.report import made_up

OLD_RUN = Path(__file__).parents[1] / "fixtures" / "run_0876f0d" / "workdir"


def test_the_names_are_those_of_a_run_of_before():
    names = {path.name for path in OLD_RUN.iterdir()}
    assert names == {layout.CONFIG, layout.STATISTICS, layout.METRICS, layout.CHECKPOINTS, layout.EVALUATION}
    for step in (OLD_RUN / layout.CHECKPOINTS).iterdir():
        assert {path.name for path in step.iterdir()} == {layout.STATE, layout.MANIFEST}


def test_a_finished_run_has_no_other_names(small_run):
    names = {path.name for path in small_run.iterdir()}
    assert names >= {layout.CONFIG, layout.STATISTICS, layout.METRICS, layout.CHECKPOINTS, layout.TENSORBOARD}
    assert names <= {value for name, value in vars(layout).items() if name.isupper()}
    assert {path.name for path in (small_run / layout.CHECKPOINTS / "12").iterdir()} == {
        layout.STATE,
        layout.MANIFEST,
    }


def test_what_other_commands_wrote_before_is_found():
    """A new name would orphan what lies in the users' folders."""
    assert (layout.ENSEMBLE, layout.LPIPS_HEADS, layout.SIMILAR) == ("ensemble.json", "lpips.npz", "similar")
    assert (layout.SIMILAR_INDEX, layout.NOT_FINITE) == ("index.json", "not_finite.txt")
    assert (layout.REPORT, layout.REPORT_PAGE, layout.REPORT_DATA) == ("report", "index.html", "report.json")
    assert (layout.REPORT_FIGURES, layout.EXPLORER_PAGE) == ("figures", "explorer.html")


def test_no_file_takes_the_name_of_another():
    apart = {layout.STATE, layout.MANIFEST, layout.SIMILAR_INDEX}  # in folders below
    apart |= {layout.REPORT_PAGE, layout.REPORT_DATA, layout.REPORT_FIGURES, layout.EXPLORER_PAGE}
    values = [value for name, value in vars(layout).items() if name.isupper()]
    names = [value.casefold() for value in values if value not in apart]
    assert len(names) == len(set(names))


def _lock(workdir: Path) -> None:
    with lock(workdir):
        pass


def _report(workdir: Path) -> None:
    page.check([workdir])


@pytest.mark.parametrize("write", [_lock, _report])
@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "checkpoints", "report", "report/figures"])
def test_links_are_not_written_through(write: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    workdir = made_up.write_run(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "2019").mkdir(parents=True)  # as a checkpoint that was interrupted
    (elsewhere / "a.png").write_text("mine")
    (workdir / name).parent.mkdir(exist_ok=True)
    (workdir / name).unlink(missing_ok=True)
    (workdir / name).symlink_to(elsewhere / "a.png" if "." in name else elsewhere)
    with pytest.raises(UnsafeFile, match=f"run/{name} is a symbolic link"):
        write(workdir)
    files.check_files(workdir, written=False)
    assert (elsewhere / "a.png").read_text() == "mine"
    assert sorted(path.name for path in elsewhere.iterdir()) == ["2019", "a.png"]


@pytest.mark.parametrize("written", [True, False])
def test_a_pipe_is_refused(written: bool, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "5" / "state"
    folder.mkdir(parents=True)
    files.check_files(tmp_path, written)
    os.mkfifo(folder / "manifest.ocdbt")
    with pytest.raises(UnsafeFile, match=r"manifest\.ocdbt is neither a file nor a folder"):
        files.check_files(tmp_path, written)
    files.check_files(tmp_path / "still to be made", written)


def test_links_to_nothing_and_a_workdir_that_is_a_link_are_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    (tmp_path / "run" / "a").symlink_to(tmp_path / "nothing")
    files.check_files(tmp_path / "link", written=False)
