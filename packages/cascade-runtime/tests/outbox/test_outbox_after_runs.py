"""After its last user an outbox stays open while events wait that its connector can still send, and no longer."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_link import TOPIC, FakeLink, event
from outbox_files import acknowledge, change, left_open

from cascade.runtime import Outbox
from cascade.testkit import no_leaks
from cascade.testkit.waiting import eventually


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send again soon, and wait for a disk that answers late."""
    change(monkeypatch, RESEND_AFTER=0.05, RETRY_LINK=0.02, NO_PROGRESS=0.1, HOLD=30.0)


async def acknowledged(link: FakeLink, seq: int) -> bool:
    """Acknowledge as a collector does each time that an event comes; return whether no subscription is left."""
    if link.subscribed:
        await acknowledge(link, seq)
    return not link.subscribed


async def send(given: Outbox, connector: Any, *numbers: int) -> None:
    """Send events as a run does, which waits until the connector has taken them."""
    async with given.attached(connector) as sender:
        for seq in numbers:
            sender.publish(TOPIC, event(seq), 1)
        await sender.drain(0.5)


def left(folder: Path) -> list[tuple[int, bool]]:
    """Return how many events each sender keeps, and whether its file is in use."""
    return [(each.waiting + each.sent, each.in_use) for each in Outbox(folder).senders()]


def is_closed(folder: Path) -> bool:
    """Return whether no file of this folder is open after its last user; other tests may leave theirs."""
    return all(path != folder for path, _ in left_open)


async def test_what_awaits_the_collector_is_sent_again_until_it_is_acknowledged(folder: Path) -> None:
    """Then the file, the thread and the subscription go."""
    async with no_leaks():
        link = FakeLink()
        await send(Outbox(folder, ack="c-1"), link, 0, 1)
        await eventually(lambda: link.numbers().count(0) > 2)
        await eventually(lambda: acknowledged(link, 1))
        await eventually(lambda: is_closed(folder))
    assert not [*folder.glob("*")]


async def test_a_run_that_begins_meanwhile_goes_on_with_the_same_sender(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The wait of the run before does not close the file under it."""
    async with no_leaks():
        link, given = FakeLink(), Outbox(folder, ack="c-1")
        await send(given, link, 0)
        async with given.attached(link) as sender:
            await acknowledge(link, 0)
            await sender.reached(30.0)
            sender.publish(TOPIC, event(1), 1)
            await eventually(lambda: link.numbers().count(1) > 1)
        await eventually(lambda: acknowledged(link, 1))
    assert not caplog.messages


@pytest.mark.parametrize("ack", ["c-1", None])
async def test_another_outbox_of_the_folder_takes_its_place(
    folder: Path, ack: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a second engine on the same connector: the first no longer holds the file."""
    async with no_leaks():
        link = FakeLink(up=False)
        await send(Outbox(folder, ack=ack), link, 0)
        link.up = True
        async with Outbox(folder, ack=ack).attached(link) as sender:
            sender.publish(TOPIC, event(1), 1)
            await eventually(lambda: {*link.numbers()} == {0, 1})
        await eventually(lambda: acknowledged(link, 1))
    assert "in use" not in caplog.text
    assert not [*folder.glob("*")]


async def test_a_file_that_a_run_uses_again_is_not_closed_for_another_outbox(folder: Path) -> None:
    """As of a second engine on the same connector: what a run in between has left open belongs to the next run."""
    async with no_leaks():
        link, given = FakeLink(up=False), Outbox(folder)
        await send(given, link, 0)
        async with given.attached(link) as first, Outbox(folder).attached(link):
            first.publish(TOPIC, event(1), 1)
            await first.drain(0.5)
            assert left(folder) == [(2, True)]
            link.up = True
            link.settle()
        await eventually(lambda: is_closed(folder))
    assert {*link.numbers()} == {0, 1}
    assert not [*folder.glob("*")]


@pytest.mark.parametrize("ack", ["c-1", None])
@pytest.mark.parametrize("up", [True, False])
async def test_a_disconnect_is_noted_of_a_connector_that_does_not_announce_it(
    folder: Path, up: bool, ack: str | None
) -> None:
    """It returns what it has, or the time to send again comes."""
    async with no_leaks():
        link = FakeLink(up=up)
        await send(Outbox(folder, ack=ack), link, 0)
        await link.disconnect()
        await eventually(lambda: not link.subscribed)
        expected = [] if up and not ack else [(1, False)]
        await eventually(lambda: (left(folder) if folder.exists() else []) == expected)


class LeavingLink(FakeLink):
    """Announces its disconnect, and sends meanwhile what it has in hand."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.leaving: list[Callable[[], object]] = []

    def before_disconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        self.leaving.append(callback)
        return lambda: self.leaving.remove(callback)

    def leave(self) -> None:
        """Begin to disconnect."""
        for callback in [*self.leaving]:
            callback()


async def test_a_connector_that_disconnects_gets_nothing_more_of_a_backlog(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends what it has in hand; the rest stays in the file, and the next run sends it, in order."""
    change(monkeypatch, WINDOW=2)
    async with no_leaks():
        link = LeavingLink(up=False)
        await send(Outbox(folder), link, *range(20))
        assert len(link.held) == 4
        link.leave()
        while link.held:
            link.settle(1)
            await asyncio.sleep(0)
        assert link.numbers() == [0, 1, 2, 3]
        await eventually(lambda: left(folder) == [(16, False)])
        link.up = True
        await send(Outbox(folder), link, 20)
        await eventually(lambda: link.numbers() == [*range(21)])
    await eventually(lambda: not [*folder.glob("*")])


def test_the_next_event_loop_gets_the_file_of_a_loop_that_was_closed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a user who does not disconnect: no task is left on the first loop, and no lock."""
    link, given = FakeLink(), Outbox(folder, ack="c-1")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(send(given, link, 0))
    assert not asyncio.all_tasks(loop)
    loop.close()

    async def go_on() -> None:
        async with given.attached(link):
            assert link.subscribed
        await eventually(lambda: acknowledged(link, 0))
        await eventually(lambda: not [*folder.glob("*")])

    asyncio.run(go_on())
    assert "in use" not in caplog.text
