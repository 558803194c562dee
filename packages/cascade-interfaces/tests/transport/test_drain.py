"""How long a drain waits: for messages, for progress, for a link. The loop's clock leaps, so no test waits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest
from leaping_loop import LeapingLoop

from cascade.transport.outbox import Outbox
from cascade.transport.waiting import NO_PROGRESS, Drain

LIMIT = 60.0


class Draining:
    """A drain of five messages. ``steps`` happen at their seconds; see ``at``."""

    def __init__(self, *, unlinked_since: float | None) -> None:
        self.outbox = Outbox(max_messages=10, max_bytes=1_000)
        for _ in range(5):
            self.outbox.accept("a", "{}", 1, False)
        self.unlinked_since = unlinked_since
        """When the last link ended, in seconds before or after the start; None: there is one."""
        self.left = 5
        """How many messages were pending when the drain ended."""
        self._steps: list[tuple[float, Callable[[], None]]] = []

    def at(self, seconds: float, step: Callable[[], None]) -> None:
        """Do something during the drain; if it is ``send``, the drain is notified."""
        self._steps.append((seconds, step))

    def send(self) -> None:
        """Send one message."""
        item = self.outbox.take()
        assert item is not None
        self.outbox.land(item)
        self.drain.notify()

    def link(self) -> None:
        """Establish a link."""
        self.unlinked_since = None
        self.drain.notify()

    def lose_link(self) -> None:
        """Lose the link now."""
        self.unlinked_since = self._loop.time()
        self.drain.notify()

    def stand_still(self) -> None:
        """Stop the process for ten seconds; answers that came meanwhile take their turns of the loop."""
        assert isinstance(self._loop, LeapingLoop)
        self._loop.stand_still(10.0)
        self._after_turns(3, self.send)

    def _after_turns(self, turns: int, step: Callable[[], None]) -> None:
        if turns:
            self._loop.call_soon(self._after_turns, turns - 1, step)
        else:
            step()

    def seconds(self, limit: float = LIMIT) -> float:
        """Drain, and return for how long."""
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            return runner.run(self._run(limit))

    def flushes(self, timeout: float) -> bool:
        """Flush, and return whether all was sent."""
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            return runner.run(self._flush(timeout))

    async def _run(self, limit: float) -> float:
        began = self._begin()
        await self.drain.drain(limit, unlinked_for=self._unlinked_for)
        self.left = self.outbox.pending
        return self._loop.time() - began

    async def _flush(self, timeout: float) -> bool:
        self._begin()
        return await self.drain.flush(timeout)

    def _begin(self) -> float:
        self._loop = asyncio.get_running_loop()
        self.drain = Drain(self.outbox)
        for seconds, step in self._steps:
            self._loop.call_later(seconds, step)
        return self._loop.time()

    def _unlinked_for(self) -> float:
        return 0.0 if self.unlinked_since is None else self._loop.time() - self.unlinked_since


@pytest.mark.parametrize(
    ("unlinked_since", "seconds"),
    [(-math.inf, 0.3), (-10.1, 0.3), (-9.9, LIMIT), (None, 2.0)],
    ids=["never linked", "long ago", "recently", "linked and stalled"],
)
def test_a_drain_waits_as_long_as_a_link_is_likely(unlinked_since: float | None, seconds: float) -> None:
    """A broker that was there a moment ago may come back; one that was not, has never been there."""
    assert Draining(unlinked_since=unlinked_since).seconds() == pytest.approx(seconds, abs=0.01)


def test_a_new_link_gets_its_own_time_without_progress() -> None:
    """It stalls from its start: the drain waits two seconds for it."""
    draining = Draining(unlinked_since=-9.0)
    draining.at(20.0, draining.link)
    assert draining.seconds() == pytest.approx(20.0 + NO_PROGRESS, abs=0.01)


def test_a_process_that_stood_still_takes_in_answers_before_it_gives_up() -> None:
    """Its time to wait is over when it goes on, and what the peer has acknowledged is not read yet."""
    draining = Draining(unlinked_since=None)
    for number in range(5):
        draining.at(1.0 + 10.5 * number, draining.stand_still)
    assert draining.seconds() == pytest.approx(1.0 + 10.5 * 4 + 10.0)
    assert not draining.outbox.pending


def test_every_flush_and_drain_at_the_same_time_has_its_end() -> None:
    """A flush waits for what was accepted before it only; one that is cancelled in the middle costs no other."""

    async def run() -> list[object]:
        draining._begin()
        drain, outbox = draining.drain, draining.outbox
        waits = [asyncio.ensure_future(drain.flush(LIMIT)) for _ in range(2)]
        drained = asyncio.ensure_future(drain.drain(LIMIT, unlinked_for=lambda: 0.0))
        of_run = asyncio.ensure_future(drain.drain(LIMIT, unlinked_for=lambda: 0.0, target=outbox.accepted))
        await asyncio.sleep(0.5)
        waits[1].cancel()
        await asyncio.sleep(0.1)
        outbox.clear("gone")
        outbox.accept("a", "{}", 1, False)
        drain.notify()
        assert await waits[0]
        assert await of_run
        assert draining._loop.time() == pytest.approx(0.6)
        assert not drained.done()
        draining.send()
        await drained
        assert draining._loop.time() == pytest.approx(0.6)
        return [*drain.waiters]

    draining = Draining(unlinked_since=None)
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        assert runner.run(run()) == []


def test_a_flush_waits_until_all_is_sent_or_its_time_is_over() -> None:
    """The last of five messages decides."""
    for last, flushed in ((4.9, True), (5.1, False)):
        draining = Draining(unlinked_since=None)
        for seconds in (1.0, 2.0, 3.0, 4.0, last):
            draining.at(seconds, draining.send)
        assert draining.flushes(5.0) is flushed
