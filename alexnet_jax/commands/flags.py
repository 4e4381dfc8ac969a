"""Flags, and those that several commands read. A command may give a shared flag its own help."""

import os
from dataclasses import dataclass, replace

from absl import flags

from alexnet_jax import files

FLAGS = flags.FLAGS


class _PathParser(flags.ArgumentParser[str]):
    """Expand `~`, which a shell leaves as it stands in --name=~/file."""

    def parse(self, argument: str) -> str:
        files.check_local(argument)
        return os.path.expanduser(argument)

    def flag_type(self) -> str:
        return "path"


@dataclass(frozen=True)
class Flag:
    """Describe a flag of the command line.

    Attributes:
      name: without its dashes.
      help: what it does, in a sentence.
      kind: 'switch' (no value), 'text', 'path', 'paths' (of which each --name adds one), 'integer', 'names'
        (separated by commas) or 'config' (a file, whose keys are flags too).
      value: the value's name in the help.
      default: of a text or an integer.
      minimum: of an integer.
      repeated: whether 'paths' may hold more than one.
      excludes: another flag in whose place this one stands: both together are an error.
    """

    name: str
    help: str
    kind: str = "text"
    value: str = ""
    default: str | int = ""
    minimum: int | None = None
    repeated: bool = False
    excludes: str = ""

    def define(self) -> None:
        """Make the flag known to absl, unless it is; `config`'s keys are known only when its file is read."""
        if self.name in FLAGS or self.kind == "config":
            return
        if self.kind == "switch":
            flags.DEFINE_bool(self.name, False, self.help)
        elif self.kind == "integer":
            flags.DEFINE_integer(self.name, int(self.default), self.help, lower_bound=self.minimum)
        elif self.kind == "names":
            flags.DEFINE_list(self.name, [], self.help)
        elif self.kind == "paths":
            flags.DEFINE_multi(_PathParser(), flags.ArgumentSerializer(), self.name, [], self.help)
        elif self.kind == "path":
            flags.DEFINE(_PathParser(), self.name, self.default, self.help)
        else:
            flags.DEFINE_string(self.name, str(self.default), self.help)


CONFIG = Flag(
    "config",
    "A config file, or the name of a config that comes along, such as imagenet; default: that of the run in "
    "--workdir. --config.key=value changes one of its keys.",
    "config",
    "configs/X.py",
)
CONFIG_OF_RUN = Flag(
    "workdir",
    "A run, or pretrained:NAME, whose config is used in the place of --config.",
    "paths",
    "DIR",
    excludes="config",
)
WORKDIR = Flag("workdir", "Folder of the run; default: runs/<name of the config file>.", "paths", "DIR")
CHECKPOINT = Flag(
    "checkpoint", "best (by validation error), last, or a step; default: best.", value="WHICH", default="best"
)
VIEWS = Flag(
    "views", "1 view of an image, its centre, or 10; default: what the config says.", "integer", "1|10", 0
)
SOURCE = Flag(
    "source",
    "What to prepare: a folder of class folders, an archive of one, a folder with ImageNet's tars or with "
    "IDX files, a dataset that TFDS prepared, or the word digits.",
    "path",
    "PATH",
)
CLASS_MAP = Flag(
    "class_map",
    "Which class of the data is which of the net's where their names differ: a text file, each line the "
    "data's name, a tab (or a comma, or white space) and the net's name.",
    "path",
    "FILE",
)
STRICT = Flag("strict", "Stop at the first file that cannot be decoded.", "switch")
CLASS_LEVEL = Flag(
    "class_level",
    "Which folder below the source or a split names the class, from 1; default: the first, and a doubtful "
    "reading is refused.",
    "integer",
    "N",
    0,
    minimum=0,
)
DRY_RUN = Flag("dry_run", "Tell how the source is understood, and write nothing.", "switch")
REPLACE = Flag("replace", "Make a dataset anew that is there; it stays until the new one is whole.", "switch")
PART = Flag("part", "Make part i of n of the shards alone, written i/n, from 0/n on.", value="i/n")
MERGE = Flag("merge", "Check that all parts are there, and register them.", "switch")
LAYERS = Flag("layers", "Names of layers, such as conv1,relu5,fc6.", "names", "A,B")
OUTPUT = Flag("output", "The file to write.", "path", "FILE")
BENCHMARK_JSON = "benchmark.json"
BENCHMARK_OUTPUT = replace(OUTPUT, help=f"The file to write; default: {BENCHMARK_JSON}.")
JSON = Flag("json", "Answer in JSON.", "switch")
DEBUG = Flag("debug", "Show the traceback of an error.", "switch")
