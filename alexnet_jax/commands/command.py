"""What a command is, and what a user asks of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from absl.flags import FlagValues
from ml_collections import ConfigDict

from alexnet_jax.commands.flags import DEBUG, Flag

# What `Command.needs` says of a command that trains, and of one that uses a trained net.
CONFIG_FILE, TRAINED_NET = (
    "--config=configs/X.py",
    "--workdir=DIR of a trained net or --workdir=pretrained:NAME",
)


@dataclass(frozen=True)
class Command:
    """Describe a command: a row of the table.

    Attributes:
      text: the docstring of its file: '`name`: what it does, in one line.', after an empty line more, and two
        lines below 'Examples:' that may stand after `program.command()`. The name is a verb
        ('predict'), a verb and its kind ('benchmark step'), or a verb and the flag that makes it another
        ('report --explore').
      run: does it and returns the exit code. It imports what is heavy (JAX, TFDS) itself, so that help and
        what is wrong with the flags take no time.
      reads: the flags that it reads besides `--debug`; any other is an error.
      arguments: what it takes besides flags, for the help; empty: nothing.
      needs: what must be given to find a config; empty: it works without one.
    """

    text: str
    run: Callable[["Request"], int]
    reads: tuple[Flag, ...]
    arguments: str = ""
    needs: str = ""

    @property
    def name(self) -> str:
        """Return what calls it."""
        return self.text.split("`")[1]

    @property
    def help(self) -> str:
        """Return what it does, in one line."""
        return self.text.partition("\n")[0].partition(": ")[2].removesuffix(".")

    @property
    def details(self) -> str:
        """Return what it does, in a few lines."""
        return " ".join(self.text.partition("\n\n")[2].partition("Examples:")[0].split())

    @property
    def examples(self) -> list[str]:
        """Return two command lines that call it, without the program."""
        return [line.strip() for line in self.text.partition("Examples:\n")[2].strip().splitlines()]

    @property
    def words(self) -> list[str]:
        """Return the arguments that call it: a verb, perhaps a kind."""
        return [word for word in self.name.split() if not word.startswith("--")]

    @property
    def switches(self) -> list[str]:
        """Return the names of the flags that call it."""
        return [word[2:] for word in self.name.split() if word.startswith("--")]

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Return all flags that it reads."""
        return (*self.reads, DEBUG)


@dataclass(frozen=True)
class Request:
    """Hold what a user typed.

    Attributes:
      command: the one that was called.
      arguments: the paths after its name.
      flags: absl's, of which the command's own may be read.
      config: checked and frozen, for a command that needs one; else as it was given, perhaps empty.
      workdirs: those of `--workdir`, else runs/<name of the config file>, else none.
    """

    command: Command
    arguments: list[str]
    flags: FlagValues
    config: ConfigDict
    workdirs: list[Path]

    @property
    def workdir(self) -> Path:
        """Return the first of the workdirs."""
        return self.workdirs[0]
