"""The help of the program and of each command."""

import textwrap
from collections.abc import Collection, Iterable, Sequence

from alexnet_jax import program
from alexnet_jax.commands import table
from alexnet_jax.commands.command import Command
from alexnet_jax.commands.flags import Flag

WIDTH = 100


def text(arguments: Sequence[str], switches: Collection[str]) -> str:
    """Return the help that `--help` prints with these arguments and switches: of all commands, or of one.

    Raises:
      UsageError: there is no such command.
    """
    if not arguments:
        return _of_program()
    commands = table.of_verb(arguments[0])
    command = table.choose(commands, arguments, switches)
    return _of_command(command) if command is not None else _of_kinds(arguments[0], commands)


def _of_program() -> str:
    return "\n".join(
        [
            "AlexNet (Krizhevsky, Sutskever, Hinton 2012) in JAX.",
            "",
            f"  {program.command()} [verb] [--config=X] [--workdir=DIR] [--config.key=value ...] [files]",
            "",
            *_columns("Verbs", ((command.name, command.help) for command in table.COMMANDS)),
            "",
            f"{program.command()} VERB --help lists the flags of one; --version prints the version.",
            "Without a verb and with --config it is train.",
        ]
    )


def _of_kinds(verb: str, commands: Sequence[Command]) -> str:
    return "\n".join(
        [
            f"{verb}: one of {len(commands)} kinds",
            "",
            f"  {program.command()} {verb} KIND [--name=value ...]",
            "",
            *_columns("Kinds", ((command.name, command.help) for command in commands)),
            "",
            *_examples(command.examples[0] for command in commands[:2]),
            "",
            f"{program.command()} {verb} KIND --help lists the flags of one.",
        ]
    )


def _of_command(command: Command) -> str:
    others = [other for other in table.of_verb(command.words[0]) if other is not command]
    words = [program.command(), command.name, *filter(None, [command.arguments]), "[--name=value ...]"]
    lines = [
        f"{command.name}: {command.help}",
        "",
        f"  {' '.join(words)}",
        "",
        textwrap.fill(command.details, WIDTH),
        "",
        *_columns("Flags", ((_typed(flag), flag.help) for flag in command.flags)),
        "",
        *_examples(command.examples),
    ]
    if others:
        lines += ["", *_columns("See also", ((other.name, other.help) for other in others))]
    return "\n".join(lines)


def _typed(flag: Flag) -> str:
    return f"--{flag.name}={flag.value}" if flag.value else f"--{flag.name}"


def _examples(examples: Iterable[str]) -> list[str]:
    return ["Examples:", *(f"  {program.command()} {example}" for example in examples)]


def _columns(title: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return a title, and below it names with what they mean."""
    rows = list(rows)
    indent = 4 + max(len(name) for name, _ in rows)
    lines = [f"{title}:"]
    for name, meaning in rows:
        start = f"  {name}".ljust(indent)
        lines += textwrap.wrap(
            start + meaning,
            WIDTH,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
