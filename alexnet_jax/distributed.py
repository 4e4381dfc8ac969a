"""Several processes that are one run: how they find each other, agree, and end together.

JAX's coordination service, which the first process holds, carries the messages of this module; images,
activations and gradients travel between the devices.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alexnet_jax import program, signals, streams
from alexnet_jax.errors import RunFailure, UsageError, first_line

HEARTBEAT_SECONDS = 30  # a process that is silent for so long counts as dead, and with it the job
START_SECONDS = 300  # how long the first processes wait for the last
WAIT_SECONDS = 1800  # how long the others wait for what the first one looks up
# A process is never so many programs ahead of another: loop and evaluation wait for earlier ones.
STOP_LOOKAHEAD = 8

_started: list[Any] = []  # after `start`: the ctypes callback, which C code may call until the process ends


@dataclass(frozen=True)
class ProcessSpec:
    """Say which process this is of how many.

    Attributes:
      coordinator: HOST:PORT of the first process; empty: JAX finds all three out (TPU).
      processes: how many there are.
      process: which one this is, from 0.
    """

    coordinator: str = ""
    processes: int = 0
    process: int = 0


def resolve_process(
    coordinator: str, processes: int, process: int, environment: Mapping[str, str], on_tpu: bool
) -> ProcessSpec | None:
    """Find out which process this is, from flags, or from what SLURM, Kubernetes or a TPU say.

    `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` stand for the three flags; an indexed
    job of Kubernetes gives the last one as `JOB_COMPLETION_INDEX`.

    Args:
      coordinator: the flag; '' where it is not given.
      processes: the flag; 0 where it is not given.
      process: the flag; -1 where it is not given.
      environment: the variables.
      on_tpu: whether this machine has a TPU.

    Returns:
      None when this process is alone.

    Raises:
      UsageError: some of the flags are missing or out of range.
    """
    present = (coordinator != "", processes != 0, process != -1)
    if any(present):
        if not all(present):
            raise UsageError("several processes need --coordinator=HOST:PORT, --processes=N and --process=I")
        return _checked(coordinator, processes, process, "--coordinator, --processes and --process")
    try:
        if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:  # only what srun starts has it
            first = _first_host(environment["SLURM_STEP_NODELIST"])
            port = 61440 + int(environment["SLURM_JOB_ID"]) % 4096  # two jobs on one node: two ports
            return _checked(
                f"{first}:{port}",
                int(environment["SLURM_STEP_NUM_TASKS"]),
                int(environment["SLURM_PROCID"]),
                "SLURM's variables",
            )
        if "JAX_NUM_PROCESSES" in environment:
            index = environment.get("JAX_PROCESS_ID", environment.get("JOB_COMPLETION_INDEX", "-1"))
            return _checked(
                environment.get("JAX_COORDINATOR_ADDRESS", ""),
                int(environment["JAX_NUM_PROCESSES"]),
                int(index),
                "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID or JOB_COMPLETION_INDEX",
            )
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"the environment says that there are several processes, and not which one this is: {error}"
        ) from None
    return ProcessSpec() if on_tpu else None


def _first_host(nodes: str) -> str:
    """Return the first host of a list as SLURM writes it, such as 'n[1,3-5]-ib,m7'; SLURM unfolds it."""
    first = nodes.partition(",")[0]
    if "[" not in first:
        return first
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        raise UsageError(
            f"SLURM's list of hosts, {nodes}, is unfolded by `scontrol show hostnames`, which does not "
            "work here: give --coordinator=HOST:PORT, --processes and --process"
        ) from None


def _checked(coordinator: str, processes: int, process: int, source: str) -> ProcessSpec | None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"{source}: the first process is at {coordinator!r}, it must be HOST:PORT")
    if processes < 1 or not 0 <= process < processes:
        raise UsageError(f"{source}: process {process} of {processes}; they count from 0")
    return ProcessSpec(coordinator, processes, process) if processes > 1 else None


def machine_has_tpu() -> bool:
    """Return whether JAX would look for the other machines of a TPU from here."""
    from jax._src import cloud_tpu_init

    return bool(cloud_tpu_init.running_in_cloud_tpu_vm) and os.environ.get("JAX_PLATFORMS") != "cpu"


def start(spec: ProcessSpec) -> None:
    """Join the other processes; call it once, before anything is computed.

    From then on a process that ends without a word, or stands still, ends the others: within about twice
    `HEARTBEAT_SECONDS`.

    Raises:
      RunFailure: they did not all come within `START_SECONDS`.
    """
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # the loop has its own orderly stop
    limits: Any = {"initialization_timeout": START_SECONDS, "heartbeat_timeout_seconds": HEARTBEAT_SECONDS}
    try:
        if spec.coordinator:
            jax.distributed.initialize(
                spec.coordinator,
                spec.processes,
                spec.process,
                cluster_detection_method="deactivate",
                **limits,
            )
        else:
            jax.distributed.initialize(**limits)
    except ValueError as error:
        if spec.coordinator:
            raise
        print(f"no other machine of this TPU is known: it trains alone ({error})", file=sys.stderr)
        return
    except RuntimeError as error:
        at = f" at {spec.coordinator}" if spec.coordinator else ""
        raise RunFailure(
            f"the processes of this run have not found each other{at}: {first_line(error)}"
        ) from error
    _end_with_the_others()


def _end_with_the_others() -> None:
    """Exit with a line where JAX, when another process is dead, would abort with code 134.

    The code is 1, or that of the signal at which this process was stopping.
    """
    libc = ctypes.CDLL(None)

    def end(number: int) -> None:
        text = (
            f"{program.name()}: {prefix()}another process of this run has died, and with it the run (its own "
            "last lines say why); the same command resumes from the last checkpoint\n"
        )
        streams.say_at_once(text)
        os._exit(signals.exit_code(otherwise=1))

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    _started.append(handler)
    libc.signal(signal.SIGABRT, handler)


def prefix() -> str:
    """Return 'process 3: ' in a run of several processes, for messages of one of them; else ''."""
    return f"process {_process()}: " if _started else ""


def explain() -> str:
    """Return what an unexpected error in a run of several processes may mean besides; else ''."""
    if not _started:
        return ""
    return (
        "; this is also how it shows when another process of this run has died (its own last lines say why): "
        "the same command resumes from the last checkpoint"
    )


def is_primary() -> bool:
    """Return whether this is the run's first process, or its only one."""
    return not _started or _process() == 0


def _process() -> int:
    from jax._src import distributed  # jax.process_index() would wait for the others' devices

    return distributed.global_state.process_id


def shutdown(code: int, orderly: bool) -> None:
    """End this process's part of the run.

    Args:
      code: its exit code.
      orderly: whether all processes come to this end. If not, the process ends here, at once: the others
        may be waiting for it.
    """
    if not _started:
        return
    if orderly:
        import jax

        jax.distributed.shutdown()
        return
    sys.stdout.flush()
    sys.stderr.flush()
    if _process() == 0:
        time.sleep(1)  # what is wrong for all, all report: the others end when the first is gone
    os._exit(code)


class Group:
    """Exchange messages between the processes of a run. In a run of one process nothing is sent.

    All processes must make the same calls in the same order.
    """

    def __init__(self) -> None:
        import jax
        from jax._src import distributed  # what Orbax uses too; there is no public name for it

        self.process, self.processes = jax.process_index(), jax.process_count()
        self._client: Any = distributed.global_state.client if self.processes > 1 else None
        self._shared = self._ticks = 0
        self._announced = False
        self._stop: tuple[int, int] | None = None  # the tick of an announced stop, and its signal

    @property
    def is_primary(self) -> bool:
        """Return whether this is the process that logs and writes."""
        return self.process == 0

    def broadcast_from_primary(self, find: Callable[[], Any]) -> Any:
        """Return what `find` gives on the first process, as JSON carries it: the others do not call it.

        Raises:
          UsageError, RunFailure: it did there.
        """
        if self._client is None:
            return find()
        self._shared += 1
        key = f"alexnet/shared/{self._shared}"
        if not self.is_primary:
            answer = json.loads(self._client.blocking_key_value_get(key, WAIT_SECONDS * 1000))
            if "error" in answer:
                raise {2: UsageError, 1: RunFailure}[answer["code"]](answer["error"])
            return answer["value"]
        try:
            value = find()
        except (UsageError, RunFailure) as error:
            self._client.key_value_set(key, json.dumps({"error": str(error), "code": error.exit_code}))
            raise
        self._client.key_value_set(key, json.dumps({"value": value}))
        return value

    def agreed_stop_signal(self, wanted: int) -> int:
        """Return the signal at which all processes stop now, 0 to continue.

        Each process asks before each program that it starts. The first that gets a signal names a tick that
        none has reached: the others cannot be further than `STOP_LOOKAHEAD` programs ahead, as each program
        needs all processes, and so they hear of it in time.

        Args:
          wanted: the signal that this process got, 0 for none.
        """
        if self._client is None:
            return wanted
        self._ticks += 1
        if wanted and not self._announced and self._stop is None:
            self._announced = True
            announcement = json.dumps([self._ticks + STOP_LOOKAHEAD, wanted])
            try:
                self._client.key_value_set("alexnet/stop/all", announcement)
            except Exception as error:  # jaxlib has no type of its own for it
                if "ALREADY_EXISTS" not in str(error):
                    raise
        if self._stop is None:
            announcements = self._client.key_value_dir_get("alexnet/stop/")
            if announcements:
                self._stop = tuple(json.loads(announcements[0][1]))
        return self._stop[1] if self._stop is not None and self._ticks >= self._stop[0] else 0
