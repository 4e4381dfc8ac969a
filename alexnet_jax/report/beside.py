"""Let the report and the explorer of a run lead to each other, whichever was written first.

Each page holds its link to the other, hidden until the other lies beside it.
"""

from pathlib import Path

from alexnet_jax import files
from alexnet_jax.workdir import layout

_HIDDEN = " hidden data-beside"


def link(folder: Path) -> None:
    """Show the links of both pages of a report's folder, if both are there."""
    pages = [folder / layout.REPORT_PAGE, folder / layout.EXPLORER_PAGE]
    if not all(page.is_file() for page in pages):
        return
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if _HIDDEN in text:
            files.write_text(page, text.replace(_HIDDEN, "", 1))
