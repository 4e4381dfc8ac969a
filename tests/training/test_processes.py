"""Several processes of one machine are one run: the same numbers, wherever towers and pictures lie."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# processes, simulated devices of each, meshes: pictures across processes, towers across them, both
GROUPS = {"2": (2, 1, ("2x1", "1x2")), "2 of 2": (2, 2, ("2x2",)), "4": (4, 1, ("4x1", "2x2"))}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def environment(devices: int) -> dict[str, str]:
    """One thread for each process's arithmetic: the machine may have fewer cores than the group processes."""
    flags = f"--xla_force_host_platform_device_count={devices} --xla_cpu_multi_thread_eigen=false"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


def run_group(folder, output, processes, devices, meshes):
    coordinator = f"localhost:{free_port()}"
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.several_processes", coordinator, str(processes)]
            + [str(process), folder, str(output), *meshes],
            cwd=ROOT,
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(processes)
    ]
    try:
        told = [process.communicate(timeout=300)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * processes, "\n".join(told)
    with np.load(output) as found:
        return dict(found)


@pytest.fixture(scope="module")
def alone(digits_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("alone") / "found.npz"
    return run_group(digits_folder, output, 1, 1, ["1x1"])


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_losses_updates_and_evaluation_are_the_single_processs(group, alone, digits_folder, tmp_path):
    processes, devices, meshes = GROUPS[group]
    found = run_group(digits_folder, tmp_path / "found.npz", processes, devices, meshes)
    for mesh in meshes:
        for dtype, tolerance, steps in (("float32", 1e-5, 5), ("float64", 1e-9, 20)):
            expected = {
                key.removeprefix(f"1x1/{dtype}/"): v for key, v in alone.items() if f"1x1/{dtype}/" in key
            }
            assert len(expected["losses"]) == steps
            assert expected["validation"][2] == 150  # of 44 at a time: the last batch is padded
            assert expected["classes"][:, 0].sum() == 150
            for key, value in expected.items():
                mine = found[f"{mesh}/{dtype}/{key}"]
                worst = np.abs(mine - value).max()
                where = f"{group} processes, {mesh}, {dtype}, {key}"
                assert worst <= tolerance * np.abs(value).max(), f"{where}: off by {worst:.2g}"
