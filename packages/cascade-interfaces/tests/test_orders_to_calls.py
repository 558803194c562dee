"""Orders to numbered calls, in whatever order messages arrive; here without another process."""

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from cascade.interfaces.call_context import in_call
from cascade.interfaces.numbered_calls import (
    Fate,
    Order,
    close_session,
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


class Running:
    """A call in a thread of its own, with its outcome."""

    def __init__(self, session: str, number: int, order: Order | None = None) -> None:
        given = () if order is None else (order,)
        self._answers: SimpleQueue[Any] = SimpleQueue()
        call = pack_call(visit, (), {})
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
    from cascade.interfaces import numbered_calls

    assert Running(session, 1).outcome() == "passed"
    withdraw_calls(session, [2])
    direct_calls(session, {1: PAUSE, 2: PAUSE})
    assert numbered_calls._sessions[session]._orders == {}


def test_orders_before_their_calls_are_bounded(session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earliest ones are dropped."""
    from cascade.interfaces import numbered_calls

    monkeypatch.setattr(numbered_calls, "_REMEMBERED", 3)
    direct_calls(session, dict.fromkeys(range(1, 9), PAUSE))
    assert [*numbered_calls._sessions[session]._orders] == [6, 7, 8]


def test_a_paused_call_ends_when_nobody_awaits_it(session: str, heard: Heard) -> None:
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
    number, pass_on = read_report('[3, "heat", [1]]')
    assert number == 3
    pass_on(None)  # type: ignore[arg-type]  # nothing is called
