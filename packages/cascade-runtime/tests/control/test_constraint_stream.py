"""What a stream of constraints asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import copy_context

import pytest
from control_parts import ConstraintStream, cancel, exact_topics
from fakes import FakeClock
from live_stream import Live

from cascade.interfaces import Linked, WatchItem
from cascade.interfaces.topics import CONSTRAINTS_FILTER
from cascade.testkit import eventually


class Streams:
    """A stream of constraints on a connector whose watches the test controls."""

    def __init__(self) -> None:
        self.opened: list[Live] = []
        self.clock = FakeClock()
        self.handled: list[WatchItem] = []
        self.failures: list[Exception | None] = []
        self.closed: list[bool] = []
        self.stream = ConstraintStream(
            self,
            "line-3",
            scopes=["global"],
            clock=self.clock,
            handle=self._handle,
            failed=self.failures.append,
            closed=lambda: self.closed.append(True),
            context=copy_context(),
        )

    def watch(self, *filters: str) -> Live:
        self.opened.append(Live(filters))
        return self.opened[-1]

    async def _handle(self, item: WatchItem) -> None:
        self.handled.append(item)


@pytest.fixture
async def streams() -> AsyncIterator[Streams]:
    made = Streams()
    made.stream.open()
    yield made
    made.stream.end()
    await cancel(made.stream.take_readers(), timeout=60.0)


def topics_of(*scopes: str) -> tuple[str, ...]:
    return tuple(topic for scope in scopes for topic in exact_topics(scope))


async def test_no_messages_of_a_run_are_on_their_way_on_a_stream_that_has_failed(streams: Streams) -> None:
    """Its topics are in the first packet of the next stream; a drop that fails does no harm either."""
    streams.opened[0].fault = OSError("closed")
    assert not streams.stream.add_scopes("run:a")
    streams.stream.remove_scopes("run:a")
    streams.clock.ticks += 1
    streams.stream.tick()
    assert streams.stream.due() is None
    assert not streams.stream.add_scopes("run:b")
    streams.stream.open()
    assert streams.opened[-1].filters == (*topics_of("run:b", "global"), CONSTRAINTS_FILTER)


async def test_the_topics_of_a_workflow_are_watched_as_long_as_one_of_its_runs_needs_them(
    streams: Streams,
) -> None:
    """The packet of a run asks for those of its workflow, too, unless another run or the offer has done so."""
    stream, opened = streams.stream, streams.opened[0]
    assert stream.add_scopes("run:a", "workflow:w")
    assert stream.add_scopes("run:b", "workflow:w")
    assert not stream.add_scopes("workflow:w")
    assert opened.changes == [("extend", topics_of("run:a", "workflow:w")), ("extend", topics_of("run:b"))]
    stream.remove_scopes("run:a", "workflow:w")
    stream.remove_scopes("workflow:w")
    streams.clock.ticks += 1
    stream.tick()
    assert opened.changes[2:] == [("shrink", topics_of("run:a"))]
    stream.remove_scopes("run:b", "workflow:w")
    streams.clock.ticks += 1
    stream.tick()
    assert opened.changes[3:] == [("shrink", topics_of("run:b", "workflow:w"))]


async def test_a_loop_that_cancels_the_reader_closes_and_an_end_does_not(streams: Streams) -> None:
    """Behind ``end`` nothing is reported any more, whatever happens to the asyncio task."""
    (reader,) = (each for each in asyncio.all_tasks() if each.get_name() == "cascade constraints line-3")
    reader.cancel()
    await asyncio.wait({reader})
    assert (streams.closed, streams.failures) == ([True], [])
    streams.stream.open()
    streams.stream.end()
    streams.opened[1].items.put_nowait(Linked())
    streams.opened[1].items.put_nowait(OSError("broken"))
    await eventually(lambda: not streams.stream.take_readers())
    assert (streams.closed, streams.failures, streams.handled) == ([True], [], [])
    assert all(each.is_closed for each in streams.opened)
