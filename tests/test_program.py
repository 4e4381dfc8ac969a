"""The program's name in help and messages is what the user typed."""

import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_jax import program
from tests.commands.helpers import ROOT, alexnet


@pytest.mark.parametrize("module", program.MODULES)
def test_a_module_is_named_as_it_was_called(module: str) -> None:
    code, out, _ = alexnet("--help", module=module)
    assert (code, f"\n  python -m {module} [verb]" in out) == (0, True)
    code, _, errors = alexnet(module=module)
    assert code == 2
    assert errors.startswith(f"alexnet_jax: type a verb, such as: python -m {module} train ")


def test_the_console_script_is_named_as_it_was_called(tmp_path: Path) -> None:
    script = tmp_path / program.SCRIPT
    script.write_text(
        "import sys\nfrom alexnet_jax.__main__ import run\nsys.exit(run())\n"
    )  # as pip writes it
    results = [
        subprocess.run(
            [sys.executable, script, *arguments],
            env={"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        for arguments in (["--help"], ["evaluate", "--help"], [], ["--version"])
    ]
    assert [done.returncode for done in results] == [0, 0, 2, 0]
    assert "\n  alexnet-jax [verb]" in results[0].stdout
    assert "\n  alexnet-jax evaluate --workdir=" in results[1].stdout
    assert "python -m" not in results[0].stdout + results[1].stdout + results[2].stderr
    assert results[2].stderr.startswith("alexnet-jax: type a verb, such as: alexnet-jax train ")
    assert results[3].stdout.startswith("alexnet-jax 1.")


def test_in_another_program_it_is_the_module() -> None:
    assert program.command() == "python -m alexnet_jax.main"
    assert program.name() == "alexnet_jax"
