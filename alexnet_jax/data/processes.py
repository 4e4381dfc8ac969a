"""Work that several processes share."""

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from alexnet_jax.errors import RunFailure
from alexnet_jax.progress import Progress


def crew(
    tasks: Iterator[Any],
    work: Callable[[Any, Callable[[int], None]], list[str]],
    processes: int,
    progress: Progress,
) -> Iterator[list[str]]:
    """Does tasks in `processes` processes; yields what they return, in the order in which they are done.

    A task is taken from `tasks` when a process will soon want it, which bounds the memory. Each process
    hangs on a pipe of its own: when this one dies, however, its next word fails and it ends too. They are
    spawned: a fork of a process that runs JAX's threads may hang.

    Raises:
      What a task raised. RunFailure: a process died.
    """
    context = multiprocessing.get_context("spawn")
    members: dict[Connection, Any] = {}
    try:
        # Ctrl-C reaches every process of a terminal. These inherit that they do not hear it; this one ends
        # them. The tracker is started before, since its start would open the mask again.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(processes):
                here, there = context.Pipe()
                process = context.Process(target=_serve, args=(there, work), daemon=True)
                process.start()
                there.close()
                members[here] = process
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        idle, ahead, more = set(members), deque[Any](), True
        while True:
            if more and len(ahead) < processes:
                try:
                    ahead.append(next(tasks))
                except StopIteration:
                    more = False
            while idle and ahead:
                connection = idle.pop()
                with contextlib.suppress(BrokenPipeError):  # it died: reading tells
                    connection.send(ahead.popleft())
            busy = [connection for connection in members if connection not in idle]
            if not busy:
                return
            for ready in wait(busy, 0 if more and len(ahead) < processes else None):
                assert isinstance(ready, Connection)
                try:
                    what, value = ready.recv()
                except (EOFError, ConnectionResetError):
                    members[ready].join()
                    raise RunFailure(
                        f"a process ended with exit code {members[ready].exitcode} (-9: killed, perhaps for "
                        "want of memory); what is done stays: the same command goes on"
                    ) from None
                if what == "failed":
                    raise value
                if what == "told":
                    progress.update(value)
                else:
                    idle.add(ready)
                    yield value
    finally:
        for connection, process in members.items():
            process.terminate()
            process.join()
            connection.close()


def _serve(connection: Connection, work: Callable[[Any, Callable[[int], None]], list[str]]) -> None:
    """What a process of the crew runs, until it is ended or the other end of its pipe is gone."""
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            try:
                answer = "done", work(task, lambda count: connection.send(("told", count)))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                connection.send(("failed", error))
                return
            connection.send(answer)
