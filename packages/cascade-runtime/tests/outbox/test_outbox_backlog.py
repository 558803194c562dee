"""A backlog of days: memory stays flat, and new events do not wait for it."""

import asyncio
import resource
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_link import TOPIC, FakeLink, event
from outbox_files import fill

from cascade.interfaces import Delivery
from cascade.runtime import Outbox

MIB = 1 << 20


class SlowLink(FakeLink):
    """Settles some messages in each iteration of the loop, and keeps none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: deque[tuple[str, Callable[[Delivery], None]]] = deque()
        self.settled = 0
        self.lags: list[int] = []
        """For each new event: how many old ones were settled between its publication and its own settlement."""

    def deliver_nowait(
        self, topic: str, payload: str, qos: int = 1, *, settled: Callable[[Delivery], None]
    ) -> None:
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self._some)
        self.waiting.append((payload, settled))

    def _some(self) -> None:
        for _ in range(min(50, len(self.waiting))):
            payload, settled = self.waiting.popleft()
            self.settled += 1
            if '"live": ' in payload:
                self.lags.append(self.settled - int(payload.rpartition('"live": ')[2][:-1]))
            settled(Delivery.TAKEN)
        if self.waiting:
            asyncio.get_running_loop().call_soon(self._some)


@pytest.mark.parametrize(
    "count",
    [
        5_000,
        pytest.param(1_000_000, marks=[pytest.mark.nightly, pytest.mark.process, pytest.mark.timeout(900)]),
    ],
)
async def test_memory_is_flat_and_new_events_overtake_the_backlog(tmp_path: Path, count: int) -> None:
    """A new event waits for no more than what the connector had in hand: twice its window."""
    folder, link = tmp_path / "events", SlowLink()
    fill(folder, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    outbox = Outbox(folder, order="live-first", max_bytes=4096 * MIB)
    async with outbox.attached(link) as sender:
        published = 0
        while link.settled < count + published:
            if link.settled > published * (count // 100):
                sender.publish(TOPIC, {**event(published), "live": link.settled}, 1)
                published += 1
            await asyncio.sleep(0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    assert published >= 100
    assert len(link.lags) == published
    assert max(link.lags) <= 800 + 100
    assert grown < 40 * MIB
    assert not [*folder.glob("*.db")]
