"""The report and the explorer of a run lead to each other, whichever was written first."""

import re

import pytest

from alexnet_jax.report import beside, page, runs
from tests.report import made_up
from tests.report.explorer_page import random_run, write_page

LINK = r'<a [^>]*href="{}"[^>]*>'


def write_report(workdir):
    page.write([runs.read(workdir)], made_up.report_data(tuple("abcdefghij")))


def write_explorer(workdir):
    write_page(random_run("fully_connected", channels=1), workdir / "report" / "explorer.html")
    beside.link(workdir / "report")


def shown_links(folder):
    """Which page has a link to the other that is shown, of those that are there."""
    others = {"index.html": "explorer.html", "explorer.html": "index.html"}
    found = {}
    for name, other in others.items():
        if (folder / name).is_file():
            [link] = re.findall(LINK.format(re.escape(other)), (folder / name).read_text())
            found[name] = " hidden" not in link
    return found


@pytest.mark.parametrize("order", [(write_report, write_explorer), (write_explorer, write_report)])
def test_both_pages_lead_to_each_other(order, tmp_path):
    workdir = made_up.write_run(tmp_path / "run", tuple("abcdefghij"), hostile=False)
    first, second = order
    first(workdir)
    assert set(shown_links(workdir / "report").values()) == {False}
    second(workdir)
    assert shown_links(workdir / "report") == {"index.html": True, "explorer.html": True}
    first(workdir)  # written anew it has no link, until it is linked again
    assert shown_links(workdir / "report") == {"index.html": True, "explorer.html": True}
