"""What stands in the current folder, which `python -m` searches first, is not run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_jax import search_path
from tests.commands.helpers import ROOT
from tests.data import made_up

MARKER = "marker"
CODE = f"open({MARKER!r}, 'w').close()\n"


def test_modules_in_the_current_folder_are_not_run(tmp_path: Path) -> None:
    """`python -m` puts the current folder first, and worker processes would do the same."""
    for name in ("absl", "jax", "numpy", "configs", "multiprocessing", "signal"):
        (tmp_path / f"{name}.py").write_text(CODE)
    (tmp_path / "jax_plugins" / "any").mkdir(parents=True)
    (tmp_path / "jax_plugins" / "any" / "__init__.py").write_text(CODE)
    for split in ("train", "test"):
        made_up.write_folder(tmp_path / "photos" / split, made_up.class_folders(3, 1, ("ant", "bee")))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for module in ("alexnet_jax.main", "alexnet_jax"):
        for line in (
            ["doctor"],
            [
                "prepare",
                "--config=" + str(ROOT / "configs" / "digits.py"),
                "--source=photos",
                f"--config.data.dir={tmp_path / module}",
                "--config.data.threads=2",
                "--config.data.name=photos",
            ],
        ):
            done = subprocess.run(
                [sys.executable, "-m", module, *line],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            assert not (tmp_path / MARKER).exists(), line


def test_the_checkout_is_searched_where_one_works_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.chdir(ROOT)
    search_path.drop_current_folder()
    assert sys.path[0] == str(ROOT)
    assert "PYTHONSAFEPATH" not in os.environ
