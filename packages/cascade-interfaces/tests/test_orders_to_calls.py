"""Orders to numbered calls, in whatever order messages arrive; here without another process."""

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from cascade.interfaces import numbered_calls
from cascade.interfaces.call_context import in_call
from cascade.interfaces.numbered_calls import (
    Fate,
    Order,
    close_session,
    confirm_values,
    direct_calls,
    open_session,
    read_report,
    run_numbered,
    withdraw_calls,
)
from cascade.interfaces.pickled_calls import open_answer, pack, pack_call

LIMIT = 20.0
PAUSE: Order = (1, "pause")
GO: Order = (2, "run")
STOP: Order = (3, "cancel")


class Heard:
    """What the calls of one session say, and whether anybody awaits them."""

    def __init__(self) -> None:
        self.texts: SimpleQueue[str] = SimpleQueue()
        self.awaited = True

    def connect(self) -> Any:
        return self.texts.put, lambda: self.awaited

    def next(self) -> list[Any]:
        said: list[Any] = json.loads(self.texts.get(timeout=LIMIT))
        return said


def visit(progress: Any = None) -> str:
    """Reach one checkpoint."""
    call = in_call.get()
    assert call is not None
    call.checkpoint(progress)
    return "passed"


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def session(heard: Heard) -> Iterator[str]:
    name = uuid.uuid4().hex
    open_session(name, heard.connect)
    yield name
    close_session(name)


def publish(values: list[str]) -> str:
    """Publish values, one after the other."""
    call = in_call.get()
    assert call is not None
    for value in values:
        call.publish("row", value)
    return "published"


class Running:
    """A call in a thread of its own, with its outcome."""

    def __init__(
        self, session: str, number: int, order: Order | None = None, *, values: list[str] | None = None
    ) -> None:
        given = () if order is None else (order,)
        self._answers: SimpleQueue[Any] = SimpleQueue()
        call = pack_call(visit, (), {}) if values is None else pack_call(publish, (values,), {})
        run = lambda: self._answers.put(run_numbered(session, number, call, pack, *given))  # noqa: E731
        threading.Thread(target=run, daemon=True).start()

    def outcome(self) -> Any:
        fate, _, answer = self._answers.get(timeout=LIMIT)
        assert fate == Fate.DONE.value
        return open_answer(answer, "visit")


def test_a_call_waits_until_it_may_go_on(session: str, heard: Heard) -> None:
    """It says both."""
    call = Running(session, 1, PAUSE)
    assert heard.next() == [1, "arrived", [True]]
    direct_calls(session, {1: GO})
    assert call.outcome() == "passed"
    assert heard.next() == [1, "arrived", [False]]


def test_an_order_that_comes_before_its_call_is_kept(session: str, heard: Heard) -> None:
    """The pause overtook the call."""
    direct_calls(session, {1: PAUSE})
    call = Running(session, 1)
    assert heard.next() == [1, "arrived", [True]]
    direct_calls(session, {1: STOP})
    with pytest.raises(asyncio.CancelledError):
        call.outcome()


def test_the_end_of_a_pause_may_overtake_the_call(session: str, heard: Heard) -> None:
    """The call was sent with the pause: it would wait for ever."""
    direct_calls(session, {1: GO})
    assert Running(session, 1, PAUSE).outcome() == "passed"
    assert heard.texts.empty()


def test_an_earlier_order_does_not_replace_a_later_one(session: str, heard: Heard) -> None:
    """It was sent again after its connection broke."""
    call = Running(session, 1, PAUSE)
    assert heard.next() == [1, "arrived", [True]]
    direct_calls(session, {1: STOP})
    direct_calls(session, {1: GO})
    with pytest.raises(asyncio.CancelledError):
        call.outcome()


def test_orders_to_calls_that_have_ended_or_were_withdrawn_are_not_kept(session: str) -> None:
    """No call would ever take them."""
    assert Running(session, 1).outcome() == "passed"
    withdraw_calls(session, [2])
    direct_calls(session, {1: PAUSE, 2: PAUSE})
    assert numbered_calls._sessions[session]._orders == {}


def test_orders_before_their_calls_are_bounded(session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earliest ones are dropped."""
    monkeypatch.setattr(numbered_calls, "_REMEMBERED", 3)
    direct_calls(session, dict.fromkeys(range(1, 9), PAUSE))
    assert [*numbered_calls._sessions[session]._orders] == [6, 7, 8]


def test_a_call_that_runs_keeps_its_order_whatever_others_are_dropped(
    session: str, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order that was sent before the one in force must not replace it when it comes late."""
    monkeypatch.setattr(numbered_calls, "_REMEMBERED", 3)
    call = Running(session, 1, PAUSE)
    assert heard.next() == [1, "arrived", [True]]
    direct_calls(session, dict.fromkeys(range(2, 9), GO))
    assert [*numbered_calls._sessions[session]._orders] == [1, 7, 8]
    direct_calls(session, {1: PAUSE})
    direct_calls(session, {1: (1, "cancel")})
    direct_calls(session, {1: GO})
    assert call.outcome() == "passed"


def test_nothing_of_a_call_is_left_in_the_thread_that_ran_it(session: str, heard: Heard) -> None:
    """The next function of that thread is not in a call, and the worker drops what comes late for the call."""
    for function, fate in ((visit, "passed"), (len, None)):
        call = pack_call(function, (), {})
        status, seconds, answer = run_numbered(session, 1 if fate else 2, call, pack)
        assert (status, in_call.get()) == (Fate.DONE.value, None)
        assert seconds >= 0
        if fate:
            assert open_answer(answer, "visit") == fate
        else:
            with pytest.raises(TypeError):
                open_answer(answer, "len")
    confirm_values(session, {1: 5, 2: 5, 3: 5})
    direct_calls(session, {1: PAUSE, 2: STOP})
    assert numbered_calls._sessions[session]._running == {}
    assert withdraw_calls(session, [2, 1, 3]) == [1, 2]
    assert run_numbered(session, 3, pack_call(visit, (), {}), pack)[0] == Fate.WITHDRAWN.value


def test_a_session_that_is_not_open_knows_no_calls() -> None:
    """Another process has replaced the one that had it: nothing is withdrawn, ordered or confirmed, or raised."""
    assert withdraw_calls("elsewhere", [1, 2]) == []
    direct_calls("elsewhere", {1: PAUSE})
    confirm_values("elsewhere", {1: 7})
    close_session("elsewhere")
    assert run_numbered("elsewhere", 1, pack_call(visit, (), {}), pack) == (Fate.NO_SESSION.value, 0.0, b"")


@pytest.mark.full
def test_a_paused_call_ends_when_no_task_awaits_it(session: str, heard: Heard) -> None:
    """Its engine has died: nothing else would ever end the pause."""
    call = Running(session, 1, PAUSE)
    assert heard.next() == [1, "arrived", [True]]
    heard.awaited = False
    with pytest.raises(asyncio.CancelledError):
        call.outcome()


def test_a_session_that_is_closed_ends_its_calls(session: str, heard: Heard) -> None:
    """At their next checkpoint."""
    call = Running(session, 1, PAUSE)
    heard.next()
    close_session(session)
    with pytest.raises(asyncio.CancelledError):
        call.outcome()


ROW = json.dumps([1, "data", ["row", "x" * 100]])


@pytest.fixture
def narrow(heard: Heard) -> Iterator[str]:
    """A session in which three rows of a call may be on the way."""
    name = uuid.uuid4().hex
    open_session(name, heard.connect, 3 * len(ROW))
    yield name
    close_session(name)


def wait_until_it_waits(session: str) -> None:
    """Return when the call waits until a value is confirmed."""
    until = time.monotonic() + LIMIT
    while True:
        running = numbered_calls._sessions[session]._running
        if running and running[1].window.waiting:
            return
        assert time.monotonic() < until
        time.sleep(0.001)


def test_a_call_waits_until_its_values_are_confirmed(narrow: str, heard: Heard) -> None:
    """So the queues between a worker and its engine have a bound; a confirmation that is late changes nothing."""
    call = Running(narrow, 1, values=["x" * 100] * 10)
    for taken in (3, 6, 9):
        wait_until_it_waits(narrow)
        said = [heard.next() for _ in range(3)]
        assert said == [json.loads(ROW)] * 3
        assert heard.texts.empty()
        confirm_values(narrow, {1: (taken - 3) * len(ROW), 2: 10**9})
        wait_until_it_waits(narrow)
        assert heard.texts.empty()
        confirm_values(narrow, {1: taken * len(ROW)})
    assert call.outcome() == "published"
    assert heard.next() == json.loads(ROW)


def test_a_value_that_is_larger_than_all_that_may_be_on_the_way_goes_alone(narrow: str, heard: Heard) -> None:
    """It would wait for ever."""
    call = Running(narrow, 1, values=["x" * 1_000])
    assert len(heard.next()[2][1]) == 1_000
    assert call.outcome() == "published"


@pytest.mark.parametrize("how", ["cancelled", "closed", "not awaited"])
def test_a_call_that_waits_to_publish_goes_on_when_no_task_takes_its_values(
    how: str, narrow: str, heard: Heard
) -> None:
    """What has no room is dropped."""
    call = Running(narrow, 1, values=["x" * 100] * 10)
    wait_until_it_waits(narrow)
    if how == "cancelled":
        direct_calls(narrow, {1: STOP})
    elif how == "closed":
        close_session(narrow)
    else:
        heard.awaited = False
    assert call.outcome() == "published"
    assert heard.texts.qsize() == 3


def test_without_a_window_nothing_waits(session: str, heard: Heard) -> None:
    """An executor of an earlier version confirms nothing."""
    assert Running(session, 1, values=["x" * 100] * 1_000).outcome() == "published"
    assert heard.texts.qsize() == 1_000


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        ((1, None, "", ""), [[7, "progress", [1, None, "", ""]]]),
        ((1.5, 10, "\udc80", "rows"), [[7, "progress", [1.5, 10, "\udc80", "rows"]]]),
        ((1, 2, "x" * 5_000, ""), []),
        ((10**5_000, 2, "", ""), []),
    ],
)
def test_progress_is_sent_if_it_can_be(progress: Any, said: list[Any], session: str, heard: Heard) -> None:
    """Nothing that a task reports fails it."""
    _, _, answer = run_numbered(session, 7, pack_call(visit, (progress,), {}), pack)
    assert open_answer(answer, "visit") == "passed"
    assert [heard.next() for _ in said] == said
    assert heard.texts.empty()


def test_a_report_of_an_unknown_kind_is_ignored() -> None:
    """A later version wrote it."""
    report = read_report('[3, "heat", [1]]')
    assert (report.number, report.size) == (3, 0)
    report.pass_on(None)  # type: ignore[arg-type]  # nothing is called
