"""Find the configs that come along, and run a config file.

A config file is a program with a function `get_config() -> ConfigDict`. It may start from another one:

    from alexnet_jax.config import find

    def get_config():
        config = find.base(__file__, "imagenet")
        config.seed = 1
        return config
"""

import contextlib
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from alexnet_jax.errors import UsageError

# Beside this folder where the package is installed, beside the package in a checkout.
FOLDER = next(
    folder for folder in (Path(__file__).parents[level] / "configs" for level in (1, 2)) if folder.is_dir()
)


def config_files() -> dict[str, Path]:
    """Return {name: file} of the configs that come along, in order of names."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.py"))}


def base(file: str | Path, name: str) -> ConfigDict:
    """Return a new config for the config file `file` to start from: what the config `name` gives.

    It is the file `<name>.py` beside `file`, else the config of that name that comes along.

    Args:
      file: the config file that asks, its `__file__`.
      name: of the config, such as 'imagenet'.

    Raises:
      UsageError: as `load_file`.
    """
    beside = Path(file).with_name(f"{name}.py")
    if beside.is_file() and not beside.samefile(file):
        return load_file(beside)
    return load_file(config_files().get(name, beside))


def load_file(file: str | Path) -> ConfigDict:
    """Run a config file and return what its `get_config()` gives: a new config, which is not yet checked.

    While it runs, `from configs import X` looks for X in the file's own folder if that is called `configs`,
    else in a folder `configs` beside that; then wherever Python searches; last among the configs that come
    along. Afterwards `sys.path` and the modules `configs` are as before.

    Args:
      file: the name of a config that comes along, such as 'imagenet'; or the path of a `.py` file, where
        'configs/imagenet.py' is the config that comes along if there is no such file.

    Raises:
      UsageError: there is no such file, it gives no config, or it failed in any way that a program can.
    """
    path = _locate(file)
    if path.suffix != ".py" or not path.is_file():
        raise UsageError(
            f"{file} is not a config file, nor the name of one that comes along: {', '.join(config_files())}"
        )
    try:
        with _configs_importable(path.resolve().parent):
            program = runpy.run_path(str(path))
            config = program["get_config"]() if "get_config" in program else None
    except Exception as error:
        raise UsageError(f"{file}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise UsageError(f"{file} has no function get_config() that returns a ConfigDict")
    return config


def _locate(file: str | Path) -> Path:
    """Return the path of the config file that `load_file` was asked for, which may not exist."""
    path, along = Path(file), config_files()
    if str(file) in along:
        return along[str(file)]
    if path == Path(FOLDER.name, f"{path.stem}.py") and not path.exists():
        return along.get(path.stem, path)
    return path


@contextlib.contextmanager
def _configs_importable(folder: Path) -> Iterator[None]:
    """Let a file in `folder` import other configs as `load_file` says, and undo every trace of it.

    The modules `configs` of an earlier import are hidden meanwhile: they may be of another folder.
    """
    path, modules = list(sys.path), _pop_configs()
    sys.path[:] = [str(folder.parent), *path, str(FOLDER.parent)]
    try:
        yield
    finally:
        sys.path[:] = path
        _pop_configs()
        sys.modules.update(modules)


def _pop_configs() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "configs"]
    return {name: sys.modules.pop(name) for name in names}
