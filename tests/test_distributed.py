"""Which process this is, what the processes send each other, and how they stop together."""

import json
import os

import pytest

from alexnet_jax import distributed
from alexnet_jax.distributed import Group, ProcessSpec, resolve_process
from alexnet_jax.errors import RunFailure, UsageError

SLURM = {"SLURM_JOB_ID": "5000", "SLURM_STEP_NUM_TASKS": "6", "SLURM_PROCID": "3"}


@pytest.mark.parametrize(
    ("flags", "environment", "spec"),
    [
        (("", 0, -1), {}, None),
        (("host:1234", 4, 0), {}, ProcessSpec("host:1234", 4, 0)),
        (("host:1234", 1, 0), {}, None),
        (("host:1", 4, 2), SLURM, ProcessSpec("host:1", 4, 2)),  # flags come first
        (("", 0, -1), SLURM | {"SLURM_STEP_NODELIST": "n7"}, ProcessSpec("n7:62344", 6, 3)),
        (("", 0, -1), SLURM | {"SLURM_STEP_NODELIST": "n7,m[1-5]"}, ProcessSpec("n7:62344", 6, 3)),
        (("", 0, -1), SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, None),  # srun of one
        (("", 0, -1), {"SLURM_JOB_ID": "5", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # no srun
        (
            ("", 0, -1),
            {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JOB_COMPLETION_INDEX": "1"},
            ProcessSpec("a:1", 2, 1),
        ),
    ],
)
def test_process_specs(flags, environment, spec):
    assert resolve_process(*flags, environment, False) == spec  # type: ignore[call-arg]


@pytest.mark.parametrize("nodes", ["gpu-[007,9-12]", "n[1,3]-ib,m7", "r[1-2]n[3-4]", "n[7]"])
def test_slurm_unfolds_its_lists(nodes, tmp_path, monkeypatch):
    """As `scontrol show hostnames` does, a host a line; this one knows the four lists."""
    hosts = {"gpu-[007,9-12]": "gpu-007", "n[1,3]-ib,m7": "n1-ib", "r[1-2]n[3-4]": "r1n3", "n[7]": "n7"}
    cases = "\n".join(
        f"'show hostnames {nodes}') printf '{host}\\nlast\\n';;" for nodes, host in hosts.items()
    )
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\n*) exit 1;;\nesac\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    environment = SLURM | {"SLURM_STEP_NODELIST": nodes}
    assert resolve_process("", 0, -1, environment, False) == ProcessSpec(f"{hosts[nodes]}:62344", 6, 3)
    (tmp_path / "scontrol").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="unfolded by `scontrol show hostnames`, which does not work here"):
        resolve_process("", 0, -1, environment, False)


def test_on_a_tpu_jax_finds_the_process():
    assert resolve_process("", 0, -1, {}, True) == ProcessSpec()


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        (("host:1234", 4, -1), {}, "need --coordinator=HOST:PORT, --processes=N and --process=I"),
        (("", 4, 0), {}, "need --coordinator=HOST:PORT"),
        (("host", 4, 0), {}, "'host', it must be HOST:PORT"),
        (("host:1", 4, 4), {}, "process 4 of 4"),
        (("", 0, -1), SLURM, "and not which one this is: 'SLURM_STEP_NODELIST'"),
        (("", 0, -1), {"JAX_NUM_PROCESSES": "two"}, "and not which one this is"),
        (("", 0, -1), {"JAX_NUM_PROCESSES": "2"}, "it must be HOST:PORT"),
    ],
)
def test_process_specs_that_are_refused(flags, environment, words):
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        resolve_process(*flags, environment, False)  # type: ignore[call-arg]


class Service:
    """The part of the coordination service that a group uses, in this process."""

    def __init__(self):
        self.values = {}

    def key_value_set(self, key, value):
        if key in self.values:
            raise RuntimeError(f"ALREADY_EXISTS: {key}")
        self.values[key] = value

    def blocking_key_value_get(self, key, milliseconds):
        return self.values[key]

    def key_value_dir_get(self, prefix):
        return [(key, value) for key, value in self.values.items() if key.startswith(prefix)]


def members(count):
    service, groups = Service(), []
    for process in range(count):
        group = Group()
        group.process, group.processes, group._client = process, count, service
        groups.append(group)
    return groups


def test_what_the_first_finds_the_others_get():
    first, second = members(2)

    def never():
        raise AssertionError("the others do not look themselves")

    assert first.broadcast_from_primary(lambda: (1, {"a": None})) == (1, {"a": None})
    assert second.broadcast_from_primary(never) == [1, {"a": None}]
    for kind in (UsageError, RunFailure):

        def fail(kind=kind):
            raise kind("the disk is full")

        for group in (first, second):
            with pytest.raises(kind, match="the disk is full"):
                group.broadcast_from_primary(fail)


@pytest.mark.parametrize("behind", range(distributed.STOP_LOOKAHEAD))
def test_all_stop_at_one_tick_however_far_apart_they_are(behind):
    groups = members(3)
    ahead = [behind, 0, behind // 2]  # ticks that a process has made before the one that gets the signal
    stopped = [0, 0, 0]
    for process, group in enumerate(groups):
        for _ in range(5 + ahead[process]):
            assert group.agreed_stop_signal(0) == 0
    for tick in range(40):
        for process, group in enumerate(groups):
            number = 6 + tick + ahead[process]
            wanted = {1: 15 if tick >= 0 else 0, 0: 2 if tick >= 3 else 0, 2: 0}[process]
            if not stopped[process]:
                # the one that gets the signal asks first in its round
                order = groups[1].agreed_stop_signal(15) if process == 0 and tick == 0 else 0
                assert order == 0
                if process == 1 and tick == 0:
                    continue
                agreed = group.agreed_stop_signal(wanted)
                if agreed:
                    assert agreed == 15
                    stopped[process] = number
    assert len(set(stopped)) == 1
    published = [json.loads(v) for k, v in groups[0]._client.values.items() if k.startswith("alexnet/stop")]
    assert published == [[6 + distributed.STOP_LOOKAHEAD, 15]]


def test_alone_a_stop_is_at_once():
    group = Group()
    assert group.agreed_stop_signal(0) == 0
    assert group.agreed_stop_signal(15) == 15
    assert group.broadcast_from_primary(lambda: {1, 2}) == {1, 2}
