"""The table of commands. A new one is a file beside this and a row here."""

from collections.abc import Collection, Sequence

from alexnet_jax.commands import (
    benchmark_exchange,
    benchmark_features,
    benchmark_input,
    benchmark_loop,
    benchmark_similar,
    benchmark_start,
    benchmark_step,
    compare,
    convert,
    doctor,
    doctor_architectures,
    evaluate,
    export,
    features,
    predict,
    prepare,
    report,
    report_explore,
    report_results,
    similar,
    train,
)
from alexnet_jax.commands.command import Command
from alexnet_jax.errors import UsageError

COMMANDS: tuple[Command, ...] = (
    train.COMMAND,
    prepare.COMMAND,
    evaluate.COMMAND,
    predict.COMMAND,
    features.COMMAND,
    similar.COMMAND,
    compare.COMMAND,
    convert.COMMAND,
    export.COMMAND,
    doctor.COMMAND,
    doctor_architectures.COMMAND,
    report.COMMAND,
    report_explore.COMMAND,
    report_results.COMMAND,
    benchmark_input.COMMAND,
    benchmark_step.COMMAND,
    benchmark_loop.COMMAND,
    benchmark_start.COMMAND,
    benchmark_exchange.COMMAND,
    benchmark_features.COMMAND,
    benchmark_similar.COMMAND,
)
DEFAULT = "train"  # the verb when flags alone are given


def find(arguments: Sequence[str], switches: Collection[str]) -> Command:
    """Return the command that a command line calls.

    Args:
      arguments: the words that are no flags.
      switches: the names of the flags that are on.

    Raises:
      UsageError: there is no such command.
    """
    verb = arguments[0] if arguments else DEFAULT
    commands = of_verb(verb)
    command = choose(commands, arguments, switches)
    if command is None:
        kinds = [command.words[1] for command in commands]
        raise UsageError(f"type {verb} {', '.join(kinds[:-1])} or {kinds[-1]}")
    return command


def of_verb(verb: str) -> list[Command]:
    """Return the commands of a verb.

    Raises:
      UsageError: there is none.
    """
    commands = [command for command in COMMANDS if command.words[0] == verb]
    if not commands:
        verbs = dict.fromkeys(command.words[0] for command in COMMANDS)
        raise UsageError(f"{verb!r} is not a verb; there are {', '.join(verbs)}")
    return commands


def choose(
    commands: Sequence[Command], arguments: Sequence[str], switches: Collection[str]
) -> Command | None:
    """Return the command, of those of a verb, whose kind the arguments or the switches name.

    Where none is named it is the verb's own, or None where it has none.
    """
    for command in sorted(commands, key=lambda command: -len(command.name.split())):
        kind = command.words[1:]
        if list(arguments[1 : 1 + len(kind)]) == kind and set(command.switches) <= set(switches):
            return command
    return None


def readers(flag: str) -> list[Command]:
    """Return the commands that read a flag."""
    return [command for command in COMMANDS if flag in {each.name for each in command.flags}]
