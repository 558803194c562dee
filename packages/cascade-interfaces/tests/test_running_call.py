"""One call in a worker: how often it reports, what it says when it waits, and how reports reach its engine's context."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.interfaces import running_call
from cascade.interfaces.call_context import Directive
from cascade.interfaces.numbered_calls import (
    Fate,
    close_session,
    confirm_values,
    direct_calls,
    open_session,
    read_report,
    run_numbered,
    withdraw_calls,
)
from cascade.interfaces.pickled_calls import open_answer, pack, pack_call
from cascade.interfaces.running_call import RunningCall

LIMIT = 20.0


class Line:
    """What a call says, in order; it can change the call's directive while it says something."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.on_arrival: Any = lambda paused: None

    def progress(self, done: float, total: float | None, message: str, unit: str) -> None:
        self.said.append((done, total, message, unit))

    def publish(self, name: str, data: Any) -> None:
        self.said.append({name: data})

    def arrived(self, *, paused: bool) -> None:
        self.said.append(paused)
        threading.Thread(target=self.on_arrival, args=(paused,)).start()

    def is_awaited(self) -> bool:
        return True


def test_progress_is_reported_at_most_every_half_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one at once, whatever the clock shows; a checkpoint without progress says nothing."""
    for start in (0.0, 0.1, 5_000.0):
        line, moments = Line(), iter([start, start + 0.4, start + 0.5, start + 0.9, start + 1.0])
        monkeypatch.setattr(
            running_call, "time", SimpleNamespace(monotonic=lambda moments=moments: next(moments))
        )
        call = RunningCall(line)
        before = call.visited
        call.checkpoint(None)
        assert (before, call.visited) == (False, True)
        for done in range(5):
            call.checkpoint((done, 9, "m", "u"))
        assert line.said == [(0, 9, "m", "u"), (2, 9, "m", "u"), (4, 9, "m", "u")]


@pytest.mark.parametrize(
    ("orders", "said", "cancelled"),
    [
        ([Directive.PAUSE, Directive.RUN], [True, False], False),
        ([Directive.PAUSE, Directive.CANCEL], [True, False], True),
        ([Directive.CANCEL], [], True),
        ([Directive.RUN], [], False),
    ],
)
def test_a_call_obeys_its_directive_at_a_checkpoint(
    orders: list[Directive], said: list[bool], cancelled: bool
) -> None:
    """It says when it waits and when it goes on; a cancel ends it there, again at each further one."""
    line = Line()
    call = RunningCall(line, orders[0])
    line.on_arrival = lambda paused: call.direct(orders[-1]) if paused else None
    for _ in range(2):
        if cancelled:
            with pytest.raises(asyncio.CancelledError):
                call.checkpoint(None)
        else:
            call.checkpoint(None)
        assert line.said == said
    call.publish("row", [1])
    assert line.said == [*said, {"row": [1]}]


class Context:
    """The engine's side, which notes what it is given."""

    def __init__(self) -> None:
        self.given: list[object] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.given.append((name, args, kwargs))


@pytest.mark.parametrize(
    ("kind", "content", "given", "sized"),
    [
        ("progress", [1, None, "m", "u"], ("progress", (1, None, "m", "u"), {}), False),
        ("data", ["row", {"a": 1}], ("publish", ("row", {"a": 1}), {}), True),
        ("arrived", [True], ("arrived", (), {"paused": True}), False),
        ("arrived", [False], ("arrived", (), {"paused": False}), False),
    ],
)
def test_a_report_reaches_the_context_of_its_call(
    kind: str, content: list[Any], given: object, sized: bool
) -> None:
    """Only values take room in the window of the call."""
    text, context = json.dumps([7, kind, content]), Context()
    report = read_report(text)
    assert (report.number, report.size) == (7, len(text) if sized else 0)
    report.pass_on(context)
    assert context.given == [given]


def give(value: object) -> object:
    return value


def test_a_session_is_opened_once_and_knows_its_calls() -> None:
    """Opening it again forgets nothing; a call that was withdrawn before it came is, even if it is withdrawn twice."""
    session, call = uuid.uuid4().hex, pack_call(give, (3,), {})
    assert open_session(session) == open_session(session) == 2
    assert run_numbered(session, 1, call, pack)[0] == Fate.DONE.value
    open_session(session)
    assert withdraw_calls(session, [1, 2, 2]) == [1]
    assert withdraw_calls(session, [2, 1]) == [1]
    assert run_numbered(session, 2, call, pack)[0] == Fate.WITHDRAWN.value
    fate, _, answer = run_numbered(session, 3, call, pack)
    assert (fate, open_answer(answer, "give")) == (Fate.DONE.value, 3)
    close_session(session)
    close_session(session)
    for after in (direct_calls, confirm_values):
        after(session, {})
        after("never opened", {1: (1, "pause")})  # type: ignore[dict-item]
