"""The wheel and the sdist, installed outside the checkout, do what the checkout does, from another folder.

The first environment is empty and takes its packages from the index; the second adds the sdist to them.
By hand, once with another Python and once with the lowest versions that pyproject.toml allows:

  PYTHON=python3.13 .venv/bin/python -m pytest -m slow tests/test_package.py
  LOWEST_VERSIONS=1 .venv/bin/python -m pytest -m slow tests/test_package.py
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

import alexnet_jax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SMALL = [
    *("--config=digits", "--config.data.dir=data", "--config.model.width=0.0625", "--config.mesh.model=2"),
    *(
        "--config.data.workers=2",
        "--config.data.resident=never",
        "--config.train.epochs=2.0",
        "--config.train.log_every_steps=5",
    ),
]
# What a user of the library types.
LIBRARY = """
import jax
import alexnet_jax

model = alexnet_jax.create("alexnet_2012", classes=10, width=0.0625, crop=64, channels=1)
variables = model.init(jax.random.key(0))
assert model.apply(variables, jax.numpy.zeros((2, 64, 64, 1))).shape == (2, 10)
"""


class Environment:
    """A virtual environment, in which programs run in a folder that is not the checkout."""

    def __init__(self, folder: Path, cwd: Path):
        self.bin, self.cwd = folder / "bin", cwd
        subprocess.run([os.environ.get("PYTHON", sys.executable), "-m", "venv", folder], check=True)
        (self.packages,) = folder.glob("lib/python3*/site-packages")
        cwd.mkdir(exist_ok=True)

    def pip(self, *arguments: str | Path) -> None:
        command = [self.bin / "python", "-m", "pip", "install", "--quiet", *arguments]
        subprocess.run(command, check=True, cwd=self.cwd, timeout=1500)

    def run(self, *command: str | Path, code: int = 0) -> str:
        """Run a program of the environment; return what it printed, errors last."""
        apart = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            env={
                **apart,
                "TFDS_DATA_DIR": "/nowhere",
                "XDG_CACHE_HOME": str(self.cwd / "cache"),
                "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            },
            cwd=self.cwd,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist, by the name of their kind, built of what the checkout holds for them."""
    folder = tmp_path_factory.mktemp("built")
    source, dist = folder / "source", folder / "dist"
    for name in ("alexnet_jax", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    tools = Environment(folder / "tools", source)
    tools.pip(*PROJECT["build-system"]["requires"])
    found = {}
    for kind in ("wheel", "sdist"):
        hook = f"from setuptools import build_meta; print(); print(build_meta.build_{kind}({str(dist)!r}))"
        done = subprocess.run(
            [tools.bin / "python", "-c", hook], cwd=source, capture_output=True, text=True, check=True
        )
        found[kind] = dist / done.stdout.splitlines()[-1]
    return found


@pytest.fixture(scope="module")
def first(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel and what it needs, without any extra."""
    folder = tmp_path_factory.mktemp("first")
    environment = Environment(folder / "environment", folder / "elsewhere")
    environment.pip(built["wheel"], *_constraints(folder))
    return environment


def _constraints(folder: Path) -> list[str | Path]:
    """Return pip's arguments that choose the lowest versions where they are asked for."""
    if not os.environ.get("LOWEST_VERSIONS"):
        return []
    optional = PROJECT["project"]["optional-dependencies"]
    lines = {
        f"{requirement.name}=={specifier.version}"
        for text in sum(optional.values(), PROJECT["project"]["dependencies"])
        for requirement in [Requirement(text)]
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }
    path = folder / "lowest.txt"
    path.write_text("\n".join(lines))
    return ["--constraint", path]


def test_the_packages_are_all_that_there_are() -> None:
    modules = [path.parent.relative_to(ROOT) for path in (ROOT / "alexnet_jax").rglob("__init__.py")]
    names = [".".join(module.parts) for module in modules]
    assert PROJECT["tool"]["setuptools"]["packages"] == [*sorted(names), "alexnet_jax.configs"]


@pytest.mark.slow
def test_what_the_wheel_and_the_sdist_hold(built: dict[str, Path]) -> None:
    files = [path for path in (ROOT / "alexnet_jax").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    modules = {path.relative_to(ROOT).as_posix() for path in files}
    configs = {f"configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (license_file,) = [name for name in wheel.namelist() if name.endswith("/LICENSE")]
        assert wheel.read(license_file) == (ROOT / "LICENSE").read_bytes()
    assert names == modules | {f"alexnet_jax/{name}" for name in configs}
    with tarfile.open(built["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert modules | configs | {"pyproject.toml", "README.md", "LICENSE"} <= names


@pytest.mark.slow
def test_the_wheel_without_extras(first: Environment) -> None:
    version = f"alexnet-jax {alexnet_jax.__version__}\n"
    assert first.run("alexnet-jax", "--version") == version
    assert "\n  alexnet-jax [verb]" in first.run("alexnet-jax", "--help")
    assert "\n  python -m alexnet_jax [verb]" in first.run("python", "-m", "alexnet_jax", "--help")
    text = first.run("alexnet-jax", "doctor")
    assert 'extra tensorboard, which needs tensorboardX, is not installed: pip install "alexnet-jax[' in text
    assert "versions that were not tested" not in text
    text = first.run("alexnet-jax", "prepare", *SMALL, "--source=digits", code=2)
    assert text == 'alexnet-jax: --source=digits needs sklearn: pip install "alexnet-jax[digits]"\n'
    first.run("python", "-c", LIBRARY)
    Image.fromarray(np.full((40, 30, 3), 99, np.uint8)).save(first.cwd / "grey.png")
    assert "airplane" in first.run(
        "alexnet-jax", "predict", "--workdir=pretrained:cifar10", "--json", "grey.png"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "program"), [("wheel", ["alexnet-jax"]), ("sdist", ["python", "-m", "alexnet_jax.main"])]
)
def test_a_run_from_another_folder(
    kind: str, program: list[str], built: dict[str, Path], first: Environment, tmp_path: Path
) -> None:
    here = first
    first.pip("alexnet-jax[all]", *_constraints(tmp_path))  # what the messages say; the wheel stays
    if kind == "sdist":
        here = Environment(tmp_path / "environment", tmp_path / "elsewhere")
        here.pip("--no-deps", built["sdist"])
        (here.packages / "first.pth").write_text(str(first.packages))
    where = here.run("python", "-c", "import alexnet_jax; print(alexnet_jax.__file__)")
    assert Path(where.strip()).is_relative_to(here.packages)
    here.run("python", "-c", LIBRARY)

    here.run(*program, "prepare", *SMALL, "--source=digits")
    text = here.run(*program, *SMALL, "--workdir=run")
    assert f"{program[-1]} evaluate --workdir=run" in text
    assert list((here.cwd / "run" / "tensorboard").iterdir())
    workdir = f"--workdir={here.cwd / 'run'}"
    Image.fromarray(np.full((90, 80), 99, np.uint8)).save(here.cwd / "image.png")
    here.cwd = here.cwd / "below"  # what is relative in the run's config is found from everywhere
    here.cwd.mkdir()
    assert "%" in here.run(*program, "predict", workdir, "--output=x.png", "../image.png")
    if kind == "sdist":  # its modules are the wheel's
        return
    assert "top-1 error" in here.run(*program, "evaluate", workdir)
    here.run(*program, "report", "--explore", workdir)
    assert "this run can start" in here.run(*program, "doctor", workdir)


@pytest.mark.slow
def test_several_processes(first: Environment) -> None:
    """The launcher of the checkout, copied, on the data of the test before."""
    shutil.copy(ROOT / "launch" / "local.py", first.cwd.parent)
    data = f"--config.data.dir={first.cwd.parent / 'data'}"
    more = [data, "--config.mesh.data=2", "--config.train.epochs=0.1", "--config.data.workers=0"]
    text = first.run("python", "../local.py", "--processes=2", *SMALL, *more, "--workdir=several")
    assert "processes: 2" in text
    assert (first.cwd / "several" / "checkpoints").is_dir()
