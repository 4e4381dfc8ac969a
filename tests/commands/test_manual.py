"""Help: of the program, of each verb and of each kind; it costs no JAX."""

import re
import shlex

import pytest

from alexnet_jax.commands import table
from alexnet_jax.commands.command import Command
from tests.commands.helpers import alexnet, call

COMMANDS = pytest.mark.parametrize("command", table.COMMANDS, ids=lambda command: command.name)
VERBS = list(dict.fromkeys(command.words[0] for command in table.COMMANDS))
KINDS_ALONE = [verb for verb in VERBS if all(len(row.words) > 1 for row in table.of_verb(verb))]


def section(text: str, title: str) -> list[str]:
    """The indented lines below a title."""
    lines = text.splitlines()
    after = lines[lines.index(f"{title}:") + 1 :]
    return after[: after.index("")] if "" in after else after


def columns(lines: list[str]) -> dict[str, str]:
    """{name: meaning} of two columns; a meaning may be broken over lines."""
    text = re.sub(r"\n {4,}", " ", "\n".join(lines))
    return dict(re.split(r"  +", line.strip(), maxsplit=1) for line in text.splitlines())


@COMMANDS
@pytest.mark.parametrize("ask", ["--help", "-h"])
def test_help_lists_a_commands_own_flags_and_two_examples(
    command: Command, ask: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([*command.name.split(), ask]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{command.name}: {command.help}\n")
    named = columns(section(text, "Flags"))
    assert [name.partition("=")[0] for name in named] == [f"--{flag.name}" for flag in command.flags]
    assert list(named.values()) == [flag.help for flag in command.flags]
    examples = section(text, "Examples")
    assert len(examples) == 2
    for line in examples:
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "alexnet_jax.main"]
        assert set(command.name.split()) <= set(words[3:])


@COMMANDS
def test_lines_fit_a_terminal(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert call([*command.name.split(), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if "python" not in line) <= 100


@pytest.mark.parametrize("verb", KINDS_ALONE)
@pytest.mark.parametrize("ask", ["--help", "-h"])
def test_help_of_a_verb_that_has_only_kinds(verb: str, ask: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call([verb, ask]) == 0
    text = capsys.readouterr().out
    assert columns(section(text, "Kinds")) == {row.name: row.help for row in table.of_verb(verb)}
    assert len(section(text, "Examples")) == 2


@pytest.mark.parametrize("ask", [["--help"], ["-h"], ["--config=configs/digits.py", "--help"]])
def test_help_of_the_program_lists_every_command(ask: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(ask) == 0
    listed = columns(section(capsys.readouterr().out, "Verbs"))
    assert listed == {command.name: command.help for command in table.COMMANDS}


@pytest.mark.parametrize(
    "line", ["predict --workdir=nowhere --help", "--workdir=nowhere -h predict", "predict photo.jpg -help"]
)
def test_help_stands_anywhere_and_reads_nothing(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(line.split()) == 0
    assert capsys.readouterr().out.startswith("predict: ")


def test_help_of_nothing_there_is_a_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["fly", "--help"]) == 2
    assert "'fly' is not a verb; there are train, prepare" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["alexnet_jax.main", "alexnet_jax"])
def test_the_program_itself_helps(module: str) -> None:
    code, out, errors = alexnet("predict", "--help", module=module)
    assert (code, errors) == (0, "")
    assert out.startswith("predict: ")
    code, out, errors = alexnet("--help", module=module)
    assert (code, errors) == (0, "")
    assert "\nVerbs:\n" in out
