"""What only some users need is imported when it is needed, and named with its extra where it is missing."""

import ast
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from alexnet_jax import extras
from alexnet_jax.data.sources import detect
from alexnet_jax.errors import UsageError
from alexnet_jax.workdir import trained
from tests.commands.helpers import ROOT, call

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
WORKDIR = f"--workdir={ROOT}/tests/fixtures/run_0876f0d/workdir"
PHOTO = f"{ROOT}/tests/fixtures/run_0876f0d/classes/test/a/0.JPEG"


def parsed(lines: list[str]) -> set[tuple[str, str]]:
    """Requirements as (name, bounds)."""
    requirements = [Requirement(line) for line in lines]
    return {(requirement.name.lower(), str(requirement.specifier)) for requirement in requirements}


def lines_of(path: Path) -> list[str]:
    """The requirements of a file, without comments."""
    lines = [line.partition("#")[0] for line in path.read_text().splitlines()]
    return [line for line in lines if line.strip()]


def test_core_and_extras_are_requirements_txt() -> None:
    everything = lines_of(ROOT / "requirements.txt")
    brought = [requirement for extra in extras.EXTRAS for requirement in OPTIONAL[extra]]
    assert parsed([*PROJECT["dependencies"], *brought]) == parsed(everything)
    assert not parsed(PROJECT["dependencies"]) & parsed(brought)


def test_the_other_extras() -> None:
    assert OPTIONAL["all"] == [f"{extras.DISTRIBUTION}[{','.join(extras.EXTRAS)}]"]
    (jax,) = [line for line in PROJECT["dependencies"] if line.startswith("jax>")]
    chips = {"cuda12", "cuda13", "tpu"}
    assert {name: OPTIONAL[name] for name in chips} == {
        name: [jax.replace("jax", f"jax[{name}]")] for name in chips
    }
    assert OPTIONAL.keys() == {*extras.EXTRAS, *chips, "all", "docs"}
    assert parsed(OPTIONAL["docs"]) <= parsed(lines_of(ROOT / "tests" / "requirements.txt"))
    assert chips <= set(metadata.metadata("jax").get_all("Provides-Extra"))


def test_an_extra_s_modules_are_those_of_its_distributions() -> None:
    provided = metadata.packages_distributions()
    for extra, modules in extras.EXTRAS.items():
        names = {provided[module][0].lower().replace("_", "-") for module in modules}
        assert names == {name for name, _ in parsed(OPTIONAL[extra])}, extra


def test_what_is_needed_is_read_from_the_project_or_from_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = extras.requirements()
    assert "jax>=0.10.1,<0.13" in needed
    assert 'tensorboardX>=2.6.4,<3; extra == "tensorboard"' in needed
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(metadata, "requires", {extras.DISTRIBUTION: ["a>1"]}.get)
    assert extras.requirements() == ["a>1"]


def test_what_an_extra_holds_is_imported_late() -> None:
    optional = {module for modules in extras.EXTRAS.values() for module in modules}
    package = ROOT / "alexnet_jax"
    for path in package.rglob("*.py"):
        if path.parts[len(package.parts)] == "report" or path.name == "step_figure.py":
            continue  # they are imported by what asked `require` before
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [name.name for name in node.names] + [getattr(node, "module", None) or ""]
                assert not optional & {name.split(".")[0] for name in names}, path


@pytest.mark.parametrize(
    ("line", "extra", "module", "what"),
    [
        (f"report {WORKDIR}", "pages", "matplotlib", "report"),
        (f"report --explore {WORKDIR}", "pages", "jinja2", "report --explore"),
        (f"report --results {WORKDIR}", "pages", "scipy", "report --results"),
        (f"predict {WORKDIR} {PHOTO} --output={{}}/x.png", "pages", "matplotlib", "--output={}/x.png"),
        (
            f"similar {WORKDIR} {PHOTO} --source={ROOT} --output={{}}/x.png",
            "pages",
            "matplotlib",
            "--output={}/x.png",
        ),
        (
            "benchmark step --config=digits --output={}/x.png",
            "pages",
            "matplotlib",
            "--output={}/x.png",
        ),
        ("train --config=digits --source=digits", "digits", "sklearn", "--source=digits"),
    ],
)
def test_what_is_missing_is_named_before_any_work(
    line: str,
    extra: str,
    module: str,
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def restore(*_: object) -> None:
        raise AssertionError("a net is restored")

    monkeypatch.setattr(trained, "load", restore)
    monkeypatch.setattr("alexnet_jax.runtime.retain_malloc_heap", lambda: False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(extras, "install", "pip install {}".format)
    monkeypatch.chdir(tmp_path)
    assert call(line.format(tmp_path).split()) == 2
    expected = f"alexnet_jax: {what} needs {module}: pip install {extra}\n"
    assert capfd.readouterr().err == expected.format(tmp_path)


def test_sources_name_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UsageError, match=r"^--source=digits needs sklearn: pip install "):
        detect.open_source("digits")


def test_a_checkout_that_was_not_installed_has_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: None)
    assert extras.install("pages") == 'pip install "alexnet-jax[pages]"'

    def nothing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", nothing)
    assert extras.install("pages") == extras.install() == "pip install -r requirements.txt"
