"""Folders import only what stands above them (the plan in the README), and nothing heavy at run time."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "alexnet_jax"
ORDER = [
    "errors",
    "files",
    "progress",
    "runtime",
    "distributed",
    "config",
    "data",
    "model",
    "training",
    "inference",
    "interop",
    "report",
    "benchmark",
    "doctor",
    "main",
]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_folders_import_what_stands_above_them():
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if own == "__init__":
            continue
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "alexnet_jax" and len(parts) > 1 and parts[1] in ORDER:
                assert ORDER.index(parts[1]) <= ORDER.index(own), f"{path} imports {name}"


def test_the_report_draws_and_does_not_compute():
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in (PACKAGE / "report").rglob("*.py")
    ]
    code = f"import sys\nfor name in {modules}: __import__(name)\nassert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=True)


def test_no_other_framework_at_run_time():
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "benchmark":
            continue  # they are its peers there
        for name in imported(path):
            assert name.split(".")[0] not in ("torch", "tensorflow"), f"{path} imports {name}"
