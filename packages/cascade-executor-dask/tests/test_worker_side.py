"""Calls in a worker and the orders to them, in whatever order messages arrive; the worker is a stand-in."""

import asyncio
import base64
import json
import os
import pickle
import threading
import time
import uuid
from collections.abc import Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest

from cascade.executors.dask import _worker_side
from cascade.executors.dask._worker_side import (
    RUN,
    NotStarted,
    Order,
    close_session,
    confirm_values,
    direct_calls,
    open_session,
    run_call,
)
from cascade.interfaces import Directive
from cascade.interfaces.call_context import in_call
from cascade.interfaces.pickled_calls import open_answer, pack_call

LIMIT = 20.0
PAUSE: Order = (1, Directive.PAUSE)
GO: Order = (2, Directive.RUN)
STOP: Order = (3, Directive.CANCEL)


class Worker:
    """A Dask worker, which keeps what its calls report."""

    address = "tcp://press:1"

    def __init__(self) -> None:
        self.plugins: dict[str, Any] = {}
        self.texts: SimpleQueue[str] = SimpleQueue()
        self.task = SimpleNamespace(state="executing")
        self.state = SimpleNamespace(tasks={"key": self.task})

    def get_current_task(self) -> str:
        return "key"

    def log_event(self, topic: str, text: str) -> None:
        self.texts.put(text)

    async def plugin_add(self, plugin: Any, name: str) -> None:
        self.plugins[name] = plugin

    async def plugin_remove(self, name: str) -> None:
        await self.plugins.pop(name).teardown(self)

    def next(self) -> list[Any]:
        report: list[Any] = json.loads(self.texts.get(timeout=LIMIT))
        return report


def visit(progress: Any = None) -> str:
    """Reach one checkpoint."""
    call = in_call.get()
    assert call is not None
    call.checkpoint(progress)
    return "passed"


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    made = Worker()
    monkeypatch.setattr(_worker_side, "get_worker", lambda: made)
    return made


@pytest.fixture
def session(worker: Worker) -> Iterator[str]:
    name = uuid.uuid4().hex
    asyncio.run(open_session(name, worker))
    yield name
    asyncio.run(close_session(name, worker))


def publish(values: list[str]) -> str:
    """Publish values, one after the other."""
    call = in_call.get()
    assert call is not None
    for value in values:
        call.publish("row", value)
    return "published"


def packed(function: Any, *args: Any) -> bytes:
    return pack_call(function, args, {}, pack=cloudpickle.dumps)


class Running:
    """A call in a thread of its own, with its outcome."""

    def __init__(
        self, session: str, number: int, order: Order = RUN, *, values: list[str] | None = None
    ) -> None:
        self._answers: SimpleQueue[Any] = SimpleQueue()
        call = packed(visit) if values is None else packed(publish, values)
        run = lambda: self._answers.put(run_call(session, number, call, order))  # noqa: E731
        threading.Thread(target=run, daemon=True).start()

    def outcome(self) -> Any:
        return open_answer(self._answers.get(timeout=LIMIT), "visit")


def test_a_call_runs_only_in_the_process_whose_session_is_open(session: str, worker: Worker) -> None:
    """Another process has replaced the one that the call was sent to, which may have run it."""
    answer = run_call(session, 1, packed(os.getpid))
    assert isinstance(answer, bytes)
    assert open_answer(answer, "getpid") == os.getpid()
    asyncio.run(close_session(session, worker))
    asyncio.run(close_session(session, worker))
    assert run_call(session, 2, pickle.dumps("no call at all")) is NotStarted.NO_SESSION
    direct_calls(session, {1: PAUSE})
    confirm_values(session, {1: 7})


@pytest.mark.parametrize("sent_with_it", [False, True])
def test_a_call_that_was_cancelled_before_never_starts(sent_with_it: bool, session: str) -> None:
    """Whether the order came first or with the call; the others run."""
    if not sent_with_it:
        direct_calls(session, {1: STOP})
    order = STOP if sent_with_it else RUN
    assert run_call(session, 1, pickle.dumps("no call at all"), order) is NotStarted.GIVEN_UP
    assert Running(session, 2).outcome() == "passed"


def test_a_call_waits_until_it_may_go_on(session: str, worker: Worker) -> None:
    """It says both."""
    call = Running(session, 1, PAUSE)
    assert worker.next() == [1, "arrived", [True]]
    direct_calls(session, {1: GO})
    assert call.outcome() == "passed"
    assert worker.next() == [1, "arrived", [False]]


def test_an_order_that_comes_before_its_call_is_kept(session: str, worker: Worker) -> None:
    """The pause overtook the call."""
    direct_calls(session, {1: PAUSE})
    call = Running(session, 1)
    assert worker.next() == [1, "arrived", [True]]
    direct_calls(session, {1: STOP})
    with pytest.raises(asyncio.CancelledError):
        call.outcome()


def test_the_end_of_a_pause_may_overtake_the_call(session: str, worker: Worker) -> None:
    """The call was sent with the pause: it would wait for ever."""
    direct_calls(session, {1: GO})
    assert Running(session, 1, PAUSE).outcome() == "passed"
    assert worker.texts.empty()


@pytest.mark.full
def test_a_paused_call_ends_when_no_task_awaits_it(session: str, worker: Worker) -> None:
    """Its engine has died: nothing else would ever end the pause."""
    call = Running(session, 1, PAUSE)
    assert worker.next() == [1, "arrived", [True]]
    worker.task.state = "released"
    with pytest.raises(asyncio.CancelledError):
        call.outcome()


ROW = json.dumps([1, "data", ["row", "x" * 100]])


@pytest.fixture
def narrow(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A session in which three rows of a call may be on the way."""
    name = uuid.uuid4().hex
    monkeypatch.setattr(_worker_side, "WINDOW", 3 * len(ROW))
    asyncio.run(open_session(name, worker))
    yield name
    asyncio.run(close_session(name, worker))


def wait_until_it_waits(session: str) -> None:
    """Return when the call waits until a value is confirmed."""
    until = time.monotonic() + LIMIT
    while True:
        running = _worker_side._sessions[session]._running
        if running and running[1].window.waiting:
            return
        assert time.monotonic() < until
        time.sleep(0.001)


def test_a_call_waits_until_its_values_are_confirmed(narrow: str, worker: Worker) -> None:
    """So the queues between a worker and its engine have a bound; a confirmation that is late changes nothing."""
    call = Running(narrow, 1, values=["x" * 100] * 10)
    for taken in (3, 6, 9):
        wait_until_it_waits(narrow)
        said = [worker.next() for _ in range(3)]
        assert said == [json.loads(ROW)] * 3
        assert worker.texts.empty()
        confirm_values(narrow, {1: (taken - 3) * len(ROW), 2: 10**9})
        wait_until_it_waits(narrow)
        assert worker.texts.empty()
        confirm_values(narrow, {1: taken * len(ROW)})
    assert call.outcome() == "published"
    assert worker.next() == json.loads(ROW)


@pytest.mark.parametrize("how", ["cancelled", "closed", "not awaited"])
def test_a_call_that_waits_to_publish_goes_on_when_no_task_takes_its_values(
    how: str, narrow: str, worker: Worker
) -> None:
    """What has no room is dropped."""
    call = Running(narrow, 1, values=["x" * 100] * 10)
    wait_until_it_waits(narrow)
    if how == "cancelled":
        direct_calls(narrow, {1: STOP})
    elif how == "closed":
        asyncio.run(close_session(narrow, worker))
    else:
        worker.task.state = "released"
    assert call.outcome() == "published"
    assert worker.texts.qsize() == 3


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        ((1, None, "", ""), [[7, "progress", [1, None, "", ""]]]),
        ((1.5, 10, "\udc80", "rows"), [[7, "progress", [1.5, 10, "\udc80", "rows"]]]),
        ((1, 2, "x" * 5_000, ""), []),
        ((10**5_000, 2, "", ""), []),
    ],
)
def test_progress_is_sent_if_it_can_be(progress: Any, said: list[Any], session: str, worker: Worker) -> None:
    """Nothing that a task reports fails it."""
    answer = run_call(session, 7, packed(visit, progress))
    assert isinstance(answer, bytes)
    assert open_answer(answer, "visit") == "passed"
    assert in_call.get() is None
    assert [worker.next() for _ in said] == said
    assert worker.texts.empty()


def test_orders_to_calls_that_do_not_run_are_bounded(
    session: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earliest ones are dropped; a call that runs keeps its order, so that an earlier one cannot replace it."""
    monkeypatch.setattr(_worker_side, "_EARLY_ORDERS", 2)
    call = Running(session, 1, PAUSE)
    assert worker.next() == [1, "arrived", [True]]
    direct_calls(session, dict.fromkeys(range(2, 9), GO))
    assert [*_worker_side._sessions[session]._orders] == [1, 7, 8]
    direct_calls(session, {1: PAUSE})
    direct_calls(session, {1: (1, Directive.CANCEL)})
    direct_calls(session, {1: GO})
    assert call.outcome() == "passed"
    assert _worker_side._sessions[session]._running == {}


def test_a_worker_that_leaves_says_what_runs_and_sends_the_answers_itself(
    session: str, worker: Worker
) -> None:
    """No call starts there any more; Dask would fetch no answer."""
    running = Running(session, 1, PAUSE)
    assert worker.next() == [1, "arrived", [True]]
    leaving = threading.Thread(target=asyncio.run, args=[worker.plugin_remove(session)])
    leaving.start()
    assert worker.next() == [0, "leaving", [worker.address, [1]]]
    assert run_call(session, 2, pickle.dumps("no call at all")) is NotStarted.LEFT
    direct_calls(session, {1: GO})
    assert worker.next() == [1, "arrived", [False]]
    number, kind, (answer,) = worker.next()
    leaving.join()
    assert (number, kind) == (1, "answer")
    assert open_answer(base64.b64decode(answer), "visit") == running.outcome() == "passed"
