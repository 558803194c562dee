"""GroupCommit: one thread, requests in their order, shared batches, settled on the callers' loops."""

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from cascade.runtime._storage import group_commit
from cascade.runtime._storage.group_commit import GroupCommit, Request
from cascade.testkit.waiting import eventually


@dataclass(slots=True, eq=False)
class Do(Request):
    action: Callable[[], Any]


class Store:
    """Does what it is asked, and notes the size of each batch; ``gate`` holds it before a batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.closed = 0
        self.reached = False
        self.gate = threading.Event()
        self.gate.set()

    def serve(self, batch: Sequence[Do]) -> None:
        self.reached = True
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


async def test_waiting_requests_share_a_batch_of_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives while the thread is busy is served at once, at most MAX_BATCH of it."""
    monkeypatch.setattr(group_commit, "MAX_BATCH", 40)
    store = Store()
    commit = opened(store)
    store.gate.clear()
    first = commit.call(Do(lambda: 0))
    await eventually(lambda: store.reached)
    rest = [commit.call(Do(partial(int, n))) for n in range(100)]
    store.gate.set()
    assert await asyncio.gather(first, *rest) == [0, *range(100)]
    await commit.stop()
    assert store.batches == [1, 40, 40, 20]


async def test_an_internal_error_is_the_error_of_every_request_of_its_batch() -> None:
    """What was served before it may not be in the file: no caller takes its request for done."""
    store = Store()
    commit = opened(store)
    store.gate.clear()
    first = commit.call(Do(int))
    await eventually(lambda: store.reached)
    calls = [commit.call(Do(action)) for action in (int, lambda: 1 / 0, int)]
    store.gate.set()
    answers = await asyncio.gather(first, *calls, return_exceptions=True)
    await commit.stop()
    assert answers[0] == 0
    assert [type(answer) for answer in answers[1:]] == [ZeroDivisionError] * 3


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
