"""The names of everything that lies in a run's folder, and what may not lie there.

This module imports no JAX: the report reads a run's files without it.
"""

import contextlib
import os
import stat
from pathlib import Path

from alexnet_jax.errors import UnsafeFile

CONFIG = "config.json"  # the resolved config and its metadata
STATISTICS = "statistics.npz"  # those of the dataset that the run was trained on
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"  # one folder a step, named by its number
MANIFEST = "manifest.json"  # in a checkpoint: checksums and metadata, written last
STATE = "state"  # in a checkpoint: the arrays
EVALUATION = "evaluation.json"  # the run's own result
OTHER_EVALUATION = "evaluation_other.json"  # the last answer for which something was changed
ENSEMBLE = "ensemble.json"  # of several runs, in the folder of the first
LPIPS_HEADS = "lpips.npz"
SIMILAR = "similar"  # one index a searched folder
SIMILAR_INDEX = "index.json"  # in each of them, with its arrays
REPORT = "report"
REPORT_PAGE = "index.html"  # in REPORT
REPORT_DATA = "report.json"  # in REPORT
REPORT_FIGURES = "figures"  # in REPORT
EXPLORER_PAGE = "explorer.html"  # in REPORT
PROFILE = "profile"
NOT_FINITE = "not_finite.txt"  # the records of a step whose loss was not finite, and of the one before it
LOCK = ".lock"


def check_files(workdir: Path, written: bool) -> None:
    """Check that a workdir, which may be somebody else's, holds files and folders alone.

    A pipe would be waited for without end. Through a link, what is written into the workdir would replace,
    and what is cleared there would remove, files elsewhere.

    Args:
      workdir: of a run, or still to be made.
      written: whether it is going to be written: then it may hold no symbolic links either.

    Raises:
      UnsafeFile: naming the first path that is something else.
    """
    for folder, folders, names in os.walk(workdir):
        for name in (*folders, *names):
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):  # a run that goes on removes some; a link to nothing
                if written and path.is_symlink():
                    raise UnsafeFile(
                        f"{path} is a symbolic link, and a workdir that is written holds files of its own "
                        "alone: put what it leads to in its place"
                    )
                mode = path.stat().st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise UnsafeFile(f"{path} is neither a file nor a folder: remove it")
