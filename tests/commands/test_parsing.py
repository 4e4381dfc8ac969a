"""Which command a line calls, with what: by the table, and what may stand where."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import FrozenConfigDict

import alexnet_jax
from alexnet_jax.commands import parsing, table
from alexnet_jax.commands.command import Command
from alexnet_jax.config import find, io
from alexnet_jax.errors import UsageError
from tests.commands.helpers import ROOT, alexnet, call, parse

COMMANDS = pytest.mark.parametrize("command", table.COMMANDS, ids=lambda command: command.name)
FLAGS = {flag.name: flag for command in table.COMMANDS for flag in command.flags}
CONFIG = "--config=configs/digits.py"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the configs and a run."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    make_run(tmp_path / "runs" / "there")
    monkeypatch.chdir(tmp_path)


def make_run(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = find.load_file(ROOT / "configs" / "digits.py")
    config.seed = 17
    io.save(folder / "config.json", config)


def typed(name: str) -> str:
    """Return a flag with a value, as a user may type it."""
    flag = FLAGS[name]
    values = {"switch": "", "integer": "=1", "config": "=configs/digits.py", "paths": "=runs/there"}
    return f"--{name}{values.get(flag.kind, '=x')}"


@COMMANDS
def test_the_examples_parse(command: Command) -> None:
    for example in command.examples:
        words = shlex.split(example)
        for folder in [word.partition("=")[2] for word in words if word.startswith("--workdir=")]:
            make_run(Path(folder))
        request = parse(words)
        assert request.command is command
        assert bool(request.arguments) == bool(command.arguments and "[" not in command.arguments) or (
            command.arguments.startswith("[")
        )


@COMMANDS
def test_a_flag_that_it_does_not_read_is_an_error(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {flag.name for flag in command.flags}
    others = {name for row in table.of_verb(command.words[0]) for name in row.switches}
    unread = sorted(FLAGS.keys() - own - others)  # these call another kind of the verb
    assert unread
    for name in unread:
        assert call([*command.name.split(), typed(name)]) == 2, name
        readers = [row.name for row in table.COMMANDS if name in {flag.name for flag in row.flags}]
        line = f"alexnet_jax: {command.name} does not read --{name}, which is for {', '.join(readers)}\n"
        assert capsys.readouterr().err == line


@COMMANDS
def test_a_flag_that_it_reads_is_none(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever else is wrong with it."""
    for flag in command.flags:
        others = {name for row in table.of_verb(command.words[0]) for name in row.switches}
        if flag.name not in others - set(command.switches):
            try:
                parse([*command.name.split(), typed(flag.name)])
            except SystemExit:
                assert "does not read" not in capsys.readouterr().err


def test_both_kinds_of_a_verb_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["report", "--results", "--explore", "--checkpoint=banana"]) == 2
    errors = capsys.readouterr().err
    assert errors == "alexnet_jax: report --explore does not read --results, which is for report --results\n"


@COMMANDS
def test_what_it_needs_is_asked_for(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    line = [*command.name.split(), "--debug=false"]
    if command.needs:
        assert call(line) == 2
        assert capsys.readouterr().err == f"alexnet_jax: {command.name} needs {command.needs}\n"
    else:
        assert not parse(line).config


@COMMANDS
def test_an_argument_too_many_is_an_error(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    line = [*command.name.split(), *([CONFIG] if command.needs else []), "extra"]
    if command.arguments:
        assert parse(line).arguments == ["extra"]
    else:
        assert call(line) == 2
        words = f"{command.name} takes no argument 'extra'; flags are written --name=value"
        assert capsys.readouterr().err == f"alexnet_jax: {words}\n"


def test_a_switch_of_the_config_may_be_switched_off_by_its_name() -> None:
    assert parse(["train", "--config=cifar10_alexnet"]).config.data.flip is True
    assert parse(["train", "--config=cifar10_alexnet", "--noconfig.data.flip"]).config.data.flip is False


@pytest.mark.parametrize(
    "line",
    [
        f"predict {CONFIG} --views=10 a.jpg b.jpg",
        f"{CONFIG} --views=10 predict a.jpg b.jpg",
        "--views 10 predict --config configs/digits.py a.jpg b.jpg",
        f"--config.seed=3 {CONFIG} --views=10 predict a.jpg --nojson b.jpg",
        f"predict {CONFIG} --views=10 -- a.jpg b.jpg",
    ],
)
def test_where_the_verb_and_the_flags_may_stand(line: str) -> None:
    request = parse(line.split())
    assert request.command.name == "predict"
    assert request.arguments == ["a.jpg", "b.jpg"]
    assert request.flags.views == 10
    assert request.workdirs == [Path("runs/digits")]
    assert request.config.seed == (3 if "seed" in line else 2012)


def test_without_a_verb_it_is_train() -> None:
    for line in ([CONFIG], ["--workdir=runs/there"], ["--config.seed=1", "--config", "configs/digits.py"]):
        assert parse(line).command.name == "train"


def test_a_verb_that_is_taken_for_a_value_is_not_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody knows before the config is read that this key takes no value."""
    for line in ("--config.data.flip evaluate", "--config.data.flip evaluate predict"):
        assert call([*line.split(), CONFIG]) == 2
        assert "written --name=value" in capsys.readouterr().err


def test_the_config_is_checked_and_frozen() -> None:
    config = parse(["--config.data.batch_size=32", "train", CONFIG]).config
    assert isinstance(config, FrozenConfigDict)
    assert config.data.batch_size == 32
    with pytest.raises(AttributeError):
        config.data.batch_size = 64
    # `doctor` says itself what is wrong with a config.
    assert parse(["doctor", CONFIG, "--config.data.crop=100"]).config.data.crop == 100


def test_the_config_of_a_run_is_used_where_none_is_given() -> None:
    request = parse(["evaluate", "--workdir=runs/there", "--workdir=runs/other", "--config.train.epochs=2.5"])
    assert (request.config.seed, request.config.train.epochs) == (17, 2.5)
    assert request.workdirs == [Path("runs/there"), Path("runs/other")]
    assert request.workdir == Path("runs/there")
    assert parse(["evaluate", "--workdir=runs/there", CONFIG]).config.seed == 2012


def test_a_dataset_without_a_name_takes_it_from_the_source_or_the_run() -> None:
    finetune = "--config=configs/finetune.py"
    for line, name in (
        (f"train {finetune} --source=/data/Photos.tar.gz", "photos"),
        (f"prepare {finetune} --source=digits", "digits"),
        (f"prepare {finetune} --source=photos --config.data.name=mine", "mine"),
        (f"train {finetune} --workdir=runs/there", "digits"),
        (f"prepare {CONFIG} --source=photos", "digits"),
    ):
        assert parse(line.split()).config.data.name == name, line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("evaluate --workdir=gs://bucket/run", "--workdir=gs://bucket/run is no path: mount the bucket"),
        ("train --config=s3://bucket/a.py", "--config=s3://bucket/a.py is no path"),
        ("prepare --config=configs/finetune.py", "the dataset has no name: --source=FOLDER gives it"),
        ("doctor --workdir=runs/there --workdir=b", "doctor takes one --workdir, not 2"),
        (f"train {CONFIG} --config=configs/mnist.py", "train takes one --config, not 2"),
        (f"prepare {CONFIG} --workdir=runs/there", "prepare takes --config or --workdir, not both"),
        (
            "report --results --config.seed=3",
            "report --results does not read --config.seed, which is for",
        ),
        (f"train {CONFIG} --workdir", "Missing value for flag --workdir"),
        (f"train {CONFIG} --config.data=3", "--config.data"),
        ("train --flagfile=nowhere", "nowhere"),
    ],
)
def test_lines_that_do_not_fit_together(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(line.split()) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert words in errors


def test_paths_take_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    request = parse(["similar", "--workdir=~/runs/there", "--source=~/photos", "--output=~/a.png", "~/b.jpg"])
    assert request.workdirs == [tmp_path / "runs" / "there"]
    assert request.config.seed == 17
    assert request.flags.source == f"{tmp_path}/photos"
    assert request.flags.output == f"{tmp_path}/a.png"
    assert request.arguments == [f"{tmp_path}/b.jpg"]
    assert parse(["train", "--config=~/configs/digits.py"]).workdirs == [Path("runs/digits")]
    paths = {flag.name for flag in FLAGS.values() if flag.kind in ("path", "paths", "config")}
    assert paths == {
        *("config", "workdir", "source", "output", "class_names", "mean", "lpips", "class_map"),
        "predictions",
    }
    line = ["evaluate", "--workdir=~/runs/there", "--class_map=~/map.tsv", "--predictions=~/p.csv"]
    flags = parse(line).flags
    assert (flags.class_map, flags.predictions) == (f"{tmp_path}/map.tsv", f"{tmp_path}/p.csv")
    request = parse(
        ["convert", "--class_names=~/names", "--mean=~/mean", "--lpips=~/l", "--output=~/x", "~/a.pth"]
    )
    assert request.flags.class_names == f"{tmp_path}/names"
    assert (request.flags.mean, request.flags.lpips) == (f"{tmp_path}/mean", f"{tmp_path}/l")


def test_flags_may_lie_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flags").write_text(f"{CONFIG}\n--config.seed=5\n")
    assert parse(["evaluate", f"--flagfile={tmp_path}/flags"]).config.seed == 5
    (tmp_path / "flags").write_text("--layers=conv1\n")
    assert call(["evaluate", CONFIG, f"--flagfile={tmp_path}/flags"]) == 2
    assert "evaluate does not read --layers" in capsys.readouterr().err


def test_the_version() -> None:
    for module in ("alexnet_jax.main", "alexnet_jax"):
        assert alexnet("--version", module=module) == (0, f"alexnet_jax {alexnet_jax.__version__}\n", "")


def test_a_bare_call_says_what_to_type() -> None:
    for module in ("alexnet_jax.main", "alexnet_jax"):
        code, out, errors = alexnet(module=module)
        assert (code, out) == (2, "")
        assert errors.startswith(f"alexnet_jax: type a verb, such as: python -m {module} train ")
        assert errors.count("\n") == 1


@pytest.mark.parametrize("line", ["--help", "train --nonsense", f"evaluate --split={CONFIG} --part=x"])
def test_what_is_wrong_is_reported_before_anything_heavy_is_loaded(line: str) -> None:
    code = f"""
import sys
from alexnet_jax import main
try:
    main.parse(["alexnet", *{line.split()!r}])
except SystemExit as error:
    print(error.code, sorted({{"jax", "numpy", "tensorflow_datasets", "PIL"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{0 if line == '--help' else 2} []"


def test_scan_distinguishes_flags_from_arguments() -> None:
    parse(["doctor"])  # defines the flags
    line = "a --views 1 --nojson --workdir=x --config.seed 3 -strict b -- --c -"
    assert [(word.name, word.value) for word in parsing.scan(line.split())] == [
        ("", "a"),
        ("views", "1"),
        ("json", "false"),
        ("workdir", "x"),
        ("config.seed", "3"),
        ("strict", "true"),
        ("", "b"),
        ("--", ""),
        ("", "--c"),
        ("", "-"),
    ]
    assert [part for word in parsing.scan(line.split()) for part in word.typed] == line.split()


@pytest.mark.parametrize("name", ["--config=x.py", "--config", "--flagfile=flags", "--output=a.png", "-v"])
def test_a_file_that_is_named_as_a_flag_is_none(name, tmp_path, monkeypatch):
    """As a shell's * gives it: nothing of it is read or run."""
    monkeypatch.chdir(tmp_path)
    for file in (name, "x.py"):
        (tmp_path / file).write_text("open('marker', 'w').close()")
    (tmp_path / "flags").write_text("--config=x.py")
    with pytest.raises(UsageError, match="is the name of a file here, not a flag"):
        parsing.parse(["main", "predict", "--workdir=run", *sorted(os.listdir())])
    assert not (tmp_path / "marker").exists()
