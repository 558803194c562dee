"""GroupCommit: one thread, requests in their order, shared batches, settled on the callers' loops."""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from cascade.runtime._storage import group_commit
from cascade.runtime._storage.group_commit import GroupCommit, Request
from cascade.testkit.leaks import no_leaks
from cascade.testkit.waiting import eventually


@dataclass(slots=True, eq=False)
class Do(Request):
    action: Callable[[], Any]


class Store:
    """Does what it is asked, and notes the size of each batch; ``gate`` holds it before a batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()

    def serve(self, batch: Sequence[Do]) -> None:
        self.gate.wait(50)
        self.batches.append(len(batch))
        for request in batch:
            try:
                request.result = request.action()
            except ValueError as exc:
                request.error = exc

    def close(self) -> None:
        self.closed += 1


def opened(store: Store, **options: Any) -> GroupCommit[Do]:
    return GroupCommit(store, name="test file", **options)


async def test_each_caller_gets_its_own_result_or_error() -> None:
    """One request that fails affects no other of its batch."""
    commit = opened(Store())
    answers = await asyncio.gather(
        commit.call(Do(lambda: 1)),
        commit.call(Do(lambda: int("x"))),
        commit.call(Do(lambda: 3)),
        return_exceptions=True,
    )
    await commit.stop()
    assert [answers[0], type(answers[1]), answers[2]] == [1, ValueError, 3]


async def test_waiting_requests_share_a_batch_of_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives while the thread is busy is served at once, at most MAX_BATCH of it."""
    monkeypatch.setattr(group_commit, "MAX_BATCH", 40)
    store = Store()
    commit = opened(store)
    store.gate.clear()
    first = commit.call(Do(lambda: 0))
    await eventually(lambda: commit.waiting == 0)
    rest = [commit.call(Do(partial(int, n))) for n in range(100)]
    store.gate.set()
    assert await asyncio.gather(first, *rest) == [0, *range(100)]
    await commit.stop()
    assert store.batches == [1, 40, 40, 20]


async def test_requests_are_served_in_their_order() -> None:
    """Those with and those without a waiting caller are in one queue."""
    store, order, calls = Store(), list[int](), list[asyncio.Future[Any]]()
    commit = opened(store)
    for n in range(0, 300, 3):
        commit.post(Do(partial(order.append, n)))
        calls.append(commit.call(Do(partial(order.append, n + 1))))
        commit.post(Do(partial(order.append, n + 2)))
    await asyncio.gather(*calls)
    await commit.stop()
    assert order == list(range(300))


async def test_a_request_without_a_caller_waits_for_one_to_share_its_batch() -> None:
    """It waits for at most ``linger`` seconds: here, for ever long."""
    store = Store()
    commit = opened(store, linger=1000.0)
    commit.post(Do(int))
    await eventually(lambda: commit.waiting == 0)
    await commit.call(Do(int))
    await commit.stop()
    assert store.batches == [2]


async def test_a_stop_does_not_wait_for_further_requests() -> None:
    """What is queued is served first, and the thread ends."""
    store = Store()
    async with no_leaks():
        commit = opened(store, linger=1000.0)
        commit.post(Do(int))
        await commit.stop()
    assert (store.batches, store.closed) == ([1], 1)
    with pytest.raises(RuntimeError, match="test file: its thread has ended"):
        await commit.call(Do(int))


async def test_a_cancelled_caller_does_not_withdraw_its_request() -> None:
    """A commit that has been asked for is made."""
    store, done = Store(), list[int]()
    commit = opened(store)
    store.gate.clear()
    assert commit.call(Do(partial(done.append, 1))).cancel()
    store.gate.set()
    await commit.stop()
    assert done == [1]


async def test_an_internal_error_is_the_error_of_every_request_of_its_batch() -> None:
    """What was served before it may not be in the file: no caller takes its request for done."""
    store = Store()
    commit = opened(store)
    store.gate.clear()
    first = commit.call(Do(int))
    await eventually(lambda: commit.waiting == 0)
    calls = [commit.call(Do(action)) for action in (int, lambda: 1 / 0, int)]
    store.gate.set()
    answers = await asyncio.gather(first, *calls, return_exceptions=True)
    await commit.stop()
    assert answers[0] == 0
    assert [type(answer) for answer in answers[1:]] == [ZeroDivisionError] * 3


async def test_an_idle_thread_keeps_no_request() -> None:
    """A value is released when it is stored."""
    commit = opened(Store())

    class Value:
        def use(self) -> None: ...

    value = Value()
    seen = weakref.ref(value)
    await commit.call(Do(value.use))
    del value
    await eventually(lambda: seen() is None)
    await commit.stop()


def test_a_result_for_a_closed_loop_is_dropped() -> None:
    """The thread goes on, and a caller on another loop is served."""
    store = Store()
    commit = opened(store)
    store.gate.clear()

    async def walk_away() -> None:
        assert commit.call(Do(int)).cancel()

    asyncio.run(walk_away())
    store.gate.set()

    async def use() -> Any:
        answer = await commit.call(Do(lambda: 2))
        await commit.stop()
        return answer

    assert asyncio.run(use()) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_forked_child_is_refused() -> None:
    """It would wait for ever for a thread that it does not have."""
    commit = opened(Store())
    child = os.fork()
    if child == 0:
        try:
            commit.post(Do(int))
        except RuntimeError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    await commit.stop()
