"""Work that several processes share."""

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

from alexnet_jax.data import memory
from alexnet_jax.errors import RunFailure
from alexnet_jax.progress import Progress

Task = TypeVar("Task")
Result = TypeVar("Result")
Workers = dict[Connection, SpawnProcess]
END_SECONDS = 5.0  # after which a process that was told to end is killed: one that is stopped does not hear


def run_in_processes(
    tasks: Iterator[Task],
    work: Callable[[Task, Callable[[int], None]], Result],
    processes: int,
    progress: Progress,
) -> Iterator[Result]:
    """Do tasks in processes, and iterate over what they return, in the order in which they are done.

    A task is taken from `tasks` when a process will soon want it, which bounds the memory. Each process
    listens to a pipe of its own: when this process dies, however, its next message fails and it ends too.
    They are spawned: a fork of a process that runs JAX's threads may hang. They end when the iterator does,
    and when it is closed.

    Args:
      tasks: what `work` takes; must be picklable, as what it returns.
      work: a function of a module, called with a task and with `report_progress`, which takes the number of
        items done since it was last called.
      processes: how many.
      progress: counts the items.

    Raises:
      What a task raised. RunFailure: a process died, or none can be started.
    """
    workers: Workers = {}
    context = multiprocessing.get_context("spawn")
    try:
        budget = memory.MemoryBudget(context)  # of all of them together; it must live until they have it
    except OSError as error:
        raise RunFailure(f"processes need semaphores, which /dev/shm refuses: {error.strerror}") from error
    try:
        _start(workers, context, (work, budget), processes)
        idle, ahead, more = set(workers), deque[Task](), True
        while True:
            if more and len(ahead) < processes:
                try:
                    ahead.append(next(tasks))
                except StopIteration:
                    more = False
            while idle and ahead:
                connection = idle.pop()
                with contextlib.suppress(BrokenPipeError):  # it died: reading shows it
                    connection.send(ahead.popleft())
            busy = [connection for connection in workers if connection not in idle]
            if not busy:
                return
            for ready in wait(busy, 0 if more and len(ahead) < processes else None):
                assert isinstance(ready, Connection)
                try:
                    kind, value = ready.recv()
                except (EOFError, ConnectionResetError):
                    workers[ready].join()
                    raise RunFailure(
                        f"a process ended with exit code {workers[ready].exitcode} (-9: killed, perhaps "
                        "out of memory); what is done stays: the same command resumes"
                    ) from None
                if kind == "failed":
                    raise value
                if kind == "progress":
                    progress.update(value)
                else:
                    idle.add(ready)
                    yield value
    finally:
        _end(workers)


def _start(workers: Workers, context: SpawnContext, given: tuple[Any, ...], processes: int) -> None:
    """Start processes that serve with what is `given`, and put each into `workers` with its pipe.

    Ctrl-C reaches every process of a terminal. These inherit that they do not hear it; this one ends them.
    The resource tracker is started before, since its start would open the mask again.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(processes):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, *given), daemon=True)
            process.start()
            there.close()
            workers[here] = process
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(workers: Workers) -> None:
    """End the processes, and close their pipes."""
    for process in workers.values():
        process.terminate()
    until = time.monotonic() + END_SECONDS
    for connection, process in workers.items():
        process.join(max(until - time.monotonic(), 0))
        process.kill()
        process.join()
        connection.close()


def _serve(
    connection: Connection, work: Callable[[Any, Callable[[int], None]], Any], budget: memory.MemoryBudget
) -> None:
    """Serve tasks in a worker, until it is ended or the other end of its pipe is gone."""
    memory.share(budget)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            try:
                answer = "done", work(task, lambda count: connection.send(("progress", count)))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                connection.send(("failed", error))
                return
            connection.send(answer)
