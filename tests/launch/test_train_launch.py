"""The launch files that train: variables, dry runs, flags that the program takes, YAML and its schema."""

import copy
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from alexnet_jax import distributed

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = {
    "train_slurm.sbatch": {"WORKDIR": "/runs/x", "DATA": "/data"},
    "train_tpu_vm.sh": {"TPU": "tpu", "ZONE": "zone", "WORKDIR": "/runs/x", "DATA": "/data"},
}
YAML = ("train_kubernetes_gpu.yaml", "train_kubernetes_tpu.yaml")
# Parses a command line as the program does, and checks the config that it makes.
PARSE = """
import sys
from alexnet_jax import main
request = main.parse(sys.argv)
assert request.command.name == "train"
print(request.config.data.dir, [str(path) for path in request.workdirs], request.config.train.epochs)
"""


def start(script, *arguments, **given):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM") and k not in given}
    return subprocess.run(
        ["bash", str(LAUNCH / script), *arguments],
        cwd=ROOT,
        env=environment | given,
        capture_output=True,
        text=True,
        timeout=60,
    )


def parse(words):
    """What the program makes of a command line that starts with an interpreter and the module."""
    position = words.index("alexnet_jax.main")
    assert words[position - 1] == "-m"
    return subprocess.run(
        [sys.executable, "-c", PARSE, *words[position + 1 :]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck(script):
    shellcheck = shutil.which("shellcheck") or shutil.which(
        "shellcheck", path=str(Path(sys.executable).parent)
    )
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, "-x", str(LAUNCH / script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("script", "missing"), [(s, name) for s, names in SCRIPTS.items() for name in names])
def test_a_missing_variable_is_named(script, missing):
    given = {name: value for name, value in SCRIPTS[script].items() if name != missing}
    done = start(script, DRY_RUN="1", **given)
    assert done.returncode
    assert f"{missing}: " in done.stderr.splitlines()[-1]
    assert "would" not in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_dry_run_prints_a_command_that_the_program_takes(script):
    done = start(script, "--config.train.epochs=3", DRY_RUN="1", **SCRIPTS[script])
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "alexnet_jax.main" in line]
    assert len(lines) == 1
    assert lines[0].startswith("would ")
    words = shlex.split(lines[0])
    if script == "train_tpu_vm.sh":
        words = shlex.split(words[-1].removeprefix("--command="))  # what the machine's shell gets
    parsed = parse(words)
    assert parsed.stdout.split() == ["/data", "['/runs/x']", "3.0"], parsed.stderr
    assert parse([*words, "--config.train.speed=1"]).returncode == 2


def test_the_tpu_machines_get_what_they_need():
    done = start("train_tpu_vm.sh", DRY_RUN="1", **SCRIPTS["train_tpu_vm.sh"])
    pack = next(shlex.split(line) for line in done.stdout.splitlines() if "tar -czf" in line)
    for name in pack[pack.index("-czf") + 2 :]:
        assert (ROOT / name).exists()
    assert sum("--worker=all" in line for line in done.stdout.splitlines()) == 4


def test_the_slurm_script_asks_for_a_process_a_node():
    settings = [
        line.removeprefix("#SBATCH --")
        for line in (LAUNCH / "train_slurm.sbatch").read_text().splitlines()
        if line.startswith("#SBATCH ")
    ]
    assert "ntasks-per-node=1" in settings
    assert "requeue" in settings


@pytest.fixture(scope="module")
def schema():
    schema = json.loads((Path(__file__).parent / "jobset.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", YAML)
def test_a_jobset_fits_its_schema_and_itself(file, schema):
    jobset = yaml.safe_load((LAUNCH / file).read_text())
    schema.validate(jobset)
    (job,) = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["parallelism"] == spec["completions"]
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert container["resources"]["requests"] == container["resources"]["limits"]
    (policy,) = spec["podFailurePolicy"]["rules"]
    assert policy["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [2]}
    parsed = parse(["python", *container["command"][1:], *container["args"]])
    assert parsed.stdout.split()[:2] == ["/data", "['/runs/imagenet']"], parsed.stderr
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert {"/data", "/runs"} <= set(mounts)
    variables = {item["name"]: item["value"] for item in container.get("env", [])}
    if variables:
        number = spec["completions"] - 1
        process = distributed.resolve_process(
            "", 0, -1, variables | {"JOB_COMPLETION_INDEX": str(number)}, False
        )
        host = f"{jobset['metadata']['name']}-{job['name']}-0-0.{jobset['metadata']['name']}"
        port = container["ports"][0]["containerPort"]
        assert process == distributed.ProcessSpec(f"{host}:{port}", spec["completions"], number)
    else:
        assert "google.com/tpu" in container["resources"]["limits"]  # JAX asks the TPU


def test_the_schema_can_refuse(schema):
    jobset = yaml.safe_load((LAUNCH / YAML[0]).read_text())
    for path, value in (
        (("spec", "replicatedJob"), []),
        (("metadata", "name"), "AlexNet"),
        (("apiVersion",), "batch/v1"),
    ):
        changed = copy.deepcopy(jobset)
        part = changed
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError):
            schema.validate(changed)


def local(*arguments, **given):
    return subprocess.run(
        [sys.executable, str(LAUNCH / "local.py"), *arguments],
        cwd=ROOT,
        env=os.environ | given,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_local_launchers_dry_run():
    config = "--config=configs/digits.py"
    done = local("--processes=2", config, DRY_RUN="1", JAX_PLATFORMS="", CUDA_VISIBLE_DEVICES="0,1,2,3")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["CUDA_VISIBLE_DEVICES=0,1", "CUDA_VISIBLE_DEVICES=2,3"]
    for process, line in enumerate(lines):
        words = shlex.split(line)
        assert words[-2:] == ["--processes=2", f"--process={process}"]
        assert parse(words).returncode == 0
    assert local("--processes=3", config, JAX_PLATFORMS="", CUDA_VISIBLE_DEVICES="0,1").returncode == 2
    for wrong in (["--processes=2"], ["--processes=none", config], [config]):
        done = local(*wrong)
        assert done.returncode == 2
        assert "type launch/local.py --processes=N" in done.stderr


@pytest.mark.parametrize("code", [0, 2])
def test_the_local_launcher_gives_its_processes_exit_code(code):
    """A wrong use of the program is one of the launcher: every process says so at once."""
    flag = "--config.train.speed=1" if code else "--help"
    done = local("--processes=2", "--config=configs/digits.py", flag, JAX_PLATFORMS="cpu")
    assert done.returncode == code
