"""The names in a run's folder: those that runs of before and finished runs of today have."""

from pathlib import Path

from alexnet_jax.workdir import layout

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
