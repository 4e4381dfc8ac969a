"""The launch files that prepare in parts: their own command lines, run here, make one machine's bytes."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SLURM, KUBERNETES = ROOT / "launch" / "prepare_slurm.sbatch", ROOT / "launch" / "prepare_kubernetes.yaml"
# What SLURM does with an array and with a job that depends on it, on this machine.
SBATCH = """#!/usr/bin/env bash
for argument in "$@"; do script=$argument; done
echo "$*" >>"$(dirname "$0")/submitted"
case "$*" in
  *--array=0-1*) for i in 0 1; do SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_TASK_COUNT=2 bash "$script" >&2; done ;;
  *MERGE=1*) MERGE=1 bash "$script" >&2 ;;
esac
echo "17;cluster"
"""


def slurm(**given: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    return subprocess.run(
        ["bash", str(SLURM)], cwd=ROOT, env=environment | given, capture_output=True, text=True, timeout=300
    )


def content(data: Path) -> dict[str, str]:
    folder = data / "digits_72" / "1.0.0"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def jobs() -> dict[str, dict]:
    documents = yaml.safe_load_all(KUBERNETES.read_text())
    return {document["metadata"]["name"]: document["spec"] for document in documents}


def test_the_script_passes_shellcheck() -> None:
    shellcheck = shutil.which("shellcheck") or shutil.which(
        "shellcheck", path=str(Path(sys.executable).parent)
    )
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, str(SLURM)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("missing", ["SOURCE", "DATA", "PARTS"])
def test_a_missing_variable_is_named(missing: str) -> None:
    given = {"SOURCE": "digits", "DATA": "/nowhere", "PARTS": "2", "DRY_RUN": "1"}
    del given[missing]
    done = slurm(**given)
    assert done.returncode
    assert f"{missing}: " in done.stderr.splitlines()[-1]
    assert "would submit" not in done.stderr


def test_a_dry_run_prints_what_would_be_submitted() -> None:
    done = slurm(SOURCE="digits", DATA="/nowhere", PARTS="32", DRY_RUN="1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        f"would submit: sbatch --array=0-31 {SLURM}",
        f"would submit: sbatch --dependency=afterok:0 --export=ALL,MERGE=1 {SLURM}",
    ]


def test_the_jobs_fit_together(jobs: dict[str, dict]) -> None:
    parts, merge = jobs["alexnet-prepare"], jobs["alexnet-prepare-merge"]
    assert parts["completionMode"] == "Indexed"
    variables = {}
    for job in (parts, merge):
        (container,) = job["template"]["spec"]["containers"]
        given = {item["name"]: item.get("value") for item in container["env"]}
        used = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
        assert used - {"JOB_COMPLETION_INDEX"} == set(given)  # Kubernetes leaves an unknown one as it stands
        volumes = {volume["name"] for volume in job["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        variables[id(job)] = given
    assert int(variables[id(parts)]["PARTS"]) == parts["completions"]
    assert variables[id(merge)].items() <= variables[id(parts)].items()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    data = tmp_path_factory.mktemp("alone")
    run(
        [
            sys.executable,
            "-m",
            "alexnet_jax.main",
            "prepare",
            "--config=configs/digits.py",
            "--source=digits",
        ],
        data,
    )
    return content(data)


def run(command: list[str], data: Path) -> None:
    environment = os.environ | {"TFDS_DATA_DIR": str(data)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_slurm_here(alone: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)
    done = slurm(
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        SOURCE="digits",
        DATA=str(tmp_path / "data"),
        PARTS="2",
        CONFIG="configs/digits.py",
        PYTHON=sys.executable,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "parts: job 17, merge: job 17\n"
    submitted = (tmp_path / "bin" / "submitted").read_text().splitlines()
    assert submitted[1].startswith("--parsable --dependency=afterok:17 ")
    assert content(tmp_path / "data") == alone


@pytest.mark.slow
def test_kubernetes_here(jobs: dict[str, dict], alone: dict[str, str], tmp_path: Path) -> None:
    given = {
        "CONFIG": "configs/digits.py",
        "SOURCE": "digits",
        "DATA": str(tmp_path),
        "PARTS": "2",
        "CPUS": "1",
    }

    def start(job: dict, index: int) -> None:
        (container,) = job["template"]["spec"]["containers"]
        values = given | {"JOB_COMPLETION_INDEX": str(index)}
        command = [
            re.sub(r"\$\((\w+)\)", lambda named: values[named[1]], word)
            for word in container["command"] + container["args"]
        ]
        run([re.sub(r"(^|until )python\b", rf"\g<1>{sys.executable}", word) for word in command], tmp_path)

    for index in range(2):
        start(jobs["alexnet-prepare"], index)
    start(jobs["alexnet-prepare-merge"], 0)
    assert content(tmp_path) == alone
