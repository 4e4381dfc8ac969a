"""The command line: which command it calls, with which flags, arguments and config.

absl reads the flags. Which of them there are depends on the config, and which may be given on the command,
so the line is looked through before: for the command, for `--config` and for `--workdir`.
"""

import difflib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

import alexnet_jax
from alexnet_jax import program
from alexnet_jax.commands import manual, table
from alexnet_jax.commands.command import CONFIG_FILE, Command, Request
from alexnet_jax.commands.flags import CONFIG_OF_RUN
from alexnet_jax.config import compatibility, find, io, resolve, schema
from alexnet_jax.errors import UsageError
from alexnet_jax.files import check_local
from alexnet_jax.workdir import layout, pretrained

FLAGS = flags.FLAGS
HELP = ("help", "helpshort", "h", "?")
VERSION = "version"


class Word(NamedTuple):
    """A flag or an argument as it was typed.

    Attributes:
      name: of the flag; empty: an argument.
      value: of the flag, 'true' or 'false' of a switch; the argument.
      typed: the one or two words of the command line.
    """

    name: str
    value: str
    typed: tuple[str, ...]


def parse(argv: Sequence[str]) -> Request:
    """Return what a command line, with the program's name in front, asks for.

    Raises:
      UsageError: it asks for nothing that there is.
      SystemExit: it asks for help or for the version, which are printed.
    """
    _check_file_names(argv[1:])
    for command in table.COMMANDS:
        for flag in command.flags:
            flag.define()
    try:
        words = scan(FLAGS.read_flags_from_files(list(argv[1:])))
    except flags.Error as error:
        raise UsageError(_one_line(error)) from None
    if not words:
        raise UsageError(
            f"type a verb, such as: {program.command()} train --config=configs/digits.py --source=digits; "
            f"{program.command()} --help lists them all"
        )
    _answer_questions(words)
    arguments = [word.value for word in words if not word.name]
    command = table.find(arguments, _switched_on(words))
    _check_flags(command, words)
    config, workdirs = _find_config(command, words)
    rest = _parse_flags(
        [argv[0], *(part for word in words for part in word.typed if word.name != "config")], config
    )
    return _request(command, rest if arguments else [*command.words, *rest], workdirs)


def _check_file_names(argv: Sequence[str]) -> None:
    """Raise UsageError where a flag is the name of a file in the current folder.

    A shell's * put it there: among somebody else's images a file `--config=x.py` would have x.py run.
    """
    for typed in itertools.takewhile(lambda word: word != "--", argv):
        if typed.startswith("-") and os.path.lexists(typed):
            raise UsageError(f"{typed} is the name of a file here, not a flag: write ./* and not *")


def scan(argv: Sequence[str]) -> list[Word]:
    """Return the flags and arguments of a command line without the program's name."""
    words = []
    rest = iter(argv)
    for typed in rest:
        if typed == "--":
            words.append(Word("--", "", (typed,)))
            words += [Word("", argument, (argument,)) for argument in rest]
        elif typed.strip("-") and typed.startswith("-"):
            words.append(_scan_flag(typed, rest))
        else:
            words.append(Word("", typed, (typed,)))
    return words


def _scan_flag(typed: str, rest: Iterator[str]) -> Word:
    name, equals, value = typed.lstrip("-").partition("=")
    if equals:
        return Word(name, value, (typed,))
    if name not in FLAGS and name.startswith("no") and (name[2:] in FLAGS or name[2:].startswith("config.")):
        return Word(name[2:], "false", (typed,))
    # A key of the config without a value behind = may be a switch, but nobody knows yet.
    if name.partition(".")[0] == "config" or (name in FLAGS and not FLAGS[name].boolean):
        following = next(rest, None)
        return Word(name, following or "", (typed,) if following is None else (typed, following))
    return Word(name, "true", (typed,))


def _switched_on(words: Sequence[Word]) -> set[str]:
    return {word.name for word in words if word.value.lower() in ("true", "t", "1")}


def _answer_questions(words: Sequence[Word]) -> None:
    names = {word.name for word in words}
    if VERSION in names:
        print(f"{program.name()} {alexnet_jax.__version__}", flush=True)
        raise SystemExit(0)
    if names & set(HELP):
        print(manual.text([word.value for word in words if not word.name], _switched_on(words)), flush=True)
        raise SystemExit(0)


def _check_flags(command: Command, words: Sequence[Word]) -> None:
    """Check that the command reads each flag that was given, and how often it was given."""
    names = [word.name for word in words]
    reads = {flag.name: flag for flag in command.flags}
    for name in names:
        if not (name in FLAGS or name in ("", "--") or name.partition(".")[0] == "config"):
            raise UsageError(_unknown(command, name))
        readers = table.readers(name.partition(".")[0])
        if readers and command not in readers:
            raise UsageError(
                f"{command.name} does not read --{name}, which is for "
                f"{', '.join(reader.name for reader in readers)}"
            )
    for name, flag in reads.items():
        if flag.kind in ("paths", "config") and not flag.repeated and names.count(name) > 1:
            raise UsageError(f"{command.name} takes one --{name}, not {names.count(name)}")
        if flag.excludes and name in names and flag.excludes in names:
            raise UsageError(f"{command.name} takes --{flag.excludes} or --{name}, not both")


def _unknown(command: Command, name: str) -> str:
    """Return what is said of a flag that no command has: the nearest of this one, and what lists all."""
    own = [flag.name for flag in command.flags]
    own += [switch for kind in table.of_verb(command.words[0]) for switch in kind.switches]
    first, dot, rest = name.partition(".")
    near = [f"{flag}{dot}{rest}" for flag in difflib.get_close_matches(first, own, n=1, cutoff=0.7)]
    if "config" in own and name not in ("data", "model"):  # a key without its section; these are sections too
        keys = compatibility.flatten(schema.SCHEMA)
        near += [f"config.{key}" for key in keys if key.rpartition(".")[2] == name]
    hint = f"did you mean --{near[0]}? " if near else ""
    listed = f"{program.command()} {command.name} --help lists its flags"
    return f"{command.name} has no flag --{name}; {hint}{listed}"


def _find_config(command: Command, words: Sequence[Word]) -> tuple[ConfigDict | None, list[Path]]:
    """Return the config that the flags name, for a command that reads one, and the workdirs."""
    locations = {
        name: [os.path.expanduser(w.value) for w in words if w.name == name] for name in ("config", "workdir")
    }
    for name, values in locations.items():
        for value in values:
            check_local(value, f"--{name}=")
    workdirs = [_workdir(command, value) for value in locations["workdir"]]
    if "config" not in {flag.name for flag in command.flags}:
        return None, workdirs
    if locations["config"]:
        file = locations["config"][0]
        try:
            return find.load_file(file), workdirs or [Path("runs") / Path(file).stem]
        except UsageError as error:
            raise UsageError(f"--config={_one_line(error)}") from error
    if workdirs:
        return io.load(workdirs[0] / layout.CONFIG)[0], workdirs
    if command.needs:
        raise UsageError(f"{command.name} needs {command.needs}")
    return None, []


def _workdir(command: Command, value: str) -> Path:
    named = value.startswith(schema.PRETRAINED)
    if named and command.needs == CONFIG_FILE and CONFIG_OF_RUN not in command.reads:
        raise UsageError(
            f"--workdir={value}: {command.name} uses no trained net; --config.train.init_from={value} begins "
            "a run with one"
        )
    return pretrained.folder(value)


def _parse_flags(argv: list[str], config: ConfigDict | None) -> list[str]:
    """Let absl read the flags, `--config.key=value` among them; return the arguments."""
    try:
        if config is not None:
            config_flags.DEFINE_config_dict("config", config, sys_argv=argv)
        rest: list[str] = FLAGS(argv)[1:]
        return rest
    except (flags.Error, TypeError, ValueError) as error:
        raise UsageError(_one_line(error)) from error
    except (KeyError, AttributeError) as error:
        inner = error.args[0] if error.args else ""
        said = str(inner.args[0] if isinstance(inner, KeyError) else inner)
        key = said.partition("\n")[0].split(".")[-1].strip("'\"")
        like = re.search(r'Did you mean "(\w+)', said)
        named = [word.split("=")[0].lstrip("-") for word in argv if key in word.split("=")[0].split(".")]
        hint = f"; did you mean {like[1]}?" if like else ""
        raise UsageError(
            f"{named[0]} is not a key of this config{hint}" if named else _one_line(error)
        ) from error


def _request(command: Command, rest: list[str], workdirs: list[Path]) -> Request:
    """Return the request that absl's arguments, the command's own words in front, make."""
    count = len(command.words)
    if rest[:count] != command.words:
        raise UsageError(f"flags before {' '.join(command.words)} are written --name=value")
    arguments = [os.path.expanduser(argument) for argument in rest[count:]]
    if arguments and not command.arguments:
        raise UsageError(f"{command.name} takes no argument {arguments[0]!r}; flags are written --name=value")
    config = FLAGS.config if "config" in FLAGS else ConfigDict()
    if command.needs:
        config = resolve.freeze(config)
        if not config.data.name:
            config = resolve.replace(config, {"data.name": _dataset_name(workdirs)})
    return Request(command, arguments, FLAGS, config, workdirs)


def _dataset_name(workdirs: list[Path]) -> str:
    """Return the name of the source, or of the dataset of the run that is resumed."""
    if FLAGS.source:
        return resolve.dataset_name(FLAGS.source)
    if workdirs and (saved := workdirs[0] / layout.CONFIG).exists():
        return str(io.load(saved)[0].data.name)
    raise UsageError(
        "the dataset has no name: --source=FOLDER gives it the folder's, --config.data.name=NAME any other"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
