"""The names of everything that lies in a run's folder.

This module imports no JAX: the report reads a run's files without it.
"""

CONFIG = "config.json"  # the resolved config and its metadata
STATISTICS = "statistics.npz"  # those of the dataset that the run was trained on
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"  # one folder a step, named by its number
MANIFEST = "manifest.json"  # in a checkpoint: checksums and metadata, written last
STATE = "state"  # in a checkpoint, and in FROZEN: the arrays
FROZEN = "frozen"  # the layers that a run never trains, once for all checkpoints, with a manifest
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
