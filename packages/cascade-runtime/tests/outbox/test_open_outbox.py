"""An outbox while it is open: what its files have, who shares a sender, and what it takes from dead processes in parts."""

import datetime as dt
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_link import TOPIC, FakeLink, event
from fakes import FakeClock
from outbox_files import ACK, State, change, is_locked, kept, leave, replace, take_lock

from cascade.interfaces import Delivery, OutboxUnavailable
from cascade.runtime import Outbox
from cascade.testkit import eventually, no_leaks


def sent_by(link: FakeLink) -> list[tuple[str, int]]:
    """Return the sender and the ``seq`` of each message that was taken."""
    return [(message["source"], message["seq"]) for message in link.taken]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Delivery.TAKEN, []),
        (Delivery.REFUSED, [(seq, State.ASIDE) for seq in range(3)]),
        (Delivery.POISON, [(seq, State.ASIDE) for seq in range(3)]),
    ],
    ids=str,
)
async def test_what_becomes_of_stored_messages_is_written_though_no_other_follows(
    folder: Path, verdict: Delivery, expected: list[tuple[int, State]]
) -> None:
    """A process that is killed later neither sends them again nor hides that they were refused."""
    link = FakeLink(up=False)
    async with Outbox(folder, delay=0.0).attached(link) as sender:
        for seq in range(3):
            sender.publish(TOPIC, event(seq), 1)
        await eventually(lambda: kept(folder) == [(seq, State.WAITS) for seq in range(3)])
        link.verdict = verdict
        link.settle()
        await eventually(lambda: kept(folder) == expected)


class CountingLink(FakeLink):
    """Counts its subscriptions."""

    subscriptions = 0

    async def subscribe(self, topic: str, callback: Callable[..., Any], qos: int = 0) -> Any:
        self.subscriptions += 1
        return await super().subscribe(topic, callback, qos)


@pytest.mark.parametrize("ack", ["c-1", None])
async def test_runs_at_the_same_time_share_the_sender_of_their_connector(
    folder: Path, ack: str | None
) -> None:
    """The first that leaves closes nothing, and each connector has its own."""
    async with no_leaks():
        given = Outbox(folder, ack=ack, delay=0.0)
        link, other = CountingLink(up=False), CountingLink("saw", up=False)
        async with given.attached(link) as sender, given.attached(other) as another:
            async with given.attached(link) as same:
                assert same is sender
                assert same is not another
            sender.publish(TOPIC, event(0), 1)
            another.publish(TOPIC, event(1, source="saw"), 1)
            await eventually(lambda: kept(folder) == [(0, State.WAITS)])
            await eventually(lambda: kept(folder, "saw") == [(1, State.WAITS)])
            await link.disconnect()
            await other.disconnect()
        assert [link.subscriptions, other.subscriptions] == [1 if ack else 0] * 2
    assert sorted((each.sender, each.waiting) for each in given.senders()) == [("press", 1), ("saw", 1)]


async def test_a_flush_says_whether_everything_was_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored in any case."""
    change(monkeypatch, NO_PROGRESS=0.05)
    link = FakeLink(up=False)
    async with Outbox(folder, delay=60.0).sender(link) as sender:
        sender.send(TOPIC, event(0))
        assert not await sender.flush(5.0)
        assert kept(folder) == [(0, State.WAITS)]
        link.up = True
        link.settle()
        assert await sender.flush(5.0)
        assert kept(folder) == []


@pytest.mark.parametrize(
    ("ack", "first"),
    [(None, [0, 2, 3, 4]), ("c-1", [0, 2, 4])],
    ids=["the broker counts", "the collector counts"],
)
async def test_files_of_dead_processes_are_adopted_part_by_part(
    folder: Path, ack: str | None, first: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of each; one that is in use stays, and so does what was put aside, in a file that nothing holds."""
    change(monkeypatch, SLICE=2)
    await leave(folder, "box-1", State.WAITS, State.ASIDE, State.WAITS, State.SENT, State.WAITS, ack="c-1")
    await leave(folder, "box-2", State.WAITS)
    await leave(folder, "box-3", State.WAITS, State.WAITS)
    held = take_lock(folder, "box-2")
    link = FakeLink()
    async with Outbox(folder, ack=ack).attached(link) as sender:
        await eventually(lambda: not sender.adopting)
        expected = [("box-1", seq) for seq in first] + [("box-3", 0), ("box-3", 1)]
        await eventually(lambda: sent_by(link) == expected)
        await eventually(lambda: not is_locked(folder, "box-1"))
        assert kept(folder, "box-1") == [(1, State.ASIDE)]
        assert kept(folder, "box-2") == [(0, State.WAITS)]
        assert not (folder / "box-3.db").exists()
        left = [(3, State.SENT)] if ack else []
        await eventually(lambda: kept(folder) == left)
        await link.disconnect()
    held.release()


@pytest.mark.full
@pytest.mark.parametrize("ack", [None, "c-1"])
async def test_what_is_left_is_counted_once_while_files_are_adopted(
    folder: Path, ack: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each moment: before a file is opened, while parts of it are in both, and behind it. What is in use does not count."""
    change(monkeypatch, SLICE=2)
    states = [State.WAITS, State.ASIDE, State.WAITS, State.SENT, State.WAITS]
    for source, some in (("box-1", states), ("box-2", states), ("box-3", states[:1]), ("busy", states)):
        await leave(folder, source, *some, ack="c-1")
    held = take_lock(folder, "busy")
    counts: list[int] = []

    def count_around(take_over: Callable[..., Any], taking: Any, own: Any) -> Any:
        counts.append(taking.left(own))
        found = take_over(taking, own)
        counts.append(taking.left(own))
        return found

    replace(monkeypatch, "step", count_around)
    link = FakeLink(up=False)
    async with Outbox(folder, ack=ack).sender(link, adopt=True) as sender:
        await eventually(lambda: len(counts) == 12)
        assert await sender.left(60.0) == 9
        sender.send(TOPIC, event(0), 1)
        assert not await sender.flush(0.1)
        assert await sender.left(60.0) == 10
        await link.disconnect()
    assert counts == [9] * 12
    held.release()


@pytest.mark.full
async def test_a_sender_that_adopts_nothing_counts_its_own_messages(folder: Path) -> None:
    await leave(folder, "box", State.WAITS)
    link = FakeLink(up=False)
    sender = Outbox(folder).sender(link, adopt=False)
    async with sender:
        sender.send(TOPIC, event(0), 1)
        assert not await sender.flush(0.1)
        assert await sender.left(60.0) == 1
        await link.disconnect()
    with pytest.raises(RuntimeError, match="the sender is not open"):
        await sender.left(60.0)


async def test_a_disk_that_does_not_answer_is_named(folder: Path) -> None:
    """Nothing is counted then: a number would be wrong."""
    link, go_on = FakeLink(up=False), threading.Event()
    outbox = Outbox(folder)
    async with outbox.attached(link) as queue, outbox.sender(link) as sender:
        queue.call(lambda file: go_on.wait(), lambda result: None)
        with pytest.raises(OutboxUnavailable, match="the disk does not answer; try again when it works"):
            await sender.left(0.05)
        go_on.set()
        assert await sender.left(60.0) == 0
        await link.disconnect()


@pytest.mark.parametrize(("days", "expected"), [(29, [0, 1]), (31, [1])])
async def test_an_event_waits_for_30_days_by_default(folder: Path, days: int, expected: list[int]) -> None:
    clock, link = FakeClock(), FakeLink(up=False)
    await leave(folder, "press", State.WAITS, clock=clock)
    clock.put_forward += dt.timedelta(days=days).total_seconds()
    async with Outbox(folder, delay=0.0, clock=clock).attached(link) as sender:
        sender.publish(TOPIC, event(1), 1)
        await eventually(lambda: [seq for seq, _ in kept(folder)] == expected)
        await link.disconnect()
    dropped = {} if days < 30 else {"too old": 1}
    assert [each.dropped for each in Outbox(folder).senders()] == [dropped]


async def test_only_what_the_collector_says_forgets_an_event(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not another collector, nor what cannot be read: one warning each. A retained message that was deleted is none."""
    link = FakeLink()
    async with Outbox(folder, ack="c-1", delay=0.0).attached(link) as sender:
        sender.publish(TOPIC, event(0), 1)
        await eventually(lambda: kept(folder) == [(0, State.SENT)])
        receive = link.subscribed[ACK]
        said = {"v": "1.0", "by": "c-1", "upto": {"run-c41e07d2": 0}, "missing": {}}
        await receive(ACK, {})
        assert not caplog.messages
        for _ in range(2):
            await receive(ACK, said | {"by": "c-2"})
            await receive(ACK, said | {"v": "9.0"})
        await sender.reached(30.0)
        assert kept(folder) == [(0, State.SENT)]
        assert caplog.messages == [
            "an acknowledgement of c-2 is ignored: the outbox waits for c-1",
            f"an acknowledgement on {ACK} cannot be read; check the collector",
        ]
        await receive(ACK, said)
        await eventually(lambda: kept(folder) == [])
