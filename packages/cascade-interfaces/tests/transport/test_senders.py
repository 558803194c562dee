"""The tasks that empty the outbox over one link."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise
from types import SimpleNamespace

import pytest

from cascade.testkit import eventually
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


@pytest.mark.parametrize(("qos", "expected"), [(0, 1), (1, 20)])
async def test_what_needs_no_answer_wakes_one_sender(qos: int, expected: int) -> None:
    """It sends all that waits; nineteen others would wake for nothing. Answers are awaited side by side."""
    ran: set[asyncio.Task[None] | None] = set()
    outbox = filled(0)
    waiting = outbox.take

    def take(*, steady: bool = True) -> Outgoing | None:
        ran.add(asyncio.current_task())
        return waiting(steady=steady)

    client = DistantClient() if qos else Client()
    senders, tasks = senders_of(client, outbox)
    senders.start()
    outbox.accept("a", "{}", qos, False)
    await eventually(lambda: client.published == ["a"])
    outbox.take = take  # type: ignore[method-assign]
    for _ in range(50):
        outbox.accept("a", "{}", qos, False)
        senders.wake()
    await eventually(lambda: len(client.published) >= 20)
    assert len(ran) == expected - qos  # one of the twenty still waits for its answer
    await end(senders, tasks)


@pytest.mark.parametrize("limit", [7, 20, 33, 400])
async def test_senders_multiply_while_the_round_trip_delays_what_waits(limit: int) -> None:
    """Twenty at first; as long as a peer does not answer and messages wait, there are more, up to the limit."""
    client, outbox = DistantClient(), filled(1_000)
    senders, tasks = senders_of(client, outbox, limit)
    senders.start()
    await asyncio.sleep(0)
    assert (len(client.published), senders.count) == (min(20, limit), min(20, limit))
    await eventually(lambda: len(client.published) == limit)
    assert senders.count == limit
    client.answer()
    await eventually(lambda: len(client.published) == 2 * limit)
    assert senders.count == limit
    await end(senders, tasks)


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


@pytest.mark.parametrize(("busy", "most"), [(60.0, 40), (-60.0, 20)], ids=["idle", "busy"])
async def test_senders_do_not_multiply_on_a_busy_loop(
    busy: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers wait to be read there, wherever they come from; and tasks go first."""
    monkeypatch.setattr("cascade.transport.senders.GROWTH_INTERVAL", 0.0)
    monkeypatch.setattr("cascade.transport.senders.BUSY", busy)
    client, outbox = DistantClient(), filled(100)
    senders, tasks = senders_of(client, outbox, limit=40)
    senders.start()
    for _ in range(40):
        senders.wake()
        await asyncio.sleep(0)
    assert senders.count == most
    await end(senders, tasks)


@pytest.mark.parametrize(
    ("waiting", "limit", "most"), [(1_000, 400, 80), (1_000, 33, 33), (30, 400, 30), (20, 400, 20)]
)
async def test_a_program_that_waits_for_the_outbox_gets_the_senders_of_a_near_peer_at_once(
    waiting: int, limit: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With twenty messages in flight, this loop and a peer nearby would wait for each other in turn."""
    monkeypatch.setattr("cascade.transport.senders.GROWTH_INTERVAL", 3600.0)
    client, outbox = DistantClient(), filled(waiting)
    senders, tasks = senders_of(client, outbox, limit)
    senders.hurry()
    assert senders.count == 0  # the link is not up
    senders.start()
    await eventually(lambda: len(client.published) == min(20, limit))
    for _ in range(2):
        senders.hurry()
        assert senders.count == most
    await eventually(lambda: len(client.published) == most)
    senders.stop()
    senders.hurry()
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
