"""The table: what all rows hold to, and that a new verb is one file and one row."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from alexnet_jax.commands import table
from alexnet_jax.commands.command import Command
from alexnet_jax.errors import UsageError
from tests.commands.helpers import ROOT, call

COMMANDS = pytest.mark.parametrize("command", table.COMMANDS, ids=lambda command: command.name)


def test_each_row_has_a_name_of_its_own() -> None:
    assert len({command.name for command in table.COMMANDS}) == len(table.COMMANDS)


@COMMANDS
def test_each_row_has_a_file_of_its_own(command: Command) -> None:
    name = command.name.replace(" ", "_").replace("--", "")
    assert importlib.import_module(f"alexnet_jax.commands.{name}").COMMAND is command


@COMMANDS
def test_the_help_is_one_line_and_some_more(command: Command) -> None:
    assert command.text.startswith(f"`{command.name}`: {command.help}.\n\n")
    assert command.details.endswith(".")
    assert 0 < len(command.help) <= 98 - len(command.name)
    assert "\n" not in command.help


@COMMANDS
def test_the_switches_that_call_it_are_among_its_flags(command: Command) -> None:
    reads = {flag.name: flag for flag in command.reads}
    assert all(reads[name].kind == "switch" for name in command.switches)
    assert len(reads) == len(command.reads)


def test_a_flag_is_read_in_one_way() -> None:
    """absl knows each name once, whoever reads it: kind, default and bounds are the same everywhere."""
    readings: dict[str, set[tuple[object, ...]]] = {}
    for command in table.COMMANDS:
        for flag in command.flags:
            readings.setdefault(flag.name, set()).add((flag.kind, flag.default, flag.minimum))
    assert {name: ways for name, ways in readings.items() if len(ways) > 1} == {}


def test_no_flag_takes_a_name_of_absl() -> None:
    code = """
from absl import app, flags, logging
app.define_help_flags()
known = set(flags.FLAGS)
from alexnet_jax.commands import table
assert not known & {flag.name for command in table.COMMANDS for flag in command.flags}
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_who_needs_a_config_can_be_given_one() -> None:
    for command in table.COMMANDS:
        names = {flag.name for flag in command.reads}
        assert not command.needs or {"config", "workdir"} <= names


@pytest.mark.parametrize(
    ("arguments", "switches", "name"),
    [
        ([], set(), "train"),
        (["predict", "benchmark"], set(), "predict"),
        (["benchmark", "step"], set(), "benchmark step"),
        (["report"], {"json"}, "report"),
        (["report"], {"explore"}, "report --explore"),
        (["doctor"], {"architectures", "debug"}, "doctor --architectures"),
    ],
)
def test_which_command_a_line_calls(arguments: list[str], switches: set[str], name: str) -> None:
    assert table.find(arguments, switches).name == name


def test_a_kind_must_be_named_where_there_are_only_kinds() -> None:
    for arguments in (["benchmark"], ["benchmark", "fly"]):
        with pytest.raises(
            UsageError, match="type benchmark input, step, loop, start, exchange, features or similar"
        ):
            table.find(arguments, set())


FAKE = '''"""`greet`: say something.

For a test.

Examples:
  greet --greeting=hello world
  greet world
"""

from alexnet_jax.commands.command import Command, Request
from alexnet_jax.commands.flags import JSON, Flag


def run(request: Request) -> int:
    print(request.flags.greeting, *request.arguments)
    return 3


COMMAND = Command(
    __doc__,
    run,
    reads=(Flag("greeting", "What to say."), JSON),
    arguments="NAME",
)
'''


def test_a_new_verb_is_one_file_and_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "greet.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path)
    row = importlib.import_module("greet").COMMAND
    monkeypatch.setattr(table, "COMMANDS", (*table.COMMANDS, row))
    try:
        assert call(["greet", "--greeting=hello", "~", "world"]) == 3
        assert capsys.readouterr().out == f"hello {Path.home()} world\n"
        assert call(["greet", "--views=1"]) == 2
        assert "greet does not read --views, which is for evaluate, predict" in capsys.readouterr().err
        assert call(["doctor", "--greeting=hello"]) == 2
        assert "doctor does not read --greeting, which is for greet" in capsys.readouterr().err
        assert call(["greet", "--help"]) == 0
        assert "--greeting" in capsys.readouterr().out
        assert call(["--help"]) == 0
        assert "say something" in capsys.readouterr().out
    finally:
        del sys.modules["greet"]
        delattr(flags.FLAGS, "greeting")
