"""The pages for users: every command parses, the cheap ones run, messages are real, links lead somewhere."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import alexnet_jax
from alexnet_jax.commands import parsing, table
from alexnet_jax.config import find, io
from alexnet_jax.errors import UsageError
from alexnet_jax.model.shapes import layer_shapes
from alexnet_jax.model.specs import Conv, Pool, Weighted
from alexnet_jax.workdir import pretrained
from tests.commands.helpers import ROOT, call, reset_flags
from tests.commands.test_messages import WRONG

TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*TOP, *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
OURS = re.compile(r"^(?:\S*python3? -m alexnet_jax(?:\.main)?|alexnet-jax)(?: |$)")
FLAGS = {flag.name for command in table.COMMANDS for flag in command.flags}
# Flags of other programs, which pages name alone.
OF_OTHERS = {"half", "rule", "shm-size", "inplace"}


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(text: str) -> Iterator[str]:
    """The fenced blocks in which commands stand, lines that go on joined."""
    for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.M | re.S):
        if language in ("", "bash"):
            yield block.replace("\\\n", " ")


def inline(text: str) -> list[str]:
    """What stands between single backticks outside of blocks."""
    outside = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", outside)]


def typed(line: str) -> list[str]:
    """The words of a command line, without comments and what stands before the program."""
    words = shlex.split(line.replace("SEED", "1"), comments=True)
    while words and re.match(r"^[A-Z_]+=", words[0]):
        words.pop(0)
    return words


def commands(page: str) -> list[list[str]]:
    """The words of each command of a page, its program first: of its blocks, and of its text."""
    text = text_of(page)
    lines = [line.strip() for block in blocks(text) for line in block.splitlines()]
    starts = r"(?:[A-Z_]+=\S+ )*(?:alexnet-jax|\S*python3?|bash|pip|git|mkdocs) "
    lines += [code for code in inline(text) if re.match(starts, code)]
    return [words for line in lines if "[verb]" not in line and (words := typed(line))]


def after_program(words: list[str]) -> list[str] | None:
    """What follows this program's name; None where another program is called."""
    count = 3 if len(words) > 2 and words[1] == "-m" else 1
    return words[count:] if OURS.match(" ".join(words)) else None


def of_program() -> list[tuple[str, list[str]]]:
    """(page, words) of each command line of this program, those of the launcher of processes included."""
    found = []
    for page in PAGES:
        for words in commands(page):
            rest = after_program(words)
            if words[1:2] == ["launch/local.py"]:
                rest = [word for word in words[2:] if not word.startswith("--processes=")]
            if rest:
                found.append((page, rest))
    return found


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where every run that a page names is there: of the config of ImageNet."""
    monkeypatch.chdir(tmp_path)
    cards = pretrained.cards()
    monkeypatch.setattr(pretrained, "workdir", lambda name: make_run(tmp_path / cards[name]["sha256"]))
    return tmp_path


def make_run(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    io.save(folder / "config.json", find.load_file("imagenet"))
    return folder


def check(words: list[str]) -> None:
    """Parse a command line as the program does; its workdirs are made where it reads their config."""
    if not any(word.startswith("--config=") for word in words):
        for value in [word.partition("=")[2] for word in words if word.startswith("--workdir=")]:
            if not value.startswith("pretrained:"):
                make_run(Path(value))
    reset_flags()
    try:
        parsing.parse(["alexnet", *words])
    except SystemExit as end:
        if end.code:  # help has none
            raise


def test_every_command_parses(runs: Path) -> None:
    wrong = []
    for page, words in of_program():
        try:
            check(words)
        except (UsageError, KeyError) as error:
            wrong.append(f"{page}: {shlex.join(words)}: {error}")
    assert not wrong, "\n".join(wrong)
    assert len(of_program()) > 100


@pytest.mark.parametrize(
    "words",
    ["predict --workdir=a --sources=b c.jpg", "--config=configs/digits.py --config.data.colour=red", "fly"],
)
def test_a_wrong_command_would_be_found(words: str, runs: Path) -> None:
    with pytest.raises(UsageError):
        check(words.split())


def test_flags_that_stand_alone_are_this_program_s(runs: Path) -> None:
    wrong = []
    for page in PAGES:
        for code in [code for code in inline(text_of(page)) if code.startswith("--")]:
            name, _, value = code.lstrip("-").partition("=")
            if value in ("value", "X", "configs/X.py", "x.py", "FILE.py"):
                continue  # a placeholder
            if not name.startswith("config"):
                wrong += [f"{page}: {code}"] * (name.split()[0] not in FLAGS | OF_OTHERS)
            elif value:
                wrong += [f"{page}: {code}"] * (not of_a_config(typed(code)))
    assert not wrong, "\n".join(wrong)


def of_a_config(words: list[str]) -> bool:
    """Whether flags parse: those of a config's keys with one of the configs that have all of them."""
    given = [[]] if words[0].startswith("--config=") else [["--config=imagenet"], ["--config=finetune"]]
    for config in given:
        try:
            check([*config, *words, "--source=photos"])
        except UsageError as error:
            if "is not a key" in str(error) or "is not a config" in str(error):
                continue  # another check fails where keys belong together
        return True
    return False


def test_other_programs_are_there_too() -> None:
    """Scripts, modules and extras that commands name."""
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    for page in PAGES:
        for words in commands(page):
            line = f"{page}: {shlex.join(words)}"
            program = words[0].rpartition("/")[2]
            if after_program(words) is not None or words[1:] == ["-m"]:
                continue
            if program == "pip":
                (named,) = re.findall(r"^\.\[(.*)\]$", words[-1]) or [""]
                assert set(filter(None, named.split(","))) <= extras.keys(), line
            elif program in ("bash", "python", "python3") and words[1] != "-c":
                file = f"{words[2].replace('.', '/')}.py" if words[1] == "-m" else words[1]
                assert (ROOT / file).is_file() or words[2] == "pytest", line
            else:
                assert program in ("git", "cd", ".", "export", "mkdocs", "python"), line


def test_the_cheap_ones_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = set()
    for _, words in of_program():
        line = shlex.join(words)
        if line in ran or not (words[-1] == "--help" or line in ("doctor", "doctor --architectures")):
            continue
        ran.add(line)
        assert call(words) == 0, line
        assert len(capsys.readouterr().out.splitlines()) > 3, line
    assert {"doctor", "doctor --architectures", "--help", "predict --help"} <= ran


def test_doctor_says_what_the_page_shows(digits_folder: str) -> None:
    """Of eight simulated devices: the page's own command, its last line."""
    page = text_of("docs/devices.md")
    (words,) = {tuple(words) for words in commands("docs/devices.md") if "doctor" in words}
    shown = re.findall(r"^this run can start: .*$", page, re.M)
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=ROOT,
        env=os.environ
        | {
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
            "JAX_PLATFORMS": "cpu",
            "TFDS_DATA_DIR": digits_folder,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    last = done.stdout.splitlines()[-1].replace(str(Path(digits_folder).absolute()), "...")
    assert [last] == shown


def templates() -> set[str]:
    """The texts of the package's code but its docstrings; what is filled in is '…'."""
    found = set()
    for path in (ROOT / "alexnet_jax").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if id(node) in docstrings:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_message_of_the_page_on_trouble_is_one_of_the_program_s() -> None:
    texts = "\n".join([*templates(), *(message for _, _, message in WRONG)])
    cells = re.findall(r"^\| `([^`]+)`", text_of("docs/troubleshooting.md"), re.M)
    wrong = []
    for cell in cells:
        parts = [re.escape(part) for part in cell.split("…")]
        if not re.search(f"^{'.*'.join(parts)}", texts, re.M):
            wrong.append(cell)
    assert not wrong, "\n".join(wrong)
    assert len(cells) > 80


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its first row."""
    below = re.split(rf"^#+ {heading}$", text_of(page), flags=re.M)[1].partition("\n#")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in re.findall(r"^\| .*", below, re.M)[1:]
    ]


def test_each_layer_of_the_papers_net() -> None:
    table = text_of("docs/nets.md").partition("## Each layer of the paper's net")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    said = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    architecture = alexnet_jax.create("alexnet_2012").architecture
    shapes = layer_shapes(architecture)
    true = []
    for layer in architecture.layers:
        *sides, channels = shapes[layer.name].output
        output = " x ".join(map(str, sides))
        if isinstance(layer, Pool):
            window = f"{layer.size} x {layer.size}, {layer.kind}imum"
            true.append([layer.name, f"{channels:,}", window, str(layer.stride), "none", "own", output])
        elif isinstance(layer, Weighted):
            row = [layer.name, f"{channels:,}", "", "", "", "own" if layer.reads == "own" else "both", output]
            if isinstance(layer, Conv):
                row[2:5] = (
                    f"{layer.kernel} x {layer.kernel}",
                    str(layer.stride),
                    "{} and {}".format(*layer.pad),
                )
            true.append(row)
    assert said == true


def test_the_readme_s_results_are_those_of_the_pages() -> None:
    """A verdict is that of the recorded results; other figures stand on the page that their row names."""
    recorded = text_of("docs/RESULTS.md").splitlines()
    verdicts = set()
    for what, result, _, verdict, _ in rows("README.md", "Results"):
        (figure,) = re.findall(r"^[+-]?[\d.,]+(?: points| times)?", result)
        (named,) = re.findall(r"^(?:reproduced|reached|not shown|contradicts|no claim)?", verdict)
        if named not in ("", "no claim"):
            verdicts.add(named)
            assert any(f"| {figure}" in line and f"**{named}**" in line for line in recorded), what
            continue
        (page,) = re.findall(r"\]\((docs/\w+\.md)\)", what)
        numbers = re.findall(r"\d[\d.,]*\d", result + verdict)
        assert any(all(number in line for number in numbers) for line in text_of(page).splitlines()), what
    assert verdicts == {"reproduced", "reached", "not shown", "contradicts"}


def test_every_word_of_the_glossary_is_used() -> None:
    others = " ".join(text_of(page) for page in PAGES if page not in ("docs/glossary.md", "CONTRIBUTING.md"))
    words = [word for line in rows("docs/glossary.md", "Glossary") for word in line[0].split(", ")]
    assert len(words) > 90
    unused = [word for word in words if not re.search(rf"\b{re.escape(word)}", others, re.I)]
    assert not unused


def test_the_citations_are_those_of_the_citation_file() -> None:
    owner, page = text_of("CITATION.cff"), text_of("docs/citing.md")
    plain = page.replace("{", "").replace("}", "")
    titles = re.findall(r"^ *title: \"?([^\"\n]+)", owner, re.M)
    assert len(titles) == 2
    for title in titles:
        assert title in plain
    for names in re.findall(r"family-names: (\w+)", owner):
        assert names in page
    (version,) = re.findall(r"^version: (.*)$", owner, re.M)
    (year,) = re.findall(r"^ +year: (\d+)$", owner, re.M)
    first, last = re.findall(r"^ +(?:start|end): (\d+)$", owner, re.M)
    for text in (f"Version {version},", f"{{{year}}}", f"{{{first}--{last}}}"):
        assert text in page, text


def test_the_readme_s_lines_of_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (90, 60), "green").save("photo.jpg")
    (block,) = re.findall(r"```python\n(.*?)```", text_of("README.md"), re.S)
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["probabilities"].shape == (1, 10)
    assert names["probabilities"].sum() == pytest.approx(1)
    assert names["model"].apply


def test_the_readme_is_short() -> None:
    text = text_of("README.md")
    assert len(text.splitlines()) <= 180
    assert len(text.split()) <= 1600


@pytest.mark.parametrize("page", TOP)
def test_links_of_the_pages_at_the_top_lead_somewhere(page: str) -> None:
    text = text_of(page)
    for target, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]*))?\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", text_of(target), re.M)
            assert anchor in [re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings]
    for name in re.findall(r"\]\[(\w+)\]", text):
        assert re.search(rf"^\[{name}\]: https://", text, re.M), name


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={site}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_site_builds_and_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "docs", source / "docs")
    done = build(source, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").is_file()
    assert 'href="SECURITY.html"' in (tmp_path / "site" / "weights.html").read_text()
    explorer = "explorer_cifar10.html"  # copied as it is; explorer.html is the page of docs/explorer.md
    assert (tmp_path / "site" / explorer).read_bytes() == (ROOT / "docs" / "explorer.html").read_bytes()
    assert f'href="{explorer}"' in (tmp_path / "site" / "explorer.html").read_text()
    for link in ("[a](nowhere.md)", "[a](design.md#nowhere)"):
        shutil.copy(ROOT / "docs" / "index.md", source / "docs")
        with (source / "docs" / "index.md").open("a") as page:
            page.write(f"\n{link}\n")
        assert build(source, tmp_path / "site").returncode != 0, link
