"""One call in a worker: how often it reports, and what it reports when it waits."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from cascade.interfaces import call_context
from cascade.interfaces.call_context import Directive, RunningCall


class Channel:
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
        channel, moments = Channel(), iter([start, start + 0.4, start + 0.5, start + 0.9, start + 1.0])
        monkeypatch.setattr(
            call_context, "time", SimpleNamespace(monotonic=lambda moments=moments: next(moments))
        )
        call = RunningCall(channel)
        before = call.visited
        call.checkpoint(None)
        assert (before, call.visited) == (False, True)
        for done in range(5):
            call.checkpoint((done, 9, "m", "u"))
        assert channel.said == [(0, 9, "m", "u"), (2, 9, "m", "u"), (4, 9, "m", "u")]


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
    channel = Channel()
    call = RunningCall(channel, orders[0])
    channel.on_arrival = lambda paused: call.direct(orders[-1]) if paused else None
    for _ in range(2):
        if cancelled:
            with pytest.raises(asyncio.CancelledError):
                call.checkpoint(None)
        else:
            call.checkpoint(None)
        assert channel.said == said
    call.publish("row", [1])
    assert channel.said == [*said, {"row": [1]}]
