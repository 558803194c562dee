"""The tasks that empty the outbox over one link."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise
from types import SimpleNamespace

import pytest

from cascade.transport.event_loop import LOOP_BUDGET
from cascade.transport.outbox import Outbox, Outgoing
from cascade.transport.senders import Senders


class Client:
    """Takes whatever is published."""

    def __init__(self) -> None:
        self.published: list[str] = []

    async def publish(self, item: Outgoing) -> None:
        self.published.append(item.topic)


class DistantClient(Client):
    """Acknowledges messages when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[asyncio.Event] = []

    async def publish(self, item: Outgoing) -> None:
        await super().publish(item)
        self.answers.append(answer := asyncio.Event())
        await answer.wait()

    def answer(self) -> None:
        """Acknowledge what was published so far."""
        for answer in self.answers:
            answer.set()
        self.answers.clear()


def senders_of(client: Client, outbox: Outbox, limit: int = 400) -> tuple[Senders, set[asyncio.Task[None]]]:
    """Return senders, and the tasks that they create."""
    tasks: set[asyncio.Task[None]] = set()
    senders = Senders(
        client.publish,
        outbox,
        limit=limit,
        create_task=lambda run, name: tasks.add(asyncio.create_task(run, name=name)),
        log=logging.getLogger(),
        fail=lambda _: None,
        on_settled=lambda: None,
    )
    return senders, tasks


async def end(senders: Senders, tasks: set[asyncio.Task[None]]) -> None:
    senders.stop()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def filled(count: int) -> Outbox:
    outbox = Outbox(max_messages=10_000, max_bytes=1_000_000)
    for _ in range(count):
        outbox.accept("a", "{}", 1, False)
    return outbox


@pytest.mark.parametrize(
    ("ago", "near_for", "waiting", "most"),
    [(0.0, 60.0, 100, 20), (0.0, 0.0, 100, 40), (90.0, 60.0, 100, 40), (0.0, 60.0, 6_000, 40)],
    ids=["near", "near once", "distant", "near, but half of the outbox is full"],
)
async def test_senders_do_not_multiply_for_a_near_peer_that_is_late(
    ago: float, near_for: float, waiting: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick answer shows that it is near: for a while, what is late then is late because a machine is busy."""
    monkeypatch.setattr("cascade.transport.senders.NEAR_FOR", near_for)
    monkeypatch.setattr("cascade.transport.senders.NEAR_SENDERS", 20)
    monkeypatch.setattr("cascade.transport.senders.BUSY", 60.0)
    monkeypatch.setattr("cascade.transport.senders.GROWTH_INTERVAL", 30.0)
    client, outbox = DistantClient(), filled(waiting)
    senders, tasks = senders_of(client, outbox, limit=40)
    senders.note_answer(asyncio.get_running_loop().time() - ago)
    monkeypatch.setattr("cascade.transport.senders.GROWTH_INTERVAL", 0.0)
    senders.start()
    for _ in range(20):
        senders.wake()
        await asyncio.sleep(0)
    assert senders.count == most
    await end(senders, tasks)


async def test_all_senders_together_leave_the_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, no more than what one budget allows is sent in an iteration."""
    now = 0.0

    class SlowClient(Client):
        async def publish(self, item: Outgoing) -> None:
            nonlocal now
            await super().publish(item)
            now += LOOP_BUDGET / 4

    monkeypatch.setattr("cascade.transport.event_loop.time", SimpleNamespace(monotonic=lambda: now))
    client, outbox = SlowClient(), filled(200)
    senders, tasks = senders_of(client, outbox)
    sent = [0]
    senders.start()
    while outbox.pending:
        await asyncio.sleep(0)
        sent.append(len(client.published))
    each = [after - before for before, after in pairwise(sent)]
    assert sum(each) == 200
    assert (
        max(each[1:]) <= 20 + 5
    )  # each sender that has yielded sends one, and the first ones go on within the budget
    await end(senders, tasks)
