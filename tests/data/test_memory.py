"""The budget of decoded pixels, by threads and by processes that record how much they hold at once."""

import multiprocessing
import threading
import time
from multiprocessing.synchronize import Event

import pytest

from alexnet_jax.data import memory

MIB = 2**20


def test_all_together_stay_within_it() -> None:
    budget, lock, held, most = memory.MemoryBudget(), threading.Lock(), 0, 0

    def work(size: int) -> None:
        nonlocal held, most
        for _ in range(20):
            with budget.reserve(size):
                with lock:
                    held += size
                    most = max(most, held)
                time.sleep(0.0002)
                with lock:
                    held -= size

    sizes = [1, 100 * MIB, 300 * MIB, 500 * MIB, 700 * MIB, memory.BUDGET]
    threads = [threading.Thread(target=work, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert most <= memory.BUDGET


def test_a_large_one_is_not_passed_by_small_ones() -> None:
    budget, came = memory.MemoryBudget(), []

    def work(size: int, name: str) -> None:
        with budget.reserve(size):
            came.append(name)

    with budget.reserve(MIB):
        large = threading.Thread(target=work, args=(memory.BUDGET, "large"))
        large.start()
        while not budget._turn.locked():  # until it waits
            time.sleep(0.001)
        small = threading.Thread(target=work, args=(MIB, "small"))
        small.start()
        time.sleep(0.05)
        assert came == []
    large.join(60)
    small.join(60)
    assert came == ["large", "small"]


def test_what_fails_releases_and_more_than_all_is_all() -> None:
    budget = memory.MemoryBudget()
    for _ in range(3):
        with pytest.raises(KeyError), budget.reserve(10 * memory.BUDGET):
            raise KeyError
    with budget.reserve(memory.BUDGET):
        pass


def hold(budget: memory.MemoryBudget, holds: Event, release: Event) -> None:
    memory.share(budget)
    with memory.reserve(memory.BUDGET // 2 + MIB):
        holds.set()
        release.wait(60)


def test_processes_share_one() -> None:
    context = multiprocessing.get_context("spawn")
    budget, release = memory.MemoryBudget(context), context.Event()
    events = [context.Event() for _ in range(2)]
    workers = [context.Process(target=hold, args=(budget, holds, release)) for holds in events]
    for worker in workers:
        worker.start()
    first = next(event for event in iter(lambda: next((e for e in events if e.wait(0.05)), None), 0) if event)
    other = events[1 - events.index(first)]
    assert not other.wait(0.5)  # there is not room for two
    release.set()
    assert other.wait(60)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
