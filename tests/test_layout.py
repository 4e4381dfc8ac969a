"""The house: what may import what, who owns what, and how large a file may be."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_jax.commands.table import COMMANDS
from alexnet_jax.config import resolve
from alexnet_jax.training import setup
from alexnet_jax.workdir import layout, trained

PACKAGE = Path(__file__).parents[1] / "alexnet_jax"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Each imports only what stands above it; training and inference are neighbours.
ORDER = [
    ["search_path"],
    ["progress"],
    ["errors"],
    ["program"],
    ["streams"],
    ["extras"],
    ["files"],
    ["arrays"],
    ["signals"],
    ["runtime"],
    ["drawing"],
    ["distributed"],
    ["config"],
    ["data"],
    ["model"],
    ["evaluation"],
    ["workdir"],
    ["training", "inference"],
    ["interop"],
    ["report"],
    ["benchmark"],
    ["library"],
    ["commands"],
    ["main"],
    ["__main__"],
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
MAX_LINES = 400
MAX_FUNCTION_LINES = 80
# Exceptions with their reasons: files above MAX_LINES, at most four; functions above MAX_FUNCTION_LINES or
# above ruff's complexity of 12, at most six.
LONG_FILES: dict[str, str] = {}
LARGE_FUNCTIONS: dict[str, str] = {
    "model/architectures/alexnet_2012.py: alexnet_2012": "one table, row by row",
    "model/architectures/source_2012.py: _source": "one table, row by row",
}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path):
    """The modules that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)


def strings(tree: ast.AST):
    """The texts in a file's code, docstrings left out; of f-strings the parts."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr):
            docstrings.add(node.body[0].value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.value


def test_folders_import_what_stands_above_them():
    for path in MODULES:
        importer = part(path)
        if importer == "__init__":
            continue
        for name in imported(path):
            words = name.split(".")
            if words[0] == "alexnet_jax" and len(words) > 1 and words[1] in LEVEL and words[1] != importer:
                assert LEVEL[words[1]] < LEVEL[importer], f"{path} imports {name}"


def test_every_part_of_the_package_has_its_level():
    assert {part(path) for path in MODULES} - {"__init__"} == LEVEL.keys()


def test_the_report_draws_and_does_not_compute():
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in [*(PACKAGE / "report").rglob("*.py"), PACKAGE / "workdir" / "layout.py"]
    ]
    code = f"import sys\nfor name in {modules}: __import__(name)\nassert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=True)


def test_no_other_framework_at_run_time():
    for path in MODULES:
        if path.parent.name == "benchmark":
            continue  # they are its peers there
        for name in imported(path):
            assert name.split(".")[0] not in ("torch", "tensorflow"), f"{path} imports {name}"


def test_the_names_in_a_run_s_folder_stand_in_workdir_layout_alone():
    names = {value for name, value in vars(layout).items() if name.isupper()}
    files = {name for name in names if "." in name}
    words = names - files  # words such as 'report' have other uses: here they must not be part of a path
    assert {"config.json", "metrics.jsonl", "manifest.json"} < files
    assert {"checkpoints", "state", "report"} < words
    for path in MODULES:
        # A dataset has statistics of its own, whose file data/ names.
        apart = {layout.STATISTICS} if part(path) == "data" else set()
        if part(path) == "workdir":
            continue
        tree = ast.parse(path.read_text())
        for text in strings(tree):
            for name in files - apart:
                assert not re.search(rf"(^|[/\s'\"]){re.escape(name)}$", text), (
                    f"{path} names {name}: {text!r}"
                )
        for node in ast.walk(tree):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                right = node.right
                named = str(right.value) if isinstance(right, ast.Constant) else ""
                assert named not in words, f"{path}:{node.lineno} makes the path of {named}"


def test_checkpoints_alone_know_orbax():
    for path in MODULES:
        if path != PACKAGE / "workdir" / "checkpoints.py":
            assert not any(name.split(".")[0] == "orbax" for name in imported(path)), path


def test_flags_are_read_by_the_commands_alone():
    # grain asserts that absl's flags are parsed, which a library's user has not done.
    apart = {PACKAGE / "data" / "workers.py"}
    for path in MODULES:
        if part(path) in ("commands", "main") or path in apart:
            continue
        assert not any(name in ("absl.flags", "ml_collections.config_flags") for name in imported(path)), path
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert "FLAGS" not in names, path


def test_one_module_finds_a_config():
    for path in MODULES:
        assert not any(name.split(".")[0] == "configs" for name in imported(path)), path
        if path != PACKAGE / "config" / "find.py":
            assert "configs" not in set(strings(ast.parse(path.read_text()))), path


def test_nothing_changes_a_config():
    """A config is made by a config file and the flags; afterwards it is frozen."""
    for path in MODULES:
        text = path.read_text()
        assert "unlocked" not in text, path
        assert "copy_and_resolve_references" not in text, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                assert not re.search(r"(^|\.)config\.", ast.unparse(node)), f"{path}:{node.lineno}"


def test_configs_are_frozen_once_they_are_resolved(small_run, digits_config):
    for config in (
        resolve.freeze(digits_config),
        setup.prepare_run(digits_config).config,
        trained.load(small_run, trained.read_config(small_run)).config,
    ):
        with pytest.raises(AttributeError, match="immutable"):
            config.data.crop = 1
        with pytest.raises(AttributeError, match="immutable"):
            config.seed = 1


def test_files_are_short():
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name for name, length in lengths.items() if length > MAX_LINES} == LONG_FILES.keys()
    assert len(LONG_FILES) <= 4


def test_functions_are_short_and_plain():
    large = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES:
                large.add(f"{path.relative_to(PACKAGE)}: {node.name}")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--ignore-noqa", "--select=C901"]
    options = ["--config=lint.mccabe.max-complexity=12", "--output-format=json", "--exit-zero", str(PACKAGE)]
    output = subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout
    for row in json.loads(output):
        name = re.search("`(.*?)`", row["message"])[1]
        large.add(f"{Path(row['filename']).relative_to(PACKAGE)}: {name}")
    assert large == LARGE_FUNCTIONS.keys()
    assert len(LARGE_FUNCTIONS) <= 6


@pytest.mark.parametrize("name", ["jax", "numpy", "tensorflow_datasets"])
def test_the_first_import_is_cheap(name):
    """A wrong flag is reported before anything heavy is loaded."""
    code = f"import sys, alexnet_jax.main\nassert {name!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=True)


TESTS = Path(__file__).parent
# Tests that are not of one module: of what users and processes do with all of it.
OF_MANY = {
    "commands/test_messages.py",
    "data/sources/test_kinds.py",
    "test_configs.py",
    "test_docs_commands.py",
    "test_docs_library.py",
    "test_docs_notebook.py",
    "test_frozen_layers.py",
    "test_layout.py",
    "test_old_run.py",
    "test_own_images.py",
    "report/test_explorer_access.py",
    "report/test_explorer_architecture.py",
    "report/test_explorer_learning.py",
    "report/test_explorer_docs.py",
    "report/test_explorer_motion.py",
    "report/test_explorer_seeks.py",
    "test_package.py",
    "test_preprocessing.py",
    "test_real_data.py",
    "training/test_processes.py",
    "workdir/test_frozen_part.py",
}
# Modules whose tests stand elsewhere, as those of each command, in tests of the table and of the messages.
ELSEWHERE = {
    "__main__.py",
    "benchmark/step_figure.py",
    "commands/command.py",
    "inference/patches.py",
    "interop/formats/weights.py",
    "report/explorer/sheets.py",
}


def test_each_test_file_has_its_module_s_name():
    for path in TESTS.rglob("test_*.py"):
        name = path.relative_to(TESTS)
        if name.parts[0] in ("faults", "launch", "reference") or name.as_posix() in OF_MANY:
            continue
        module = PACKAGE / name.parent / name.name.removeprefix("test_")
        assert module.is_file() or (module.with_suffix("") / "__init__.py").is_file(), path


def test_each_module_has_a_test_file():
    commands = {command.run.__module__.rpartition(".")[2] for command in COMMANDS}
    for path in MODULES:
        name = path.relative_to(PACKAGE)
        if name.name == "__init__.py" or name.as_posix() in ELSEWHERE:
            continue
        if name.parts[0] == "commands" and name.stem in commands:
            continue
        assert (TESTS / name.parent / f"test_{name.name}").is_file(), path
