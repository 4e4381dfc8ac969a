"""Configs are found by name and run as programs, from any folder, without a trace in the interpreter."""

import sys
from pathlib import Path

import pytest

from alexnet_jax.config import compatibility, find
from alexnet_jax.errors import UsageError
from configs import imagenet

ROOT = Path(__file__).parents[2]


def load(file):
    """`find.load_file`, which leaves Python's path and the modules `configs` as they were, well or badly."""
    path, modules = list(sys.path), {name: sys.modules[name] for name in sys.modules if "config" in name}
    try:
        return find.load_file(file)
    finally:
        assert sys.path == path
        assert {name: sys.modules[name] for name in sys.modules if "config" in name} == modules
        assert sys.modules["configs.imagenet"] is imagenet


def test_the_configs_that_come_along():
    files = find.config_files()
    assert files == {path.stem: path for path in (ROOT / "configs").iterdir() if path.suffix == ".py"}
    assert list(files) == sorted(files)


@pytest.mark.parametrize("name", find.config_files())
def test_a_name_and_a_path_give_the_golden_text(name):
    golden = (ROOT / "tests" / "golden" / f"{name}.txt").read_text()
    for file in (name, ROOT / "configs" / f"{name}.py", str(ROOT / "configs" / f"{name}.py")):
        flat = compatibility.flatten(load(file))
        assert "".join(f"{key} = {value!r}\n" for key, value in flat.items()) == golden


def test_each_call_gives_a_config_of_its_own():
    load("digits").seed = 1
    assert load("digits").seed == 2012


def test_a_path_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    write(tmp_path / "exp" / "digits.py", "from configs import mnist as base")
    monkeypatch.chdir(tmp_path)
    assert load("exp/digits.py").data.name == "mnist"
    assert load("digits").data.name == "digits"  # a name alone is a config that comes along


def write(path: Path, imports: str, change: str = "") -> Path:
    """Write a config file that starts from `base`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [imports, "def get_config():", "    config = base.get_config()", change and f"    {change}"]
    path.write_text("\n".join([*lines, "    return config", ""]))
    return path


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A working directory elsewhere, with an interpreter that does not search the checkout."""
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT])
        yield tmp_path


def test_a_file_elsewhere_starts_from_a_config_that_comes_along(outside):
    file = write(outside / "anywhere" / "mine.py", "from configs import cifar10 as base", "config.seed = 7")
    config = load(file)
    assert (config.seed, config.data.name) == (7, "cifar10")


def test_a_config_that_comes_along_is_found_from_elsewhere(outside):
    assert load("finetune").model.architecture == "torchvision"


@pytest.mark.parametrize("folder", ["configs", "experiments"])
def test_a_folder_of_ones_own_comes_first(folder, outside):
    """The folder `configs` that holds the file, or stands next to its folder; then what comes along."""
    write(outside / "configs" / "mnist.py", "from configs import digits as base", "config.seed = 8")
    file = write(outside / folder / "mine.py", "from configs import mnist as base")
    config = load(file)
    assert (config.seed, config.data.name) == (8, "digits")
    assert load("mnist_30").data.name == "mnist"  # that starts from the one that comes along


def test_a_config_is_found_as_it_is_named_in_the_documentation(outside):
    """`configs/X.py` is the user's own where there is one, else the config that comes along."""
    assert load("configs/digits.py").data.name == "digits"
    write(outside / "configs" / "digits.py", "from configs import mnist as base")
    assert load("configs/digits.py").data.name == "mnist"
    assert load("digits").data.name == "digits"


def test_a_base_is_beside_the_file_or_comes_along(outside):
    write(outside / "mine" / "mnist.py", "from configs import digits as base", "config.seed = 8")
    file = outside / "mine" / "experiment.py"
    lines = [
        "from alexnet_jax.config import find",
        "def get_config():",
        "    return find.base(__file__, 'NAME')",
    ]
    for name, seed, dataset in (("mnist", 8, "digits"), ("cifar10", 2012, "cifar10")):
        file.write_text("\n".join(lines).replace("NAME", name))
        assert (load(file).seed, load(file).data.name) == (seed, dataset)
    # One that has the name of its own base starts from the one that comes along.
    file = file.rename(file.with_name("cifar10.py"))
    assert load(file).data.name == "cifar10"
    file.write_text(file.read_text().replace("'cifar10'", "'nothing'"))
    with pytest.raises(UsageError, match=r"mine/cifar10\.py: .*mine/nothing\.py is not a config file"):
        load(file)


def test_a_folder_in_the_working_directory_comes_before_what_comes_along(outside):
    sys.path.insert(0, str(outside / "project"))  # the fixture's own list
    write(outside / "project" / "configs" / "mnist.py", "from configs import digits as base")
    file = write(outside / "far" / "away" / "mine.py", "from configs import mnist as base")
    assert load(file).data.name == "digits"


def test_what_a_file_does_to_the_path_is_undone(outside):
    imports = "import sys; sys.path[:] = [*sys.path, '/added']; from configs import digits as base"
    assert load(write(outside / "mine.py", imports)).data.name == "digits"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "mine.py",
            None,
            "mine.py is not a config file, nor the name of one that comes along: cifar10, .*mnist",
        ),
        ("folder.py", "", "folder.py is not a config file"),
        ("mine.txt", "def get_config(): pass", "mine.txt is not a config file"),
        ("mine.py", "x = 1", r"mine.py has no function get_config\(\) that returns a ConfigDict"),
        ("mine.py", "def get_config(): return {}", "that returns a ConfigDict"),
        ("mine.py", "def get_config(): pass", "that returns a ConfigDict"),
        ("mine.py", "1 / 0", "mine.py: division by zero$"),
        ("mine.py", "def get_config(): return 1 / 0", "mine.py: division by zero$"),
        ("mine.py", "def get_config(:", "mine.py: .*line 1"),
        ("mine.py", "from configs import nothing_of_that_name", "mine.py: .*nothing_of_that_name"),
        ("mine.py", "def get_config(): import nothing_of_that_name", "mine.py: .*nothing_of_that_name"),
        ("mine.py", "get_config = 1", "mine.py: .*not callable"),
    ],
)
def test_what_is_no_config_is_named(name, text, words, outside):
    if name == "folder.py":
        (outside / name).mkdir()
    elif text is not None:
        (outside / name).write_text(text)
    with pytest.raises(UsageError, match=words) as error:
        load(outside / name)
    assert str(error.value).startswith(str(outside / name))
